//! A sender, a network and a reflector that exist in numbers only, and the ledger of what they did.
//!
//! The ledger is made from the plan, by the words of the RFCs and without any window; what is measured must be equal.

use std::time::{Duration, Instant};

use fast_afpacket::{HardwareStamp, SystemStamp, Timestamping, TxResult};

use super::numbers::lower_half;
use super::stamps::{Header, InSystem, Observation, ReflectorCounts, Reply, Stamps};

/// What happens to a frame on one way. Times in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) lost: bool,
    pub(crate) delay: i64,
    /// The delay of a copy that the network makes.
    pub(crate) copy: Option<i64>,
}

/// What happens to a probe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) refused: bool,
    /// How long after the send its stamps are known.
    pub(crate) stamped_after: i64,
    pub(crate) forward: Way,
    /// How long the reflector keeps it.
    pub(crate) residence: i64,
    pub(crate) backward: Way,
    /// What happens to the reply to its copy.
    pub(crate) copy_backward: Way,
}

/// A world to measure in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct World {
    pub(crate) first: u64,
    pub(crate) interval: i64,
    pub(crate) timeout: i64,
    /// Whether the reflector numbers its replies, and tells the stamps of earlier ones.
    pub(crate) numbers: bool,
    /// Whether it tells its counts.
    pub(crate) counts: bool,
    /// Whether all cards stamp.
    pub(crate) hardware: bool,
    /// How far the reflector's clock is ahead.
    pub(crate) offset: i64,
}

/// What happened. Of the times, in nanoseconds: those of probes that were answered in time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    pub(crate) sent: u64,
    pub(crate) refused: u64,
    pub(crate) in_time: u64,
    pub(crate) late: u64,
    pub(crate) lost_forward: u64,
    pub(crate) lost_backward: u64,
    pub(crate) duplicates_forward: u64,
    pub(crate) duplicates_backward: u64,
    pub(crate) reordered_forward: u64,
    pub(crate) reordered_backward: u64,
    pub(crate) reordered: u64,
    pub(crate) round_trip: Vec<i64>,
    pub(crate) net: Vec<i64>,
    pub(crate) forward: Vec<i64>,
    pub(crate) backward: Vec<i64>,
    pub(crate) variation_forward: Vec<i64>,
}

/// One reply of the reflector.
#[derive(Clone, Copy, Debug)]
struct Answer {
    probe: usize,
    received: i64,
    sent: i64,
    counts: ReflectorCounts,
}

const START: i64 = 1_700_000_000_000_000;
/// From user space to the queue, to the driver, to the card, in nanoseconds; and the other way.
pub(crate) const STEPS: [i64; 3] = [2_000, 300, 900];
/// A card's clock shows this more than the system's.
const CARD: i64 = 37_000_000_000;

/// How many things arrived after one that was later in their own order.
fn overtaken(order: impl Iterator<Item = u64>) -> u64 {
    let mut highest = None;
    order.filter(|&number| highest.replace(highest.max(Some(number)).unwrap()) > Some(number)).count() as u64
}

impl World {
    /// Stamps of a frame that user space handed over, or took, at this time.
    fn stamps(&self, user: i64, sent: bool) -> Stamps {
        let at = |steps: i64| SystemStamp::from_nanos(user * 1_000 + if sent { steps } else { -steps });
        let [queue, driver, card] = STEPS;
        let hardware = at(queue + driver + card);
        Stamps {
            userspace: Some(at(0)),
            scheduled: sent.then_some(at(queue)),
            software: Some(at(queue + driver)),
            hardware: self.hardware.then_some(HardwareStamp::from_nanos(hardware.as_nanos() + CARD)),
            hardware_in_system: self.hardware.then_some(InSystem { stamp: hardware, bound: Duration::from_nanos(40) }),
        }
    }

    fn seq(&self, probe: usize) -> u64 {
        self.first + probe as u64
    }

    fn sent_at(&self, probe: usize) -> i64 {
        START + self.interval * i64::try_from(probe).unwrap()
    }

