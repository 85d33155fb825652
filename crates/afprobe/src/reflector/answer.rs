//! From the TLVs of a request to those of its reply, in the same place and of the same length: RFC 8972, section 4.

use super::Config;
use super::history::on_the_wire;
use super::session::Session;
use crate::two_way::stamps::{Header, Stamps};
use crate::wire::stamp::afprobe::{self, Point, Record, Room};
use crate::wire::stamp::integrity;
use crate::wire::stamp::packet::Layout;
use crate::wire::stamp::standard::{ClassOfService, DirectMeasurement, FollowUp, TimestampInformation, method};
use crate::wire::stamp::tlv::{Place, Walk, flag, kind};
use crate::wire::write_at;

/// What the TLVs of a request are to the reflector, before anything is done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Survey {
    /// None of them may be used.
    pub(super) is_forged: bool,
    /// This is no probe.
    pub(super) is_question: bool,
    /// Stamps of replies are wanted.
    pub(super) wants_stamps: bool,
}

impl Survey {
    pub(super) fn of(request: &[u8], layout: &Layout, config: &Config) -> Self {
        let mut survey = Self::default();
        let mut has_any = false;
        for place in Walk::new(request, layout.len) {
            has_any = true;
            match place.kind {
                _ if place.is_malformed => {}
                kind::AFPROBE if afprobe::look_at(place.value(request)) == afprobe::Sight::Ours => {
                    survey.wants_stamps = true;
                    survey.is_question |= afprobe::asks(place.value(request));
                }
                kind::FOLLOW_UP_TELEMETRY => survey.wants_stamps = true,
                _ => {}
            }
        }
        let is_authentic = || integrity::are_authentic(request, layout, config.keys.tlvs.as_ref());
        if has_any && !is_authentic() {
            return Self { is_forged: true, ..Self::default() };
        }
        survey
    }
}

/// Of the reply that is being made.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) config: &'a Config,
    pub(super) survey: Survey,
    /// `None` for a reflector that keeps none.
    pub(super) session: Option<&'a mut Session>,
    /// The reply's number on the wire, and the request's.
    pub(super) reply: u32,
    pub(super) request: u32,
    pub(super) stamps: Stamps,
    pub(super) header: Header,
    /// What the reply is to be marked with.
    pub(super) dscp: Option<u8>,
}

impl Answer<'_> {
    /// Answers the TLVs of a packet that is still the request behind its fixed part.
    pub(super) fn tlvs(&mut self, packet: &mut [u8], layout: &Layout) {
        let mut at = layout.len;
        // A walk borrows the packet, and what is answered is written into it: so step by step.
        while let Some(place) = Walk::new(packet, at).next() {
            let mut flags = if self.survey.is_forged { flag::INTEGRITY_FAILED } else { 0 };
            if place.is_malformed {
                flags |= flag::MALFORMED;
                if place.kind == kind::FOLLOW_UP_TELEMETRY {
                    // Section 4.7: of a wrong length it says nothing.
                    let what_it_says = place.value_mut(packet).iter_mut().take(12);
                    what_it_says.for_each(|byte| *byte = 0);
                }
            } else if !self.survey.is_forged && !self.tlv(place, packet) {
                flags |= flag::UNRECOGNIZED;
            }
            write_at(packet, place.at, &[flags]);
            if place.is_malformed {
                break;
            }
            at = place.value_at() + place.len;
        }
        if !self.survey.is_forged {
            integrity::authenticate(packet, layout, self.config.keys.tlvs.as_ref());
        }
    }

    /// Answers one, or says that it is not understood.
    fn tlv(&mut self, place: Place, packet: &mut [u8]) -> bool {
        let value = place.value_mut(packet);
        match place.kind {
            kind::EXTRA_PADDING | kind::HMAC => true,
            kind::TIMESTAMP_INFORMATION => {
                write_at(value, 0, &self.timestamp_information().to_wire());
                true
            }
            kind::CLASS_OF_SERVICE => self.class_of_service(value),
            kind::DIRECT_MEASUREMENT => self.direct_measurement(value),
            kind::FOLLOW_UP_TELEMETRY => {
                write_at(value, 0, &self.follow_up().to_wire());
                true
            }
            kind::AFPROBE => self.ours(value),
            _ => false,
        }
    }

    fn timestamp_information(&self) -> TimestampInformation {
        let source = self.config.time_source;
        // What the fixed part carries is read by software at both ends.
        TimestampInformation {
            source_in: source,
            method_in: method::SOFTWARE,
            source_out: source,
            method_out: method::SOFTWARE,
        }
    }

    fn class_of_service(&mut self, value: &mut [u8]) -> bool {
        let (Some(asked), Some(received_dscp), Some(received_ecn)) =
            (ClassOfService::read(value), self.header.dscp, self.header.ecn)
        else {
            return false;
        };
        let may = self.config.may_mark(asked.wanted_dscp);
        self.dscp = Some(if may { asked.wanted_dscp } else { received_dscp });
        let answer = ClassOfService { received_dscp, received_ecn, reverse_path: u8::from(!may), ..asked };
        write_at(value, 0, &answer.to_wire());
        true
    }

    /// Without a session nothing was counted, and 0 would be untrue.
    fn direct_measurement(&self, value: &mut [u8]) -> bool {
        let Some(session) = &self.session else {
            return false;
        };
        let answer = DirectMeasurement {
            sender_sent: 0,
            reflector_received: on_the_wire(session.counts.received),
            reflector_sent: on_the_wire(session.counts.sent),
        };
        write_at(value, 4, &answer.reflector_to_wire());
        true
    }

    /// The card's stamp, if it is known on the system clock, or the kernel's. Nothing, without a session or a stamp.
    fn follow_up(&mut self) -> FollowUp {
        let Some((number, stamps)) = self.session.as_mut().and_then(|session| session.history.newest()) else {
            return FollowUp::NONE;
        };
        let by_card = stamps.hardware_in_system.map(|converted| (converted.stamp, method::HARDWARE));
        let Some((left, method)) = by_card.or(stamps.software.map(|stamp| (stamp, method::SOFTWARE))) else {
            return FollowUp::NONE;
        };
        FollowUp { sequence: on_the_wire(number), timestamp: self.config.format.encode(left), method }
    }

    fn ours(&mut self, value: &mut [u8]) -> bool {
        if afprobe::look_at(value) != afprobe::Sight::Ours {
            return false;
        }
        let mut room = Room::new(value, self.session.as_ref().map(|session| session.counts));
        let arrival = Record { point: Point::Arrival, reply: self.reply, request: self.request, stamps: self.stamps };
        room.push(&arrival);
        if let Some(session) = &mut self.session {
            session.history.tell(&mut room, self.survey.is_question);
        }
        true
    }
}
