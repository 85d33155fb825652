//! What afprobe reports of a way on which a relay loses, doubles, reorders and delays, against the relay's ledger.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds something else than it expects shall panic"
)]

mod common;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::process::{Ended, Process};
use common::relay::{Deed, Ledger, Plan, Stretch, Way, two_hosts_apart};
use common::{Host, afprobe, number, two_hosts, with_privileges};
use nix::sys::signal::Signal;
use serde_json::Value;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Scale {
    probes: u32,
    interval: &'static str,
    /// One in so many of what happens to 100,000 probes.
    part: usize,
}

const FULL: Scale = Scale { probes: 100_000, interval: "500us", part: 1 };
/// Where sockets have room for little, and a process that is kept from running for a while loses frames.
const SMALL: Scale = Scale { probes: 20_000, interval: "1ms", part: 5 };

fn reflect(host: &Host) -> Process {
    let mut reflector = host.spawn(&mut afprobe("reflect --iface-name eth1 --format json"));
    reflector.wait_until("readiness", |reflector| !reflector.stdout().is_empty());
    reflector
}

/// A measurement; its summary.
fn measure(host: &Host, arguments: &str) -> Value {
    let ended = host.run(&mut afprobe(&format!("run --format json --summary-only {arguments}")));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    summary(&ended)
}

fn summary(ended: &Ended) -> Value {
    let last = ended.stdout.lines().last().unwrap();
    let summary: Value = serde_json::from_str(last).unwrap();
    assert_eq!(summary["event"], "summary");
    summary
}

fn numbers<const N: usize>(value: &Value, keys: [&str; N]) -> [i64; N] {
    keys.map(|key| number(value, key))
}

/// Chooses probes, none next to another, so that what is done to one does not touch what is done to another.
struct Lots(Vec<u32>);

impl Lots {
    /// The last few are left alone: what is to be sent behind the next one needs a next one.
    fn new(probes: u32) -> Self {
        let mut free: Vec<u32> = (1..probes / 8 - 1).map(|place| 8 * place).collect();
        let mut state = 0x9372_e759_c7b5_aa73_u64;
        for last in (1..free.len()).rev() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let other = state % (u64::try_from(last).unwrap() + 1);
            free.swap(last, usize::try_from(other).unwrap());
        }
        Self(free)
    }

    fn draw(&mut self, count: usize, deed: Deed) -> impl Iterator<Item = (u32, Deed)> + use<> {
        self.0.split_off(self.0.len() - count).into_iter().map(move |number| (number, deed))
    }
}

/// What is true of a way, by its ledger alone.
#[derive(Debug, PartialEq, Eq)]
struct Truth {
    lost: i64,
    duplicates: i64,
    reordered: i64,
}

impl Truth {
    fn of(ledger: &Ledger) -> Self {
        let sent: HashSet<u32> = ledger.sent.iter().copied().collect();
        let received: HashSet<u32> = ledger.received.iter().copied().collect();
        // RFC 4737, section 4.1.1: one with a number less than the next that was expected. Copies do not count.
        let (mut seen, mut expected, mut reordered) = (HashSet::new(), 0, 0);
        for &number in ledger.sent.iter().filter(|number| seen.insert(**number)) {
            if number < expected {
                reordered += 1;
            }
            expected = expected.max(number + 1);
        }
        let count = |count: usize| i64::try_from(count).unwrap();
        Self {
            lost: count(received.difference(&sent).count()),
            duplicates: count(ledger.sent.len() - sent.len()),
            reordered,
        }
    }
}

#[test]
fn every_number_is_the_ledgers() {
    with_privileges("every_number_is_the_ledgers", &["ip"], || {
        let stretch = two_hosts_apart();
        let scale = if stretch.has_room() { FULL } else { SMALL };
        // Where frames were dropped for want of room, the relay's ledger is not all that happened.
        let is_whole = (0..3).any(|_| lose_double_and_reorder(&stretch, scale));
        assert!(is_whole, "this machine is too slow: frames are dropped each time");
    });
}

