//! Observations in, in any order; finished probes out, each once, in the order in which they were sent.
//!
//! A probe is finished when all has come that was to come, or when its time is up. Those that are not stand in a window of
//! fixed size. When it is full the oldest is finished as it is; a reply that comes later still is counted as late.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fast_afpacket::{MissingReason, SystemStamp, Timestamping, TxResult};

use super::loss::{LossBook, Losses};
use super::numbers;
use super::order::{Arrival, Duplicates, OrderBook, Reordered};
use super::stamps::{Fate, Header, Observation, Probe, Reply, Stamps};

/// How a joiner decides that a probe is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The number of the first probe.
    pub(crate) first: u64,
    /// How long a reply may take, by its stamps. One that takes longer is late.
    pub(crate) timeout: Duration,
    /// How much longer to wait for it. A reply that came in time may not have been observed yet, if this host is busy.
    pub(crate) grace: Duration,
    /// How long, after the reply, to wait for the stamps that are to follow in a later one.
    pub(crate) follow_up: Duration,
    /// How many probes may be unfinished at one time.
    pub(crate) capacity: usize,
}

impl Settings {
    const LEAST: usize = 64;
    /// 16 MB.
    pub(crate) const MOST: usize = 1 << 15;
    /// The stamps of a reply come with the next ones. Some of these may be lost.
    const REPLIES_TO_WAIT_FOR: u32 = 4;
    const GRACE: Duration = Duration::from_millis(250);

    /// For probes at this interval.
    pub(crate) fn new(first: u64, interval: Duration, timeout: Duration) -> Self {
        // Those of the last reply are asked for when the time of the last probe is up.
        let follow_up = interval.saturating_mul(Self::REPLIES_TO_WAIT_FOR).saturating_add(timeout.saturating_mul(2));
        let longest = timeout.saturating_add(Self::GRACE).saturating_add(follow_up).as_nanos();
        // With room for bursts.
        let capacity = longest / interval.as_nanos().max(1) * 2;
        let capacity = usize::try_from(capacity).unwrap_or(Self::MOST).clamp(Self::LEAST, Self::MOST);
        Self { first, timeout, grace: Self::GRACE, follow_up, capacity }
    }
}

/// What a joiner counts beside the probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Probes that the kernel took and whose fate is decided: `in_time` + `late` + lost.
    pub(crate) sent: u64,
    /// Probes that the kernel did not take.
    pub(crate) refused: u64,
    /// Probes that were answered in time.
    pub(crate) in_time: u64,
    /// Probes that were answered too late.
    pub(crate) late: u64,
    /// Replies to probes that were never sent, or so long ago that it cannot be told.
    pub(crate) strays: u64,
    /// Probes that were finished before their time, because too many were unfinished.
    pub(crate) crowded_out: u64,
}

/// A probe that is not finished.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    sent: Option<Sent>,
    reply: Option<Reply>,
    /// The reflector's number of a reply that was told of later, and what was told.
    follow_up: Option<(Option<u32>, Stamps)>,
    /// When the first was heard of it.
    since: Option<Instant>,
    answered_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    t1: Stamps,
    expected: Timestamping,
    result: TxResult,
    due: Option<SystemStamp>,
}

/// Joins what is told of probes.
#[derive(Debug)]
pub(crate) struct Joiner {
    settings: Settings,
    /// The number of the first probe in the window.
    first: u64,
    window: VecDeque<Slot>,
    /// The highest number that is known to have been sent.
    newest: u64,
    losses: LossBook,
    order: OrderBook,
    counts: Counts,
}

impl Joiner {
    /// How many numbers are remembered. For half as many a reply is recognised as late, or as a copy: the other half is for
    /// those that are further ahead.
    const REMEMBERED: u64 = 1 << 20;

    pub(crate) fn new(settings: Settings) -> Self {
        let mut window = VecDeque::new();
        // All memory is touched now: what is used later is what is used at the beginning.
        window.resize(settings.capacity.max(1), Slot::default());
        window.clear();
        Self {
            settings,
            first: settings.first,
            window,
            newest: settings.first,
            losses: LossBook::new(Self::REMEMBERED),
            order: OrderBook::new(Self::REMEMBERED),
            counts: Counts::default(),
        }
    }

