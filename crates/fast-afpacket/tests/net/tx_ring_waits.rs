//! Waiting on a transmit ring: deadlines, closing, and an interface that goes down or away.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use fast_afpacket::{RingShape, TxKey, TxRing, TxRingControl};

use crate::lab::{
    Cable, Namespace, eventually, frame, frame_of, ip, link_up, millis, options, tc, thread_time, within,
};
use crate::tx_rings::{arrivals, open, receiver, small};

crate::tests! {
    a_deadline_ends_each_wait;
    a_ring_that_does_not_wait_says_so;
    a_deadline_that_is_set_later_ends_each_wait;
    close_ends_each_wait;
    waiting_takes_no_processor_time;
    a_slot_is_lent_as_soon_as_it_is_free;
    a_full_send_buffer_is_waited_for;
    stamps_are_read_by_another_thread;
    a_stamp_reader_is_told_of_the_link;
    removal_is_said;
    moving_away_is_said;
    dropping_ends_the_waits_of_others;
}

/// A ring all of whose slots are with a queue that lets nothing out for a long time.
fn stuck(cable: &Cable) -> TxRing {
    let interface = cable.a.name();
    let _ = std::process::Command::new("tc").args(["qdisc", "del", "dev", &interface, "root"]).output();
    tc(&format!("qdisc add dev {interface} root tbf rate 1kbit burst 2000 limit 1000000"));
    let mut ring = open(options(), &cable.a, small());
    eventually("all slots are with the queue", || {
        ring.push(&frame_of(1500, 0)).unwrap();
        assert_eq!(ring.flush().unwrap(), 1);
        ring.try_next_slot().unwrap().is_none()
    });
    ring
}

/// A ring whose send buffer is full, with frames that are committed, and slots to spare.
fn without_room(cable: &Cable) -> TxRing {
    drop(stuck(cable));
    let mut ring = open(options().send_buffer(2304), &cable.a, RingShape::transmit());
    ring.set_nonblocking(true);
    eventually("the send buffer is full", || {
        ring.push(&frame_of(1000, 0)).unwrap();
        ring.flush().is_err()
    });
    ring.set_nonblocking(false);
    ring
}

type Call = fn(&mut TxRing) -> io::Result<()>;
type Make = fn(&Cable) -> TxRing;
const CALLS: [(&str, Make, Call); 3] = [
    ("next_slot", stuck, |ring| ring.next_slot().map(drop)),
    ("flush", without_room, |ring| ring.flush().map(drop).map_err(io::Error::from)),
    ("recv_tx", stuck, |ring| ring.recv_tx(&mut []).map(drop)),
];

fn set_deadline(ring: &TxRing, deadline: Option<Instant>) {
    ring.set_write_deadline(deadline);
    ring.set_tx_deadline(deadline);
}

fn a_deadline_ends_each_wait() {
    let cable = Cable::new();
    for (name, make, call) in CALLS {
        let mut ring = make(&cable);
        set_deadline(&ring, within(millis(50)));
        let start = Instant::now();
        let committed = ring.committed();
        assert_eq!(call(&mut ring).unwrap_err().raw_os_error(), Some(libc::ETIMEDOUT), "{name}");
        assert!(start.elapsed() >= millis(50), "{name} ended early");
        set_deadline(&ring, Some(start));
        assert_eq!(call(&mut ring).unwrap_err().kind(), ErrorKind::TimedOut, "{name} with a deadline in the past");
        assert_eq!(ring.committed(), committed);
    }
}

fn a_ring_that_does_not_wait_says_so() {
    let cable = Cable::new();
    for (name, make, call) in CALLS {
        let mut ring = make(&cable);
        ring.set_nonblocking(true);
        assert_eq!(call(&mut ring).unwrap_err().kind(), ErrorKind::WouldBlock, "{name}");
        ring.set_nonblocking(false);
        set_deadline(&ring, within(millis(10)));
        assert_eq!(call(&mut ring).unwrap_err().kind(), ErrorKind::TimedOut, "{name}");
    }
    let mut ring = stuck(&cable);
    assert!(ring.try_next_slot().unwrap().is_none(), "and without a deadline");
}

