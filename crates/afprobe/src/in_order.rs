//! Outcomes come as they are settled; they are told of in the order of the probes.

use std::collections::VecDeque;

use fast_afpacket::TxOutcome;

/// Outcomes that wait for one of an earlier probe.
#[derive(Debug)]
pub(crate) struct InOrder {
    /// The first probe that was not told of.
    first: u64,
    outcomes: VecDeque<Option<TxOutcome>>,
}

impl InOrder {
    /// For probes from this id on, one after the other. Each has an outcome, sooner or later.
    pub(crate) fn from(first: u64) -> Self {
        Self { first, outcomes: VecDeque::new() }
    }

    /// Takes an outcome, and tells of it and of those that waited for it, in order.
    pub(crate) fn put(&mut self, id: u64, outcome: TxOutcome, mut tell: impl FnMut(u64, TxOutcome)) {
        let Some(offset) = id.checked_sub(self.first).and_then(|offset| usize::try_from(offset).ok()) else {
            return;
        };
        if self.outcomes.len() <= offset {
            self.outcomes.resize(offset + 1, None);
        }
        if let Some(place) = self.outcomes.get_mut(offset) {
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

    use fast_afpacket::{SystemStamp, Timestamping, TxJoiner, TxKey};

    #[test]
    fn told_in_the_order_of_the_probes() {
        let mut joiner = TxJoiner::new(Timestamping::empty());
        let (at, now) = (SystemStamp::from_nanos(1), Instant::now());
        (0..5).for_each(|key| joiner.sent(TxKey::new(key), at, at, now).unwrap());
        let outcomes: Vec<TxOutcome> = std::iter::from_fn(|| joiner.take_outcome(now)).collect();
        let mut in_order = InOrder::from(5);
        let mut told = Vec::new();
        for (id, expected) in [(7, &[][..]), (6, &[]), (5, &[5, 6, 7]), (5, &[]), (9, &[]), (8, &[8, 9])] {
            told.clear();
            in_order.put(id, outcomes[usize::try_from(id).unwrap() - 5], |id, outcome| {
                assert_eq!(u64::from(outcome.key.value()), id - 5);
                told.push(id);
            });
            assert_eq!(told, expected, "{id}");
        }
    }
}
