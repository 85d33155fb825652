//! The two formats in which a STAMP packet carries a time, and where their seconds begin anew.
//!
//! Both have 32 bits for the seconds, so both say only where in 136 years a moment lies: NTP's count (RFC 5905, section 6)
//! begins anew in February 2036, the truncated one of PTP (IEEE 1588, RFC 8186) in February 2106. Which round was meant
//! follows from a moment nearby that the reader knows.

use fast_afpacket::{SystemStamp, TaiOffset, TaiStamp};

/// Seconds from NTP's epoch, 1900, to that of Unix, 1970: 70 years with 17 leap days.
const NTP_EPOCH: i64 = 2_208_988_800;
const NANOS_PER_SEC: i64 = 1_000_000_000;

/// How a packet's times are written. The Z bit of its error estimate says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeFormat {
    /// Seconds since 1900 in UTC, and a binary fraction.
    Ntp,
    /// Seconds since 1970 in TAI, and nanoseconds. The offset is what this host knows of TAI; 0 where nobody has told it,
    /// and then what is written is UTC, as other hosts that nobody has told write it.
    Ptp(TaiOffset),
}

impl TimeFormat {
    /// PTP's, where nobody has told how far TAI is from UTC.
    pub(crate) const UNTOLD_PTP: Self = Self::Ptp(TaiOffset::from_seconds(0));

    /// The Z bit.
    pub(crate) const fn is_ptp(self) -> bool {
        matches!(self, Self::Ptp(_))
    }

    /// The 64 bits of a time. They are never all 0, which says that there is none: one moment in 136 years is written as
    /// the next one.
    pub(crate) fn encode(self, stamp: SystemStamp) -> u64 {
        let (secs, low) = match self {
            Self::Ntp => {
                let (secs, nanos) = split(stamp.as_nanos());
                // To the nearest; 2^32 steps a second are finer than nanoseconds, so these come back as they were.
                let fraction = ((nanos << 32) + NANOS_PER_SEC / 2) / NANOS_PER_SEC;
                (secs + NTP_EPOCH, fraction)
            }
            Self::Ptp(offset) => split(stamp.to_tai(offset).as_nanos()),
        };
        u64::from(low_half(secs)).rotate_left(32).saturating_add(u64::from(low_half(low))).max(1)
    }

    /// The moment that these bits mean, of the many the one nearest to `near`. `None` if they are 0, or no time.
    pub(crate) fn decode(self, bits: u64, near: SystemStamp) -> Option<SystemStamp> {
        if bits == 0 {
            return None;
        }
        let (secs, low) = (low_half((bits >> 32).cast_signed()), i64::from(low_half(bits.cast_signed())));
        match self {
            Self::Ntp => {
                let (near, _) = split(near.as_nanos());
                let nanos = (low * NANOS_PER_SEC + (1 << 31)) >> 32;
                join(nearest(secs, near + NTP_EPOCH) - NTP_EPOCH, nanos).map(SystemStamp::from_nanos)
            }
            Self::Ptp(offset) => {
                let (near, _) = split(near.to_tai(offset).as_nanos());
                let tai = join(nearest(secs, near), (low < NANOS_PER_SEC).then_some(low)?)?;
                Some(TaiStamp::from_nanos(tai).to_system(offset))
            }
        }
    }

    /// Nanoseconds from one time to another of the same format, less than 68 years away, whatever its seconds count from.
    pub(crate) fn nanos_between(is_ptp: bool, from: u64, to: u64) -> i64 {
        if is_ptp {
            let secs = |bits: u64| low_half((bits >> 32).cast_signed());
            let nanos = |bits: u64| i64::from(low_half(bits.cast_signed()));
            let secs = i64::from(secs(to).wrapping_sub(secs(from)).cast_signed());
            secs.saturating_mul(NANOS_PER_SEC).saturating_add(nanos(to) - nanos(from))
        } else {
            let nanos = (i128::from(to.wrapping_sub(from).cast_signed()) * i128::from(NANOS_PER_SEC)) >> 32;
            i64::try_from(nanos).unwrap_or(i64::MAX)
        }
    }
}

/// Whole seconds, and the nanoseconds above them.
const fn split(nanos: i64) -> (i64, i64) {
    (nanos.div_euclid(NANOS_PER_SEC), nanos.rem_euclid(NANOS_PER_SEC))
}

/// `None` outside the years that a stamp can tell.
fn join(secs: i64, nanos: i64) -> Option<i64> {
    secs.checked_mul(NANOS_PER_SEC)?.checked_add(nanos)
}

/// Of the numbers with these low 32 bits the one nearest to `near`.
fn nearest(low: u32, near: i64) -> i64 {
    near + i64::from(low.wrapping_sub(low_half(near)).cast_signed())
}

