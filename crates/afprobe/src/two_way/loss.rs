//! Which probes were lost, and which way.

use crate::ids::Window;

/// Lost probes, by the direction that lost them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// All. A probe whose reply came late was not lost.
    pub(crate) all: u64,
    /// Did not reach the reflector. `None` if the reflector says nothing from which that could be told.
    pub(crate) forward: Option<u64>,
    /// Reached the reflector; the reply did not come back.
    pub(crate) backward: Option<u64>,
    /// One of the two: `all` − `forward` − `backward`.
    pub(crate) unknown: u64,
}

/// What replies and the reflector's counts show of the lost probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// Probes that reached the reflector and were not answered: a lower bound.
    pub(crate) backward: Option<u64>,
    pub(crate) about: About,
}

/// Of which probes it is known whether they reached the reflector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum About {
    /// Those between the first and the last that was answered.
    #[default]
    Between,
    /// Those up to the last that was answered.
    UpToLast,
    All,
}

/// Keeps the books of probes whose fate is decided, in the order of the probes. Replies may still come late.
#[derive(Clone, Debug)]
pub(crate) struct LossBook {
    /// The latest lost probes, to tell a late reply from one that was never sent for.
    lost: Window,
    /// The first and the last probe that was answered. Nothing shows what the reflector received outside.
    answered: Option<(u64, u64)>,
    /// Lost probes before the first that was answered, between, and after the last.
    before: u64,
    between: u64,
    after: u64,
    /// Those of them of which the reflector itself has told that it answered them, and how many there are in all.
    backward: Window,
    told_backward: u64,
}

impl LossBook {
    /// A late reply is recognised if its probe is one of that many latest.
    pub(crate) fn new(remembered: u64) -> Self {
        Self {
            lost: Window::new(remembered),
            answered: None,
            before: 0,
            between: 0,
            after: 0,
            backward: Window::new(remembered),
            told_backward: 0,
        }
    }

    /// The next probe was answered.
    pub(crate) fn answered(&mut self, seq: u64) {
        let first = self.answered.map_or(seq, |(first, _)| first);
        self.answered = Some((first, seq));
        self.between += self.after;
        self.after = 0;
    }

    /// The next probe was lost. `backward` if that much is known.
    pub(crate) fn lost(&mut self, seq: u64, backward: bool) {
        self.lost.insert(seq);
        *(if self.answered.is_none() { &mut self.before } else { &mut self.after }) += 1;
        if backward {
            self.backward.insert(seq);
            self.told_backward += 1;
        }
    }

    /// A reply came to a probe of old. Whether that one was held to be lost, which it is no longer.
    pub(crate) fn late(&mut self, seq: u64) -> bool {
        if !self.lost.remove(seq) {
            return false;
        }
        self.told_backward -= u64::from(self.backward.remove(seq));
        // Lost probes next to it may now lie between two that were answered.
        let (first, last) = self.answered.unwrap_or((seq, seq));
        match self.answered {
            None => {
                self.after = self.lost.count(seq..u64::MAX);
                self.before = self.before.saturating_sub(self.after + 1);
            }
            Some(_) if seq > last => {
                let enclosed = self.lost.count(last..seq);
                self.after = self.after.saturating_sub(enclosed + 1);
                self.between += enclosed;
            }
            Some(_) if seq < first => {
                let enclosed = self.lost.count(seq..first);
                self.before = self.before.saturating_sub(enclosed + 1);
                self.between += enclosed;
            }
            Some(_) => self.between = self.between.saturating_sub(1),
        }
        self.answered = Some((first.min(seq), last.max(seq)));
        true
    }

    /// The books, by what can be known.
    ///
    /// Where the reflector's last word counts all probes it is exact. Otherwise a probe that the evidence is about was lost
    /// backward if the evidence says so, and forward if not; of those at the ends nobody knows.
    pub(crate) fn losses(&self, evidence: Evidence) -> Losses {
        let all = self.before + self.between + self.after;
        let Some(backward) = evidence.backward else {
            let told = (self.told_backward > 0).then_some(self.told_backward.min(all));
            return Losses { all, forward: None, backward: told, unknown: all - told.unwrap_or(0) };
        };
        let backward = backward.max(self.told_backward).min(all);
        let rest = all - backward;
        let about = match evidence.about {
            About::Between => self.between,
            About::UpToLast => self.before + self.between,
            About::All => all,
        };
        let forward = about.saturating_sub(backward).min(rest);
        Losses { all, forward: Some(forward), backward: Some(backward), unknown: rest - forward }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Books of these probes, from 10 on: answered or lost.
    fn book(fates: &str) -> LossBook {
        let mut book = LossBook::new(1_000);
        for (seq, fate) in (10..).zip(fates.chars()) {
            match fate {
                'a' => book.answered(seq),
                'b' => book.lost(seq, true),
                _ => book.lost(seq, false),
            }
        }
        book
    }

    fn evidence(backward: u64, about: About) -> Evidence {
        Evidence { backward: Some(backward), about }
    }

    #[test]
    fn without_evidence_the_direction_is_unknown() {
        let losses = book("laallal").losses(Evidence::default());
        assert_eq!(losses, Losses { all: 4, forward: None, backward: None, unknown: 4 });
        let losses = book("laablal").losses(Evidence::default());
        assert_eq!(losses, Losses { all: 4, forward: None, backward: Some(1), unknown: 3 });
    }

    #[test]
    fn the_reflectors_last_word_is_exact() {
        let losses = book("laallal").losses(evidence(1, About::All));
        assert_eq!(losses, Losses { all: 4, forward: Some(3), backward: Some(1), unknown: 0 });
        let losses = book("aaa").losses(evidence(0, About::All));
        assert_eq!(losses, Losses { all: 0, forward: Some(0), backward: Some(0), unknown: 0 });
    }

    #[test]
    fn at_the_ends_nobody_knows() {
        let losses = book("llaallallla").losses(evidence(2, About::Between));
        assert_eq!(losses, Losses { all: 7, forward: Some(3), backward: Some(2), unknown: 2 });
        let losses = book("llaallallla").losses(evidence(2, About::UpToLast));
        assert_eq!(losses, Losses { all: 7, forward: Some(5), backward: Some(2), unknown: 0 });
        let losses = book("lllll").losses(evidence(0, About::Between));
        assert_eq!(losses, Losses { all: 5, forward: Some(0), backward: Some(0), unknown: 5 });
    }

    #[test]
    fn a_late_reply_is_no_loss() {
        let whole = |book: &LossBook| (book.before, book.between, book.after);
        let mut books = book("llallal");
        assert_eq!(whole(&books), (2, 2, 1));
        assert!(books.late(13));
        assert!(!books.late(13), "only once");
        assert!(!books.late(12), "it was not lost");
        assert!(!books.late(99) && !books.late(1));
        assert_eq!(whole(&books), (2, 1, 1));
        assert!(books.late(10), "the other at the beginning is enclosed now");
        assert_eq!(whole(&books), (0, 2, 1));

        let mut books = book("alllll");
        assert!(books.late(13));
        assert_eq!(whole(&books), (0, 2, 2));
        books.answered(16);
        assert_eq!(whole(&books), (0, 4, 0));

        let mut books = book("lllll");
        assert!(books.late(12));
        assert_eq!(whole(&books), (2, 0, 2));
        assert_eq!(books.losses(evidence(0, About::Between)).unknown, 4);

        let mut books = book("abba");
        assert!(books.late(12));
        assert_eq!(books.losses(Evidence::default()).backward, Some(1));
    }
}
