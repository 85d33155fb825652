//! What the kernel knows of its own clock: whether somebody keeps it on time, and how wrong it may be.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::clock::TaiOffset;
use crate::sys::timex::{self, Timex};

/// What the kernel says of `CLOCK_REALTIME`, the clock of every [`SystemStamp`](crate::SystemStamp).
///
/// The kernel does not find it out: whoever keeps the clock on time (`chronyd`, `ntpd`, `systemd-timesyncd`, `phc2sys`)
/// tells it, and it counts on from there. A daemon that tells nothing leaves a good clock unsynchronised, and the errors
/// are as true as the daemon is. Programs that are to say how far their stamps can be trusted, a STAMP or TWAMP packet's
/// error estimate for one, have it from here.
///
/// ```no_run
/// use fast_afpacket::ClockState;
///
/// let state = ClockState::read()?;
/// match state.synchronised {
///     true => println!("on time within {:?}, run at {}", state.max_error, state.frequency),
///     false => println!("nobody says that this clock is on time"),
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[doc(alias("timex", "ntp_adjtime", "ntptimeval", "synchronized"))]
pub struct ClockState {
    /// Whether the clock is kept on time by a reference that can be relied on.
    ///
    /// False if `STA_UNSYNC` is set, as it is from boot on, when the clock is set by hand, and once
    /// [`max_error`](Self::max_error) has come to 16 s; and for what else the kernel calls an error, a PPS signal that is
    /// awaited and does not come among it.
    #[doc(alias("TIME_ERROR", "STA_UNSYNC", "STA_CLOCKERR"))]
    pub synchronised: bool,
    /// How far from the true time the clock is at most, if whoever keeps it is right: `maxerror`, in whole microseconds.
    ///
    /// Set by the daemon. The kernel adds 500 µs in each second, so between two settings it grows, up to 16 s.
    #[doc(alias = "maxerror")]
    pub max_error: Duration,
    /// How far from it the clock is thought to be: `esterror`, in whole microseconds. No limit: a guess of the daemon's,
    /// which the kernel leaves as it is. 16 s if nobody set it.
    #[doc(alias = "esterror")]
    pub estimated_error: Duration,
    /// By how much the clock is made to run faster than the machine's oscillator.
    #[doc(alias("freq", "tick"))]
    pub frequency: FrequencyAdjustment,
    /// How far TAI is ahead, if somebody told the kernel: the same as [`TaiOffset::read`].
    #[doc(alias = "tai")]
    pub tai_offset: Option<TaiOffset>,
    /// Whether a leap second is near.
    pub leap: LeapSecond,
}

/// How much faster than its oscillator a clock is made to run: a correction that lasts, not one under way.
///
/// ```
/// # use fast_afpacket::FrequencyAdjustment;
/// # fn show(adjustment: FrequencyAdjustment) {
/// println!("{adjustment}"); // "-12.345 ppm": the oscillator is fast by that
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[doc(alias = "ppm")]
pub struct FrequencyAdjustment(i64);

/// A second that UTC has more or less than others, at the end of a day.
///
/// The clock is set back where the inserted second begins: a stamp taken in it has the value of one taken a second before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeapSecond {
    /// None is announced.
    None,
    /// The last minute of the day will have 61 seconds.
    #[doc(alias("TIME_INS", "STA_INS"))]
    WillBeInserted,
    /// The last minute of the day will have 59 seconds.
    #[doc(alias("TIME_DEL", "STA_DEL"))]
    WillBeDeleted,
    /// It is now.
    #[doc(alias = "TIME_OOP")]
    InProgress,
    /// It is over, and the announcement still stands.
    #[doc(alias = "TIME_WAIT")]
    Over,
}

impl ClockState {
    /// Reads it. Changes nothing, and needs no capability.
    ///
    /// # Errors
    ///
    /// `EPERM` where a container's seccomp filter forbids `adjtimex(2)`.
    ///
    /// # Kernel
    ///
    /// adjtimex(2) with no modes, which glibc also calls `ntp_adjtime`; Linux 2.6.26.
    #[doc(alias("adjtimex", "ntp_adjtime", "clock_adjtime"))]
    pub fn read() -> io::Result<Self> {
        timex::read().map(Self::from_kernel)
    }

    fn from_kernel(timex: Timex) -> Self {
        let Timex { state, status, maxerror, esterror, freq, tick, tai } = timex;
        let micros = |value| Duration::from_micros(u64::try_from(value).unwrap_or(0));
        Self {
            synchronised: state != libc::TIME_ERROR,
            max_error: micros(maxerror),
            estimated_error: micros(esterror),
            frequency: FrequencyAdjustment::from_kernel(freq as _, tick as _),
            tai_offset: TaiOffset::from_kernel(tai),
            leap: match state {
                libc::TIME_INS => LeapSecond::WillBeInserted,
                libc::TIME_DEL => LeapSecond::WillBeDeleted,
                libc::TIME_OOP => LeapSecond::InProgress,
                libc::TIME_WAIT => LeapSecond::Over,
                // The error is in the place of the state. What was announced is still there.
                libc::TIME_ERROR if status & libc::STA_INS != 0 => LeapSecond::WillBeInserted,
                libc::TIME_ERROR if status & libc::STA_DEL != 0 => LeapSecond::WillBeDeleted,
                _ => LeapSecond::None,
            },
        }
    }
}

