//! The times of one probe, each between stamps of one clock, or of two and said so.
//!
//! Stamps of different kinds are taken at different places: a time from software to software has the network and both cards
//! in it, one from hardware to hardware only the network. So times of one basis are compared with each other, and a time says
//! which basis it has.

use std::time::Duration;

use fast_afpacket::SystemStamp;

use super::stamps::{Probe, Stamps};
use crate::stats::Distribution;

/// Where a stamp was taken; the nearest to the wire first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Hardware,
    Software,
    Userspace,
}

/// Which stamps the times of a probe are between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Basis {
    /// At T1 and T4.
    pub(crate) sender: Kind,
    /// At T2 and T3. `None`: the reflector has stamped nothing twice, and only the round trip is known.
    pub(crate) reflector: Option<Kind>,
}

/// A time in nanoseconds, and how far it may be off beside what the two clocks may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) nanos: i64,
    /// Of stamps that were converted from another clock.
    pub(crate) bound: Duration,
}

/// The times of a probe on one basis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) basis: Basis,
    /// T4 − T1, on one clock.
    pub(crate) round_trip: Option<i64>,
    /// (T4 − T1) − (T3 − T2), each difference on one clock: without the time in the reflector.
    pub(crate) net: Option<i64>,
    /// T2 − T1: two clocks.
    pub(crate) forward: Option<Span>,
    /// T4 − T3: two clocks.
    pub(crate) backward: Option<Span>,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Hardware, Self::Software, Self::Userspace];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::Software => "software",
            Self::Userspace => "userspace",
        }
    }

    /// The stamp of this kind on its own clock: to be compared with others of this kind, on this host.
    fn own(self, stamps: &Stamps) -> Option<i64> {
        match self {
            Self::Hardware => stamps.hardware.map(|stamp| stamp.as_nanos()),
            Self::Software => stamps.software.map(SystemStamp::as_nanos),
            Self::Userspace => stamps.userspace.map(SystemStamp::as_nanos),
        }
    }

    /// The stamp of this kind on the system clock.
    fn in_system(self, stamps: &Stamps) -> Option<(SystemStamp, Duration)> {
        match self {
            Self::Hardware => stamps.hardware_in_system.map(|converted| (converted.stamp, converted.bound)),
            Self::Software => stamps.software.map(|stamp| (stamp, Duration::ZERO)),
            Self::Userspace => stamps.userspace.map(|stamp| (stamp, Duration::ZERO)),
        }
    }
}

/// For one-way times of which this is the first. `both`: what it and the other way took together.
///
/// If it is far more than both ways can take, it is the offset of the two clocks and little else. What is of interest are the
/// differences.
pub(crate) fn two_clocks(first: i64, both: Option<i64>) -> Distribution {
    let is_offset = both.is_some_and(|both| first.unsigned_abs() / 2 > both.unsigned_abs());
    if is_offset { Distribution::around(first) } else { Distribution::new() }
}

/// From an earlier point to a later one, in nanoseconds.
fn between(kind: Kind, earlier: &Stamps, later: &Stamps) -> Option<i64> {
    Some(kind.own(later)?.saturating_sub(kind.own(earlier)?))
}

/// From a point on one host to a point on the other.
fn across(from: (Kind, &Stamps), to: (Kind, &Stamps)) -> Option<Span> {
    let ((from, from_bound), (to, to_bound)) = (from.0.in_system(from.1)?, to.0.in_system(to.1)?);
    Some(Span { nanos: to.nanos_since(from), bound: from_bound.saturating_add(to_bound) })
}