    /// Takes what became known at `now`, and tells of the probes of which all is known by it.
    ///
    /// Nobody's time is up by this: what is still to be observed may have come in time.
    pub(crate) fn observe(&mut self, observation: Observation, now: Instant, mut tell: impl FnMut(Probe)) {
        match observation {
            Observation::Sent { seq, t1, expected, result, due } => {
                self.newest = self.newest.max(seq);
                let place = self.make_room(seq, &mut tell);
                if let Some(slot) = place.and_then(|place| self.window.get_mut(place)) {
                    slot.sent.get_or_insert(Sent { t1, expected, result, due });
                    slot.since.get_or_insert(now);
                }
            }
            Observation::Reply(reply) => self.reply(reply, now, &mut tell),
            Observation::FollowUp { seq, reflected_as, t3 } => self.follow_up(seq, reflected_as, t3),
            Observation::Counts(counts) => self.order.counts(counts),
        }
        while self.window.front().is_some_and(Slot::is_complete) {
            self.finish_first(&mut tell);
        }
    }

    fn reply(&mut self, reply: Reply, now: Instant, tell: &mut impl FnMut(Probe)) {
        self.newest = self.newest.max(reply.newest);
        let seq = numbers::unwrap(reply.seq, reply.newest);
        let Some(seq) = seq.filter(|&seq| (self.settings.first..=reply.newest).contains(&seq)) else {
            self.counts.strays += 1;
            return;
        };
        if seq < self.first {
            return self.old_reply(seq, reply.reflected_as);
        }
        let place = self.make_room(seq, tell);
        let Some(slot) = place.and_then(|place| self.window.get_mut(place)) else { return };
        if slot.is_refused() {
            self.counts.strays += 1;
        } else if self.order.reply(seq, reply.reflected_as) == Arrival::First {
            slot.reply = Some(reply);
            slot.since.get_or_insert(now);
            slot.answered_at = Some(now);
        }
    }

    /// A reply to a probe that is finished.
    fn old_reply(&mut self, seq: u64, reflected_as: Option<u32>) {
        let is_remembered = self.first - seq <= Self::REMEMBERED / 2;
        if is_remembered && self.losses.late(seq) {
            self.counts.late += 1;
            self.order.reply(seq, reflected_as);
        } else if is_remembered && self.order.is_answered(seq) {
            self.order.reply(seq, reflected_as);
        } else {
            // The kernel had refused the probe, or nobody remembers.
            self.counts.strays += 1;
        }
    }

    fn follow_up(&mut self, seq: u32, reflected_as: Option<u32>, t3: Stamps) {
        let seq = numbers::unwrap(seq, self.newest);
        let place = seq.and_then(|seq| usize::try_from(seq.checked_sub(self.first)?).ok());
        let Some(slot) = place.and_then(|place| self.window.get_mut(place)) else { return };
        // Of a probe that was answered twice it may be about the other reply.
        if slot.reply.is_none_or(|reply| reply.reflected_as == reflected_as) {
            slot.follow_up = Some((reflected_as, t3));
        }
    }

    /// The place of a probe in the window, if it is not finished yet. The oldest give way if there is no room.
    fn make_room(&mut self, seq: u64, tell: &mut impl FnMut(Probe)) -> Option<usize> {
        let capacity = self.settings.capacity.max(1);
        loop {
            let place = usize::try_from(seq.checked_sub(self.first)?).unwrap_or(usize::MAX);
            if place < capacity {
                while self.window.len() <= place {
                    self.window.push_back(Slot::default());
                }
                return Some(place);
            }
            if self.window.is_empty() {
                // Nothing was heard of those in between.
                self.first = seq;
            } else {
                self.counts.crowded_out += 1;
                self.finish_first(tell);
            }
        }
    }

    /// Tells of the probes whose time is up at `now`. All that came until then is to be observed before.
    pub(crate) fn expire(&mut self, now: Instant, mut tell: impl FnMut(Probe)) {
        let settings = self.settings;
        while self.window.front().is_some_and(|slot| slot.is_complete() || slot.is_over(&settings, now)) {
            self.finish_first(&mut tell);
        }
    }

    /// Time is up for all.
    pub(crate) fn finish(&mut self, mut tell: impl FnMut(Probe)) {
        while !self.window.is_empty() {
            self.finish_first(&mut tell);
        }
    }

