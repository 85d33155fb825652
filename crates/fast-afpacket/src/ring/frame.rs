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
    address: &'b [u8; 20],
    said: Said,
}

/// What the header of a frame says, in both versions of it.
#[derive(Clone, Copy)]
struct Said {
    status: u32,
    wire_len: u32,
    seconds: u32,
    nanos: u32,
    rx_hash: u32,
    vlan_tci: u16,
    vlan_tpid: u16,
}

const STAMPED: u32 = libc::TP_STATUS_TS_SOFTWARE | libc::TP_STATUS_TS_RAW_HARDWARE;

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
            from: PacketAddr::from_raw(&abi::link_address_in(self.address)),
            timestamps: self.timestamps(),
            vlan: self.vlan(),
            checksum: ChecksumState::from_status(self.said.status),
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
    pub const fn timestamps(&self) -> Timestamps {
        let mut found = Timestamps::NONE;
        if self.said.status & libc::TP_STATUS_TS_RAW_HARDWARE != 0 {
            found.hardware = Some(HardwareStamp::from_nanos(self.said.time()));
        } else if self.said.status & libc::TP_STATUS_TS_SOFTWARE != 0 {
            found.software = Some(SystemStamp::from_nanos(self.said.time()));
        }
        found
    }

    /// When the kernel copied it into the ring, if it has no stamp: later than it was received, by however long it took
    /// to get here.
    #[inline]
    pub const fn copied_at(&self) -> Option<SystemStamp> {
        if self.has_stamp() { None } else { Some(SystemStamp::from_nanos(self.said.time())) }
    }

    /// How many bytes the frame has in the kernel: more than [`data`](Self::data) if the filter cut it, or if it did not
    /// fit into its slot or block.
    #[inline]
    #[doc(alias("tp_len", "tp_snaplen"))]
    pub const fn wire_len(&self) -> usize {
        self.said.wire_len as usize
    }

    /// Whether bytes of the frame are missing at its end.
    #[inline]
    pub const fn is_truncated(&self) -> bool {
        self.data.len() < self.wire_len()
    }

    /// The outermost VLAN tag, if the kernel took it out of the bytes.
    #[inline]
    pub const fn vlan(&self) -> Option<VlanTag> {
        VlanTag::from_status(self.said.status, self.said.vlan_tci, self.said.vlan_tpid)
    }

    /// The hash of its flow, the same for both directions, if [`RingShape::rx_hash`](crate::RingShape::rx_hash) asked
    /// for it and the kernel could tell the flow.
    #[inline]
    #[doc(alias = "tp_rxhash")]
    pub const fn rx_hash(&self) -> Option<u32> {
        match self.said.rx_hash {
            0 => None,
            hash => Some(hash),
        }
    }

    /// No frame.
    #[cold]
    pub(super) const fn nothing() -> Self {
        let said = Said { status: 0, wire_len: 0, seconds: 0, nanos: 0, rx_hash: 0, vlan_tci: 0, vlan_tpid: 0 };
        Frame { data: &[], address: &[0; 20], said }
    }

    #[inline]
    pub(super) const fn has_stamp(&self) -> bool {
        self.said.status & STAMPED != 0
    }
}

impl Said {
    /// At most 2^32 seconds and 2^32 nanoseconds: 63 bits hold them.
    #[inline]
    const fn time(self) -> i64 {
        self.seconds as i64 * NANOS_PER_SEC + self.nanos as i64
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
        let said = Said {
            status: word(header, 20),
            wire_len: word(header, 16),
            seconds: word(header, 4),
            nanos: word(header, 8),
            rx_hash: word(header, 28),
            // A u32 of which the kernel fills the lower half.
            vlan_tci: low_half(word(header, 32)),
            vlan_tpid: half(header, 36),
        };
        let (mac, len) = (half(header, 24), word(header, 12));
        Self::place(slot, (mac, len), V3_HEADER, header.last_chunk()?, said)
    }

    /// The frame of a version 2 ring that fills this slot.
    #[inline]
    pub(super) fn in_slot(slot: &'b [u8]) -> Option<Self> {
        let header: &[u8; V2_HEADER] = slot.first_chunk()?;
        let said = Said {
            status: word(header, 0),
            wire_len: word(header, 4),
            seconds: word(header, 16),
            nanos: word(header, 20),
            rx_hash: 0,
            vlan_tci: half(header, 24),
            vlan_tpid: half(header, 26),
        };
        let (mac, len) = (half(header, 12), word(header, 8));
        Self::place(slot, (mac, len), V2_HEADER, header.last_chunk()?, said).filter(|placed| !placed.is_too_long())
    }

    /// Whether there is more of the frame than it is long. What the filter or the memory cut is shorter, never longer.
    #[inline]
    pub(super) const fn is_too_long(&self) -> bool {
        self.frame.data.len() > self.frame.wire_len()
    }

    #[inline]
    fn place(
        slot: &'b [u8],
        (mac, len): (u16, u32),
        header_len: usize,
        address: &'b [u8; 20],
        said: Said,
    ) -> Option<Self> {
        let start = usize::from(mac);
        // On a 32-bit machine this may overflow.
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        let data = slot.get(start..end).filter(|_| start >= header_len)?;
        Some(Self { frame: Frame { data, address, said }, end })
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
