//! Distributions of the times of many probes, in constant memory, and all that is said at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use fast_afpacket::Timestamping;

use super::clocks::{ClockJudgement, Doubt, Validity};
use super::join;
use super::loss::Losses;
use super::order::{Duplicates, Reordered};
use super::parts::{Breakdown, BreakdownSummary, Host, Taken};
use super::stamps::{Fate, Header, Probe, Stamps};
use super::times::{Basis, Span, Times, times, two_clocks};
use crate::stats::{Distribution, Figures};
use crate::treatment::Ecn;

/// The figures of all probes that were told of.
#[derive(Debug)]
pub(crate) struct Measurement {
    bases: BTreeMap<Basis, OnBasis>,
    breakdown: Breakdown,
    send_error: Distribution,
    missing: MissingStamps,
    sent: Header,
    changes: Changes,
    answered: u64,
}

/// Times between stamps of the same kinds.
#[derive(Debug)]
struct OnBasis {
    round_trip: Distribution,
    net: Distribution,
    forward: Way,
    backward: Way,
}

/// One-way times, and how each differs from the one before.
#[derive(Debug)]
struct Way {
    times: Option<Distribution>,
    bound: Duration,
    /// Times that could not be believed when their probe was finished, and why the last of them.
    doubtful: u64,
    doubt: Option<Doubt>,
    variation: Distribution,
    /// Of which probe the last was, and what it took.
    last: Option<(u64, i64)>,
}

impl Way {
    fn new() -> Self {
        Self {
            times: None,
            bound: Duration::ZERO,
            doubtful: 0,
            doubt: None,
            variation: Distribution::new(),
            last: None,
        }
    }

    /// `net`: what both ways took together.
    fn add(&mut self, seq: u64, span: Option<Span>, net: Option<i64>, clocks: &ClockJudgement) {
        let Some(Span { nanos, bound }) = span else { return };
        if let Validity::Invalid(doubt) = clocks.validity(nanos, bound) {
            self.doubtful += 1;
            self.doubt = Some(doubt);
        }
        self.times.get_or_insert_with(|| two_clocks(nanos, net)).record(nanos);
        self.bound = self.bound.max(bound);
        // Pairs are of probes that were sent one after the other (RFC 3393, 2.5; RFC 5481, 4.1): the offset of the clocks
        // cancels out, and a loss makes no pair of its neighbours.
        if let Some((before, took)) = self.last.replace((seq, nanos))
            && before.checked_add(1) == Some(seq)
        {
            self.variation.record(nanos.saturating_sub(took));
        }
    }

    fn figures(&self, clocks: &ClockJudgement) -> Option<OneWayFigures> {
        let figures = self.times.as_ref()?.figures()?;
        // Clocks that are better now were worse before.
        let was_doubtful = self.doubt.filter(|_| self.doubtful > figures.count / 2);
        let validity = match clocks.validity(figures.p50, self.bound) {
            Validity::Valid => was_doubtful.map_or(Validity::Valid, Validity::Invalid),
            invalid @ Validity::Invalid(_) => invalid,
        };
        Some(OneWayFigures { figures, bound: self.bound, doubtful: self.doubtful, validity })
    }
}

impl OnBasis {
    fn new() -> Self {
        Self { round_trip: Distribution::new(), net: Distribution::new(), forward: Way::new(), backward: Way::new() }
    }

    fn add(&mut self, seq: u64, times: &Times, clocks: &ClockJudgement) {
        if let Some(nanos) = times.round_trip {
            self.round_trip.record(nanos);
        }
        if let Some(nanos) = times.net {
            self.net.record(nanos);
        }
        self.forward.add(seq, times.forward, times.net, clocks);
        self.backward.add(seq, times.backward, times.net, clocks);
    }
}

/// The figures of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OneWayFigures {
    pub(crate) figures: Figures,
    /// How far the times may be off for stamps that were converted from a card's clock.
    pub(crate) bound: Duration,
    /// How many times could not be believed when their probe was finished.
    pub(crate) doubtful: u64,
    /// Of the median, and of most times when their probe was finished.
    pub(crate) validity: Validity,
}

/// How many stamps are missing of those that could be there.
///
/// At T1: that the kernel or the card was asked for. At the other points: that were there for other probes. `None`: there are
/// no such stamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MissingStamps([PointTally; 4]);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PointTally {
    scheduled: Tally,
    software: Tally,
    hardware: Tally,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    present: u64,
    /// Missing, and known to have been expected.
    owed: u64,
    absent: u64,
}

