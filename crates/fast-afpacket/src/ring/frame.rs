//! One frame in a ring: where its parts lie, and what the kernel says of it.

use std::fmt;

use crate::addr::PacketAddr;
use crate::meta::{ChecksumState, RxMeta, VlanTag};
use crate::sys::abi;
use crate::timestamp::{HardwareStamp, NANOS_PER_SEC, SystemStamp, Timestamps};

/// A received frame where the kernel put it: nothing is copied.
///
/// It is valid for as long as the [`Block`](crate::Block) or [`HeldFrame`](crate::HeldFrame) that it came from.
#[derive(Clone, Copy)]
#[doc(alias("tpacket3_hdr", "tpacket2_hdr"))]
pub struct Frame<'b> {
    data: &'b [u8],
    header: Header<'b>,
}

/// The header of a frame and the address behind it. What it says is read when somebody asks.
#[derive(Clone, Copy)]
enum Header<'b> {
    V2(&'b [u8; V2_HEADER]),
    V3(&'b [u8; V3_HEADER]),
}

pub(super) const STAMPED: u32 = libc::TP_STATUS_TS_SOFTWARE | libc::TP_STATUS_TS_RAW_HARDWARE;

impl<'b> Frame<'b> {
    /// Its bytes: as they were on the wire, without frame check sequence and without a VLAN tag that the kernel took out
    /// ([`vlan`](Self::vlan)); on a cooked ring without the link-layer header.
    #[inline]
    pub const fn data(&self) -> &'b [u8] {
        self.data
    }

    /// All that [`PacketSocket::recv`](crate::PacketSocket::recv) says of a frame. Only what is used is read.
    #[inline]
    pub fn meta(&self) -> RxMeta {
        RxMeta {
            len: self.data.len(),
            wire_len: self.wire_len(),
            from: PacketAddr::from_raw(&abi::link_address_in(self.header.address())),
            timestamps: self.timestamps(),
            vlan: self.vlan(),
            checksum: ChecksumState::from_status(self.header.status()),
            offload: None,
        }
    }

    /// When it was received: the NIC's stamp or the kernel's, never both.
    ///
    /// A ring has room for one time. It is the NIC's if there is one and
    /// [`Timestamping::RX_HARDWARE`](crate::Timestamping::RX_HARDWARE) was asked for, the kernel's otherwise; also one
    /// that the kernel took because another socket wanted it.
    #[inline]
    #[doc(alias("TP_STATUS_TS_SOFTWARE", "TP_STATUS_TS_RAW_HARDWARE", "tp_sec", "tp_nsec"))]
    pub fn timestamps(&self) -> Timestamps {
        let (status, time) = (self.header.status(), self.header.time());
        let is_hardware = status & libc::TP_STATUS_TS_RAW_HARDWARE != 0;
        let is_software = status & libc::TP_STATUS_TS_SOFTWARE != 0 && !is_hardware;
        Timestamps {
            software: is_software.then_some(SystemStamp::from_nanos(time)),
            hardware: is_hardware.then_some(HardwareStamp::from_nanos(time)),
        }
    }

    /// When the kernel copied it into the ring, if it has no stamp: later than it was received, by however long it took
    /// to get here.
    #[inline]
    pub fn copied_at(&self) -> Option<SystemStamp> {
        if self.has_stamp() { None } else { Some(SystemStamp::from_nanos(self.header.time())) }
    }

    /// How many bytes the frame has in the kernel: more than [`data`](Self::data) if the filter cut it, or if it did not
    /// fit into its slot or block.
    #[inline]
    #[doc(alias("tp_len", "tp_snaplen"))]
    pub fn wire_len(&self) -> usize {
        self.header.wire_len() as usize
    }

    /// Whether bytes of the frame are missing at its end.
    #[inline]
    pub fn is_truncated(&self) -> bool {
        self.data.len() < self.wire_len()
    }

    /// The outermost VLAN tag, if the kernel took it out of the bytes.
    #[inline]
    pub fn vlan(&self) -> Option<VlanTag> {
        let (tci, tpid) = self.header.vlan();
        VlanTag::from_status(self.header.status(), tci, tpid)
    }

    /// The hash of its flow, the same for both directions, if [`RingShape::rx_hash`](crate::RingShape::rx_hash) asked
    /// for it and the kernel could tell the flow.
    #[inline]
    #[doc(alias = "tp_rxhash")]
    pub fn rx_hash(&self) -> Option<u32> {
        match self.header.rx_hash() {
            0 => None,
            hash => Some(hash),
        }
    }

    /// No frame.
    #[cold]
    pub(super) const fn nothing() -> Self {
        Frame { data: &[], header: Header::V2(&[0; V2_HEADER]) }
    }

    #[inline]
    pub(super) fn status(&self) -> u32 {
        self.header.status()
    }

    #[inline]
    pub(super) fn has_stamp(&self) -> bool {
        self.status() & STAMPED != 0
    }
}

