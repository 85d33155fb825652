//! Probes leave at their times as well as a timer allows.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds something else than it expects shall panic"
)]

mod common;

use std::thread;
use std::time::{Duration, Instant};

use common::two_way::{end, measure, median, reflect};
use common::{number, two_hosts, with_privileges};
use nix::sys::prctl::set_timerslack;

const INTERVAL: Duration = Duration::from_millis(1);
const COUNT: u32 = 1_000;

/// How late a thread is that does nothing but sleep until each time: the 99th percentile, in nanoseconds.
fn bare_timer() -> i64 {
    set_timerslack(1).unwrap();
    let start = Instant::now();
    let mut late: Vec<i64> = (1..=COUNT)
        .map(|round| {
            let due = start + INTERVAL * round;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            due.elapsed().as_nanos().try_into().unwrap()
        })
        .collect();
    late.sort_unstable();
    late[late.len() * 99 / 100]
}

/// A bare timer runs beside each measurement, on the same machine at the same time. What else this machine does is borne by
/// both, now by the one and now by the other: the median of several rounds counts.
#[test]
fn probes_are_late_by_little_more_than_a_timer() {
    with_privileges("probes_are_late_by_little_more_than_a_timer", &["ip"], || {
        const ROUNDS: usize = 7;
        let [near, far] = &two_hosts();
        let reflector = reflect(far, "");
        let line = format!("--reflector {} --count {COUNT} --interval 1ms --summary-only", far.ipv4);
        let rounds: Vec<[i64; 2]> = (0..ROUNDS)
            .map(|_| {
                thread::scope(|scope| {
                    let beside = scope.spawn(bare_timer);
                    let (_, summary) = measure(near, &line, |_| ());
                    [number(&summary["send_error_ns"], "p99"), beside.join().unwrap()]
                })
            })
            .collect();
        end(reflector);
        let percent = median(rounds.iter().map(|[probes, timer]| probes * 100 / timer));
        eprintln!("99th percentiles of probes and of a bare timer, in nanoseconds: {rounds:?}: {percent} %");
        assert!(percent <= 300, "{percent} % of a bare timer's: {rounds:?}");
    });
}