    /// All that becomes known, in that order, and what is true.
    pub(crate) fn run(&self, plans: &[Plan]) -> (Vec<(Instant, Observation)>, Ledger) {
        let mut ledger = Ledger::default();
        let answers = self.reflect(plans, &mut ledger);
        let mut arrivals = Vec::new();
        let mut copied = vec![false; plans.len()];
        for (number, answer) in answers.iter().enumerate() {
            let plan = &plans[answer.probe];
            let way = if copied[answer.probe] { plan.copy_backward } else { plan.backward };
            copied[answer.probe] = true;
            arrivals.extend((!way.lost).then_some((answer.sent + way.delay, number)));
            arrivals.extend(way.copy.filter(|_| !way.lost).map(|delay| (answer.sent + delay, number)));
        }
        arrivals.sort_unstable();
        self.fill(plans, &answers, &arrivals, &mut ledger);
        (self.tell(plans, &answers, &arrivals), ledger)
    }

    /// What the reflector does.
    fn reflect(&self, plans: &[Plan], ledger: &mut Ledger) -> Vec<Answer> {
        let mut requests = Vec::new();
        for (probe, plan) in plans.iter().enumerate().filter(|(_, plan)| !plan.refused) {
            let sent = self.sent_at(probe);
            requests.extend((!plan.forward.lost).then_some((sent + plan.forward.delay, probe)));
            requests.extend(plan.forward.copy.filter(|_| !plan.forward.lost).map(|delay| (sent + delay, probe)));
        }
        requests.sort_unstable();
        let mut seen = vec![false; plans.len()];
        let mut firsts = Vec::new();
        let mut answers = Vec::new();
        for (received, probe) in requests {
            if !std::mem::replace(&mut seen[probe], true) {
                firsts.push(self.seq(probe));
            }
            let unique = firsts.len() as u64;
            let number = answers.len() as u64;
            let counts = ReflectorCounts {
                as_of: Some(lower_half(number)),
                received: Some(number + 1),
                unique: Some(unique),
                duplicates: Some(number + 1 - unique),
                reordered: None,
                sent: Some(number + 1),
            };
            answers.push(Answer { probe, received, sent: received, counts });
        }
        // The residence delays replies, and does not change their order: the reflector sends one after the other.
        let mut free = i64::MIN;
        for answer in &mut answers {
            free = free.max(answer.received) + plans[answer.probe].residence;
            answer.sent = free;
        }
        let mut highest = 0;
        let mut reordered = 0;
        let mut judged = vec![false; plans.len()];
        for answer in &mut answers {
            let seq = self.seq(answer.probe);
            let is_first = !std::mem::replace(&mut judged[answer.probe], true);
            reordered += u64::from(is_first && seq < highest);
            highest = highest.max(seq);
            answer.counts.reordered = Some(reordered);
        }
        ledger.reordered_forward = overtaken(firsts.iter().copied());
        assert_eq!(reordered, ledger.reordered_forward);
        ledger.duplicates_forward = (answers.len() - firsts.len()) as u64;
        let reached = firsts.len() as u64;
        ledger.sent = plans.iter().filter(|plan| !plan.refused).count() as u64;
        ledger.refused = plans.len() as u64 - ledger.sent;
        ledger.lost_forward = ledger.sent - reached;
        ledger.lost_backward = reached;
        answers
    }

    /// The ledger of the way back.
    fn fill(&self, plans: &[Plan], answers: &[Answer], arrivals: &[(i64, usize)], ledger: &mut Ledger) {
        let mut numbers = vec![false; answers.len()];
        let mut firsts = Vec::new();
        let mut order = Vec::new();
        let mut by_probe = vec![None; plans.len()];
        for &(at, number) in arrivals {
            if std::mem::replace(&mut numbers[number], true) {
                ledger.duplicates_backward += 1;
                continue;
            }
            order.push(number as u64);
            let probe = answers[number].probe;
            if by_probe[probe].is_none() {
                by_probe[probe] = Some((at, answers[number]));
                firsts.push(self.seq(probe));
            }
        }
        ledger.reordered_backward = overtaken(order.into_iter());
        ledger.reordered = overtaken(firsts.iter().copied());
        ledger.lost_backward -= firsts.len() as u64;
        let [queue, driver, card] = STEPS;
        let inner = if self.hardware { queue + driver + card } else { queue + driver };
        let mut before: Option<i64> = None;
        for (probe, answered) in by_probe.iter().enumerate() {
            let times = answered.map(|(at, answer)| (at - self.sent_at(probe), answer, at));
            match times {
                // From one kernel's stamp to the other.
                Some((round_trip, answer, at)) if round_trip * 1_000 - 2 * (queue + driver) <= self.timeout * 1_000 => {
                    ledger.in_time += 1;
                    let residence = answer.sent - answer.received;
                    let forward = (answer.received - self.sent_at(probe) + self.offset) * 1_000 - 2 * inner;
                    ledger.round_trip.push(round_trip * 1_000 - 2 * inner);
                    ledger.net.push((round_trip - residence) * 1_000 - 4 * inner);
                    ledger.forward.push(forward);
                    ledger.backward.push((at - answer.sent - self.offset) * 1_000 - 2 * inner);
                    ledger.variation_forward.extend(before.map(|before| forward - before));
                    before = Some(forward);
                }
                answered => {
                    ledger.late += u64::from(answered.is_some());
                    before = None;
                }
            }
        }
    }

