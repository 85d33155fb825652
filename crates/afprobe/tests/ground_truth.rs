//! What afprobe reports of a way on which a relay loses, delays, doubles and reorders, against the relay's ledger.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds something else than it expects shall panic"
)]

mod common;

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use common::process::Process;
use common::relay::Stretch;
use common::relay::ledger::{Ledger, Truth};
use common::relay::plan::{Deed, Plan, Way};
use common::two_way::{Measuring, end, measure, median, reflect};
use common::{afprobe, eventually, number, two_hosts, with_privileges};
use fast_afpacket::SystemStamp;
use nix::sys::signal::Signal;
use serde_json::Value;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Scale {
    probes: u32,
    interval: Duration,
    /// One in so many of what happens to 100,000 probes.
    part: usize,
}

const FULL: Scale = Scale { probes: 100_000, interval: Duration::from_micros(400), part: 1 };
/// Where each probe is told of, or sockets have room for little.
const SMALL: Scale = Scale { probes: 10_000, interval: Duration::from_millis(1), part: 10 };

/// On the way there and on the way back, of 100,000 probes.
const PLANNED: [Truth; 2] =
    [Truth { lost: 1_000, duplicates: 120, reordered: 180 }, Truth { lost: 500, duplicates: 80, reordered: 120 }];

/// Draws what is done to which probes. No reply is lost of a probe that is lost, or that is answered twice; apart from
/// that everything may come together.
fn draw(probes: u32, [there, back]: [Truth; 2]) -> Plan {
    // What lets the next one pass needs a next one.
    let mut lots: Vec<u32> = (0..probes - 16).collect();
    fastrand::Rng::with_seed(0x9372_e759_c7b5_aa73).shuffle(&mut lots);
    let mut take = |count: usize| lots.split_off(lots.len() - count);
    let (lost, doubled) = (take(there.lost), take(there.duplicates));
    let plan = Plan::default()
        .doing(Way::Forward, Deed::Lose, lost)
        .doing(Way::Forward, Deed::Duplicate, doubled)
        .doing(Way::Backward, Deed::Lose, take(back.lost))
        .doing(Way::Backward, Deed::Duplicate, take(back.duplicates));
    let let_pass = take(there.reordered);
    // One in two of them is reordered both ways.
    let both = let_pass[..back.reordered / 2].to_vec();
    let others = take(back.reordered - both.len());
    plan.doing(Way::Forward, Deed::LetPass, let_pass).doing(
        Way::Backward,
        Deed::LetPass,
        both.into_iter().chain(others),
    )
}

#[test]
fn every_number_is_the_ledgers() {
    with_privileges("every_number_is_the_ledgers", &["ip"], || {
        let stretch = Stretch::new();
        let scale = if stretch.has_room() { FULL } else { SMALL };
        relay_and_compare(&stretch, scale, "--summary-only", check_counts);
    });
}

/// Not only how many: which.
#[test]
fn every_lost_probe_is_the_ledgers() {
    with_privileges("every_lost_probe_is_the_ledgers", &["ip"], || {
        relay_and_compare(&Stretch::new(), SMALL, "", |ledgers, here, fates| {
            check_counts(ledgers, here, fates);
            check_fates(ledgers, here, fates);
        });
    });
}

/// What has been measured, and what became of each probe that was told of.
fn relay_and_compare(stretch: &Stretch, scale: Scale, arguments: &str, check: fn(&[Ledger; 2], &Value, &[String])) {
    let Scale { probes, interval, part } = scale;
    let planned = PLANNED.map(|Truth { lost, duplicates, reordered }| Truth {
        lost: lost / part,
        duplicates: duplicates / part,
        reordered: reordered / part,
    });
    let [near, far] = &stretch.hosts;
    // On a machine that keeps a program from running for seconds a socket overflows, and the relay's ledger is not all that
    // happened. Then it is tried again, at half the pace.
    let is_whole = [1, 2, 4].into_iter().any(|factor| {
        let interval = (interval * factor).as_micros();
        let line =
            format!("--reflector {} --count {probes} --interval {interval}us --timeout 3s {arguments}", far.ipv4);
        let relay = stretch.relay(&draw(probes, planned));
        let reflector = reflect(far, "");
        let (fates, here) = measure(near, &line, |probe| probe["outcome"].as_str().unwrap().to_owned());
        let there = end(reflector);
        let ledgers = relay.end();
        if count(&there, "drops") + count(&here, "late") > 0 {
            eprintln!("this machine was too slow: {here} {there}");
            return false;
        }
        check_nothing_else_was_lost(&ledgers, &here, &there);
        assert_eq!(ledgers.each_ref().map(Ledger::truth), planned, "the relay did as it was told");
        assert_eq!(count(&here, "sent"), usize::try_from(probes).unwrap());
        check(&ledgers, &here, &fates);
        true
    });
    assert!(is_whole, "this machine was too slow each time: see above");
}

