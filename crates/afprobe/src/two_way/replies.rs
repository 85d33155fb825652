//! What the replies of a reflector say, as observations of the probes that they are about.

use fast_afpacket::{MacAddr, SystemStamp};

use super::sent_times::Sent;
use super::stamps::{Header, Observation, ReflectorCounts, Reply, Stamps};
use super::transport::Transport;
use crate::frame::Unread;
use crate::receiver::Received;
use crate::reflector::Peer;
use crate::wire::stamp::afprobe::{Counts, Point, Record, Told};
use crate::wire::stamp::error_estimate::ErrorEstimate;
use crate::wire::stamp::integrity::Keys;
use crate::wire::stamp::reflected::{Left, Reflected, Unreadable};
use crate::wire::stamp::time::TimeFormat;

/// Whose replies are read, and to what.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) transport: Transport,
    pub(crate) own_mac: MacAddr,
    pub(crate) peer: Peer,
    pub(crate) keys: Keys,
    pub(crate) format: TimeFormat,
    pub(crate) ssid: u16,
}

/// Something that a received frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are the large one, and a box would be an allocation for each"
)]
pub(crate) enum Said {
    Observed(Observation),
    /// What the reflector says of its clock.
    Clock(ErrorEstimate),
    /// Whether the reflector understands what only this program says.
    UnderstandsUs(bool),
    /// The question with this number is answered.
    Answered(u32),
    NoReply(NoReply),
}

/// Why a frame is no reply to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoReply {
    /// Something else: of another host, of another session, to another probe than it says, no STAMP.
    Foreign,
    /// Of the datagram or of IPv4's header.
    WrongChecksum,
    Malformed,
    /// With a code that is not the key's.
    Forged,
}

/// How many replies are remembered by their number.
const REMEMBERED: usize = 64;

/// Reads replies, one after the other.
#[derive(Debug)]
pub(crate) struct Replies {
    expected: Expected,
    /// Of the latest replies the reflector's number and that of the probe: the standard's follow-up says only the first.
    latest: [(u32, u32); REMEMBERED],
    next: usize,
    /// What was said of the reflector, which is not told again.
    understands: Option<bool>,
    clock: Option<ErrorEstimate>,
}

impl Replies {
    pub(crate) fn new(expected: Expected) -> Self {
        Self { expected, latest: [(0, 0); REMEMBERED], next: 0, understands: None, clock: None }
    }

    /// Reads a frame.
    pub(crate) fn read(&mut self, received: &Received<'_>, sent: &Sent, mut say: impl FnMut(Said)) {
        if let Err(why) = self.try_read(received, sent, &mut say) {
            say(Said::NoReply(why));
        }
    }

    fn try_read(&mut self, received: &Received<'_>, sent: &Sent, say: &mut impl FnMut(Said)) -> Result<(), NoReply> {
        let Expected { transport, own_mac, peer, keys, format, ssid } = &self.expected;
        let letter = transport.read(received, *own_mac).map_err(unread)?;
        if letter.from != *peer {
            return Err(NoReply::Foreign);
        }
        let reflected = Reflected::read(letter.packet, keys, *format, received.userspace).map_err(|why| match why {
            Unreadable::TooShort | Unreadable::Corrupt => NoReply::Malformed,
            Unreadable::Forged => NoReply::Forged,
            Unreadable::NoReply => NoReply::Foreign,
        })?;
        // A reflector that knows nothing of sessions leaves zeros there.
        if reflected.ssid != *ssid && reflected.ssid != 0 {
            return Err(NoReply::Foreign);
        }
        if reflected.tlvs.is_forged {
            return Err(NoReply::Forged);
        }
        let told = reflected.tlvs.told.clone();
        let asked = told.as_ref().is_some_and(|told| told.asks);
        let answered = if asked { &sent.questions } else { &sent.probes };
        if answered.has(reflected.sender_sequence, reflected.sender_timestamp) == Some(false) {
            return Err(NoReply::Foreign);
        }
        if self.understands != Some(told.is_some()) {
            self.understands = Some(told.is_some());
            say(Said::UnderstandsUs(told.is_some()));
        }
        if self.clock != Some(reflected.error) {
            self.clock = Some(reflected.error);
            say(Said::Clock(reflected.error));
        }
        if !asked {
            let newest = sent.probes.newest();
            say(Said::Observed(Observation::Reply(reply(&reflected, newest, received.stamps(), letter.header))));
            self.remember(&reflected);
        }
        match told {
            Some(told) => self.told(&reflected, told, asked, say),
            None => self.standard(&reflected, say),
        }
        if asked {
            say(Said::Answered(reflected.sender_sequence));
        }
        Ok(())
    }

