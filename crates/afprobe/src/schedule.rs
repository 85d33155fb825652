//! When probes are due: at a steady pace, at random (RFC 2330, section 11.1), or some at a time.
//!
//! All times are counted from the start, so that a probe that was late makes no other late.

use std::str::FromStr;
use std::time::Duration;

use fastrand::Rng;

/// The order in time of the probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// One at the end of each interval, the first at once.
    #[default]
    Periodic,
    /// At random: intervals are exponentially distributed, and those given are their mean. What is periodic itself is
    /// neither always met nor always missed. The same seed gives the same times.
    Poisson { seed: Option<u64> },
    /// So many back to back, at the end of each interval.
    Burst { size: u64 },
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, number) = match text.split_once(':') {
            Some((kind, number)) => (kind, Some(number.parse().map_err(|_| format!("{number:?} is not a number"))?)),
            None => (text, None),
        };
        match (kind, number) {
            ("periodic", None) => Ok(Self::Periodic),
            ("poisson", seed) => Ok(Self::Poisson { seed }),
            ("burst", Some(size @ 1..)) => Ok(Self::Burst { size }),
            _ => Err("periodic, poisson, poisson:SEED or burst:N is expected".to_owned()),
        }
    }
}

/// The times of all probes, one after the other, from the start.
#[derive(Clone, Debug)]
pub(crate) struct Timetable {
    interval: Duration,
    kind: Kind,
    next: Duration,
}

#[derive(Clone, Debug)]
enum Kind {
    Periodic,
    Poisson(Rng),
    Burst { size: u64, sent: u64 },
}

/// When a probe is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// After the start.
    pub(crate) after: Duration,
    /// Whether it has a time of its own. The others of a burst follow its first as fast as they can.
    pub(crate) is_timed: bool,
}

impl Timetable {
    pub(crate) fn new(pattern: Pattern, interval: Duration) -> Self {
        let kind = match pattern {
            Pattern::Periodic => Kind::Periodic,
            Pattern::Poisson { seed } => Kind::Poisson(seed.map_or_else(Rng::new, Rng::with_seed)),
            Pattern::Burst { size } => Kind::Burst { size, sent: 0 },
        };
        let mut timetable = Self { interval, kind, next: Duration::ZERO };
        if matches!(timetable.kind, Kind::Poisson(_)) {
            // A start is no probe: also the time until the first one is random.
            timetable.advance();
        }
        timetable
    }

    /// When the next probe is due.
    pub(crate) fn due(&mut self) -> Due {
        let mut due = Due { after: self.next, is_timed: true };
        if let Kind::Burst { size, sent } = &mut self.kind {
            due.is_timed = *sent == 0;
            *sent = (*sent + 1) % *size;
            if *sent != 0 {
                return due;
            }
        }
        self.advance();
        due
    }

    fn advance(&mut self) {
        let pause = match &mut self.kind {
            Kind::Poisson(random) => exponential(random, self.interval),
            _ => self.interval,
        };
        self.next = self.next.saturating_add(pause);
    }
}

/// A random time with this mean, exponentially distributed: the inverse of its distribution, of a random share.
fn exponential(random: &mut Rng, mean: Duration) -> Duration {
    // From 0 on, without 1: the logarithm is finite.
    let share = 1.0 - random.f64();
    Duration::try_from_secs_f64(mean.as_secs_f64() * -share.ln()).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn times(pattern: Pattern, count: usize) -> Vec<Duration> {
        let mut timetable = Timetable::new(pattern, MS);
        (0..count).map(|_| timetable.due().after).collect()
    }

    #[test]
    fn patterns_by_their_names() {
        for (text, pattern) in [
            ("periodic", Pattern::Periodic),
            ("poisson", Pattern::Poisson { seed: None }),
            ("poisson:42", Pattern::Poisson { seed: Some(42) }),
            ("burst:10", Pattern::Burst { size: 10 }),
        ] {
            assert_eq!(text.parse(), Ok(pattern));
        }
        for wrong in ["", "burst", "burst:0", "burst:x", "poisson:", "periodic:1", "random"] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn periodic_times_are_multiples_of_the_interval() {
        let expected: Vec<Duration> = (0..1000).map(|n| MS * n).collect();
        assert_eq!(times(Pattern::Periodic, 1000), expected);
    }

    #[test]
    fn a_burst_has_one_time() {
        let mut timetable = Timetable::new(Pattern::Burst { size: 3 }, MS);
        let due: Vec<Due> = (0..7).map(|_| timetable.due()).collect();
        let expected = [(0, true), (0, false), (0, false), (1, true), (1, false), (1, false), (2, true)];
        assert_eq!(due, expected.map(|(after, is_timed)| Due { after: MS * after, is_timed }));
    }

    /// Mean and variance of an exponential distribution, and that none of its intervals depends on the one before.
    #[test]
    fn poisson_intervals_are_exponential_and_independent() {
        const COUNT: u32 = 200_000;
        let times = times(Pattern::Poisson { seed: Some(7) }, COUNT.try_into().unwrap());
        let mut before = Duration::ZERO;
        let intervals: Vec<f64> = times
            .iter()
            .map(|&time| {
                let interval = time - before;
                before = time;
                interval.as_secs_f64() / MS.as_secs_f64()
            })
            .collect();
        let mean_of = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / f64::from(COUNT);
        let mean = mean_of(&mut intervals.iter().copied());
        let variance = mean_of(&mut intervals.iter().map(|value| (value - mean).powi(2)));
        let covariance = mean_of(&mut intervals.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)));
        // Five standard errors: 1/√n of the mean, √(8/n) of the variance, 1/√n of the correlation.
        let tolerance = 5.0 / f64::from(COUNT).sqrt();
        assert!((mean - 1.0).abs() < tolerance, "{mean}");
        assert!((variance - 1.0).abs() < tolerance * 8_f64.sqrt(), "{variance}");
        assert!(covariance.abs() < tolerance, "{covariance}");
        let beyond = intervals.iter().filter(|value| **value > 3.0).count();
        let expected = f64::from(COUNT) * (-3.0_f64).exp();
        assert!((f64::from(u32::try_from(beyond).unwrap()) - expected).abs() < 5.0 * expected.sqrt(), "{beyond}");
    }

    #[test]
    fn a_seed_fixes_the_times() {
        let poisson = |seed| times(Pattern::Poisson { seed }, 100);
        assert_eq!(poisson(Some(1)), poisson(Some(1)));
        assert_ne!(poisson(Some(1)), poisson(Some(2)));
        assert_ne!(poisson(None), poisson(None));
        assert!(poisson(Some(1)).is_sorted());
    }

    #[test]
    fn intervals_without_end_are_no_overflow() {
        for pattern in [Pattern::Periodic, Pattern::Poisson { seed: Some(1) }, Pattern::Burst { size: 1 }] {
            let mut timetable = Timetable::new(pattern, Duration::MAX);
            let last = (0..5).map(|_| timetable.due()).last();
            assert_eq!(last.map(|due| due.after), Some(Duration::MAX));
        }
    }
}
