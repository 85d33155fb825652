//! The arithmetic: what samples of one segment say of a point beside or between them. All in whole nanoseconds.

use std::time::Duration;

use super::{Basis, Stepped};
use crate::drift::{ONE, Rates};

/// Stamps are whole nanoseconds, of which the clocks cut off what is less; and so is the result.
pub(super) const RESOLUTION: i128 = 2;

/// What the tracker assumes, in parts of [`ONE`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How far the rate is from 1 at most.
    pub(super) rate: i128,
    /// By how much it changes from one sample to the next at most.
    pub(super) wander: i128,
}

/// A moment on three clocks, and what was known of the rate then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) hardware: i64,
    pub(super) system: i64,
    pub(super) uncertainty: i64,
    pub(super) monotonic: i64,
    pub(super) monotonic_uncertainty: i64,
    pub(super) rates: Rates,
    /// Samples with the same number have no step between them.
    pub(super) segment: u64,
    /// What is before the first sample of a segment that a step began.
    pub(super) gap: Option<Gap>,
}

/// The time between the last sample before a step and the first after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    /// Its length at most, on whichever clock.
    pub(super) reach: i64,
    pub(super) stepped: Stepped,
}

impl Gap {
    /// Whether the stamps of this clock tell on which side of the step they lie: where it is the clock that was
    /// stepped, each value was shown on one side, and the other clock just went on.
    fn tells(self, axis: Axis) -> bool {
        match axis {
            Axis::Hardware => self.stepped == Stepped::Hardware,
            Axis::System => self.stepped == Stepped::System,
        }
    }
}

/// The clock of a stamp that is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    Hardware,
    System,
}

impl Sample {
    fn on(&self, axis: Axis) -> i128 {
        i128::from(match axis {
            Axis::Hardware => self.hardware,
            Axis::System => self.system,
        })
    }
}

/// A pair of readings that belong together: the system clock is off by at most `bound`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) hardware: i128,
    pub(super) system: i128,
    bound: i128,
    pub(super) basis: Basis,
}

impl Point {
    pub(super) fn bound(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.bound).unwrap_or(u64::MAX))
    }

    /// How far the clock of the NIC is off if that of the system is right: the same distance, which it may need up to
    /// 1 / (1 - rate limit) as long for.
    pub(super) fn bound_on_hardware(&self, limits: Limits) -> Duration {
        let bound = div_ceil(self.bound * ONE, ONE - limits.rate) + 1;
        Duration::from_nanos(u64::try_from(bound).unwrap_or(u64::MAX))
    }
}

/// The point at which this segment showed `stamp` on `axis`: `None` if it did not, `Some(None)` if it may have, but
/// cannot tell what the other clock showed.
///
/// `next` is the first sample of the segment after it; without one this is the last, and `start` is its beginning.
pub(super) fn find(
    segment: &[Sample],
    next: Option<&Sample>,
    start: Option<&Sample>,
    axis: Axis,
    stamp: i64,
    limits: Limits,
) -> Option<Option<Point>> {
    let at = i128::from(stamp);
    let (first, last) = (segment.first()?, segment.last()?);
    // A segment that is over begins, for us, where the samples begin: what it showed before, another may show as well.
    let start = if next.is_some() { first } else { start? };
    let forgotten = start.monotonic != first.monotonic;
    let gap_before = start.gap;
    let gap_after = next.and_then(|next| next.gap);
    let too_early = match gap_before {
        Some(gap) => at < start.on(axis) - i128::from(gap.reach),
        None => next.is_some() && at < first.on(axis),
    };
    let too_late = gap_after.is_some_and(|gap| at > last.on(axis) + i128::from(gap.reach));
    if too_early || too_late {
        return None;
    }
    let in_gap = |gap: Option<Gap>, inside: bool| inside && gap.is_some_and(|gap| !gap.tells(axis));
    if in_gap(gap_before, at < start.on(axis)) || in_gap(gap_after, at > last.on(axis)) {
        return Some(None);
    }
    let (before, after) = segment.split_at(segment.partition_point(|sample| sample.on(axis) <= at));
    Some(Some(match (before, after) {
        ([.., a], [b, ..]) => between(a, b, axis, at, limits),
        ([.., last], []) => beside(last, last.rates, axis, at, limits),
        // The rate may have changed at each sample that is no longer kept.
        ([], [first, ..]) if forgotten => beside(first, Rates::up_to(limits.rate), axis, at, limits),
        ([], [first, after @ ..]) => beside(first, rates_at_first(first, after.first(), limits), axis, at, limits),
        ([], []) => return None,
    }))
}

