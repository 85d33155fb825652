//! What a sender makes of a reply, of a STAMP reflector or one of TWAMP Light, whose replies are the same up to the TTL.

use fast_afpacket::SystemStamp;

use super::afprobe::Told;
use super::error_estimate::ErrorEstimate;
use super::integrity::{self, Keys};
use super::packet::{Head, Tail};
use super::standard::{ClassOfService, DirectMeasurement, FollowUp, TimestampInformation};
use super::time::TimeFormat;
use super::tlv::{Walk, flag, kind};

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reflected<'a> {
    /// The reflector's number of it. One that keeps none says the request's.
    pub(crate) sequence: u32,
    /// When the reply was sent and the request had arrived; `None` if the reflector does not say.
    pub(crate) t3: Option<SystemStamp>,
    pub(crate) t2: Option<SystemStamp>,
    /// Of both.
    pub(crate) error: ErrorEstimate,
    /// That of the request, or 0 from a reflector that knows of none.
    pub(crate) ssid: u16,
    /// As the request said them.
    pub(crate) sender_sequence: u32,
    pub(crate) sender_timestamp: u64,
    /// The TTL or hop limit that the request arrived with.
    pub(crate) sender_ttl: u8,
    pub(crate) tlvs: Tlvs<'a>,
}

/// The TLVs that can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tlvs<'a> {
    pub(crate) timestamp_information: Option<TimestampInformation>,
    pub(crate) class_of_service: Option<ClassOfService>,
    pub(crate) direct_measurement: Option<DirectMeasurement>,
    /// When an earlier reply left, its number, and whether the card says so.
    pub(crate) follow_up: Option<Left>,
    pub(crate) told: Option<Told<'a>>,
    /// How many the reflector did not understand.
    pub(crate) unrecognized: usize,
    /// One had a length that cannot be. Those behind it were not read.
    pub(crate) is_malformed: bool,
    /// The reflector found them forged, or they are: none was read.
    pub(crate) is_forged: bool,
}

/// A reply's departure, told by a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) sequence: u32,
    pub(crate) at: SystemStamp,
    /// Of the standard's table: by the card, by software.
    pub(crate) method: u8,
}

/// Why a packet is no reply that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    TooShort,
    /// The code is wrong.
    Forged,
    /// The error estimate is one that the standard forbids.
    Corrupt,
    /// A request: somebody has returned ours as it was.
    NoReply,
}

impl<'a> Reflected<'a> {
    /// Reads a reply to a request made with these keys and this format. `now` tells in which era its times are.
    pub(crate) fn read(
        packet: &'a [u8],
        keys: &Keys,
        format: TimeFormat,
        now: SystemStamp,
    ) -> Result<Self, Unreadable> {
        let layout = keys.layout();
        let (Some(head), Some(tail)) = (Head::read(&layout, packet), Tail::read(&layout, packet)) else {
            return Err(Unreadable::TooShort);
        };
        if packet.len() < layout.shortest_reply {
            return Err(Unreadable::TooShort);
        }
        if !layout.is_authentic(packet, keys.packet.as_ref()) {
            return Err(Unreadable::Forged);
        }
        let (error, is_ptp) = head.error_estimate().ok_or(Unreadable::Corrupt)?;
        if (tail.receive, tail.sender_timestamp) == (0, 0) {
            return Err(Unreadable::NoReply);
        }
        // The reflector's own choice of format is no matter of ours; how far TAI is from UTC is.
        let format = match (is_ptp, format) {
            (false, _) => TimeFormat::Ntp,
            (true, TimeFormat::Ptp(_)) => format,
            (true, TimeFormat::Ntp) => TimeFormat::UNTOLD_PTP,
        };
        Ok(Self {
            sequence: head.sequence,
            t3: format.decode(head.timestamp, now),
            t2: format.decode(tail.receive, now),
            error,
            ssid: head.ssid,
            sender_sequence: tail.sender_sequence,
            sender_timestamp: tail.sender_timestamp,
            sender_ttl: tail.sender_ttl,
            tlvs: Tlvs::read(packet, keys, format, now),
        })
    }
}

impl<'a> Tlvs<'a> {
    fn read(packet: &'a [u8], keys: &Keys, format: TimeFormat, now: SystemStamp) -> Self {
        let layout = keys.layout();
        let walk = || Walk::new(packet, layout.len);
        let found_forged = walk().any(|place| place.flags & flag::INTEGRITY_FAILED != 0);
        if found_forged || !integrity::are_authentic(packet, &layout, keys.tlvs.as_ref()) {
            return Self { is_forged: true, ..Self::default() };
        }
        let mut tlvs = Self::default();
        for place in walk() {
            if place.is_malformed || place.flags & flag::MALFORMED != 0 {
                tlvs.is_malformed = true;
                break;
            }
            if place.flags & flag::UNRECOGNIZED != 0 {
                tlvs.unrecognized += 1;
                continue;
            }
            let value = place.value(packet);
            match place.kind {
                kind::TIMESTAMP_INFORMATION => tlvs.timestamp_information = TimestampInformation::read(value),
                kind::CLASS_OF_SERVICE => tlvs.class_of_service = ClassOfService::read(value),
                kind::DIRECT_MEASUREMENT => tlvs.direct_measurement = DirectMeasurement::read(value),
                kind::FOLLOW_UP_TELEMETRY => tlvs.follow_up = Left::read(value, format, now),
                kind::AFPROBE => tlvs.told = Told::read(value),
                _ => {}
            }
        }
        tlvs
    }
}

impl Left {
    fn read(value: &[u8], format: TimeFormat, now: SystemStamp) -> Option<Self> {
        let FollowUp { sequence, timestamp, method } = FollowUp::read(value)?;
        Some(Self { sequence, at: format.decode(timestamp, now)?, method })
    }
}
