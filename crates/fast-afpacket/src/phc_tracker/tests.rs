//! A simulated machine with three clocks, whose truth is known at every moment.

use super::*;
use crate::clock::MonotonicStamp;
use crate::phc::CrossMethod;
use proptest::prelude::*;

const SECOND: i64 = 1_000_000_000;
const MILLI: i64 = 1_000_000;
/// The limits of `PhcTracker::new`, in parts per billion.
const RATE_LIMIT: i64 = 1_000_000;
const WANDER: i64 = 100_000;

/// Clocks in billionths of a nanosecond, so that a rate in parts per billion is exact.
struct World {
    time: i64,
    system: i128,
    hardware: i128,
    system_ppb: i64,
    hardware_ppb: i64,
}

/// What both clocks showed at one moment.
#[derive(Clone, Copy, Debug)]
struct Truth {
    hardware: HardwareStamp,
    system: SystemStamp,
}

impl World {
    /// The NIC shows TAI, as under a PTP daemon.
    fn new() -> Self {
        let now = 1_700_000_000 * i128::from(SECOND);
        let tai = now + 37 * i128::from(SECOND);
        Self {
            time: 5 * SECOND,
            system: now * 1_000_000_000,
            hardware: tai * 1_000_000_000,
            system_ppb: 0,
            hardware_ppb: 0,
        }
    }

    fn advance(&mut self, nanos: i64) {
        self.time += nanos;
        self.system += i128::from(nanos) * i128::from(1_000_000_000 + self.system_ppb);
        self.hardware += i128::from(nanos) * i128::from(1_000_000_000 + self.hardware_ppb);
    }

    fn step_hardware(&mut self, nanos: i64) {
        self.hardware += i128::from(nanos) * 1_000_000_000;
    }

    fn step_system(&mut self, nanos: i64) {
        self.system += i128::from(nanos) * 1_000_000_000;
    }

    fn now(&self) -> Truth {
        let nanos = |clock: i128| i64::try_from(clock.div_euclid(1_000_000_000)).unwrap();
        Truth {
            hardware: HardwareStamp::from_nanos(nanos(self.hardware)),
            system: SystemStamp::from_nanos(nanos(self.system)),
        }
    }

    /// Reads the clocks in the order of the library, with these pauses in between, in nanoseconds.
    fn sample(&mut self, pauses: [u16; 4]) -> CrossTimestamp {
        let [a, b, c, d] = pauses.map(i64::from);
        let start = MonotonicStamp::from_nanos(self.time);
        self.advance(a);
        let before = self.now().system;
        self.advance(b);
        let hardware = self.now().hardware;
        self.advance(c);
        let after = self.now().system;
        self.advance(d);
        let end = MonotonicStamp::from_nanos(self.time);
        CrossTimestamp::within(CrossMethod::Extended, hardware, [before, after], [start, end]).unwrap()
    }
}

fn holds(tracker: &PhcTracker, truth: Truth) -> Result<bool, TestCaseError> {
    let mut answered = false;
    if let Some(found) = tracker.to_system(truth.hardware) {
        let off = Duration::from_nanos(found.system.as_nanos().abs_diff(truth.system.as_nanos()));
        prop_assert!(off <= found.bound, "{truth:?}: {found:?} is off by {off:?}");
        answered = true;
    }
    if let Some(found) = tracker.to_hardware(truth.system) {
        let off = Duration::from_nanos(found.hardware.as_nanos().abs_diff(truth.hardware.as_nanos()));
        prop_assert!(off <= found.bound, "{truth:?}: {found:?} is off by {off:?}");
    }
    Ok(answered)
}

#[test]
fn nothing_before_the_first_sample() {
    let tracker = PhcTracker::new();
    assert_eq!(tracker.to_system(HardwareStamp::from_nanos(1)), None);
    assert_eq!(tracker.to_hardware(SystemStamp::from_nanos(1)), None);
}