/// Runs each waiting call on a thread, lets `wake` end it, and checks how it ended.
fn each_is_woken(wake: fn(&TxRingControl), kind: ErrorKind) {
    let cable = Cable::new();
    for (name, make, call) in CALLS {
        let mut ring = make(&cable);
        set_deadline(&ring, None);
        let control = ring.control();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let first = call(&mut ring).unwrap_err().kind();
                (first, call(&mut ring).unwrap_err().kind(), ring.try_next_slot().map(|slot| slot.is_some()))
            });
            thread::sleep(millis(30));
            assert!(!waiting.is_finished(), "{name} waits");
            wake(&control);
            let (first, second, slot) = waiting.join().unwrap();
            assert_eq!((first, second), (kind, kind), "{name}");
            let closed = kind == ErrorKind::ConnectionAborted;
            assert_eq!(slot.is_err(), closed, "{name}: {slot:?}");
        });
    }
}

fn a_deadline_that_is_set_later_ends_each_wait() {
    let end = |control: &TxRingControl| {
        control.set_write_deadline(Some(Instant::now()));
        control.set_tx_deadline(Some(Instant::now()));
    };
    each_is_woken(end, ErrorKind::TimedOut);
}

fn close_ends_each_wait() {
    each_is_woken(TxRingControl::close, ErrorKind::ConnectionAborted);
}

fn waiting_takes_no_processor_time() {
    let cable = Cable::new();
    for (name, make, call) in CALLS {
        let mut ring = make(&cable);
        if name == "next_slot" {
            // The kernel says that the socket is writable all the time; a stamp that nobody reads adds to it.
            tc("qdisc del dev va root");
            ring.next_slot().unwrap();
            ring.push_keyed(&frame(1), TxKey::new(1)).unwrap();
            ring.flush().unwrap();
            drop(ring);
            ring = stuck(&cable);
        }
        set_deadline(&ring, within(millis(500)));
        let before = thread_time();
        assert_eq!(call(&mut ring).unwrap_err().kind(), ErrorKind::TimedOut);
        let used = thread_time() - before;
        assert!(used < millis(50), "{name}: {used:?} of 500 ms");
    }
}

fn a_slot_is_lent_as_soon_as_it_is_free() {
    const COUNT: u32 = 200;
    let cable = Cable::new();
    let receiver = receiver(&cable.b);
    // Half a millisecond for a frame; the queue has room for all that the ring has.
    tc("qdisc add dev va root tbf rate 1mbit burst 100 limit 100000");
    let mut ring = open(options(), &cable.a, small());
    for number in 0..COUNT {
        // Each waits for a slot, once the first six are with the queue.
        ring.push(&frame(number)).unwrap();
        assert_eq!(ring.flush().unwrap(), 1);
    }
    assert!(arrivals(&receiver, COUNT as usize).into_iter().eq(0..COUNT));
}

fn a_full_send_buffer_is_waited_for() {
    const COUNT: usize = 200;
    let cable = Cable::new();
    let receiver = receiver(&cable.b);
    tc("qdisc add dev va root tbf rate 1mbit burst 100 limit 1000000");
    let mut ring = open(options().send_buffer(4096), &cable.a, RingShape::transmit());
    for number in 0..COUNT {
        ring.push(&frame(number as u32)).unwrap();
    }
    ring.set_nonblocking(true);
    let error = ring.flush().unwrap_err();
    assert_eq!((error.error().kind(), error.refused()), (ErrorKind::WouldBlock, None));
    assert!(error.taken() >= 1, "as many as the send buffer has room for: {error}");
    assert_eq!(error.taken() + error.left(), COUNT);
    ring.set_nonblocking(false);
    assert_eq!(ring.flush().unwrap(), error.left());
    assert!(arrivals(&receiver, COUNT).into_iter().eq(0..COUNT as u32), "each once and in order");
}

fn stamps_are_read_by_another_thread() {
    const COUNT: u32 = 2000;
    let cable = Cable::new();
    let mut ring = open(options(), &cable.a, RingShape::transmit());
    let control = ring.control();
    let read = AtomicU32::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..COUNT {
                for _ in 0..2 {
                    assert_eq!(control.recv_tx(&mut []).unwrap().key.value(), number);
                }
                read.store(number + 1, Ordering::Relaxed);
            }
        });
        for number in 0..COUNT {
            ring.push_keyed(&frame(number), TxKey::new(number)).unwrap();
            if number % 8 == 7 {
                ring.flush().unwrap();
                // The queue holds 255, two for each frame.
                eventually("the reader is not far behind", || read.load(Ordering::Relaxed) + 100 > number);
                assert!(!control.is_tx_queue_full().unwrap());
            }
        }
    });
    assert_eq!(read.into_inner(), COUNT);
}

