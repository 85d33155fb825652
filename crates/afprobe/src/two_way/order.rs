//! Copies, and what overtook what, each direction apart.
//!
//! A reflector that keeps count gives each reply a number of its own. Two replies with one number are one reply that the
//! way back has doubled; two replies to one probe with two numbers are a probe that the way there has doubled. The numbers
//! are in the order in which probes reached the reflector; the order in which the numbers arrive is that of the way back.
//! With a reflector that does not count, one sees what happened, and not on which way.
//!
//! A packet is reordered if one that was sent after it arrived before it (RFC 4737, 4.1.1); copies do not count.

use super::loss::{About, Evidence};
use super::numbered::Numbered;
use super::numbers;
use super::stamps::ReflectorCounts;
use crate::ids::{Ids, Seen};

/// What a reply turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    First,
    /// The probe reached the reflector twice and was answered twice.
    CopiedForward,
    /// The same reply once more.
    CopiedBackward,
    /// One of the two.
    Copied,
}

/// Copies, by the direction that made them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Duplicates {
    /// All that are known of.
    pub(crate) all: u64,
    pub(crate) forward: Option<u64>,
    pub(crate) backward: Option<u64>,
}

/// Packets that were overtaken, by direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reordered {
    /// Probes whose reply came after that to a later one, whichever way did it.
    pub(crate) round_trip: u64,
    pub(crate) forward: Option<u64>,
    pub(crate) backward: Option<u64>,
}

/// Keeps the books of replies in the order of their arrival.
#[derive(Clone, Debug)]
pub(crate) struct OrderBook {
    /// How many of the latest probes and replies are told apart.
    remembered: u64,
    /// Probes of which a reply has come.
    answered: Ids,
    round_trip: u64,
    /// What the reflector's own numbers show, once a reply has one.
    numbered: Option<Numbered>,
    copies: Copies,
    counts: Option<Counts>,
    /// The reflector has begun to count anew: of what its numbers and counts say about the whole nothing holds.
    restarted: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Copies {
    forward: u64,
    backward: u64,
    unknown: u64,
}

/// The reflector's latest counts. `as_of`: the reply with this number; the end, if there is none.
#[derive(Clone, Copy, Debug)]
struct Counts {
    as_of: Option<u64>,
    told: ReflectorCounts,
}

impl OrderBook {
    pub(crate) fn new(remembered: u64) -> Self {
        Self {
            remembered,
            answered: Ids::with_window(remembered),
            round_trip: 0,
            numbered: None,
            copies: Copies::default(),
            counts: None,
            restarted: false,
        }
    }

    /// A reply to this probe has come.
    pub(crate) fn reply(&mut self, seq: u64, reflected_as: Option<u32>) -> Arrival {
        let overtaken = self.answered.highest().is_some_and(|highest| seq < highest);
        let is_first = self.answered.see(seq) == Seen::New;
        self.round_trip += u64::from(is_first && overtaken);
        let number = reflected_as.map(|wire| {
            let numbered = self.numbered.get_or_insert_with(|| Numbered::new(wire, self.remembered));
            numbered.reply(seq, wire, is_first)
        });
        match (is_first, number) {
            (true, number) => {
                // One number for two probes.
                self.restarted |= number == Some(Seen::Duplicate);
                Arrival::First
            }
            (false, Some(Seen::New)) => {
                self.copies.forward += 1;
                Arrival::CopiedForward
            }
            (false, Some(Seen::Duplicate)) => {
                self.copies.backward += 1;
                Arrival::CopiedBackward
            }
            (false, None) => {
                self.copies.unknown += 1;
                Arrival::Copied
            }
        }
    }

    /// The reflector has told its counts.
    pub(crate) fn counts(&mut self, told: ReflectorCounts) {
        let as_of = match (told.as_of, &self.numbered) {
            (None, _) => None,
            (Some(wire), Some(numbered)) => numbers::unwrap(wire, numbered.latest()),
            // Counts as of a reply whose number nobody has heard of.
            (Some(_), None) => return,
        };
        let is_older = match (as_of, self.counts.map(|counts| counts.as_of)) {
            (_, None) => false,
            (None, Some(_)) => false,
            (Some(_), Some(None)) => true,
            (Some(new), Some(Some(old))) => new < old,
        };
        if is_older {
            return;
        }
        let fewer = |new: Option<u64>, old: Option<u64>| new.zip(old).is_some_and(|(new, old)| new < old);
        if let Some(Counts { told: before, .. }) = self.counts {
            self.restarted |= fewer(told.received, before.received) || fewer(told.unique, before.unique);
        }
        self.counts = Some(Counts { as_of, told });
    }

    /// Whether a reply to this probe has come, as far as is remembered.
    pub(crate) fn is_answered(&self, seq: u64) -> bool {
        self.answered.has_seen(seq)
    }

    /// Probes of which a reply has come, in time or late.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.unique()
    }

    fn told(&self) -> Option<Counts> {
        self.counts.filter(|_| !self.restarted)
    }

