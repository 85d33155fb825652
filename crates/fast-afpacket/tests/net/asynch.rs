//! Sockets and rings of tasks: the data path, on each kind of runtime, and futures that are dropped before their end.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fast_afpacket::{
    AsyncPacketSocket, AsyncRxRing, ByFrame, Interface, MacAddr, Options, PacketAddr, RecvBatch, RingShape, TxFrame,
    TxKey, TxReportBatch,
};
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::alloc;
use crate::lab::{self, Cable, PROTOCOL, bind, frame, frame_of, millis, number_in, options, tc};

crate::tests! {
    frames_and_stamps_come_on_each_runtime;
    rings_lend_on_each_runtime;
    tasks_on_several_threads_get_every_frame;
    dropped_futures_lose_no_frame_and_no_stamp;
    dropped_sends_send_nothing;
    dropped_waits_for_blocks_and_frames_lose_nothing;
    a_task_that_never_waits_lets_others_run;
    waiting_allocates_nothing;
    a_socket_is_given_and_taken_back;
}

/// One thread for all tasks, and two.
pub(crate) fn runtimes() -> [Runtime; 2] {
    [current_thread(), Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()]
}

pub(crate) fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Limits a wait that ends in no time if all is well.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.expect("not in 20 seconds")
}

/// Whether this is still waiting after a while.
pub(crate) async fn waits<T: std::fmt::Debug>(future: impl Future<Output = io::Result<T>>) {
    let ended = timeout(millis(60), future).await;
    assert!(ended.is_err(), "it does not wait: {ended:?}");
}

/// To be made in a runtime.
pub(crate) fn open(options: Options, interface: &Interface) -> AsyncPacketSocket {
    AsyncPacketSocket::new(options.bind(interface).unwrap()).unwrap()
}

pub(crate) fn ring_of_blocks(options: Options, interface: &Interface) -> AsyncRxRing {
    let shape = RingShape::throughput().blocks(16).block_timeout(millis(1));
    AsyncRxRing::new(options.rx_ring(interface, shape).unwrap()).unwrap()
}

pub(crate) fn ring_of_frames(options: Options, interface: &Interface) -> AsyncRxRing<ByFrame> {
    AsyncRxRing::new(options.rx_ring(interface, RingShape::latency()).unwrap()).unwrap()
}

/// Each way of sending a frame arrives once, and has its stamps if it asked for any.
fn frames_and_stamps_come_on_each_runtime() {
    let cable = Cable::new();
    for runtime in runtimes() {
        for dual in [false, true] {
            runtime.block_on(soon(async {
                let (a, b) = (open(options().dual(dual), &cable.a), open(options(), &cable.b));
                let (everybody, frames) =
                    (PacketAddr::new(MacAddr::BROADCAST, PROTOCOL), [1, 2, 3, 4, 5, 6].map(frame));
                a.send(&frames[0]).await.unwrap();
                a.send_to(&frames[1], &everybody).await.unwrap();
                a.send_keyed(&frames[2], TxKey::new(3)).await.unwrap();
                let fourth = TxFrame::new(&frames[3]).key(TxKey::new(4));
                let urgent = a.send_frame(&fourth.priority(1)).await;
                if lab::kernel_is_before((6, 14)) {
                    assert_eq!(urgent.unwrap_err().kind(), io::ErrorKind::Unsupported);
                    a.send_frame(&fourth).await.unwrap();
                } else {
                    urgent.unwrap();
                }
                let keyed = |number: u32| TxFrame::new(&frames[number as usize - 1]).key(TxKey::new(number));
                // What the kernel counts goes by itself.
                let at_once = if a.get_ref().granted().own_keys { 2 } else { 1 };
                let batch = [keyed(5), keyed(6)];
                assert_eq!(a.send_batch(&batch).await.unwrap(), at_once);
                assert_eq!(a.send_batch(&batch[at_once..]).await.unwrap(), 2 - at_once);
                assert_eq!(a.send_batch(&[]).await.unwrap(), 0);

                let mut buf = [0; 64];
                let meta = b.recv(&mut buf).await.unwrap();
                assert_eq!((meta.len, number_in(&buf)), (60, 1));
                let (len, from) = b.recv_from(&mut buf).await.unwrap();
                assert_eq!((len, number_in(&buf), from.mac().unwrap().octets()), (60, 2, lab::MAC_A));
                let mut batch = RecvBatch::new(8, 64);
                assert_eq!(b.recv_batch(&mut batch).await.unwrap(), 4);
                assert_eq!(batch.iter().map(|frame| number_in(frame.data())).collect::<Vec<_>>(), [3, 4, 5, 6]);

                let mut stamps = vec![a.recv_tx(&mut []).await.unwrap(), a.recv_tx(&mut []).await.unwrap()];
                let mut reports = TxReportBatch::new(8);
                assert_eq!(a.recv_tx_batch(&mut reports).await.unwrap(), 6);
                stamps.extend(reports.reports());
                assert!(stamps.iter().all(|report| report.timestamps.software.is_some()));
                let keys: Vec<_> = stamps.iter().map(|report| report.key.value()).collect();
                assert_eq!(keys, [3, 3, 4, 4, 5, 5, 6, 6], "scheduled and sent");
                waits(a.recv_tx(&mut [])).await;
                waits(b.recv(&mut buf)).await;
            }));
        }
    }
}

