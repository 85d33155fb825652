//! Figures against the model's ledger.

use std::time::Duration;

use super::clocks::{ClockJudgement, Doubt, Validity};
use super::figures::{Missing, Summary, Unusable};
use super::join::Settings;
use super::join_tests::{WORLD, planned};
use super::model::{Ledger, Plan, STEPS, Way, World};
use super::stamps::{Fate, Header, Observation, Stamps};
use super::times::{Basis, Kind};
use super::{Finished, TwoWay};
use crate::stats::Figures;

const ONE_CLOCK: ClockJudgement = ClockJudgement {
    offset_ns: Some(0),
    bound_ns: Some(0),
    drift_ppb: None,
    synchronised: Some(true),
    one_way_bound_ns: Some(0),
    reasons: Vec::new(),
};

/// What is said at the end of what happens in a world. `change` may take away something of what is told.
fn measure_with(
    world: &World,
    plans: &[Plan],
    clocks: ClockJudgement,
    mut change: impl FnMut(&mut Observation),
) -> (Summary, Vec<Finished>, Ledger) {
    let (told, ledger) = world.run(plans);
    let micros = |micros: i64| Duration::from_micros(micros.unsigned_abs());
    let settings = Settings::new(world.first, micros(world.interval), micros(world.timeout));
    let mut two_way = TwoWay::new(settings, Header { ttl: None, dscp: Some(0), ecn: Some(0) });
    two_way.set_clocks(clocks);
    let mut finished = Vec::new();
    for (now, mut observation) in told {
        change(&mut observation);
        two_way.observe(observation, now, |probe| finished.push(*probe));
        two_way.expire(now, |probe| finished.push(*probe));
    }
    two_way.finish(|probe| finished.push(*probe));
    (two_way.summary(Unusable::default()), finished, ledger)
}

fn measure(world: &World, plans: &[Plan]) -> (Summary, Vec<Finished>, Ledger) {
    measure_with(world, plans, ONE_CLOCK, |_| {})
}

/// Figures must be those of exactly these times.
fn assert_figures(figures: Option<Figures>, times: &[i64]) {
    let mut times = times.to_vec();
    times.sort_unstable();
    let Figures { count, min, p50, p90, p99, p999, max } = figures.unwrap();
    assert_eq!((count, min, max), (times.len() as u64, times[0], times[times.len() - 1]));
    for (quantile, permille) in [(p50, 500), (p90, 900), (p99, 990), (p999, 999)] {
        let exact = times[(times.len() * permille).div_ceil(1_000) - 1];
        assert!((quantile - exact).abs() <= exact.abs() / 1_000, "{quantile} is not {exact} of {permille} permille");
    }
}

#[test]
fn all_figures_are_the_ledgers() {
    let plans: Vec<Plan> = (0..20_000).map(planned).collect();
    for (hardware, kind) in [(false, Kind::Software), (true, Kind::Hardware)] {
        let world = World { hardware, offset: -30_000, ..WORLD };
        let (summary, _, ledger) = measure(&world, &plans);
        assert_eq!(summary.basis, Some(Basis { sender: kind, reflector: Some(kind) }));
        assert_figures(summary.round_trip, &ledger.round_trip);
        assert_figures(summary.net, &ledger.net);
        assert_figures(Some(summary.forward.unwrap().figures), &ledger.forward);
        assert_figures(Some(summary.backward.unwrap().figures), &ledger.backward);
        assert_figures(summary.variation_forward, &ledger.variation_forward);
        assert!(summary.forward.unwrap().figures.p50 < -29_000_000, "a negative time is negative");
        assert_eq!((summary.off_basis, summary.counts.in_time), (0, ledger.in_time));
        let bound = if hardware { Duration::from_nanos(80) } else { Duration::ZERO };
        assert_eq!(summary.forward.unwrap().bound, bound);
        let late_by_5_us = [5_000; 100];
        assert_figures(summary.send_error, &late_by_5_us.repeat(plans.len() / 100));
    }
}

