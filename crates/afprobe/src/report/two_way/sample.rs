//! A measurement that is true to life: what two hosts on a switched network have to say, made from numbers that are the same
//! on every run.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use fast_afpacket::{HardwareStamp, SystemStamp, Timestamping, TxResult};

use super::Start;
use crate::two_way::clocks::ClockJudgement;
use crate::two_way::figures::{Summary, Unusable};
use crate::two_way::join::Settings;
use crate::two_way::stamps::{Header, InSystem, Observation, ReflectorCounts, Reply, Stamps};
use crate::two_way::{Finished, Progress, TwoWay};

/// Which hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) enum Hosts {
    /// With one clock, and cards that do not stamp.
    OneClock,
    /// With cards that stamp, and clocks that are 250 ms apart.
    Apart,
    /// The reflector is not ours: it says two times, and does not count.
    Foreign,
    /// There is no reflector.
    Unreachable,
}

pub(in crate::report) struct Sample {
    pub(in crate::report) start: Start,
    pub(in crate::report) probes: Vec<Finished>,
    pub(in crate::report) progress: Progress,
    pub(in crate::report) summary: Summary,
}

const PROBES: u64 = 1_000;
const START: i64 = 1_652_138_202_000_000_000;

/// A number that looks like chance.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    /// A time as hosts have them: mostly near the least, sometimes much more.
    fn time(&mut self, least: u64, spread: u64) -> i64 {
        let usual = least + self.below(spread) * self.below(spread) / spread;
        let more = if self.below(60) == 0 { self.below(spread * 12) } else { 0 };
        i64::try_from(usual + more).unwrap()
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

/// Stamps of a frame on its way out, or in: user, queue, driver, card. The time at the end that is nearest to the wire.
fn way_out(at: i64, chance: &mut Chance, hosts: Hosts, ahead: i64) -> (Stamps, i64) {
    let scheduled = at + chance.time(900, 500);
    let software = scheduled + chance.time(250, 150);
    let hardware = software + chance.time(1_400, 600);
    (stamps([at, scheduled, software, hardware], true, hosts, ahead), hardware)
}

fn way_in(at: i64, chance: &mut Chance, hosts: Hosts, ahead: i64) -> (Stamps, i64) {
    let software = at + chance.time(3_800, 2_500);
    let user = software + chance.time(4_500, 4_000);
    (stamps([user, user, software, at], false, hosts, ahead), user)
}

fn stamps([user, scheduled, software, hardware]: [i64; 4], sent: bool, hosts: Hosts, ahead: i64) -> Stamps {
    let stamp = |nanos: i64| SystemStamp::from_nanos(nanos + ahead);
    let has_card = hosts == Hosts::Apart;
    Stamps {
        userspace: Some(stamp(user)),
        scheduled: sent.then(|| stamp(scheduled)),
        software: Some(stamp(software)),
        hardware: has_card.then(|| HardwareStamp::from_nanos(hardware + ahead + 37_000_000_000)),
        hardware_in_system: has_card.then(|| InSystem { stamp: stamp(hardware), bound: Duration::from_nanos(350) }),
    }
}

/// What a host with one stamp for each frame has to say.
fn one_stamp(stamps: Stamps, hosts: Hosts) -> Stamps {
    if hosts == Hosts::Foreign { Stamps { userspace: stamps.userspace, ..Stamps::NONE } } else { stamps }
}

fn clocks(hosts: Hosts) -> ClockJudgement {
    match hosts {
        Hosts::OneClock => ClockJudgement {
            offset_ns: Some(0),
            bound_ns: Some(0),
            synchronised: Some(true),
            one_way_bound_ns: Some(0),
            reasons: vec!["both hosts read one clock".to_owned()],
            ..ClockJudgement::default()
        },
        Hosts::Apart => ClockJudgement {
            offset_ns: Some(250_001_500),
            bound_ns: Some(19_700),
            drift_ppb: Some((-2_140, 900)),
            synchronised: Some(false),
            one_way_bound_ns: Some(250_021_200),
            reasons: vec!["the reflector's kernel says that nobody keeps its clock on time".to_owned()],
        },
        Hosts::Foreign => ClockJudgement {
            offset_ns: Some(2_900),
            bound_ns: Some(28_000),
            one_way_bound_ns: Some(30_900),
            ..ClockJudgement::default()
        },
        Hosts::Unreachable => ClockJudgement::default(),
    }
}

pub(in crate::report) fn sample(hosts: Hosts) -> Sample {
    let header = Header { ttl: Some(64), dscp: Some(0), ecn: Some(0) };
    let mut two_way = TwoWay::new(Settings::new(0, Duration::from_millis(10), Duration::from_secs(1)), header);
    two_way.set_clocks(clocks(hosts));
    let ahead = if hosts == Hosts::Apart { 250_000_000 } else { 0 };
    let (mut chance, mut probes, now) = (Chance(7), Vec::new(), Instant::now());
    let (mut number, mut unique, mut duplicates) = (0, 0, 0);
    for seq in 0..PROBES {
        let now = now + Duration::from_millis(10 * seq);
        two_way.expire(now, |finished| probes.push(*finished));
        let mut tell = |observation| two_way.observe(observation, now, |finished| probes.push(*finished));
        let due = START + 10_000_000 * i64::try_from(seq).unwrap();
        let (t1, on_wire) = way_out(due + chance.time(2_000, 9_000), &mut chance, hosts, 0);
        let expected = Timestamping::TX_SCHEDULED | Timestamping::TX_SOFTWARE;
        let refused = TxResult::Refused { kind: ErrorKind::Other, errno: Some(105) };
        let result = if seq == 500 { refused } else { TxResult::Complete };
        tell(Observation::Sent { seq, t1, expected, result, due: Some(SystemStamp::from_nanos(due)) });
        if seq == 500 || chance.one_in(120) || hosts == Hosts::Unreachable {
            continue;
        }
        unique += 1;
        for copy in 0..=u64::from(chance.one_in(300)) {
            duplicates += copy;
            let (t2, taken) = way_in(on_wire + chance.time(21_000, 6_000), &mut chance, hosts, ahead);
            let (t3, on_wire) = way_out(taken + chance.time(1_700, 900), &mut chance, hosts, ahead);
            let (mut t4, _) = way_in(on_wire + chance.time(18_000, 3_000), &mut chance, hosts, 0);
            t4.software = t4.software.filter(|_| seq > 1);
            let reflected_as = (hosts != Hosts::Foreign).then_some(number);
            number += 1;
            if !chance.one_in(200) {
                tell(Observation::Reply(Reply {
                    seq: u32::try_from(seq).unwrap(),
                    newest: seq,
                    reflected_as,
                    t2: one_stamp(t2, hosts),
                    t3: one_stamp(t3, hosts),
                    t4,
                    follow_up: false,
                    forward: Header { dscp: (hosts != Hosts::Foreign).then_some(0), ..header },
                    backward: Header { dscp: Some(if hosts == Hosts::Foreign { 46 } else { 0 }), ..header },
                }));
            }
        }
    }
    two_way.finish(|finished| probes.push(*finished));
    if matches!(hosts, Hosts::OneClock | Hosts::Apart) {
        let counts = ReflectorCounts {
            as_of: None,
            received: Some(number.into()),
            unique: Some(unique),
            duplicates: Some(duplicates),
            reordered: Some(0),
            sent: Some(number.into()),
        };
        two_way.observe(Observation::Counts(counts), now, |_| {});
    }
    let start = Start {
        host: "a".to_owned(),
        interface: "eth1".to_owned(),
        reflector: "192.168.56.102:862".to_owned(),
        wire: "stamp".to_owned(),
    };
    let unusable = Unusable { foreign: 3, ..Unusable::default() };
    Sample { start, probes, progress: two_way.progress(), summary: two_way.summary(unusable) }
}
