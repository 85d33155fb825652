//! What one host did and saw, summed up; and the times between two hosts that share a clock.

use fast_afpacket::{SystemStamp, TxResult};

use crate::ids::{Ids, Seen};
use crate::probe::Event;
use crate::stats::{Distribution, Figures};

/// The counts of one host.
#[derive(Debug, Default)]
pub(crate) struct Session {
    sent: u64,
    stamped: u64,
    hardware_skipped: u64,
    missing: u64,
    refused: u64,
    duplicates: u64,
    foreign: u64,
    ids: Ids,
}

/// The end of a host's job in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Probes that the kernel took.
    pub(crate) sent: u64,
    /// Of those: with all stamps that were expected.
    pub(crate) stamped: u64,
    /// Of those: with all but the hardware stamp, for which the card had no room.
    pub(crate) hardware_skipped: u64,
    /// Of those: without one that was expected.
    pub(crate) missing: u64,
    /// Probes that the kernel did not take.
    pub(crate) refused: u64,
    /// The peer's probes, each counted once.
    pub(crate) received: u64,
    /// The peer's probes that did not arrive.
    pub(crate) lost: u64,
    pub(crate) duplicates: u64,
    pub(crate) foreign: u64,
    /// From the peer's TX software stamp to the RX software stamp here, where both are of one clock.
    pub(crate) one_way: Option<Figures>,
}

impl Summary {
    /// The share of the peer's probes that did not arrive, in percent.
    pub(crate) fn loss_percent(&self) -> f64 {
        let expected = self.received + self.lost;
        if expected == 0 {
            return 0.0;
        }
        // Exact for all counts below 2^53.
        #[expect(clippy::cast_precision_loss, reason = "a percentage is rounded anyway")]
        let (lost, expected) = (self.lost as f64, expected as f64);
        100.0 * lost / expected
    }
}

impl Session {
    pub(crate) fn note(&mut self, event: &Event) {
        match event {
            Event::Tx(tx) => {
                let count = match tx.outcome.result {
                    TxResult::Complete => &mut self.stamped,
                    TxResult::HardwareSkipped => &mut self.hardware_skipped,
                    TxResult::Refused { .. } => &mut self.refused,
                    _ => &mut self.missing,
                };
                *count += 1;
                if !matches!(tx.outcome.result, TxResult::Refused { .. }) {
                    self.sent += 1;
                }
            }
            Event::Rx(rx) => {
                if self.ids.see(rx.probe) == Seen::Duplicate {
                    self.duplicates += 1;
                }
            }
            Event::Foreign => self.foreign += 1,
            Event::SenderDone => {}
        }
    }

    pub(crate) const fn sent(&self) -> u64 {
        self.sent
    }

    pub(crate) const fn received(&self) -> u64 {
        self.ids.unique()
    }

    pub(crate) const fn foreign(&self) -> u64 {
        self.foreign
    }

    /// The summary. `sent_by_peer` is known where both hosts are ours; otherwise only the gaps between the ids that did
    /// arrive are known to be lost.
    pub(crate) fn summary(&self, sent_by_peer: Option<u64>, one_way: Option<Figures>) -> Summary {
        let lost = match sent_by_peer {
            Some(sent) => sent.saturating_sub(self.ids.unique()),
            None => self.ids.gaps(),
        };
        Summary {
            sent: self.sent,
            stamped: self.stamped,
            hardware_skipped: self.hardware_skipped,
            missing: self.missing,
            refused: self.refused,
            received: self.ids.unique(),
            lost,
            duplicates: self.duplicates,
            foreign: self.foreign,
            one_way,
        }
    }
}

/// The times of one direction, from the sender's software stamp to the receiver's, both of one clock. The two stamps of
/// a probe come from two threads, in any order.
#[derive(Debug)]
pub(crate) struct OneWay {
    waiting: Vec<Option<Half>>,
    times: Distribution,
}

/// The first of a probe's two stamps.
#[derive(Clone, Copy, Debug)]
struct Half {
    probe: u64,
    end: End,
    stamp: SystemStamp,
}

/// Which end of the way a stamp was taken at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Sent,
    Received,
}

impl OneWay {
    /// How many probes may wait for their second stamp; an older one gives way.
    const WAITING: usize = 4096;

    pub(crate) fn new() -> Self {
        Self { waiting: vec![None; Self::WAITING], times: Distribution::new() }
    }

    pub(crate) fn stamp(&mut self, probe: u64, end: End, stamp: SystemStamp) {
        let place = usize::try_from(probe % Self::WAITING as u64).ok();
        let Some(waiting) = place.and_then(|place| self.waiting.get_mut(place)) else {
            return;
        };
        match waiting.filter(|half| half.probe == probe) {
            None => *waiting = Some(Half { probe, end, stamp }),
            // A duplicate: the first counts.
            Some(half) if half.end == end => {}
            Some(half) => {
                let (sent, received) = match end {
                    End::Sent => (stamp, half.stamp),
                    End::Received => (half.stamp, stamp),
                };
                self.times.record(received.nanos_since(sent));
                *waiting = None;
            }
        }
    }

    pub(crate) fn figures(&self) -> Option<Figures> {
        self.times.figures()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_way_times_whichever_end_comes_first() {
        let at = SystemStamp::from_nanos;
        let mut way = OneWay::new();
        way.stamp(1, End::Sent, at(100));
        way.stamp(2, End::Received, at(260));
        way.stamp(1, End::Received, at(150));
        way.stamp(2, End::Sent, at(200));
        way.stamp(3, End::Received, at(999));
        way.stamp(3, End::Received, at(1_999));
        let figures = way.figures().unwrap();
        assert_eq!((figures.min, figures.max), (50, 60));
        way.stamp(3, End::Sent, at(900));
        assert_eq!(way.figures().unwrap().max, 99, "of a probe that came twice the first counts");
    }

    #[test]
    fn loss_is_what_the_peer_sent_or_what_is_missing_between() {
        let rx = |probe| {
            let userspace = SystemStamp::from_nanos(0);
            Event::Rx(crate::probe::Rx { probe, software: None, hardware: None, userspace })
        };
        let mut session = Session::default();
        for probe in [3, 4, 4, 7] {
            session.note(&rx(probe));
        }
        session.note(&Event::Foreign);
        let known = session.summary(Some(10), None);
        assert_eq!((known.received, known.lost, known.duplicates, known.foreign), (3, 7, 1, 1));
        assert!((known.loss_percent() - 70.0).abs() < 1e-9);
        assert_eq!(session.summary(None, None).lost, 2);
        assert!(Session::default().summary(None, None).loss_percent().abs() < 1e-9);
    }
}
