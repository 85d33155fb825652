//! The joiner against a model of the kernel, which knows whose each stamp is.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::timestamp::Timestamps;

const TIMEOUT: Duration = Duration::from_secs(1);
const QUARANTINE: Duration = Duration::from_secs(3);
const CAPACITY: usize = 4;
const STAGES: [Timestamping; 3] = [Timestamping::TX_SCHEDULED, Timestamping::TX_SOFTWARE, Timestamping::TX_HARDWARE];

/// One thing that happens. Places are taken modulo the number of candidates.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// `insist`: although the joiner does not admit it.
    Send {
        key: u32,
        expected: u32,
        refused: bool,
        insist: bool,
    },
    /// The kernel or the card stamps a frame; the report gets under way.
    Stamp {
        back: usize,
        stage: usize,
    },
    /// A report arrives, is lost, or stays under way although it has arrived: a duplicate.
    Arrive {
        report: usize,
    },
    Lose {
        report: usize,
    },
    Repeat {
        report: usize,
    },
    Pass {
        millis: u64,
    },
    Take,
    Overflow,
    LinkDown,
    Finish,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u32..3, prop_oneof![Just(7_u32), 0_u32..8], proptest::bool::weighted(0.1), proptest::bool::weighted(0.02))
            .prop_map(|(key, expected, refused, insist)| Step::Send { key, expected, refused, insist }),
        20 => (0_usize..4, 0_usize..3).prop_map(|(back, stage)| Step::Stamp { back, stage }),
        20 => any::<usize>().prop_map(|report| Step::Arrive { report }),
        1 => any::<usize>().prop_map(|report| Step::Lose { report }),
        1 => any::<usize>().prop_map(|report| Step::Repeat { report }),
        1 => (1_u64..3000).prop_map(|millis| Step::Pass { millis }),
        6 => Just(Step::Take),
        1 => prop_oneof![Just(Step::Overflow), Just(Step::LinkDown), Just(Step::Finish)],
    ]
}

struct Sent {
    key: TxKey,
    before: SystemStamp,
    expected: Timestamping,
    refused: bool,
    /// Which of its stages have arrived before its outcome, the first stamp of each.
    arrived: [Option<i64>; 3],
    /// Until when the kernel may stamp which stages: all and always, until there is an outcome.
    stampable: Timestamping,
    until: Option<Instant>,
}

/// The kernel, the card and the time.
struct Model {
    joiner: TxJoiner,
    /// Keys count on, or a few are used over and over.
    running: Option<u32>,
    now: Instant,
    nanos: i64,
    sent: Vec<Sent>,
    /// Which frame has the key now.
    under_way: HashMap<TxKey, usize>,
    reports: Vec<TxReport>,
    /// Whose each stamp is, and of which stage.
    truth: HashMap<i64, (usize, usize)>,
    outcomes: usize,
    arrivals: u64,
    in_outcomes: u64,
}

impl Model {
    fn new(running: Option<u32>) -> Self {
        Self {
            joiner: TxJoiner::with_capacity(Timestamping::TX, CAPACITY).timeout(TIMEOUT).quarantine(QUARANTINE),
            running,
            now: Instant::now(),
            nanos: 0,
            sent: Vec::new(),
            under_way: HashMap::new(),
            reports: Vec::new(),
            truth: HashMap::new(),
            outcomes: 0,
            arrivals: 0,
            in_outcomes: 0,
        }
    }

    /// A time that was never told before.
    fn tick(&mut self) -> SystemStamp {
        self.nanos += 1;
        SystemStamp::from_nanos(self.nanos)
    }

