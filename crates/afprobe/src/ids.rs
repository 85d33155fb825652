//! Which of many numbers have been seen, in constant memory: the latest are remembered, one bit each.

use std::ops::Range;

/// How many of the latest ids are remembered to tell a duplicate, if nobody says otherwise.
const WINDOW: u64 = 1 << 16;
const WORD: u64 = 64;

/// A set of numbers that forgets those that are too far below the highest.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// One bit for each number, at its place modulo the length.
    words: Vec<u64>,
    highest: Option<u64>,
}

impl Window {
    /// Remembers this many numbers up to the highest; rounded up to whole words.
    pub(crate) fn new(numbers: u64) -> Self {
        let words = numbers.div_ceil(WORD).max(1);
        Self { words: (0..words).map(|_| 0).collect(), highest: None }
    }

    fn numbers(&self) -> u64 {
        self.words.len() as u64 * WORD
    }

    /// Whether a number is in the range that is remembered.
    fn covers(&self, number: u64) -> bool {
        self.highest.is_some_and(|highest| number <= highest && highest - number < self.numbers())
    }

    /// Adds a number, and says whether it was there. `None` if it is too low to be remembered.
    pub(crate) fn insert(&mut self, number: u64) -> Option<bool> {
        let highest = *self.highest.get_or_insert(number);
        if number > highest {
            // The places of the numbers in between were those of numbers that leave the window.
            let entering = (number - highest).min(self.numbers());
            for new in (number - entering + 1)..=number {
                self.put(new, false);
            }
            self.highest = Some(number);
        }
        self.covers(number).then(|| self.put(number, true))
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        self.covers(number) && self.is_set(number)
    }

    /// Takes a number out, and says whether it was there.
    pub(crate) fn remove(&mut self, number: u64) -> bool {
        self.covers(number) && self.put(number, false)
    }

    /// How many numbers of a range are there. Of those that are forgotten none is.
    pub(crate) fn count(&self, range: Range<u64>) -> u64 {
        let Some(highest) = self.highest else { return 0 };
        let lowest = highest.saturating_sub(self.numbers() - 1);
        let range = range.start.max(lowest)..range.end.min(highest.saturating_add(1));
        range.filter(|&number| self.is_set(number)).count() as u64
    }

    fn place(&self, number: u64) -> (Option<usize>, u64) {
        let place = number % self.numbers();
        (usize::try_from(place / WORD).ok(), 1 << (place % WORD))
    }

    fn is_set(&self, number: u64) -> bool {
        let (word, mask) = self.place(number);
        word.and_then(|word| self.words.get(word)).is_some_and(|word| word & mask != 0)
    }

    /// Sets a number's bit and gives its former value.
    fn put(&mut self, number: u64, value: bool) -> bool {
        let (word, mask) = self.place(number);
        word.and_then(|word| self.words.get_mut(word)).is_some_and(|word| {
            let former = *word & mask != 0;
            *word = if value { *word | mask } else { *word & !mask };
            former
        })
    }
}

/// Which ids have been seen.
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    /// The lowest and the highest.
    ends: Option<(u64, u64)>,
    unique: u64,
    seen: Window,
}

/// What an id turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    New,
    /// Seen before, or so old that it cannot be told.
    Duplicate,
}

impl Default for Ids {
    fn default() -> Self {
        Self::with_window(WINDOW)
    }
}

impl Ids {
    pub(crate) fn with_window(ids: u64) -> Self {
        Self { ends: None, unique: 0, seen: Window::new(ids) }
    }

    pub(crate) fn see(&mut self, id: u64) -> Seen {
        let (lowest, highest) = self.ends.unwrap_or((id, id));
        self.ends = Some((lowest.min(id), highest.max(id)));
        if self.seen.insert(id) != Some(false) {
            return Seen::Duplicate;
        }
        self.unique += 1;
        Seen::New
    }

    /// Whether an id was seen. Of those that are too old to be remembered: no.
    pub(crate) fn has_seen(&self, id: u64) -> bool {
        self.seen.contains(id)
    }

    /// How many different ids were seen.
    pub(crate) const fn unique(&self) -> u64 {
        self.unique
    }

    /// The highest that was seen.
    pub(crate) fn highest(&self) -> Option<u64> {
        self.ends.map(|(_, highest)| highest)
    }

    /// How many ids between the lowest and the highest were not seen.
    pub(crate) fn gaps(&self) -> u64 {
        self.ends.map_or(0, |(lowest, highest)| (highest - lowest).saturating_add(1).saturating_sub(self.unique))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_duplicates() {
        let mut ids = Ids::default();
        for (id, seen) in
            [(5, Seen::New), (7, Seen::New), (6, Seen::New), (7, Seen::Duplicate), (10, Seen::New), (4, Seen::New)]
        {
            assert_eq!(ids.see(id), seen, "{id}");
        }
        assert_eq!((ids.unique(), ids.gaps()), (5, 2), "8 and 9 are missing between 4 and 10");
    }

    #[test]
    fn the_window_moves() {
        let mut ids = Ids::default();
        assert_eq!(ids.see(1), Seen::New);
        assert_eq!(ids.see(WINDOW + 1), Seen::New, "in the place of 1");
        assert_eq!(ids.see(1), Seen::Duplicate, "too old to tell");
        assert_eq!(ids.see(2), Seen::New);
        assert_eq!(ids.see(u64::MAX), Seen::New);
        assert_eq!(ids.see(u64::MAX - WINDOW + 1), Seen::New);
        assert_eq!(ids.see(u64::MAX), Seen::Duplicate);
        assert_eq!(ids.see(0), Seen::Duplicate);
        assert_eq!(ids.unique(), 5);
    }

    #[test]
    fn numbers_are_counted_and_taken_out() {
        let mut window = Window::new(100);
        assert_eq!(window.count(0..u64::MAX), 0);
        assert!(!window.remove(1));
        for number in [10, 12, 13, 137] {
            assert_eq!(window.insert(number), Some(false));
        }
        assert_eq!(window.count(0..u64::MAX), 4, "100 numbers are 128 in whole words");
        assert_eq!(window.count(10..13), 2);
        assert_eq!(window.insert(138), Some(false));
        assert_eq!((window.count(0..u64::MAX), window.insert(10)), (4, None), "10 is forgotten");
        assert!(window.remove(12));
        assert!(!window.remove(12) && !window.remove(10) && !window.remove(139));
        assert_eq!(window.count(0..u64::MAX), 3);
    }
}