#[test]
fn one_sample_is_bounded_by_the_rate_limit() {
    let (mut world, mut tracker) = (World::new(), PhcTracker::new());
    assert_eq!(tracker.feed(world.sample([100, 1_000, 1_000, 100])), Fed::First);
    world.system_ppb = -RATE_LIMIT / 2;
    world.hardware_ppb = RATE_LIMIT / 2 - 500;
    world.advance(SECOND);
    let found = tracker.to_system(world.now().hardware).unwrap();
    assert_eq!(found.basis, Basis::Extrapolated);
    assert!(found.bound >= Duration::from_millis(1) && found.bound < Duration::from_micros(1_005), "{found:?}");
    assert!(holds(&tracker, world.now()).unwrap());
}

/// A rate that changes by all of the wander in the middle is as far off as the bound, and not further.
#[test]
fn the_bound_is_not_wider_than_it_must_be() {
    let (mut world, mut tracker) = (World::new(), PhcTracker::new());
    tracker.feed(world.sample([0; 4]));
    world.advance(50 * MILLI);
    let truth = world.now();
    world.system_ppb += WANDER;
    world.advance(50 * MILLI);
    tracker.feed(world.sample([0; 4]));
    let found = tracker.to_system(truth.hardware).unwrap();
    let off = found.system.as_nanos().abs_diff(truth.system.as_nanos());
    assert!((2_498..=2_502).contains(&off), "{off}");
    assert!(holds(&tracker, truth).unwrap());
    assert!(found.bound < Duration::from_nanos(2_510), "{found:?}");
}

/// The NIC runs as fast, and as slow, as it may: the way back needs a little more than the way there.
#[test]
fn the_bound_holds_on_the_way_back() {
    for direction in [-1, 1] {
        let (mut world, mut tracker) = (World::new(), PhcTracker::new().with_rate_limit(Drift::from_ppm(100_000)));
        tracker.feed(world.sample([0; 4]));
        // The system clock at 1 +- 10 % of that of the NIC.
        world.hardware_ppb = if direction < 0 { 111_111_111 } else { -90_909_090 };
        world.advance(SECOND);
        let truth = world.now();
        let back = tracker.to_hardware(truth.system).unwrap();
        let off = back.hardware.as_nanos().abs_diff(truth.hardware.as_nanos());
        assert!(Duration::from_nanos(off) <= back.bound, "{back:?} is off by {off} ns");
        assert!(holds(&tracker, truth).unwrap());
    }
}

/// Samples of a day, without uncertainty, of clocks that nobody touches: exact.
#[test]
fn nanoseconds_over_days() {
    let mut world = World { system_ppb: -12_345, hardware_ppb: 33_333, ..World::new() };
    let mut tracker = PhcTracker::new().with_wander(Drift::from_ppb(0));
    tracker.feed(world.sample([0; 4]));
    let mut truths = Vec::new();
    for _ in 0..10 {
        world.advance(86_400 * SECOND / 2 + 17);
        truths.push(world.now());
        world.advance(86_400 * SECOND / 2 - 5);
        assert_eq!(tracker.feed(world.sample([0; 4])), Fed::Continued);
    }
    for truth in truths {
        let found = tracker.to_system(truth.hardware).unwrap();
        assert!(found.bound <= Duration::from_nanos(4), "{found:?}");
        assert!(holds(&tracker, truth).unwrap());
    }
}

/// What is asked of it on a real machine: 200 stamps, a sample each 100 ms, a step by 37 s, a slew by 50 ppm.
#[test]
fn stepped_and_slewed_by_another_process() {
    let (mut world, mut tracker) = (World::new(), PhcTracker::new());
    world.hardware_ppb = 8_000;
    let mut truths = Vec::new();
    let mut fed = vec![tracker.feed(world.sample([500, 2_000, 3_000, 500]))];
    for i in 0..200 {
        match i {
            77 => world.step_hardware(37 * SECOND),
            122 => world.hardware_ppb += 50_000,
            163 => world.hardware_ppb -= 50_000,
            _ => {}
        }
        world.advance(23 * MILLI);
        truths.push(world.now());
        if i % 4 == 3 {
            fed.push(tracker.feed(world.sample([500, 3_000, 2_000, 500])));
        }
    }
    let steps: Vec<_> = fed.iter().filter(|fed| **fed != Fed::Continued).collect();
    assert_eq!(steps, [&Fed::First, &Fed::Stepped(Stepped::Hardware)]);
    for truth in truths {
        assert!(holds(&tracker, truth).unwrap(), "{truth:?} has no answer");
        let found = tracker.to_system(truth.hardware).unwrap();
        if found.basis == Basis::Interpolated {
            assert!(found.bound < Duration::from_micros(6), "{found:?}");
        }
    }
    let last = world.now().hardware.as_nanos();
    let bounds = [0, 1, 10, 100].map(|seconds| {
        let stamp = HardwareStamp::from_nanos(last + seconds * SECOND);
        tracker.to_system(stamp).unwrap().bound
    });
    assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
}

