//! Our own TLV: what a reflector of this program tells beyond the standard, byte by byte in `WIRE.md`.
//!
//! A standard reply carries two times and no stamps of kernel or card; those of its own sending exist only when it has
//! left. So a request brings a TLV with room, and the reflector fills it: its counts of the session, all stamps of the
//! request's arrival, and those of earlier replies, as many as the room has. A reflector that does not know the TLV returns
//! it with the U flag, and the sender does without.

use std::time::Duration;

use fast_afpacket::{HardwareStamp, SystemStamp};

use super::packet::chunk;
use crate::two_way::stamps::{InSystem, Stamps};
use crate::wire::write_at;

/// What tells this TLV from other people's experiments with its type.
const MAGIC: [u8; 4] = *b"afpr";
const VERSION: u8 = 1;
const FLAGS_AT: usize = 5;
const RECORDS_AT: usize = 6;
const COUNTS_AT: usize = 8;
/// Octets of a value in front of the records: the shortest value.
pub(crate) const HEAD_LEN: usize = COUNTS_AT + 5 * 8;

/// This is no probe: it only asks, and is counted nowhere.
const ASKS: u8 = 0x80;
/// The reflector keeps count of this session.
const COUNTS: u8 = 0x40;

const RECORD_HEAD_LEN: usize = 12;
const ARRIVAL: u8 = 2;
const DEPARTURE: u8 = 3;
const USERSPACE: u8 = 0x80;
const SCHEDULED: u8 = 0x40;
const SOFTWARE: u8 = 0x20;
const HARDWARE: u8 = 0x10;
const IN_SYSTEM: u8 = 0x08;

/// What a value with this type is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    Ours,
    /// Another version, or somebody else's.
    Foreign,
    /// It begins as ours and is too short.
    Malformed,
}

pub(crate) fn look_at(value: &[u8]) -> Sight {
    match value.split_first_chunk::<4>() {
        Some((&MAGIC, [VERSION, ..])) if value.len() >= HEAD_LEN => Sight::Ours,
        Some((&MAGIC, [VERSION, ..])) => Sight::Malformed,
        _ => Sight::Foreign,
    }
}

/// Octets of a value with room for the stamps of one arrival and those of `departures` replies.
pub(crate) const fn room_for(departures: usize, with_hardware: bool) -> usize {
    let hardware = if with_hardware { 3 * 8 } else { 0 };
    HEAD_LEN + (RECORD_HEAD_LEN + 2 * 8 + hardware) + departures * (RECORD_HEAD_LEN + 3 * 8 + hardware)
}

/// Makes an empty value a request's.
pub(crate) fn request(value: &mut [u8], asks: bool) {
    write_at(value, 0, &MAGIC);
    write_at(value, MAGIC.len(), &[VERSION, if asks { ASKS } else { 0 }]);
}

/// Whether a request is no probe and only asks.
pub(crate) fn asks(value: &[u8]) -> bool {
    value.get(FLAGS_AT).is_some_and(|flags| flags & ASKS != 0)
}

/// What a reflector has counted of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Probes, duplicates included.
    pub(crate) received: u64,
    /// Probes, each counted once.
    pub(crate) unique: u64,
    /// Probes that came again, or so late that nobody knows.
    pub(crate) duplicates: u64,
    /// Of the unique ones, those with a lower number than one before.
    pub(crate) reordered: u64,
    /// Replies.
    pub(crate) sent: u64,
}

/// At which end of the reflector's work stamps were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// T2, of the request that this reply answers.
    Arrival,
    /// T3, of an earlier reply.
    Departure,
}

/// The stamps of one packet at the reflector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) point: Point,
    /// The reflector's number of the reply.
    pub(crate) reply: u32,
    /// The sender's number of the request.
    pub(crate) request: u32,
    pub(crate) stamps: Stamps,
}

/// A request's room, being filled by a reflector.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    value: &'a mut [u8],
    at: usize,
    records: u8,
}

impl<'a> Room<'a> {
    /// Whatever else the request has brought becomes 0.
    pub(crate) fn new(value: &'a mut [u8], counts: Option<Counts>) -> Self {
        let asks = asks(value);
        value.fill(0);
        request(value, asks);
        if let Some(Counts { received, unique, duplicates, reordered, sent }) = counts {
            if let Some(flags) = value.get_mut(FLAGS_AT) {
                *flags |= COUNTS;
            }
            for (place, count) in [received, unique, duplicates, reordered, sent].into_iter().enumerate() {
                write_at(value, COUNTS_AT + 8 * place, &count.to_be_bytes());
            }
        }
        Self { value, at: HEAD_LEN, records: 0 }
    }

