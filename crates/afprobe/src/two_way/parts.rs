//! The breakdown: a probe's way in parts, from one stamp to the next.
//!
//! There are fourteen points where a stamp may be taken, seven on each way, and so thirteen parts between them. Where a stamp
//! is missing two parts are one: it goes by the name of the part that matters most, and says what else it includes.

use std::collections::BTreeMap;
use std::time::Duration;

use fast_afpacket::SystemStamp;

use super::stamps::{Probe, Stamps};
use super::times::two_clocks;
use crate::stats::{Distribution, Figures};

/// A part of the way; in the order of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    SendUserToScheduled,
    SendScheduledToSoftware,
    SendSoftwareToHardware,
    ForwardWire,
    ReflectorHardwareToSoftware,
    ReflectorSoftwareToUser,
    ReflectorUserToUser,
    ReflectorUserToScheduled,
    ReflectorScheduledToSoftware,
    ReflectorSoftwareToHardware,
    BackwardWire,
    ReceiveHardwareToSoftware,
    ReceiveSoftwareToUser,
}

impl Part {
    pub(crate) const ALL: [Self; 13] = [
        Self::SendUserToScheduled,
        Self::SendScheduledToSoftware,
        Self::SendSoftwareToHardware,
        Self::ForwardWire,
        Self::ReflectorHardwareToSoftware,
        Self::ReflectorSoftwareToUser,
        Self::ReflectorUserToUser,
        Self::ReflectorUserToScheduled,
        Self::ReflectorScheduledToSoftware,
        Self::ReflectorSoftwareToHardware,
        Self::BackwardWire,
        Self::ReceiveHardwareToSoftware,
        Self::ReceiveSoftwareToUser,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::SendUserToScheduled => "send_user_to_scheduled",
            Self::SendScheduledToSoftware => "send_scheduled_to_software",
            Self::SendSoftwareToHardware => "send_software_to_hardware",
            Self::ForwardWire => "forward_wire",
            Self::ReflectorHardwareToSoftware => "reflector_hardware_to_software",
            Self::ReflectorSoftwareToUser => "reflector_software_to_user",
            Self::ReflectorUserToUser => "reflector_user_to_user",
            Self::ReflectorUserToScheduled => "reflector_user_to_scheduled",
            Self::ReflectorScheduledToSoftware => "reflector_scheduled_to_software",
            Self::ReflectorSoftwareToHardware => "reflector_software_to_hardware",
            Self::BackwardWire => "backward_wire",
            Self::ReceiveHardwareToSoftware => "receive_hardware_to_software",
            Self::ReceiveSoftwareToUser => "receive_software_to_user",
        }
    }
}

/// A point of the way, by its place; `Part::ALL[i]` is between the points `i` and `i + 1`.
type Point = u8;

const POINTS: Point = 14;
/// The points at the reflector.
const AT_REFLECTOR: std::ops::Range<Point> = 4..11;

/// From one stamp to the next: one part, or several for want of the stamps between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stretch {
    from: Point,
    to: Point,
}

impl Stretch {
    /// All parts that it includes, in the order of the way.
    pub(crate) fn parts(self) -> impl Iterator<Item = Part> {
        (self.from..self.to).filter_map(|point| Part::ALL.get(usize::from(point)).copied())
    }

    /// The part that it goes by: the wire if it has one, the reflector's program if it has that, otherwise the first.
    pub(crate) fn part(self) -> Option<Part> {
        let includes = |wanted| self.parts().find(|&part| part == wanted);
        let weighty = [Part::ForwardWire, Part::BackwardWire, Part::ReflectorUserToUser];
        weighty.into_iter().find_map(includes).or_else(|| self.parts().next())
    }

    /// What else it includes.
    pub(crate) fn includes(self) -> impl Iterator<Item = Part> {
        let part = self.part();
        self.parts().filter(move |&other| Some(other) != part)
    }

    /// Whether its ends are stamps of two clocks.
    pub(crate) fn is_of_two_clocks(self) -> bool {
        AT_REFLECTOR.contains(&self.from) != AT_REFLECTOR.contains(&self.to)
    }

