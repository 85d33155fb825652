//! The clocks beside `CLOCK_REALTIME` and the NIC's own: one that nobody sets, and atomic time.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::sys::{ptp, timex};
use crate::timestamp::{NANOS_PER_SEC, SystemStamp, stamp};

stamp! {
    /// A reading of `CLOCK_MONOTONIC_RAW`: time since some moment near boot, that nobody sets and nobody slews.
    ///
    /// It is the machine's oscillator as it stands, off by some parts per million, and stands still while the machine
    /// is suspended. Its use here is to tell which of two other clocks was stepped: [`CrossTimestamp`]. It is not
    /// [`Instant`](std::time::Instant), which reads `CLOCK_MONOTONIC` and is slewed together with the system clock.
    ///
    /// ```
    /// use fast_afpacket::MonotonicStamp;
    ///
    /// let earlier = MonotonicStamp::now()?;
    /// assert!(MonotonicStamp::now()?.nanos_since(earlier) >= 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// [`CrossTimestamp`]: crate::CrossTimestamp
    #[doc(alias = "CLOCK_MONOTONIC_RAW")]
    MonotonicStamp
}

stamp! {
    /// A time in International Atomic Time, in nanoseconds since 1970-01-01 00:00:00 TAI: what PTP distributes.
    ///
    /// TAI knows no leap seconds. UTC, the time of a [`SystemStamp`], has been 37 s behind since 2017:
    /// [`SystemStamp::to_tai`].
    ///
    /// ```compile_fail
    /// use fast_afpacket::{SystemStamp, TaiStamp};
    ///
    /// let (utc, tai) = (SystemStamp::from_nanos(1), TaiStamp::from_nanos(2));
    /// utc.nanos_since(tai); // two time scales: does not compile
    /// ```
    ///
    /// A clock of a NIC often shows TAI, but only whoever steers it knows:
    ///
    /// ```compile_fail
    /// use fast_afpacket::{HardwareStamp, TaiStamp};
    ///
    /// let (hardware, tai) = (HardwareStamp::from_nanos(1), TaiStamp::from_nanos(2));
    /// hardware.nanos_since(tai); // two clocks: does not compile
    /// ```
    #[doc(alias("CLOCK_TAI", "PTP"))]
    TaiStamp
}

impl MonotonicStamp {
    /// What `CLOCK_MONOTONIC_RAW` shows now. Linux 2.6.28.
    ///
    /// # Errors
    ///
    /// Those of `clock_gettime(2)`, none of which a Linux kernel gives for this clock; a seccomp filter may.
    #[doc(alias = "clock_gettime")]
    pub fn now() -> io::Result<Self> {
        ptp::monotonic_raw().map(Self::from_nanos)
    }
}

/// How far TAI is ahead of UTC, in whole seconds.
///
/// The offset is announced, not computed, and the next leap second changes it. The kernel has it only where somebody
/// (`ptp4l` with `phc2sys`, `chronyd` with a leap second table, `ntpd`) told it.
///
/// ```no_run
/// use fast_afpacket::{SystemStamp, TaiOffset};
///
/// match TaiOffset::read()? {
///     Some(offset) => println!("TAI {}", SystemStamp::now().to_tai(offset)),
///     None => println!("this host does not know how far TAI is from UTC"),
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias("utc_offset", "currentUtcOffset"))]
pub struct TaiOffset(i32);

impl TaiOffset {
    /// What the kernel was told, or `None` if it was told nothing.
    ///
    /// The kernel's value is 0 from boot until somebody sets it. 0 is taken for "not told": TAI has been
    /// ahead by 10 s or more since 1972, and a guess (37 s today) would be wrong without a sign of it after the next leap second.
    ///
    /// # Errors
    ///
    /// `EPERM` where a container's seccomp filter forbids `adjtimex(2)`; reading needs no capability.
    ///
    /// # Kernel
    ///
    /// adjtimex(2), field `tai`, Linux 2.6.26.
    #[doc(alias("adjtimex", "ADJ_TAI"))]
    pub fn read() -> io::Result<Option<Self>> {
        Ok(Self::from_kernel(timex::read()?.tai))
    }

    /// 0 is what the kernel has from boot on.
    pub(crate) fn from_kernel(seconds: i32) -> Option<Self> {
        (seconds != 0).then_some(Self(seconds))
    }

    /// The offset that somebody else knows: a PTP grandmaster, a leap second table.
    pub const fn from_seconds(seconds: i32) -> Self {
        Self(seconds)
    }

    /// TAI - UTC, in seconds.
    pub const fn seconds(self) -> i32 {
        self.0
    }

    const fn nanos(self) -> i64 {
        // At most 2^31 * 10^9, a quarter of the range.
        (self.0 as i64).saturating_mul(NANOS_PER_SEC)
    }
}

impl SystemStamp {
    /// The same moment in TAI, if `offset` held at that moment and the system clock was right. Saturates in the
    /// year 2262.
    #[must_use]
    pub const fn to_tai(self, offset: TaiOffset) -> TaiStamp {
        TaiStamp::from_nanos(self.as_nanos().saturating_add(offset.nanos()))
    }
}

impl TaiStamp {
    /// The same moment in UTC, if `offset` held at that moment. Saturates in the year 1678.
    #[must_use]
    pub const fn to_system(self, offset: TaiOffset) -> SystemStamp {
        SystemStamp::from_nanos(self.as_nanos().saturating_sub(offset.nanos()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tai_is_ahead_of_utc() {
        let offset = TaiOffset::from_seconds(37);
        let utc = SystemStamp::from_nanos(1_652_138_202_507_654_453);
        assert_eq!(utc.to_tai(offset), TaiStamp::from_nanos(1_652_138_239_507_654_453));
        assert_eq!(utc.to_tai(offset).to_system(offset), utc);
        let last = SystemStamp::from_nanos(i64::MAX);
        assert_eq!(last.to_tai(TaiOffset::from_seconds(i32::MAX)), TaiStamp::from_nanos(i64::MAX));
    }

    #[test]
    fn an_offset_of_zero_is_no_offset() {
        if let Ok(Some(offset)) = TaiOffset::read() {
            assert_ne!(offset.seconds(), 0);
        }
    }
}
