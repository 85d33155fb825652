//! Offset and drift between two clocks from the exchanges of a window of time: limits that hold, not a mean.

use std::time::Duration;

use fast_afpacket::{Drift, SystemStamp};

use super::exchange::Limits;
use super::fit::fit;
use super::rate;
use super::slots::{Slots, WINDOW};
use super::span::Span;

/// The limits of the whole window are fitted anew when so much of a slot has passed.
const FITS_IN_A_SLOT: i64 = 8;

/// What is assumed of the two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Assumptions {
    /// Their rates differ by at most this.
    pub(crate) rate: Drift,
    /// This difference changes by at most so much within two windows, some two minutes.
    pub(crate) wander: Drift,
}

impl Assumptions {
    /// Oscillators are some tens of ppm off, and each clock may have a servo of at most what the kernel allows `ntpd`,
    /// 500 ppm; that all pull the same way at once is not allowed for. Within minutes a crystal changes by far less than
    /// 1 ppm: the wander is for daemons that correct.
    pub(crate) const DEFAULT: Self = Self { rate: Drift::from_ppm(1_000), wander: Drift::from_ppm(10) };
}

/// What is known of two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Estimate {
    /// How far the reflector's clock is ahead of the sender's, in nanoseconds, at `at`.
    pub(crate) offset: Span,
    /// By how much the reflector's clock is faster, in the mean since `since`. `None`: not known any better than it was
    /// assumed.
    pub(crate) drift: Option<DriftRate>,
    /// When it was so, on the sender's clock: at the latest exchange.
    pub(crate) at: SystemStamp,
    /// When the first exchange was that counts.
    pub(crate) since: SystemStamp,
}

impl Estimate {
    /// The middle, in nanoseconds.
    pub(crate) fn offset_ns(&self) -> i64 {
        i64::try_from(self.offset.middle()).unwrap_or(if self.offset.low < 0 { i64::MIN } else { i64::MAX })
    }

    /// The truth is at most so far from the middle.
    pub(crate) fn bound(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.offset.half()).unwrap_or(u64::MAX))
    }
}

/// How much faster one clock is than another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DriftRate {
    /// In parts per billion.
    pub(crate) ppb: i64,
    /// The truth is at most so far from it.
    pub(crate) bound_ppb: u64,
}

/// An exchange that contradicts what was known: the reflector's clock was stepped, or its rate changed by more than was
/// assumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Jump {
    /// By how much the offset jumped, in nanoseconds. `None`: by too little to be told.
    pub(crate) by: Option<Span>,
}

/// The exchanges of the last minute or so, or since a clock was stepped.
///
/// # Model
///
/// Each exchange gives two limits of the offset θ, the reflector's clock less the sender's: θ ≤ T2 − T1 and
/// θ ≥ T3 − T4, since nothing arrives before it is sent. They are a round trip, without the time at the reflector,
/// apart. How the way there and the way back share it is not assumed: it is what nobody can know from the two ends.
/// Limits of other times hold as well, less sharply. A lower and an upper limit of two times limit the mean rate between
/// them; within a window the rate is no further from any of its means than the wander. So the rates are limited by what
/// was measured, and what an older limit says of now is worse only by what its age may have added. The result is half
/// the least round trip, if that was a short time ago. No exchange makes it wider: the slow ones of a busy path do no
/// harm.
///
/// # What it assumes
///
/// * The four stamps are in the order of cause: T1 not after the probe left, T2 not before it came, and so on.
/// * Rate and wander. A sender's clock that is slewed faster is noticed: [`Watch`](super::watch::Watch).
/// * No clock was stepped unnoticed. A step beyond the bound and half the round trip contradicts what is known, and is
///   noticed at the next exchange. A smaller one of the reflector's clock is not: until the window has passed it, or the
///   wander has made up for it, the truth may lie outside of the bound by as much.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    assumptions: Assumptions,
    known: Option<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    slots: Slots,
    /// On the sender's clock, when the latest exchange was back.
    now: i64,
    /// At `now`.
    offset: Span,
    /// When all limits were fitted last.
    fitted_at: i64,
    /// At any time of the window, and for another one.
    rate: Span,
    mean_rate: Option<Span>,
}

