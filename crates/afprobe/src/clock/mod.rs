//! The clocks of the two hosts of a measurement: how far they are apart, how well that is known, and what it means for
//! differences of a stamp of one and a stamp of the other.

mod card;
mod exchange;
mod fit;
mod judge;
mod rate;
mod slots;
mod span;
#[cfg(test)]
mod tests;
mod watch;
mod window;
mod words;

pub(crate) use card::CardClock;
pub(crate) use exchange::Exchange;
pub(crate) use judge::{Claim, Judgement};
pub(crate) use watch::{Disturbance, Reading};
pub(crate) use window::Estimate;

use fast_afpacket::MonotonicStamp;

use judge::Evidence;
use span::Span;
use watch::Watch;
use window::{Assumptions, Jump, Window};

/// Something that happened to a clock during the measurement. What was known of the two before it is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockEvent {
    /// This host's.
    Own(Disturbance),
    /// The reflector's: by how much, in nanoseconds, between these; `None` if that cannot be told. Or it is slewed faster
    /// than clocks are assumed to run apart.
    Reflectors { by: Option<Span> },
    /// The reflector says so itself.
    ReflectorSaysSo,
}

/// What is known of the clocks of the two hosts of a measurement. Of constant size, and without I/O.
///
/// ```text
/// loop {
///     let exchange = …;                                  // a probe is back, and all its stamps are here
///     let events = clocks.take(&exchange, Reading::take()?);
///     clocks.reflector(claim, disturbances);             // as its packets say
///     clocks.own(ClockState::read().ok());               // once a second or so
///     let judgement = clocks.judge();
/// }
/// ```
#[derive(Clone, Debug)]
pub(crate) struct Clocks {
    window: Window,
    watch: Watch,
    evidence: Evidence,
    /// The sender's clock at the last look.
    now: i64,
    /// Exchanges that began before this, on the sender's clock, may have a disturbance in them.
    valid_from: i64,
    /// How often the reflector says that its clock was disturbed.
    reflector_says: Option<u32>,
    counts: Counts,
    /// When an event was told last.
    told: Option<MonotonicStamp>,
}

/// What was met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// How often this host's clock was stepped or slewed.
    pub(crate) own: u64,
    /// How often the reflector's was.
    pub(crate) reflectors: u64,
    /// Exchanges whose stamps contradict each other: in none of two clocks can they be true.
    pub(crate) impossible: u64,
}

/// No probe is under way for longer than this: 10 s, in nanoseconds.
const LIFETIME: i64 = 10_000_000_000;

/// No event is told sooner after another than this, in nanoseconds. All are counted.
const TELLING_INTERVAL: i64 = 1_000_000_000;

impl Clocks {
    /// `is_one_clock`: both hosts are on this machine, and read the same.
    pub(crate) fn new(is_one_clock: bool) -> Self {
        let Assumptions { rate, wander } = Assumptions::DEFAULT;
        Self {
            window: Window::new(Assumptions::DEFAULT),
            watch: Watch::new(rate, wander),
            evidence: Evidence { is_one_clock, ..Evidence::default() },
            now: i64::MIN,
            valid_from: i64::MIN,
            reflector_says: None,
            counts: Counts::default(),
            told: None,
        }
    }

    /// Looks at this host's clock. To be done between exchanges too where they are seldom: the shorter the time between
    /// two looks, the smaller the step that is noticed.
    pub(crate) fn look(&mut self, now: Reading) -> Option<ClockEvent> {
        self.now = now.system.as_nanos();
        let disturbance = self.watch.look(now)?;
        self.counts.own += 1;
        let valid_from = match disturbance {
            // What was shown before a step back is shown again: whose a stamp is cannot be told until then. After a long
            // step back, what was under way is over before that.
            Disturbance::Stepped { by } if by < 0 => self.now.saturating_add(by.saturating_neg().min(LIFETIME)),
            _ => self.now,
        };
        self.restart(valid_from);
        self.may_tell(now.monotonic).then_some(ClockEvent::Own(disturbance))
    }

    /// A clock that is slewed fast for a minute would be told of at each look.
    fn may_tell(&mut self, now: MonotonicStamp) -> bool {
        let may = self.told.is_none_or(|told| now.nanos_since(told) >= TELLING_INTERVAL);
        if may {
            self.told = Some(now);
        }
        may
    }

    /// Takes the stamps of a probe that came back, once this host's clock was looked at. Says what happened to the
    /// clocks, nothing as a rule.
    pub(crate) fn take(&mut self, exchange: &Exchange, now: Reading) -> Vec<ClockEvent> {
        let mut events: Vec<ClockEvent> = self.look(now).into_iter().collect();
        let (t1, t4) = (exchange.t1.as_nanos(), exchange.t4.as_nanos());
        // A stamp of the future is one from before a step back.
        if t1 < self.valid_from || t1.max(t4) > self.now {
            return events;
        }
        let Some(limits) = exchange.limits(self.window.assumptions().rate) else {
            self.counts.impossible += 1;
            return events;
        };
        let jump = self.window.feed(limits);
        self.evidence.estimate = self.window.estimate();
        if let Some(Jump { by }) = jump {
            self.counts.reflectors += 1;
            if self.may_tell(now.monotonic) {
                events.push(ClockEvent::Reflectors { by });
            }
        }
        events
    }

    /// What this host's kernel says of its clock.
    pub(crate) fn own(&mut self, claim: Option<Claim>) {
        self.evidence.own = claim;
    }

    /// What the reflector says of its clock and, if it does, how often that was stepped or slewed so far.
    pub(crate) fn reflector(&mut self, claim: Option<Claim>, disturbances: Option<u32>) -> Option<ClockEvent> {
        self.evidence.reflectors = claim.or(self.evidence.reflectors);
        let former = self.reflector_says;
        self.reflector_says = disturbances.or(former);
        if former.is_none() || former == self.reflector_says {
            return None;
        }
        self.counts.reflectors += 1;
        self.restart(self.now);
        Some(ClockEvent::ReflectorSaysSo)
    }

    fn restart(&mut self, valid_from: i64) {
        self.valid_from = valid_from;
        self.window.restart();
        self.evidence.estimate = None;
    }

    pub(crate) fn judge(&self) -> Judgement {
        self.evidence.judge()
    }

    pub(crate) const fn estimate(&self) -> Option<Estimate> {
        self.evidence.estimate
    }

    #[cfg(test)]
    const fn counts(&self) -> Counts {
        self.counts
    }
}
