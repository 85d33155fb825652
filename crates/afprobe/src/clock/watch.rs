//! Watches this host's system clock against one that nobody sets.

use std::io;
use std::time::Duration;

use fast_afpacket::{Drift, MonotonicStamp, SystemStamp};

use super::rate::{self, ONE};

/// Of which the one with the shortest window is kept.
const READINGS: usize = 3;

/// How long it takes to tell a rate: readings are uncertain by some 50 ns.
const RATE_INTERVAL: i64 = 1_000_000_000;

/// The system clock and the monotonic clock at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) system: SystemStamp,
    /// Within half of `width` of what it showed then.
    pub(crate) monotonic: MonotonicStamp,
    /// From the reading of the monotonic clock before to the one after.
    pub(crate) width: Duration,
}

impl Reading {
    pub(crate) fn take() -> io::Result<Self> {
        let mut best: Option<Self> = None;
        for _ in 0..READINGS {
            let before = MonotonicStamp::now()?;
            let system = SystemStamp::now();
            let width = MonotonicStamp::now()?.checked_duration_since(before).unwrap_or_default();
            let half = i64::try_from(width.as_nanos() / 2).unwrap_or(i64::MAX);
            let monotonic = MonotonicStamp::from_nanos(before.as_nanos().saturating_add(half));
            best = best.filter(|best| best.width <= width).or(Some(Self { system, monotonic, width }));
        }
        best.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// What happened to this host's system clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disturbance {
    /// It was set, or slewed faster than clocks are assumed to run apart, or the machine was suspended: it went on by so
    /// many nanoseconds more than the monotonic clock.
    Stepped { by: i64 },
    /// It is slewed: its rate is not what it was, by so much in parts per billion.
    Slewed { by_ppb: i64 },
}

/// Notices when the system clock is stepped or slewed.
///
/// `CLOCK_MONOTONIC_RAW` is the oscillator as it stands. Between two looks the system clock goes on as it does, give or
/// take the rate limit and how well both were read: a step by more is noticed, 20 µs if one looks every 20 ms. Over
/// seconds its rate is told to some tenths of 1 ppm.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    rate_limit: Drift,
    wander: Drift,
    last: Option<Reading>,
    /// Where the rate is measured from.
    begin: Option<Reading>,
    /// The rate since the last disturbance, in parts of [`ONE`], and how uncertain it is.
    rate: Option<(i128, i128)>,
}

impl Watch {
    pub(crate) const fn new(rate_limit: Drift, wander: Drift) -> Self {
        Self { rate_limit, wander, last: None, begin: None, rate: None }
    }

    /// Looks at the clocks. No memory is allocated.
    pub(crate) fn look(&mut self, now: Reading) -> Option<Disturbance> {
        let last = self.last.replace(now);
        let (Some(last), Some(begin)) = (last, self.begin) else {
            self.begin = Some(now);
            return None;
        };
        let (moved, noise, passed) = Self::between(last, now);
        if moved.abs() > rate::over(self.rate_limit, passed) + noise {
            *self = Self { last: Some(now), begin: Some(now), ..Self::new(self.rate_limit, self.wander) };
            return Some(Disturbance::Stepped { by: i64::try_from(moved).unwrap_or(i64::MAX) });
        }
        let (moved, noise, passed) = Self::between(begin, now);
        if passed < RATE_INTERVAL.into() {
            return None;
        }
        self.begin = Some(now);
        let (rate, uncertainty) = (moved * ONE / passed, rate::div_ceil(noise * ONE, passed));
        let Some((former, former_uncertainty)) = self.rate else {
            self.rate = Some((rate, uncertainty));
            return None;
        };
        let change = rate - former;
        // The reflector's clock has the other half of the wander.
        if change.abs() <= rate::of(self.wander) / 2 + uncertainty + former_uncertainty {
            return None;
        }
        self.rate = Some((rate, uncertainty));
        Some(Disturbance::Slewed { by_ppb: rate::in_ppb(change) })
    }

    /// How much further the system clock went than the other, how well that is known, and how far the other went.
    fn between(earlier: Reading, later: Reading) -> (i128, i128, i128) {
        let monotonic = i128::from(later.monotonic.as_nanos()) - i128::from(earlier.monotonic.as_nanos());
        let system = i128::from(later.system.as_nanos()) - i128::from(earlier.system.as_nanos());
        // Half of each, rounded up, and a nanosecond that each clock cuts off.
        let noise = (earlier.width + later.width).as_nanos() / 2 + 3;
        (system - monotonic, i128::try_from(noise).unwrap_or(i128::MAX / 2), monotonic.max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn at(monotonic: i64, system: i64) -> Reading {
        Reading {
            system: SystemStamp::from_nanos(system),
            monotonic: MonotonicStamp::from_nanos(monotonic),
            width: Duration::from_nanos(100),
        }
    }

    fn watch() -> Watch {
        Watch::new(Drift::from_ppm(1_000), Drift::from_ppm(10))
    }

    #[test]
    fn a_step_is_noticed_and_nothing_else() {
        let mut watch = watch();
        // 400 ppm fast, and read badly: at the limit of what is nothing.
        for look in 0..200 {
            let jitter = if look % 2 == 0 { 50 } else { -50 };
            assert_eq!(watch.look(at(20 * MS * look, 20 * MS * look + 8_000 * look + jitter)), None, "look {look}");
        }
        let step = 20_300;
        let now = (20 * MS * 200, 20 * MS * 200 + 8_000 * 200 + step);
        assert_eq!(watch.look(at(now.0, now.1)), Some(Disturbance::Stepped { by: 8_000 + step + 50 }));
        assert_eq!(watch.look(at(now.0 + 20 * MS, now.1 + 20 * MS)), None, "once");
        let back = at(now.0 + 40 * MS, now.1 + 40 * MS - 250 * MS);
        assert_eq!(watch.look(back), Some(Disturbance::Stepped { by: -250 * MS }));
    }

    #[test]
    fn a_slew_is_noticed_once() {
        let mut watch = watch();
        let (mut monotonic, mut system) = (0, 0);
        let mut look_for = |seconds: i64, ppm: i64| {
            let mut found = Vec::new();
            for _ in 0..seconds * 50 {
                monotonic += 20 * MS;
                system += 20 * MS + 20 * ppm;
                found.extend(watch.look(at(monotonic, system)));
            }
            found
        };
        assert_eq!(look_for(10, 3), []);
        assert_eq!(look_for(10, 7), [], "4 ppm");
        let slewed = look_for(10, -40);
        let total: i64 = slewed
            .iter()
            .map(|found| match found {
                Disturbance::Slewed { by_ppb } => *by_ppb,
                Disturbance::Stepped { .. } => panic!("{found:?}"),
            })
            .sum();
        // Within the second that it happened in, the mean is between: two at most.
        assert!((1..=2).contains(&slewed.len()), "{slewed:?}");
        assert!((-43_500..=-42_500).contains(&total), "{total}");
    }

    #[test]
    fn the_clocks_of_this_machine_are_read() {
        let (first, second) = (Reading::take().unwrap(), Reading::take().unwrap());
        assert!(second.monotonic >= first.monotonic);
        assert!(second.width < Duration::from_secs(60));
    }
}
