//! The side of a two-way measurement that joins, counts and prints, and that decides when it is over.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use fast_afpacket::{ClockState, SystemStamp};

use super::clocks::ClockJudgement;
use super::figures::{Summary, Unusable};
use super::join::Settings;
use super::prober::{Prober, Shared};
use super::replies::{NoReply, Said};
use super::stamps::{Observation, Probe, Reply, Stamps};
use super::{Finished, TwoWay};
use crate::cli::{Format, JobArguments, TwoWayArguments};
use crate::clock::{Claim, Clocks, Exchange, Judgement, Reading};
use crate::crew::Stop;
use crate::engine::Verdict;
use crate::hardware;
use crate::reflect::responder::Responder;
use crate::report::{self, Look, Report};
use crate::schedule::Pattern;
use crate::sender::Settled;
use crate::wire::stamp::error_estimate::ErrorEstimate;

/// How long it waits at most before it looks at the time, and at this host's clock.
const TICK: Duration = Duration::from_millis(20);
const STATS_INTERVAL: Duration = Duration::from_secs(5);
/// How often what changes slowly is looked after: what the kernel says of its clock; and how it goes, for who looks on.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Whoever interrupts the measurement has its summary within a second. So long replies are waited for.
const PATIENCE_AFTER_STOP: Duration = Duration::from_millis(500);
/// How long the reflector's last word is waited for, once all replies are here, and how often it is asked for meanwhile.
const LAST_WORD: Duration = Duration::from_millis(250);
const QUESTION_INTERVAL: Duration = Duration::from_millis(25);

/// The number of the first probe.
pub(super) const FIRST: u64 = 0;

/// What the threads tell.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Said(Said),
    /// A probe was sent, or refused, and its stamps have come, or not.
    Sent(Settled),
    /// The last probe is sent, and its stamps are here, or will not come.
    SenderDone,
}

/// Listens to the threads.
pub(super) struct Listener<'a> {
    prober: &'a Prober,
    responder: Option<&'a Responder>,
    shared: &'a Shared,
    linger: Duration,
    limits: Limits,
    measurement: TwoWay,
    desk: Desk<'a>,
    unusable: Unusable,
    /// Frames that found no room, as it was told last.
    dropped: u64,
    is_for_people: bool,
    questions: Questions,
}

/// What the measurement may show without being called a failure.
#[derive(Clone, Copy, Debug)]
struct Limits {
    loss_percent: Option<f64>,
    rtt_p99: Option<Duration>,
}

/// Where finished probes go: to the clocks that they say something of, and to who reads of them.
struct Desk<'a> {
    clocks: Clocks,
    report: Box<dyn Report + 'a>,
    /// Whether single probes are told of.
    tells_all: bool,
    trouble: Option<io::Error>,
}

/// What the reflector is asked, and when. It is asked at the end: for the stamps of its last replies and, when all of these
/// are here, how many probes it has seen.
#[derive(Debug, Default)]
struct Questions {
    /// Whether the reflector answers any.
    are_understood: bool,
    asked: u32,
    /// The number of the last that was answered.
    answered: Option<u32>,
    end: Option<End>,
}

/// The end of a measurement.
#[derive(Clone, Copy, Debug)]
struct End {
    began: Instant,
    next_question: Instant,
    /// The number of the first question that asks for the last word, and until when that is waited for.
    last_word: Option<(u32, Instant)>,
}

impl<'a> Listener<'a> {
    pub(super) fn new(
        prober: &'a Prober,
        responder: Option<&'a Responder>,
        shared: &'a Shared,
        two_way: &TwoWayArguments,
        job: &JobArguments,
        out: impl Write + IsTerminal + 'a,
    ) -> Self {
        let settings = settings(job.pattern, job.interval, two_way.timeout);
        let look = Look { verbose: two_way.verbose, progress: out.is_terminal() };
        Self {
            prober,
            responder,
            shared,
            linger: job.linger.max(two_way.timeout),
            limits: Limits { loss_percent: job.max_loss, rtt_p99: two_way.max_rtt_p99 },
            measurement: TwoWay::new(settings, prober.header()),
            desk: Desk {
                clocks: Clocks::new(responder.is_some()),
                report: report::with_look(job.format, look, out),
                tells_all: !two_way.summary_only,
                trouble: None,
            },
            unusable: Unusable::default(),
            dropped: 0,
            is_for_people: job.format == Format::Human,
            questions: Questions::default(),
        }
    }