#[test]
fn a_stamp_that_was_shown_twice_needs_a_hint() {
    let (mut world, mut tracker) = (World::new(), PhcTracker::new());
    let mut truths = Vec::new();
    for i in 0..40 {
        let fed = tracker.feed(world.sample([100, 1_000, 1_000, 100]));
        assert_eq!(fed == Fed::Stepped(Stepped::Hardware), i == 20, "{fed:?}");
        world.advance(50 * MILLI);
        truths.push(world.now());
        world.advance(50 * MILLI);
        if i == 19 {
            world.step_hardware(-SECOND);
        }
    }
    let unanswered = truths.iter().filter(|truth| tracker.to_system(truth.hardware).is_none()).count();
    assert!(unanswered >= 20, "{unanswered}");
    for truth in truths {
        assert!(
            tracker.to_hardware(truth.system).is_none_or(|found| found
                .hardware
                .as_nanos()
                .abs_diff(truth.hardware.as_nanos())
                < 10_000)
        );
        let about = SystemStamp::from_nanos(truth.system.as_nanos() + 30 * MILLI);
        let found = tracker.to_system_near(truth.hardware, about, Duration::from_millis(40)).unwrap();
        assert!(found.system.as_nanos().abs_diff(truth.system.as_nanos()) < 10_000, "{truth:?} {found:?}");
        let wrong = SystemStamp::from_nanos(truth.system.as_nanos() + 400 * SECOND);
        assert_eq!(tracker.to_system_near(truth.hardware, wrong, Duration::from_millis(40)), None);
    }
}

#[test]
fn a_step_of_the_system_clock_is_told_from_one_of_the_nic() {
    for step in [SECOND, -SECOND, 3_600 * SECOND, MILLI, -MILLI] {
        let (mut world, mut tracker) = (World::new(), PhcTracker::new());
        tracker.feed(world.sample([100, 1_000, 1_000, 100]));
        world.advance(100 * MILLI);
        tracker.feed(world.sample([100, 1_000, 1_000, 100]));
        world.advance(60 * MILLI);
        let (before, about) = (world.now(), world.now().system);
        world.step_system(step);
        world.advance(20 * MILLI);
        let after = world.now();
        world.advance(20 * MILLI);
        assert_eq!(tracker.feed(world.sample([100, 1_000, 1_000, 100])), Fed::Stepped(Stepped::System));
        for truth in [before, after] {
            assert_eq!(tracker.to_system(truth.hardware), None, "nobody knows on which side it was");
            assert_eq!(tracker.to_system_near(truth.hardware, about, Duration::from_secs(9)), None);
            holds(&tracker, truth).unwrap();
        }
        let beyond = HardwareStamp::from_nanos(before.hardware.as_nanos() - 100 * MILLI);
        assert!(tracker.to_system(beyond).is_some());
    }
}

/// Both clocks are set forward by the same amount: their difference does not show it, the third clock does.
#[test]
fn a_common_step_is_seen() {
    let (mut world, mut tracker) = (World::new(), PhcTracker::new());
    tracker.feed(world.sample([0; 4]));
    world.advance(100 * MILLI);
    world.step_system(SECOND);
    world.step_hardware(SECOND);
    assert_eq!(tracker.feed(world.sample([0; 4])), Fed::Stepped(Stepped::Both));
}

#[test]
fn samples_that_say_nothing_are_ignored() {
    let (mut world, mut tracker) = (World::new(), PhcTracker::new());
    let cross = world.sample([100, 1_000, 1_000, 100]);
    tracker.feed(cross);
    assert_eq!(tracker.feed(cross), Fed::Ignored, "the same again");
    world.advance(SECOND);
    let mut vague = world.sample([0; 4]);
    vague.uncertainty = Duration::from_millis(1_001);
    assert_eq!(tracker.feed(vague), Fed::Ignored);
    assert_eq!(tracker.samples.len(), 1);
}

