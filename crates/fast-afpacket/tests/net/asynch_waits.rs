//! Tasks that wait: what wakes them, and what ends their waits.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use fast_afpacket::{AsyncPacketSocket, TxKey};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, yield_now};

use crate::asynch::{current_thread, open, ring_of_blocks, ring_of_frames, runtimes, soon, waits};
use crate::lab::{Cable, frame, frame_of, ip, link_up, millis, options, tc};
use crate::waits::stuck;

crate::tests! {
    a_stamp_alone_wakes_its_reader;
    several_readers_share_the_stamps;
    room_in_the_send_buffer_wakes_every_sender;
    down_alone_wakes_a_receiver_and_a_stamp_reader;
    down_is_said_once_to_each_kind_of_wait;
    removal_ends_all_waits;
    removal_is_noticed_while_the_link_is_down;
    close_ends_all_waits;
    a_ring_is_told_of_the_link_and_closed;
    frames_that_are_there_come_before_bad_news;
}

const DUAL: [bool; 2] = [false, true];

/// A runtime that has no timers, as not every program needs them.
fn without_timers() -> Runtime {
    Builder::new_current_thread().enable_io().build().unwrap()
}

/// Lets other tasks and the reactor run until nothing moves any more.
async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
    tokio::time::sleep(millis(20)).await;
}

type Call = JoinHandle<Option<i32>>;

fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> Option<i32> {
    result.unwrap_err().raw_os_error()
}

fn receiving(socket: &Arc<AsyncPacketSocket>) -> Call {
    let socket = Arc::clone(socket);
    tokio::spawn(async move { errno(socket.recv(&mut [0; 64]).await) })
}

fn reading_stamps(socket: &Arc<AsyncPacketSocket>) -> Call {
    let socket = Arc::clone(socket);
    tokio::spawn(async move { errno(socket.recv_tx(&mut []).await) })
}

fn sending(socket: &Arc<AsyncPacketSocket>) -> Call {
    let socket = Arc::clone(socket);
    tokio::spawn(async move { errno(socket.send(&frame(1)).await) })
}

fn a_stamp_alone_wakes_its_reader() {
    let cable = Cable::new();
    for runtime in runtimes() {
        for dual in DUAL {
            runtime.block_on(soon(async {
                let socket = Arc::new(open(options().dual(dual), &cable.a));
                for number in 0..50 {
                    let reader = Arc::clone(&socket);
                    let stamps = tokio::spawn(async move {
                        let first = reader.recv_tx(&mut []).await.unwrap();
                        [first, reader.recv_tx(&mut []).await.unwrap()].map(|report| report.key.value())
                    });
                    if number % 10 == 0 {
                        settle().await;
                        assert!(!stamps.is_finished(), "it waits");
                    }
                    socket.send_keyed(&frame(number), TxKey::new(number)).await.unwrap();
                    assert_eq!(stamps.await.unwrap(), [number; 2]);
                }
            }));
        }
    }
}

fn several_readers_share_the_stamps() {
    const FRAMES: u32 = 40;
    let cable = Cable::new();
    for runtime in runtimes() {
        runtime.block_on(soon(async {
            let socket = Arc::new(open(options(), &cable.a));
            for _ in 0..20 {
                let readers: Vec<_> = (0..2 * FRAMES)
                    .map(|_| {
                        let socket = Arc::clone(&socket);
                        tokio::spawn(async move { socket.recv_tx(&mut []).await.unwrap().key.value() })
                    })
                    .collect();
                yield_now().await;
                for number in 0..FRAMES {
                    socket.send_keyed(&frame(number), TxKey::new(number)).await.unwrap();
                }
                let mut keys = Vec::new();
                for reader in readers {
                    keys.push(reader.await.unwrap());
                }
                keys.sort_unstable();
                assert_eq!(keys, (0..2 * FRAMES).map(|i| i / 2).collect::<Vec<_>>());
            }
        }));
    }
}

fn room_in_the_send_buffer_wakes_every_sender() {
    let cable = Cable::new();
    for runtime in runtimes() {
        for dual in DUAL {
            let socket = stuck(&cable, dual, true);
            runtime.block_on(soon(async {
                let socket = Arc::new(AsyncPacketSocket::new(socket).unwrap());
                let senders: Vec<_> = (0..4)
                    .map(|number| {
                        let socket = Arc::clone(&socket);
                        tokio::spawn(async move { socket.send(&frame_of(1500, number)).await })
                    })
                    .collect();
                settle().await;
                assert!(senders.iter().all(|sender| !sender.is_finished()), "no room");
                tc("qdisc del dev va root");
                for sender in senders {
                    assert_eq!(sender.await.unwrap().unwrap(), 1500);
                }
            }));
        }
    }
}

