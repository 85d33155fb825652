//! Waiting: deadlines, waking, closing, and that nobody spins or holds up another.

use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use fast_afpacket::{PacketSocket, TxKey};

use crate::lab::{self, Cable, bind, eventually, frame, millis, options, tc, thread_time, within};

crate::tests! {
    a_deadline_ends_each_wait;
    a_deadline_that_is_set_later_wakes_each_wait;
    a_deadline_can_be_put_off;
    close_ends_each_wait;
    close_ends_all_of_many_waits;
    a_waiting_receiver_does_not_delay_stamps;
    a_waiting_stamp_reader_does_not_delay_frames;
    an_unread_stamp_makes_nobody_spin;
    a_full_send_buffer_is_waited_for;
    a_waiting_sender_is_told_of_the_link;
    every_waiting_receiver_gets_its_frame;
    signals_are_not_seen;
    dropping_is_safe_at_any_time;
}

/// The three calls that wait. The socket's send buffer must be full for the third.
type Call = fn(&PacketSocket) -> std::io::Result<()>;
const CALLS: [(&str, Call); 3] = [
    ("recv", |socket| socket.recv(&mut [0; 64]).map(drop)),
    ("recv_tx", |socket| socket.recv_tx(&mut []).map(drop)),
    ("send", |socket| socket.send(&frame(1)).map(drop)),
];

/// A socket on an interface whose queue lets nothing out for a long time, with the send buffer full, and with or without
/// a stamp that is not read.
pub(crate) fn stuck(cable: &Cable, dual: bool, unread_stamp: bool) -> PacketSocket {
    let interface = cable.a.name();
    let _ = std::process::Command::new("tc").args(["qdisc", "del", "dev", &interface, "root"]).output();
    tc(&format!("qdisc add dev {interface} root tbf rate 1kbit burst 2000 limit 1000000"));
    let socket = bind(options().dual(dual).send_buffer(2304), &cable.a);
    if unread_stamp {
        socket.send_keyed(&frame(1), TxKey::new(1)).unwrap();
    }
    socket.set_nonblocking(true);
    eventually("the send buffer is full", || socket.send(&lab::frame_of(1500, 0)).is_err());
    socket.set_nonblocking(false);
    socket
}

fn a_deadline_ends_each_wait() {
    let cable = Cable::new();
    for dual in [false, true] {
        let socket = stuck(&cable, dual, false);
        for (name, call) in CALLS {
            socket.set_deadline(within(millis(50)));
            let start = Instant::now();
            let error = call(&socket).unwrap_err();
            assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::TimedOut, Some(libc::ETIMEDOUT)), "{name}");
            assert!(start.elapsed() >= millis(50), "{name} ended early");
            socket.set_deadline(Some(start));
            assert_eq!(call(&socket).unwrap_err().kind(), ErrorKind::TimedOut, "{name} with a deadline in the past");
        }
    }
}

/// Runs each waiting call on a thread, lets `wake` end it, and checks how it ended.
fn each_is_woken(wake: fn(&PacketSocket), kind: ErrorKind) {
    let cable = Cable::new();
    for dual in [false, true] {
        for (name, call) in CALLS {
            let socket = stuck(&cable, dual, false);
            socket.set_deadline(None);
            thread::scope(|scope| {
                let waiting = scope.spawn(|| {
                    let error = call(&socket).unwrap_err();
                    (error.kind(), Instant::now())
                });
                thread::sleep(millis(30));
                assert!(!waiting.is_finished(), "{name} waits");
                let woken_at = Instant::now();
                wake(&socket);
                let (found, ended_at) = waiting.join().unwrap();
                assert_eq!(found, kind, "{name}");
                eprintln!("{name} dual={dual}: ended after {:?}", ended_at - woken_at);
            });
        }
    }
}

fn a_deadline_that_is_set_later_wakes_each_wait() {
    each_is_woken(|socket| socket.set_deadline(Some(Instant::now())), ErrorKind::TimedOut);
}

fn close_ends_each_wait() {
    each_is_woken(PacketSocket::close, ErrorKind::ConnectionAborted);
}