#[test]
fn memory_is_bounded() {
    let (mut world, mut tracker) = (World::new(), PhcTracker::new());
    let capacity = tracker.samples.capacity();
    let oldest = world.now();
    for _ in 0..3 * KEPT {
        tracker.feed(world.sample([10; 4]));
        world.advance(MILLI);
    }
    assert_eq!((tracker.samples.len(), tracker.samples.capacity()), (KEPT, capacity));
    assert!(holds(&tracker, oldest).unwrap(), "of the same segment, though the samples are gone");
}

/// One gap between two samples: its length, where in it the rate changes and by how much of the wander, whose rate it
/// is, where stamps are taken, and the pauses of the sample at its end.
#[derive(Clone, Debug)]
struct Stretch {
    length: i64,
    change_at: i64,
    change: i64,
    of_system: bool,
    stamps: Vec<i64>,
    pauses: [u16; 4],
    /// On the system clock or that of the NIC, where in the gap, and by how much beyond what is needed to be seen.
    step: Option<(bool, i64, i64)>,
}

fn stretch(step: impl Strategy<Value = Option<(bool, i64, i64)>>) -> impl Strategy<Value = Stretch> {
    (
        MILLI..500 * MILLI,
        0..1_000_i64,
        // The extremes are where the bound is tight.
        prop_oneof![-980..=980_i64, Just(980), Just(-980)],
        any::<bool>(),
        proptest::collection::vec(0..1_000_i64, 0..4),
        any::<[u16; 4]>().prop_map(|pauses| pauses.map(|pause| pause / 4)),
        step,
    )
        .prop_map(|(length, change_at, change, of_system, mut stamps, pauses, step)| {
            stamps.sort_unstable();
            Stretch { length, change_at, change, of_system, stamps, pauses, step }
        })
}

fn any_step() -> impl Strategy<Value = Option<(bool, i64, i64)>> {
    let size = prop_oneof![0..MILLI, 0..SECOND, Just(37 * SECOND), Just(3 * SECOND)];
    let step = (any::<bool>(), 0..1_000_i64, size, any::<bool>());
    proptest::option::weighted(
        0.15,
        step.prop_map(|(clock, at, by, back)| (clock, at, if back { -by - 1 } else { by })),
    )
}

/// Lives through the stretches, and gives the moments of all stamps. Between samples, `meanwhile` sees each one.
fn live(
    tracker: &mut PhcTracker,
    stretches: &[Stretch],
    mut meanwhile: impl FnMut(&PhcTracker, Truth) -> Result<(), TestCaseError>,
) -> Result<(World, Vec<Truth>), TestCaseError> {
    let mut world = World::new();
    let mut truths = Vec::new();
    tracker.feed(world.sample([100, 900, 1_100, 100]));
    for stretch in stretches {
        let part = |thousandths: i64| stretch.length * thousandths / 1_000;
        let step = stretch.step.map(|(_, at, _)| at);
        let mut moments: Vec<(i64, u8)> = stretch.stamps.iter().map(|&at| (part(at), 0)).collect();
        moments.push((part(stretch.change_at), 1));
        moments.extend(step.map(|at| (part(at), 2)));
        moments.sort_unstable();
        let mut passed = 0;
        for (at, what) in moments {
            world.advance(at - passed);
            passed = at;
            match what {
                0 => {
                    truths.push(world.now());
                    meanwhile(tracker, world.now())?;
                }
                1 => {
                    let change = WANDER / 1_000 * stretch.change;
                    let rate = if stretch.of_system { &mut world.system_ppb } else { &mut world.hardware_ppb };
                    let changed = *rate + change;
                    // A change that would leave the limits is one in the other direction.
                    *rate = if changed.abs() < RATE_LIMIT * 49 / 100 { changed } else { *rate - change };
                }
                _ => {
                    // More than both rates together may hide, and than the uncertainties of two samples.
                    let least = stretch.length * 2 * RATE_LIMIT / 950_000_000 + 300_000;
                    let (of_system, _, by) = stretch.step.unwrap();
                    let by = by + if by < 0 { -least } else { least };
                    if of_system { world.step_system(by) } else { world.step_hardware(by) }
                }
            }
        }
        world.advance(stretch.length - passed);
        let fed = tracker.feed(world.sample(stretch.pauses));
        match (fed, stretch.step) {
            (Fed::Continued, None) | (Fed::Stepped(Stepped::Unknown), Some(_)) => {}
            (Fed::Stepped(Stepped::System), Some((of_system, ..))) => prop_assert!(of_system),
            (Fed::Stepped(Stepped::Hardware), Some((of_system, ..))) => prop_assert!(!of_system),
            _ => prop_assert!(false, "{fed:?} after {stretch:?}"),
        }
    }
    Ok((world, truths))
}

