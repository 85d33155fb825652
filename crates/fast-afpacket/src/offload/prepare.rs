//! Finding out from a frame's own headers what has to be asked of the kernel.

use std::fmt;

use super::{NEEDS_CHECKSUM, Offload, SegmentKind};

const ETHERNET_LEN: usize = 14;
const VLAN_LEN: usize = 4;
const IPV6_LEN: usize = 40;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A frame that cannot be offloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OffloadError {
    /// It is neither TCP nor UDP over IPv4 or IPv6 over Ethernet, is a fragment, or has an IPv6 extension header.
    Unsupported,
    /// A length in its headers is not that of the frame: which one, what it says and what it would have to say.
    WrongLength {
        /// `IPv4 total length`, `IPv6 payload length`, `UDP length`.
        field: &'static str,
        /// What the header says.
        found: usize,
        /// What the frame has.
        expected: usize,
    },
    /// A segment has to have a byte at least.
    EmptySegment,
}

impl fmt::Display for OffloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported => f.write_str("only unfragmented TCP and UDP over IPv4 or IPv6 can be offloaded"),
            Self::WrongLength { field, found, expected } => {
                write!(f, "the {field} is {found}, and has to be {expected} for this frame")
            }
            Self::EmptySegment => f.write_str("a segment has to have a byte at least"),
        }
    }
}

impl std::error::Error for OffloadError {}

/// Where the transport header of a frame is, and what it is.
struct Transport {
    at: usize,
    is_tcp: bool,
    is_ipv6: bool,
    /// The sum of the pseudo header, not folded.
    pseudo_sum: u32,
}

/// Preparing frames to be sent.
impl Offload {
    /// Leaves the TCP or UDP checksum to the kernel or the card. The frame's checksum field is prepared for that.
    ///
    /// # Errors
    ///
    /// [`OffloadError`], and the frame is as it was.
    pub fn checksum(frame: &mut [u8]) -> Result<Self, OffloadError> {
        let transport = Transport::find(frame)?;
        Ok(Self { segment_len: 0, kind: 0, ..transport.prepare(frame)? })
    }

    /// Has the frame cut into TCP segments or UDP datagrams of `segment_len` bytes of payload, each with headers of its
    /// own. The lengths in the headers are those of the whole frame, which may be longer than the MTU: up to 65,535 bytes
    /// of IP. The checksum field is prepared.
    ///
    /// # Errors
    ///
    /// [`OffloadError`], and the frame is as it was.
    #[doc(alias("GSO", "UDP_SEGMENT"))]
    pub fn segments(frame: &mut [u8], segment_len: u16) -> Result<Self, OffloadError> {
        if segment_len == 0 {
            return Err(OffloadError::EmptySegment);
        }
        let transport = Transport::find(frame)?;
        Ok(Self { segment_len, ..transport.prepare(frame)? })
    }
}

impl Transport {
    fn find(frame: &[u8]) -> Result<Self, OffloadError> {
        let mut at = ETHERNET_LEN;
        let mut ether_type = u16_at(frame, ETHERNET_LEN - 2)?;
        while matches!(ether_type, 0x8100 | 0x88a8) {
            at += VLAN_LEN;
            ether_type = u16_at(frame, at - 2)?;
        }
        match ether_type {
            0x0800 => Self::in_ipv4(frame, at),
            0x86dd => Self::in_ipv6(frame, at),
            _ => Err(OffloadError::Unsupported),
        }
    }

    fn in_ipv4(frame: &[u8], at: usize) -> Result<Self, OffloadError> {
        const MORE_FRAGMENTS_OR_OFFSET: u16 = 0x3fff;
        check_version(frame, at, 4)?;
        let header_len = usize::from(byte_at(frame, at)? & 0x0f) * 4;
        check("IPv4 total length", u16_at(frame, at + 2)?, frame.len() - at)?;
        if header_len < 20 || u16_at(frame, at + 6)? & MORE_FRAGMENTS_OR_OFFSET != 0 {
            return Err(OffloadError::Unsupported);
        }
        Self::new(frame, at + header_len, byte_at(frame, at + 9)?, at + 12..at + 20, false)
    }

