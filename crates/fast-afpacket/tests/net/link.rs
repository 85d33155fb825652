//! The interface goes down, comes up, is renamed, removed, or moved away.

use std::io::ErrorKind;
use std::thread;
use std::time::Duration;

use fast_afpacket::{PacketSocket, TxKey};

use crate::lab::{self, Cable, Namespace, bind, drain, frame, ip, link_up, millis, options, within};

crate::tests! {
    down_is_said_once_to_a_call_that_waits;
    down_is_said_once_to_each_kind_of_wait;
    down_is_said_once_to_a_call_that_comes_later;
    queued_frames_remain_readable;
    after_down_and_up_the_first_send_succeeds;
    while_down_sends_say_so;
    bound_while_down_works_once_up;
    removal_ends_all_calls_that_wait;
    removal_is_said_by_every_later_call;
    moving_away_is_removal;
    renaming_changes_nothing;
}

const DUAL: [bool; 2] = [false, true];

fn down_is_said_once_to_a_call_that_waits() {
    for dual in DUAL {
        let cable = Cable::new();
        let (socket, peer) = (bind(options().dual(dual), &cable.a), bind(options(), &cable.b));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| socket.recv(&mut [0; 64]));
            thread::sleep(millis(20));
            ip("link set va down");
            assert_eq!(waiting.join().unwrap().unwrap_err().raw_os_error(), Some(libc::ENETDOWN));
        });
        socket.set_read_deadline(within(millis(20)));
        assert_eq!(socket.recv(&mut [0; 64]).unwrap_err().kind(), ErrorKind::TimedOut, "once");
        link_up(&["va", "vb"]);
        peer.send(&frame(1)).unwrap();
        socket.set_read_deadline(within(millis(5000)));
        assert_eq!(socket.recv(&mut [0; 64]).unwrap().len, 60, "the same socket goes on");
        ip("link del va");
    }
}

fn down_is_said_once_to_each_kind_of_wait() {
    for dual in DUAL {
        let cable = Cable::new();
        for _ in 0..10 {
            let socket = bind(options().dual(dual), &cable.a);
            thread::scope(|scope| {
                let receivers: Vec<_> = (0..2).map(|_| scope.spawn(|| socket.recv(&mut [0; 64]).map(drop))).collect();
                let reader = scope.spawn(|| socket.recv_tx(&mut []));
                thread::sleep(millis(20));
                ip("link set va down");
                assert_eq!(reader.join().unwrap().unwrap_err().raw_os_error(), Some(libc::ENETDOWN));
                lab::eventually("a receiver was told", || receivers.iter().any(|receiver| receiver.is_finished()));
                thread::sleep(millis(10));
                socket.close();
                let mut ends: Vec<_> =
                    receivers.into_iter().map(|end| end.join().unwrap().unwrap_err().kind()).collect();
                ends.sort_by_key(|kind| *kind != ErrorKind::NetworkDown);
                assert_eq!(ends, [ErrorKind::NetworkDown, ErrorKind::ConnectionAborted], "one of two receivers");
            });
            link_up(&["va", "vb"]);
        }
        ip("link del va");
    }
}

fn down_is_said_once_to_a_call_that_comes_later() {
    for dual in DUAL {
        let cable = Cable::new();
        let socket = bind(options().dual(dual), &cable.a);
        ip("link set va down");
        assert_eq!(socket.recv(&mut [0; 64]).unwrap_err().raw_os_error(), Some(libc::ENETDOWN));
        socket.set_nonblocking(true);
        assert_eq!(socket.recv(&mut [0; 64]).unwrap_err().raw_os_error(), Some(libc::EAGAIN));
        ip("link del va");
    }
}

