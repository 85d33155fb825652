//! Sending, singly and in batches, and reading the stamps of what was sent.

use std::collections::BTreeMap;
use std::io;

use fast_afpacket::{
    Interface, MacAddr, PacketAddr, PacketSocket, RecvBatch, Stats, Timestamping, TxFrame, TxKey, TxReport,
    TxReportBatch, TxRing,
};

use crate::hooks::{self, Fault};
use crate::lab::{self, Cable, PROTOCOL, bind, frame, number_in, options};
use crate::{ERRORS, Reported as _, SHORTAGES, again, at_each_of};

/// Each frame with a key has two stamps: it enters the queue, and the driver takes it.
const STAMPS: u32 = 2;

/// [`ERRORS`], where the kernel counts the frames. It says `ENOBUFS` when a queue has refused a frame with its number; or
/// for want of memory, without a number, but that it has less than a page it does not let happen.
const COUNTED: [Fault; 3] = [ERRORS[0], ERRORS[1], ERRORS[3]];

/// What may go wrong when this socket sends.
pub(crate) fn errors_of(sender: &PacketSocket) -> &'static [Fault] {
    if sender.granted().own_keys { &ERRORS } else { &COUNTED }
}

/// What one end knows of all that was sent.
#[derive(Default)]
struct Ledger {
    next: u32,
    sent: Vec<u32>,
    keyed: u32,
    /// The receiver's counts so far.
    counted: Stats,
}

impl Ledger {
    /// Sends one frame, with a number of its own.
    fn send(&mut self, keyed: bool, send: impl FnOnce(&[u8], TxKey)) {
        send(&frame(self.next), TxKey::new(self.next));
        self.sent.push(self.next);
        self.keyed += u32::from(keyed);
        self.next += 1;
    }

    /// Receives all that was sent, one by one; what is lost is only what was reported.
    fn receive(&mut self, fault: Fault, told: &mut bool, receiver: &PacketSocket) -> Stats {
        let (mut buf, mut lost) = ([0; 2048], 0);
        let mut received = Vec::new();
        while received.len() + lost < self.sent.len() {
            match receiver.recv(&mut buf) {
                Ok(meta) => {
                    assert!(meta.len == 60 || meta.len == 18 && meta.wire_len == 60);
                    received.push(number_in(&buf));
                }
                Err(error) => {
                    // A frame that cannot be described is lost, one that was not read is still there.
                    lost += usize::from(matches!(fault, Fault::ShortControl(_)));
                    error.check(fault);
                    assert!(!std::mem::replace(told, true), "{error}");
                }
            }
        }
        are_those(&received, &self.sent, lost);
        self.sent.clear();
        self.count(receiver)
    }

    /// What was counted since the last time.
    fn count(&mut self, receiver: &PacketSocket) -> Stats {
        let now = count(receiver);
        now.since(&std::mem::replace(&mut self.counted, now))
    }

    /// Reads all stamps, one by one. One that was cut is lost, and one that could be of two frames is counted.
    fn read_stamps(&mut self, fault: Fault, told: &mut bool, reader: &impl Reader) {
        let mut stamps = BTreeMap::<_, u32>::new();
        let (mut accounted, before) = (0, reader.unattributed());
        while accounted + reader.unattributed() - before < u64::from(self.keyed * STAMPS) {
            match reader.recv_tx() {
                Ok(report) => {
                    assert!(report.timestamps.software.is_some());
                    *stamps.entry(report.key).or_default() += 1;
                    accounted += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                Err(error) => {
                    accounted += u64::from(matches!(fault, Fault::ShortControl(_)));
                    error.check(fault);
                    assert!(!std::mem::replace(told, true), "{error}");
                }
            }
        }
        assert!(stamps.values().all(|&count| count <= STAMPS), "{stamps:?}");
        self.keyed = 0;
    }
}

/// What reads stamps.
trait Reader {
    fn recv_tx(&self) -> io::Result<TxReport>;
    fn unattributed(&self) -> u64;
}

impl Reader for PacketSocket {
    fn recv_tx(&self) -> io::Result<TxReport> {
        hooks::without(|| self.set_tx_deadline(lab::within(lab::millis(20))));
        self.recv_tx(&mut [0; 64])
    }