/// Neither a stamp nor a link that went down makes a descriptor readable.
fn down_alone_wakes_a_receiver_and_a_stamp_reader() {
    for dual in DUAL {
        for is_receiver in [true, false] {
            let call = if is_receiver { receiving } else { reading_stamps };
            let cable = Cable::new();
            current_thread().block_on(soon(async {
                let (socket, peer) = (Arc::new(open(options().dual(dual), &cable.a)), open(options(), &cable.b));
                let waiting = call(&socket);
                settle().await;
                assert!(!waiting.is_finished());
                ip("link set va down");
                assert_eq!(waiting.await.unwrap(), Some(libc::ENETDOWN));
                link_up(&["va", "vb"]);
                let mut buf = [0; 64];
                // A receiver that was not the one to be told is told now.
                let received = async { socket.recv(&mut buf).await };
                match tokio::time::timeout(millis(60), received).await {
                    Ok(result) => assert_eq!(errno(result), Some(libc::ENETDOWN)),
                    Err(_) => assert!(is_receiver, "told already"),
                }
                waits(socket.recv(&mut buf)).await;
                peer.send(&frame(1)).await.unwrap();
                assert_eq!(socket.recv(&mut buf).await.unwrap().len, 60, "the same socket goes on");
                socket.send_keyed(&frame(2), TxKey::new(2)).await.unwrap();
                assert_eq!(socket.recv_tx(&mut []).await.unwrap().key.value(), 2);
            }));
            ip("link del va");
        }
    }
}

fn down_is_said_once_to_each_kind_of_wait() {
    for runtime in runtimes() {
        for dual in DUAL {
            let cable = Cable::new();
            for _ in 0..5 {
                runtime.block_on(soon(async {
                    let socket = Arc::new(open(options().dual(dual), &cable.a));
                    let receivers = [receiving(&socket), receiving(&socket)];
                    let reader = reading_stamps(&socket);
                    settle().await;
                    ip("link set va down");
                    assert_eq!(reader.await.unwrap(), Some(libc::ENETDOWN));
                    settle().await;
                    socket.get_ref().close();
                    let mut ends = Vec::new();
                    for receiver in receivers {
                        ends.push(receiver.await.unwrap().unwrap());
                    }
                    ends.sort_unstable();
                    assert_eq!(ends, [libc::ENETDOWN, libc::ECONNABORTED], "one of two receivers");
                }));
                link_up(&["va", "vb"]);
            }
            ip("link del va");
        }
    }
}

fn removal_ends_all_waits() {
    for dual in DUAL {
        let cable = Cable::new();
        let socket = stuck(&cable, dual, true);
        current_thread().block_on(soon(async {
            let socket = Arc::new(AsyncPacketSocket::new(socket).unwrap());
            // Those of the frames in the queue that were scheduled.
            while socket.try_recv_tx(&mut []).is_ok() {}
            let mut calls: Vec<_> = (0..3).flat_map(|_| [receiving(&socket), reading_stamps(&socket)]).collect();
            calls.push(sending(&socket));
            settle().await;
            assert!(calls.iter().all(|call| !call.is_finished()));
            ip("link del va");
            for call in calls {
                let errno = call.await.unwrap();
                assert!(matches!(errno, Some(libc::ENODEV | libc::ENETDOWN)), "{errno:?}");
            }
            // One report of the way there may be left.
            let _ = socket.recv(&mut [0; 64]).await;
            for _ in 0..2 {
                assert_eq!(errno(socket.recv(&mut [0; 64]).await), Some(libc::ENODEV));
                assert_eq!(errno(socket.recv_tx(&mut []).await), Some(libc::ENODEV));
                assert_eq!(errno(socket.send(&frame(1)).await), Some(libc::ENODEV));
            }
        }));
    }
}

