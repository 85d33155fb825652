//! Medians, spreads and ratios of repeated runs.

use serde::Serialize;

/// What repeated runs gave: the median, and between which values all lie.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) runs: usize,
}

impl Spread {
    /// `None` without runs.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let runs = sorted.len();
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let (&below, &above) = (sorted.get((runs - 1) / 2)?, sorted.get(runs / 2)?);
        Some(Self { median: f64::midpoint(below, above), min, max, runs })
    }

    /// Of the ratios of values to references of the same run. Runs that miss either are left out.
    pub(crate) fn of_ratios(
        values: impl IntoIterator<Item = Option<f64>>,
        references: impl IntoIterator<Item = Option<f64>>,
    ) -> Option<Self> {
        let pairs = values.into_iter().zip(references);
        Self::of(pairs.filter_map(|(value, reference)| Some(value? / reference.filter(|&value| value != 0.0)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let spread = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!(spread, Spread { median: 2.0, min: 1.0, max: 3.0, runs: 3 });
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(Spread::of([7.0]).unwrap(), Spread { median: 7.0, min: 7.0, max: 7.0, runs: 1 });
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn one_stalled_run_does_not_move_the_median() {
        let spread = Spread::of([100.0, 101.0, 99.0, 100.0, 3.0]).unwrap();
        assert_eq!((spread.median, spread.min), (100.0, 3.0));
    }

    #[test]
    fn ratios_are_of_pairs() {
        // The machine was half as fast in the second run, for both.
        let spread = Spread::of_ratios([Some(90.0), Some(45.0)], [Some(100.0), Some(50.0)]).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (0.9, 0.9, 0.9));
    }

    #[test]
    fn a_run_without_its_pair_has_no_ratio() {
        let spread =
            Spread::of_ratios([Some(1.0), None, Some(3.0), Some(4.0)], [Some(2.0), Some(2.0), None, Some(0.0)]);
        assert_eq!(spread.unwrap().runs, 1);
        assert_eq!(Spread::of_ratios([None], [Some(1.0)]), None);
    }
}