impl<'b> Header<'b> {
    #[inline]
    fn status(self) -> u32 {
        match self {
            Self::V2(header) => word(header, 0),
            Self::V3(header) => word(header, 20),
        }
    }

    /// `tp_len`.
    #[inline]
    fn wire_len(self) -> u32 {
        match self {
            Self::V2(header) => word(header, 4),
            Self::V3(header) => word(header, 16),
        }
    }

    /// `tp_mac` and `tp_snaplen`: where the data begin, and how many bytes they are.
    #[inline]
    fn place(self) -> (u16, u32) {
        match self {
            Self::V2(header) => (half(header, 12), word(header, 8)),
            Self::V3(header) => (half(header, 24), word(header, 12)),
        }
    }

    /// At most 2^32 seconds and 2^32 nanoseconds: 63 bits hold them.
    #[inline]
    fn time(self) -> i64 {
        let (seconds, nanos) = match self {
            Self::V2(header) => (word(header, 16), word(header, 20)),
            Self::V3(header) => (word(header, 4), word(header, 8)),
        };
        i64::from(seconds) * NANOS_PER_SEC + i64::from(nanos)
    }

    /// Tag control information and protocol.
    #[inline]
    fn vlan(self) -> (u16, u16) {
        match self {
            Self::V2(header) => (half(header, 24), half(header, 26)),
            // A u32 of which the kernel fills the lower half.
            Self::V3(header) => (low_half(word(header, 32)), half(header, 36)),
        }
    }

    #[inline]
    fn rx_hash(self) -> u32 {
        match self {
            Self::V2(_) => 0,
            Self::V3(header) => word(header, 28),
        }
    }

    /// A `sockaddr_ll`.
    #[inline]
    fn address(self) -> &'b [u8; 20] {
        match self {
            Self::V2(header) => header.last_chunk(),
            Self::V3(header) => header.last_chunk(),
        }
        .unwrap_or(&[0; 20])
    }

    #[inline]
    const fn len(self) -> usize {
        match self {
            Self::V2(_) => V2_HEADER,
            Self::V3(_) => V3_HEADER,
        }
    }
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("meta", &self.meta())
            .field("copied_at", &self.copied_at())
            .finish_non_exhaustive()
    }
}

/// `struct tpacket3_hdr` and the `sockaddr_ll` behind it: next_offset, sec, nsec, snaplen, len, status (u32 each), mac,
/// net (u16), rxhash, vlan_tci (u32), vlan_tpid, padding (u16), padding (8).
pub(super) const V3_HEADER: usize = 48 + 20;
/// `struct tpacket2_hdr` and the `sockaddr_ll` behind it: status, len, snaplen (u32 each), mac, net (u16), sec, nsec (u32),
/// vlan_tci, vlan_tpid (u16), padding (4).
pub(super) const V2_HEADER: usize = 32 + 20;

/// A frame and how much of its slot it fills.
pub(super) struct Placed<'b> {
    pub(super) frame: Frame<'b>,
    pub(super) end: usize,
}

impl<'b> Placed<'b> {
    /// The frame of a version 3 ring with this header at the start of `slot`, which ends where the next one begins.
    /// `None` if its data do not lie between its header and the end. Whether they are [too long](Self::is_too_long) is
    /// still to be asked.
    #[inline]
    pub(super) fn in_block(header: &'b [u8; V3_HEADER], slot: &'b [u8]) -> Option<Self> {
        Self::with(Header::V3(header), slot)
    }

    /// The frame of a version 2 ring that fills this slot.
    #[inline]
    pub(super) fn in_slot(slot: &'b [u8]) -> Option<Self> {
        Self::with(Header::V2(slot.first_chunk()?), slot).filter(|placed| !placed.is_too_long())
    }

    /// Whether there is more of the frame than it is long. What the filter or the memory cut is shorter, never longer.
    #[inline]
    pub(super) fn is_too_long(&self) -> bool {
        self.frame.data.len() > self.frame.wire_len()
    }