    fn in_ipv6(frame: &[u8], at: usize) -> Result<Self, OffloadError> {
        check_version(frame, at, 6)?;
        let behind = frame.len().checked_sub(at + IPV6_LEN).ok_or(OffloadError::Unsupported)?;
        check("IPv6 payload length", u16_at(frame, at + 4)?, behind)?;
        Self::new(frame, at + IPV6_LEN, byte_at(frame, at + 6)?, at + 8..at + 40, true)
    }

    fn new(
        frame: &[u8],
        at: usize,
        protocol: u8,
        addresses: std::ops::Range<usize>,
        is_ipv6: bool,
    ) -> Result<Self, OffloadError> {
        let is_tcp = match protocol {
            TCP => true,
            UDP => false,
            _ => return Err(OffloadError::Unsupported),
        };
        let len = frame.len().checked_sub(at).ok_or(OffloadError::Unsupported)?;
        if is_tcp {
            let header_len = usize::from(byte_at(frame, at + 12)? >> 4) * 4;
            if header_len < 20 || header_len > len {
                return Err(OffloadError::Unsupported);
            }
        } else {
            check("UDP length", u16_at(frame, at + 4)?, len)?;
        }
        let addresses = frame.get(addresses).ok_or(OffloadError::Unsupported)?;
        let words = addresses.chunks_exact(2).map(|word| word.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)));
        let len = u32::try_from(len).map_err(|_| OffloadError::Unsupported)?;
        let pseudo_sum = words.sum::<u32>() + u32::from(protocol) + len;
        // The fields that will be written are inside.
        byte_at(frame, at + 17 - if is_tcp { 0 } else { 10 })?;
        Ok(Self { at, is_tcp, is_ipv6, pseudo_sum })
    }

    /// Writes the sum of the pseudo header where the checksum will be.
    fn prepare(&self, frame: &mut [u8]) -> Result<Offload, OffloadError> {
        let (kind, checksum_offset) = match (self.is_tcp, self.is_ipv6) {
            (true, false) => (SegmentKind::TcpV4, 16_u16),
            (true, true) => (SegmentKind::TcpV6, 16),
            (false, _) => (SegmentKind::Udp, 6),
        };
        let header_len = match self.is_tcp {
            true => usize::from(byte_at(frame, self.at + 12)? >> 4) * 4,
            false => 8,
        };
        let short = |value: usize| u16::try_from(value).map_err(|_| OffloadError::Unsupported);
        let (checksum_start, header_len) = (short(self.at)?, short(self.at + header_len)?);
        let mut sum = self.pseudo_sum;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let [.., high, low] = sum.to_be_bytes();
        let place = self.at + usize::from(checksum_offset);
        if let Some(field) = frame.get_mut(place..place + 2) {
            field.copy_from_slice(&[high, low]);
        }
        Ok(Offload {
            flags: NEEDS_CHECKSUM,
            kind: kind.to_raw(),
            header_len,
            segment_len: 0,
            checksum_start,
            checksum_offset,
        })
    }
}

fn byte_at(frame: &[u8], at: usize) -> Result<u8, OffloadError> {
    frame.get(at).copied().ok_or(OffloadError::Unsupported)
}

fn u16_at(frame: &[u8], at: usize) -> Result<u16, OffloadError> {
    let bytes = frame.get(at..).and_then(|rest| rest.first_chunk()).ok_or(OffloadError::Unsupported)?;
    Ok(u16::from_be_bytes(*bytes))
}

/// The EtherType and the first half byte of IP say the same; a card may go by either.
fn check_version(frame: &[u8], at: usize, version: u8) -> Result<(), OffloadError> {
    match byte_at(frame, at)? >> 4 == version {
        true => Ok(()),
        false => Err(OffloadError::Unsupported),
    }
}