fn a_stamp_reader_is_told_of_the_link() {
    let cable = Cable::new();
    let mut ring = open(options(), &cable.a, small());
    ring.set_tx_deadline(None);
    let control = ring.control();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| control.recv_tx(&mut []).unwrap_err().raw_os_error());
        thread::sleep(millis(30));
        assert!(!waiting.is_finished());
        ip("link set va down");
        assert_eq!(waiting.join().unwrap(), Some(libc::ENETDOWN));
    });
    assert_eq!(ring.recv_tx(&mut []).unwrap_err().raw_os_error(), Some(libc::ENETDOWN), "for as long as it is");
    link_up(&["va", "vb"]);
    ring.push_keyed(&frame(1), TxKey::new(5)).unwrap();
    ring.flush().unwrap();
    assert_eq!(ring.recv_tx(&mut []).unwrap().key.value(), 5);
}

fn away_is_said(go: impl Fn()) {
    // Removed when it was up, and when it had been down for a while.
    for down_before in [false, true] {
        let cable = Cable::new();
        let mut ring = open(options(), &cable.a, small());
        ring.push(&frame(1)).unwrap();
        if down_before {
            ip("link set va down");
            assert_eq!(ring.flush().unwrap_err().error().raw_os_error(), Some(libc::ENETDOWN));
        }
        set_deadline(&ring, None);
        let control = ring.control();
        let errno = thread::scope(|scope| {
            let waiting = scope.spawn(|| control.recv_tx(&mut []).unwrap_err().raw_os_error());
            thread::sleep(millis(30));
            go();
            waiting.join().unwrap()
        });
        assert!(matches!(errno, Some(libc::ENODEV | libc::ENETDOWN)), "{errno:?}");
        for _ in 0..3 {
            let error = ring.flush().unwrap_err();
            assert_eq!((error.error().raw_os_error(), error.left()), (Some(libc::ENODEV), 1));
            assert_eq!(ring.recv_tx(&mut []).unwrap_err().raw_os_error(), Some(libc::ENODEV));
        }
        assert!(ring.next_slot().is_ok(), "no slot is with a queue that is gone");
        let _ = std::process::Command::new("ip").args(["link", "del", "vb"]).output();
    }
}

fn removal_is_said() {
    away_is_said(|| ip("link del va"));
    // With all slots in its queue.
    let cable = Cable::new();
    let mut ring = stuck(&cable);
    set_deadline(&ring, None);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| ring.next_slot().map(drop).map_err(|error| error.raw_os_error()));
        thread::sleep(millis(30));
        assert!(!waiting.is_finished());
        ip("link del va");
        let ended = waiting.join().unwrap();
        assert!(matches!(ended, Ok(()) | Err(Some(libc::ENODEV))), "{ended:?}");
    });
}

fn moving_away_is_said() {
    let elsewhere = Namespace::new();
    away_is_said(|| {
        ip(&format!("link set va netns {}", elsewhere.path()));
        elsewhere.run(|| ip("link del va"));
    });
}

fn dropping_ends_the_waits_of_others() {
    let cable = Cable::new();
    for round in 0..20 {
        let ring = open(options(), &cable.a, small());
        ring.set_tx_deadline(None);
        let control = ring.control();
        thread::scope(|scope| {
            let waiting: Vec<_> =
                (0..3).map(|_| scope.spawn(|| control.recv_tx(&mut []).unwrap_err().kind())).collect();
            if round % 2 == 0 {
                thread::sleep(millis(10));
            }
            drop(ring);
            for call in waiting {
                assert_eq!(call.join().unwrap(), ErrorKind::ConnectionAborted);
            }
        });
        assert_eq!(control.recv_tx(&mut []).unwrap_err().raw_os_error(), Some(libc::ECONNABORTED));
        assert_eq!(control.stats().unwrap_err().raw_os_error(), Some(libc::ECONNABORTED));
        assert_eq!(control.is_tx_queue_full().unwrap_err().kind(), ErrorKind::ConnectionAborted);
        control.close();
        control.set_tx_deadline(None);
        control.set_write_deadline(None);
    }
    let packet = std::fs::read_to_string("/proc/thread-self/net/packet").unwrap();
    assert_eq!(packet.lines().count(), 1, "no socket is left");
}