    fn unattributed(&self) -> u64 {
        count(self).unattributed
    }
}

impl Reader for TxRing {
    fn recv_tx(&self) -> io::Result<TxReport> {
        hooks::without(|| self.set_tx_deadline(lab::within(lab::millis(20))));
        self.recv_tx(&mut [])
    }

    fn unattributed(&self) -> u64 {
        hooks::without(|| self.stats().unwrap().unattributed)
    }
}

/// All of these, in order, but for so many that are lost.
fn are_those(received: &[u32], sent: &[u32], lost: usize) {
    assert_eq!(received.len() + lost, sent.len());
    assert!(received.is_sorted() && received.iter().all(|number| sent.contains(number)), "{received:?} of {sent:?}");
}

fn count(socket: &PacketSocket) -> Stats {
    hooks::without(|| socket.stats().unwrap())
}

fn nothing_more(sender: &PacketSocket) {
    hooks::without(|| {
        sender.set_nonblocking(true);
        let error = sender.recv_tx(&mut []).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
        sender.set_nonblocking(false);
    });
}

fn sender(interface: &Interface, count_keys: bool) -> PacketSocket {
    bind(options().dual(true).timestamping(Timestamping::TX).count_keys(count_keys), interface)
}

fn one_by_one(ledger: &mut Ledger, fault: Fault, sender: &PacketSocket, receiver: &PacketSocket) -> bool {
    let mut told = false;
    let everybody = PacketAddr::new(MacAddr::BROADCAST, PROTOCOL);
    for _ in 0..2 {
        ledger.send(false, |frame, _| _ = again(fault, &mut told, || sender.send(frame)));
        ledger.send(false, |frame, _| _ = again(fault, &mut told, || sender.send_to(frame, &everybody)));
        ledger.send(true, |frame, key| _ = again(fault, &mut told, || sender.send_keyed(frame, key)));
    }
    let received = ledger.receive(fault, &mut told, receiver);
    assert_eq!((received.received, received.dropped, received.malformed), (6, 0, 0));
    assert!(received.truncated <= u64::from(matches!(fault, Fault::ShortData(_))));
    ledger.read_stamps(fault, &mut told, sender);
    nothing_more(sender);
    again(fault, &mut told, || receiver.stats());
    told
}

/// The reader of stamps waits too, and the receiver for a frame that is still to come.
pub(crate) fn sockets() {
    try_sockets(false);
}

/// Where the kernel counts the frames, each refusal has to be understood.
pub(crate) fn counted_keys() {
    try_sockets(true);
}

fn try_sockets(count_keys: bool) {
    let cable = Cable::new();
    let (sender, receiver) = (sender(&cable.a, count_keys), bind(options(), &cable.b));
    let mut ledger = Ledger::default();
    // Before Linux 6.13 in any case.
    let counts = !sender.granted().own_keys;
    let calls = ["sendto", "sendmsg", "recvmsg", "getsockopt"];
    at_each_of(&calls[usize::from(counts) * 2..], errors_of(&sender), |fault| {
        one_by_one(&mut ledger, fault, &sender, &receiver)
    });
    at_each_of(&["recvmsg"], &SHORTAGES[..3], |fault| one_by_one(&mut ledger, fault, &sender, &receiver));
    assert!(counts || count(&sender).unattributed == 0);
}

pub(crate) fn batches() {
    try_batches(false);
}

/// Where the kernel counts the frames, each with a key has a call of its own.
pub(crate) fn counted_batches() {
    try_batches(true);
}

fn try_batches(count_keys: bool) {
    let cable = Cable::new();
    let (sender, receiver) = (sender(&cable.a, count_keys), bind(options(), &cable.b));
    let counts = !sender.granted().own_keys;
    let mut ledger = Ledger::default();
    let mut batch = RecvBatch::new(4, 64);
    let mut stamps = TxReportBatch::new(3);
    let mut scenario = |fault: Fault| {
        let mut told = false;
        let frames: Vec<_> = (ledger.next..ledger.next + 5).map(|number| (frame(number), number)).collect();
        let frames: Vec<_> =
            frames.iter().map(|(frame, number)| TxFrame::new(frame).key(TxKey::new(*number))).collect();
        let mut rest = &frames[..];
        while let Err(refused) = sender.send_batch(rest) {
            refused.check(fault);
            assert!(!std::mem::replace(&mut told, true), "{refused}");
            rest = &rest[refused.sent()..];
        }
        ledger.sent.extend(ledger.next..ledger.next + 5);
        ledger.next += 5;
        let before = count(&receiver);
        let mut received = Vec::new();
        let malformed = |now: Stats, before: &Stats| now.since(before).malformed as usize;
        // A frame that cannot be described is left out, and counted.
        while received.len() + malformed(count(&receiver), &before) < 5 {
            // If nothing else is there, a call waits for more than what it has counted.
            hooks::without(|| receiver.set_read_deadline(lab::within(lab::millis(20))));
            match receiver.recv_batch(&mut batch) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => continue,
                Err(error) => {
                    error.check(fault);
                    assert!(!std::mem::replace(&mut told, true), "{error}");
                }
            }
            for frame in &batch {
                received.push(number_in(frame.data()));
            }
        }
        let counted = ledger.count(&receiver);
        are_those(&received, &ledger.sent, counted.malformed as usize);
        assert_eq!((counted.received, counted.dropped), (5, 0));
        ledger.sent.clear();
        let before = count(&sender);
        // One that could be of two frames is left out too.
        let unread = |now: Stats| malformed(now, &before) + now.since(&before).unattributed as usize;
        let mut read = 0;
        while read + unread(count(&sender)) < 10 {
            hooks::without(|| sender.set_tx_deadline(lab::within(lab::millis(20))));
            match sender.recv_tx_batch(&mut stamps) {
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                Err(error) => {
                    error.check(fault);
                    assert!(!std::mem::replace(&mut told, true), "{error}");
                }
            }
        }
        nothing_more(&sender);
        told
    };
    let calls = [if counts { "sendmsg" } else { "sendmmsg" }, "recvmmsg"];
    at_each_of(&calls, errors_of(&sender), &mut scenario);
    at_each_of(&calls[usize::from(counts)..], &SHORTAGES, &mut scenario);
    assert!(counts || count(&sender).unattributed == 0);
}

