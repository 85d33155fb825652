//! Work on a frame that is left to the kernel or the card: checksums and cutting into segments.

mod prepare;

use std::fmt;

pub use prepare::OffloadError;

pub(crate) use crate::sys::abi::VNET_HEADER_LEN as HEADER_LEN;

const NEEDS_CHECKSUM: u8 = 1;
const CHECKSUM_IS_VALID: u8 = 2;
/// A flag beside the kind of segments: TCP with congestion notification.
const ECN: u8 = 0x80;

/// What is left to be done to a frame, or was left out because the frame never saw a wire: `struct virtio_net_hdr`.
///
/// On a sent frame it asks the kernel or the card to finish a checksum and to cut the frame into segments:
/// [`PacketSocket::send_offloaded`](crate::PacketSocket::send_offloaded). On a received frame it says in which state that
/// is: [`RxMeta::offload`](crate::RxMeta::offload).
///
/// Source: the virtio specification, 5.1.6; packet(7), `PACKET_VNET_HDR`.
///
/// ```
/// use fast_afpacket::{Offload, SegmentKind};
///
/// // Ethernet, IPv4 (20 bytes, length 20 + 8 + 3000), UDP to port 9 with 3000 bytes of payload.
/// let mut frame = vec![0; 14];
/// frame[12..14].copy_from_slice(&[0x08, 0x00]);
/// frame.extend([0x45, 0, 0x0b, 0xd4, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
/// frame.extend([0x30, 0x39, 0, 9, 0x0b, 0xc0, 0, 0]);
/// frame.resize(frame.len() + 3000, 0);
///
/// let offload = Offload::segments(&mut frame, 1000)?;
/// assert_eq!(offload.segmentation(), Some((SegmentKind::Udp, 1000)));
/// assert_eq!(offload.checksum_at(), Some((34, 6)));
/// # Ok::<(), fast_afpacket::OffloadError>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[doc(alias("virtio_net_hdr", "PACKET_VNET_HDR", "GSO"))]
pub struct Offload {
    flags: u8,
    kind: u8,
    /// How long the headers are, as a hint; the kernel finds it out itself.
    header_len: u16,
    segment_len: u16,
    checksum_start: u16,
    checksum_offset: u16,
}

/// What a frame is cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SegmentKind {
    /// TCP over IPv4.
    #[doc(alias = "VIRTIO_NET_HDR_GSO_TCPV4")]
    TcpV4,
    /// TCP over IPv6.
    #[doc(alias = "VIRTIO_NET_HDR_GSO_TCPV6")]
    TcpV6,
    /// UDP: each segment is a datagram with a header of its own. Linux 6.2.
    #[doc(alias = "VIRTIO_NET_HDR_GSO_UDP_L4")]
    Udp,
    /// UDP: the segments are IP fragments of one datagram.
    #[doc(alias = "VIRTIO_NET_HDR_GSO_UDP")]
    UdpFragments,
    /// A kind that this library does not know.
    Other(u8),
}

impl SegmentKind {
    const fn from_raw(kind: u8) -> Self {
        match kind {
            1 => Self::TcpV4,
            3 => Self::UdpFragments,
            4 => Self::TcpV6,
            5 => Self::Udp,
            other => Self::Other(other),
        }
    }

    const fn to_raw(self) -> u8 {
        match self {
            Self::TcpV4 => 1,
            Self::UdpFragments => 3,
            Self::TcpV6 => 4,
            Self::Udp => 5,
            Self::Other(other) => other,
        }
    }
}

impl Offload {
    /// Nothing is left to be done.
    pub const NONE: Self =
        Self { flags: 0, kind: 0, header_len: 0, segment_len: 0, checksum_start: 0, checksum_offset: 0 };

    /// Where a checksum is to be finished: the first byte that it covers, to the end of the frame, and how many bytes
    /// behind that one the two bytes of the checksum are. They hold the sum of the pseudo header meanwhile.
    #[doc(alias("csum_start", "csum_offset"))]
    pub const fn checksum_at(&self) -> Option<(u16, u16)> {
        match self.flags & NEEDS_CHECKSUM {
            0 => None,
            _ => Some((self.checksum_start, self.checksum_offset)),
        }
    }

    /// Whether the checksum of a received frame was verified by the card.
    pub const fn is_checksum_valid(&self) -> bool {
        self.flags & CHECKSUM_IS_VALID != 0
    }

    /// What the frame is to be cut into, and how many bytes of payload each segment has.
    #[doc(alias("gso_type", "gso_size"))]
    pub const fn segmentation(&self) -> Option<(SegmentKind, u16)> {
        match self.kind & !ECN {
            0 => None,
            kind => Some((SegmentKind::from_raw(kind), self.segment_len)),
        }
    }

    pub(crate) const fn to_bytes(self) -> [u8; HEADER_LEN] {
        let [h0, h1] = self.header_len.to_ne_bytes();
        let [g0, g1] = self.segment_len.to_ne_bytes();
        let [s0, s1] = self.checksum_start.to_ne_bytes();
        let [o0, o1] = self.checksum_offset.to_ne_bytes();
        [self.flags, self.kind, h0, h1, g0, g1, s0, s1, o0, o1]
    }

    pub(crate) const fn from_bytes(bytes: [u8; HEADER_LEN]) -> Self {
        let [flags, kind, h0, h1, g0, g1, s0, s1, o0, o1] = bytes;
        Self {
            flags,
            kind,
            header_len: u16::from_ne_bytes([h0, h1]),
            segment_len: u16::from_ne_bytes([g0, g1]),
            checksum_start: u16::from_ne_bytes([s0, s1]),
            checksum_offset: u16::from_ne_bytes([o0, o1]),
        }
    }
}

impl fmt::Debug for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offload")
            .field("checksum_at", &self.checksum_at())
            .field("is_checksum_valid", &self.is_checksum_valid())
            .field("segmentation", &self.segmentation())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel gave it for a UDP datagram of 3000 bytes that was sent with segments of 1000.
    #[test]
    fn what_the_kernel_writes() {
        let mut bytes = [1, 5, 0, 0, 0, 0, 0, 0, 0, 0];
        for (at, value) in [(2, 42_u16), (4, 1000), (6, 34), (8, 6)] {
            bytes[at..at + 2].copy_from_slice(&value.to_ne_bytes());
        }
        let offload = Offload::from_bytes(bytes);
        assert_eq!(offload.segmentation(), Some((SegmentKind::Udp, 1000)));
        assert_eq!(offload.checksum_at(), Some((34, 6)));
        assert!(!offload.is_checksum_valid());
        assert_eq!(offload.to_bytes(), bytes);
        let with_ecn = Offload { kind: 0x81, ..offload };
        assert_eq!(with_ecn.segmentation(), Some((SegmentKind::TcpV4, 1000)));
        assert_eq!(Offload::from_bytes([0; 10]), Offload::NONE);
        assert_eq!((Offload::NONE.segmentation(), Offload::NONE.checksum_at()), (None, None));
    }
}
