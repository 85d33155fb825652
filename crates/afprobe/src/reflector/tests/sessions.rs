//! Sessions: numbers and counts of each, and how many there can be.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::super::{Config, Reflector};
use super::{Pair, answer, arrival, config, read, udp};
use crate::wire::stamp::afprobe::Counts;
use crate::wire::stamp::integrity::Keys;
use crate::wire::stamp::request::Request;
use crate::wire::stamp::tests::{bare, full, key, sending};

fn counts(packet: &[u8], keys: &Keys) -> Counts {
    read(packet, keys).tlvs.told.unwrap().counts.unwrap()
}

#[test]
fn each_has_its_own_numbers() {
    let mut reflector = Reflector::new(Config::default());
    let mut other_port = arrival();
    other_port.flow.peer = udp("192.0.2.1", 50_001);
    let mut other_local = arrival();
    other_local.flow.local = udp("192.0.2.3", 862);
    let mut other_host = arrival();
    other_host.flow.peer = udp("2001:db8::1", 50_000);
    let mut other_ssid = bare(Keys::NONE);
    other_ssid.ssid = 0x1235;
    let sessions = [arrival(), other_port, other_local, other_host].map(|arrival| (bare(Keys::NONE), arrival));
    let sessions: Vec<_> = sessions.into_iter().chain([(other_ssid, arrival())]).collect();
    for number in 0..10 {
        for (setup, arrival) in &sessions {
            let packet = Request::new(setup).probe(sending(100 + u64::from(number))).to_vec();
            let (packet, _) = answer(&mut reflector, &packet, arrival).unwrap();
            let reply = read(&packet, &Keys::NONE);
            assert_eq!((reply.sequence, reply.sender_sequence, reply.ssid), (number, 100 + number, setup.ssid));
        }
    }
    assert_eq!(reflector.sessions(), sessions.len());
}

#[test]
fn what_is_counted() {
    for keys in [Keys::NONE, Keys::of_tlvs(key())] {
        let mut pair = Pair::new(&full(keys.clone()), config(keys.clone()));
        let sequences = [0, 1, 4, 2, 2, 4, 5, 3, 40_000, 5];
        let packets = sequences.map(|sequence| pair.probe(sequence).0);
        let seen = packets.each_ref().map(|packet| {
            let Counts { received, unique, duplicates, reordered, sent } = counts(packet, &keys);
            [received, unique, duplicates, reordered, sent]
        });
        let expected = [
            [1, 1, 0, 0, 1],
            [2, 2, 0, 0, 2],
            [3, 3, 0, 0, 3],
            [4, 4, 0, 1, 4],
            [5, 4, 1, 1, 5],
            [6, 4, 2, 1, 6],
            [7, 5, 2, 1, 7],
            [8, 6, 2, 2, 8],
            [9, 7, 2, 2, 9],
            [10, 7, 3, 2, 10], // so late that nobody knows whether it was there
        ];
        assert_eq!(seen, expected);
        let numbers = packets.each_ref().map(|packet| read(packet, &keys).sequence);
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "a duplicate is answered again, by another number");
        let direct = read(&packets[9], &keys).tlvs.direct_measurement.unwrap();
        assert_eq!((direct.reflector_received, direct.reflector_sent), (10, 10));
    }
}

#[test]
fn an_authenticated_duplicate_is_counted_and_not_answered() {
    let keys = Keys::authenticated(key());
    let mut pair = Pair::new(&full(keys.clone()), config(keys.clone()));
    pair.probe(0);
    let again = pair.request.probe(sending(0)).to_vec();
    assert!(answer(&mut pair.reflector, &again, &pair.arrival).is_err());
    let (packet, _) = pair.probe(1);
    let expected = Counts { received: 3, unique: 2, duplicates: 1, reordered: 0, sent: 2 };
    assert_eq!((counts(&packet, &keys), read(&packet, &keys).sequence), (expected, 1));
}