pub(crate) fn transmit_ring() {
    let cable = Cable::new();
    let receiver = bind(options().receive_buffer(1 << 20), &cable.b);
    let shape = fast_afpacket::RingShape::transmit().block_size(4096).blocks(2).frame_size(1024);
    let mut ring = options().timestamping(Timestamping::TX).tx_ring(&cable.a, shape).unwrap();
    ring.set_write_deadline(lab::within(lab::millis(20_000)));
    ring.set_tx_deadline(lab::within(lab::millis(20_000)));
    let mut ledger = Ledger::default();
    let mut scenario = |fault: Fault| {
        let mut told = false;
        for _ in 0..3 {
            ledger.send(false, |frame, _| again(fault, &mut told, || ring.push(frame)));
            ledger.send(true, |frame, key| again(fault, &mut told, || ring.push_keyed(frame, key)));
        }
        let mut left = 6;
        while left > 0 {
            match ring.flush() {
                Ok(taken) => left -= taken,
                Err(error) => {
                    error.check(fault);
                    assert!(!std::mem::replace(&mut told, true), "{error}");
                    assert_eq!(error.refused(), None);
                    left -= error.taken();
                    assert_eq!(error.left(), left);
                }
            }
        }
        let mut untouched = true;
        hooks::without(|| ledger.receive(fault, &mut untouched, &receiver));
        ledger.read_stamps(fault, &mut told, &ring);
        told
    };
    at_each_of(&["sendto", "sendmsg", "recvmsg"], &COUNTED, &mut scenario);
    at_each_of(&["recvmsg"], &SHORTAGES[..2], &mut scenario);
}