/// The times of a probe, on each basis that it has; the best first. None if it was not answered.
///
/// That of both hosts' hardware stamps, that of both hosts' software stamps; with neither the best that each host has: a
/// reflector that is not ours may have one stamp of each frame.
pub(crate) fn times(probe: &Probe) -> impl Iterator<Item = Times> + use<> {
    let points = probe.t4.map(|t4| (probe.t1, probe.t2.unwrap_or_default(), probe.t3.unwrap_or_default(), t4));
    let has = |from: &Stamps, to: &Stamps| Kind::ALL.map(|kind| between(kind, from, to).is_some());
    let best = |has: [bool; 3]| Kind::ALL.into_iter().zip(has).find_map(|(kind, has)| has.then_some(kind));
    let bases = points.map_or([None; 2], |(t1, t2, t3, t4)| {
        let (sender, reflector) = (has(&t1, &t4), has(&t2, &t3));
        let both = |kind: Kind, place: usize| {
            let has = |host: [bool; 3]| host.get(place) == Some(&true);
            (has(sender) && has(reflector)).then_some(Basis { sender: kind, reflector: Some(kind) })
        };
        match [both(Kind::Hardware, 0), both(Kind::Software, 1)] {
            [None, None] => [best(sender).map(|sender| Basis { sender, reflector: best(reflector) }), None],
            bases => bases,
        }
    });
    bases.into_iter().flatten().zip(points.into_iter().cycle()).map(|(basis, (t1, t2, t3, t4))| {
        let round_trip = between(basis.sender, &t1, &t4);
        let residence = basis.reflector.and_then(|kind| between(kind, &t2, &t3));
        Times {
            basis,
            round_trip,
            net: round_trip.zip(residence).map(|(all, residence)| all.saturating_sub(residence)),
            forward: basis.reflector.and_then(|kind| across((basis.sender, &t1), (kind, &t2))),
            backward: basis.reflector.and_then(|kind| across((kind, &t3), (basis.sender, &t4))),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::two_way::stamps::InSystem;
    use fast_afpacket::HardwareStamp;

    const NONE: Stamps = Stamps::NONE;

    fn stamp(nanos: i64) -> Option<SystemStamp> {
        Some(SystemStamp::from_nanos(nanos))
    }

    fn all(stamps: [Stamps; 4]) -> Vec<Times> {
        times(&Probe::answered(stamps)).collect()
    }

    fn span(nanos: i64) -> Option<Span> {
        Some(Span { nanos, bound: Duration::ZERO })
    }

    #[test]
    fn software_on_both_hosts() {
        let software = |nanos| Stamps { userspace: stamp(nanos + 7), software: stamp(nanos), ..NONE };
        // The reflector's clock is 1,000 behind.
        let times = all([software(100), software(-850), software(-830), software(300)]);
        let basis = Basis { sender: Kind::Software, reflector: Some(Kind::Software) };
        let expected =
            Times { basis, round_trip: Some(200), net: Some(180), forward: span(-950), backward: span(1_130) };
        assert_eq!(times, [expected], "user space adds nothing to it");
    }

    #[test]
    fn hardware_beside_software() {
        let both = |nanos: i64, card: i64| Stamps {
            software: stamp(nanos),
            hardware: Some(HardwareStamp::from_nanos(card)),
            hardware_in_system: Some(InSystem {
                stamp: SystemStamp::from_nanos(nanos + 5),
                bound: Duration::from_nanos(20),
            }),
            ..NONE
        };
        let times = all([both(100, 7_110), both(160, 90_000), both(170, 90_012), both(250, 7_230)]);
        let [hardware, software] = times[..] else { panic!("{times:?}") };
        assert_eq!(hardware.basis, Basis { sender: Kind::Hardware, reflector: Some(Kind::Hardware) });
        assert_eq!((hardware.round_trip, hardware.net), (Some(120), Some(108)));
        assert_eq!(hardware.forward, Some(Span { nanos: 60, bound: Duration::from_nanos(40) }));
        assert_eq!((software.round_trip, software.net, software.forward), (Some(150), Some(140), span(60)));
    }

    #[test]
    fn a_card_whose_clock_is_unknown_gives_no_one_way_time() {
        let card = |nanos: i64| Stamps { hardware: Some(HardwareStamp::from_nanos(nanos)), ..NONE };
        let times = all([card(100), card(5), card(9), card(150)]);
        assert_eq!((times[0].round_trip, times[0].net), (Some(50), Some(46)));
        assert_eq!((times[0].forward, times[0].backward), (None, None));
    }

    #[test]
    fn another_reflector_has_one_stamp_of_each() {
        let own = |nanos: i64| Stamps { userspace: stamp(nanos), software: stamp(nanos + 3), ..NONE };
        let user = |nanos: i64| Stamps { userspace: stamp(nanos), ..NONE };
        let times = all([own(100), user(140), user(145), own(200)]);
        let basis = Basis { sender: Kind::Software, reflector: Some(Kind::Userspace) };
        let expected = Times { basis, round_trip: Some(100), net: Some(95), forward: span(37), backward: span(58) };
        assert_eq!(times, [expected]);
        let times = all([own(100), NONE, NONE, own(200)]);
        assert_eq!(times[0].basis, Basis { sender: Kind::Software, reflector: None });
        assert_eq!((times[0].round_trip, times[0].net, times[0].forward), (Some(100), None, None));
    }

    #[test]
    fn without_a_reply_there_are_no_times() {
        assert_eq!(times(&Probe { t4: None, ..Probe::answered([NONE; 4]) }).count(), 0);
        assert_eq!(all([NONE; 4]), []);
    }
}