#[test]
fn a_delay_on_one_way_is_on_that_way() {
    let plans: Vec<Plan> = (0..2_000).map(planned).collect();
    let slower: Vec<Plan> = plans
        .iter()
        .map(|plan| Plan { forward: Way { delay: plan.forward.delay + 5_000, ..plan.forward }, ..*plan })
        .collect();
    let medians = |plans| {
        let (summary, ..) = measure(&World { interval: 10_000, timeout: 1_000_000, ..WORLD }, plans);
        let OneWays { forward, backward } = one_ways(&summary);
        (forward.p50, backward.p50)
    };
    let ((forward, backward), (forward_slower, backward_slower)) = (medians(&plans), medians(&slower));
    assert!((forward_slower - forward - 5_000_000).abs() < 10_000, "{forward} {forward_slower}");
    assert_eq!(backward, backward_slower);
}

struct OneWays {
    forward: Figures,
    backward: Figures,
}

fn one_ways(summary: &Summary) -> OneWays {
    OneWays { forward: summary.forward.unwrap().figures, backward: summary.backward.unwrap().figures }
}

#[test]
fn time_in_the_reflector_is_not_in_the_net_round_trip() {
    let calm = Way { lost: false, delay: 50, copy: None };
    let plan = |residence| Plan {
        refused: false,
        stamped_after: 10,
        forward: calm,
        residence,
        backward: calm,
        copy_backward: calm,
    };
    let world = World { interval: 100_000, timeout: 1_000_000, offset: 250_000, ..WORLD };
    let figures = |residence| {
        let (summary, finished, _) = measure(&world, &[plan(residence); 100]);
        let parts = summary.breakdown.stretches.iter();
        let in_program = parts.map(|taken| taken.figures.p50).max().unwrap();
        assert_eq!(finished.len(), 100);
        (summary.round_trip.unwrap().p50, summary.net.unwrap(), in_program, summary.breakdown.wires.unwrap().p50)
    };
    let ((quick, quick_net, ..), (held, held_net, in_program, wires)) = (figures(5), figures(20_000));
    assert!((held - quick - 19_995_000).abs() < 20_000);
    assert_eq!(quick_net, held_net);
    let [queue, driver, _] = STEPS;
    assert_eq!(wires, 100_000 - 4 * (queue + driver));
    assert!(in_program > 200_000_000, "the clock that is ahead is in the way there");
}

#[test]
fn a_clock_that_is_off_spoils_one_way_times_only() {
    let plans: Vec<Plan> = (0..2_000).map(planned).collect();
    let off = ClockJudgement {
        offset_ns: Some(250_000_000),
        one_way_bound_ns: Some(250_060_000),
        synchronised: Some(false),
        ..ONE_CLOCK
    };
    let (right, ..) = measure(&WORLD, &plans);
    let (wrong, finished, _) = measure_with(&World { offset: 250_000, ..WORLD }, &plans, off, |_| {});
    assert_eq!(right.forward.unwrap().validity, Validity::Valid);
    let invalid = Validity::Invalid(Doubt::Exceeds { bound_ns: 250_060_000 });
    assert_eq!(wrong.forward.unwrap().validity, invalid);
    assert_eq!(wrong.backward.unwrap().validity, invalid);
    assert_eq!(wrong.round_trip, right.round_trip);
    assert_eq!(wrong.net, right.net);
    assert_eq!(wrong.variation_forward, right.variation_forward);
    assert_eq!(wrong.variation_backward, right.variation_backward);
    let answered = finished.iter().filter(|finished| finished.probe.fate == Fate::Answered);
    answered.for_each(|finished| assert_eq!(finished.backward, Some(invalid)));
    let (unknown, ..) = measure_with(&WORLD, &plans, ClockJudgement::default(), |_| {});
    assert_eq!(unknown.forward.unwrap().validity, Validity::Invalid(Doubt::Unknown));
}

