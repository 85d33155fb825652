//! A stamp carries the key of its own frame, whatever was refused in between, with the kernel's keys and without.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use fast_afpacket::{PacketSocket, Timestamping, TxKey, TxStage};

use crate::lab::{Cable, bind, eventually, frame, frame_of, ip, kernel_is_before, link_up, options, tc};

crate::tests! {
    keys_survive_refusals;
    keys_survive_refusals_when_counted;
    any_keys_in_any_order;
    several_senders_at_once;
    several_senders_at_once_when_counted;
}

fn keys_survive_refusals() {
    let socket = refusals(false);
    assert_eq!(socket.granted().own_keys, !kernel_is_before((6, 13)), "older ones count, as in the test below");
}

fn keys_survive_refusals_when_counted() {
    let socket = refusals(true);
    assert!(!socket.granted().own_keys);
}

/// 10,000 good frames; between them 500 of each length that the link refuses, 500 that a full queue refuses, and 500
/// while the interface is down. The frame that comes back with a stamp says which one it belongs to.
fn refusals(count_keys: bool) -> PacketSocket {
    const GOOD: u32 = 10_000;
    let cable = Cable::new();
    let stamps = Timestamping::TX_SOFTWARE;
    let socket = bind(options().dual(true).tx_payload(true).timestamping(stamps).count_keys(count_keys), &cable.a);
    let mut ledger = Ledger::default();
    let mut refused = HashMap::<i32, u32>::new();
    let mut good = 0;
    let mut round = 0;
    while good < GOOD {
        for _ in 0..5 {
            ledger.send(&socket, 60).unwrap();
            good += 1;
        }
        if round < 500 {
            for len in 1515..=1518 {
                let error = ledger.send(&socket, len).unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE), "{len}");
                *refused.entry(libc::EMSGSIZE).or_default() += 1;
            }
        }
        if round % 4 == 0 {
            ledger.read(&socket);
            ip("link set va down");
            let error = ledger.send(&socket, 60).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENETDOWN));
            *refused.entry(libc::ENETDOWN).or_default() += 1;
            link_up(&["va", "vb"]);
        }
        if round == 1000 {
            // A queue that holds one small frame, and lets a few out each second.
            tc("qdisc add dev va root tbf rate 8kbit burst 100 limit 100");
            while refused.get(&libc::ENOBUFS).copied().unwrap_or(0) < 500 {
                if let Err(error) = ledger.send(&socket, 60) {
                    *refused.entry(error.raw_os_error().unwrap()).or_default() += 1;
                }
                ledger.read(&socket);
            }
            tc("qdisc del dev va root");
        }
        ledger.read(&socket);
        round += 1;
    }
    eventually("the last stamp", || {
        ledger.read(&socket);
        ledger.stamped.contains_key(&(ledger.next - 1))
    });
    let unattributed = socket.stats().unwrap().unattributed;
    eprintln!("refused: {refused:?}; stamps: {}, wrong: 0, unattributed: {unattributed}", ledger.stamped.len());
    assert_eq!(refused[&libc::EMSGSIZE], 2000);
    assert_eq!(refused[&libc::ENOBUFS], 500);
    assert!(refused[&libc::ENETDOWN] >= 500);
    assert_eq!(unattributed, 0);
    assert!(ledger.stamped.len() as u32 >= GOOD, "{} stamps", ledger.stamped.len());
    socket
}

#[derive(Default)]
struct Ledger {
    next: u32,
    stamped: HashMap<u32, u32>,
}

impl Ledger {
    /// Sends a frame with its own number as key, whether or not it will be refused.
    fn send(&mut self, socket: &PacketSocket, len: usize) -> std::io::Result<usize> {
        let key = self.next;
        self.next += 1;
        socket.send_keyed(&frame_of(len, key), TxKey::new(key))
    }

    /// Reads all stamps that are there and holds each against the frame that came with it.
    fn read(&mut self, socket: &PacketSocket) {
        let mut buf = [0; 2048];
        socket.set_nonblocking(true);
        while let Ok(report) = socket.recv_tx(&mut buf) {
            let number = crate::lab::number_in(&buf[..report.len]);
            assert_eq!(report.key.value(), number, "a key of another frame");
            assert_eq!(report.stage, TxStage::Sent);
            *self.stamped.entry(number).or_default() += 1;
            assert_eq!(self.stamped[&number], 1, "one stamp for each frame");
        }
        socket.set_nonblocking(false);
    }
}

fn any_keys_in_any_order() {
    let cable = Cable::new();
    for count_keys in [false, true] {
        let socket = bind(options().timestamping(Timestamping::TX_SOFTWARE).count_keys(count_keys), &cable.a);
        let keys = [1000, 7, u32::MAX, 0, 7, 0xffff_fff0, 1];
        for key in keys {
            socket.send_keyed(&frame(key), TxKey::new(key)).unwrap();
        }
        assert_eq!(keys.map(|_| socket.recv_tx(&mut []).unwrap().key.value()), keys);
    }
}

fn several_senders_at_once() {
    senders(false);
}

fn several_senders_at_once_when_counted() {
    senders(true);
}

fn senders(count_keys: bool) {
    const EACH: u32 = 2000;
    // No more than there is room for, whatever this user may have.
    const UNREAD: u32 = 100;
    let cable = Cable::new();
    let stamps = Timestamping::TX_SOFTWARE;
    let socket = bind(options().dual(true).tx_payload(true).timestamping(stamps).count_keys(count_keys), &cable.a);
    let (sent, read) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for sender in 0..4 {
            let (socket, sent, read) = (&socket, &sent, &read);
            scope.spawn(move || {
                for number in sender * EACH..(sender + 1) * EACH {
                    let place = sent.fetch_add(1, Ordering::Relaxed);
                    eventually("the stamps are read", || place < read.load(Ordering::Relaxed) + UNREAD);
                    socket.send_keyed(&frame(number), TxKey::new(number)).unwrap();
                    // One in ten is refused late and uses up one of the kernel's numbers.
                    if number % 10 == 0 {
                        socket.send_keyed(&frame_of(1516, number), TxKey::new(number)).unwrap_err();
                    }
                }
            });
        }
        let mut buf = [0; 2048];
        let mut seen = vec![false; 4 * EACH as usize];
        for _ in 0..4 * EACH {
            let report = socket.recv_tx(&mut buf).unwrap();
            read.fetch_add(1, Ordering::Relaxed);
            let number = crate::lab::number_in(&buf[..report.len]);
            assert_eq!(report.key.value(), number);
            assert!(!std::mem::replace(&mut seen[number as usize], true));
        }
    });
}
