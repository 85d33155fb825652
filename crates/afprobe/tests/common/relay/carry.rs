//! One way of a relay: frames in, and out again after what is done to them.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::io::ErrorKind;
use std::mem;
use std::time::{Duration, Instant};

use fast_afpacket::{ByFrame, PacketSocket, RxRing, SystemStamp};

use super::depart::Sender;
use super::ledger::Ledger;
use super::packet::{self, Packet};
use super::plan::{Deed, Plan, Way};

/// So long before its time a frame is no longer waited for in sleep.
const SPIN: Duration = Duration::from_micros(100);

/// A frame on its way through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Transit<'a> {
    /// By the kernel's stamp.
    pub(super) arrived: SystemStamp,
    pub(super) packet: Option<Packet>,
    pub(super) bytes: Cow<'a, [u8]>,
}

impl Transit<'_> {
    fn into_owned(self) -> Transit<'static> {
        Transit { bytes: Cow::Owned(self.bytes.into_owned()), ..self }
    }

    /// When it has been held for so long.
    fn due(&self, delay: Duration) -> Instant {
        let (now, held) = (Instant::now(), SystemStamp::now().nanos_since(self.arrived));
        now + delay.saturating_sub(Duration::from_nanos(held.try_into().unwrap()))
    }
}

/// Carries frames one way.
pub(super) struct Carrier<'a> {
    way: Way,
    plan: &'a Plan,
    sender: Sender<'a>,
    arrivals: Vec<Packet>,
    /// Probes to which, or to whose first reply, was done what was to be done.
    done: HashSet<u32>,
    /// Those that let the next one pass.
    let_pass: Vec<Transit<'static>>,
    /// Those that wait for a time, the earliest first; of two with one time, the one that began to wait first.
    waiting: BinaryHeap<Reverse<(Instant, usize, Transit<'static>)>>,
    waited: usize,
}

impl<'a> Carrier<'a> {
    pub(super) fn new(way: Way, plan: &'a Plan, to: &'a PacketSocket) -> Self {
        Self {
            way,
            plan,
            sender: Sender::new(to, plan.is_stamped),
            arrivals: Vec::new(),
            done: HashSet::new(),
            let_pass: Vec::new(),
            waiting: BinaryHeap::new(),
            waited: 0,
        }
    }

    /// Carries until the ring is closed.
    pub(super) fn carry(mut self, mut from: RxRing<ByFrame>) -> Ledger {
        loop {
            let first_due = self.waiting.peek().map(|Reverse((due, ..))| *due);
            from.set_read_deadline(first_due.map(|due| due - SPIN));
            match from.next_frame() {
                Ok(frame) => {
                    let (meta, bytes) = (frame.meta(), frame.data());
                    assert!(!meta.is_truncated() && meta.vlan.is_none(), "no frame of these cables: {meta:?}");
                    let arrived =
                        meta.timestamps.software.unwrap_or_else(|| panic!("a host that does not stamp: {meta:?}"));
                    let packet = Packet::read(self.way, bytes);
                    self.take(Transit { arrived, packet, bytes: bytes.into() });
                }
                Err(error) if error.kind() == ErrorKind::TimedOut => {}
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => break,
                Err(error) => panic!("{error}"),
            }
            self.send_what_is_due();
            self.sender.take_stamps();
        }
        let left = self.waiting.len() + self.let_pass.len();
        assert_eq!(left, 0, "the relay was ended while frames waited in it");
        Ledger { arrivals: self.arrivals, departures: self.sender.finish() }
    }

    /// Does to a frame what is to be done.
    fn take(&mut self, frame: Transit<'_>) {
        self.arrivals.extend(frame.packet);
        let first = frame.packet.filter(|packet| self.done.insert(packet.probe));
        let deed = first.and_then(|packet| self.plan.deed(self.way, packet.probe));
        let delay = self.plan.delay(self.way);
        let due = (!delay.is_zero()).then(|| frame.due(delay));
        match deed {
            None => self.pass(frame, due),
            Some(Deed::Lose) => {}
            Some(Deed::Duplicate) => {
                self.pass(frame.clone(), due);
                self.pass(frame, due);
            }
            Some(Deed::LetPass) => self.let_pass.push(frame.into_owned()),
            Some(Deed::Hold(time)) => {
                let due = frame.due(delay + time);
                self.send_at(Some(due), frame);
            }
            Some(Deed::Mark(class)) => {
                let mut marked = frame.into_owned();
                packet::mark(marked.bytes.to_mut(), class);
                self.pass(marked, due);
            }
        }
    }

    /// Sends a frame on and, behind a probe or reply, those that were to let it pass.
    fn pass(&mut self, frame: Transit<'_>, due: Option<Instant>) {
        let is_next = frame.packet.is_some();
        self.send_at(due, frame);
        if is_next {
            mem::take(&mut self.let_pass).into_iter().for_each(|passed| self.send_at(due, passed));
        }
    }

    fn send_at(&mut self, due: Option<Instant>, frame: Transit<'_>) {
        match due {
            None => self.sender.send(&frame),
            Some(due) => {
                self.waiting.push(Reverse((due, self.waited, frame.into_owned())));
                self.waited += 1;
            }
        }
    }

    fn send_what_is_due(&mut self) {
        while let Some(Reverse((due, _, frame))) = self.waiting.peek() {
            if Instant::now() < *due - SPIN {
                break;
            }
            while Instant::now() < *due {
                std::hint::spin_loop();
            }
            self.sender.send(frame);
            self.waiting.pop();
        }
    }
}
