//! The stamps of replies, told in later ones.

use std::collections::BTreeMap;
use std::time::Duration;

use fast_afpacket::HardwareStamp;

use super::super::{Config, ReplyId};
use super::{Pair, read};
use crate::two_way::stamps::{InSystem, Stamps};
use crate::wire::stamp::afprobe::{Point, Record, room_for};
use crate::wire::stamp::integrity::Keys;
use crate::wire::stamp::reflected::Left;
use crate::wire::stamp::request::Setup;
use crate::wire::stamp::standard::method;
use crate::wire::stamp::tests::{at, bare, full, key};

/// Those of the reply to a probe, so that they can be told apart.
fn stamps_of(probe: u64) -> Stamps {
    let nanos = i64::try_from(probe).unwrap() * 1_000;
    Stamps { scheduled: Some(at(nanos)), software: Some(at(nanos + 100)), ..Stamps::NONE }
}

fn departures(packet: &[u8]) -> Vec<Record> {
    let told = read(packet, &Keys::NONE).tlvs.told.unwrap();
    told.records.filter(|record| record.point == Point::Departure).collect()
}

/// As [`departures`]: the probes that were answered.
fn told(packet: &[u8]) -> Vec<u32> {
    departures(packet).iter().map(|record| record.request).collect()
}

fn with_room(departures: usize) -> Setup {
    Setup { room: Some(room_for(departures, false)), ..bare(Keys::NONE) }
}

#[test]
fn the_arrivals_come_at_once() {
    let mut pair = Pair::new(&full(Keys::NONE), Config::default());
    pair.arrival.stamps.hardware = Some(HardwareStamp::from_nanos(7));
    pair.probe(3);
    let (packet, _) = pair.probe(4);
    let records: Vec<_> = read(&packet, &Keys::NONE).tlvs.told.unwrap().records.collect();
    let expected = Record { point: Point::Arrival, reply: 1, request: 4, stamps: pair.arrival.stamps };
    assert_eq!(records, [expected]);
}

#[test]
fn a_departure_comes_three_times() {
    let mut pair = Pair::new(&with_room(2), Config::default());
    let (packet, first) = pair.probe(10);
    assert!(told(&packet).is_empty());
    pair.reflector.stamped(first.unwrap(), stamps_of(10));
    let (packet, second) = pair.probe(11);
    let expected = Record { point: Point::Departure, reply: 0, request: 10, stamps: stamps_of(10) };
    assert_eq!(departures(&packet), [expected]);
    pair.reflector.stamped(second.unwrap(), stamps_of(11));
    let mut next = |probe| told(&pair.probe(probe).0);
    assert_eq!(next(12), [11, 10], "what was never told comes first");
    assert_eq!(next(13), [11, 10]);
    assert_eq!(next(14), [11]);
    assert!(next(15).is_empty());
}

/// At a high rate stamps come in many at once, and replies have little room.
#[test]
fn each_has_its_turn_however_they_come_in() {
    for (room, at_once) in [(1, 1), (1, 50), (2, 100), (4, 250)] {
        let mut pair = Pair::new(&with_room(room), Config::default());
        let mut waiting: Vec<(u64, ReplyId)> = Vec::new();
        let mut tellings: BTreeMap<u32, usize> = BTreeMap::new();
        for probe in 0..1000 {
            let (packet, id) = pair.probe(probe);
            waiting.push((probe, id.unwrap()));
            for request in told(&packet) {
                *tellings.entry(request).or_default() += 1;
            }
            if waiting.len() == at_once {
                for (probe, id) in waiting.drain(..) {
                    pair.reflector.stamped(id, stamps_of(probe));
                }
            }
        }
        for (probe, id) in waiting.drain(..) {
            pair.reflector.stamped(id, stamps_of(probe));
        }
        for question in 0..2 * 256 {
            for request in told(&pair.question(question)) {
                *tellings.entry(request).or_default() += 1;
            }
        }
        assert_eq!(tellings.len(), 1000, "room for {room}, {at_once} at once");
    }
}

#[test]
fn a_question_is_told_what_was_told_before() {
    let mut pair = Pair::new(&with_room(2), Config::default());
    for probe in 0..4 {
        let (_, id) = pair.probe(probe);
        pair.reflector.stamped(id.unwrap(), stamps_of(probe));
    }
    let mut due: Vec<u32> = (0..20).flat_map(|question| told(&pair.question(question))).collect();
    assert_eq!(due.split_off(due.len() - 20), [3, 2].repeat(10), "the newest, whenever nothing is due");
    assert!((1..4).all(|probe| due.contains(&probe)), "{due:?}");
}