    /// Where it begins: at the sender, on the way out or back, or at the reflector.
    pub(crate) fn host(self) -> Host {
        match (self.is_of_two_clocks(), AT_REFLECTOR.contains(&self.from)) {
            (true, false) => Host::WayThere,
            (true, true) => Host::WayBack,
            (false, true) => Host::Reflector,
            (false, false) if self.from < AT_REFLECTOR.start && self.to >= AT_REFLECTOR.end => Host::BothWays,
            (false, false) => Host::Sender,
        }
    }
}

/// Who is to blame for a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Sender,
    WayThere,
    Reflector,
    WayBack,
    /// For want of stamps at the reflector.
    BothWays,
}

/// The breakdown of many probes.
#[derive(Debug, Default)]
pub(crate) struct Breakdown {
    stretches: BTreeMap<Stretch, Tally>,
    /// How many probes had stamps at these points, one bit each.
    shapes: BTreeMap<u16, Shape>,
    /// Probes that were left out, with one set of stamps too many.
    left_out: u64,
}

#[derive(Debug)]
struct Tally {
    times: Distribution,
    bound: Duration,
}

#[derive(Debug)]
struct Shape {
    probes: u64,
    /// Both ways over the wire together, if each is one stretch: the offset of the two clocks cancels out.
    wires: Distribution,
}

/// What a stretch of the way took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) stretch: Stretch,
    pub(crate) figures: Figures,
    /// How far the times may be off for stamps that were converted from a card's clock.
    pub(crate) bound: Duration,
}

/// The breakdown, as most probes have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BreakdownSummary {
    /// From the sender's program back to it, without a gap.
    pub(crate) stretches: Vec<Taken>,
    /// The two ways between the hosts together, which needs no clock to be right but each its own.
    pub(crate) wires: Option<Figures>,
    /// How many probes have just these stamps.
    pub(crate) probes: u64,
    /// How many have others: more, or fewer. In stretches that they have too they are counted.
    pub(crate) others: u64,
}

/// The stamps of a probe that was answered, on the system clocks, in the order of the way.
fn points(probe: &Probe) -> [Option<(SystemStamp, Duration)>; POINTS as usize] {
    let exact = |stamp: Option<SystemStamp>| stamp.map(|stamp| (stamp, Duration::ZERO));
    let card = |stamps: &Stamps| stamps.hardware_in_system.map(|converted| (converted.stamp, converted.bound));
    let sent = |s: Stamps| [exact(s.userspace), exact(s.scheduled), exact(s.software), card(&s)];
    let received = |s: Option<Stamps>| {
        let s = s.unwrap_or_default();
        [card(&s), exact(s.software), exact(s.userspace)]
    };
    let [a, b, c, d] = sent(probe.t1);
    let [e, f, g] = received(probe.t2);
    let [h, i, j, k] = sent(probe.t3.unwrap_or_default());
    let [l, m, n] = received(probe.t4);
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n]
}

/// The stretches between the points that have a stamp.
fn stretches(mut has: impl FnMut(Point) -> bool) -> impl Iterator<Item = Stretch> {
    let mut from = None;
    (0..POINTS).filter_map(move |to| has(to).then(|| from.replace(to).map(|from| Stretch { from, to }))?)
}

impl Breakdown {
    /// How many different sets of stamps are told apart. There are few; a reflector that makes up others is not followed.
    const SHAPES: usize = 64;