    /// Writes a record, or nothing if there is no room for it.
    pub(crate) fn push(&mut self, record: &Record) -> bool {
        let mut bytes = [0; RECORD_HEAD_LEN + 6 * 8];
        let len = encode(record, &mut bytes);
        let end = self.at + len;
        if end > self.value.len() || self.records == u8::MAX {
            return false;
        }
        write_at(self.value, self.at, bytes.get(..len).unwrap_or_default());
        self.at = end;
        self.records += 1;
        write_at(self.value, RECORDS_AT, &[self.records]);
        true
    }
}

/// How many octets it took.
fn encode(record: &Record, bytes: &mut [u8]) -> usize {
    let stamps = &record.stamps;
    let converted = stamps.hardware_in_system;
    let times = [
        (USERSPACE, stamps.userspace.map(|stamp| stamp.as_nanos().to_be_bytes())),
        (SCHEDULED, stamps.scheduled.map(|stamp| stamp.as_nanos().to_be_bytes())),
        (SOFTWARE, stamps.software.map(|stamp| stamp.as_nanos().to_be_bytes())),
        (HARDWARE, stamps.hardware.map(|stamp| stamp.as_nanos().to_be_bytes())),
        (IN_SYSTEM, converted.map(|converted| converted.stamp.as_nanos().to_be_bytes())),
        (IN_SYSTEM, converted.map(|InSystem { bound, .. }| nanos(bound).to_be_bytes())),
    ];
    let (mut present, mut at) = (0, RECORD_HEAD_LEN);
    for (bit, time) in times {
        if let Some(time) = time {
            present |= bit;
            write_at(bytes, at, &time);
            at += time.len();
        }
    }
    let point = match record.point {
        Point::Arrival => ARRIVAL,
        Point::Departure => DEPARTURE,
    };
    write_at(bytes, 0, &[present, point]);
    write_at(bytes, 4, &record.reply.to_be_bytes());
    write_at(bytes, 8, &record.request.to_be_bytes());
    at
}

fn nanos(bound: Duration) -> u64 {
    u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX)
}

/// What a reflector has told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told<'a> {
    /// The request was no probe and only asked.
    pub(crate) asks: bool,
    /// `None` if it keeps none.
    pub(crate) counts: Option<Counts>,
    pub(crate) records: Records<'a>,
}

impl<'a> Told<'a> {
    /// `None` if the value is not ours.
    pub(crate) fn read(value: &'a [u8]) -> Option<Self> {
        if look_at(value) != Sight::Ours {
            return None;
        }
        let [flags, records] = chunk(value, FLAGS_AT)?;
        let count = |place: usize| chunk(value, COUNTS_AT + 8 * place).map(u64::from_be_bytes);
        let counts = Counts {
            received: count(0)?,
            unique: count(1)?,
            duplicates: count(2)?,
            reordered: count(3)?,
            sent: count(4)?,
        };
        Some(Self {
            asks: flags & ASKS != 0,
            counts: (flags & COUNTS != 0).then_some(counts),
            records: Records { left: records, rest: value.get(HEAD_LEN..)? },
        })
    }
}

/// The records of a reply. They end early at one that is cut or of a kind that is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Records<'a> {
    left: u8,
    rest: &'a [u8],
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        self.left = self.left.checked_sub(1)?;
        let (record, rest) = decode(self.rest)?;
        self.rest = rest;
        Some(record)
    }
}

fn decode(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let (head, mut rest) = bytes.split_first_chunk::<RECORD_HEAD_LEN>()?;
    let [present, point, _, _, a, b, c, d, e, f, g, h] = *head;
    let point = match point {
        ARRIVAL => Point::Arrival,
        DEPARTURE => Point::Departure,
        _ => return None,
    };
    if present & !(USERSPACE | SCHEDULED | SOFTWARE | HARDWARE | IN_SYSTEM) != 0 {
        return None;
    }
    // The outer Option: cut; the inner one: not there.
    let mut time = |bit: u8| -> Option<Option<[u8; 8]>> {
        if present & bit == 0 {
            return Some(None);
        }
        let (time, behind) = rest.split_first_chunk()?;
        rest = behind;
        Some(Some(*time))
    };
    let system = |time: [u8; 8]| SystemStamp::from_nanos(i64::from_be_bytes(time));
    let stamps = Stamps {
        userspace: time(USERSPACE)?.map(system),
        scheduled: time(SCHEDULED)?.map(system),
        software: time(SOFTWARE)?.map(system),
        hardware: time(HARDWARE)?.map(|time| HardwareStamp::from_nanos(i64::from_be_bytes(time))),
        hardware_in_system: match (time(IN_SYSTEM)?, time(IN_SYSTEM)?) {
            (Some(stamp), Some(bound)) => {
                Some(InSystem { stamp: system(stamp), bound: Duration::from_nanos(u64::from_be_bytes(bound)) })
            }
            _ => None,
        },
    };
    let (reply, request) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
    Some((Record { point, reply, request, stamps }, rest))
}