fn queued_frames_remain_readable() {
    for dual in DUAL {
        let cable = Cable::new();
        let (socket, peer) = (bind(options().dual(dual), &cable.a), bind(options(), &cable.b));
        for number in 0..3 {
            peer.send(&frame(number)).unwrap();
        }
        ip("link set va down");
        assert_eq!(socket.recv(&mut [0; 64]).unwrap_err().kind(), ErrorKind::NetworkDown);
        assert_eq!(drain(&socket).len(), 3);
        link_up(&["va", "vb"]);
        for number in 0..3 {
            peer.send(&frame(number)).unwrap();
        }
        ip("link del va");
        for number in 0..3 {
            // The report of the removal may come before or between; the frames are there all the same.
            let mut buf = [0; 64];
            let received = socket.recv(&mut buf).or_else(|error| {
                assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
                socket.recv(&mut buf)
            });
            received.unwrap();
            assert_eq!(lab::number_in(&buf), number);
        }
        assert_eq!(socket.recv(&mut [0; 64]).unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }
}

fn after_down_and_up_the_first_send_succeeds() {
    for (dual, count_keys) in DUAL.into_iter().flat_map(|dual| [(dual, false), (dual, true)]) {
        let cable = Cable::new();
        let socket = bind(options().dual(dual).count_keys(count_keys), &cable.a);
        let peer = bind(options(), &cable.b);
        // A report in the way of a send may have used up one of the kernel's numbers, as far as one can tell.
        let in_doubt = !dual && !socket.granted().own_keys;
        for keyed in [false, true] {
            ip("link set va down");
            link_up(&["va", "vb"]);
            if keyed {
                socket.send_keyed(&frame(1), TxKey::new(1)).unwrap();
                if in_doubt {
                    socket.set_tx_deadline(within(millis(20)));
                    assert_eq!(socket.recv_tx(&mut []).unwrap_err().kind(), ErrorKind::TimedOut);
                    assert!(socket.stats().unwrap().unattributed > 0, "counted, and not given to anybody");
                } else {
                    assert_eq!(socket.recv_tx(&mut []).unwrap().key.value(), 1);
                }
            } else {
                socket.send(&frame(1)).unwrap();
            }
            peer.recv(&mut [0; 64]).unwrap();
            let error = socket.recv(&mut [0; 64]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NetworkDown, "the receiver's report was not lost to the sender");
        }
        ip("link del va");
    }
}

fn while_down_sends_say_so() {
    for dual in DUAL {
        let cable = Cable::new();
        let socket = bind(options().dual(dual), &cable.a);
        ip("link set va down");
        for _ in 0..3 {
            assert_eq!(socket.send(&frame(1)).unwrap_err().kind(), ErrorKind::NetworkDown);
        }
        link_up(&["va", "vb"]);
        socket.send(&frame(1)).unwrap();
        ip("link del va");
    }
}

fn bound_while_down_works_once_up() {
    for dual in DUAL {
        let cable = Cable::new();
        ip("link set va down");
        let (socket, peer) = (bind(options().dual(dual), &cable.a), bind(options(), &cable.b));
        assert_eq!(socket.recv(&mut [0; 64]).unwrap_err().kind(), ErrorKind::NetworkDown);
        link_up(&["va", "vb"]);
        peer.send(&frame(1)).unwrap();
        socket.recv(&mut [0; 64]).unwrap();
        ip("link del va");
    }
}

/// All calls, as a waiting thread makes them; sends do not wait here.
fn receive(socket: &PacketSocket) -> Option<i32> {
    socket.recv(&mut [0; 64]).unwrap_err().raw_os_error()
}

fn read_stamp(socket: &PacketSocket) -> Option<i32> {
    socket.recv_tx(&mut []).unwrap_err().raw_os_error()
}

/// Several waiting calls of both kinds, none with a deadline, end when `go_away` is done to the interface.
fn all_waits_end(go_away: impl Fn()) {
    for dual in DUAL {
        for (receivers, readers) in [(1, 0), (0, 1), (3, 3)] {
            let cable = Cable::new();
            let socket = bind(options().dual(dual), &cable.a);
            socket.set_deadline(None);
            thread::scope(|scope| {
                let socket = &socket;
                let mut calls: Vec<_> = (0..receivers).map(|_| scope.spawn(|| receive(socket))).collect();
                calls.extend((0..readers).map(|_| scope.spawn(|| read_stamp(socket))));
                thread::sleep(millis(20));
                go_away();
                for call in calls {
                    let errno = call.join().unwrap();
                    assert!(matches!(errno, Some(libc::ENODEV | libc::ENETDOWN)), "{errno:?}");
                }
            });
            every_call_says_gone(&socket);
            let _ = std::process::Command::new("ip").args(["link", "del", "vb"]).output();
        }
    }
}

fn every_call_says_gone(socket: &PacketSocket) {
    socket.set_deadline(within(Duration::from_secs(20)));
    // One report of the way there may be left.
    let _ = socket.recv(&mut [0; 64]);
    for _ in 0..3 {
        assert_eq!(receive(socket), Some(libc::ENODEV));
        assert_eq!(read_stamp(socket), Some(libc::ENODEV));
        assert_eq!(socket.send(&frame(1)).unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert_eq!(socket.local_addr().unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }
}

fn removal_ends_all_calls_that_wait() {
    all_waits_end(|| ip("link del va"));
}

fn removal_is_said_by_every_later_call() {
    for dual in DUAL {
        for first in [0, 1, 2] {
            let cable = Cable::new();
            let socket = bind(options().dual(dual), &cable.a);
            ip("link del va");
            let error = match first {
                0 => receive(&socket),
                1 => read_stamp(&socket),
                _ => socket.send(&frame(1)).unwrap_err().raw_os_error(),
            };
            assert_eq!(error, Some(libc::ENODEV), "dual={dual} first={first}");
            every_call_says_gone(&socket);
        }
    }
}

fn moving_away_is_removal() {
    let elsewhere = Namespace::new();
    all_waits_end(|| {
        ip(&format!("link set va netns {}", elsewhere.path()));
        elsewhere.run(|| ip("link del va"));
    });
}

fn renaming_changes_nothing() {
    for dual in DUAL {
        let cable = Cable::new();
        let (socket, peer) = (bind(options().dual(dual), &cable.a), bind(options(), &cable.b));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| socket.recv(&mut [0; 64]));
            thread::sleep(millis(20));
            // A name can be changed while an interface is up since Linux 6.2.
            ip("link set va name renamed");
            peer.send(&frame(1)).unwrap();
            waiting.join().unwrap().unwrap();
        });
        socket.send_keyed(&frame(2), TxKey::new(2)).unwrap();
        assert_eq!(socket.recv_tx(&mut []).unwrap().key.value(), 2);
        peer.recv(&mut [0; 64]).unwrap();
        assert_eq!(socket.interface().name(), "va", "as it was when it was bound");
        ip("link del renamed");
    }
}