    /// Adds a probe that was answered.
    pub(crate) fn add(&mut self, probe: &Probe) {
        let points = points(probe);
        let at = |point: Point| points.get(usize::from(point)).copied().flatten();
        let shape = (0..POINTS).filter(|&point| at(point).is_some()).fold(0, |shape, point| shape | 1_u16 << point);
        if self.shapes.len() >= Self::SHAPES && !self.shapes.contains_key(&shape) {
            self.left_out += 1;
            return;
        }
        let taken = |stretch: Stretch| {
            let ((from, from_bound), (to, to_bound)) = at(stretch.from).zip(at(stretch.to))?;
            Some((stretch, to.nanos_since(from), from_bound.saturating_add(to_bound)))
        };
        let stretches = || stretches(|point| at(point).is_some()).filter_map(taken);
        let wire = |host| stretches().find_map(|(stretch, nanos, _)| (stretch.host() == host).then_some(nanos));
        let wires = wire(Host::WayThere).zip(wire(Host::WayBack)).map(|(there, back)| there.saturating_add(back));
        for (stretch, nanos, bound) in stretches() {
            let both = wires.filter(|_| stretch.is_of_two_clocks());
            let new = || Tally { times: two_clocks(nanos, both), bound: Duration::ZERO };
            let tally = self.stretches.entry(stretch).or_insert_with(new);
            tally.times.record(nanos);
            tally.bound = tally.bound.max(bound);
        }
        let shape = self.shapes.entry(shape).or_insert_with(|| Shape { probes: 0, wires: Distribution::new() });
        shape.probes += 1;
        if let Some(both) = wires {
            shape.wires.record(both);
        }
    }

