//! Waiting on a ring: deadlines, closing, and an interface that goes down, up or away.

use std::io::ErrorKind;
use std::process::Command;
use std::thread;
use std::time::Instant;

use fast_afpacket::{RingControl, RingShape};

use crate::lab::{Cable, Namespace, Ring, bind, eventually, frame, ip, link_up, millis, options, thread_time, within};

crate::tests! {
    a_deadline_ends_a_wait;
    a_ring_that_does_not_wait_says_so;
    another_thread_ends_a_wait;
    waiting_takes_no_processor_time;
    a_waiting_reader_gets_its_frame;
    down_is_said_once_and_the_ring_goes_on;
    opened_while_down_works_once_up;
    what_was_received_is_read_before_removal_is_said;
    removal_ends_a_wait;
    moving_away_ends_a_wait;
    a_reader_that_only_looks_is_told;
}

fn a_deadline_ends_a_wait() {
    let cable = Cable::new();
    for mut ring in Ring::both(options, &cable.a) {
        let start = Instant::now();
        ring.set_read_deadline(within(millis(50)));
        assert_eq!(ring.read().unwrap_err().raw_os_error(), Some(libc::ETIMEDOUT));
        assert!(start.elapsed() >= millis(50), "ended early");
        assert_eq!(ring.read().unwrap_err().kind(), ErrorKind::TimedOut, "in the past");
    }
}

fn a_ring_that_does_not_wait_says_so() {
    let cable = Cable::new();
    let sender = bind(options(), &cable.b);
    for mut ring in Ring::both(options, &cable.a) {
        ring.set_nonblocking(true);
        assert_eq!(ring.read().unwrap_err().kind(), ErrorKind::WouldBlock);
        sender.send(&frame(1)).unwrap();
        eventually("the frame is there", || ring.read().is_ok());
        ring.set_nonblocking(false);
        ring.set_read_deadline(within(millis(10)));
        assert_eq!(ring.read().unwrap_err().kind(), ErrorKind::TimedOut);
    }
}

/// Reads on a thread, and gives how that ended after `wake`.
fn ends_with(mut ring: Ring, wake: impl FnOnce(&RingControl)) -> (Ring, ErrorKind) {
    ring.set_read_deadline(None);
    let control = ring.control();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let kind = ring.read().unwrap_err().kind();
            (ring, kind)
        });
        thread::sleep(millis(30));
        assert!(!waiting.is_finished(), "it waits");
        wake(&control);
        waiting.join().unwrap()
    })
}

fn another_thread_ends_a_wait() {
    let cable = Cable::new();
    for ring in Ring::both(options, &cable.a) {
        let (ring, kind) = ends_with(ring, |control| control.set_read_deadline(Some(Instant::now())));
        assert_eq!(kind, ErrorKind::TimedOut);
        let (mut ring, kind) = ends_with(ring, RingControl::close);
        assert_eq!(kind, ErrorKind::ConnectionAborted);
        bind(options(), &cable.b).send(&frame(1)).unwrap();
        assert_eq!(ring.read().unwrap_err().kind(), ErrorKind::ConnectionAborted, "and every later one");
        let control = ring.control();
        assert!(control.stats().is_ok());
        drop(ring);
        assert_eq!(control.stats().unwrap_err().raw_os_error(), Some(libc::ECONNABORTED));
        control.close();
        control.set_read_deadline(None);
    }
}

fn waiting_takes_no_processor_time() {
    let cable = Cable::new();
    let sender = bind(options(), &cable.b);
    for mut ring in Ring::both(options, &cable.a) {
        // Also after something was read, when the kernel's idea of what is unread matters.
        for number in 0..3 {
            sender.send(&frame(number)).unwrap();
        }
        ring.take(3);
        ring.set_read_deadline(within(millis(500)));
        let before = thread_time();
        assert_eq!(ring.read().unwrap_err().kind(), ErrorKind::TimedOut);
        let used = thread_time() - before;
        assert!(used < millis(50), "{used:?} of 500 ms");
    }
}

fn a_waiting_reader_gets_its_frame() {
    let cable = Cable::new();
    let sender = bind(options(), &cable.b);
    for mut ring in Ring::both(options, &cable.a) {
        for number in 0..50 {
            thread::scope(|scope| {
                let waiting = scope.spawn(|| ring.take(1));
                thread::sleep(millis(1));
                sender.send(&frame(number)).unwrap();
                assert_eq!(waiting.join().unwrap()[0].data, frame(number));
            });
        }
    }
}