    fn finish_first(&mut self, tell: &mut impl FnMut(Probe)) {
        let Some(slot) = self.window.pop_front() else { return };
        if self.window.is_empty() {
            // Begin at the front again, where memory is in the cache.
            self.window.clear();
        }
        let seq = self.first;
        self.first += 1;
        if slot.since.is_none() {
            // It was never heard of, and never will be.
            return;
        }
        let probe = slot.probe(seq, self.settings.timeout);
        self.counts.sent += u64::from(probe.fate != Fate::Refused);
        match probe.fate {
            Fate::Answered => self.counts.in_time += 1,
            Fate::Late => self.counts.late += 1,
            Fate::Refused => self.counts.refused += 1,
            Fate::Lost | Fate::LostBackward => {}
        }
        match probe.fate {
            Fate::Answered | Fate::Late => self.losses.answered(seq),
            Fate::Lost => self.losses.lost(seq, false),
            Fate::LostBackward => self.losses.lost(seq, true),
            Fate::Refused => {}
        }
        tell(probe);
    }

    /// How many probes are not finished.
    pub(crate) fn under_way(&self) -> usize {
        self.window.len()
    }

    /// For how many probes memory is held.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.window.capacity()
    }

    pub(crate) const fn counts(&self) -> Counts {
        self.counts
    }

    pub(crate) fn losses(&self) -> Losses {
        self.losses.losses(self.order.evidence())
    }

    pub(crate) fn duplicates(&self) -> Duplicates {
        self.order.duplicates()
    }

    pub(crate) fn reordered(&self) -> Reordered {
        self.order.reordered()
    }
}

impl Slot {
    fn is_refused(&self) -> bool {
        self.sent.is_some_and(|sent| matches!(sent.result, TxResult::Refused { .. }))
    }

    /// Whether the stamps that the reply promised have come.
    fn has_followed_up(&self) -> bool {
        self.reply.is_some_and(|reply| !reply.follow_up || self.told_of(&reply).is_some())
    }

    /// What was told later of this reply.
    fn told_of(&self, reply: &Reply) -> Option<Stamps> {
        self.follow_up.filter(|(number, _)| *number == reply.reflected_as).map(|(_, t3)| t3)
    }

    /// Whether nothing more is to come.
    fn is_complete(&self) -> bool {
        self.sent.is_some() && (self.is_refused() || self.has_followed_up())
    }

    /// Whether its time is up; not before it is known how it was sent.
    fn is_over(&self, settings: &Settings, now: Instant) -> bool {
        let deadline = match self.answered_at {
            Some(answered_at) => answered_at.checked_add(settings.follow_up),
            None => self.since.and_then(|since| since.checked_add(settings.timeout.saturating_add(settings.grace))),
        };
        self.sent.is_some() && deadline.is_some_and(|deadline| now >= deadline)
    }

    /// Whether its reply took longer than this: to where the kernel stamped it, or else to where it was read.
    fn took_longer(&self, timeout: Duration) -> bool {
        let (Some(sent), Some(reply)) = (&self.sent, &self.reply) else { return false };
        let kernels = reply.t4.software.zip(sent.t1.software);
        let took = kernels.or(reply.t4.userspace.zip(sent.t1.userspace)).map(|(t4, t1)| t4.nanos_since(t1));
        took.is_some_and(|took| i128::from(took) > timeout.as_nanos().cast_signed())
    }

    fn probe(&self, seq: u64, timeout: Duration) -> Probe {
        // Of a probe that was crowded out before it was told how it was sent, nothing is known of that.
        let unknown = TxResult::Missing(MissingReason::Finished);
        let sent =
            self.sent.unwrap_or(Sent { t1: Stamps::NONE, expected: Timestamping::empty(), result: unknown, due: None });
        let told_later = match self.reply {
            Some(reply) => self.told_of(&reply),
            None => self.follow_up.map(|(_, t3)| t3),
        };
        let fate = match (self.reply, told_later) {
            _ if self.is_refused() => Fate::Refused,
            (Some(_), _) if self.took_longer(timeout) => Fate::Late,
            (Some(_), _) => Fate::Answered,
            (None, Some(_)) => Fate::LostBackward,
            (None, None) => Fate::Lost,
        };
        let carried = self.reply.map(|reply| reply.t3);
        Probe {
            seq,
            fate,
            expected: sent.expected,
            result: sent.result,
            due: sent.due,
            t1: sent.t1,
            t2: self.reply.map(|reply| reply.t2),
            t3: told_later.map(|later| later.or(carried.unwrap_or_default())).or(carried),
            t4: self.reply.map(|reply| reply.t4),
            forward: self.reply.map_or(Header::default(), |reply| reply.forward),
            backward: self.reply.map_or(Header::default(), |reply| reply.backward),
        }
    }
}
