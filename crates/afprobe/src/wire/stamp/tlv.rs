//! The TLVs behind the fixed part: RFC 8972, section 4.

use super::afprobe::{self, Sight};

/// Octets of flags, type and length.
pub(crate) const HEAD_LEN: usize = 4;

/// The flags of a TLV. A sender sets U, so that a reflector that knows nothing of TLVs returns them as unrecognised.
pub(crate) mod flag {
    /// U: not understood.
    pub(crate) const UNRECOGNIZED: u8 = 0x80;
    /// M: its length is not that of its type, or reaches beyond the packet.
    pub(crate) const MALFORMED: u8 = 0x40;
    /// I: the code of the TLVs is wrong, or missing where there should be one.
    pub(crate) const INTEGRITY_FAILED: u8 = 0x20;
}

/// The types, as IANA assigned them. Location (2) and access report (6) are not among them: they are not understood here.
pub(crate) mod kind {
    pub(crate) const EXTRA_PADDING: u8 = 1;
    pub(crate) const TIMESTAMP_INFORMATION: u8 = 3;
    pub(crate) const CLASS_OF_SERVICE: u8 = 4;
    pub(crate) const DIRECT_MEASUREMENT: u8 = 5;
    pub(crate) const FOLLOW_UP_TELEMETRY: u8 = 7;
    pub(crate) const HMAC: u8 = 8;
    /// Ours, out of the range for experiments, 240 to 251. The one for private use, 252 to 254, is for values that begin with
    /// a number that IANA has given to an enterprise.
    pub(crate) const AFPROBE: u8 = 250;
}

/// Whether a type that is understood can have a value of this length. Any other type can have any.
fn can_have(kind: u8, value: &[u8]) -> bool {
    match kind {
        kind::TIMESTAMP_INFORMATION | kind::CLASS_OF_SERVICE => value.len() == 4,
        kind::DIRECT_MEASUREMENT => value.len() == 12,
        kind::FOLLOW_UP_TELEMETRY | kind::HMAC => value.len() == 16,
        kind::AFPROBE => afprobe::look_at(value) != Sight::Malformed,
        _ => true,
    }
}

/// Where in a packet a TLV stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Of its flags.
    pub(crate) at: usize,
    pub(crate) flags: u8,
    pub(crate) kind: u8,
    /// Octets of the value.
    pub(crate) len: usize,
    /// Its length cannot be. Then it is the last one: where the next one begins nobody knows.
    pub(crate) is_malformed: bool,
}

impl Place {
    /// Where the value begins.
    pub(crate) const fn value_at(&self) -> usize {
        self.at + HEAD_LEN
    }

    /// The value, of a TLV that is not malformed.
    pub(crate) fn value<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        packet.get(self.value_at()..).and_then(|rest| rest.get(..self.len)).unwrap_or_default()
    }

    /// As [`value`](Self::value), to write into.
    pub(crate) fn value_mut<'a>(&self, packet: &'a mut [u8]) -> &'a mut [u8] {
        packet.get_mut(self.value_at()..).and_then(|rest| rest.get_mut(..self.len)).unwrap_or_default()
    }
}

/// The TLVs of a packet from `at` on.
///
/// They end with the packet, behind a malformed one, and in front of four octets of 0: no TLV begins so, but TWAMP's
/// padding may. What is left then, and less than a head, is padding.
#[derive(Clone, Debug)]
pub(crate) struct Walk<'a> {
    packet: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    pub(crate) const fn new(packet: &'a [u8], at: usize) -> Self {
        Self { packet, at }
    }
}

impl Iterator for Walk<'_> {
    type Item = Place;

    fn next(&mut self) -> Option<Place> {
        let (head, value) = self.packet.get(self.at..)?.split_first_chunk::<HEAD_LEN>()?;
        if *head == [0; HEAD_LEN] {
            return None;
        }
        let [flags, kind, high, low] = *head;
        let len = usize::from(u16::from_be_bytes([high, low]));
        let is_malformed = value.get(..len).is_none_or(|value| !can_have(kind, value));
        let place = Place { at: self.at, flags, kind, len, is_malformed };
        self.at = if is_malformed { usize::MAX } else { place.value_at() + len };
        Some(place)
    }
}

/// Appends a request's TLV of which the value is still empty.
pub(crate) fn push(packet: &mut Vec<u8>, kind: u8, len: u16) {
    packet.extend([flag::UNRECOGNIZED, kind]);
    packet.extend(len.to_be_bytes());
    packet.resize(packet.len() + usize::from(len), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(packet: &[u8]) -> Vec<(usize, u8, u8, usize, bool)> {
        Walk::new(packet, 2).map(|place| (place.at, place.flags, place.kind, place.len, place.is_malformed)).collect()
    }

    /// RFC 8972, figure 4: flags, type, length in network order, value.
    #[test]
    fn one_behind_the_other() {
        let packet = [
            0xaa, 0xaa, // the fixed part
            0x80, 99, 0, 3, 1, 2, 3, // unknown
            0x80, 4, 0, 4, 0, 0, 0, 0, // class of service
            0x00, 77, 0, 0, // empty
            0x80, 1, 0, // less than a head
        ];
        assert_eq!(walk(&packet), [(2, 0x80, 99, 3, false), (9, 0x80, 4, 4, false), (17, 0, 77, 0, false)]);
        let first = Walk::new(&packet, 2).next().unwrap();
        assert_eq!(first.value(&packet), [1, 2, 3]);
    }

    #[test]
    fn a_length_that_cannot_be_ends_the_walk() {
        assert_eq!(walk(&[0, 0, 0x80, 99, 0, 2, 1]), [(2, 0x80, 99, 2, true)], "beyond the packet");
        let behind = |kind, len: u8| {
            let value = vec![1; len.into()];
            walk(&[&[0, 0, 0x80, kind, 0, len], &value[..], &[0x80, 99, 0, 0]].concat()).len()
        };
        for (kind, right) in [(3, 4), (4, 4), (5, 12), (7, 16), (8, 16)] {
            for len in 0..=20 {
                assert_eq!(behind(kind, len), if len == right { 2 } else { 1 }, "type {kind}, length {len}");
            }
        }
        for kind in [1, 2, 6, 9, 239, 240, 252, 255] {
            assert!((0..=20).all(|len| behind(kind, len) == 2), "type {kind} can have any length");
        }
    }

    #[test]
    fn padding_of_zeros_is_no_tlv() {
        assert!(walk(&[0; 40]).is_empty());
        assert_eq!(walk(&[0, 0, 0x80, 99, 0, 0, 0, 0, 0, 0, 0x80, 99, 0, 0]).len(), 1);
        assert_eq!(walk(&[0, 0, 0x80, 0, 0, 0]).len(), 1, "a reserved type, by a sender that sets U");
    }

    #[test]
    fn appended_as_a_sender_has_them() {
        let mut packet = vec![0xff];
        push(&mut packet, kind::CLASS_OF_SERVICE, 4);
        push(&mut packet, kind::EXTRA_PADDING, 258);
        assert_eq!(packet[..13], [0xff, 0x80, 4, 0, 4, 0, 0, 0, 0, 0x80, 1, 1, 2]);
        assert_eq!(packet.len(), 1 + 8 + 4 + 258);
    }
}
