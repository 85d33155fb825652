//! The joiner against the model's ledger.

use std::time::Duration;

use proptest::prelude::*;

use super::join::{Counts, Joiner, Settings};
use super::loss::Losses;
use super::model::{Ledger, Plan, Way, World};
use super::order::{Duplicates, Reordered};
use super::stamps::{Fate, Probe};

pub(super) const WORLD: World = World {
    first: (1 << 32) - 100,
    interval: 100,
    timeout: 10_000,
    numbers: true,
    counts: true,
    hardware: false,
    offset: 0,
};

/// What the joiner makes of a world.
fn join(world: &World, plans: &[Plan]) -> (Joiner, Vec<Probe>, Ledger) {
    let (told, ledger) = world.run(plans);
    let micros = |micros: i64| Duration::from_micros(micros.unsigned_abs());
    let settings = Settings::new(world.first, micros(world.interval), micros(world.timeout));
    // So that replies come to probes that are given up, too.
    let mut joiner = Joiner::new(Settings { grace: Duration::ZERO, ..settings });
    let mut probes = Vec::new();
    for (now, observation) in told {
        joiner.observe(observation, now, |probe| probes.push(probe));
        joiner.expire(now, |probe| probes.push(probe));
    }
    joiner.finish(|probe| probes.push(probe));
    (joiner, probes, ledger)
}

/// What must hold of every world.
fn check(world: &World, plans: &[Plan]) -> Ledger {
    let (joiner, probes, ledger) = join(world, plans);
    let seqs: Vec<u64> = probes.iter().map(|probe| probe.seq).collect();
    let all: Vec<u64> = (world.first..).take(plans.len()).collect();
    assert_eq!(seqs, all, "each once, and in order");
    let counts = joiner.counts();
    assert_eq!((counts.sent, counts.refused, counts.in_time), (ledger.sent, ledger.refused, ledger.in_time));
    assert_eq!((counts.late, counts.strays, counts.crowded_out), (ledger.late, 0, 0));
    let losses = joiner.losses();
    assert_eq!(losses.all, ledger.lost_forward + ledger.lost_backward);
    assert_eq!(losses.forward.unwrap_or(0) + losses.backward.unwrap_or(0) + losses.unknown, losses.all);
    assert_eq!(counts.sent, counts.in_time + counts.late + losses.all);
    let told_backward = probes.iter().filter(|probe| probe.fate == Fate::LostBackward).count() as u64;
    assert!(told_backward <= ledger.lost_backward + ledger.late, "some of these replies may only be late");
    assert_eq!(joiner.reordered().round_trip, ledger.reordered);
    let duplicates = joiner.duplicates();
    if world.counts {
        let (forward, backward) = (Some(ledger.lost_forward), Some(ledger.lost_backward));
        // A reflector that no probe reached has not said a word.
        if ledger.lost_forward < ledger.sent {
            assert_eq!(losses, Losses { all: losses.all, forward, backward, unknown: 0 });
        }
    }
    if world.counts && world.numbers && counts.in_time + counts.late > 0 {
        let (forward, backward) = (ledger.duplicates_forward, ledger.duplicates_backward);
        let expected = Duplicates { all: forward + backward, forward: Some(forward), backward: Some(backward) };
        assert_eq!(duplicates, expected);
        let (forward, backward) = (Some(ledger.reordered_forward), Some(ledger.reordered_backward));
        assert_eq!(joiner.reordered(), Reordered { round_trip: ledger.reordered, forward, backward });
    }
    if world.numbers && !world.counts {
        assert!(duplicates.backward.is_none_or(|backward| backward == ledger.duplicates_backward));
        assert!(duplicates.forward.is_none_or(|forward| forward <= ledger.duplicates_forward));
        let reordered = joiner.reordered();
        assert!(reordered.backward.is_none_or(|backward| backward == ledger.reordered_backward));
        // If the reply to one of two copies was lost, the other looks like the first.
        if ledger.duplicates_forward == 0 {
            assert!(reordered.forward.is_none_or(|forward| forward <= ledger.reordered_forward));
        }
        if ledger.duplicates_forward == 0 && ledger.reordered_forward == 0 {
            assert!(losses.backward.is_none_or(|backward| backward <= ledger.lost_backward));
            assert!(losses.forward.is_none_or(|forward| forward <= ledger.lost_forward));
        }
    }
    if !world.numbers && !world.counts {
        assert_eq!((losses.forward, losses.backward), (None, None));
        assert_eq!((duplicates.forward, duplicates.backward), (None, None));
        assert_eq!((joiner.reordered().forward, joiner.reordered().backward), (None, None));
    }
    ledger
}

fn way() -> impl Strategy<Value = Way> {
    // Up to a few intervals as a rule; sometimes as long as the timeout and longer.
    let delay = prop_oneof![8 => 20_i64..150, 3 => 20_i64..900, 1 => 20_i64..12_000];
    (prop::bool::weighted(0.15), delay.clone(), prop::option::weighted(0.15, delay))
        .prop_map(|(lost, delay, copy)| Way { lost, delay, copy })
}

