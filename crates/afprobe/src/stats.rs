//! Counts and distributions in constant memory, however long a job runs.

use hdrhistogram::Histogram;

/// How many of the latest ids are remembered to tell a duplicate.
const WINDOW: u64 = 1 << 16;
const WORD: u64 = 64;

/// Which ids have been seen.
#[derive(Debug)]
pub(crate) struct Ids {
    first: Option<u64>,
    highest: u64,
    unique: u64,
    /// One bit for each id of the window, at its place modulo the window.
    bits: Vec<u64>,
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
        let words = WINDOW / WORD;
        Self { first: None, highest: 0, unique: 0, bits: (0..words).map(|_| 0).collect() }
    }
}

impl Ids {
    pub(crate) fn see(&mut self, id: u64) -> Seen {
        if self.first.is_none() {
            self.highest = id;
        }
        self.first = Some(self.first.map_or(id, |first| first.min(id)));
        if id > self.highest {
            // The places of the ids in between were those of ids that leave the window.
            let entering = (id - self.highest).min(WINDOW);
            for new in (id - entering + 1)..=id {
                self.set(new, false);
            }
            self.highest = id;
        }
        if self.highest - id >= WINDOW || self.set(id, true) {
            return Seen::Duplicate;
        }
        self.unique += 1;
        Seen::New
    }

    /// How many different ids were seen.
    pub(crate) const fn unique(&self) -> u64 {
        self.unique
    }

    /// How many ids between the lowest and the highest were not seen.
    pub(crate) fn gaps(&self) -> u64 {
        self.first.map_or(0, |first| (self.highest - first).saturating_add(1).saturating_sub(self.unique))
    }

    /// Sets an id's bit and gives its former value.
    fn set(&mut self, id: u64, value: bool) -> bool {
        let place = id % WINDOW;
        let mask = 1 << (place % WORD);
        let word = usize::try_from(place / WORD).ok().and_then(|at| self.bits.get_mut(at));
        word.is_some_and(|word| {
            let former = *word & mask != 0;
            *word = if value { *word | mask } else { *word & !mask };
            former
        })
    }
}

/// A distribution of times in nanoseconds: least and greatest exact, quantiles within 0.1 percent up to an hour.
#[derive(Debug)]
pub(crate) struct Distribution {
    histogram: Histogram<u64>,
    extremes: Option<(i64, i64)>,
}

/// The figures of a distribution, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) min: i64,
    pub(crate) p50: i64,
    pub(crate) p99: i64,
    pub(crate) max: i64,
}

impl Distribution {
    pub(crate) fn new() -> Self {
        const HOUR: u64 = 3_600_000_000_000;
        const SIGNIFICANT_DIGITS: u8 = 3;
        let histogram = Histogram::new_with_max(HOUR, SIGNIFICANT_DIGITS);
        let histogram =
            histogram.unwrap_or_else(|_| unreachable!("{SIGNIFICANT_DIGITS} digits and an hour are allowed"));
        Self { histogram, extremes: None }
    }

    /// Adds a time. One that is negative, because a clock was stepped, counts as 0 in the quantiles and is shown as it is
    /// in the extremes.
    pub(crate) fn record(&mut self, nanos: i64) {
        self.histogram.saturating_record(nanos.max(0).unsigned_abs());
        let (min, max) = self.extremes.unwrap_or((nanos, nanos));
        self.extremes = Some((min.min(nanos), max.max(nanos)));
    }

    pub(crate) fn figures(&self) -> Option<Figures> {
        let (min, max) = self.extremes?;
        let quantile = |q| {
            let value = self.histogram.value_at_quantile(q);
            // The histogram gives the upper end of a range, which may lie beyond what was recorded.
            i64::try_from(value).unwrap_or(i64::MAX).clamp(min, max)
        };
        Some(Figures { min, p50: quantile(0.5), p99: quantile(0.99), max })
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
    fn quantiles_are_close_and_extremes_exact() {
        let mut times = Distribution::new();
        assert_eq!(times.figures(), None);
        (1..=100_000).for_each(|nanos| times.record(nanos));
        let figures = times.figures().unwrap();
        assert_eq!((figures.min, figures.max), (1, 100_000));
        assert!((figures.p50 - 50_000).abs() <= 50, "{figures:?}");
        assert!((figures.p99 - 99_000).abs() <= 99, "{figures:?}");
        times.record(-7);
        assert_eq!(times.figures().unwrap().min, -7);
    }

    #[test]
    fn one_value_is_all_quantiles() {
        let mut times = Distribution::new();
        times.record(123_457);
        let figures = times.figures().unwrap();
        assert_eq!([figures.min, figures.p50, figures.p99, figures.max], [123_457; 4]);
    }
}
