//! Probes that go there and back: what became of each, where its time went, and which way lost it.

pub(crate) mod clocks;
pub(crate) mod figures;
pub(crate) mod join;
mod listener;
pub(crate) mod loss;
mod numbered;
mod numbers;
pub(crate) mod order;
pub(crate) mod parts;
pub(crate) mod prober;
pub(crate) mod replies;
pub(crate) mod run;
pub(crate) mod sent_times;
pub(crate) mod session;
pub(crate) mod stamps;
pub(crate) mod times;
pub(crate) mod transport;

use std::time::Instant;

use clocks::{ClockJudgement, Validity};
use figures::{Measurement, Summary, Unusable};
use join::{Joiner, Settings};
use stamps::{Header, Observation, Probe};
use times::Times;

/// A two-way measurement without its sockets: what became known goes in, finished probes and figures come out.
#[derive(Debug)]
pub(crate) struct TwoWay {
    joiner: Joiner,
    measurement: Measurement,
    clocks: ClockJudgement,
}

/// A finished probe, and its times on the best basis that it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finished {
    pub(crate) probe: Probe,
    pub(crate) times: Option<Times>,
    /// Whether its one-way times may be believed, by what was known of the clocks when it was finished.
    pub(crate) forward: Option<Validity>,
    pub(crate) backward: Option<Validity>,
}

/// How it goes, while it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) counts: join::Counts,
    pub(crate) lost: u64,
    pub(crate) under_way: usize,
    /// The median and the 99th percentile, in nanoseconds.
    pub(crate) round_trip: Option<(i64, i64)>,
}

impl TwoWay {
    /// `sent`: what the IP header of all probes says.
    pub(crate) fn new(settings: Settings, sent: Header) -> Self {
        Self { joiner: Joiner::new(settings), measurement: Measurement::new(sent), clocks: ClockJudgement::default() }
    }

    /// What is known of the clocks now: for the probes that are finished from now on, and for the summary.
    pub(crate) fn set_clocks(&mut self, clocks: ClockJudgement) {
        self.clocks = clocks;
    }

    /// Takes what became known at `now`, and tells of the probes of which all is known by it.
    ///
    /// What a reply says of earlier ones is to come after what it says of itself.
    pub(crate) fn observe(&mut self, observation: Observation, now: Instant, mut tell: impl FnMut(&Finished)) {
        let Self { joiner, measurement, clocks } = self;
        joiner.observe(observation, now, |probe| tell(&finish(measurement, clocks, probe)));
    }

    /// Tells of the probes whose time is up at `now`: to be called often. All that came until then is to be observed before:
    /// a program that falls behind loses no probes by that.
    pub(crate) fn expire(&mut self, now: Instant, mut tell: impl FnMut(&Finished)) {
        let Self { joiner, measurement, clocks } = self;
        joiner.expire(now, |probe| tell(&finish(measurement, clocks, probe)));
    }

    /// Time is up for all: to be called once, before the last summary.
    pub(crate) fn finish(&mut self, mut tell: impl FnMut(&Finished)) {
        let Self { joiner, measurement, clocks } = self;
        joiner.finish(|probe| tell(&finish(measurement, clocks, probe)));
    }

    /// How many probes are not finished.
    pub(crate) fn under_way(&self) -> usize {
        self.joiner.under_way()
    }

    pub(crate) fn progress(&self) -> Progress {
        let figures = self.measurement.round_trip();
        Progress {
            counts: self.joiner.counts(),
            lost: self.joiner.losses().all,
            under_way: self.joiner.under_way(),
            round_trip: figures.map(|figures| (figures.p50, figures.p99)),
        }
    }

    pub(crate) fn summary(&self, unusable: Unusable) -> Summary {
        self.measurement.summary(&self.joiner, &self.clocks, unusable)
    }
}

fn finish(measurement: &mut Measurement, clocks: &ClockJudgement, probe: Probe) -> Finished {
    measurement.add(&probe, clocks);
    let times = times::times(&probe).next();
    let validity = |span: times::Span| clocks.validity(span.nanos, span.bound);
    Finished {
        probe,
        times,
        forward: times.and_then(|times| times.forward).map(validity),
        backward: times.and_then(|times| times.backward).map(validity),
    }
}

#[cfg(test)]
mod figures_tests;
#[cfg(test)]
mod join_tests;
#[cfg(test)]
mod model;