fn check(field: &'static str, found: u16, expected: usize) -> Result<(), OffloadError> {
    match usize::from(found) == expected {
        true => Ok(()),
        false => Err(OffloadError::WrongLength { field, found: found.into(), expected }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn udp_over_ipv4(payload: usize) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0]);
        frame.extend(u16::try_from(28 + payload).unwrap().to_be_bytes());
        frame.extend([0, 0, 0x40, 0, 64, UDP, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0x30, 0x39, 0, 9]);
        frame.extend(u16::try_from(8 + payload).unwrap().to_be_bytes());
        frame.resize(14 + 28 + payload, 0x55);
        frame
    }

    fn tcp_over_ipv6(payload: usize) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x81, 0x00, 0, 5, 0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend(u16::try_from(20 + payload).unwrap().to_be_bytes());
        frame.extend([TCP, 64]);
        frame.extend([0xfd; 32]);
        frame.extend([0; 12]);
        frame.extend([0x50, 0]);
        frame.resize(18 + 40 + 20 + payload, 0);
        frame
    }

    #[test]
    fn udp_over_ipv4_and_tcp_over_ipv6_in_a_vlan() {
        let mut frame = udp_over_ipv4(3000);
        let offload = Offload::segments(&mut frame, 1000).unwrap();
        assert_eq!(offload.segmentation(), Some((SegmentKind::Udp, 1000)));
        assert_eq!((offload.checksum_at(), offload.header_len), (Some((34, 6)), 42));
        // 192.0.2.1 + 192.0.2.2 + protocol 17 + length 3008, folded.
        let sum = 0xc000 + 0x0201 + 0xc000 + 0x0202 + 17 + 3008;
        let folded = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
        assert_eq!(frame[40..42], folded.to_be_bytes());

        let mut frame = tcp_over_ipv6(100);
        let offload = Offload::checksum(&mut frame).unwrap();
        assert_eq!((offload.segmentation(), offload.checksum_at()), (None, Some((58, 16))));
        let offload = Offload::segments(&mut frame, 50).unwrap();
        assert_eq!(offload.segmentation(), Some((SegmentKind::TcpV6, 50)));
        assert_eq!(offload.header_len, 78);
    }

    #[test]
    fn what_cannot_be_offloaded_is_named_and_left_alone() {
        let with = |change: fn(&mut Vec<u8>)| {
            let mut frame = udp_over_ipv4(100);
            change(&mut frame);
            let before = frame.clone();
            let error = Offload::segments(&mut frame, 10).unwrap_err();
            assert_eq!(frame, before);
            error
        };
        let wrong = |field, found, expected| OffloadError::WrongLength { field, found, expected };
        assert_eq!(with(|frame| frame.push(0)), wrong("IPv4 total length", 128, 129));
        assert_eq!(with(|frame| frame[39] -= 1), wrong("UDP length", 107, 108));
        assert_eq!(with(|frame| frame[20] |= 0x20), OffloadError::Unsupported, "a fragment");
        assert_eq!(with(|frame| frame[23] = 1), OffloadError::Unsupported, "ICMP");
        assert_eq!(with(|frame| frame[13] = 6), OffloadError::Unsupported, "ARP");
        assert_eq!(with(|frame| frame[14] = 0x65), OffloadError::Unsupported, "version 6 under the EtherType of IPv4");
        assert_eq!(with(|frame| frame.truncate(13)), OffloadError::Unsupported);
        assert_eq!(Offload::segments(&mut udp_over_ipv4(1), 0), Err(OffloadError::EmptySegment));
        assert_eq!(wrong("UDP length", 1, 2).to_string(), "the UDP length is 1, and has to be 2 for this frame");
    }

    proptest! {
        #[test]
        fn any_frame_is_an_offload_or_an_error(mut frame in proptest::collection::vec(any::<u8>(), 0..200), segment: u16) {
            let _ = Offload::segments(&mut frame, segment);
        }

        #[test]
        fn a_cut_frame_is_an_error(len in 0_usize..178) {
            for whole in [udp_over_ipv4(100), tcp_over_ipv6(100)] {
                let mut frame = whole[..len.min(whole.len() - 1)].to_vec();
                prop_assert!(Offload::checksum(&mut frame).is_err());
            }
        }
    }
}