fn check_counts(ledgers: &[Ledger; 2], here: &Value, _: &[String]) {
    let truths = ledgers.each_ref().map(Ledger::truth);
    let [all, lost] = [ledgers[0].arrivals.len(), truths[0].lost + truths[1].lost];
    let counts = ["sent", "received", "lost", "late", "refused", "unasked", "crowded_out", "foreign", "lost_unknown"];
    assert_eq!(numbers(here, counts), [all, all - lost, lost, 0, 0, 0, 0, 0, 0], "{here}");
    for (way, truth) in ["forward", "backward"].iter().zip(truths) {
        let told = ["lost", "duplicates", "reordered"].map(|what| count(here, &format!("{what}_{way}")));
        assert_eq!(told, [truth.lost, truth.duplicates, truth.reordered], "{way}: {here}");
    }
    let both = [truths[0].duplicates + truths[1].duplicates, overtaken_round_trips(&ledgers[1])];
    assert_eq!(numbers(here, ["duplicates", "reordered"]), both, "{here}");
}

fn check_fates(ledgers: &[Ledger; 2], here: &Value, fates: &[String]) {
    let [lost_there, lost_back] = ledgers.each_ref().map(Ledger::lost);
    assert_eq!(fates.len(), count(here, "sent"));
    for (seq, fate) in (0..).zip(fates) {
        let is_lost = lost_there.contains(&seq) || lost_back.contains(&seq);
        match fate.as_str() {
            "answered" => assert!(!is_lost, "{seq}"),
            "lost" => assert!(is_lost, "{seq}"),
            // What the reflector tells later of a reply that did not come.
            "lost_backward" => assert!(lost_back.contains(&seq), "{seq}"),
            other => panic!("{seq}: {other}"),
        }
    }
}

/// Everything that was lost, the relay lost: what left the one came to the other.
fn check_nothing_else_was_lost([forward, backward]: &[Ledger; 2], here: &Value, there: &Value) {
    assert_eq!(count(here, "sent"), forward.arrivals.len(), "between the sender and the relay frames were lost");
    let answered = count(there, "answered") - count(there, "questions");
    assert_eq!(answered, forward.departures.len(), "between the relay and the reflector frames were lost: {there}");
    assert_eq!(answered, backward.arrivals.len(), "between the reflector and the relay frames were lost: {there}");
}

/// Probes whose first reply came after that to a later probe.
fn overtaken_round_trips(backward: &Ledger) -> usize {
    let (mut answered, mut highest) = (HashSet::new(), 0);
    let first =
        backward.departures.iter().map(|departure| departure.packet.probe).filter(|probe| answered.insert(*probe));
    first
        .filter(|&probe| {
            let is_overtaken = probe < highest;
            highest = highest.max(probe);
            is_overtaken
        })
        .count()
}

fn count(value: &Value, key: &str) -> usize {
    number(value, key).try_into().unwrap()
}

fn numbers<const N: usize>(value: &Value, keys: [&str; N]) -> [usize; N] {
    keys.map(|key| count(value, key))
}

/// One-way times of a probe, in nanoseconds.
type Ways = [i64; 2];

