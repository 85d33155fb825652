//! What a relay did on one way, and what follows from it.

use std::collections::{HashMap, HashSet};

use fast_afpacket::SystemStamp;

use super::packet::Packet;

/// What was done on one way, to probes or to replies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// In the order in which they came.
    pub(crate) arrivals: Vec<Packet>,
    /// In the order in which they were sent on.
    pub(crate) departures: Vec<Departure>,
}

/// A packet that was sent on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Departure {
    pub(crate) packet: Packet,
    /// By the kernel's stamp.
    pub(crate) arrived: SystemStamp,
    /// Likewise, if stamps were asked for.
    pub(crate) left: Option<SystemStamp>,
}

/// What is true of a way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Truth {
    /// Probes that came, or were answered, and of which nothing was sent on.
    pub(crate) lost: usize,
    /// Packets that were sent on once more.
    pub(crate) duplicates: usize,
    /// Packets that were sent on after one with a higher number (RFC 4737, section 4.1.1). Copies do not count.
    pub(crate) reordered: usize,
}

impl Ledger {
    pub(crate) fn truth(&self) -> Truth {
        let mut sent = HashSet::new();
        let mut truth = Truth { lost: self.lost().len(), ..Truth::default() };
        let mut highest = 0;
        for Departure { packet: Packet { own, .. }, .. } in &self.departures {
            if !sent.insert(own) {
                truth.duplicates += 1;
            } else if *own < highest {
                truth.reordered += 1;
            }
            highest = highest.max(*own);
        }
        truth
    }

    /// The probes that were lost, or whose replies all were.
    pub(crate) fn lost(&self) -> HashSet<u32> {
        let sent: HashSet<u32> = self.departures.iter().map(|departure| departure.packet.probe).collect();
        self.arrivals.iter().map(|packet| packet.probe).filter(|probe| !sent.contains(probe)).collect()
    }

    /// The probes that were sent on, or whose replies were: how long the first of each was held, in nanoseconds, by the
    /// kernel's stamps of arrival and departure.
    pub(crate) fn held(&self) -> HashMap<u32, i64> {
        let mut held = HashMap::new();
        for Departure { packet, arrived, left } in &self.departures {
            // By a plan that is stamped: none is missing on a cable.
            held.entry(packet.probe).or_insert(left.unwrap().nanos_since(*arrived));
        }
        held
    }
}