    #[inline]
    fn with(header: Header<'b>, slot: &'b [u8]) -> Option<Self> {
        let (mac, len) = header.place();
        let start = usize::from(mac);
        // On a 32-bit machine this may overflow.
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        let data = slot.get(start..end).filter(|_| start >= header.len())?;
        Some(Self { frame: Frame { data, header }, end })
    }
}

/// How far it is from this header of a version 3 ring to the next.
#[inline]
pub(super) fn next_offset(header: &[u8; V3_HEADER]) -> Option<usize> {
    usize::try_from(word(header, 0)).ok()
}

/// The u32 at a constant offset: the bounds check is decided when this is compiled.
#[inline]
fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u32::from_ne_bytes(*word))
}

/// The u16 at a constant offset.
#[inline]
fn half<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |half| u16::from_ne_bytes(*half))
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the upper half is zero")]
const fn low_half(word: u32) -> u16 {
    word as u16
}

#[cfg(test)]
mod tests {
    use super::super::made::{Made, v2_slot};
    use super::*;
    use crate::addr::{EtherType, MacAddr, PacketType};

    fn placed(made: &Made<'_>) -> Vec<u8> {
        made.v3(0)
    }

    fn v3_frame(slot: &[u8]) -> Option<Placed<'_>> {
        Placed::in_block(slot.first_chunk()?, slot)
    }

    #[test]
    fn both_versions_say_the_same() {
        let made = Made { status: 0x2000_0051, vlan: (0x6005, 0x88a8), ..Made::new(&[7; 60]) };
        let (v3, v2) = (placed(&made), v2_slot(&made, 256));
        let (v3, v2) = (v3_frame(&v3).unwrap(), Placed::in_slot(&v2).unwrap());
        assert_eq!(v3.frame.meta(), v2.frame.meta());
        assert_eq!(v3.frame.data(), [7; 60]);
        let meta = v3.frame.meta();
        assert_eq!((meta.len, meta.wire_len), (60, 60));
        assert_eq!(meta.vlan, Some(VlanTag::new(EtherType::SERVICE_VLAN, 0x6005)));
        assert_eq!(meta.timestamps.software, Some(SystemStamp::from_nanos(1_652_138_202_507_654_453)));
        assert_eq!(meta.timestamps.hardware, None);
        assert_eq!(meta.from.packet_type(), PacketType::Outgoing);
        assert_eq!(meta.from.mac(), Some(MacAddr::new([2, 0, 0, 0, 0, 9])));
        assert_eq!((meta.from.ether_type(), meta.from.interface_index()), (EtherType::EXPERIMENTAL_1, 3));
        assert_eq!(v3.frame.rx_hash(), Some(0xfeed));
        assert_eq!(v2.frame.rx_hash(), None);
    }

    #[test]
    fn the_status_says_whose_time_it_is() {
        let of = |status| {
            let bytes = placed(&Made { status, ..Made::new(&[]) });
            let frame = v3_frame(&bytes).unwrap().frame;
            (frame.timestamps(), frame.copied_at())
        };
        let nanos = 1_652_138_202_507_654_453;
        let (system, hardware) = (SystemStamp::from_nanos(nanos), HardwareStamp::from_nanos(nanos));
        assert_eq!(of(1), (Timestamps::NONE, Some(system)), "the time of the copy is no stamp");
        assert_eq!(of(1 | 1 << 29), (Timestamps { software: Some(system), hardware: None }, None));
        assert_eq!(of(1 | 1 << 31), (Timestamps { software: None, hardware: Some(hardware) }, None));
    }

    #[test]
    fn lengths_that_cannot_be_true_are_refused() {
        let good = Made::new(&[1; 100]);
        for (mac, len) in [(67, 100), (0, 100), (u16::MAX, 100), (82, 101), (82, u32::MAX), (182, 1), (183, 0)] {
            let bytes = placed(&Made { mac, len, ..good });
            let bytes = &bytes[..182];
            assert!(v3_frame(bytes).is_none(), "mac {mac} len {len}");
        }
        let longer_than_the_frame = Made { wire_len: 99, ..good };
        assert!(v3_frame(&placed(&longer_than_the_frame)).unwrap().is_too_long());
        assert!(Placed::in_slot(&v2_slot(&longer_than_the_frame, 256)).is_none());
        let bytes = placed(&Made { mac: 182, len: 0, ..good });
        assert!(v3_frame(&bytes[..182]).unwrap().frame.data().is_empty());
        assert!(v3_frame(&bytes[..67]).is_none());
        assert!(Placed::in_slot(&bytes[..51]).is_none());
    }
}