#[test]
fn clocks_that_are_better_now_were_worse_before() {
    let plans: Vec<Plan> = (0..2_000).map(planned).collect();
    let (told, _) = WORLD.run(&plans);
    let half = told.len() / 2;
    for (better_from, is_valid) in [(half - half / 4, true), (half + half / 4, false)] {
        let settings = Settings::new(WORLD.first, Duration::from_micros(100), Duration::from_millis(10));
        let mut two_way = TwoWay::new(Settings { grace: Duration::ZERO, ..settings }, Header::default());
        let mut judgements = Vec::new();
        for (place, (now, observation)) in told.iter().enumerate() {
            if place == better_from {
                two_way.set_clocks(ONE_CLOCK);
            }
            two_way.observe(*observation, *now, |finished| judgements.extend(finished.forward));
            two_way.expire(*now, |finished| judgements.extend(finished.forward));
        }
        two_way.finish(|finished| judgements.extend(finished.forward));
        let forward = two_way.summary(Unusable::default()).forward.unwrap();
        let unknown = Validity::Invalid(Doubt::Unknown);
        assert_eq!(forward.validity, if is_valid { Validity::Valid } else { unknown });
        let doubtful = judgements.iter().filter(|&&judgement| judgement == unknown).count() as u64;
        assert!((1..forward.figures.count).contains(&doubtful));
        assert!(forward.doubtful <= doubtful, "late ones are in no figures");
    }
}

#[test]
fn stamps_that_are_missing_are_counted_where_they_are() {
    let calm = Way { lost: false, delay: 50, copy: None };
    let plan =
        Plan { refused: false, stamped_after: 10, forward: calm, residence: 5, backward: calm, copy_backward: calm };
    let mut told = 0;
    let (summary, ..) = measure_with(&WORLD, &[plan; 40], ONE_CLOCK, |observation| {
        told += 1;
        match observation {
            Observation::Sent { seq, t1, .. } if seq.is_multiple_of(4) => t1.scheduled = None,
            Observation::Reply(reply) if reply.seq.is_multiple_of(8) => reply.t2.software = None,
            Observation::Reply(reply) if reply.seq.is_multiple_of(20) => reply.t4 = Stamps::NONE,
            _ => {}
        }
    });
    assert!(told > 80);
    let [t1, t2, t3, t4] = summary.missing.by_point();
    assert_eq!(t1, Missing { scheduled: Some(10), software: Some(0), hardware: None });
    assert_eq!(t2, Missing { scheduled: None, software: Some(5), hardware: None });
    assert_eq!(t3, Missing { scheduled: Some(0), software: Some(0), hardware: None });
    assert!(t4.software.is_some_and(|missing| missing > 0));
    assert_eq!(summary.missing.all(), 15 + t4.software.unwrap());
    // Five are without T2, and at each end as many without T4: they have no times on the basis of the others.
    assert_eq!(summary.basis, Some(Basis { sender: Kind::Software, reflector: Some(Kind::Software) }));
    assert_eq!(summary.off_basis, 5 + t4.software.unwrap());
}

#[test]
fn a_changed_header_is_counted_by_direction() {
    let calm = Way { lost: false, delay: 50, copy: None };
    let plan =
        Plan { refused: false, stamped_after: 10, forward: calm, residence: 5, backward: calm, copy_backward: calm };
    let (summary, ..) = measure_with(&WORLD, &[plan; 10], ONE_CLOCK, |observation| {
        if let Observation::Reply(reply) = observation {
            let (forward, backward) = match reply.seq % 5 {
                // Congestion there: the reply begins without it.
                0 => (3, 2),
                // And back.
                1 => (3, 3),
                2 => (0, 3),
                _ => (0, 0),
            };
            reply.forward = Header { ttl: Some(63), dscp: None, ecn: Some(forward) };
            reply.backward = Header { ttl: Some(63), dscp: Some(46), ecn: Some(backward) };
        }
    });
    let changes = summary.changes;
    assert_eq!((changes.dscp_forward, changes.dscp_backward), (None, Some(10)));
    assert_eq!((changes.ecn_forward, changes.ecn_backward), (Some(4), Some(4)));
    assert!(changes.any());
}

#[test]
fn nothing_was_answered() {
    let (summary, finished, ledger) = measure(&WORLD, &[]);
    assert_eq!((finished.len(), ledger.sent), (0, 0));
    assert_eq!((summary.basis, summary.round_trip, summary.forward, summary.send_error), (None, None, None, None));
    assert_eq!((summary.missing.all(), summary.changes.any()), (0, false));
}