    pub(crate) fn summary(&self) -> BreakdownSummary {
        let Some((points, shape)) = self.shapes.iter().max_by_key(|(_, shape)| shape.probes) else {
            return BreakdownSummary::default();
        };
        let taken = stretches(|point| points & (1 << point) != 0).filter_map(|stretch| {
            let tally = self.stretches.get(&stretch)?;
            Some(Taken { stretch, figures: tally.times.figures()?, bound: tally.bound })
        });
        let all: u64 = self.shapes.values().map(|shape| shape.probes).sum();
        BreakdownSummary {
            stretches: taken.collect(),
            wires: shape.wires.figures(),
            probes: shape.probes,
            others: all - shape.probes + self.left_out,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::two_way::stamps::InSystem;

    /// A probe with all stamps, ten nanoseconds between each two; the reflector's clock is this far ahead.
    fn probe(ahead: i64) -> Probe {
        let stamp = |point: i64, ahead: i64| SystemStamp::from_nanos(1_000 + point * 10 + ahead);
        let stamps = |points: [i64; 3], scheduled: Option<i64>, ahead: i64| Stamps {
            userspace: Some(stamp(points[0], ahead)),
            scheduled: scheduled.map(|point| stamp(point, ahead)),
            software: Some(stamp(points[1], ahead)),
            hardware: None,
            hardware_in_system: Some(InSystem { stamp: stamp(points[2], ahead), bound: Duration::from_nanos(3) }),
        };
        Probe::answered([
            stamps([0, 2, 3], Some(1), 0),
            stamps([6, 5, 4], None, ahead),
            stamps([7, 9, 10], Some(8), ahead),
            stamps([13, 12, 11], None, 0),
        ])
    }

    fn summary(probes: &[Probe]) -> BreakdownSummary {
        let mut breakdown = Breakdown::default();
        probes.iter().for_each(|probe| breakdown.add(probe));
        breakdown.summary()
    }

    fn names(summary: &BreakdownSummary) -> Vec<&'static str> {
        summary.stretches.iter().map(|taken| taken.stretch.part().unwrap().name()).collect()
    }

    #[test]
    fn thirteen_parts_without_a_gap() {
        let summary = summary(&[probe(0)]);
        assert_eq!(names(&summary), Part::ALL.map(Part::name));
        assert!(summary.stretches.iter().all(|taken| taken.figures.p50 == 10 && taken.stretch.includes().count() == 0));
        let bounds: Vec<u128> = summary.stretches.iter().map(|taken| taken.bound.as_nanos()).collect();
        assert_eq!(bounds, [0, 0, 3, 6, 3, 0, 0, 0, 0, 3, 6, 3, 0]);
        let two_clocks: Vec<_> = summary.stretches.iter().filter(|taken| taken.stretch.is_of_two_clocks()).collect();
        assert_eq!(two_clocks.len(), 2);
        assert_eq!((summary.probes, summary.others, summary.wires.unwrap().p50), (1, 0, 20));
    }

    #[test]
    fn what_lies_between_the_hosts_needs_no_clock_that_is_right() {
        let summary = summary(&[probe(-1_000)]);
        let by_name =
            |part| summary.stretches.iter().find(|taken| taken.stretch.part() == Some(part)).unwrap().figures.p50;
        assert_eq!((by_name(Part::ForwardWire), by_name(Part::BackwardWire)), (-990, 1_010));
        assert_eq!(summary.wires.unwrap().p50, 20);
    }

    #[test]
    fn what_is_missing_is_included_next_to_it() {
        let no_card = |stamps: Stamps| Stamps { hardware_in_system: None, ..stamps };
        let whole = probe(0);
        let without = Probe {
            t1: no_card(whole.t1),
            t2: whole.t2.map(no_card),
            t3: whole.t3.map(no_card),
            t4: whole.t4.map(no_card),
            ..whole
        };
        let cardless = summary(&[without]);
        let expected = [
            ("send_user_to_scheduled", 10, vec![]),
            ("send_scheduled_to_software", 10, vec![]),
            ("forward_wire", 30, vec!["send_software_to_hardware", "reflector_hardware_to_software"]),
            ("reflector_software_to_user", 10, vec![]),
            ("reflector_user_to_user", 10, vec![]),
            ("reflector_user_to_scheduled", 10, vec![]),
            ("reflector_scheduled_to_software", 10, vec![]),
            ("backward_wire", 30, vec!["reflector_software_to_hardware", "receive_hardware_to_software"]),
            ("receive_software_to_user", 10, vec![]),
        ];
        let shown = |summary: &BreakdownSummary| -> Vec<(&str, i64, Vec<&str>)> {
            let taken = summary.stretches.iter();
            taken
                .map(|taken| {
                    let includes = taken.stretch.includes().map(Part::name).collect();
                    (taken.stretch.part().unwrap().name(), taken.figures.p50, includes)
                })
                .collect()
        };
        assert_eq!(shown(&cardless), expected);

        // A reflector that says one time of each frame.
        let one = |stamps: Stamps| Stamps { userspace: stamps.userspace, ..Stamps::NONE };
        let foreign = summary(&[Probe { t2: without.t2.map(one), t3: without.t3.map(one), ..without }]);
        assert_eq!(
            shown(&foreign)[2..5],
            [
                (
                    "forward_wire",
                    40,
                    vec!["send_software_to_hardware", "reflector_hardware_to_software", "reflector_software_to_user"]
                ),
                ("reflector_user_to_user", 10, vec![]),
                (
                    "backward_wire",
                    50,
                    vec![
                        "reflector_user_to_scheduled",
                        "reflector_scheduled_to_software",
                        "reflector_software_to_hardware",
                        "receive_hardware_to_software"
                    ]
                ),
            ]
        );

        // One that says nothing.
        let silent = summary(&[Probe { t2: None, t3: None, ..without }]);
        let (name, p50, includes) = &shown(&silent)[2];
        assert_eq!((*name, *p50, includes.len()), ("forward_wire", 100, 9));
        assert!(!silent.stretches[2].stretch.is_of_two_clocks(), "from the sender to the sender");
        assert_eq!(silent.stretches[2].stretch.host(), Host::BothWays);
        assert_eq!(silent.wires, None);
    }

    #[test]
    fn most_probes_say_what_the_parts_are() {
        let whole = probe(0);
        let unscheduled = Probe { t1: Stamps { scheduled: None, ..whole.t1 }, ..whole };
        let summary = summary(&[whole, unscheduled, whole, whole]);
        assert_eq!((summary.probes, summary.others), (3, 1));
        assert_eq!(names(&summary), Part::ALL.map(Part::name));
        let counts: Vec<u64> = summary.stretches.iter().map(|taken| taken.figures.count).collect();
        assert_eq!(counts[..3], [3, 3, 4], "what the other has in common with them counts");
    }

    #[test]
    fn nothing_of_nothing() {
        assert_eq!(summary(&[]), BreakdownSummary::default());
    }
}