fn a_deadline_can_be_put_off() {
    let cable = Cable::new();
    let (socket, peer) = (bind(options(), &cable.a), bind(options(), &cable.b));
    socket.set_read_deadline(within(millis(100)));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| socket.recv(&mut [0; 64]));
        thread::sleep(millis(20));
        socket.set_read_deadline(None);
        thread::sleep(millis(200));
        assert!(!waiting.is_finished(), "the old deadline does not count any more");
        peer.send(&frame(1)).unwrap();
        waiting.join().unwrap().unwrap();
    });
}

fn close_ends_all_of_many_waits() {
    let cable = Cable::new();
    for dual in [false, true] {
        let socket = bind(options().dual(dual), &cable.a);
        socket.set_deadline(None);
        thread::scope(|scope| {
            let waiting: Vec<_> = (0..16)
                .map(|i| {
                    let socket = &socket;
                    scope.spawn(move || CALLS[i % 2].1(socket).unwrap_err().kind())
                })
                .collect();
            thread::sleep(millis(30));
            socket.close();
            for call in waiting {
                assert_eq!(call.join().unwrap(), ErrorKind::ConnectionAborted);
            }
        });
        for (name, call) in CALLS {
            assert_eq!(call(&socket).unwrap_err().kind(), ErrorKind::ConnectionAborted, "{name} afterwards");
        }
    }
}

/// Sends with a key and reads both stamps, `count` times.
fn stamp_round_trips(socket: &PacketSocket, count: u32) -> Duration {
    let start = Instant::now();
    for number in 0..count {
        socket.send_keyed(&frame(number), TxKey::new(number)).unwrap();
        for _ in 0..2 {
            assert_eq!(socket.recv_tx(&mut []).unwrap().key.value(), number);
        }
    }
    start.elapsed() / count
}

fn a_waiting_receiver_does_not_delay_stamps() {
    const COUNT: u32 = 2000;
    let cable = Cable::new();
    for dual in [true, false] {
        let socket = bind(options().dual(dual), &cable.a);
        let alone = stamp_round_trips(&socket, COUNT);
        socket.set_read_deadline(None);
        thread::scope(|scope| {
            let receiver = scope.spawn(|| socket.recv(&mut [0; 64]));
            thread::sleep(millis(20));
            let beside = stamp_round_trips(&socket, COUNT);
            assert!(!receiver.is_finished());
            // With the Go original a stamp took until the next frame came, here: for ever.
            eprintln!("dual={dual}: stamps in {alone:?} alone, {beside:?} beside a waiting receiver");
            socket.close();
            assert!(receiver.join().unwrap().is_err());
        });
    }
}

fn a_waiting_stamp_reader_does_not_delay_frames() {
    let cable = Cable::new();
    for dual in [true, false] {
        let (socket, peer) = (bind(options().dual(dual), &cable.a), bind(options(), &cable.b));
        thread::scope(|scope| {
            let reader = scope.spawn(|| socket.recv_tx(&mut []));
            thread::sleep(millis(20));
            for number in 0..1000 {
                peer.send(&frame(number)).unwrap();
                let mut buf = [0; 64];
                socket.recv(&mut buf).unwrap();
                assert_eq!(lab::number_in(&buf), number);
            }
            assert!(!reader.is_finished());
            socket.send_keyed(&frame(1), TxKey::new(1)).unwrap();
            assert_eq!(reader.join().unwrap().unwrap().key.value(), 1);
        });
    }
}

fn an_unread_stamp_makes_nobody_spin() {
    let cable = Cable::new();
    for dual in [true, false] {
        for (name, call) in [CALLS[0], CALLS[2]] {
            let socket = stuck(&cable, dual, true);
            socket.set_deadline(within(millis(500)));
            let before = thread_time();
            assert_eq!(call(&socket).unwrap_err().kind(), ErrorKind::TimedOut, "{name}");
            let used = thread_time() - before;
            eprintln!("{name} dual={dual}: {used:?} of processor time in 500 ms");
            assert!(used < millis(50), "{name} dual={dual}: {used:?}");
        }
    }
    let (single, peer) = (bind(options(), &cable.b), bind(options(), &cable.a));
    single.send_keyed(&frame(1), TxKey::new(1)).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let before = thread_time();
            single.recv(&mut [0; 64]).unwrap();
            thread_time() - before
        });
        thread::sleep(millis(300));
        let _ = std::process::Command::new("tc").args(["qdisc", "del", "dev", "va", "root"]).output();
        peer.send(&frame(2)).unwrap();
        assert!(waiting.join().unwrap() < millis(50), "and the frame is received all the same");
    });
}