fn low_half(number: i64) -> u32 {
    let [_, _, _, _, a, b, c, d] = number.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PTP: TimeFormat = TimeFormat::Ptp(TaiOffset::from_seconds(37));

    fn at(secs: i64, nanos: i64) -> SystemStamp {
        SystemStamp::from_nanos(secs * NANOS_PER_SEC + nanos)
    }

    /// RFC 5905, section 6 and figure 4: the Unix epoch is second 2,208,988,800 of era 0; 2036-02-07 06:28:16 begins era 1.
    #[test]
    fn ntp_to_the_bit() {
        assert_eq!(TimeFormat::Ntp.encode(at(0, 0)), 0x83aa_7e80_0000_0000);
        assert_eq!(TimeFormat::Ntp.encode(at(0, 500_000_000)), 0x83aa_7e80_8000_0000, "half a second");
        assert_eq!(TimeFormat::Ntp.encode(at(0, 250_000_000)), 0x83aa_7e80_4000_0000, "a quarter");
        assert_eq!(TimeFormat::Ntp.encode(at(1_582_934_400, 0)), 0xe204_2800_0000_0000, "2020-02-29");
        assert_eq!(TimeFormat::Ntp.encode(at(2_085_978_495, 999_999_999)), 0xffff_ffff_ffff_fffc);
        assert_eq!(TimeFormat::Ntp.encode(at(2_085_978_496, 0)), 1, "0 would say that there is none");
        assert_eq!(TimeFormat::Ntp.encode(at(2_085_978_497, 0)), 0x0000_0001_0000_0000, "era 1");
        assert_eq!(TimeFormat::Ntp.encode(at(-2_208_988_801, 0)), 0xffff_ffff_0000_0000, "era -1, the year 1899");
    }

    /// RFC 8186, section 2.1: the low 32 of the 48 bits that PTP has for seconds, then 32 of nanoseconds.
    #[test]
    fn ptp_to_the_bit() {
        assert_eq!(PTP.encode(at(0, 0)), 0x0000_0025_0000_0000, "37 s ahead of UTC");
        assert_eq!(PTP.encode(at(1_582_934_400, 999_999_999)), 0x5e59_a9a5_3b9a_c9ff);
        assert_eq!(PTP.encode(at(4_294_967_296 - 37, 5)), 0x0000_0000_0000_0005, "the year 2106");
        assert_eq!(PTP.encode(at(-37, 0)), 1);
        assert_eq!(PTP.decode(0x5e59_a9a5_3b9a_ca00, at(1_582_934_400, 0)), None, "a whole second of nanoseconds");
    }

    #[test]
    fn the_era_is_that_of_the_moment_nearby() {
        let last = at(2_085_978_495, 999_999_999);
        let first = at(2_085_978_496, 1);
        for near in [last, first] {
            assert_eq!(TimeFormat::Ntp.decode(TimeFormat::Ntp.encode(last), near), Some(last));
            assert_eq!(TimeFormat::Ntp.decode(TimeFormat::Ntp.encode(first), near), Some(first));
        }
        let bits = TimeFormat::Ntp.encode(at(0, 0));
        assert_eq!(TimeFormat::Ntp.decode(bits, at(1 << 32, 0)), Some(at(1 << 32, 0)), "the same bits in era 1");
        assert_eq!(TimeFormat::Ntp.decode(0, first), None);
        assert_eq!(PTP.decode(0, first), None);
        // Halfway to the next era nobody knows; what comes out is one of both, and no overflow.
        assert!(TimeFormat::Ntp.decode(bits, at(1 << 31, 0)).is_some());
        assert_eq!(
            TimeFormat::Ntp.decode(u64::MAX, SystemStamp::from_nanos(i64::MAX)),
            None,
            "beyond what a stamp tells"
        );
    }

    #[test]
    fn a_fraction_just_below_a_second_is_the_next_one() {
        assert_eq!(TimeFormat::Ntp.decode(0x83aa_7e80_ffff_ffff, at(0, 0)), Some(at(1, 0)));
    }

    proptest! {
        #[test]
        fn every_nanosecond_comes_back(nanos in any::<i64>(), away in -60_000_000_000_i64..60_000_000_000, tai in -100..100_i32) {
            // 37 s from the ends of what a stamp can tell, TAI would be out of it.
            let stamp = SystemStamp::from_nanos(nanos.clamp(i64::MIN / 2, i64::MAX / 2));
            let near = SystemStamp::from_nanos(stamp.as_nanos() + away);
            for format in [TimeFormat::Ntp, TimeFormat::Ptp(TaiOffset::from_seconds(tai))] {
                prop_assert_eq!(format.decode(format.encode(stamp), near), Some(stamp));
            }
        }

        #[test]
        fn any_bits_at_any_time(bits in any::<u64>(), near in any::<i64>()) {
            let near = SystemStamp::from_nanos(near);
            for format in [TimeFormat::Ntp, PTP] {
                if let Some(stamp) = format.decode(bits, near) {
                    prop_assert!(stamp.as_nanos().abs_diff(near.as_nanos()) <= (1 << 31) * 1_000_000_000 + 1_000_000_000);
                }
            }
        }

        #[test]
        fn a_difference_needs_no_era(nanos in any::<i32>(), from in any::<i64>(), tai in -100..100_i32) {
            let from = SystemStamp::from_nanos(from.clamp(i64::MIN / 2, i64::MAX / 2));
            let to = SystemStamp::from_nanos(from.as_nanos() + i64::from(nanos));
            for format in [TimeFormat::Ntp, TimeFormat::Ptp(TaiOffset::from_seconds(tai))] {
                let found = TimeFormat::nanos_between(format.is_ptp(), format.encode(from), format.encode(to));
                prop_assert!(found.abs_diff(nanos.into()) <= 1, "{} {}", found, nanos);
            }
        }
    }
}