fn plan() -> impl Strategy<Value = Plan> {
    let rarely = prop::bool::weighted(0.05);
    (rarely, 1_i64..3_000, way(), 0_i64..30, way(), way()).prop_map(
        |(refused, stamped_after, forward, residence, backward, copy_backward)| Plan {
            refused,
            stamped_after,
            forward,
            residence,
            backward,
            copy_backward,
        },
    )
}

proptest! {
    #[test]
    fn every_count_is_the_ledgers(
        plans in prop::collection::vec(plan(), 1..200),
        numbers: bool,
        counts: bool,
    ) {
        check(&World { numbers, counts, ..WORLD }, &plans);
    }
}

/// A plan that is the same on every run, and different for every probe.
pub(super) fn planned(probe: u64) -> Plan {
    let mix = |salt: u64| {
        let mut x = (probe << 8 | salt).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (x ^ (x >> 27)) >> 16
    };
    let signed = |number: u64| i64::try_from(number).unwrap();
    let way = |salt: u64| Way {
        lost: mix(salt).is_multiple_of(150),
        // One of 100 is overtaken by some others.
        delay: 50 + signed(mix(salt + 1) % 40) + if mix(salt + 2).is_multiple_of(100) { 320 } else { 0 },
        copy: mix(salt + 3).is_multiple_of(500).then_some(130 + signed(mix(salt + 4) % 500)),
    };
    Plan {
        refused: mix(0).is_multiple_of(5_000),
        stamped_after: 10 + signed(mix(1) % 200),
        forward: way(10),
        residence: 5,
        backward: way(20),
        copy_backward: way(30),
    }
}

#[test]
fn who_falls_behind_loses_nothing() {
    // Everything is observed a minute after it came.
    let plans: Vec<Plan> = (0..500).map(planned).collect();
    let (told, ledger) = WORLD.run(&plans);
    let settings = Settings::new(WORLD.first, Duration::from_micros(100), Duration::from_millis(10));
    let mut joiner = Joiner::new(settings);
    let late = told.last().unwrap().0 + Duration::from_secs(60);
    for (_, observation) in told {
        joiner.observe(observation, late, |_| {});
    }
    joiner.expire(late + Duration::from_secs(1), |_| {});
    assert_eq!((joiner.under_way(), joiner.counts().crowded_out), (0, 0));
    let Counts { sent, in_time, late, .. } = joiner.counts();
    assert_eq!((sent, in_time, late), (ledger.sent, ledger.in_time, ledger.late));
}

#[test]
fn no_more_than_has_a_place_is_kept() {
    // Nothing comes back for a long time, and nothing is told of how the first probe was sent.
    let plans: Vec<Plan> = (0..50_000)
        .map(|probe| {
            let plan = planned(probe);
            let outage = (10_000..40_000).contains(&probe);
            let stamped_after = if probe == 0 { 4_000_000 } else { plan.stamped_after };
            Plan { stamped_after, backward: Way { lost: outage || plan.backward.lost, ..plan.backward }, ..plan }
        })
        .collect();
    let (told, _) = WORLD.run(&plans);
    let settings =
        Settings { capacity: 500, ..Settings::new(WORLD.first, Duration::from_micros(100), Duration::from_secs(1)) };
    let mut joiner = Joiner::new(settings);
    let room = joiner.room();
    let mut last = None;
    for (now, observation) in told {
        joiner.observe(observation, now, |probe| assert!(last.replace(probe.seq) < Some(probe.seq)));
        assert!(joiner.under_way() <= 500);
    }
    joiner.finish(|probe| assert!(last.replace(probe.seq) < Some(probe.seq)));
    assert_eq!(joiner.room(), room, "nothing was allocated");
    let counts = joiner.counts();
    assert!(counts.crowded_out > 0, "{counts:?}");
    assert_eq!(counts.sent, counts.in_time + counts.late + joiner.losses().all);
}

#[test]
fn a_hundred_thousand_over_the_end_of_the_numbers() {
    let plans: Vec<Plan> = (0..100_000).map(planned).collect();
    let world = World { first: (1 << 32) - 50_000, ..WORLD };
    let ledger = check(&world, &plans);
    let rare = [ledger.lost_forward, ledger.lost_backward, ledger.duplicates_forward, ledger.duplicates_backward];
    assert!(rare.iter().all(|&count| count > 150), "the world is rough enough: {rare:?}");
    assert!(ledger.reordered_forward > 500 && ledger.reordered_backward > 500);
}

#[test]
fn nothing_but_loss_needs_no_counts_from_the_reflector() {
    let only_loss = |probe| {
        let Plan { forward, backward, .. } = planned(probe);
        let calm = |way: Way| Way { delay: 50, copy: None, ..way };
        Plan { refused: false, forward: calm(forward), backward: calm(backward), ..planned(probe) }
    };
    let mut plans: Vec<Plan> = (0..10_000).map(only_loss).collect();
    for end in [0, 9_999] {
        plans[end].forward.lost = false;
        plans[end].backward.lost = false;
    }
    let (joiner, _, ledger) = join(&World { counts: false, ..WORLD }, &plans);
    let Losses { all, forward, backward, unknown } = joiner.losses();
    assert_eq!((forward, backward, unknown), (Some(ledger.lost_forward), Some(ledger.lost_backward), 0));
    assert!(all > 100);
}
