//! What a relay reads in a frame: whether it is a probe or a reply, and of which number.

use super::super::capture::checksum;
use super::plan::Way;

/// The UDP port of a reflector.
const PORT: u16 = 862;

/// A probe or a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Packet {
    /// The number of the probe that it is, or answers.
    pub(crate) probe: u32,
    /// Its own: that of the probe, or the one that the reflector has given to the reply.
    pub(crate) own: u32,
}

impl Packet {
    /// Reads a frame: RFC 8762, sections 4.2.1 and 4.3.1, unauthenticated. `None`: something else, which only passes; so do
    /// questions (`src/wire/stamp/WIRE.md`), whose numbers are others.
    pub(super) fn read(way: Way, frame: &[u8]) -> Option<Self> {
        let (protocol, udp_at) = match frame.get(12..14)? {
            [0x08, 0x00] => (frame.get(23)?, 34),
            [0x86, 0xdd] => (frame.get(20)?, 54),
            _ => return None,
        };
        let port_at = if way == Way::Forward { udp_at + 2 } else { udp_at };
        if *protocol != 17 || frame.get(port_at..port_at + 2)? != PORT.to_be_bytes() {
            return None;
        }
        let packet = frame.get(udp_at + 8..)?;
        let [b'a', b'f', b'p', b'r', _, flags] = packet.get(48..54)? else {
            panic!("the first TLV of a packet is not afprobe's own: {packet:02x?}");
        };
        if flags & 0x80 != 0 {
            return None;
        }
        let number = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
        let own = number(0);
        Some(Self { own, probe: if way == Way::Forward { own } else { number(24) } })
    }
}

/// Gives an IP packet another traffic class.
pub(super) fn mark(frame: &mut [u8], class: u8) {
    if frame[12..14] == [0x08, 0x00] {
        frame[15] = class;
        frame[24..26].fill(0);
        let sum = checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    } else {
        frame[14] = 0x60 | class >> 4;
        frame[15] = class << 4 | frame[15] & 0x0f;
    }
}