    fn tell(&self, plans: &[Plan], answers: &[Answer], arrivals: &[(i64, usize)]) -> Vec<(Instant, Observation)> {
        let mut told = Vec::new();
        for (probe, plan) in plans.iter().enumerate() {
            let at = self.sent_at(probe);
            let refused = TxResult::Refused { kind: std::io::ErrorKind::Other, errno: None };
            let t1 = if plan.refused {
                Stamps { userspace: Some(SystemStamp::from_nanos(at * 1_000)), ..Stamps::NONE }
            } else {
                self.stamps(at, true)
            };
            told.push((
                at + plan.stamped_after,
                Observation::Sent {
                    seq: self.seq(probe),
                    t1,
                    expected: Timestamping::TX_SCHEDULED | Timestamping::TX_SOFTWARE,
                    result: if plan.refused { refused } else { TxResult::Complete },
                    due: Some(SystemStamp::from_nanos(at * 1_000 - 5_000)),
                },
            ));
        }
        let reflected_as = |number: usize| self.numbers.then_some(lower_half(number as u64));
        for &(at, number) in arrivals {
            let answer = &answers[number];
            let t3 = self.stamps(answer.sent + self.offset, true);
            let newest = usize::try_from((at - START) / self.interval).unwrap().min(plans.len() - 1);
            told.push((
                at,
                Observation::Reply(Reply {
                    seq: lower_half(self.seq(answer.probe)),
                    newest: self.seq(newest),
                    reflected_as: reflected_as(number),
                    t2: self.stamps(answer.received + self.offset, false),
                    t3: if self.numbers { Stamps { userspace: t3.userspace, ..Stamps::NONE } } else { t3 },
                    t4: self.stamps(at, false),
                    follow_up: self.numbers,
                    forward: Header::default(),
                    backward: Header { ttl: Some(64), dscp: Some(0), ecn: Some(0) },
                }),
            ));
            if self.counts {
                told.push((at, Observation::Counts(answer.counts)));
            }
            for earlier in (number.saturating_sub(8)..number).filter(|_| self.numbers) {
                told.push((at, self.follow_up(earlier, &answers[earlier])));
            }
        }
        // The sort is stable: what is told at one time keeps its order.
        told.sort_by_key(|&(at, _)| at);
        let end = told.last().map_or(START, |&(at, _)| at) + self.timeout;
        if self.numbers {
            let last = (0..answers.len()).skip(answers.len().saturating_sub(8));
            told.extend(last.map(|number| (end, self.follow_up(number, &answers[number]))));
        }
        if let Some(answer) = answers.last().filter(|_| self.counts) {
            told.push((end, Observation::Counts(ReflectorCounts { as_of: None, ..answer.counts })));
        }
        let start = Instant::now();
        let instant = |at: i64| start + Duration::from_micros((at - START).unsigned_abs());
        told.into_iter().map(|(at, observation)| (instant(at), observation)).collect()
    }

    fn follow_up(&self, number: usize, answer: &Answer) -> Observation {
        Observation::FollowUp {
            seq: lower_half(self.seq(answer.probe)),
            reflected_as: Some(lower_half(number as u64)),
            t3: self.stamps(answer.sent + self.offset, true),
        }
    }
}