impl Window {
    pub(crate) const fn new(assumptions: Assumptions) -> Self {
        Self { assumptions, known: None }
    }

    pub(crate) const fn assumptions(&self) -> Assumptions {
        self.assumptions
    }

    /// Forgets all: a clock was stepped.
    pub(crate) fn restart(&mut self) {
        self.known = None;
    }

    /// Takes the limits of an exchange; those that were overtaken by others count as well. If they contradict what is
    /// known, that is forgotten, and they are the first of a new window.
    pub(super) fn feed(&mut self, limits: Limits) -> Option<Jump> {
        let Some(known) = &mut self.known else {
            self.known = Known::first(limits, self.assumptions);
            return None;
        };
        match known.feed(limits, self.assumptions) {
            Ok(()) => None,
            Err(jump) => {
                self.known = Known::first(limits, self.assumptions);
                Some(jump)
            }
        }
    }

    /// What is known as of the latest exchange.
    pub(crate) fn estimate(&self) -> Option<Estimate> {
        let known = self.known.as_ref()?;
        let assumed = rate::of(self.assumptions.rate);
        let drift = known.mean_rate.filter(|mean| mean.half() < assumed).map(|mean| DriftRate {
            ppb: rate::in_ppb(mean.middle()),
            // The middle is rounded as well.
            bound_ppb: rate::in_ppb_up(mean.half()).saturating_add(1),
        });
        Some(Estimate {
            offset: known.offset,
            drift,
            at: SystemStamp::from_nanos(known.now),
            since: SystemStamp::from_nanos(known.slots.since()?),
        })
    }
}

impl Known {
    fn first(limits: Limits, assumptions: Assumptions) -> Option<Self> {
        let now = limits.latest();
        let rate = Span::within(rate::of(assumptions.rate));
        let mut slots = Slots::new(limits.earliest());
        slots.keep(limits, 0);
        let mut known = Self { slots, now, offset: Span::within(i128::MAX), fitted_at: now, rate, mean_rate: None };
        known.offset = known.said(limits, now, rate)?;
        Some(known)
    }

    fn feed(&mut self, limits: Limits, assumptions: Assumptions) -> Result<(), Jump> {
        if limits.latest() < self.now.saturating_sub(WINDOW) {
            return Ok(());
        }
        let now = self.now.max(limits.latest());
        // What is known of the rate is as old as the last fit.
        let is_fresh = now.saturating_sub(self.fitted_at) <= WINDOW;
        let rates = if is_fresh { self.rate } else { Span::within(rate::of(assumptions.rate)) };
        let passed = i128::from(now) - i128::from(self.now);
        let expected = Span {
            low: self.offset.low + rate::down(rates.low, passed),
            high: self.offset.high + rate::up(rates.high, passed),
        };
        // None: its own two limits contradict each other, as they cannot at any rate.
        let said = self.said(limits, now, rates).ok_or(Jump { by: None })?;
        let by = Span { low: said.low - expected.high, high: said.high - expected.low };
        self.offset = expected.and(said).ok_or(Jump { by: Some(by) })?;
        self.now = now;
        self.slots.keep(limits, self.rate.middle());
        if now.saturating_sub(self.fitted_at) >= self.slots.slot_len() / FITS_IN_A_SLOT {
            let fit = fit(&self.slots, now, assumptions).ok_or(Jump { by: None })?;
            self.offset = self.offset.and(fit.offset).ok_or(Jump { by: None })?;
            (self.rate, self.mean_rate, self.fitted_at) = (fit.rate, fit.mean_rate, now);
        }
        Ok(())
    }

    /// What an exchange alone says of the offset at a time, no earlier than itself.
    fn said(&self, limits: Limits, at: i64, rates: Span) -> Option<Span> {
        let age = |then: i64| i128::from(at) - i128::from(then);
        let low = limits.lower.offset + rate::down(rates.low, age(limits.lower.at));
        let high = limits.upper.offset + rate::up(rates.high, age(limits.upper.at));
        (low <= high).then_some(Span { low, high })
    }
}