/// What is missing at one point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) scheduled: Option<u64>,
    pub(crate) software: Option<u64>,
    pub(crate) hardware: Option<u64>,
}

impl Tally {
    fn add(&mut self, is_present: bool, is_owed: bool) {
        *match (is_present, is_owed) {
            (true, _) => &mut self.present,
            (false, true) => &mut self.owed,
            (false, false) => &mut self.absent,
        } += 1;
    }

    fn missing(self) -> u64 {
        self.owed + if self.present > 0 { self.absent } else { 0 }
    }

    fn if_any(self) -> Option<u64> {
        (self.present + self.owed > 0).then_some(self.missing())
    }
}

impl MissingStamps {
    fn add(&mut self, probe: &Probe) {
        let [t1, t2, t3, t4] = &mut self.0;
        let is_owed = |kind| probe.expected.contains(kind);
        for (tally, is_present, kind) in [
            (&mut t1.scheduled, probe.t1.scheduled.is_some(), Timestamping::TX_SCHEDULED),
            (&mut t1.software, probe.t1.software.is_some(), Timestamping::TX_SOFTWARE),
            (&mut t1.hardware, probe.t1.hardware.is_some(), Timestamping::TX_HARDWARE),
        ] {
            // What nobody asked for is not missing.
            if is_present || is_owed(kind) {
                tally.add(is_present, true);
            }
        }
        for (point, stamps) in [(t2, probe.t2), (t3, probe.t3), (t4, probe.t4)] {
            let Some(Stamps { scheduled, software, hardware, .. }) = stamps else { continue };
            point.scheduled.add(scheduled.is_some(), false);
            point.software.add(software.is_some(), false);
            point.hardware.add(hardware.is_some(), false);
        }
    }

    /// At T1, T2, T3 and T4.
    pub(crate) fn by_point(&self) -> [Missing; 4] {
        self.0.map(|point| Missing {
            scheduled: point.scheduled.if_any(),
            software: point.software.if_any(),
            hardware: point.hardware.if_any(),
        })
    }

    /// All.
    pub(crate) fn all(&self) -> u64 {
        let tallies = self.0.iter().flat_map(|point| [point.scheduled, point.software, point.hardware]);
        tallies.map(Tally::missing).sum()
    }
}

/// How many frames arrived with another value in the IP header than they were sent with. `None`: nobody told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) dscp_forward: Option<u64>,
    pub(crate) dscp_backward: Option<u64>,
    pub(crate) ecn_forward: Option<u64>,
    pub(crate) ecn_backward: Option<u64>,
}

impl Changes {
    fn add(&mut self, sent: Header, probe: &Probe) {
        let Header { dscp, ecn, .. } = sent;
        let returned = probe.forward.ecn.or(ecn).map(|arrived| Ecn::of(arrived).back().bits());
        for (count, sent, arrived) in [
            (&mut self.dscp_forward, dscp, probe.forward.dscp),
            (&mut self.dscp_backward, dscp, probe.backward.dscp),
            (&mut self.ecn_forward, ecn, probe.forward.ecn),
            (&mut self.ecn_backward, returned, probe.backward.ecn),
        ] {
            if let Some((sent, arrived)) = sent.zip(arrived) {
                *count.get_or_insert(0) += u64::from(sent != arrived);
            }
        }
    }

    pub(crate) fn any(&self) -> bool {
        let counts = [self.dscp_forward, self.dscp_backward, self.ecn_forward, self.ecn_backward];
        counts.into_iter().flatten().any(|count| count > 0)
    }
}

/// Frames that came to the probes' port and are no reply to any, or could not be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unusable {
    /// Something else: of another host, of another session, of another protocol.
    pub(crate) foreign: u64,
    pub(crate) wrong_checksum: u64,
    pub(crate) malformed: u64,
    /// With an authentication code that is not the key's.
    pub(crate) forged: u64,
    /// Found no room on this host. A reply among them counts as lost on the way back.
    pub(crate) dropped: u64,
}