/// Delays are what the relay's ledger says that they were, by the kernel's stamps, which are on the same clock as the hosts'.
#[test]
fn a_delay_on_one_way_is_seen_on_that_way_alone() {
    with_privileges("a_delay_on_one_way_is_seen_on_that_way_alone", &["ip"], || {
        const DELAY: Duration = Duration::from_millis(5);
        /// How far a median may be from the truth.
        const TOLERANCE: i64 = 50_000;
        let stretch = Stretch::new();
        let [near, far] = &stretch.hosts;
        let reflector = reflect(far, "");
        let line = format!("--reflector {} --count 500 --interval 2ms", far.ipv4);
        let mut undelayed: Option<Ways> = None;
        for delayed in [None, Some(Way::Forward), Some(Way::Backward)] {
            let plan = delayed.map_or(Plan::default(), |way| Plan::default().delaying(way, DELAY)).stamped();
            let relay = stretch.relay(&plan);
            let read = |probe: &Value| ["forward_ns", "backward_ns"].map(|key| number(probe, key));
            let (probes, summary) = measure(near, &line, read);
            let held = relay.end().each_ref().map(Ledger::held);
            assert_eq!(probes.len(), 500);
            // To each probe's delay two cables are added, and nothing is taken away.
            let added = [0, 1].map(|way| {
                let truth = |seq| held[way][&seq];
                let added: Vec<i64> =
                    (0..).zip(&probes).map(|(seq, told): (u32, &Ways)| told[way] - truth(seq)).collect();
                assert!(added.iter().all(|&nanos| nanos >= 0), "{delayed:?} {way}: faster than it was");
                median(added)
            });
            assert!(added.iter().all(|&nanos| nanos < TOLERANCE), "{delayed:?}: {added:?}");
            let medians = held.map(|held| median(held.into_values()));
            let told = ["forward_ns", "backward_ns"].map(|key| number(&summary[key], "p50"));
            for (way, at) in [(Way::Forward, 0), (Way::Backward, 1)] {
                let difference = told[at] - medians[at];
                assert!(difference.abs() < TOLERANCE, "{way:?}, {delayed:?} delayed: {told:?} {medians:?}");
                let is_delayed = delayed == Some(way);
                assert!(!is_delayed || medians[at] >= i64::try_from(DELAY.as_nanos()).unwrap(), "{medians:?}");
            }
            // Beside the run without a delay: what is told differs by what the ledgers differ by.
            let beyond = [told[0] - medians[0], told[1] - medians[1]];
            let before = *undelayed.get_or_insert(beyond);
            assert!((0..2).all(|way| (beyond[way] - before[way]).abs() < TOLERANCE), "{beyond:?}, {before:?} without");
            eprintln!("{delayed:?} delayed: told {told:?}, by the ledgers {medians:?}");
        }
        end(reflector);
    });
}

/// A probe that came to the reflector: when, and its times.
struct Held {
    at_reflector: i64,
    round_trip: i64,
    net: i64,
}

#[test]
fn a_reflector_that_is_held_up_is_no_part_of_the_network() {
    with_privileges("a_reflector_that_is_held_up_is_no_part_of_the_network", &["ip"], || {
        const HELD: Duration = Duration::from_millis(20);
        let [near, far] = &two_hosts();
        let reflector = reflect(far, "");
        let line = format!("run --format json --reflector {} --count 1500 --interval 1ms", far.ipv4);
        let read = |probe: &Value| Held {
            at_reflector: number(&probe["t2"], "software_ns"),
            round_trip: number(probe, "rtt_ns"),
            net: number(probe, "rtt_net_ns"),
        };
        let mut measuring = Measuring::start(near, &mut afprobe(&line), read);
        eventually("the first probes", || measuring.told() > 0);
        let mut holds = Vec::new();
        while !measuring.process.has_ended() {
            reflector.signal(Signal::SIGSTOP);
            eventually("a reflector that stands still", || is_stopped(&reflector));
            let from = SystemStamp::now();
            thread::sleep(HELD);
            let to = SystemStamp::now();
            reflector.signal(Signal::SIGCONT);
            thread::sleep(HELD);
            holds.push([from, to].map(SystemStamp::as_nanos));
        }
        let (probes, summary) = measuring.end();
        end(reflector);
        assert_eq!(numbers(&summary, ["sent", "received"]), [1_500, 1_500], "{summary}");

        // How long a probe had to wait at least; 0 for one that came while the reflector ran.
        let wait = |probe: &Held| {
            let hold = holds.iter().find(|[from, to]| (*from..*to).contains(&probe.at_reflector));
            hold.map_or(0, |[_, to]| to - probe.at_reflector)
        };
        let (held, free): (Vec<&Held>, Vec<&Held>) = probes.iter().partition(|probe| wait(probe) > 0);
        assert!(held.len() >= 100 && free.len() >= 100, "{} held, {} not", held.len(), free.len());
        assert!(held.iter().all(|probe| probe.round_trip - probe.net >= wait(probe)), "it waited longer");
        let longest = held.iter().map(|probe| probe.round_trip).max().unwrap();
        assert!(longest >= 15_000_000, "{longest}: some came at the beginning of a hold");
        let [with, without] = [&held, &free].map(|probes| median(probes.iter().map(|probe| probe.net)));
        assert!((with - without).abs() < 100_000, "without the reflector: {with} if it was held up, {without} if not");
        let plain = [&held, &free].map(|probes| median(probes.iter().map(|probe| probe.round_trip)));
        eprintln!("round trips, held up and not: {plain:?}; without the reflector {with} and {without}");
    });
}

/// Whether none of its threads runs.
fn is_stopped(process: &Process) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", process.pid())).unwrap();
    tasks.flatten().all(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    })
}