fn any_cross() -> impl Strategy<Value = CrossTimestamp> {
    let nanos = || prop_oneof![any::<i64>(), -5_i64..5, Just(i64::MAX), Just(i64::MIN)];
    let window = || prop_oneof![any::<u64>(), 0..2_000_000_000_u64, Just(0)];
    (nanos(), nanos(), nanos(), window(), window()).prop_map(|(hardware, system, monotonic, wide, wider)| {
        CrossTimestamp {
            hardware: HardwareStamp::from_nanos(hardware),
            system: SystemStamp::from_nanos(system),
            uncertainty: Duration::from_nanos(wide),
            monotonic: MonotonicStamp::from_nanos(monotonic),
            monotonic_uncertainty: Duration::from_nanos(wider),
            method: CrossMethod::Basic,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Whatever the clocks do within the assumptions, the truth is within the bound: at once, and after the fact.
    #[test]
    fn the_bound_holds(stretches in proptest::collection::vec(stretch(Just(None)), 1..60)) {
        let mut tracker = PhcTracker::new();
        let (_, truths) = live(&mut tracker, &stretches, |tracker, truth| {
            prop_assert!(holds(tracker, truth)?, "no answer for {truth:?}");
            Ok(())
        })?;
        for truth in truths {
            prop_assert!(holds(&tracker, truth)?, "no answer for {truth:?}");
        }
    }

    /// With steps of either clock, the truth is within the bound or there is no answer, once they were noticed.
    #[test]
    fn the_bound_holds_across_steps(stretches in proptest::collection::vec(stretch(any_step()), 1..60)) {
        let mut tracker = PhcTracker::new();
        let (_, truths) = live(&mut tracker, &stretches, |_, _| Ok(()))?;
        for truth in truths {
            holds(&tracker, truth)?;
        }
    }

    /// Further from the samples is never more certain.
    #[test]
    fn the_bound_grows_with_the_distance(
        stretches in proptest::collection::vec(stretch(Just(None)), 0..20),
        near in 0..100_000 * SECOND,
        further in 0..100_000 * SECOND,
    ) {
        let mut tracker = PhcTracker::new();
        live(&mut tracker, &stretches, |_, _| Ok(()))?;
        let (first, last) = (tracker.samples.first().unwrap().hardware, tracker.samples.last().unwrap().hardware);
        let bound = |nanos| tracker.to_system(HardwareStamp::from_nanos(nanos)).unwrap().bound;
        prop_assert!(bound(last) <= bound(last + near));
        prop_assert!(bound(last + near) <= bound(last + near + further));
        prop_assert!(bound(first - near) <= bound(first - near - further));
    }

    /// Whatever it is fed, it neither panics nor overflows.
    #[test]
    fn any_samples_are_fed(
        crosses in proptest::collection::vec(any_cross(), 0..20),
        stamps in proptest::collection::vec(any::<i64>(), 0..20),
        limits in any::<[u32; 2]>(),
    ) {
        let [rate, wander] = limits.map(Drift::from_ppb);
        let mut tracker = PhcTracker::new().with_rate_limit(rate).with_wander(wander);
        for cross in crosses {
            tracker.feed(cross);
            for stamp in stamps.iter().copied().chain([cross.hardware.as_nanos(), cross.system.as_nanos()]) {
                let _ = tracker.to_system(HardwareStamp::from_nanos(stamp));
                let _ = tracker.to_hardware(SystemStamp::from_nanos(stamp));
                let _ = tracker.to_system_near(HardwareStamp::from_nanos(stamp), cross.system, Duration::MAX);
            }
        }
    }
}
