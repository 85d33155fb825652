//! What becomes of frames on a card with one place for a hardware stamp.

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use fast_afpacket::{Timestamping, TxKey, TxOutcome, TxPacing, TxResult, TxTracker};

use crate::card::{bind, interface, options, sync, with_events_on};

crate::tests! {
    without_hardware_stamps_none_are_expected;
    a_burst_is_stamped_or_skipped;
    a_paced_sender_skips_none;
    each_of_many_sends_has_one_outcome;
}

fn without_hardware_stamps_none_are_expected() {
    crate::card::set_by_hand(crate::card::OFF);
    let socket = bind(options());
    let tracker = TxTracker::new(&socket).unwrap();
    assert_eq!(tracker.expected(), Timestamping::TX_SCHEDULED | Timestamping::TX_SOFTWARE);
}

/// Sends so many frames back to back, as fast as the pacing lets them go.
fn burst(pacing: TxPacing, count: u32) -> Vec<TxOutcome> {
    let _on = with_events_on();
    let socket = bind(options());
    let tracker = TxTracker::new(&socket).unwrap().pacing(pacing).timeout(Duration::from_secs(3));
    assert_eq!(tracker.expected(), Timestamping::TX);
    for number in 0..count {
        tracker.send(&sync(number), TxKey::new(number)).unwrap();
    }
    let mut outcomes: Vec<_> = (0..count).map(|_| tracker.outcome().unwrap()).collect();
    assert!(tracker.is_empty());
    outcomes.sort_by_key(|outcome| outcome.key.value());
    for (number, outcome) in (0..).zip(&outcomes) {
        assert_eq!(outcome.key, TxKey::new(number));
        let software = [Some(outcome.before), outcome.scheduled, outcome.software];
        assert!(software.iter().all(Option::is_some) && software.is_sorted(), "{outcome:?}");
    }
    outcomes
}

fn count(outcomes: &[TxOutcome], result: TxResult) -> usize {
    outcomes.iter().filter(|outcome| outcome.result == result).count()
}

fn a_burst_is_stamped_or_skipped() {
    for pacing in [TxPacing::Unpaced, TxPacing::Queue] {
        let skipped_before = skipped_by_driver();
        // On the processor that sends, the driver's worker that frees the card's place has to wait.
        schedule("-f", "1");
        let outcomes = burst(pacing, 20);
        schedule("-o", "0");
        let (complete, skipped) = (count(&outcomes, TxResult::Complete), count(&outcomes, TxResult::HardwareSkipped));
        println!("{pacing:?}: {complete} stamped, {skipped} skipped");
        assert_eq!(complete + skipped, 20);
        assert!(complete >= 1 && skipped >= 1, "one place, twenty frames");
        assert_eq!(skipped_by_driver() - skipped_before, skipped as u64, "the driver counts the same");
    }
}

/// Has this thread run before all others on its processor, or like all others.
fn schedule(policy: &str, priority: &str) {
    let thread = nix::unistd::gettid().to_string();
    let status = Command::new("chrt").args([policy, "-p", priority, &thread]).status().expect("chrt of util-linux");
    assert!(status.success());
}

/// What igb says that it skipped.
fn skipped_by_driver() -> u64 {
    let output = Command::new("ethtool").args(["-S", &interface().name()]).output().expect("ethtool");
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("tx_hwtstamp_skipped: ")).expect("igb's counter");
    line.parse().unwrap()
}

fn a_paced_sender_skips_none() {
    let outcomes = burst(TxPacing::hardware(), 50);
    assert_eq!(count(&outcomes, TxResult::Complete), 50);
    assert!(outcomes.is_sorted_by_key(|outcome| outcome.hardware));
}

/// 2000 sends with refusals and link flaps among them.
fn each_of_many_sends_has_one_outcome() {
    const COUNT: u32 = 2_000;
    let _on = with_events_on();
    let socket = bind(options());
    let tracker = TxTracker::new(&socket).unwrap().timeout(Duration::from_secs(2));
    let ip = |state: &str| {
        let status = Command::new("ip").args(["link", "set", &interface().name(), state]).status().expect("ip");
        assert!(status.success());
    };
    let mut outcomes: HashMap<TxKey, TxOutcome> = HashMap::new();
    let mut take = |outcome: TxOutcome| assert_eq!(outcomes.insert(outcome.key, outcome), None);
    for number in 0..COUNT {
        if [500, 1200].contains(&number) {
            ip("down");
        }
        if [520, 1220].contains(&number) {
            ip("up");
        }
        let mut frame = sync(number);
        if number % 10 == 3 {
            frame.resize(1515 + number as usize / 10 % 10, 0);
        }
        let _ = tracker.send(&frame, TxKey::new(number));
        while let Some(outcome) = tracker.try_outcome().unwrap() {
            take(outcome);
        }
    }
    while !tracker.is_empty() {
        take(tracker.outcome().unwrap());
    }
    let mut counts: HashMap<String, u32> = HashMap::new();
    let (mut hardware, mut previous) = (Vec::new(), None);
    for number in 0..COUNT {
        let outcome = outcomes[&TxKey::new(number)];
        *counts.entry(format!("{:?}", outcome.result)).or_default() += 1;
        match outcome.result {
            TxResult::Complete | TxResult::HardwareSkipped => {
                let software = [previous, outcome.scheduled, outcome.software];
                assert!(software.is_sorted(), "{outcome:?}");
                // Another frame's stamps would be in another frame's time.
                assert!(outcome.before <= outcome.scheduled.unwrap(), "{outcome:?}");
                previous = outcome.scheduled;
                hardware.extend(outcome.hardware);
            }
            TxResult::Refused { .. } => assert!(number % 10 == 3 || (500..520).contains(&(number % 700)), "{number}"),
            TxResult::Missing(_) => assert!(outcome.software.is_none() || outcome.hardware.is_none()),
            other => panic!("{other:?}"),
        }
    }
    println!("{counts:?}, {:?}, unattributed {}", tracker.strays(), socket.stats().unwrap().unattributed);
    assert_eq!(outcomes.len(), COUNT as usize);
    assert!(hardware.is_sorted(), "each with its own frame");
    assert!(hardware.len() > 100, "{counts:?}");
    assert_eq!(tracker.strays().unknown, 0);
    wait_for_carrier();
}

/// For the tests that come after: the link needs seconds.
fn wait_for_carrier() {
    use fast_afpacket::InterfaceFlags;
    for _ in 0..200 {
        if interface().flags().unwrap().contains(InterfaceFlags::RUNNING) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("no carrier");
}