fn rings_lend_on_each_runtime() {
    let cable = Cable::new();
    for runtime in runtimes() {
        runtime.block_on(soon(async {
            let sender = open(options(), &cable.b);
            let (mut blocks, mut frames) = (ring_of_blocks(options(), &cable.a), ring_of_frames(options(), &cable.a));
            for number in 0..50 {
                sender.send(&frame(number)).await.unwrap();
                let block = blocks.next_block().await.unwrap();
                assert_eq!(block.iter().map(|frame| number_in(frame.data())).collect::<Vec<_>>(), [number]);
                // What is lent can be held while something else is waited for.
                let held = frames.next_frame().await.unwrap();
                yield_now().await;
                assert_eq!(number_in(held.data()), number);
            }
            assert!(blocks.try_next_block().unwrap().is_none() && frames.try_next_frame().unwrap().is_none());
            assert_eq!(blocks.get_ref().stats().unwrap().received, 50);
            // A task may take a ring to another thread, and hold what it lends while it moves.
            let lengths = tokio::spawn(async move {
                let (block, held) = (blocks.next_block().await.unwrap(), frames.next_frame().await.unwrap());
                yield_now().await;
                (block.len(), held.data().len())
            });
            sender.send(&frame(50)).await.unwrap();
            assert_eq!(lengths.await.unwrap(), (1, 60));
        }));
    }
}

/// Futures can be sent to other threads, and each frame wakes somebody.
fn tasks_on_several_threads_get_every_frame() {
    const TASKS: u32 = 8;
    let cable = Cable::new();
    let [_, runtime] = runtimes();
    for dual in [false, true] {
        runtime.block_on(soon(async {
            let (socket, peer) = (Arc::new(open(options().dual(dual), &cable.a)), open(options(), &cable.b));
            for _ in 0..50 {
                let tasks: Vec<_> = (0..TASKS)
                    .map(|_| {
                        let socket = Arc::clone(&socket);
                        tokio::spawn(async move {
                            let mut buf = [0; 64];
                            socket.recv(&mut buf).await.map(|_| number_in(&buf))
                        })
                    })
                    .collect();
                yield_now().await;
                for number in 0..TASKS {
                    peer.send(&frame(number)).await.unwrap();
                }
                let mut got = Vec::new();
                for task in tasks {
                    got.push(task.await.unwrap().unwrap());
                }
                got.sort_unstable();
                assert_eq!(got, (0..TASKS).collect::<Vec<_>>());
            }
        }));
    }
}

/// Receiving frames, reading stamps and sending keyed frames on one socket, each future dropped again and again: before
/// it was polled, while it waits, and when it has been woken.
fn dropped_futures_lose_no_frame_and_no_stamp() {
    const FRAMES: u32 = 4_000;
    let cable = Cable::new();
    for runtime in runtimes() {
        for dual in [false, true] {
            let peer = bind(options(), &cable.b);
            let socket = runtime.block_on(async { open(options().dual(dual), &cable.a) });
            let is_over = AtomicBool::new(false);
            thread::scope(|scope| {
                let flow = scope.spawn(|| {
                    let mut buf = [0; 64];
                    for number in 0..FRAMES {
                        peer.send(&frame(number)).unwrap();
                        // As many as are under way have room in the receive buffer of a socket that keeps stamps there too.
                        peer.recv(&mut buf).unwrap();
                        assert_eq!(number_in(&buf), number, "each keyed frame arrives, once");
                    }
                    is_over.store(true, Ordering::SeqCst);
                });
                let dropped = runtime.block_on(soon(answer_each(&socket, FRAMES)));
                flow.join().unwrap();
                assert!(is_over.load(Ordering::SeqCst));
                assert!(dropped > 2 * FRAMES, "only {dropped} futures were dropped");
            });
        }
    }
}