fn down_is_said_once_and_the_ring_goes_on() {
    for kind in 0..2 {
        let cable = Cable::new();
        let sender = bind(options(), &cable.b);
        let ring = Ring::both(options, &cable.a).nth(kind).unwrap();
        let (mut ring, error) = ends_with(ring, |_| ip("link set va down"));
        assert_eq!(error, ErrorKind::NetworkDown);
        ring.set_read_deadline(within(millis(20)));
        assert_eq!(ring.read().unwrap_err().kind(), ErrorKind::TimedOut, "once");
        link_up(&["va", "vb"]);
        sender.send(&frame(1)).unwrap();
        ring.set_read_deadline(within(millis(20_000)));
        assert_eq!(ring.take(1)[0].data, frame(1));
        // And to a call that comes later.
        ip("link set va down");
        ring.set_nonblocking(true);
        assert_eq!(ring.read().unwrap_err().kind(), ErrorKind::NetworkDown);
        assert_eq!(ring.read().unwrap_err().kind(), ErrorKind::WouldBlock);
        link_up(&["va", "vb"]);
        sender.send(&frame(2)).unwrap();
        ring.set_nonblocking(false);
        assert_eq!(ring.take(1)[0].data, frame(2));
        // Also if that has no time to wait.
        ring.set_read_deadline(Some(Instant::now()));
        ip("link set va down");
        assert_eq!(ring.read().unwrap_err().kind(), ErrorKind::NetworkDown);
        assert_eq!(ring.read().unwrap_err().kind(), ErrorKind::TimedOut);
        ip("link del va");
    }
}

fn opened_while_down_works_once_up() {
    for kind in 0..2 {
        let cable = Cable::new();
        let sender = bind(options(), &cable.b);
        ip("link set va down");
        let mut ring = Ring::both(options, &cable.a).nth(kind).unwrap();
        assert_eq!(ring.read().unwrap_err().kind(), ErrorKind::NetworkDown);
        link_up(&["va", "vb"]);
        sender.send(&frame(1)).unwrap();
        assert_eq!(ring.take(1)[0].data, frame(1));
        ip("link del va");
    }
}

fn what_was_received_is_read_before_removal_is_said() {
    for kind in 0..2 {
        let cable = Cable::new();
        let sender = bind(options(), &cable.b);
        let mut ring = Ring::both(options, &cable.a).nth(kind).unwrap();
        for number in 0..3 {
            sender.send(&frame(number)).unwrap();
        }
        if ring.is_of_blocks() {
            // The kernel has to close the block that the frames are in: then it is readable.
            thread::sleep(millis(50));
        }
        ip("link del va");
        for (number, copied) in (0..).zip(ring.take(3)) {
            assert_eq!(copied.data, frame(number));
        }
        for _ in 0..3 {
            assert_eq!(ring.read().unwrap_err().raw_os_error(), Some(libc::ENODEV));
        }
    }
}

fn away_ends_a_wait(go: impl Fn()) {
    for kind in 0..2 {
        // Removed at once, and when it had been down for a while: the kernel says nothing then.
        for down_before in [false, true] {
            let cable = Cable::new();
            let mut ring = Ring::both(options, &cable.a).nth(kind).unwrap();
            if down_before {
                ip("link set va down");
                assert_eq!(ring.read().unwrap_err().kind(), ErrorKind::NetworkDown);
            }
            ring.set_read_deadline(None);
            let (mut ring, errno) = thread::scope(|scope| {
                let waiting = scope.spawn(|| {
                    let errno = ring.read().unwrap_err().raw_os_error();
                    (ring, errno)
                });
                thread::sleep(millis(30));
                go();
                waiting.join().unwrap()
            });
            assert!(matches!(errno, Some(libc::ENODEV | libc::ENETDOWN)), "{errno:?}");
            if errno == Some(libc::ENETDOWN) {
                ring.set_read_deadline(within(millis(20_000)));
            }
            for _ in 0..3 {
                assert_eq!(ring.read().unwrap_err().raw_os_error(), Some(libc::ENODEV));
            }
            let _ = Command::new("ip").args(["link", "del", "vb"]).output();
        }
    }
}

fn removal_ends_a_wait() {
    away_ends_a_wait(|| ip("link del va"));
}

fn moving_away_ends_a_wait() {
    let elsewhere = Namespace::new();
    away_ends_a_wait(|| {
        ip(&format!("link set va netns {}", elsewhere.path()));
        elsewhere.run(|| ip("link del va"));
    });
}

fn a_reader_that_only_looks_is_told() {
    // At every 4,096th look in a row the link is looked at.
    const LOOKS: usize = 5000;
    let cable = Cable::new();
    let sender = bind(options(), &cable.b);
    let mut ring = options().rx_ring(&cable.a, RingShape::latency()).unwrap();
    let mut look_until = |what: &str, errno| {
        let mut found = None;
        eventually(what, || {
            found = (0..LOOKS).find_map(|_| ring.try_next_frame().err());
            found.is_some()
        });
        assert_eq!(found.unwrap().raw_os_error(), Some(errno), "{what}");
        ring.try_next_frame().map(|held| held.is_some())
    };
    ip("link set va down");
    assert!(!look_until("down", libc::ENETDOWN).unwrap(), "once");
    link_up(&["va", "vb"]);
    sender.send(&frame(7)).unwrap();
    assert!(ring.try_next_frame().unwrap().is_some_and(|held| held.data() == frame(7)));
    ip("link del va");
    let mut look = || ring.try_next_frame().err().and_then(|error| error.raw_os_error());
    eventually("gone", || (0..LOOKS).any(|_| look() == Some(libc::ENODEV)));
    eventually("gone for good", || (0..LOOKS).any(|_| look() == Some(libc::ENODEV)));
    ring.close();
    assert_eq!(ring.try_next_frame().unwrap_err().kind(), ErrorKind::ConnectionAborted);
}
