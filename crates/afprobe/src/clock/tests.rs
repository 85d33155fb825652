//! Two hosts whose clocks are known at every moment, and a path between them.

use std::collections::HashMap;
use std::time::Duration;

use fast_afpacket::{MonotonicStamp, SystemStamp};
use proptest::prelude::*;

use super::*;

const SECOND: i64 = 1_000_000_000;
const MILLI: i64 = 1_000_000;
const MICRO: i64 = 1_000;
/// Of `Assumptions::DEFAULT`, in parts per billion.
const RATE_LIMIT: i64 = 1_000_000;
const WANDER: i64 = 10_000;

/// Clocks in billionths of a nanosecond, so that a rate in parts per billion is exact.
struct World {
    time: i64,
    own: i128,
    reflectors: i128,
    own_ppb: i64,
    reflectors_ppb: i64,
    /// The offset in billionths of a nanosecond, when the sender's clock showed this.
    truth: HashMap<i64, i128>,
}

/// One probe, and what it meets: times in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Probe {
    pause: i64,
    forward: i64,
    held: i64,
    backward: i64,
    /// Changes of the rates, in parts per billion.
    own_ppb: i64,
    reflectors_ppb: i64,
}

impl World {
    fn new(offset: i64) -> Self {
        let now = 1_700_000_000 * i128::from(SECOND);
        Self {
            time: 5 * SECOND,
            own: now * 1_000_000_000,
            reflectors: (now + i128::from(offset)) * 1_000_000_000,
            own_ppb: 0,
            reflectors_ppb: 0,
            truth: HashMap::new(),
        }
    }

    fn advance(&mut self, nanos: i64) {
        self.time += nanos;
        self.own += i128::from(nanos) * i128::from(1_000_000_000 + self.own_ppb);
        self.reflectors += i128::from(nanos) * i128::from(1_000_000_000 + self.reflectors_ppb);
    }

    fn own(&mut self) -> SystemStamp {
        let nanos = i64::try_from(self.own.div_euclid(1_000_000_000)).unwrap();
        self.truth.insert(nanos, self.reflectors - self.own);
        SystemStamp::from_nanos(nanos)
    }

    fn reflectors(&self) -> SystemStamp {
        SystemStamp::from_nanos(i64::try_from(self.reflectors.div_euclid(1_000_000_000)).unwrap())
    }

    fn reading(&self) -> Reading {
        Reading {
            system: SystemStamp::from_nanos(i64::try_from(self.own.div_euclid(1_000_000_000)).unwrap()),
            monotonic: MonotonicStamp::from_nanos(self.time),
            width: Duration::from_nanos(100),
        }
    }

    fn send(&mut self, probe: Probe) -> Exchange {
        self.advance(probe.pause);
        let t1 = self.own();
        self.advance(probe.forward);
        let t2 = self.reflectors();
        self.advance(probe.held);
        let t3 = self.reflectors();
        self.advance(probe.backward);
        let t4 = self.own();
        Exchange { t1, t2, t3, t4, uncertainty: Duration::ZERO }
    }

    /// Whether the truth is where the estimate says.
    fn check(&self, estimate: &Estimate) {
        let truth = self.truth[&estimate.at.as_nanos()];
        let offset = Span { low: estimate.offset.low * 1_000_000_000, high: estimate.offset.high * 1_000_000_000 };
        assert!(offset.low <= truth && truth <= offset.high, "{truth}: {estimate:?}");
        let middle = i128::from(estimate.offset_ns()) * 1_000_000_000;
        let bound = i128::try_from(estimate.bound().as_nanos()).unwrap() * 1_000_000_000;
        assert!((truth - middle).abs() <= bound, "{truth}: {estimate:?}");
        if let Some(drift) = estimate.drift {
            let passed = i128::from(estimate.at.nanos_since(estimate.since));
            let mean = (truth - self.truth[&estimate.since.as_nanos()]).div_euclid(passed);
            assert!((mean - i128::from(drift.ppb)).abs() <= i128::from(drift.bound_ppb), "{mean}: {estimate:?}");
        }
    }
}