/// The kernel's one report was for going down. The runtime has no timers.
fn removal_is_noticed_while_the_link_is_down() {
    for dual in DUAL {
        let cable = Cable::new();
        without_timers().block_on(async {
            let socket = Arc::new(open(options().dual(dual), &cable.a));
            ip("link set va down");
            assert_eq!(errno(socket.recv(&mut [0; 64]).await), Some(libc::ENETDOWN));
            let calls = [receiving(&socket), receiving(&socket), reading_stamps(&socket)];
            for _ in 0..20 {
                yield_now().await;
            }
            assert!(calls.iter().all(|call| !call.is_finished()));
            let removed = std::thread::spawn({
                let inside = crate::lab::Namespace::current();
                move || {
                    std::thread::sleep(millis(120));
                    inside.run(|| ip("link del va"));
                }
            });
            for call in calls {
                assert_eq!(call.await.unwrap(), Some(libc::ENODEV));
            }
            removed.join().unwrap();
        });
    }
}

fn close_ends_all_waits() {
    for runtime in runtimes() {
        for dual in DUAL {
            let cable = Cable::new();
            let socket = stuck(&cable, dual, false);
            runtime.block_on(soon(async {
                let socket = Arc::new(AsyncPacketSocket::new(socket).unwrap());
                let mut calls: Vec<_> = (0..5).flat_map(|_| [receiving(&socket), reading_stamps(&socket)]).collect();
                calls.extend([sending(&socket), sending(&socket)]);
                settle().await;
                assert!(calls.iter().all(|call| !call.is_finished()));
                socket.get_ref().close();
                for call in calls {
                    assert_eq!(call.await.unwrap(), Some(libc::ECONNABORTED));
                }
                assert_eq!(socket.recv(&mut [0; 64]).await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
                assert_eq!(socket.recv_tx(&mut []).await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
                assert_eq!(socket.send(&frame(1)).await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
            }));
            ip("link del va");
        }
    }
}

fn a_ring_is_told_of_the_link_and_closed() {
    for (removed, expected) in [(false, libc::ECONNABORTED), (true, libc::ENODEV)] {
        let cable = Cable::new();
        current_thread().block_on(soon(async {
            let (mut blocks, mut frames) = (ring_of_blocks(options(), &cable.a), ring_of_frames(options(), &cable.a));
            let peer = open(options(), &cable.b);
            let controls = [blocks.control(), frames.control()];
            let change = async {
                settle().await;
                ip("link set va down");
            };
            let (block, held, ()) = tokio::join!(blocks.next_block(), frames.next_frame(), change);
            assert_eq!((errno(block), errno(held)), (Some(libc::ENETDOWN), Some(libc::ENETDOWN)));
            waits(blocks.next_block()).await;
            waits(frames.next_frame()).await;
            link_up(&["va", "vb"]);
            peer.send(&frame(1)).await.unwrap();
            assert_eq!(blocks.next_block().await.unwrap().len(), 1, "the same ring goes on");
            assert_eq!(frames.next_frame().await.unwrap().data().len(), 60);
            ip("link set va down");
            // It is told of either at once or when it waits; then it waits for what follows.
            let _ = (errno(blocks.next_block().await), errno(frames.next_frame().await));
            let change = async {
                settle().await;
                match removed {
                    true => ip("link del va"),
                    false => controls.iter().for_each(|control| control.close()),
                }
            };
            let (block, held, ()) = tokio::join!(blocks.next_block(), frames.next_frame(), change);
            assert_eq!((errno(block), errno(held)), (Some(expected), Some(expected)));
        }));
        let _ = std::process::Command::new("ip").args(["link", "del", "va"]).output();
    }
}

fn frames_that_are_there_come_before_bad_news() {
    for dual in DUAL {
        let cable = Cable::new();
        current_thread().block_on(soon(async {
            let (socket, peer) = (open(options().dual(dual), &cable.a), open(options(), &cable.b));
            waits(socket.recv(&mut [0; 64])).await;
            for number in 0..3 {
                peer.send(&frame(number)).await.unwrap();
            }
            ip("link del va");
            // Another call finds out that the interface is gone, before the reactor has seen the frames.
            assert_eq!(errno(socket.send(&frame(9)).await), Some(libc::ENODEV));
            let mut frames = 0;
            let deadline = std::time::Instant::now() + Duration::from_secs(10);
            loop {
                match socket.recv(&mut [0; 64]).await {
                    Ok(_) => frames += 1,
                    Err(_) if frames == 3 => break,
                    Err(error) => assert!(std::time::Instant::now() < deadline, "{frames} frames, then {error}"),
                }
            }
            assert_eq!(errno(socket.recv(&mut [0; 64]).await), Some(libc::ENODEV));
        }));
    }
}
