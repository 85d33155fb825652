//! From a lowest to a highest value: what is known of a quantity that is not known exactly.

/// Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) low: i128,
    pub(crate) high: i128,
}

impl Span {
    /// Up to `limit` to both sides of zero.
    pub(super) const fn within(limit: i128) -> Self {
        Self { low: -limit, high: limit }
    }

    /// What lies in both, or `None` if they contradict each other.
    pub(super) fn and(self, other: Self) -> Option<Self> {
        let both = Self { low: self.low.max(other.low), high: self.high.min(other.high) };
        (both.low <= both.high).then_some(both)
    }

    pub(super) const fn middle(self) -> i128 {
        (self.low + self.high).div_euclid(2)
    }

    /// How far a limit is from the middle at most.
    pub(super) const fn half(self) -> i128 {
        self.high - self.middle()
    }

    /// How far the furthest value is from zero.
    pub(super) fn furthest(self) -> i128 {
        self.low.abs().max(self.high.abs())
    }

    /// How far the nearest value is from zero.
    pub(super) fn nearest(self) -> i128 {
        if self.low <= 0 && self.high >= 0 { 0 } else { self.low.abs().min(self.high.abs()) }
    }
}