/// Answers each frame with a keyed one of the same number until all stamps are there. Gives how many futures were dropped.
async fn answer_each(socket: &AsyncPacketSocket, frames: u32) -> u32 {
    let (mut buf, mut next, mut dropped, mut answer) = ([0; 64], 0, 0, None);
    let mut stamps = BTreeMap::<u32, u32>::new();
    while next < frames || answer.is_some() || stamps.values().sum::<u32>() < 2 * frames {
        let outgoing = answer.map_or_else(Vec::new, frame);
        let key = TxKey::new(answer.unwrap_or(0));
        tokio::select! {
            received = socket.recv(&mut buf), if answer.is_none() => {
                received.unwrap();
                assert_eq!(number_in(&buf), next, "in order, none left out, none twice");
                answer = Some(next);
                next += 1;
            }
            stamp = socket.recv_tx(&mut []) => *stamps.entry(stamp.unwrap().key.value()).or_default() += 1,
            sent = socket.send_keyed(&outgoing, key), if answer.is_some() => {
                assert_eq!(sent.unwrap(), 60);
                answer = None;
            }
            () = async {} => {
                dropped += 1;
                // Nothing above was pending for long: the runtime is to look at its descriptors too.
                yield_now().await;
            }
            () = yield_now() => dropped += 1,
            // Which of them comes first is a throw of the dice: one more, for futures to be dropped often.
            () = async {} => dropped += 1,
        }
    }
    assert!(stamps.len() == frames as usize && stamps.values().all(|&count| count == 2), "two stamps of each frame");
    dropped
}

/// Sends that wait for room and are dropped. Only those that returned have sent a frame.
fn dropped_sends_send_nothing() {
    // As many as the peer has room for.
    const FRAMES: u32 = 60;
    let cable = Cable::new();
    for dual in [false, true] {
        let _ = std::process::Command::new("tc").args(["qdisc", "del", "dev", "va", "root"]).output();
        tc("qdisc add dev va root tbf rate 8mbit burst 2000 limit 1000000");
        let peer = bind(options(), &cable.b);
        let mut dropped = 0;
        current_thread().block_on(soon(async {
            let socket = open(options().dual(dual).send_buffer(2304), &cable.a);
            let mut number = 0;
            while number < FRAMES {
                let outgoing = frame_of(1500, number);
                tokio::select! {
                    sent = socket.send(&outgoing) => {
                        sent.unwrap();
                        number += 1;
                    }
                    () = yield_now() => dropped += 1,
                    () = tokio::time::sleep(Duration::from_micros(100)) => dropped += 1,
                }
            }
        }));
        let mut buf = [0; 1600];
        for number in 0..FRAMES {
            peer.recv(&mut buf).unwrap();
            assert_eq!(number_in(&buf), number);
        }
        assert_eq!(peer.try_recv(&mut buf).unwrap_err().kind(), io::ErrorKind::WouldBlock, "no more than those");
        assert!(dropped > FRAMES, "only {dropped} futures were dropped");
    }
}