/// `false`: it does not count.
fn lose_double_and_reorder(stretch: &Stretch, Scale { probes, interval, part }: Scale) -> bool {
    let mut lots = Lots::new(probes);
    let mut deeds = |[lose, double, reorder]: [usize; 3]| -> HashMap<u32, Deed> {
        let lost = lots.draw(lose / part, Deed::Lose);
        let doubled = lots.draw(double / part, Deed::Duplicate);
        lost.chain(doubled).chain(lots.draw(reorder / part, Deed::LetPass)).collect()
    };
    let (forward, backward) = (deeds([1_000, 120, 180]), deeds([500, 80, 120]));
    let plan: Plan = Arc::new(move |way, number| {
        let deeds = if way == Way::Forward { &forward } else { &backward };
        deeds.get(&number).copied().unwrap_or(Deed::Pass)
    });
    let [near, far] = &stretch.hosts;
    let relay = stretch.relay(&plan);
    let reflector = reflect(far);
    let summary_here =
        measure(near, &format!("--reflector {} --count {probes} --interval {interval} --timeout 3s", far.ipv4));
    let there = summary(&reflector.interrupt());
    let [forward, backward] = relay.end();
    let dropped = [forward.dropped, backward.dropped, number(&there, "drops").unsigned_abs()];
    if dropped != [0; 3] {
        eprintln!("dropped for want of room by the relay, there and back, and by the reflector: {dropped:?}");
        return false;
    }
    let truths = [&forward, &backward].map(Truth::of);
    let part = i64::try_from(part).unwrap();
    let planned = [[1_000, 120, 180], [500, 80, 120]].map(|[lost, duplicates, reordered]| Truth {
        lost: lost / part,
        duplicates: duplicates / part,
        reordered: reordered / part,
    });
    assert_eq!(truths, planned, "the relay did as it was told");

    let probes = i64::from(probes);
    let lost = truths[0].lost + truths[1].lost;
    let counts = ["sent", "received", "lost", "late", "refused", "unasked", "crowded_out", "foreign"];
    assert_eq!(numbers(&summary_here, counts), [probes, probes - lost, lost, 0, 0, 0, 0, 0], "{summary_here}");
    for (way, truth) in ["forward", "backward"].iter().zip(&truths) {
        let told = ["lost", "duplicates", "reordered"].map(|what| number(&summary_here, &format!("{what}_{way}")));
        let Truth { lost, duplicates, reordered } = *truth;
        assert_eq!(told, [lost, duplicates, reordered], "{way}: {summary_here}");
    }
    assert_eq!(number(&summary_here, "lost_unknown"), 0);
    let [answered, questions] = numbers(&there, ["answered", "questions"]);
    assert_eq!(answered - questions, probes - truths[0].lost + truths[0].duplicates, "{there}");
    true
}

/// The one in the middle, in nanoseconds.
fn median(times: &[Duration]) -> i64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2].as_nanos().try_into().unwrap()
}

#[test]
fn a_delay_on_one_way_is_seen_on_that_way_alone() {
    with_privileges("a_delay_on_one_way_is_seen_on_that_way_alone", &["ip"], || {
        const DELAY: Duration = Duration::from_millis(5);
        let stretch = two_hosts_apart();
        let [near, far] = &stretch.hosts;
        let reflector = reflect(far);
        for delayed in [None, Some(Way::Forward), Some(Way::Backward)] {
            let plan: Plan = Arc::new(move |way, _| if delayed == Some(way) { Deed::Delay(DELAY) } else { Deed::Pass });
            let relay = stretch.relay(&plan);
            let summary = measure(near, &format!("--reflector {} --count 300 --interval 3ms", far.ipv4));
            let ledgers = relay.end();
            for (way, key, ledger) in
                [(Way::Forward, "forward_ns", &ledgers[0]), (Way::Backward, "backward_ns", &ledgers[1])]
            {
                let (told, true_time) = (number(&summary[key], "p50"), median(&ledger.held));
                // What comes to the relay's own time are two virtual cables.
                assert!((0..50_000).contains(&(told - true_time)), "{delayed:?} {key}: {told}, {true_time}");
                let is_delayed = true_time >= i64::try_from(DELAY.as_nanos()).unwrap();
                assert_eq!(is_delayed, delayed == Some(way), "{delayed:?} {key}: {true_time}");
            }
        }
        reflector.interrupt();
    });
}

#[test]
fn a_reflector_that_is_held_up_is_no_part_of_the_network() {
    with_privileges("a_reflector_that_is_held_up_is_no_part_of_the_network", &["ip"], || {
        const HELD: Duration = Duration::from_millis(20);
        let [near, far] = &two_hosts();
        let reflector = reflect(far);
        let arguments = format!("--reflector {} --count 400 --interval 2ms", far.ipv4);
        let before = measure(near, &arguments);
        let prober = near.spawn(&mut afprobe(&format!("run --format json {arguments}")));
        let mut prober = prober;
        while !prober.has_ended() {
            reflector.signal(Signal::SIGSTOP);
            thread::sleep(HELD);
            reflector.signal(Signal::SIGCONT);
            thread::sleep(HELD);
        }
        let held = summary(&prober.end());
        assert_eq!(numbers(&held, ["sent", "received"]), [400, 400], "{held}");
        let [net_before, net_held] = [&before, &held].map(|summary| number(&summary["rtt_net_ns"], "p50"));
        let round_trip = number(&held["rtt_ns"], "p90");
        assert!(round_trip > 10_000_000, "it was held up: {held}");
        assert!((net_held - net_before).abs() < 100_000, "{net_before} and then {net_held}");
        let wake_up = number(&held["breakdown"]["reflector_software_to_user_ns"], "p90");
        assert!(wake_up > 10_000_000, "this is where: {held}");
        reflector.interrupt();
    });
}
