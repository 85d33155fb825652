//! Outcomes come as they are settled; they are told of in the order of the probes.

use std::collections::VecDeque;

use fast_afpacket::{TxKey, TxOutcome};

/// The kernel carries 32 bits of the id; what is under way at one time is far fewer.
#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
pub(crate) const fn key_of(id: u64) -> TxKey {
    TxKey::new(id as u32)
}

/// Probes that were sent and not told of: each has an outcome, sooner or later.
#[derive(Debug)]
pub(crate) struct InOrder {
    /// The first probe that was not told of.
    first: u64,
    outcomes: VecDeque<Option<TxOutcome>>,
}

impl InOrder {
    /// For probes from this id on, one after the other.
    pub(crate) fn from(first: u64) -> Self {
        Self { first, outcomes: VecDeque::new() }
    }

    /// The next probe was sent or refused: it will have an outcome.
    pub(crate) fn expect(&mut self) {
        self.outcomes.push_back(None);
    }

    /// Takes an outcome, and tells of it and of those that waited for it, in order.
    pub(crate) fn put(&mut self, outcome: TxOutcome, mut tell: impl FnMut(u64, TxOutcome)) {
        // Keys are consecutive, modulo 2^32.
        let offset = outcome.key.value().wrapping_sub(key_of(self.first).value());
        if let Some(place) = usize::try_from(offset).ok().and_then(|offset| self.outcomes.get_mut(offset)) {
            *place = Some(outcome);
        }
        while let Some(Some(outcome)) = self.outcomes.front() {
            tell(self.first, *outcome);
            self.outcomes.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    use fast_afpacket::{SystemStamp, Timestamping, TxJoiner};

    /// Outcomes of probes, in this order.
    fn outcomes(ids: &[u64]) -> Vec<TxOutcome> {
        let mut joiner = TxJoiner::new(Timestamping::empty());
        let (at, now) = (SystemStamp::from_nanos(1), Instant::now());
        ids.iter().for_each(|&id| joiner.sent(key_of(id), at, at, now).unwrap());
        std::iter::from_fn(|| joiner.take_outcome(now)).collect()
    }

    #[test]
    fn told_in_the_order_of_the_probes() {
        let first = u64::from(u32::MAX) - 1;
        let mut in_order = InOrder::from(first);
        (0..4).for_each(|_| in_order.expect());
        let mut told = Vec::new();
        for outcome in outcomes(&[first + 2, first + 1, first, first + 3]) {
            in_order.put(outcome, |id, outcome| {
                assert_eq!(outcome.key, key_of(id));
                told.push(id);
            });
            if outcome.key == key_of(first + 1) {
                assert!(told.is_empty(), "the first has no outcome yet");
            }
        }
        assert_eq!(told, [first, first + 1, first + 2, first + 3], "over the end of the keys' range");
    }

    #[test]
    fn an_outcome_of_no_such_probe_is_nobodys() {
        let mut in_order = InOrder::from(5);
        in_order.expect();
        for outcome in outcomes(&[4, 6]) {
            in_order.put(outcome, |id, _| panic!("{id} was not sent"));
        }
    }
}