/// The end of a two-way measurement in numbers.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) counts: join::Counts,
    pub(crate) losses: Losses,
    pub(crate) duplicates: Duplicates,
    pub(crate) reordered: Reordered,
    /// Between which stamps the times are, those of most probes. `None`: no probe was answered.
    pub(crate) basis: Option<Basis>,
    /// How many probes have no times on that basis, although they were answered in time.
    pub(crate) off_basis: u64,
    pub(crate) round_trip: Option<Figures>,
    pub(crate) net: Option<Figures>,
    pub(crate) forward: Option<OneWayFigures>,
    pub(crate) backward: Option<OneWayFigures>,
    pub(crate) variation_forward: Option<Figures>,
    pub(crate) variation_backward: Option<Figures>,
    /// How long after the time of the schedule user space began to send.
    pub(crate) send_error: Option<Figures>,
    pub(crate) breakdown: BreakdownSummary,
    pub(crate) missing: MissingStamps,
    pub(crate) changes: Changes,
    pub(crate) unusable: Unusable,
    pub(crate) clocks: ClockJudgement,
}

impl Summary {
    /// Whether the time of a stretch may be believed: if it is between two clocks, as little as that of its whole way.
    pub(crate) fn validity(&self, taken: &Taken) -> Validity {
        if !taken.stretch.is_of_two_clocks() {
            return Validity::Valid;
        }
        let way = if taken.stretch.host() == Host::WayThere { self.forward } else { self.backward };
        match way.map(|way| way.validity) {
            Some(invalid @ Validity::Invalid(_)) => invalid,
            _ => self.clocks.validity(taken.figures.p50, taken.bound),
        }
    }
}

impl Measurement {
    /// `sent`: what the header of all probes says.
    pub(crate) fn new(sent: Header) -> Self {
        Self {
            bases: BTreeMap::new(),
            breakdown: Breakdown::default(),
            send_error: Distribution::new(),
            missing: MissingStamps::default(),
            sent,
            changes: Changes::default(),
            answered: 0,
        }
    }

    /// Adds a finished probe; with what is known of the clocks now.
    ///
    /// The times of one that was answered too late are not in the distributions: those end at the timeout for all.
    pub(crate) fn add(&mut self, probe: &Probe, clocks: &ClockJudgement) {
        if let Some((due, sent)) = probe.due.zip(probe.t1.userspace) {
            self.send_error.record(sent.nanos_since(due));
        }
        if probe.fate == Fate::Refused {
            return;
        }
        self.missing.add(probe);
        self.changes.add(self.sent, probe);
        if probe.fate != Fate::Answered {
            return;
        }
        self.answered += 1;
        for times in times(probe) {
            self.bases.entry(times.basis).or_insert_with(OnBasis::new).add(probe.seq, &times, clocks);
        }
        self.breakdown.add(probe);
    }

    /// The best basis that at least half of the probes have; otherwise the one that most have.
    fn basis(&self) -> Option<(&Basis, &OnBasis)> {
        let count = |on: &OnBasis| on.round_trip.count();
        let best = self.bases.iter().find(|(_, on)| count(on).saturating_mul(2) >= self.answered);
        best.or_else(|| self.bases.iter().max_by_key(|(_, on)| count(on)))
    }

    /// The round trip of the probes until now.
    pub(crate) fn round_trip(&self) -> Option<Figures> {
        self.basis().and_then(|(_, on)| on.round_trip.figures())
    }

    /// All that can be said, with what `joiner` has counted.
    pub(crate) fn summary(&self, joiner: &join::Joiner, clocks: &ClockJudgement, unusable: Unusable) -> Summary {
        let on = self.basis();
        let figures = |of: fn(&OnBasis) -> &Distribution| on.and_then(|(_, on)| of(on).figures());
        let way = |of: fn(&OnBasis) -> &Way| on.and_then(|(_, on)| of(on).figures(clocks));
        Summary {
            counts: joiner.counts(),
            losses: joiner.losses(),
            duplicates: joiner.duplicates(),
            reordered: joiner.reordered(),
            basis: on.map(|(basis, _)| *basis),
            off_basis: self.answered - on.map_or(0, |(_, on)| on.round_trip.count()),
            round_trip: figures(|on| &on.round_trip),
            net: figures(|on| &on.net),
            forward: way(|on| &on.forward),
            backward: way(|on| &on.backward),
            variation_forward: figures(|on| &on.forward.variation),
            variation_backward: figures(|on| &on.backward.variation),
            send_error: self.send_error.figures(),
            breakdown: self.breakdown.summary(),
            missing: self.missing,
            changes: self.changes,
            unusable,
            clocks: clocks.clone(),
        }
    }
}
