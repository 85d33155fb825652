//! Probes that were sent and whose stamps are under way: joins each stamp to its probe, and tells of the probes in order.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fast_afpacket::{SystemStamp, Timestamps, TxKey, TxStage};

use crate::probe::{Outcome, Tx};

/// How long a stamp may take. Drivers were seen to need half a second.
pub(crate) const STAMP_TIMEOUT: Duration = Duration::from_secs(1);

/// The kernel carries 32 bits of the id; what is under way at one time is far fewer.
#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
pub(crate) const fn key_of(id: u64) -> TxKey {
    TxKey::new(id as u32)
}

/// Probes that were sent and whose stamps are not complete, in order.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    probes: VecDeque<(Tx, Instant)>,
    /// Whether the NIC has ever stamped one: then the next are waited for as well.
    hardware_seen: bool,
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.probes.is_empty()
    }

    pub(crate) fn push(&mut self, probe: u64, userspace: SystemStamp, accepted: bool) {
        let outcome = if accepted { Outcome::Missing } else { Outcome::Refused };
        let tx = Tx { probe, userspace, scheduled: None, software: None, hardware: None, outcome };
        self.probes.push_back((tx, Instant::now() + STAMP_TIMEOUT));
    }

    /// Puts a stamp where it belongs. One whose probe was given up is nobody's.
    pub(crate) fn join(&mut self, key: TxKey, stage: TxStage, timestamps: Timestamps) {
        let Some((first, _)) = self.probes.front() else {
            return;
        };
        // Keys are consecutive, modulo 2^32.
        let offset = key.value().wrapping_sub(key_of(first.probe).value());
        let Some((tx, _)) = usize::try_from(offset).ok().and_then(|offset| self.probes.get_mut(offset)) else {
            return;
        };
        match stage {
            // A device on top of another reports this twice; the first is the queue that the probe entered.
            TxStage::Scheduled => tx.scheduled = tx.scheduled.or(timestamps.software),
            TxStage::Sent => {
                tx.software = tx.software.or(timestamps.software);
                tx.hardware = tx.hardware.or(timestamps.hardware);
                self.hardware_seen |= tx.hardware.is_some();
            }
            _ => {}
        }
        // A frame that a queue refused may have been stamped before: it did not leave for all that.
        if tx.outcome == Outcome::Missing && tx.software.is_some() {
            tx.outcome = Outcome::Stamped;
        }
    }

    /// Tells of the probes at the front that are complete or have waited long enough.
    pub(crate) fn settle(&mut self, tell: &mut impl FnMut(Tx)) {
        while let Some((tx, give_up)) = self.probes.front() {
            let complete = match tx.outcome {
                Outcome::Stamped => tx.hardware.is_some() || !self.hardware_seen,
                Outcome::Missing => false,
                Outcome::Refused => true,
            };
            if !complete && Instant::now() < *give_up {
                return;
            }
            tell(*tx);
            self.probes.pop_front();
        }
    }

    pub(crate) fn finish(&mut self, tell: &mut impl FnMut(Tx)) {
        self.probes.drain(..).for_each(|(tx, _)| tell(tx));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fast_afpacket::HardwareStamp;

    const AT: SystemStamp = SystemStamp::from_nanos(1000);

    fn software(nanos: i64) -> Timestamps {
        let mut stamps = Timestamps::NONE;
        stamps.software = Some(SystemStamp::from_nanos(nanos));
        stamps
    }

    fn hardware(nanos: i64) -> Timestamps {
        let mut stamps = Timestamps::NONE;
        stamps.hardware = Some(HardwareStamp::from_nanos(nanos));
        stamps
    }

    /// The probes that are told of now.
    fn settled(pending: &mut Pending) -> Vec<(u64, Outcome)> {
        let mut told = Vec::new();
        pending.settle(&mut |tx| told.push((tx.probe, tx.outcome)));
        told
    }

    fn pending(probes: impl IntoIterator<Item = u64>) -> Pending {
        let mut pending = Pending::default();
        probes.into_iter().for_each(|probe| pending.push(probe, AT, true));
        pending
    }

    #[test]
    fn stamps_in_any_order_are_told_in_the_order_of_the_probes() {
        let mut pending = pending(1..=3);
        pending.join(key_of(3), TxStage::Sent, software(30));
        pending.join(key_of(2), TxStage::Sent, software(20));
        assert_eq!(settled(&mut pending), []);
        pending.join(key_of(1), TxStage::Sent, software(10));
        assert_eq!(settled(&mut pending), [1, 2, 3].map(|probe| (probe, Outcome::Stamped)));
        assert!(pending.is_empty());
    }

    #[test]
    fn of_repeated_scheduler_stamps_the_first_counts() {
        let mut pending = pending([1]);
        for nanos in [10, 20] {
            pending.join(key_of(1), TxStage::Scheduled, software(nanos));
        }
        pending.join(key_of(1), TxStage::Sent, software(30));
        let mut told = None;
        pending.settle(&mut |tx| told = Some(tx));
        let told = told.unwrap();
        assert_eq!(told.scheduled.map(SystemStamp::as_nanos), Some(10));
        assert_eq!(told.software.map(SystemStamp::as_nanos), Some(30));
    }

    #[test]
    fn a_stamp_of_no_pending_probe_is_nobodys() {
        let mut pending = pending([5]);
        for stray in [4, 6, u64::from(u32::MAX)] {
            pending.join(key_of(stray), TxStage::Sent, software(10));
        }
        assert_eq!(settled(&mut pending), []);
        let mut empty = Pending::default();
        empty.join(key_of(1), TxStage::Sent, software(10));
        assert!(empty.is_empty());
    }

    #[test]
    fn keys_wrap() {
        let first = u64::from(u32::MAX);
        let mut pending = pending(first..first + 3);
        for probe in (first..first + 3).rev() {
            pending.join(key_of(probe), TxStage::Sent, software(10));
        }
        assert_eq!(settled(&mut pending).len(), 3);
    }

    #[test]
    fn once_the_card_stamps_its_stamp_is_waited_for() {
        let mut pending = pending(1..=2);
        pending.join(key_of(1), TxStage::Sent, hardware(7));
        pending.join(key_of(1), TxStage::Sent, software(10));
        assert_eq!(settled(&mut pending), [(1, Outcome::Stamped)]);
        pending.join(key_of(2), TxStage::Sent, software(20));
        assert_eq!(settled(&mut pending), [], "its hardware stamp may come");
        pending.join(key_of(2), TxStage::Sent, hardware(8));
        assert_eq!(settled(&mut pending), [(2, Outcome::Stamped)]);
    }

    #[test]
    fn refused_and_missing_are_said_to_be_so() {
        let mut pending = Pending::default();
        pending.push(1, AT, false);
        pending.push(2, AT, true);
        // A queue may stamp a frame before it refuses it.
        pending.join(key_of(1), TxStage::Scheduled, software(10));
        pending.join(key_of(2), TxStage::Scheduled, software(20));
        assert_eq!(settled(&mut pending), [(1, Outcome::Refused)]);
        let mut told = Vec::new();
        pending.finish(&mut |tx| told.push((tx.probe, tx.outcome)));
        assert_eq!(told, [(2, Outcome::Missing)]);
    }
}
