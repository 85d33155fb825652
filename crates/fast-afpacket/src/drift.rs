//! How fast two clocks run apart: the limits of it, and what two samples say of it.

use std::fmt;

/// A limit on how fast two clocks run apart, in parts per billion: 1 ppm is 1 µs in every second.
///
/// ```
/// use fast_afpacket::Drift;
///
/// assert_eq!(Drift::from_ppm(100), Drift::from_ppb(100_000));
/// assert_eq!(Drift::from_ppm(100).to_string(), "100.000 ppm");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[doc(alias("ppm", "ppb", "frequency"))]
pub struct Drift(u32);

impl Drift {
    /// That many parts per million. Saturates at 4 294 967 295 ppb, more than four times as fast.
    pub const fn from_ppm(ppm: u32) -> Self {
        Self(ppm.saturating_mul(1_000))
    }

    /// That many parts per billion.
    pub const fn from_ppb(ppb: u32) -> Self {
        Self(ppb)
    }

    /// In parts per billion.
    pub const fn as_ppb(self) -> u32 {
        self.0
    }

    /// As the arithmetic has it, in parts of [`ONE`].
    pub(crate) fn rate(self) -> i128 {
        i128::from(self.0) * (ONE / 1_000_000_000)
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} ppm", self.0 / 1_000, self.0 % 1_000)
    }
}

/// A rate of 1. Fine enough that rounding a rate is 1 ns in eleven days, coarse enough that a rate times any distance
/// of two stamps fits 128 bits.
pub(crate) const ONE: i128 = 1_000_000_000_000_000;

/// Between which limits a rate lies, in parts of [`ONE`]: how much faster than the clock of the NIC the system clock
/// runs. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rates {
    low: i128,
    high: i128,
}

impl Rates {
    /// Anything up to `limit` to both sides.
    pub(crate) const fn up_to(limit: i128) -> Self {
        Self { low: -limit, high: limit }
    }

    /// What the mean rate was if `distance` (positive) on one clock was `distance + excess` on the other, and `excess`
    /// may be wrong by `noise`. Rounded outwards.
    pub(crate) fn mean(distance: i128, excess: i128, noise: i128) -> Self {
        let low = ((excess - noise) * ONE).div_euclid(distance);
        let high = -(-(excess + noise) * ONE).div_euclid(distance);
        Self { low, high }
    }

    /// After a change by at most `change`.
    #[must_use]
    pub(crate) const fn widened(self, change: i128) -> Self {
        Self { low: self.low - change, high: self.high + change }
    }

    /// What satisfies both, or `None` if they contradict each other.
    pub(crate) fn and(self, other: Self) -> Option<Self> {
        let both = Self { low: self.low.max(other.low), high: self.high.min(other.high) };
        (both.low <= both.high).then_some(both)
    }

    /// The middle.
    pub(crate) const fn middle(self) -> i128 {
        (self.low + self.high).div_euclid(2)
    }

    /// How far a limit is from the middle at most.
    pub(crate) const fn half(self) -> i128 {
        self.high - self.middle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_rates_are_rounded_outwards() {
        let exact = Rates::mean(1_000_000, 100, 0);
        assert_eq!((exact.low, exact.high), (ONE / 10_000, ONE / 10_000));
        let third = Rates::mean(3, -1, 0);
        assert_eq!((third.low, third.high), (-333_333_333_333_334, -333_333_333_333_333));
        let noisy = Rates::mean(1_000_000, 100, 10);
        assert_eq!((noisy.low, noisy.high), (90 * ONE / 1_000_000, 110 * ONE / 1_000_000));
        assert_eq!((noisy.middle(), noisy.half()), (100 * ONE / 1_000_000, 10 * ONE / 1_000_000));
    }

    #[test]
    fn contradictions_are_seen() {
        assert!(Rates::mean(1_000, 10, 1).and(Rates::mean(1_000, 13, 1)).is_none());
        assert!(Rates::mean(1_000, 10, 2).and(Rates::mean(1_000, 13, 1)).is_some());
    }
}
