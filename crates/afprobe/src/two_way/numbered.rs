//! The replies of a reflector that numbers them: which are missing, and in which order probes and replies arrived.

use super::numbers;
use crate::ids::{Ids, Seen, Window};

/// How many numbers a reply may be overtaken by on its way back, and still tell in which order the probes arrived.
pub(super) const WAITING: u64 = 4_096;

/// Replies by the reflector's own numbers.
#[derive(Clone, Debug)]
pub(super) struct Numbered {
    seen: Ids,
    /// Numbers of replies that were the first to their probe.
    firsts: Window,
    /// The last that came: the next one's is near it.
    latest: u64,
    reordered_backward: u64,
    forward: InOrderOfNumbers,
}

impl Numbered {
    pub(super) fn new(first: u32, remembered: u64) -> Self {
        // Numbers from before the first one that came are not negative.
        let latest = u64::from(first) + (1 << 32);
        let forward = InOrderOfNumbers::from(latest, remembered);
        Self {
            seen: Ids::with_window(remembered),
            firsts: Window::new(remembered),
            latest,
            reordered_backward: 0,
            forward,
        }
    }

    pub(super) fn reply(&mut self, seq: u64, wire: u32, is_first: bool) -> Seen {
        let Some(number) = numbers::unwrap(wire, self.latest) else { return Seen::Duplicate };
        let overtaken = self.seen.highest().is_some_and(|highest| number < highest);
        if self.seen.see(number) == Seen::Duplicate {
            return Seen::Duplicate;
        }
        self.latest = number;
        self.reordered_backward += u64::from(overtaken);
        if is_first {
            self.firsts.insert(number);
        }
        self.forward.put(number, seq);
        Seen::New
    }

    /// The last that came.
    pub(super) const fn latest(&self) -> u64 {
        self.latest
    }

    /// How many first replies there are with a higher number than this.
    pub(super) fn firsts_after(&self, number: u64) -> u64 {
        self.firsts.count(number.saturating_add(1)..u64::MAX)
    }

    /// How many replies are missing between the lowest number and the highest.
    pub(super) fn gaps(&self) -> u64 {
        self.seen.gaps()
    }

    pub(super) fn reordered_forward(&self) -> u64 {
        self.forward.clone().finish()
    }

    pub(super) const fn reordered_backward(&self) -> u64 {
        self.reordered_backward
    }
}

/// Probes in the order in which they reached the reflector. Their replies come in nearly that order.
#[derive(Clone, Debug)]
struct InOrderOfNumbers {
    /// The probe that has this number, for numbers from `next` on; at their places modulo the length.
    waiting: Vec<Option<u64>>,
    next: u64,
    end: u64,
    judged: Ids,
    reordered: u64,
}

impl InOrderOfNumbers {
    fn from(number: u64, remembered: u64) -> Self {
        let waiting = (0..WAITING).map(|_| None).collect();
        // The first reply to come need not be the first that was sent.
        let next = number - WAITING / 2;
        Self { waiting, next, end: next, judged: Ids::with_window(remembered), reordered: 0 }
    }

    fn place(&mut self, number: u64) -> Option<&mut Option<u64>> {
        let place = usize::try_from(number % WAITING).ok()?;
        self.waiting.get_mut(place)
    }

    fn put(&mut self, number: u64, seq: u64) {
        if number < self.next {
            return;
        }
        // Those that leave are at most as many as have a place.
        let leaving = (number + 1).saturating_sub(WAITING).saturating_sub(self.next);
        (0..leaving.min(WAITING)).for_each(|_| self.judge_next());
        self.next = self.next.max((number + 1).saturating_sub(WAITING));
        self.end = self.end.max(number + 1);
        if let Some(place) = self.place(number) {
            *place = Some(seq);
        }
    }

    fn judge_next(&mut self) {
        let seq = self.place(self.next).and_then(Option::take);
        self.next += 1;
        let Some(seq) = seq else { return };
        let overtaken = self.judged.highest().is_some_and(|highest| seq < highest);
        // Of a probe that reached the reflector twice, the first copy counts.
        self.reordered += u64::from(self.judged.see(seq) == Seen::New && overtaken);
    }

    /// How many probes were overtaken, if nothing more comes.
    fn finish(mut self) -> u64 {
        while self.next < self.end {
            self.judge_next();
        }
        self.reordered
    }
}