    fn numbered(&self) -> Option<&Numbered> {
        self.numbered.as_ref().filter(|_| !self.restarted)
    }

    /// What is known of the way of the lost probes.
    pub(crate) fn evidence(&self) -> Evidence {
        if let Some(counts) = self.told()
            && let Some(unique) =
                counts.told.unique.or_else(|| Some(counts.told.received? - self.known_copies(&counts)?))
        {
            let answered_later = match (counts.as_of, &self.numbered) {
                (Some(as_of), Some(numbered)) => numbered.firsts_after(as_of),
                _ => 0,
            };
            let backward = unique.saturating_sub(self.answered() - answered_later);
            let about = if counts.as_of.is_none() { About::All } else { About::UpToLast };
            return Evidence { backward: Some(backward), about };
        }
        Evidence { backward: self.numbered().map(|numbered| numbered.gaps()), about: About::Between }
    }

    /// How many copies are among the probes that the reflector received.
    fn known_copies(&self, counts: &Counts) -> Option<u64> {
        let seen = self.numbered().map(|_| self.copies.forward);
        counts.told.duplicates.or(seen).filter(|&copies| counts.told.received.is_some_and(|all| all >= copies))
    }

    pub(crate) fn duplicates(&self) -> Duplicates {
        let Copies { forward: seen, backward, unknown } = self.copies;
        let told = self.told().and_then(|counts| counts.told.duplicates);
        let numbered = self.numbered().is_some();
        // A copy whose reply was lost is known to the reflector only; one that came since its last count only here.
        let forward = if numbered { Some(seen.max(told.unwrap_or(0))) } else { told };
        let backward = (numbered && unknown == 0).then_some(backward);
        let all = forward.unwrap_or(0).max(seen + unknown) + self.copies.backward;
        Duplicates { all, forward, backward }
    }

