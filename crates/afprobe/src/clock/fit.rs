//! All limits of a window together: between which offsets and rates the truth lies.

use super::exchange::Limit;
use super::rate::{self, ONE};
use super::slots::Slots;
use super::span::Span;
use super::window::Assumptions;

/// What all limits leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    /// The offset now, in nanoseconds.
    pub(super) offset: Span,
    /// Its rate, at any time of the window, in parts of [`ONE`].
    pub(super) rate: Span,
    /// Its mean rate since the first limit. `None` if all are of now.
    pub(super) mean_rate: Option<Span>,
}

/// `None` if the limits contradict each other. `now` is no earlier than any of them.
///
/// A lower limit and a later upper one say how fast the offset has risen between them at most, in the mean; an upper one
/// and a later lower one, how fast at least. No rate of the window is further from a mean of it than the wander. So each
/// limit holds now as well, with what its age may have added.
pub(super) fn fit(slots: &Slots, now: i64, assumptions: Assumptions) -> Option<Fit> {
    let wander = rate::of(assumptions.wander);
    let (mut slowest_mean, mut fastest_mean) = (None, None);
    for upper in slots.uppers() {
        for lower in slots.lowers() {
            let room = (upper.offset - lower.offset) * ONE;
            match between(lower.at, upper.at) {
                0 if room < 0 => return None,
                0 => {}
                later @ 1.. => {
                    let mean = rate::div_ceil(room, later);
                    fastest_mean = Some(fastest_mean.map_or(mean, |fastest: i128| fastest.min(mean)));
                }
                earlier => {
                    let mean = room.div_euclid(earlier);
                    slowest_mean = Some(slowest_mean.map_or(mean, |slowest: i128| slowest.max(mean)));
                }
            }
        }
    }
    let mut rates = Span::within(rate::of(assumptions.rate));
    rates.low = slowest_mean.map_or(rates.low, |mean| rates.low.max(mean - wander));
    rates.high = fastest_mean.map_or(rates.high, |mean| rates.high.min(mean + wander));
    if rates.low > rates.high || slowest_mean.zip(fastest_mean).is_some_and(|(low, high)| low - wander > high) {
        return None;
    }
    let at_most = |limit: Limit| limit.offset + rate::up(rates.high, between(limit.at, now));
    let at_least = |limit: Limit| limit.offset + rate::down(rates.low, between(limit.at, now));
    let (low, high) = (slots.lowers().map(at_least).max()?, slots.uppers().map(at_most).min()?);
    let offset = (low <= high).then_some(Span { low, high })?;
    Some(Fit { offset, rate: rates, mean_rate: mean_rate(slots, offset, now, rates, wander) })
}

/// From what the offset was at the first limits to what it is now.
fn mean_rate(slots: &Slots, offset: Span, now: i64, rates: Span, wander: i128) -> Option<Span> {
    let (upper, lower) = (slots.uppers().next()?, slots.lowers().next()?);
    let (upper_age, lower_age) = (between(upper.at, now), between(lower.at, now));
    if upper_age == 0 || lower_age == 0 {
        return None;
    }
    // Over two times that end now and begin one after the other, means differ by the wander at most, in that part.
    let since = upper_age.max(lower_age);
    let other_part = |age: i128| rate::div_ceil(wander * (since - age), since);
    let low = ((offset.low - upper.offset) * ONE).div_euclid(upper_age) - other_part(upper_age);
    let high = rate::div_ceil((offset.high - lower.offset) * ONE, lower_age) + other_part(lower_age);
    // They can contradict each other only by what was rounded.
    Some(Span { low, high }.and(rates).unwrap_or(rates))
}

/// From one time to another, in nanoseconds.
fn between(from: i64, to: i64) -> i128 {
    i128::from(to) - i128::from(from)
}