/// What is known of the rate at the first of two samples from the way to the second.
fn rates_at_first(first: &Sample, second: Option<&Sample>, limits: Limits) -> Rates {
    let limit = Rates::up_to(limits.rate);
    let Some(second) = second else { return limit };
    let distance = i128::from(second.hardware) - i128::from(first.hardware);
    let excess = i128::from(second.system) - i128::from(first.system) - distance;
    let noise = i128::from(first.uncertainty) + i128::from(second.uncertainty) + RESOLUTION;
    Rates::mean(distance, excess, noise).widened(limits.wander).and(limit).unwrap_or(limit)
}

/// On the straight line between two samples. A rate that varies by no more than the wander leaves that line by at most
/// wander · a · b / (a + b): furthest if it is the least all the way to the point and the greatest from there, or the
/// other way round.
fn between(a: &Sample, b: &Sample, axis: Axis, at: i128, limits: Limits) -> Point {
    let distance = b.on(axis) - a.on(axis);
    let along = at - a.on(axis);
    // Of differences that nearly are the same, only the small difference between them is scaled.
    let hardware_distance = i128::from(b.hardware) - i128::from(a.hardware);
    let excess = i128::from(b.system) - i128::from(a.system) - hardware_distance;
    let (hardware, system) = match axis {
        Axis::Hardware => (at, i128::from(a.system) + along + (excess * along).div_euclid(distance)),
        Axis::System => (i128::from(a.hardware) + along - (excess * along).div_euclid(distance), at),
    };
    let from_a = (hardware - i128::from(a.hardware)).clamp(0, hardware_distance);
    let from_b = hardware_distance - from_a;
    let noise = div_ceil(i128::from(a.uncertainty) * from_b + i128::from(b.uncertainty) * from_a, hardware_distance);
    let bend = div_ceil(div_ceil(from_a * from_b, hardware_distance) * limits.wander, ONE);
    Point { hardware, system, bound: noise + bend + RESOLUTION, basis: Basis::Interpolated }
}

/// Beyond the last sample or before the first.
fn beside(sample: &Sample, rates: Rates, axis: Axis, at: i128, limits: Limits) -> Point {
    let limit = Rates::up_to(limits.rate);
    let rates = rates.widened(limits.wander).and(limit).unwrap_or(limit);
    let along = at - sample.on(axis);
    let (hardware, system) = match axis {
        Axis::Hardware => (at, i128::from(sample.system) + along + (along * rates.middle()).div_euclid(ONE)),
        Axis::System => {
            let hardware_along = (along * ONE).div_euclid(ONE + rates.middle());
            (i128::from(sample.hardware) + hardware_along, at)
        }
    };
    let distance = (hardware - i128::from(sample.hardware)).abs();
    let drift = div_ceil(distance * rates.half(), ONE);
    let basis = if along == 0 { Basis::Interpolated } else { Basis::Extrapolated };
    Point { hardware, system, bound: i128::from(sample.uncertainty) + drift + RESOLUTION, basis }
}

/// Rounded up, for a positive divisor.
fn div_ceil(dividend: i128, divisor: i128) -> i128 {
    -(-dividend).div_euclid(divisor)
}
