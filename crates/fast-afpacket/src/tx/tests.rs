//! Each rule of the joiner by itself.

use super::*;
use crate::timestamp::Timestamps;

const KEY: TxKey = TxKey::new(7);

/// A report of key 7: the scheduler's or the driver's stamp, or that of the card.
fn scheduled(nanos: i64) -> TxReport {
    software_of(TxStage::Scheduled, nanos)
}

fn software(nanos: i64) -> TxReport {
    software_of(TxStage::Sent, nanos)
}

fn software_of(stage: TxStage, nanos: i64) -> TxReport {
    let timestamps = Timestamps { software: Some(SystemStamp::from_nanos(nanos)), hardware: None };
    TxReport { key: KEY, stage, timestamps, len: 0 }
}

fn hardware(nanos: i64) -> TxReport {
    let timestamps = Timestamps { software: None, hardware: Some(HardwareStamp::from_nanos(nanos)) };
    TxReport { key: KEY, stage: TxStage::Sent, timestamps, len: 0 }
}

/// A joiner and its time: milliseconds for deadlines, nanoseconds for stamps.
struct Bench {
    joiner: TxJoiner,
    start: Instant,
}

impl Bench {
    fn new(expected: Timestamping) -> Self {
        Self { joiner: TxJoiner::new(expected), start: Instant::now() }
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    /// Sends a frame with key 7, whose user space stamps are `nanos` and 5 ns later.
    fn sent(&mut self, nanos: i64, millis: u64) {
        let (before, after) = (SystemStamp::from_nanos(nanos), SystemStamp::from_nanos(nanos + 5));
        self.joiner.sent(KEY, before, after, self.at(millis)).unwrap();
    }

    fn report(&mut self, reports: impl IntoIterator<Item = TxReport>) {
        reports.into_iter().for_each(|report| self.joiner.report(&report));
    }

    fn take(&mut self, millis: u64) -> Option<TxOutcome> {
        self.joiner.take_outcome(self.at(millis))
    }

    fn result(&mut self, millis: u64) -> Option<TxResult> {
        self.take(millis).map(|outcome| outcome.result)
    }
}

/// The nanoseconds of what the kernel and the card stamped.
fn stamps(outcome: TxOutcome) -> [Option<i64>; 3] {
    let [scheduled, software] = [outcome.scheduled, outcome.software].map(|stamp| stamp.map(SystemStamp::as_nanos));
    [scheduled, software, outcome.hardware.map(HardwareStamp::as_nanos)]
}

const SKIPPED: Option<TxResult> = Some(TxResult::HardwareSkipped);

fn missing(reason: MissingReason) -> Option<TxResult> {
    Some(TxResult::Missing(reason))
}

#[test]
fn complete_at_the_last_stamp_in_any_order() {
    let [first, second, third] = [scheduled(102), software(104), hardware(3)];
    for reports in [[first, second, third], [third, second, first], [second, third, first]] {
        let mut bench = Bench::new(Timestamping::TX);
        bench.sent(100, 0);
        bench.report(reports[..2].iter().copied());
        assert_eq!(bench.take(999), None);
        bench.report([reports[2]]);
        let outcome = bench.take(999).unwrap();
        assert_eq!(outcome.result, TxResult::Complete);
        assert_eq!(stamps(outcome), [Some(102), Some(104), Some(3)]);
        assert_eq!(outcome.before.as_nanos(), 100);
        assert_eq!(outcome.after.map(SystemStamp::as_nanos), Some(105));
        assert_eq!(bench.joiner.strays(), StrayStamps::default());
        assert!(bench.joiner.is_empty());
    }
}

#[test]
fn both_stamps_in_one_report() {
    let mut bench = Bench::new(Timestamping::TX_SOFTWARE | Timestamping::TX_HARDWARE);
    bench.sent(100, 0);
    let mut report = software(101);
    report.timestamps.hardware = hardware(3).timestamps.hardware;
    bench.report([report]);
    assert_eq!(bench.take(0).map(stamps), Some([None, Some(101), Some(3)]));
}

#[test]
fn what_is_not_expected_is_not_waited_for_and_nobodys() {
    let mut bench = Bench::new(Timestamping::TX_SOFTWARE | Timestamping::RX);
    bench.sent(100, 0);
    bench.report([scheduled(101), software(102)]);
    assert_eq!(bench.take(0).map(stamps), Some([None, Some(102), None]));
    assert_eq!(bench.joiner.strays(), StrayStamps { unexpected: 1, ..StrayStamps::default() });

    let mut bench = Bench::new(Timestamping::RX);
    bench.sent(100, 0);
    assert_eq!(bench.result(0), Some(TxResult::Complete));
}

#[test]
fn one_frame_may_ask_for_more_than_the_rest() {
    let mut bench = Bench::new(Timestamping::TX_SOFTWARE);
    let at = SystemStamp::from_nanos(100);
    let expected = Timestamping::TX_SOFTWARE | Timestamping::TX_HARDWARE;
    bench.joiner.sent_with(KEY, at, at, expected, bench.at(0)).unwrap();
    bench.report([software(101)]);
    assert_eq!(bench.take(0), None);
    bench.report([hardware(3)]);
    assert_eq!(bench.result(0), Some(TxResult::Complete));
    bench.sent(110, 1);
    bench.report([software(111)]);
    assert_eq!(bench.result(1), Some(TxResult::Complete));
}

/// Every set of stamps that came, of every set that was expected, at the deadline.
#[test]
fn results_at_the_deadline() {
    let reports = [scheduled(101), software(102), hardware(3)];
    let stages = [Timestamping::TX_SCHEDULED, Timestamping::TX_SOFTWARE, Timestamping::TX_HARDWARE];
    let sets = || (0..8).map(|set| (0..3).filter(|stage| set & (1 << stage) != 0).collect::<Vec<usize>>());
    for expected in sets() {
        for came in sets().filter(|came| came.iter().all(|stage| expected.contains(stage))) {
            let mut bench = Bench::new(expected.iter().map(|&stage| stages[stage]).collect());
            bench.sent(100, 0);
            bench.report(came.iter().map(|&stage| reports[stage]));
            let lacking: Vec<usize> = expected.iter().copied().filter(|stage| !came.contains(stage)).collect();
            let result = match *lacking {
                [] => Some(TxResult::Complete),
                [2] if came.contains(&1) => SKIPPED,
                _ => missing(MissingReason::DeadlinePassed),
            };
            assert_eq!(bench.result(999), result.filter(|_| lacking.is_empty()), "{expected:?} {came:?}");
            assert_eq!(bench.result(1000), result.filter(|_| !lacking.is_empty()), "{expected:?} {came:?}");
            assert_eq!(bench.result(5000), None);
        }
    }
}

#[test]
fn reasons_in_the_order_of_the_table() {
    type Event = fn(&mut TxJoiner);
    let [overflow, down, finish]: [Event; 3] = [TxJoiner::queue_overflowed, TxJoiner::link_down, TxJoiner::finish];
    let cases: [(&[Event], _); 5] = [
        (&[], SKIPPED),
        (&[finish], missing(MissingReason::Finished)),
        (&[down, finish], missing(MissingReason::LinkDown)),
        (&[finish, down, overflow], missing(MissingReason::QueueOverflowed)),
        (&[overflow], missing(MissingReason::QueueOverflowed)),
    ];
    for (events, result) in cases {
        let mut bench = Bench::new(Timestamping::TX_SOFTWARE | Timestamping::TX_HARDWARE);
        bench.sent(100, 0);
        bench.report([software(101)]);
        events.iter().for_each(|event| event(&mut bench.joiner));
        assert_eq!(bench.result(1000), result);
    }
}

#[test]
fn what_happened_before_the_send_is_no_reason() {
    let mut bench = Bench::new(Timestamping::TX_SOFTWARE);
    bench.joiner.queue_overflowed();
    bench.joiner.link_down();
    bench.joiner.finish();
    bench.sent(100, 0);
    assert_eq!(bench.result(1000), missing(MissingReason::DeadlinePassed));
}

#[test]
fn a_late_report_before_the_outcome_is_taken_counts() {
    let mut bench = Bench::new(Timestamping::TX_SOFTWARE);
    bench.sent(100, 0);
    bench.report([software(101)]);
    assert_eq!(bench.result(5000), Some(TxResult::Complete));
    bench.sent(200, 5000);
    bench.joiner.finish();
    bench.report([software(201)]);
    assert_eq!(bench.result(5000), Some(TxResult::Complete));
}

#[test]
fn of_repeated_scheduler_stamps_the_first_counts() {
    let mut bench = Bench::new(Timestamping::TX_SCHEDULED | Timestamping::TX_SOFTWARE);
    bench.sent(100, 0);
    bench.report([scheduled(101), scheduled(102), software(103), scheduled(104)]);
    assert_eq!(bench.take(0).map(stamps), Some([Some(101), Some(103), None]));
    bench.report([scheduled(105)]);
    bench.sent(110, 1);
    bench.report([scheduled(106), software(112)]);
    assert_eq!(bench.take(1), None, "the repeated stamp was the older frame's");
    bench.report([scheduled(111)]);
    assert_eq!(bench.take(1).map(stamps), Some([Some(111), Some(112), None]));
    assert_eq!(bench.joiner.strays(), StrayStamps { duplicate: 2, late: 2, ..StrayStamps::default() });
}

#[test]
fn a_refused_frame_keeps_the_stamps_that_came() {
    let mut bench = Bench::new(Timestamping::TX_SOFTWARE);
    let error = io::Error::from_raw_os_error(libc::ENOBUFS);
    bench.joiner.refused(KEY, SystemStamp::from_nanos(100), &error, bench.at(0)).unwrap();
    bench.report([scheduled(101)]);
    bench.joiner.queue_overflowed();
    let outcome = bench.take(0).unwrap();
    assert_eq!(outcome.result, TxResult::Refused { kind: error.kind(), errno: Some(libc::ENOBUFS) });
    assert_eq!(stamps(outcome), [Some(101), None, None]);
    assert_eq!(outcome.after, None);
    // What comes later is not that of the next frame, which need not wait for a quarantine.
    bench.sent(110, 0);
    bench.report([software(102), software(111)]);
    assert_eq!(bench.take(0).map(stamps), Some([None, Some(111), None]));
    assert_eq!(bench.joiner.strays(), StrayStamps { late: 1, ..StrayStamps::default() });
}

#[test]
fn an_older_frames_hardware_stamp_makes_that_of_the_newer_ambiguous() {
    let hw = Timestamping::TX_SOFTWARE | Timestamping::TX_HARDWARE;
    // The first lacks its hardware stamp at 1000 ms: what comes until 16 s may be its.
    for (reused, quarantined) in [(1000, true), (15_999, true), (16_000, false)] {
        let mut bench = Bench::new(hw);
        bench.sent(100, 0);
        bench.report([software(101)]);
        assert_eq!(bench.result(1000), SKIPPED);
        bench.sent(200, reused);
        bench.report([hardware(3), software(201)]);
        let outcome = bench.take(reused).unwrap();
        if quarantined {
            assert_eq!(outcome.result, TxResult::Missing(MissingReason::Ambiguous));
            assert_eq!(stamps(outcome), [None, Some(201), None]);
        } else {
            assert_eq!(outcome.result, TxResult::Complete);
        }
        assert_eq!(bench.joiner.strays().ambiguous, u64::from(quarantined));
    }
}

#[test]
fn a_newer_frame_that_the_card_skipped_is_not_ambiguous() {
    let mut bench = Bench::new(Timestamping::TX_SOFTWARE | Timestamping::TX_HARDWARE);
    for millis in [0, 1000] {
        bench.sent(100, millis);
        bench.report([software(101)]);
        assert_eq!(bench.result(millis + 1000), SKIPPED);
    }
}

/// A frame without a software stamp may sit in a queue, and be stamped there when the newer one was sent already.
#[test]
fn a_frame_that_may_be_queued_owes_all_its_stamps() {
    let mut bench = Bench::new(Timestamping::TX_SCHEDULED | Timestamping::TX_SOFTWARE);
    bench.sent(100, 0);
    bench.report([scheduled(101)]);
    assert_eq!(bench.result(1000), missing(MissingReason::DeadlinePassed));
    bench.sent(200, 1000);
    bench.report([software(150), scheduled(201), software(202)]);
    let outcome = bench.take(1000).unwrap();
    assert_eq!(outcome.result, TxResult::Missing(MissingReason::Ambiguous));
    assert_eq!(stamps(outcome), [None; 3]);
    assert_eq!(bench.joiner.strays(), StrayStamps { late: 1, ambiguous: 2, ..StrayStamps::default() });
}

#[test]
fn a_rejected_frames_stamps_are_nobodys() {
    let mut bench = Bench::new(Timestamping::TX_SOFTWARE | Timestamping::TX_HARDWARE);
    bench.joiner = TxJoiner::with_capacity(Timestamping::TX_SOFTWARE, 1);
    let at = SystemStamp::from_nanos(50);
    bench.sent(100, 0);
    assert_eq!(bench.joiner.admits(KEY), Err(Rejected::KeyInUse));
    assert_eq!(bench.joiner.sent(KEY, at, at, bench.at(0)), Err(Rejected::KeyInUse));
    bench.report([software(101)]);
    assert_eq!(bench.result(0), missing(MissingReason::Ambiguous));
    bench.sent(200, 1);
    bench.report([software(201)]);
    assert_eq!(bench.result(1), missing(MissingReason::Ambiguous), "one of the three stamps may still come");

    let other = TxKey::new(8);
    assert_eq!(bench.joiner.admits(other), Ok(()));
    bench.joiner.sent(other, at, at, bench.at(20_000)).unwrap();
    assert_eq!(bench.joiner.admits(KEY), Err(Rejected::Full));
    assert_eq!(bench.joiner.sent(KEY, at, at, bench.at(20_000)), Err(Rejected::Full));
    bench.joiner.finish();
    assert_eq!(bench.take(20_000).map(|outcome| outcome.key), Some(other));
    bench.sent(300, 20_000);
    bench.report([software(301)]);
    assert_eq!(bench.result(20_000), missing(MissingReason::Ambiguous));
}

#[test]
fn a_lost_stamp_does_not_hold_up_later_frames() {
    let mut bench = Bench::new(Timestamping::TX_SOFTWARE);
    let at = SystemStamp::from_nanos(100);
    for key in 0..=7 {
        bench.joiner.sent(TxKey::new(key), at, at, bench.at(u64::from(key))).unwrap();
    }
    bench.report([software(101)]);
    assert_eq!(bench.take(7).map(|outcome| outcome.key), Some(KEY));
    assert_eq!(bench.joiner.deadline(), Some(bench.at(1000)));
    for key in 0..7 {
        let millis = 1000 + u64::from(key);
        assert_eq!(bench.joiner.deadline(), Some(bench.at(millis)));
        assert_eq!(bench.take(millis - 1), None);
        assert_eq!(bench.take(millis).map(|outcome| outcome.key.value()), Some(key));
    }
    assert_eq!(bench.joiner.deadline(), None);
}

#[test]
fn time_does_not_run_backwards() {
    let mut bench = Bench::new(Timestamping::TX_SOFTWARE);
    let at = SystemStamp::from_nanos(100);
    bench.sent(100, 50);
    bench.joiner.sent(TxKey::new(8), at, at, bench.at(0)).unwrap();
    assert_eq!(bench.joiner.deadline(), Some(bench.at(1050)));
    assert!(bench.take(1050).is_some() && bench.take(0).is_some());
}

#[test]
fn no_timeout_waits_for_ever() {
    let mut bench = Bench::new(Timestamping::TX_SOFTWARE);
    bench.joiner = TxJoiner::new(Timestamping::TX_SOFTWARE).timeout(Duration::MAX).quarantine(Duration::MAX);
    bench.sent(100, 0);
    assert_eq!(bench.joiner.deadline(), None);
    assert_eq!(bench.take(u64::from(u32::MAX)), None);
    bench.joiner.finish();
    assert_eq!(bench.result(0), missing(MissingReason::Finished));
    bench.sent(200, u64::from(u32::MAX));
    bench.report([software(201)]);
    assert_eq!(bench.result(0), missing(MissingReason::Ambiguous));
}

#[test]
fn strays_by_their_reason() {
    let mut bench = Bench::new(Timestamping::TX_SOFTWARE);
    bench.report([software(1)]);
    assert_eq!(bench.joiner.strays(), StrayStamps { unknown: 1, ..StrayStamps::default() });
    bench.sent(100, 0);
    let mut empty = software(101);
    empty.timestamps = Timestamps::NONE;
    bench.report([TxStage::Acknowledged, TxStage::Completed, TxStage::Other(9)].map(|s| software_of(s, 101)));
    bench.report([empty]);
    assert_eq!(bench.joiner.strays(), StrayStamps { unknown: 1, ignored: 4, ..StrayStamps::default() });
    bench.report([software(101)]);
    assert_eq!(bench.result(0), Some(TxResult::Complete));
    bench.report([software(102), hardware(3)]);
    assert_eq!(bench.joiner.strays(), StrayStamps { unknown: 1, ignored: 4, late: 2, ..StrayStamps::default() });
}

#[test]
fn without_room_nothing_is_taken() {
    let mut joiner = TxJoiner::with_capacity(Timestamping::TX, 0);
    let (at, now) = (SystemStamp::from_nanos(1), Instant::now());
    assert_eq!(joiner.sent(KEY, at, at, now), Err(Rejected::Full));
    assert_eq!(joiner.take_outcome(now), None);
}