fn dropped_waits_for_blocks_and_frames_lose_nothing() {
    const FRAMES: u32 = 500;
    let cable = Cable::new();
    for runtime in runtimes() {
        let peer = bind(options(), &cable.b);
        runtime.block_on(soon(async {
            let (mut blocks, mut frames) = (ring_of_blocks(options(), &cable.a), ring_of_frames(options(), &cable.a));
            let (mut in_blocks, mut in_frames, mut dropped) = (0, 0, 0);
            let mut sent = 0;
            while in_blocks < FRAMES || in_frames < FRAMES {
                // No more than there are blocks for, however long this thread is kept waiting.
                if sent < FRAMES && sent - in_frames < 8 && sent - in_blocks < 15 {
                    peer.send(&frame(sent)).unwrap();
                    sent += 1;
                }
                tokio::select! {
                    block = blocks.next_block() => for found in &block.unwrap() {
                        assert_eq!(number_in(found.data()), in_blocks);
                        in_blocks += 1;
                    },
                    held = frames.next_frame() => {
                        assert_eq!(number_in(held.unwrap().data()), in_frames);
                        in_frames += 1;
                    }
                    () = async {} => {
                        dropped += 1;
                        yield_now().await;
                    }
                    () = yield_now() => dropped += 1,
                }
            }
            assert_eq!((in_blocks, in_frames), (FRAMES, FRAMES));
            assert!(dropped > FRAMES / 8, "only {dropped} futures were dropped");
            for stats in [blocks.get_ref().stats().unwrap(), frames.get_ref().stats().unwrap()] {
                assert_eq!((stats.received, stats.dropped), (FRAMES.into(), 0));
            }
        }));
    }
}

/// A send that always has room and a receiver that always has a frame never wait, but do not keep a thread for themselves.
fn a_task_that_never_waits_lets_others_run() {
    const LIMIT: u32 = 50_000;
    let cable = Cable::new();
    current_thread().block_on(soon(async {
        let socket = Arc::new(open(options(), &cable.a));
        let is_over = Arc::new(AtomicBool::new(false));
        let (sending, flag) = (Arc::clone(&socket), Arc::clone(&is_over));
        let sender = tokio::spawn(async move {
            let outgoing = frame(1);
            let mut count = 0;
            while count < LIMIT && !flag.load(Ordering::SeqCst) {
                sending.send(&outgoing).await.unwrap();
                count += 1;
            }
            count
        });
        for _ in 0..3 {
            yield_now().await;
        }
        is_over.store(true, Ordering::SeqCst);
        let count = sender.await.unwrap();
        assert!(count < LIMIT, "no other task ran meanwhile");
        assert!(count > 0);
    }));
}

fn waiting_allocates_nothing() {
    let cable = Cable::new();
    let runtime = current_thread();
    let (socket, peer) = runtime.block_on(async { (open(options(), &cable.a), open(options(), &cable.b)) });
    let round_trips = |count: u32| {
        let (outgoing, mut buf) = (frame(1), [0; 64]);
        let (socket, peer) = (&socket, &peer);
        alloc::count(|| {
            runtime.block_on(async {
                for _ in 0..count {
                    // The receiver is polled first, and has to wait.
                    let (received, sent) =
                        tokio::join!(biased; peer.recv(&mut buf), socket.send_keyed(&outgoing, TxKey::new(1)));
                    assert_eq!((received.unwrap().len, sent.unwrap()), (60, 60));
                    socket.recv_tx(&mut []).await.unwrap();
                    socket.recv_tx(&mut []).await.unwrap();
                }
            });
        })
    };
    round_trips(10);
    assert_eq!(round_trips(200), round_trips(10), "those are the runtime's own");
}

fn a_socket_is_given_and_taken_back() {
    let cable = Cable::new();
    let outside = AsyncPacketSocket::new(options().bind(&cable.a).unwrap()).unwrap_err();
    assert_eq!(outside.kind(), io::ErrorKind::Other, "{outside}");
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let runtime = current_thread();
    let peer = bind(options(), &cable.b);
    let socket = bind(options().dual(true), &cable.a);
    let before = descriptors();
    let number = std::os::fd::AsFd::as_fd(&socket).as_raw_fd();
    let socket = runtime.block_on(soon(async {
        let socket = AsyncPacketSocket::new(socket).unwrap();
        waits(socket.recv(&mut [0; 64])).await;
        waits(socket.recv_tx(&mut [])).await;
        assert_eq!(std::os::fd::AsFd::as_fd(&socket).as_raw_fd(), number);
        assert_eq!(socket.get_ref().interface().name(), "va");
        socket.into_inner()
    }));
    drop(runtime);
    assert!(descriptors() <= before, "what the runtime watched is closed");
    peer.send(&frame(1)).unwrap();
    assert_eq!(socket.recv(&mut [0; 64]).unwrap().len, 60, "it waits as a thread again");
}
