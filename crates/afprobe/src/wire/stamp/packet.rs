//! The fixed part of a STAMP packet, in front of the TLVs: RFC 8762, sections 4.2 and 4.3; the session's id RFC 8972,
//! section 3.
//!
//! A request is as long as its reply, and what they have in common stands in the same places, so that a reflector can
//! answer in the request's room. The authenticated form spreads the fields over blocks of 16 octets, of which the last
//! one is the code of those before it.

use super::error_estimate::ErrorEstimate;
use super::key::{CODE_LEN, Key};
use crate::wire::write_at;

/// Where the fields of one of the two forms stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Octets of the fixed part. TLVs follow.
    pub(crate) len: usize,
    /// Octets of the shortest packet that has all that a reply tells. TWAMP, whose reply ends with the TTL, has no more.
    pub(crate) shortest_reply: usize,
    /// Octets of the shortest request that can be read. TWAMP's ends with the error estimate.
    pub(crate) shortest_request: usize,
    pub(crate) sequence: usize,
    pub(crate) timestamp: usize,
    pub(crate) error: usize,
    pub(crate) ssid: usize,
    pub(crate) receive: usize,
    pub(crate) sender_sequence: usize,
    pub(crate) sender_timestamp: usize,
    pub(crate) sender_error: usize,
    pub(crate) sender_ttl: usize,
    /// The code, of all in front of it.
    pub(crate) code: Option<usize>,
}

impl Layout {
    /// RFC 8762, figures 2 and 5.
    pub(crate) const PLAIN: Self = Self {
        len: 44,
        shortest_reply: 41,
        shortest_request: 14,
        sequence: 0,
        timestamp: 4,
        error: 12,
        ssid: 14,
        receive: 16,
        sender_sequence: 24,
        sender_timestamp: 28,
        sender_error: 36,
        sender_ttl: 40,
        code: None,
    };

    /// RFC 8762, figures 4 and 6.
    pub(crate) const AUTHENTICATED: Self = Self {
        len: 112,
        shortest_reply: 112,
        shortest_request: 112,
        sequence: 0,
        timestamp: 16,
        error: 24,
        ssid: 26,
        receive: 32,
        sender_sequence: 48,
        sender_timestamp: 64,
        sender_error: 72,
        sender_ttl: 80,
        code: Some(96),
    };

    pub(crate) const fn of(key: Option<&Key>) -> Self {
        if key.is_some() { Self::AUTHENTICATED } else { Self::PLAIN }
    }

    /// Whether a packet has the code that this key gives. One of a form without codes has.
    pub(crate) fn is_authentic(&self, packet: &[u8], key: Option<&Key>) -> bool {
        let (Some(at), Some(key)) = (self.code, key) else {
            return self.code.is_none();
        };
        let authenticated = packet.split_at_checked(at);
        authenticated.is_some_and(|(text, rest)| rest.first_chunk().is_some_and(|code| key.is_code(code, &[text])))
    }

    /// Writes the code, when all in front of it is final.
    pub(crate) fn authenticate(&self, packet: &mut [u8], key: Option<&Key>) {
        let (Some(at), Some(key)) = (self.code, key) else {
            return;
        };
        if let Some((text, rest)) = packet.split_at_mut_checked(at) {
            write_at(rest, 0, &key.code(&[text]));
        }
    }
}

const _: () = assert!(Layout::AUTHENTICATED.len == 96 + CODE_LEN);

/// What a packet says of its own sending: the first fields of requests and replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) sequence: u32,
    /// In the format that the Z bit names.
    pub(crate) timestamp: u64,
    /// As it stands: what it says may be forbidden.
    pub(crate) error: u16,
    /// 0: no session's, or a sender that knows of none.
    pub(crate) ssid: u16,
}

impl Head {
    /// `None` if the packet ends before them. Where it ends before the session's id, that is 0.
    pub(crate) fn read(layout: &Layout, packet: &[u8]) -> Option<Self> {
        Some(Self {
            sequence: u32::from_be_bytes(chunk(packet, layout.sequence)?),
            timestamp: u64::from_be_bytes(chunk(packet, layout.timestamp)?),
            error: u16::from_be_bytes(chunk(packet, layout.error)?),
            ssid: chunk(packet, layout.ssid).map_or(0, u16::from_be_bytes),
        })
    }

    pub(crate) fn write(&self, layout: &Layout, packet: &mut [u8]) {
        write_at(packet, layout.sequence, &self.sequence.to_be_bytes());
        write_at(packet, layout.ssid, &self.ssid.to_be_bytes());
        self.write_time(layout, packet);
    }

    /// Only the time and its error, which are known last.
    pub(crate) fn write_time(&self, layout: &Layout, packet: &mut [u8]) {
        write_at(packet, layout.timestamp, &self.timestamp.to_be_bytes());
        write_at(packet, layout.error, &self.error.to_be_bytes());
    }

    /// Whether the times are in PTP's format, and what is said of the clock. `None` if that is forbidden.
    pub(crate) fn error_estimate(&self) -> Option<(ErrorEstimate, bool)> {
        ErrorEstimate::from_wire(self.error)
    }
}

/// What a reply says of the request, behind its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    /// When the request arrived, in the format of the head.
    pub(crate) receive: u64,
    pub(crate) sender_sequence: u32,
    pub(crate) sender_timestamp: u64,
    pub(crate) sender_error: u16,
    /// The TTL or hop limit that the request arrived with; 255 if the reflector could not see it (RFC 5357).
    pub(crate) sender_ttl: u8,
}

impl Tail {
    /// `None` if the packet ends before it is complete.
    pub(crate) fn read(layout: &Layout, packet: &[u8]) -> Option<Self> {
        let [sender_ttl] = chunk(packet, layout.sender_ttl)?;
        Some(Self {
            receive: u64::from_be_bytes(chunk(packet, layout.receive)?),
            sender_sequence: u32::from_be_bytes(chunk(packet, layout.sender_sequence)?),
            sender_timestamp: u64::from_be_bytes(chunk(packet, layout.sender_timestamp)?),
            sender_error: u16::from_be_bytes(chunk(packet, layout.sender_error)?),
            sender_ttl,
        })
    }

    pub(crate) fn write(&self, layout: &Layout, packet: &mut [u8]) {
        write_at(packet, layout.receive, &self.receive.to_be_bytes());
        write_at(packet, layout.sender_sequence, &self.sender_sequence.to_be_bytes());
        write_at(packet, layout.sender_timestamp, &self.sender_timestamp.to_be_bytes());
        write_at(packet, layout.sender_error, &self.sender_error.to_be_bytes());
        write_at(packet, layout.sender_ttl, &[self.sender_ttl]);
    }
}

/// `N` bytes from `at` on, if there are so many.
pub(crate) fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}
