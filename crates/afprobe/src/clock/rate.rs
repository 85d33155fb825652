//! Rates of one clock against another, in whole numbers and rounded outwards: what a bound is made of.

use fast_afpacket::Drift;

/// A rate of 1. Fine enough that rounding a rate is 1 ns in eleven days; a rate times a difference of stamps fits 128 bits.
pub(super) const ONE: i128 = 1_000_000_000_000_000;

const PPB: i128 = ONE / 1_000_000_000;

/// In parts of [`ONE`].
pub(super) fn of(drift: Drift) -> i128 {
    i128::from(drift.as_ppb()) * PPB
}

/// In parts per billion, rounded to the nearest.
pub(super) fn in_ppb(rate: i128) -> i64 {
    i64::try_from((rate + PPB / 2).div_euclid(PPB)).unwrap_or(if rate < 0 { i64::MIN } else { i64::MAX })
}

/// In parts per billion, rounded up.
pub(super) fn in_ppb_up(rate: i128) -> u64 {
    u64::try_from(div_ceil(rate, PPB)).unwrap_or(u64::MAX)
}

/// By how much clocks may run apart in a time, in nanoseconds, rounded up.
pub(super) fn over(drift: Drift, nanos: i128) -> i128 {
    up(of(drift), nanos)
}

/// A rate over a time, rounded up.
pub(super) fn up(rate: i128, nanos: i128) -> i128 {
    div_ceil(rate * nanos, ONE)
}

/// A rate over a time, rounded down.
pub(super) fn down(rate: i128, nanos: i128) -> i128 {
    (rate * nanos).div_euclid(ONE)
}

/// Rounded up, for a positive divisor.
pub(super) fn div_ceil(dividend: i128, divisor: i128) -> i128 {
    -(-dividend).div_euclid(divisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounded_outwards() {
        assert_eq!(over(Drift::from_ppm(1), 1), 1);
        assert_eq!(over(Drift::from_ppm(1), 1_000_000), 1);
        assert_eq!(over(Drift::from_ppm(1), 1_000_001), 2);
        assert_eq!((up(-ONE / 2, 3), down(-ONE / 2, 3)), (-1, -2));
        assert_eq!((in_ppb(of(Drift::from_ppm(7))), in_ppb_up(of(Drift::from_ppm(7)) + 1)), (7_000, 7_001));
        assert_eq!(in_ppb(-of(Drift::from_ppm(7))), -7_000);
    }
}