#[test]
fn questions_are_counted_nowhere() {
    for keys in [Keys::NONE, Keys::authenticated(key())] {
        let mut pair = Pair::new(&full(keys.clone()), config(keys.clone()));
        pair.probe(0);
        let one = Counts { received: 1, unique: 1, duplicates: 0, reordered: 0, sent: 1 };
        for question in 0..3 {
            let packet = pair.question(question);
            assert_eq!(counts(&packet, &keys), one);
            assert!(read(&packet, &keys).tlvs.told.unwrap().asks);
            assert_eq!(read(&packet, &keys).sequence, u32::try_from(question).unwrap(), "that of the question");
        }
        let (packet, _) = pair.probe(1);
        assert_eq!(read(&packet, &keys).sequence, 1);
        assert_eq!((pair.reflector.tally().answered, pair.reflector.tally().questions), (5, 3));
        if keys.packet.is_some() {
            let again = pair.request.question(sending(1)).to_vec();
            assert!(answer(&mut pair.reflector, &again, &pair.arrival).is_err(), "replayed");
            let (packet, _) = pair.probe(2);
            assert_eq!(counts(&packet, &keys).received, 3);
        }
    }
}

#[test]
fn what_the_kernel_did_not_take_was_not_sent() {
    let mut pair = Pair::new(&full(Keys::NONE), Config::default());
    let (_, id) = pair.probe(0);
    pair.reflector.not_sent(id);
    let (packet, _) = pair.probe(1);
    let expected = Counts { received: 2, unique: 2, duplicates: 0, reordered: 0, sent: 1 };
    assert_eq!((counts(&packet, &Keys::NONE), read(&packet, &Keys::NONE).sequence), (expected, 1));
    assert_eq!(pair.reflector.tally().not_sent, 1);
}

#[test]
fn numbers_wrap() {
    let mut pair = Pair::new(&full(Keys::NONE), Config::default());
    for sequence in (1 << 32) - 3..(1 << 32) + 3 {
        pair.probe(sequence);
    }
    let (packet, _) = pair.probe((1 << 32) - 1);
    let expected = Counts { received: 7, unique: 6, duplicates: 1, reordered: 0, sent: 7 };
    assert_eq!(counts(&packet, &Keys::NONE), expected);
}

#[test]
fn a_session_that_was_idle_begins_anew() {
    let mut pair = Pair::new(&full(Keys::NONE), Config { idle: Duration::from_secs(10), ..Config::default() });
    pair.probe(0);
    pair.wait(Duration::from_secs(10));
    assert_eq!(read(&pair.probe(1).0, &Keys::NONE).sequence, 1);
    let (_, id) = pair.probe(2);
    pair.wait(Duration::from_millis(10_001));
    let (packet, _) = pair.probe(0);
    assert_eq!((read(&packet, &Keys::NONE).sequence, counts(&packet, &Keys::NONE).received), (0, 1));
    // Stamps of the former session's reply are not those of the new one's.
    pair.probe(1);
    pair.probe(2);
    pair.reflector.stamped(id.unwrap(), pair.arrival.stamps);
    let (packet, _) = pair.probe(3);
    assert_eq!(read(&packet, &Keys::NONE).tlvs.told.unwrap().records.count(), 1, "only those of the arrival");
    assert_eq!(pair.reflector.tally().forgotten, 0);
}

#[test]
fn no_more_than_so_many() {
    let sessions = NonZeroUsize::new(3).unwrap();
    let mut reflector = Reflector::new(Config { sessions, ..Config::default() });
    let mut request = Request::new(&bare(Keys::NONE));
    let mut from = |port: u16| {
        let mut arrival = arrival();
        arrival.flow.peer = udp("192.0.2.1", port);
        let packet = request.probe(sending(0)).to_vec();
        let (packet, _) = answer(&mut reflector, &packet, &arrival).unwrap();
        let number = read(&packet, &Keys::NONE).sequence;
        (number, reflector.sessions(), reflector.tally().forgotten)
    };
    assert_eq!([1, 2, 3].map(&mut from), [(0, 1, 0), (0, 2, 0), (0, 3, 0)]);
    assert_eq!(from(1), (1, 3, 0));
    assert_eq!(from(4), (0, 3, 1), "the one that was idle longest goes: 2");
    assert_eq!(from(3), (1, 3, 1));
    assert_eq!(from(1), (2, 3, 1));
    assert_eq!(from(2), (0, 3, 2), "begins anew");
}