    /// Joins and prints until the last probe is sent and what was under way has arrived, or its time is up.
    pub(super) fn listen(mut self, inbox: &Receiver<Event>, stop: &Stop, ask: &SyncSender<()>) -> io::Result<Verdict> {
        self.desk.report.start(&self.prober.start())?;
        let start = Instant::now();
        let (mut next_tick, mut next_look, mut next_stats) = (start, start, start + STATS_INTERVAL);
        let mut stopping = false;
        loop {
            let event = inbox.recv_timeout(TICK);
            let now = Instant::now();
            match event {
                Ok(event) => self.note(event, now)?,
                Err(RecvTimeoutError::Timeout) => {}
                // The threads have ended, by an error that is reported elsewhere.
                Err(RecvTimeoutError::Disconnected) => return self.summarize(),
            }
            if !stopping && stop.is_set() {
                stopping = true;
                // The sender looks at `stop` when its wait for stamps ends.
                self.prober.socket.set_tx_deadline(Some(now));
            }
            if now >= next_look {
                next_look = now + LOOK_INTERVAL;
                self.look_around()?;
            }
            if now >= next_stats {
                next_stats = now + STATS_INTERVAL;
                self.print_stats()?;
            }
            if now >= next_tick {
                next_tick = now + TICK;
                self.tick(now)?;
            }
            let patience = if stopping { self.linger.min(PATIENCE_AFTER_STOP) } else { self.linger };
            if self.questions.are_over(self.measurement.under_way(), patience, now, ask) {
                return self.summarize();
            }
        }
    }

    fn note(&mut self, event: Event, now: Instant) -> io::Result<()> {
        let observation = match event {
            Event::Sent(settled) => self.sent(&settled),
            Event::Said(Said::Observed(Observation::Reply(reply))) => {
                let t4 = hardware::converted(reply.t4, self.prober.card());
                Observation::Reply(Reply { t4, ..reply })
            }
            Event::Said(Said::Observed(observation)) => observation,
            Event::Said(Said::Clock(error)) => {
                let claim = Claim { synchronised: error.synchronized, error: error.bound() };
                self.desk.clocks.reflector(Some(claim), None);
                return Ok(());
            }
            Event::Said(Said::UnderstandsUs(understands)) => {
                self.questions.are_understood = understands;
                return Ok(());
            }
            Event::Said(Said::Answered(question)) => {
                self.questions.answered = self.questions.answered.max(Some(question));
                return Ok(());
            }
            Event::Said(Said::NoReply(why)) => {
                *count(&mut self.unusable, why) += 1;
                return Ok(());
            }
            Event::SenderDone => {
                self.questions.end = Some(End { began: now, next_question: now, last_word: None });
                return Ok(());
            }
        };
        let Self { measurement, desk, .. } = self;
        measurement.observe(observation, now, |finished| desk.take(finished));
        desk.result()
    }

    fn sent(&self, settled: &Settled) -> Observation {
        let Settled { id, late, outcome } = settled;
        let late = late.map(|late| i64::try_from(late.as_nanos()).unwrap_or(i64::MAX));
        let due = late.map(|late| SystemStamp::from_nanos(outcome.before.as_nanos().saturating_sub(late)));
        Observation::Sent {
            seq: *id,
            t1: hardware::converted(Stamps::from(outcome), self.prober.card()),
            expected: outcome.expected,
            result: outcome.result,
            due,
        }
    }

    /// Looks whether the time of a probe is up, at this host's clock, and what that means for one-way values.
    fn tick(&mut self, now: Instant) -> io::Result<()> {
        let Self { measurement, desk, .. } = self;
        if let Ok(reading) = Reading::take() {
            desk.clocks.look(reading);
        }
        measurement.set_clocks(judgement(&desk.clocks));
        measurement.expire(now, |finished| desk.take(finished));
        desk.result()
    }

    /// Looks after what changes slowly.
    fn look_around(&mut self) -> io::Result<()> {
        if let Ok(clock) = ClockState::read() {
            self.desk.clocks.own(Some(Claim::from(&clock)));
            self.shared.set_clock(ErrorEstimate::new(clock.synchronised, Some(clock.max_error)));
        }
        if let Some(responder) = self.responder {
            responder.look_around();
        }
        self.desk.report.progress(&self.measurement.progress())?;
        self.desk.report.flush()
    }

    /// People want to know only what goes wrong here: what was dropped on a host of this process counts as lost.
    fn print_stats(&mut self) -> io::Result<()> {
        let own = self.prober.socket.stats().map_err(io::Error::from)?;
        self.unusable.dropped = own.dropped;
        let Unusable { foreign, wrong_checksum, malformed, forged, .. } = self.unusable;
        let mut hosts = vec![(&self.prober.name, own, foreign + wrong_checksum + malformed + forged)];
        if let Some(responder) = self.responder {
            let counts = responder.counts()?;
            hosts.push((&responder.name, counts.stats, counts.unanswered.all()));
        }
        let dropped = hosts.iter().map(|(_, stats, _)| stats.dropped).sum();
        let was_dropped = std::mem::replace(&mut self.dropped, dropped) < dropped;
        for (name, stats, foreign) in hosts {
            if was_dropped || !self.is_for_people {
                self.desk.report.stats(name, &stats, foreign)?;
            }
        }
        Ok(())
    }

    fn summarize(mut self) -> io::Result<Verdict> {
        let Self { measurement, desk, .. } = &mut self;
        measurement.set_clocks(judgement(&desk.clocks));
        measurement.finish(|finished| desk.take(finished));
        desk.result()?;
        self.print_stats()?;
        let summary = self.measurement.summary(self.unusable);
        self.desk.report.two_way_summary(&summary)?;
        self.desk.report.flush()?;
        Ok(self.limits.judge(&summary))
    }
}

