//! Packets to a reflector, one after the other.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use fast_afpacket::SystemStamp;

use crate::reflector::{Arrival, Config, Flow, Peer, Rate, Reflector, Refusal, ReplyId};
use crate::two_way::stamps::{Header, Stamps};
use crate::wire::stamp::PORT;
use crate::wire::stamp::reflected::Reflected;
use crate::{at, authenticate, keys, one_second};

/// How many of the latest replies may be stamped.
const WAITING: usize = 8;
const SHORT: usize = 44;

const SIGN: u8 = 0x01;
const STAMP_OLDEST: u8 = 0x02;
const NOT_SENT: u8 = 0x04;
const WAIT: u8 = 0x08;
const OTHER_PEER: u8 = 0x10;

/// One packet is answered with one reply at most, which is no longer, says the request's own fields, can be read, and is
/// not answered itself; and each packet is counted once.
pub fn check(input: &[u8]) {
    let [choice, rest @ ..] = input else { return };
    let keys = keys(*choice);
    let config = Config {
        keys: keys.clone(),
        is_stateful: choice & 0x10 == 0,
        answers_short: choice & 0x20 != 0,
        rate: (choice & 0x40 != 0).then_some(Rate { per_second: 1, burst: 4 }),
        replies_kept: 4,
        sessions: std::num::NonZeroUsize::MIN.saturating_add(1),
        idle: Duration::from_secs(3),
        ..Config::default()
    };
    let answers_short = config.answers_short;
    let mut reflector = Reflector::new(config);
    let mut steps = Steps { rest, now: Instant::now(), given: 0, waiting: VecDeque::new() };
    while let Some((deed, mut packet)) = steps.next() {
        if deed & SIGN != 0 {
            authenticate(&mut packet, &keys);
        }
        if deed & WAIT != 0 {
            steps.now += Duration::from_secs(2);
        }
        if deed & STAMP_OLDEST != 0
            && let Some(id) = steps.waiting.pop_front()
        {
            let software = Some(SystemStamp::from_nanos(i64::from(deed)));
            reflector.stamped(id, Stamps { software, ..Stamps::NONE });
        }
        let arrival = arrival(steps.now, deed);
        let Ok(mut reply) = reflector.answer(&packet, &arrival) else {
            steps.given += 1;
            continue;
        };
        steps.given += 1;
        let id = reply.id;
        let made = reply.finish(at(2_000), one_second()).to_vec();
        check_reply(&packet, &made, &keys, answers_short);
        if deed & NOT_SENT != 0 {
            reflector.not_sent(id);
        } else if let Some(id) = id {
            steps.waiting.push_back(id);
            if steps.waiting.len() > WAITING {
                steps.waiting.pop_front();
            }
        }
        let again = reflector.answer(&made, &arrival).err();
        steps.given += 1;
        assert_eq!(again, Some(Refusal::LooksLikeReply), "two reflectors would go on for ever");
    }
    let tally = reflector.tally();
    let refused: u64 = Refusal::ALL.iter().map(|&why| tally.refused(why)).sum();
    assert_eq!(tally.answered + refused, steps.given);
    assert!(tally.questions <= tally.answered && reflector.sessions() <= 2);
}

fn check_reply(request: &[u8], made: &[u8], keys: &crate::Keys, answers_short: bool) {
    if request.len() < keys.layout().shortest_reply {
        assert!(answers_short && made.len() == SHORT);
    } else {
        assert_eq!(made.len(), request.len());
    }
    let layout = keys.layout();
    let asked = crate::wire::stamp::packet::Head::read(&layout, request).unwrap();
    let read = Reflected::read(made, keys, crate::wire::stamp::time::TimeFormat::Ntp, at(0)).unwrap();
    assert_eq!((read.sender_sequence, read.sender_timestamp), (asked.sequence, asked.timestamp));
    assert_eq!((read.ssid, read.sender_ttl), (asked.ssid, 61));
    assert_eq!((read.t2, read.t3), (Some(at(1_000)), Some(at(2_000))));
    assert_eq!(read.error, one_second());
}

fn arrival(now: Instant, deed: u8) -> Arrival {
    let peer = |last: u8, port: u16| Peer::Udp { addr: IpAddr::from([192, 0, 2, last]), port };
    let sender = if deed & OTHER_PEER == 0 { peer(1, 50_000) } else { peer(3, 50_000 + u16::from(deed >> 5)) };
    Arrival {
        flow: Flow { peer: sender, local: peer(2, PORT) },
        header: Header { ttl: Some(61), dscp: Some(10), ecn: Some(2) },
        stamps: Stamps { userspace: Some(at(1_500)), software: Some(at(1_000)), ..Stamps::NONE },
        at: now,
    }
}

/// What an input says: of each packet what is done with it, its length, and its bytes as far as there are any.
struct Steps<'a> {
    rest: &'a [u8],
    now: Instant,
    /// Packets that the reflector has got.
    given: u64,
    waiting: VecDeque<ReplyId>,
}

impl Steps<'_> {
    fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let [deed, high, low, rest @ ..] = self.rest else { return None };
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (packet, rest) = rest.split_at(len);
        self.rest = rest;
        Some((*deed, packet.to_vec()))
    }
}