impl FrequencyAdjustment {
    /// From the kernel's two settings: `freq`, in 2⁻¹⁶ ppm, and the coarse `tick`, in microseconds for each 1/100 s.
    /// `chronyd` uses both; others leave the tick at 10000.
    const fn from_kernel(freq: i64, tick: i64) -> Self {
        let fine = freq.saturating_mul(1_000) >> 16;
        // 1 µs in 10 ms is 100 ppm.
        let coarse = tick.saturating_sub(10_000).saturating_mul(100_000);
        Self(fine.saturating_add(coarse))
    }

    /// In parts per billion, rounded down: 1000 is 1 µs more in every second.
    pub const fn as_ppb(self) -> i64 {
        self.0
    }
}

impl fmt::Display for FrequencyAdjustment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { '-' } else { '+' };
        let ppb = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:03} ppm", ppb / 1_000, ppb % 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn timex() -> Timex {
        let state = libc::TIME_OK;
        Timex { state, status: 0, maxerror: 0, esterror: 0, freq: 0, tick: 10_000, tai: 0 }
    }

    #[test]
    fn units_are_the_kernels() {
        let kept = Timex { maxerror: 1_234, esterror: 17, freq: -3 << 15, tai: 37, ..timex() };
        let state = ClockState::from_kernel(kept);
        assert!(state.synchronised);
        assert_eq!(state.max_error, Duration::from_micros(1_234));
        assert_eq!(state.estimated_error, Duration::from_micros(17));
        assert_eq!((state.frequency.as_ppb(), state.frequency.to_string()), (-1_500, "-1.500 ppm".to_owned()));
        assert_eq!(state.tai_offset.map(TaiOffset::seconds), Some(37));
        assert_eq!(state.leap, LeapSecond::None);
        let coarse = ClockState::from_kernel(Timex { freq: 500 << 16, tick: 10_001, ..timex() });
        assert_eq!(coarse.frequency.to_string(), "+600.000 ppm");
    }

    #[test]
    fn errors_hide_the_announcement_of_a_leap_second() {
        let leap = |state, status| {
            let state = ClockState::from_kernel(Timex { state, status, ..timex() });
            (state.synchronised, state.leap)
        };
        assert_eq!(leap(libc::TIME_INS, libc::STA_INS), (true, LeapSecond::WillBeInserted));
        assert_eq!(leap(libc::TIME_DEL, libc::STA_DEL), (true, LeapSecond::WillBeDeleted));
        assert_eq!(leap(libc::TIME_OOP, libc::STA_INS), (true, LeapSecond::InProgress));
        assert_eq!(leap(libc::TIME_WAIT, libc::STA_INS), (true, LeapSecond::Over));
        assert_eq!(leap(libc::TIME_ERROR, libc::STA_UNSYNC), (false, LeapSecond::None));
        assert_eq!(leap(libc::TIME_ERROR, libc::STA_UNSYNC | libc::STA_INS), (false, LeapSecond::WillBeInserted));
        assert_eq!(leap(libc::TIME_ERROR, libc::STA_UNSYNC | libc::STA_DEL), (false, LeapSecond::WillBeDeleted));
    }

    /// Another program's reading of the same call, before and after ours. Nothing here sets the clock; a daemon that
    /// does so at that very moment is met again at the next attempt.
    #[test]
    fn another_program_reads_the_same() {
        let theirs = || {
            let output =
                Command::new("busybox").arg("adjtimex").output().ok().filter(|output| output.status.success())?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let number = |name: &str| -> Option<i64> {
                let line = text.lines().find(|line| line.contains(name))?;
                line.split_once(':')?.1.split_whitespace().next()?.parse().ok()
            };
            Some(["freq.adjust", "maxerror", "esterror", "tick", "return value"].map(|name| number(name).unwrap()))
        };
        for attempt in 1.. {
            let Some(before) = theirs() else {
                assert_ne!(std::env::var("FAST_AFPACKET_NET").as_deref(), Ok("required"), "busybox is needed");
                return eprintln!("skipped: there is no busybox to compare with");
            };
            let ours = ClockState::read().unwrap();
            let after = theirs().unwrap();
            let [freq, max_error, est_error, tick, state] = before;
            // Grows by 500 µs each second.
            let most = u64::try_from(after[1]).unwrap();
            let least = u64::try_from(max_error).unwrap();
            let is_same = ours.frequency == FrequencyAdjustment::from_kernel(freq, tick)
                && (least..=most).contains(&u64::try_from(ours.max_error.as_micros()).unwrap())
                && ours.estimated_error == Duration::from_micros(u64::try_from(est_error).unwrap())
                && ours.synchronised == (state != i64::from(libc::TIME_ERROR));
            if is_same {
                return;
            }
            assert!(attempt < 5, "ours: {ours:?}; before: {before:?}; after: {after:?}");
        }
    }

    #[test]
    fn the_parts_agree_with_each_other() {
        let state = ClockState::read().unwrap();
        assert_eq!(state.tai_offset, TaiOffset::read().unwrap());
        assert!(state.max_error <= Duration::from_secs(16), "{state:?}");
    }
}