    fn apply(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Send { key, expected, refused, insist } => self.send(key, expected, refused, insist)?,
            Step::Stamp { back, stage } => self.stamp(back, stage),
            Step::Arrive { report } => {
                if let Some(at) = report.checked_rem(self.reports.len()) {
                    let report = self.reports.swap_remove(at);
                    self.arrive(report);
                }
            }
            Step::Lose { report } => {
                if let Some(at) = report.checked_rem(self.reports.len()) {
                    self.reports.swap_remove(at);
                }
            }
            Step::Repeat { report } => {
                // The card reports each stamp once.
                let at = report.checked_rem(self.reports.len());
                if let Some(at) = at.filter(|&at| self.reports[at].timestamps.hardware.is_none()) {
                    self.arrive(self.reports[at]);
                }
            }
            Step::Pass { millis } => {
                self.now += Duration::from_millis(millis);
                self.expire();
            }
            Step::Take => {
                self.take()?;
            }
            Step::Overflow => self.joiner.queue_overflowed(),
            Step::LinkDown => self.joiner.link_down(),
            Step::Finish => self.joiner.finish(),
        }
        prop_assert_eq!(self.joiner.len(), self.under_way.len());
        prop_assert!(self.joiner.len() <= CAPACITY);
        Ok(())
    }

    fn send(&mut self, key: u32, expected: u32, refused: bool, insist: bool) -> Result<(), TestCaseError> {
        let key = match &mut self.running {
            Some(next) => {
                *next = next.wrapping_add(1);
                TxKey::new(*next)
            }
            // On both sides of the wrap.
            None => TxKey::new(key.wrapping_sub(1)),
        };
        let expected = (0..3).filter(|stage| expected & (1 << stage) != 0).map(|stage| STAGES[stage]).collect();
        let (before, after) = (self.tick(), self.tick());
        let should = match (self.under_way.contains_key(&key), self.under_way.len()) {
            (true, _) => Err(Rejected::KeyInUse),
            (false, CAPACITY) => Err(Rejected::Full),
            _ => Ok(()),
        };
        prop_assert_eq!(self.joiner.admits(key), should);
        if should.is_err() && !insist {
            return Ok(());
        }
        let result = if refused {
            self.joiner.refused(key, before, &io::Error::from_raw_os_error(libc::ENOBUFS), self.now)
        } else {
            self.joiner.sent_with(key, before, after, expected, self.now)
        };
        prop_assert_eq!(result, should);
        let frame = self.sent.len();
        let until = match should {
            Ok(()) => self.under_way.insert(key, frame).and(None),
            Err(_) => Some(self.now + QUARANTINE),
        };
        let (arrived, stampable) = ([None; 3], expected);
        self.sent.push(Sent { key, before, expected, refused, arrived, stampable, until });
        if refused {
            // Within the call, and never again.
            self.stamp(0, 0);
            self.sent[frame].stampable = Timestamping::empty();
        }
        Ok(())
    }

    /// The card's stamps arrive within the quarantine; others may be as late as they like.
    fn expire(&mut self) {
        let (sent, truth, now) = (&self.sent, &self.truth, self.now);
        self.reports.retain(|report| {
            let Some(stamp) = report.timestamps.hardware else { return true };
            sent[truth[&stamp.as_nanos()].0].until.is_none_or(|until| now < until)
        });
    }

    fn stamp(&mut self, back: usize, stage: usize) {
        let Some(frame) = self.sent.len().checked_sub(back + 1) else { return };
        let sent = &self.sent[frame];
        if !sent.stampable.contains(STAGES[stage]) || sent.until.is_some_and(|until| self.now >= until) {
            return;
        }
        let key = sent.key;
        // The card's clock runs elsewhere, and says nothing of the order.
        let (nanos, timestamps) = if stage == 2 {
            self.nanos += 1;
            let nanos = -self.nanos;
            (nanos, Timestamps { software: None, hardware: Some(HardwareStamp::from_nanos(nanos)) })
        } else {
            let stamp = self.tick();
            (stamp.as_nanos(), Timestamps { software: Some(stamp), hardware: None })
        };
        self.truth.insert(nanos, (frame, stage));
        let stage = if stage == 0 { TxStage::Scheduled } else { TxStage::Sent };
        self.reports.push(TxReport { key, stage, timestamps, len: 0 });
        if stage == TxStage::Sent {
            // Repeated by no device: what comes twice was stamped once.
            self.sent[frame].stampable -= STAGES[self.truth[&nanos].1];
        }
        if self.sent[frame].until.is_some() && stage == TxStage::Sent {
            // It has left its queue.
            self.sent[frame].stampable -= Timestamping::TX_SCHEDULED;
        }
    }

    fn arrive(&mut self, report: TxReport) {
        self.joiner.report(&report);
        self.arrivals += 1;
        let stamps = report.timestamps;
        let nanos =
            stamps.software.map(SystemStamp::as_nanos).or(stamps.hardware.map(HardwareStamp::as_nanos)).unwrap();
        let (frame, stage) = self.truth[&nanos];
        if self.under_way.get(&report.key) == Some(&frame) {
            self.sent[frame].arrived[stage].get_or_insert(nanos);
        }
    }

    /// Takes an outcome and compares it with the truth.
    fn take(&mut self) -> Result<bool, TestCaseError> {
        let due = self.joiner.deadline().is_some_and(|deadline| deadline <= self.now);
        let outcome = self.joiner.take_outcome(self.now);
        prop_assert_eq!(outcome.is_some(), due);
        let Some(outcome) = outcome else { return Ok(false) };
        self.outcomes += 1;
        let frame = self.under_way.remove(&outcome.key);
        prop_assert!(frame.is_some(), "a second outcome: {:?}", outcome);
        let frame = frame.unwrap_or_default();
        let sent = &mut self.sent[frame];
        prop_assert_eq!(outcome.before, sent.before);

        let stamps = [
            outcome.scheduled.map(SystemStamp::as_nanos),
            outcome.software.map(SystemStamp::as_nanos),
            outcome.hardware.map(HardwareStamp::as_nanos),
        ];
        for (stage, nanos) in stamps.into_iter().enumerate() {
            if let Some(nanos) = nanos {
                prop_assert_eq!(self.truth[&nanos], (frame, stage), "another frame's stamp: {:?}", outcome);
                prop_assert_eq!(sent.arrived[stage], Some(nanos), "not the first: {:?}", outcome);
                self.in_outcomes += 1;
            }
        }
        if self.running.is_some() {
            prop_assert_eq!(stamps, sent.arrived, "a key of its own: nothing is dropped");
        }
        let has = |stage: usize| stamps[stage].is_some();
        let lacking: Timestamping = (0..3)
            .filter(|&stage| !has(stage))
            .map(|stage| STAGES[stage])
            .filter(|&s| sent.expected.contains(s))
            .collect();
        match outcome.result {
            TxResult::Refused { errno, .. } => {
                prop_assert!(sent.refused && outcome.after.is_none());
                prop_assert_eq!(errno, Some(libc::ENOBUFS));
            }
            TxResult::Complete => prop_assert!(!sent.refused && lacking.is_empty()),
            TxResult::HardwareSkipped => prop_assert!(lacking == Timestamping::TX_HARDWARE && has(1)),
            TxResult::Missing(reason) => {
                prop_assert!(!sent.refused && !lacking.is_empty());
                prop_assert!(self.running.is_none() || reason != MissingReason::Ambiguous);
            }
        }
        // What the kernel may still stamp: nothing of a frame that is complete, no queue's stamp of one that has left.
        sent.until = Some(self.now + QUARANTINE);
        if lacking.is_empty() {
            sent.stampable = Timestamping::empty();
        } else if has(1) || has(2) {
            sent.stampable &= lacking;
        }
        Ok(true)
    }

    fn finish(&mut self, handed_in: usize) -> Result<(), TestCaseError> {
        self.joiner.finish();
        while self.take()? {}
        prop_assert!(self.joiner.is_empty());
        prop_assert_eq!(self.joiner.deadline(), None);
        prop_assert_eq!(self.outcomes, handed_in, "one outcome for each frame");
        let StrayStamps { late, duplicate, ambiguous, unexpected, unknown, ignored } = self.joiner.strays();
        let strays = late + duplicate + ambiguous + unexpected + unknown + ignored;
        prop_assert_eq!(self.in_outcomes + strays, self.arrivals, "each stamp is somewhere");
        Ok(())
    }
}

fn run(running: Option<u32>, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut model = Model::new(running);
    let mut handed_in = 0;
    for &step in steps {
        let before = model.joiner.len();
        model.apply(step)?;
        handed_in += model.joiner.len().saturating_sub(before);
    }
    model.finish(handed_in)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Three keys, used over and over: whatever the kernel does, no stamp goes to another frame than its own.
    #[test]
    fn keys_used_again(steps in proptest::collection::vec(step(), 0..400)) {
        run(None, &steps)?;
    }

    /// A counter that wraps: each stamp that arrives before the outcome is in it.
    #[test]
    fn running_keys(steps in proptest::collection::vec(step(), 0..400)) {
        run(Some(u32::MAX - 10), &steps)?;
    }
}
