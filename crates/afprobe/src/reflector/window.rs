//! Which numbers of a session were there before: for duplicates, reordering, and replays.

/// The last numbers of a session, as many as there are bits.
///
/// Numbers on the wire have 32 bits and begin anew; one that is less than half of that ahead of the highest is a later one.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// Counted on in 64 bits, from 2^32 on, so that there is room below the first.
    highest: Option<u64>,
    seen: Box<[u64]>,
}

/// What a number is to the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Higher than all before.
    Next,
    /// New, but a higher one was there: reordered, as RFC 4737 (section 3) has it.
    Reordered,
    Duplicate,
    /// So far behind the highest that nobody knows.
    TooOld,
}

const BITS: u64 = 64;

impl Window {
    /// Remembers 64 numbers for each word, at least 64.
    pub(crate) fn new(words: usize) -> Self {
        Self { highest: None, seen: vec![0; words.max(1)].into() }
    }

    pub(crate) fn look_at(&self, sequence: u32) -> Sight {
        let Some(highest) = self.highest else {
            return Sight::Next;
        };
        let number = self.number(sequence);
        if number > highest {
            Sight::Next
        } else if highest - number >= self.len() {
            Sight::TooOld
        } else if self.seen.get(self.word(number)).is_some_and(|word| word & bit(number) != 0) {
            Sight::Duplicate
        } else {
            Sight::Reordered
        }
    }

    /// As [`look_at`](Self::look_at), and remembers it.
    pub(crate) fn note(&mut self, sequence: u32) -> Sight {
        let sight = self.look_at(sequence);
        let number = self.number(sequence);
        if sight == Sight::Next {
            self.forget(self.highest.map_or(number, |highest| highest + 1), number);
            self.highest = Some(number);
        }
        if sight != Sight::TooOld {
            let place = self.word(number);
            if let Some(word) = self.seen.get_mut(place) {
                *word |= bit(number);
            }
        }
        sight
    }

    /// The number that was meant, of all with these 32 bits the one nearest to the highest.
    fn number(&self, sequence: u32) -> u64 {
        let highest = self.highest.unwrap_or((1 << 32) | u64::from(sequence));
        let [.., a, b, c, d] = highest.to_be_bytes();
        let ahead = sequence.wrapping_sub(u32::from_be_bytes([a, b, c, d])).cast_signed();
        highest.saturating_add_signed(ahead.into())
    }

    /// Clears the places of the numbers from `from` to `to`, which older ones have had, word by word.
    fn forget(&mut self, from: u64, to: u64) {
        let from = from.max(to.saturating_sub(self.len() - 1));
        let mut next = from;
        while next <= to {
            let first = next % BITS;
            let count = (BITS - first).min(to - next + 1);
            let mask = (u64::MAX >> (BITS - count)) << first;
            let place = self.word(next);
            if let Some(word) = self.seen.get_mut(place) {
                *word &= !mask;
            }
            next += count;
        }
    }

    fn len(&self) -> u64 {
        u64::try_from(self.seen.len()).unwrap_or(u64::MAX).saturating_mul(BITS)
    }

    fn word(&self, number: u64) -> usize {
        usize::try_from(number % self.len() / BITS).unwrap_or(0)
    }
}

const fn bit(number: u64) -> u64 {
    1 << (number % BITS)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn in_order_and_not() {
        let mut window = Window::new(1);
        let seen = [0, 1, 3, 2, 3, 0, 64, 0, 1, 63].map(|sequence| window.note(sequence));
        use Sight::{Duplicate, Next, Reordered, TooOld};
        assert_eq!(seen, [Next, Next, Next, Reordered, Duplicate, Duplicate, Next, TooOld, Duplicate, Reordered],);
    }

    #[test]
    fn numbers_begin_anew() {
        let mut window = Window::new(2);
        for (sequence, expected) in [
            (u32::MAX - 1, Sight::Next),
            (0, Sight::Next),
            (u32::MAX, Sight::Reordered),
            (u32::MAX, Sight::Duplicate),
            (1, Sight::Next),
            (u32::MAX - 2, Sight::Reordered),
            (0, Sight::Duplicate),
            ((1 << 31) + 5, Sight::TooOld),
            ((1 << 31) - 5, Sight::Next),
            (1, Sight::TooOld),
        ] {
            assert_eq!(window.note(sequence), expected, "{sequence}");
        }
    }

    proptest! {
        /// Against a list of all numbers that were there.
        #[test]
        fn as_a_list_has_it(start in any::<u32>(), words in 1..4_usize, steps in prop::collection::vec(-200..100_i64, 1..400)) {
            let mut window = Window::new(words);
            let (mut all, mut highest) = (HashSet::new(), None::<i64>);
            let mut at = i64::from(start) + (1 << 40);
            for step in steps {
                at += step;
                let [.., a, b, c, d] = at.to_be_bytes();
                let expected = match highest {
                    None => Sight::Next,
                    Some(highest) if at > highest => Sight::Next,
                    Some(highest) if highest - at >= i64::try_from(words * 64).unwrap() => Sight::TooOld,
                    Some(_) if all.contains(&at) => Sight::Duplicate,
                    Some(_) => Sight::Reordered,
                };
                let sequence = u32::from_be_bytes([a, b, c, d]);
                prop_assert_eq!(window.look_at(sequence), expected);
                prop_assert_eq!(window.note(sequence), expected);
                all.insert(at);
                highest = highest.max(Some(at));
            }
        }

        #[test]
        fn any_numbers(sequences in prop::collection::vec(any::<u32>(), 0..100)) {
            let mut window = Window::new(256);
            for sequence in sequences {
                prop_assert_ne!(window.note(sequence), Sight::Duplicate);
                prop_assert_eq!(window.look_at(sequence), if window.highest.is_some_and(|highest| highest - window.number(sequence) < window.len()) { Sight::Duplicate } else { Sight::TooOld });
            }
        }
    }
}