    /// What our own reflector tells.
    fn told(&self, reflected: &Reflected<'_>, told: Told<'_>, asked: bool, say: &mut impl FnMut(Said)) {
        let counts = told.counts;
        for Record { point, reply, request, stamps } in told.records {
            if point == Point::Departure {
                let reflected_as = counts.map(|_| reply);
                say(Said::Observed(Observation::FollowUp { seq: request, reflected_as, t3: stamps }));
            }
        }
        if let Some(Counts { received, unique, duplicates, reordered, sent }) = counts {
            say(Said::Observed(Observation::Counts(ReflectorCounts {
                as_of: (!asked).then_some(reflected.sequence),
                received: Some(received),
                unique: Some(unique),
                duplicates: Some(duplicates),
                reordered: Some(reordered),
                sent: Some(sent),
            })));
        }
    }

    /// What any reflector tells that knows RFC 8972.
    fn standard(&self, reflected: &Reflected<'_>, say: &mut impl FnMut(Said)) {
        if let Some(Left { sequence, at, .. }) = reflected.tlvs.follow_up
            && let Some(&(_, seq)) = self.latest.iter().find(|(reply, _)| *reply == sequence)
        {
            let t3 = Stamps { software: Some(at), ..Stamps::NONE };
            say(Said::Observed(Observation::FollowUp { seq, reflected_as: None, t3 }));
        }
        if let Some(measured) = reflected.tlvs.direct_measurement {
            say(Said::Observed(Observation::Counts(ReflectorCounts {
                as_of: Some(reflected.sequence),
                received: Some(measured.reflector_received.into()),
                sent: Some(measured.reflector_sent.into()),
                ..ReflectorCounts::default()
            })));
        }
    }

    fn remember(&mut self, reflected: &Reflected<'_>) {
        if let Some(place) = self.latest.get_mut(self.next % REMEMBERED) {
            *place = (reflected.sequence, reflected.sender_sequence);
        }
        self.next = self.next.wrapping_add(1);
    }
}

fn reply(reflected: &Reflected<'_>, newest: u64, t4: Stamps, backward: Header) -> Reply {
    let told = reflected.tlvs.told.as_ref();
    let arrival = told.and_then(|told| told.records.clone().find(|record| record.point == Point::Arrival));
    let at = |userspace: Option<SystemStamp>| Stamps { userspace, ..Stamps::NONE };
    let class = reflected.tlvs.class_of_service;
    Reply {
        seq: reflected.sender_sequence,
        newest,
        reflected_as: told.and_then(|told| told.counts).map(|_| reflected.sequence),
        t2: arrival.map_or_else(|| at(reflected.t2), |arrival| arrival.stamps),
        t3: at(reflected.t3),
        t4,
        // A reflector that keeps no sessions has nothing to tell later.
        follow_up: told.and_then(|told| told.counts).is_some(),
        forward: Header {
            ttl: Some(reflected.sender_ttl),
            dscp: class.map(|class| class.received_dscp),
            ecn: class.map(|class| class.received_ecn),
        },
        backward,
    }
}

fn unread(why: Unread) -> NoReply {
    match why {
        Unread::WrongChecksum | Unread::NoChecksum => NoReply::WrongChecksum,
        Unread::Malformed => NoReply::Malformed,
        Unread::NoUdp | Unread::Fragment => NoReply::Foreign,
    }
}