/// A path with its shortest times, and queues on it.
fn probes(longest_pause: i64) -> impl Strategy<Value = Vec<Probe>> {
    let shortest = (10 * MICRO..10 * MILLI, 10 * MICRO..10 * MILLI);
    (shortest, 1..200_usize, -450_000..=450_000_i64, -450_000..=450_000_i64).prop_flat_map(
        move |((forward, backward), count, own_ppb, reflectors_ppb)| {
            // Both may change by just less than half of the wander, to and fro.
            let wander = (-WANDER / 5..=WANDER / 5, -WANDER / 5..=WANDER / 5);
            let queue = prop_oneof![Just(0), 0..50 * MICRO, 0..20 * MILLI];
            let pause = prop_oneof![0..MILLI, 0..100 * MILLI, 0..longest_pause];
            let probe = (pause, queue.clone(), queue, 0..30 * MILLI, wander);
            let made = move |(pause, there, back, held, (own_change, reflectors_change))| Probe {
                pause,
                forward: forward + there,
                held,
                backward: backward + back,
                own_ppb: own_ppb + own_change,
                reflectors_ppb: reflectors_ppb + reflectors_change,
            };
            proptest::collection::vec(probe.prop_map(made), count)
        },
    )
}

fn at_rates_of(world: &mut World, probe: &Probe) {
    (world.own_ppb, world.reflectors_ppb) = (probe.own_ppb, probe.reflectors_ppb);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn the_truth_is_always_within_the_bound(
        probes in probes(20 * SECOND),
        offset in -SECOND..SECOND,
        lost in proptest::collection::vec(any::<bool>(), 200),
        overtaken in proptest::collection::vec(0..4_usize, 200),
    ) {
        let mut world = World::new(offset);
        let mut clocks = Clocks::new(false);
        let mut waiting: Vec<Exchange> = Vec::new();
        for ((probe, lost), overtaken) in probes.iter().zip(lost).zip(overtaken) {
            at_rates_of(&mut world, probe);
            let exchange = world.send(*probe);
            if lost {
                continue;
            }
            // Those that wait are taken later than others that came after them.
            waiting.push(exchange);
            if overtaken > 0 {
                for exchange in waiting.drain(..).rev() {
                    prop_assert_eq!(clocks.take(&exchange, world.reading()), []);
                    world.check(&clocks.estimate().unwrap());
                }
            }
        }
        prop_assert_eq!(clocks.counts(), Counts::default());
    }

    #[test]
    fn a_step_of_the_reflectors_clock_begins_anew(
        probes in probes(SECOND),
        stepped_at in 1..200_usize,
        step in prop_oneof![100 * MILLI..1_000 * SECOND, -1_000 * SECOND..-100 * MILLI],
    ) {
        let mut world = World::new(0);
        let mut clocks = Clocks::new(false);
        for (number, probe) in probes.iter().enumerate() {
            at_rates_of(&mut world, probe);
            let is_stepped = number == stepped_at;
            if is_stepped {
                world.reflectors += i128::from(step) * 1_000_000_000;
            }
            let exchange = world.send(*probe);
            let events = clocks.take(&exchange, world.reading());
            let estimate = clocks.estimate().unwrap();
            world.check(&estimate);
            prop_assert!(number < stepped_at || estimate.since >= exchange.t1 || number > stepped_at);
            match events.as_slice() {
                [] => prop_assert!(!is_stepped),
                [ClockEvent::Reflectors { by: Some(by) }] => {
                    prop_assert!(is_stepped && by.low <= step.into() && by.high >= step.into(), "{:?}", by);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        let expected = Counts { reflectors: u64::from(stepped_at < probes.len()), ..Counts::default() };
        prop_assert_eq!(clocks.counts(), expected);
    }

    #[test]
    fn a_step_of_the_own_clock_is_told_from_it(
        probes in probes(SECOND),
        stepped_at in 1..200_usize,
        step in prop_oneof![3 * MILLI..1_000 * SECOND, -1_000 * SECOND..-3 * MILLI],
    ) {
        let mut world = World::new(0);
        let mut clocks = Clocks::new(false);
        // Looked at every now and then, as it is done.
        clocks.look(world.reading());
        for (number, probe) in probes.iter().enumerate() {
            at_rates_of(&mut world, probe);
            let is_stepped = number == stepped_at;
            let before = is_stepped.then(|| world.truth.clone());
            let mut exchange = world.send(*probe);
            if is_stepped {
                // While the reply was under way.
                world.own += i128::from(step) * 1_000_000_000;
                world.truth = before.unwrap();
                exchange.t4 = world.own();
            }
            let events = clocks.take(&exchange, world.reading());
            match events.as_slice() {
                [] => prop_assert!(!is_stepped),
                [ClockEvent::Own(Disturbance::Stepped { by })] => {
                    // The time between two looks, at the rate at which the clock may run.
                    let off = by.abs_diff(step);
                    prop_assert!(is_stepped && off < 1_100 * MICRO.unsigned_abs(), "{} {}", by, step);
                    prop_assert_eq!(clocks.estimate(), None, "the exchange has the step in it");
                }
                other => prop_assert!(false, "{:?}", other),
            }
            if let Some(estimate) = clocks.estimate() {
                world.check(&estimate);
            }
        }
        let expected = Counts { own: u64::from(stepped_at < probes.len()), ..Counts::default() };
        prop_assert_eq!(clocks.counts(), expected);
    }
}

/// A symmetric path of this length, probed every 10 ms.
fn symmetric(way: i64) -> Probe {
    Probe { pause: 10 * MILLI, forward: way, held: 20 * MICRO, backward: way, own_ppb: 0, reflectors_ppb: 0 }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap()
}

#[test]
fn the_bound_is_half_the_least_round_trip() {
    for (way, ppb) in [(50 * MICRO, 0), (50 * MICRO, 80_000), (5 * MILLI, -80_000), (3 * MICRO, 1_000)] {
        let mut world = World::new(-123_456_789);
        world.reflectors_ppb = ppb;
        let mut clocks = Clocks::new(false);
        for _ in 0..1_000 {
            let exchange = world.send(symmetric(way));
            assert_eq!(clocks.take(&exchange, world.reading()), []);
            let estimate = clocks.estimate().unwrap();
            world.check(&estimate);
            // The resolution of the stamps, and what the rate limit leaves open while the probe is away: a thousandth.
            let slack = 4 + (4 * way + 20 * MICRO) * RATE_LIMIT / SECOND;
            assert!(nanos(estimate.bound()) <= way + slack, "{way} {ppb}: {estimate:?}");
        }
        let estimate = clocks.estimate().unwrap();
        let truth = world.truth[&estimate.at.as_nanos()] / 1_000_000_000;
        // On a symmetric path the middle is the truth, but for what the drift is not known to be while a probe is away.
        let off = truth.abs_diff(estimate.offset_ns().into());
        assert!(off <= 10 + u128::from(way.unsigned_abs()) / 1_000, "{truth}: {estimate:?}");
        let drift = estimate.drift.unwrap();
        // A round trip over the time from the first exchange to the last.
        let passed = estimate.at.nanos_since(estimate.since);
        let expected = (2 * way * MILLI / (passed / MICRO)).unsigned_abs();
        assert!((expected..400 + expected * 5 / 4).contains(&drift.bound_ppb), "{expected}: {drift:?}");
    }
}

#[test]
fn one_fast_round_trip_in_a_hundred_is_enough() {
    let mut world = World::new(77);
    world.reflectors_ppb = 20_000;
    let mut clocks = Clocks::new(false);
    let mut widest = 0;
    for number in 0..6_000 {
        let probe = symmetric(if number % 100 == 0 { 50 * MICRO } else { 4 * MILLI + number % 7 * 100 * MICRO });
        let exchange = world.send(probe);
        assert_eq!(clocks.take(&exchange, world.reading()), []);
        let estimate = clocks.estimate().unwrap();
        world.check(&estimate);
        if number > 1_000 {
            widest = widest.max(nanos(estimate.bound()));
        }
    }
    // Half the least round trip, and in the 1.9 s to the next fast one the wander, and what is open of the rate. The
    // others say 4 ms.
    let limit = 50 * MICRO + 19 * WANDER / 10 + 11 * MICRO;
    assert!((50 * MICRO..limit).contains(&widest), "{widest}");
}

/// What is certain of the rate is told by fast round trips; then it changes as much as it may, and only slow ones follow.
/// Nearly all of their time is on one way, so that the truth is at one end of what they leave.
#[test]
fn the_rate_may_change_as_assumed() {
    for (forward, backward) in [(MICRO, 5 * MILLI), (5 * MILLI, MICRO)] {
        for change in [WANDER - 10, 10 - WANDER] {
            let mut world = World::new(0);
            world.reflectors_ppb = 30_000;
            let mut clocks = Clocks::new(false);
            for number in 0..3_000 {
                let fast = symmetric(MICRO);
                let probe = if number < 1_000 { fast } else { Probe { forward, backward, ..fast } };
                if number == 1_000 {
                    world.reflectors_ppb += change;
                }
                let exchange = world.send(probe);
                assert_eq!(clocks.take(&exchange, world.reading()), [], "{number}");
                world.check(&clocks.estimate().unwrap());
            }
        }
    }
}

#[test]
fn an_exchange_from_before_the_window_says_nothing() {
    let mut world = World::new(0);
    let mut clocks = Clocks::new(false);
    let late = world.send(symmetric(50 * MICRO));
    for second in 0..300 {
        // 9 ppm within a window, 44 in all.
        world.reflectors_ppb = second / 30 * 4_400;
        world.advance(SECOND);
        let exchange = world.send(symmetric(50 * MICRO));
        assert_eq!(clocks.take(&exchange, world.reading()), []);
        world.check(&clocks.estimate().unwrap());
    }
    let before = clocks.estimate();
    assert_eq!(clocks.take(&late, world.reading()), []);
    assert_eq!(clocks.estimate(), before);
}

#[test]
fn a_guest_that_is_a_quarter_of_a_second_off_is_found() {
    let (there, back) = (180 * MICRO, 120 * MICRO);
    let mut world = World::new(250 * MILLI);
    (world.own_ppb, world.reflectors_ppb) = (3_000, -11_000);
    let mut clocks = Clocks::new(false);
    for number in 0..50 {
        let queue = number % 5 * 30 * MICRO;
        let probe = Probe { forward: there + queue, backward: back, ..symmetric(0) };
        let exchange = world.send(probe);
        assert_eq!(clocks.take(&exchange, world.reading()), []);
    }
    let estimate = clocks.estimate().unwrap();
    world.check(&estimate);
    let off = estimate.offset_ns() - 250 * MILLI;
    assert!(off.abs() < (there + back) / 2, "{estimate:?}");
    let judgement = clocks.judge();
    assert!(judgement.one_way_bound.unwrap() > Duration::from_millis(249), "{judgement:?}");
}

#[test]
fn the_reflector_can_say_that_its_clock_was_stepped() {
    let mut world = World::new(0);
    let mut clocks = Clocks::new(false);
    let take = |world: &mut World, clocks: &mut Clocks| {
        let exchange = world.send(symmetric(50 * MICRO));
        clocks.take(&exchange, world.reading())
    };
    assert_eq!(clocks.reflector(None, Some(3)), None, "before the measurement");
    take(&mut world, &mut clocks);
    assert_eq!(clocks.reflector(None, None), None);
    assert_eq!(clocks.reflector(None, Some(3)), None);
    assert!(clocks.estimate().is_some());
    // By less than half a round trip: nothing that is measured shows it.
    world.reflectors += i128::from(20 * MICRO) * 1_000_000_000;
    assert_eq!(clocks.reflector(None, Some(4)), Some(ClockEvent::ReflectorSaysSo));
    assert_eq!(clocks.estimate(), None);
    assert_eq!(take(&mut world, &mut clocks), []);
    world.check(&clocks.estimate().unwrap());
    assert_eq!(clocks.counts(), Counts { reflectors: 1, ..Counts::default() });
}

/// As `chronyd` may do it: 8 %, for two seconds.
#[test]
fn a_clock_that_is_slewed_fast_is_not_told_of_at_each_look() {
    let mut world = World::new(0);
    let mut clocks = Clocks::new(false);
    clocks.look(world.reading());
    world.own_ppb = 80_000_000;
    let mut told = Vec::new();
    for _ in 0..100 {
        world.advance(20 * MILLI);
        told.extend(clocks.look(world.reading()));
    }
    assert_eq!((told.len(), clocks.counts().own), (2, 100));
}

#[test]
fn stamps_that_cannot_be_are_counted() {
    let mut clocks = Clocks::new(false);
    let mut world = World::new(0);
    world.advance(SECOND);
    let [t1, t2, t3, t4] =
        [0, 50, 900, 100].map(|after| SystemStamp::from_nanos(world.own().as_nanos() - 1_000 + after));
    let exchange = Exchange { t1, t2, t3, t4, uncertainty: Duration::ZERO };
    assert_eq!(clocks.take(&exchange, world.reading()), []);
    assert_eq!((clocks.estimate(), clocks.counts().impossible), (None, 1));
}
