//! The error estimate: what a packet's sender says of its clock (RFC 4656, section 4.1.2; RFC 8186, section 2.3).

use std::time::Duration;

/// How far a clock can be off, as a number of at most eight bits, moved left.
///
/// The Z bit, which stands in the same 16 bits, tells the format of times and nothing of the clock: it is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ErrorEstimate {
    /// Somebody outside sets the clock to UTC.
    pub(crate) synchronized: bool,
    /// Six bits.
    scale: u8,
    /// Not 0: the standard calls a packet with that corrupt.
    multiplier: u8,
}

const SYNCHRONIZED: u16 = 0x8000;
const PTP: u16 = 0x4000;
const LARGEST_SCALE: u8 = 63;

impl ErrorEstimate {
    /// Of a clock of which nothing is known: the largest error that can be told.
    pub(crate) const UNKNOWN: Self = Self { synchronized: false, scale: LARGEST_SCALE, multiplier: u8::MAX };

    /// The smallest one that can be told and is not less than `bound`. `None` is a bound that nobody knows.
    pub(crate) fn new(synchronized: bool, bound: Option<Duration>) -> Self {
        let Some(bound) = bound else {
            return Self { synchronized, ..Self::UNKNOWN };
        };
        // In units of 2^-32 s; a Duration has 64 + 30 bits of nanoseconds, so nothing is lost on the left.
        let units = (bound.as_nanos() << 32).div_ceil(1_000_000_000).max(1);
        let mut scale = (u128::BITS - units.leading_zeros()).saturating_sub(u8::BITS);
        let mut multiplier = units.div_ceil(1 << scale);
        if multiplier > u8::MAX.into() {
            scale += 1;
            multiplier = units.div_ceil(1 << scale);
        }
        match (u8::try_from(scale), u8::try_from(multiplier)) {
            (Ok(scale), Ok(multiplier)) if scale <= LARGEST_SCALE => Self { synchronized, scale, multiplier },
            _ => Self { synchronized, ..Self::UNKNOWN },
        }
    }

    /// The error that it tells, in whole nanoseconds, not less.
    pub(crate) fn bound(self) -> Duration {
        let units = u128::from(self.multiplier) << self.scale;
        let nanos = (units * 1_000_000_000).div_ceil(1 << 32);
        let secs = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
        Duration::new(secs, u32::try_from(nanos % 1_000_000_000).unwrap_or(0))
    }

    /// The 16 bits, with the Z bit for times in PTP's format.
    pub(crate) fn to_wire(self, is_ptp: bool) -> u16 {
        let flags = if self.synchronized { SYNCHRONIZED } else { 0 } | if is_ptp { PTP } else { 0 };
        flags | u16::from_be_bytes([self.scale, self.multiplier])
    }

    /// What 16 bits say, and their Z bit. `None` if the multiplier is 0, which is forbidden.
    pub(crate) fn from_wire(bits: u16) -> Option<(Self, bool)> {
        let [high, multiplier] = bits.to_be_bytes();
        let estimate = Self { synchronized: bits & SYNCHRONIZED != 0, scale: high & LARGEST_SCALE, multiplier };
        (multiplier != 0).then_some((estimate, bits & PTP != 0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 4656, section 4.1.2: S, Z (RFC 8186), six bits of scale, eight of multiplier; multiplier * 2^(scale - 32) seconds.
    #[test]
    fn bits() {
        let estimate = |synchronized, scale, multiplier| ErrorEstimate { synchronized, scale, multiplier };
        assert_eq!(estimate(true, 0, 1).to_wire(false), 0b1000_0000_0000_0001);
        assert_eq!(estimate(false, 0, 1).to_wire(true), 0b0100_0000_0000_0001);
        assert_eq!(estimate(false, 63, 1).to_wire(false), 0b0011_1111_0000_0001);
        assert_eq!(estimate(true, 33, 200).to_wire(true), 0b1110_0001_1100_1000);
        assert_eq!(ErrorEstimate::from_wire(0b1110_0001_1100_1000), Some((estimate(true, 33, 200), true)));
        assert_eq!(ErrorEstimate::from_wire(0xff00), None, "multiplier 0");
        assert_eq!(ErrorEstimate::from_wire(0), None);
    }

    #[test]
    fn bounds_as_the_standard_counts_them() {
        let bound = |bits| ErrorEstimate::from_wire(bits).unwrap().0.bound();
        assert_eq!(bound(0x0001), Duration::from_nanos(1), "2^-32 s, 0.23 ns, rounded up");
        assert_eq!(bound(0x2001), Duration::from_secs(1), "2^(32 - 32)");
        assert_eq!(bound(0x21ff), Duration::from_secs(510), "255 * 2");
        assert_eq!(bound(0x1f03), Duration::from_millis(1500), "3 / 2");
        assert_eq!(ErrorEstimate::UNKNOWN.bound(), Duration::from_secs(255 << 31));
    }

    #[test]
    fn the_smallest_that_is_not_less() {
        let wire = |bound| ErrorEstimate::new(true, bound).to_wire(false);
        assert_eq!(wire(Some(Duration::ZERO)), 0x8001, "no clock is without error");
        assert_eq!(wire(Some(Duration::from_secs(1))), 0x9980, "128 * 2^(25 - 32)");
        assert_eq!(wire(Some(Duration::from_nanos(1_000_000_001))), 0x9981);
        assert_eq!(wire(Some(Duration::from_nanos(999_999_999))), 0x9980, "one step of 256 more than fits");
        assert_eq!(wire(Some(Duration::from_secs(16))), 0x9d80, "what a kernel says that has not been synchronised");
        assert_eq!(wire(None), 0xbfff);
        assert_eq!(wire(Some(Duration::MAX)), 0xbfff);
    }

    proptest! {
        #[test]
        fn both_ways(bits in any::<u16>()) {
            if let Some((estimate, is_ptp)) = ErrorEstimate::from_wire(bits) {
                prop_assert_eq!(estimate.to_wire(is_ptp), bits);
            } else {
                prop_assert_eq!(bits & 0xff, 0);
            }
        }

        /// Never less than it is, nor more than one part in 128 more.
        #[test]
        fn never_less_and_hardly_more(nanos in 0..u64::MAX / 2) {
            let bound = Duration::from_nanos(nanos);
            let told = ErrorEstimate::new(false, Some(bound)).bound();
            prop_assert!(told >= bound);
            prop_assert!(told <= bound + bound / 128 + Duration::from_nanos(1), "{:?} {:?}", told, bound);
        }
    }
}