    pub(crate) fn reordered(&self) -> Reordered {
        let told = self.told().and_then(|counts| counts.told.reordered);
        let shown = self.numbered().map(Numbered::reordered_forward);
        Reordered {
            round_trip: self.round_trip,
            // A copy whose first reply was lost looks like one that was overtaken: the reflector knows better.
            forward: told.or(shown),
            backward: self.numbered().map(Numbered::reordered_backward),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REMEMBERED: u64 = 10_000;

    /// Replies to probes, with the reflector's number.
    fn book(replies: &[(u64, Option<u32>)]) -> OrderBook {
        let mut book = OrderBook::new(REMEMBERED);
        replies.iter().for_each(|&(seq, number)| {
            book.reply(seq, number);
        });
        book
    }

    /// The same with numbers.
    fn numbered(replies: &[(u64, u32)]) -> OrderBook {
        book(&replies.iter().map(|&(seq, number)| (seq, Some(number))).collect::<Vec<_>>())
    }

    #[test]
    fn copies_by_direction() {
        let mut book = OrderBook::new(REMEMBERED);
        for (seq, number, copy) in [
            (7, Some(0), Arrival::First),
            (7, Some(1), Arrival::CopiedForward),
            (8, Some(2), Arrival::First),
            (8, Some(2), Arrival::CopiedBackward),
            (7, Some(1), Arrival::CopiedBackward),
        ] {
            assert_eq!(book.reply(seq, number), copy, "{seq} {number:?}");
        }
        assert_eq!(book.duplicates(), Duplicates { all: 3, forward: Some(1), backward: Some(2) });
        let counts = ReflectorCounts { duplicates: Some(4), ..ReflectorCounts::default() };
        book.counts(counts);
        assert_eq!(
            book.duplicates(),
            Duplicates { all: 6, forward: Some(4), backward: Some(2) },
            "three were not seen"
        );
    }

    #[test]
    fn copies_of_a_reflector_that_does_not_count() {
        let mut book = book(&[(1, None), (1, None), (2, None), (1, None)]);
        assert_eq!(book.duplicates(), Duplicates { all: 2, forward: None, backward: None });
        assert_eq!((book.reordered().forward, book.reordered().backward), (None, None));
        assert_eq!(book.evidence().backward, None);
        book.counts(ReflectorCounts { duplicates: Some(1), ..ReflectorCounts::default() });
        assert_eq!(book.duplicates(), Duplicates { all: 2, forward: Some(1), backward: None });
    }

    #[test]
    fn what_overtook_what() {
        // On the way there 3 was overtaken by 4 and 5. On the way back nothing was.
        let there = numbered(&[(1, 0), (2, 1), (4, 2), (5, 3), (3, 4), (6, 5)]);
        assert_eq!(there.reordered(), Reordered { round_trip: 1, forward: Some(1), backward: Some(0) });
        // On the way back.
        let back = numbered(&[(1, 0), (2, 1), (4, 3), (5, 4), (3, 2), (6, 5)]);
        assert_eq!(back.reordered(), Reordered { round_trip: 1, forward: Some(0), backward: Some(1) });
        // Both, so that nobody sees it who does not look at the numbers.
        let both = numbered(&[(1, 0), (2, 2), (3, 1), (4, 3)]);
        assert_eq!(both.reordered(), Reordered { round_trip: 0, forward: Some(1), backward: Some(1) });
        // The second copy of a probe is not overtaken.
        let copy = numbered(&[(1, 0), (2, 1), (1, 2), (3, 3)]);
        assert_eq!(copy.reordered(), Reordered { round_trip: 0, forward: Some(0), backward: Some(0) });
        // The first reply to come is not the first that was sent.
        let first = numbered(&[(3, 2), (1, 0), (2, 1)]);
        assert_eq!(first.reordered(), Reordered { round_trip: 2, forward: Some(0), backward: Some(2) });
    }

    #[test]
    fn the_reflector_knows_of_probes_whose_replies_were_lost() {
        let mut book = numbered(&[(1, 0), (2, 1), (5, 4)]);
        assert_eq!(book.reordered().forward, Some(0));
        book.counts(ReflectorCounts { as_of: Some(4), reordered: Some(2), ..ReflectorCounts::default() });
        assert_eq!(book.reordered().forward, Some(2));
    }

    #[test]
    fn lost_replies_by_numbers_and_by_counts() {
        let mut book = numbered(&[(1, 0), (2, 1), (5, 4), (7, 6)]);
        assert_eq!(book.evidence(), Evidence { backward: Some(3), about: About::Between });
        // One of the three was a copy: what the reflector sent is not what it received first.
        let as_of = |as_of, unique| ReflectorCounts { as_of, unique: Some(unique), ..ReflectorCounts::default() };
        book.counts(as_of(Some(4), 4));
        assert_eq!(book.evidence(), Evidence { backward: Some(1), about: About::UpToLast }, "the reply 6 came later");
        book.counts(as_of(Some(6), 6));
        assert_eq!(book.evidence(), Evidence { backward: Some(2), about: About::UpToLast });
        book.counts(as_of(Some(4), 4));
        assert_eq!(book.evidence().backward, Some(2), "an older count is no news");
        book.counts(as_of(None, 7));
        assert_eq!(book.evidence(), Evidence { backward: Some(3), about: About::All });
        book.counts(as_of(Some(6), 6));
        assert_eq!(book.evidence().about, About::All);
    }

    #[test]
    fn received_without_unique_is_less_the_copies() {
        let mut nothing_known = book(&[(1, None)]);
        nothing_known.counts(ReflectorCounts { received: Some(6), ..ReflectorCounts::default() });
        assert_eq!(nothing_known.evidence().backward, None, "nobody says how many were copies");
        let mut book = numbered(&[(1, 0), (2, 1), (2, 2), (5, 5)]);
        book.counts(ReflectorCounts { received: Some(6), ..ReflectorCounts::default() });
        assert_eq!(book.evidence(), Evidence { backward: Some(2), about: About::All });
    }

    #[test]
    fn a_reflector_that_began_anew_is_not_trusted() {
        let mut book = numbered(&[(1, 0), (2, 1), (3, 0)]);
        assert_eq!(book.evidence().backward, None);
        assert_eq!(book.reordered(), Reordered { round_trip: 0, forward: None, backward: None });
        assert_eq!(book.duplicates().forward, None);
        book.counts(ReflectorCounts { unique: Some(1), ..ReflectorCounts::default() });
        assert_eq!(book.evidence().backward, None);

        let mut book = numbered(&[(1, 0), (2, 1)]);
        let received = |number, received| ReflectorCounts {
            as_of: Some(number),
            received: Some(received),
            unique: Some(received),
            ..ReflectorCounts::default()
        };
        book.counts(received(1, 50));
        assert!(book.evidence().backward.is_some());
        book.counts(received(2, 1));
        assert_eq!(book.evidence().backward, None);
    }

    #[test]
    fn the_reflectors_numbers_may_wrap() {
        let last = u32::MAX;
        let book = numbered(&[(1, last - 1), (2, last), (3, 0), (5, 2), (4, 1), (6, 4)]);
        assert_eq!(book.evidence().backward, Some(1));
        assert_eq!(book.reordered(), Reordered { round_trip: 1, forward: Some(0), backward: Some(1) });
    }

    #[test]
    fn numbers_that_leap_are_a_new_beginning() {
        let book = numbered(&[(1, 0), (2, 1 << 30), (3, 1)]);
        assert_eq!(book.reordered(), Reordered { round_trip: 0, forward: None, backward: None });
        let book = numbered(&[(1, 0), (2, 1 << 20), (3, (1 << 20) + 1)]);
        assert_eq!(book.reordered(), Reordered { round_trip: 0, forward: Some(0), backward: Some(0) });
    }

    #[test]
    fn a_reply_that_is_overtaken_by_too_many_is_not_judged() {
        let mut book = numbered(&[(2, 1), (4, 3)]);
        let many = u32::try_from(crate::two_way::numbered::WAITING).unwrap();
        for number in 4..many + 4 {
            book.reply(u64::from(number) + 1, Some(number));
        }
        book.reply(3, Some(2));
        assert_eq!(book.reordered(), Reordered { round_trip: 1, forward: Some(0), backward: Some(1) });
    }
}
