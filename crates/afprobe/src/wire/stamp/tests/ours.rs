//! Our own TLV: as `WIRE.md` has it, byte by byte.

use std::time::Duration;

use fast_afpacket::{HardwareStamp, SystemStamp};
use proptest::prelude::*;

use super::super::afprobe::{self, Counts, Point, Record, Room, Sight, Told, look_at, room_for};
use super::hex;
use crate::two_way::stamps::{InSystem, Stamps};

fn system(nanos: i64) -> Option<SystemStamp> {
    Some(SystemStamp::from_nanos(nanos))
}

fn records() -> [Record; 2] {
    let arrival = Stamps { userspace: system(0x0102), software: system(-2), ..Stamps::NONE };
    let departure = Stamps {
        userspace: system(3),
        scheduled: system(4),
        software: system(5),
        hardware: Some(HardwareStamp::from_nanos(6)),
        hardware_in_system: Some(InSystem { stamp: SystemStamp::from_nanos(7), bound: Duration::from_nanos(8) }),
    };
    [
        Record { point: Point::Arrival, reply: 9, request: 11, stamps: arrival },
        Record { point: Point::Departure, reply: 8, request: 10, stamps: departure },
    ]
}

const COUNTS: Counts = Counts { received: 5, unique: 4, duplicates: 1, reordered: 2, sent: 3 };

#[test]
fn to_the_byte() {
    let mut value = [0xaa; 160];
    value[..5].copy_from_slice(&hex("61667072 01"));
    value[5] = 0x80;
    let mut room = Room::new(&mut value, Some(COUNTS));
    assert!(records().iter().all(|record| room.push(record)));
    let expected = hex("61667072 01 c0 02 00 \
         0000000000000005 0000000000000004 0000000000000001 0000000000000002 0000000000000003 \
         a0 02 0000 00000009 0000000b 0000000000000102 fffffffffffffffe \
         f8 03 0000 00000008 0000000a 0000000000000003 0000000000000004 0000000000000005 \
         0000000000000006 0000000000000007 0000000000000008");
    assert_eq!(value[..expected.len()], expected);
    assert!(value[expected.len()..].iter().all(|&byte| byte == 0), "what the request has brought is gone");
    let told = Told::read(&value).unwrap();
    assert_eq!((told.asks, told.counts), (true, Some(COUNTS)));
    assert_eq!(told.records.collect::<Vec<_>>(), records());
}

#[test]
fn room_is_what_is_needed() {
    let [arrival, mut departure] = records();
    for with_hardware in [true, false] {
        if !with_hardware {
            departure.stamps.hardware = None;
            departure.stamps.hardware_in_system = None;
        }
        let hardware = if with_hardware { departure.stamps } else { arrival.stamps };
        let arrival = Record { stamps: Stamps { scheduled: None, ..hardware }, ..arrival };
        for departures in 0..5 {
            let mut value = vec![0; room_for(departures, with_hardware)];
            let mut room = Room::new(&mut value, None);
            assert!(room.push(&arrival));
            assert_eq!((0..9).filter(|_| room.push(&departure)).count(), departures);
            assert_eq!(Told::read(&value).unwrap().records.count(), departures + 1);
            assert_eq!(Told::read(&value).unwrap().counts, None);
        }
    }
}

#[test]
fn what_is_not_ours() {
    let mut value = vec![0; 60];
    assert_eq!(look_at(&value), Sight::Foreign);
    afprobe::request(&mut value, false);
    assert_eq!(look_at(&value), Sight::Ours);
    for len in 0..60 {
        let expected = match len {
            0..5 => Sight::Foreign,
            5..48 => Sight::Malformed,
            _ => Sight::Ours,
        };
        assert_eq!(look_at(&value[..len]), expected, "{len} octets");
        assert_eq!(Told::read(&value[..len]).is_some(), len >= 48);
    }
    for at in 0..5 {
        let mut other = value.clone();
        other[at] ^= 2;
        assert_eq!(look_at(&other), Sight::Foreign, "byte {at}");
    }
}

#[test]
fn records_end_where_they_cannot_be_read() {
    let mut value = [0; 160];
    let mut room = Room::new(&mut value, None);
    for record in records() {
        room.push(&record);
    }
    let read = |value: &[u8]| Told::read(value).unwrap().records.count();
    assert_eq!(read(&value), 2);
    let (second, end) = (48 + 28, 48 + 28 + 60);
    for len in 48..value.len() {
        assert_eq!(read(&value[..len]), usize::from(len >= second) + usize::from(len >= end), "{len} octets");
    }
    for (at, byte) in [(second, 0xff), (second + 1, 4), (second + 1, 0)] {
        let mut other = value;
        other[at] = byte;
        assert_eq!(read(&other), 1);
    }
}

fn stamps() -> impl Strategy<Value = Stamps> {
    let system = || proptest::option::of(any::<i64>().prop_map(SystemStamp::from_nanos));
    let converted = (any::<i64>(), any::<u64>()).prop_map(|(stamp, bound)| InSystem {
        stamp: SystemStamp::from_nanos(stamp),
        bound: Duration::from_nanos(bound),
    });
    let hardware = proptest::option::of(any::<i64>().prop_map(HardwareStamp::from_nanos));
    (system(), system(), system(), hardware, proptest::option::of(converted)).prop_map(
        |(userspace, scheduled, software, hardware, hardware_in_system)| Stamps {
            userspace,
            scheduled,
            software,
            hardware,
            hardware_in_system,
        },
    )
}

fn record() -> impl Strategy<Value = Record> {
    (any::<bool>(), any::<u32>(), any::<u32>(), stamps()).prop_map(|(is_arrival, reply, request, stamps)| Record {
        point: if is_arrival { Point::Arrival } else { Point::Departure },
        reply,
        request,
        stamps,
    })
}

proptest! {
    #[test]
    fn both_ways(
        all in prop::collection::vec(record(), 0..12),
        counts in proptest::option::of(any::<[u64; 5]>()),
        len in 48..600_usize,
        asks in any::<bool>(),
    ) {
        let counts = counts.map(|[received, unique, duplicates, reordered, sent]| Counts { received, unique, duplicates, reordered, sent });
        let mut value = vec![0x55; len];
        afprobe::request(&mut value, asks);
        let mut room = Room::new(&mut value, counts);
        let fitted: Vec<_> = all.iter().filter(|record| room.push(record)).copied().collect();
        let told = Told::read(&value).unwrap();
        prop_assert_eq!((told.asks, told.counts), (asks, counts));
        prop_assert_eq!(told.records.collect::<Vec<_>>(), fitted);
    }
}