impl Limits {
    fn judge(&self, summary: &Summary) -> Verdict {
        let lost = 100.0 * as_share(summary.losses.all, summary.counts.sent);
        if self.loss_percent.is_some_and(|limit| lost > limit) {
            return Verdict::BeyondLimits;
        }
        // A round trip of which nothing is known is not within any limit.
        let p99 = summary.round_trip.map_or(i128::MAX, |figures| figures.p99.into());
        match self.rtt_p99 {
            Some(limit) if p99 > limit.as_nanos().cast_signed() => Verdict::BeyondLimits,
            _ => Verdict::Fine,
        }
    }
}

fn as_share(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "exact for all counts below 2^53, and a share is rounded anyway")]
    let (part, whole) = (part as f64, whole as f64);
    if whole == 0.0 { 0.0 } else { part / whole }
}

impl Desk<'_> {
    fn take(&mut self, finished: &Finished) {
        if let (Some(exchange), Ok(reading)) = (exchange(&finished.probe), Reading::take()) {
            self.clocks.take(&exchange, reading);
        }
        if self.tells_all && self.trouble.is_none() {
            self.trouble = self.report.probe(finished).err();
        }
    }

    fn result(&mut self) -> io::Result<()> {
        self.trouble.take().map_or(Ok(()), Err)
    }
}

impl Questions {
    /// Whether there is nothing more to wait for. Until then the reflector is asked.
    fn are_over(&mut self, under_way: usize, patience: Duration, now: Instant, ask: &SyncSender<()>) -> bool {
        let Some(end) = &mut self.end else {
            return false;
        };
        if end.last_word.is_none() && (under_way == 0 || now.saturating_duration_since(end.began) >= patience) {
            // Only what is asked from now on is the last word.
            end.last_word = Some((self.asked, now + LAST_WORD));
            end.next_question = now;
        }
        if let Some((first, until)) = end.last_word
            && (!self.are_understood || now >= until || self.answered.is_some_and(|answered| answered >= first))
        {
            return true;
        }
        if self.are_understood && now >= end.next_question && ask.try_send(()).is_ok() {
            self.asked = self.asked.wrapping_add(1);
            end.next_question = now + QUESTION_INTERVAL;
        }
        false
    }
}

const fn count(unusable: &mut Unusable, why: NoReply) -> &mut u64 {
    match why {
        NoReply::Foreign => &mut unusable.foreign,
        NoReply::WrongChecksum => &mut unusable.wrong_checksum,
        NoReply::Malformed => &mut unusable.malformed,
        NoReply::Forged => &mut unusable.forged,
    }
}

/// How a joiner waits: with a burst more probes are unfinished at one time, and those whose times are random may have to
/// wait longer for the next one, which brings their last stamps.
fn settings(pattern: Pattern, interval: Duration, timeout: Duration) -> Settings {
    const POISSON: u32 = 4;
    let (interval, at_once) = match pattern {
        Pattern::Periodic => (interval, 1),
        Pattern::Poisson { .. } => (interval.saturating_mul(POISSON), POISSON.into()),
        Pattern::Burst { size } => (interval, size),
    };
    let settings = Settings::new(FIRST, interval, timeout);
    let at_once = usize::try_from(at_once).unwrap_or(usize::MAX);
    Settings { capacity: settings.capacity.saturating_mul(at_once).min(Settings::MOST), ..settings }
}

/// What a probe says of the two clocks: the stamps that are nearest to the wire and of one kind at all four points, or else
/// those that there are.
fn exchange(probe: &Probe) -> Option<Exchange> {
    let points = [probe.t1, probe.t2?, probe.t3?, probe.t4?];
    if let [Some(t1), Some(t2), Some(t3), Some(t4)] = points.map(|stamps| stamps.hardware_in_system) {
        let uncertainty = t1.bound.max(t2.bound).max(t3.bound).max(t4.bound);
        return Some(Exchange { t1: t1.stamp, t2: t2.stamp, t3: t3.stamp, t4: t4.stamp, uncertainty });
    }
    let [t1, t2, t3, t4] = points.map(|stamps| stamps.software.or(stamps.userspace));
    Some(Exchange { t1: t1?, t2: t2?, t3: t3?, t4: t4?, uncertainty: Duration::ZERO })
}

fn judgement(clocks: &Clocks) -> ClockJudgement {
    let Judgement { one_way_bound, synchronised, .. } = clocks.judge();
    let nanos = |bound: Duration| u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
    let estimate = clocks.estimate();
    ClockJudgement {
        offset_ns: estimate.map(|estimate| estimate.offset_ns()),
        bound_ns: estimate.map(|estimate| nanos(estimate.bound())),
        drift_ppb: estimate.and_then(|estimate| estimate.drift).map(|drift| (drift.ppb, drift.bound_ppb)),
        synchronised,
        one_way_bound_ns: one_way_bound.map(nanos),
        reasons: clocks.reasons(),
    }
}
