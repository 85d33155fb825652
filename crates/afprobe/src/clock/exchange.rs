//! What one probe that went there and back says of the two clocks.

use std::time::Duration;

use fast_afpacket::{Drift, SystemStamp};

use super::rate;

/// Stamps are whole nanoseconds, or NTP's quarters of one, of which what is less is cut off: one on each side.
const RESOLUTION: i128 = 2;

/// The four stamps of a probe and its reply: T1 and T4 of the sender's system clock, T2 and T3 of the reflector's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// Not later than the probe left.
    pub(crate) t1: SystemStamp,
    /// Not earlier than it arrived.
    pub(crate) t2: SystemStamp,
    /// Not later than the reply left.
    pub(crate) t3: SystemStamp,
    /// Not earlier than it was back.
    pub(crate) t4: SystemStamp,
    /// How far each of them may be off: stamps of a card's clock that were converted.
    pub(crate) uncertainty: Duration,
}

/// Limits of the offset, the reflector's clock less the sender's, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// At T1 the offset was at most this: no probe arrives before it is sent.
    pub(super) upper: Limit,
    /// At T4 it was at least this: no reply either.
    pub(super) lower: Limit,
}

/// A limit of the offset, and when on the sender's clock it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) at: i64,
    pub(super) offset: i128,
}

impl Limits {
    pub(super) fn earliest(&self) -> i64 {
        self.upper.at.min(self.lower.at)
    }

    pub(super) fn latest(&self) -> i64 {
        self.upper.at.max(self.lower.at)
    }
}

impl Exchange {
    /// What is certain of the offset if the clocks run apart by no more than `rate`. `None`: the stamps contradict each
    /// other. A clock was set back while the probe was under way, or they are not what they should be.
    pub(super) fn limits(&self, rate: Drift) -> Option<Limits> {
        let Self { t1, t2, t3, t4, uncertainty } = *self;
        let [t1, t2, t3, t4] = [t1, t2, t3, t4].map(|stamp| i128::from(stamp.as_nanos()));
        let (away, held) = (t4 - t1, t3 - t2);
        let noise = 2 * i128::try_from(uncertainty.as_nanos()).ok()? + RESOLUTION;
        // The time on the way, on the sender's clock, if the reflector's ran as slowly as it may. All that is under way
        // when the offset was limited by T2 lies between T1 and so much later, and by T3 between so much earlier and T4.
        let on_the_way = away - held + rate::over(rate, held.max(0)) + 2 * noise;
        if away < -noise || held < -noise || on_the_way < 0 {
            return None;
        }
        let drift = rate::over(rate, on_the_way);
        Some(Limits {
            upper: Limit { at: self.t1.as_nanos(), offset: t2 - t1 + noise + drift },
            lower: Limit { at: self.t4.as_nanos(), offset: t3 - t4 - noise - drift },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(stamps: [i64; 4]) -> Exchange {
        let [t1, t2, t3, t4] = stamps.map(SystemStamp::from_nanos);
        Exchange { t1, t2, t3, t4, uncertainty: Duration::ZERO }
    }

    #[test]
    fn the_limits_are_a_round_trip_apart() {
        // 500 ahead, 30 µs there, 10 µs back, held for 1 ms.
        let exchange = exchange([1_000_000, 1_030_500, 2_030_500, 2_040_000]);
        let limits = exchange.limits(Drift::from_ppb(0)).unwrap();
        assert_eq!(limits.upper, Limit { at: 1_000_000, offset: 30_500 + RESOLUTION });
        assert_eq!(limits.lower, Limit { at: 2_040_000, offset: -9_500 - RESOLUTION });
        // 40 µs on the way and 1 ms held, at 1000 ppm: 41 ns, rounded up.
        let drifting = exchange.limits(Drift::from_ppm(1_000)).unwrap();
        assert_eq!(drifting.upper.offset - limits.upper.offset, 42);
        assert_eq!(limits.lower.offset - drifting.lower.offset, 42);
        let uncertain = Exchange { uncertainty: Duration::from_nanos(100), ..exchange };
        assert_eq!(uncertain.limits(Drift::from_ppb(0)).unwrap().upper.offset, 30_500 + 200 + RESOLUTION);
    }

    #[test]
    fn contradictions_say_nothing() {
        let rate = Drift::from_ppm(1_000);
        assert!(exchange([1_000, 5_000, 5_100, 1_050]).limits(rate).is_none(), "held longer than away");
        assert!(exchange([1_000, 5_000, 5_000, 900]).limits(rate).is_none(), "back before it was sent");
        assert!(exchange([1_000, 5_000, 4_000, 3_000]).limits(rate).is_none(), "sent back before it came");
        assert!(exchange([1_000, 5_000, 5_000, 1_000]).limits(rate).is_some());
        let extremes = exchange([i64::MIN, i64::MAX, i64::MIN, i64::MAX]);
        assert!(extremes.limits(rate).is_none());
        assert!(exchange([i64::MIN, i64::MIN, i64::MAX, i64::MAX]).limits(rate).is_some(), "no overflow");
    }
}