fn a_full_send_buffer_is_waited_for() {
    let cable = Cable::new();
    for (dual, keyed) in [(false, false), (true, true), (false, true)] {
        let socket = stuck(&cable, dual, false);
        thread::scope(|scope| {
            let sender = scope
                .spawn(|| if keyed { socket.send_keyed(&frame(1), TxKey::new(3)) } else { socket.send(&frame(1)) });
            thread::sleep(millis(30));
            assert!(!sender.is_finished(), "no room");
            // The queue goes, and what was in it: room.
            tc("qdisc del dev va root");
            assert_eq!(sender.join().unwrap().unwrap(), 60);
        });
        if keyed {
            assert_eq!(socket.recv_tx(&mut []).unwrap().key.value(), 3);
        }
    }
}

fn a_waiting_sender_is_told_of_the_link() {
    for dual in [false, true] {
        for change in ["set va down", "del va"] {
            let cable = Cable::new();
            let socket = stuck(&cable, dual, true);
            socket.set_deadline(None);
            thread::scope(|scope| {
                let sender = scope.spawn(|| socket.send(&frame(1)).unwrap_err().raw_os_error());
                thread::sleep(millis(30));
                assert!(!sender.is_finished(), "no room");
                lab::ip(&format!("link {change}"));
                let errno = sender.join().unwrap();
                assert!(matches!(errno, Some(libc::ENETDOWN | libc::ENODEV)), "{change}: {errno:?}");
            });
            let expected = if change == "del va" { libc::ENODEV } else { libc::ENETDOWN };
            assert_eq!(socket.send(&frame(1)).unwrap_err().raw_os_error(), Some(expected), "{change}");
            let _ = std::process::Command::new("ip").args(["link", "del", "va"]).output();
        }
    }
}

fn every_waiting_receiver_gets_its_frame() {
    const RECEIVERS: u32 = 8;
    let cable = Cable::new();
    for dual in [false, true] {
        let (socket, peer) = (bind(options().dual(dual), &cable.a), bind(options(), &cable.b));
        for _ in 0..20 {
            thread::scope(|scope| {
                let receivers: Vec<_> = (0..RECEIVERS)
                    .map(|_| {
                        scope.spawn(|| {
                            let mut buf = [0; 64];
                            socket.recv(&mut buf).map(|_| lab::number_in(&buf))
                        })
                    })
                    .collect();
                thread::sleep(millis(2));
                for number in 0..RECEIVERS {
                    peer.send(&frame(number)).unwrap();
                }
                let mut got: Vec<_> = receivers.into_iter().map(|receiver| receiver.join().unwrap().unwrap()).collect();
                got.sort_unstable();
                assert_eq!(got, (0..RECEIVERS).collect::<Vec<_>>());
            });
        }
    }
}

fn signals_are_not_seen() {
    use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    extern "C" fn ignore(_: i32) {}
    let action = SigAction::new(SigHandler::Handler(ignore), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
    let cable = Cable::new();
    let socket = bind(options(), &cable.a);
    let (sender, thread_of) = std::sync::mpsc::channel::<Pthread>();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            sender.send(pthread_self()).unwrap();
            socket.recv(&mut [0; 64]).map(drop)
        });
        let id = thread_of.recv().unwrap();
        for _ in 0..20 {
            thread::sleep(millis(2));
            pthread_kill(id, Signal::SIGUSR1).unwrap();
        }
        assert!(!waiting.is_finished());
        bind(options(), &cable.b).send(&frame(1)).unwrap();
        waiting.join().unwrap().unwrap();
    });
}

fn dropping_is_safe_at_any_time() {
    let cable = Cable::new();
    for round in 0..100 {
        let socket = std::sync::Arc::new(bind(options().dual(round % 2 == 0), &cable.a));
        let readers: Vec<_> = (0..2)
            .map(|i| {
                let socket = std::sync::Arc::clone(&socket);
                thread::spawn(move || CALLS[i].1(&socket).unwrap_err().kind())
            })
            .collect();
        if round % 3 == 0 {
            thread::sleep(millis(1));
        }
        socket.close();
        drop(socket);
        for reader in readers {
            assert_eq!(reader.join().unwrap(), ErrorKind::ConnectionAborted);
        }
    }
}
