//! What a sender sends: a packet that is made once, and of which little changes from probe to probe.

use fast_afpacket::SystemStamp;

use super::error_estimate::ErrorEstimate;
use super::integrity::{self, Keys};
use super::key::CODE_LEN;
use super::packet::{Head, Layout};
use super::standard::ClassOfService;
use super::time::TimeFormat;
use super::tlv::{self, kind};
use super::{afprobe, afprobe::HEAD_LEN};
use crate::wire::write_at;

/// What all requests of a session have in common.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) keys: Keys,
    pub(crate) format: TimeFormat,
    /// Tells sessions of one sender and reflector apart. Not 0, which stands for none; best drawn by lot.
    pub(crate) ssid: u16,
    /// Octets of a packet, at least: what is missing is padding.
    pub(crate) len: usize,
    /// Asks how the reflector comes by its times.
    pub(crate) timestamp_information: bool,
    /// Asks how the request arrived marked, and that the reply be marked with this DSCP.
    pub(crate) class_of_service: Option<u8>,
    pub(crate) direct_measurement: bool,
    pub(crate) follow_up_telemetry: bool,
    /// Octets of our own TLV's value, as [`afprobe::room_for`] has them.
    pub(crate) room: Option<usize>,
}

/// What is said of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    /// The lower 32 bits go onto the wire.
    pub(crate) sequence: u64,
    /// Probes sent, this one included, for direct measurement.
    pub(crate) sent: u64,
    pub(crate) t1: SystemStamp,
    pub(crate) error: ErrorEstimate,
}

/// A session's request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    layout: Layout,
    keys: Keys,
    format: TimeFormat,
    ssid: u16,
    /// Where the sender's count stands.
    sent_at: Option<usize>,
    /// Where our own TLV's value stands, and its octets.
    ours: Option<(usize, usize)>,
}

impl Request {
    pub(crate) fn new(setup: &Setup) -> Self {
        let layout = setup.keys.layout();
        let mut bytes = vec![0; layout.len];
        let mut push = |kind: u8, len: u16| {
            tlv::push(&mut bytes, kind, len);
            bytes.len() - usize::from(len)
        };
        // Ours first: whoever understands none of the others needs no more than the front of the packet.
        let ours = setup.room.map(|room| {
            let room = u16::try_from(room.max(HEAD_LEN)).unwrap_or(u16::MAX);
            (push(kind::AFPROBE, room), usize::from(room))
        });
        if setup.timestamp_information {
            push(kind::TIMESTAMP_INFORMATION, 4);
        }
        let class_at = setup.class_of_service.map(|_| push(kind::CLASS_OF_SERVICE, 4));
        let sent_at = setup.direct_measurement.then(|| push(kind::DIRECT_MEASUREMENT, 12));
        if setup.follow_up_telemetry {
            push(kind::FOLLOW_UP_TELEMETRY, 16);
        }
        let wants_code = setup.keys.tlvs.is_some() && bytes.len() > layout.len;
        let code_len = if wants_code { tlv::HEAD_LEN + CODE_LEN } else { 0 };
        pad(&mut bytes, setup.len.saturating_sub(code_len));
        if wants_code {
            tlv::push(&mut bytes, kind::HMAC, 16);
        }
        if let (Some(at), Some(wanted_dscp)) = (class_at, setup.class_of_service) {
            let class = ClassOfService { wanted_dscp, received_dscp: 0, received_ecn: 0, reverse_path: 0 };
            write_at(&mut bytes, at, &class.to_wire());
        }
        // Less than a TLV's head cannot be padding by the book; it is read as none.
        bytes.resize(bytes.len().max(setup.len), 0);
        Self { bytes, layout, keys: setup.keys.clone(), format: setup.format, ssid: setup.ssid, sent_at, ours }
    }

    /// Octets of each packet.
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The session that it is of.
    pub(crate) const fn ssid(&self) -> u16 {
        self.ssid
    }

    /// The timestamp that a packet says when it is sent so.
    pub(crate) fn timestamp(&self, sending: Sending) -> u64 {
        self.format.encode(sending.t1)
    }

    /// The packet of a probe.
    pub(crate) fn probe(&mut self, sending: Sending) -> &[u8] {
        self.packet(sending, false)
    }

    /// A packet that is no probe and only asks for the stamps of earlier replies. Its numbers are a count of their own.
    pub(crate) fn question(&mut self, sending: Sending) -> &[u8] {
        self.packet(sending, true)
    }

    fn packet(&mut self, sending: Sending, asks: bool) -> &[u8] {
        let [_, _, _, _, a, b, c, d] = sending.sequence.to_be_bytes();
        let [_, _, _, _, sent @ ..] = sending.sent.to_be_bytes();
        let head = Head {
            sequence: u32::from_be_bytes([a, b, c, d]),
            timestamp: self.timestamp(sending),
            error: sending.error.to_wire(self.format.is_ptp()),
            ssid: self.ssid,
        };
        head.write(&self.layout, &mut self.bytes);
        if let Some(at) = self.sent_at {
            write_at(&mut self.bytes, at, &sent);
        }
        if let Some((at, len)) = self.ours {
            let value = self.bytes.get_mut(at..).and_then(|rest| rest.get_mut(..len));
            afprobe::request(value.unwrap_or_default(), asks);
        }
        integrity::authenticate(&mut self.bytes, &self.layout, self.keys.tlvs.as_ref());
        self.layout.authenticate(&mut self.bytes, self.keys.packet.as_ref());
        &self.bytes
    }
}

/// Appends an extra padding TLV, or more, that make a packet as long as `len`, as far as a TLV can: RFC 8972, section 4.1.
fn pad(bytes: &mut Vec<u8>, len: usize) {
    // Nobody can foretell what a compressing link would make of zeros.
    let mut state = 0x9372_e759_c7b5_aa73_u64;
    while let Some(missing) = len.checked_sub(bytes.len() + tlv::HEAD_LEN) {
        let value = u16::try_from(missing).unwrap_or(u16::MAX - 8);
        tlv::push(bytes, kind::EXTRA_PADDING, value);
        for byte in bytes.iter_mut().rev().take(value.into()) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            [*byte, ..] = state.to_le_bytes();
        }
    }
}