/// RFC 8972, section 4.7.
#[test]
fn follow_up_telemetry() {
    let setup = Setup { follow_up_telemetry: true, ..bare(Keys::NONE) };
    let mut pair = Pair::new(&setup, Config::default());
    let mut ids = Vec::new();
    let mut next = |pair: &mut Pair| {
        let (packet, id) = pair.probe(50 + u64::try_from(ids.len()).unwrap());
        ids.push(id.unwrap());
        (read(&packet, &Keys::NONE).tlvs.follow_up, ids.clone())
    };
    assert_eq!(next(&mut pair).0, None);
    let (follow_up, ids) = next(&mut pair);
    assert_eq!(follow_up, None, "no stamp has come");
    pair.reflector.stamped(ids[1], Stamps { software: Some(at(5)), ..Stamps::NONE });
    let (follow_up, ids) = next(&mut pair);
    assert_eq!(follow_up, Some(Left { sequence: 1, at: at(5), method: method::SOFTWARE }));
    pair.reflector.stamped(ids[0], Stamps { software: Some(at(4)), ..Stamps::NONE });
    assert_eq!(next(&mut pair).0.unwrap().sequence, 1, "an older one that comes later is not the newest");
    let by_card = Stamps {
        software: Some(at(9)),
        hardware: Some(HardwareStamp::from_nanos(1)),
        hardware_in_system: Some(InSystem { stamp: at(10), bound: Duration::from_nanos(20) }),
        ..Stamps::NONE
    };
    pair.reflector.stamped(ids[2], by_card);
    let (follow_up, ids) = next(&mut pair);
    assert_eq!(follow_up, Some(Left { sequence: 2, at: at(10), method: method::HARDWARE }));
    // A card's own clock is nobody else's; without the system's time of it the kernel's stamp is the better one.
    pair.reflector.stamped(ids[4], Stamps { hardware_in_system: None, ..by_card });
    let (follow_up, _) = next(&mut pair);
    assert_eq!(follow_up, Some(Left { sequence: 4, at: at(9), method: method::SOFTWARE }));
}

#[test]
fn no_more_than_so_many_are_kept() {
    let mut pair = Pair::new(&with_room(3), Config { replies_kept: 4, ..Config::default() });
    let ids: Vec<_> = (0..10).map(|probe| pair.probe(probe).1.unwrap()).collect();
    for (probe, id) in (0..).zip(ids) {
        pair.reflector.stamped(id, stamps_of(probe));
        pair.reflector.stamped(id, stamps_of(999));
    }
    let all: Vec<_> = (0..2).flat_map(|question| told(&pair.question(question))).collect();
    assert_eq!(all, [6, 7, 8, 9, 6, 7], "the last four, each with the stamps that came first");
    let mut none = Pair::new(&with_room(3), Config { replies_kept: 0, ..Config::default() });
    let (_, id) = none.probe(0);
    none.reflector.stamped(id.unwrap(), stamps_of(0));
    assert!(told(&none.probe(1).0).is_empty());
}

/// A sender that asks only now and then.
#[test]
fn replies_in_between_are_not_kept() {
    let mut pair = Pair::new(&with_room(3), Config::default());
    let (_, first) = pair.probe(0);
    let mut silent = Pair::new(&bare(Keys::NONE), Config::default());
    std::mem::swap(&mut pair.request, &mut silent.request);
    assert_eq!(pair.probe(1).1, None);
    std::mem::swap(&mut pair.request, &mut silent.request);
    let (_, third) = pair.probe(2);
    pair.reflector.stamped(first.unwrap(), stamps_of(0));
    pair.reflector.stamped(third.unwrap(), stamps_of(2));
    assert_eq!(told(&pair.probe(3).0), [2]);
}

#[test]
fn in_an_authenticated_session() {
    let keys = Keys::authenticated(key());
    let mut pair = Pair::new(&full(keys.clone()), super::config(keys.clone()));
    let (_, id) = pair.probe(0);
    pair.reflector.stamped(id.unwrap(), stamps_of(0));
    let (packet, _) = pair.probe(1);
    let told = read(&packet, &keys).tlvs.told.unwrap();
    assert_eq!(told.records.map(|record| record.request).collect::<Vec<_>>(), [1, 0]);
}
