//! Distributions of times in constant memory, however long a job runs.

use hdrhistogram::Histogram;

/// A distribution of times in nanoseconds: least and greatest exact, quantiles within 0.1 percent, negative ones too.
#[derive(Debug)]
pub(crate) struct Distribution {
    /// What the percentage is of is the distance from here.
    origin: i64,
    /// How far from the origin, on either side of it. What is below has a histogram only if there is any.
    above: Histogram<u64>,
    below: Option<Box<Histogram<u64>>>,
    extremes: Option<(i64, i64)>,
}

/// The figures of a distribution, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    /// How many times there are.
    pub(crate) count: u64,
    pub(crate) min: i64,
    pub(crate) p50: i64,
    pub(crate) p90: i64,
    pub(crate) p99: i64,
    pub(crate) p999: i64,
    pub(crate) max: i64,
}

/// A histogram that grows as far as its values need. That is 54 KB for a second, and 440 KB for the 292 years of an `i64`.
fn histogram() -> Histogram<u64> {
    const SIGNIFICANT_DIGITS: u8 = 3;
    Histogram::new(SIGNIFICANT_DIGITS).unwrap_or_else(|_| unreachable!("{SIGNIFICANT_DIGITS} digits are allowed"))
}

impl Distribution {
    pub(crate) fn new() -> Self {
        Self::around(0)
    }

    /// For times that are all far from zero and near to this one: their differences shall not drown.
    pub(crate) fn around(origin: i64) -> Self {
        Self { origin, above: histogram(), below: None, extremes: None }
    }

    /// Adds a time.
    pub(crate) fn record(&mut self, nanos: i64) {
        let side = if nanos >= self.origin {
            &mut self.above
        } else {
            self.below.get_or_insert_with(|| Box::new(histogram()))
        };
        // It grows as it must, and has no other reason to refuse.
        let recorded = side.record(nanos.abs_diff(self.origin));
        debug_assert!(recorded.is_ok(), "{nanos}: {recorded:?}");
        let (min, max) = self.extremes.unwrap_or((nanos, nanos));
        self.extremes = Some((min.min(nanos), max.max(nanos)));
    }

    /// How many times there are.
    pub(crate) fn count(&self) -> u64 {
        self.above.len() + self.count_below()
    }

    fn count_below(&self) -> u64 {
        self.below.as_ref().map_or(0, |below| below.len())
    }

    pub(crate) fn figures(&self) -> Option<Figures> {
        let (min, max) = self.extremes?;
        let count = self.count();
        let [p50, p90, p99, p999] = [500, 900, 990, 999].map(|permille| self.at(rank(count, permille)).clamp(min, max));
        Some(Figures { count, min, p50, p90, p99, p999, max })
    }

    /// The time with this many that are not greater, itself included.
    fn at(&self, rank: u64) -> i64 {
        let count_below = self.count_below();
        match &self.below {
            // The least is the one that is furthest from the origin.
            Some(below) if rank <= count_below => {
                self.origin.saturating_sub_unsigned(nth(below, count_below - rank + 1))
            }
            _ => self.origin.saturating_add_unsigned(nth(&self.above, rank - count_below)),
        }
    }
}

/// The place of a quantile in the order of `count` values, from 1: as many values are not greater as the quantile says.
fn rank(count: u64, permille: u64) -> u64 {
    let rank = (u128::from(count) * u128::from(permille)).div_ceil(1_000);
    u64::try_from(rank).unwrap_or(count).max(1)
}

/// The value at this place in a histogram, from 1: the middle of its range.
fn nth(histogram: &Histogram<u64>, place: u64) -> u64 {
    let mut counted = 0;
    let range = histogram.iter_recorded().find(|range| {
        counted += range.count_since_last_iteration();
        counted >= place
    });
    range.map_or(0, |range| histogram.median_equivalent(range.value_iterated_to()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_close_and_extremes_exact() {
        let mut times = Distribution::new();
        assert_eq!(times.figures(), None);
        (1..=100_000).for_each(|nanos| times.record(nanos));
        let figures = times.figures().unwrap();
        assert_eq!((figures.count, figures.min, figures.max), (100_000, 1, 100_000));
        for (quantile, exact) in
            [(figures.p50, 50_000), (figures.p90, 90_000), (figures.p99, 99_000), (figures.p999, 99_900)]
        {
            assert!((quantile - exact).abs() <= exact / 1_000, "{figures:?}");
        }
    }

    #[test]
    fn negative_times_are_negative() {
        let mut times = Distribution::new();
        (-600..400).for_each(|nanos| times.record(nanos));
        let figures = Figures { count: 1_000, min: -600, p50: -101, p90: 299, p99: 389, p999: 398, max: 399 };
        assert_eq!(times.figures(), Some(figures));
        let mut times = Distribution::new();
        [-3, -2, -1].into_iter().for_each(|days| times.record(days * 86_400_000_000_000));
        let figures = times.figures().unwrap();
        assert!((figures.p50 + 2 * 86_400_000_000_000).abs() <= 2 * 86_400_000_000, "{figures:?}");
        assert_eq!((figures.min, figures.max), (-3 * 86_400_000_000_000, -86_400_000_000_000));
    }

    #[test]
    fn small_differences_far_from_zero() {
        const DAY: i64 = 86_400_000_000_000;
        let mut times = Distribution::around(-DAY);
        (-400..600).for_each(|nanos| times.record(nanos - DAY));
        let figures = times.figures().unwrap();
        assert_eq!([figures.min, figures.p50, figures.p90, figures.max].map(|nanos| nanos + DAY), [-400, 99, 499, 599]);
    }

    #[test]
    fn one_value_is_all_quantiles() {
        for nanos in [123_457, -123_457, 0, i64::MIN, i64::MAX] {
            let mut times = Distribution::new();
            times.record(nanos);
            let Figures { count, min, p50, p90, p99, p999, max } = times.figures().unwrap();
            assert_eq!([min, p50, p90, p99, p999, max], [nanos; 6]);
            assert_eq!(count, 1);
        }
    }

    #[test]
    fn a_few_values_are_their_own_quantiles() {
        let mut times = Distribution::new();
        [10, 20, 30, 40].into_iter().for_each(|nanos| times.record(nanos));
        let figures = times.figures().unwrap();
        assert_eq!((figures.p50, figures.p90, figures.p99), (20, 40, 40));
    }
}
