//! Frames in the memory of a ring, by the layouts of `linux/if_packet.h`.

use std::ops::Range;

use fast_afpacket::{ChecksumState, EtherType, Frame, HardwareStamp, PacketAddr, PacketType, SystemStamp, VlanTag};

use crate::{u16_at, u32_at};

const BLOCK_HEADER: usize = 48;
/// `tpacket3_hdr` and `sockaddr_ll`.
const V3_HEADER: usize = 48 + 20;
/// `tpacket2_hdr` and `sockaddr_ll`.
const V2_HEADER: usize = 32 + 20;

const VLAN_VALID: u32 = 1 << 4;
const VLAN_TPID_VALID: u32 = 1 << 6;
const CHECKSUM_NOT_READY: u32 = 1 << 3;
const CHECKSUM_VALID: u32 = 1 << 7;
const SOFTWARE: u32 = 1 << 29;
const HARDWARE: u32 = 1 << 31;

/// A frame as it must be found.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Where its bytes are.
    data: Range<usize>,
    /// How far they reach from its header on.
    end: usize,
    status: u32,
    wire_len: u32,
    nanos: i64,
    rx_hash: u32,
    tci: u16,
    tpid: u16,
    address: [u8; 20],
}

/// What must be counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub truncated: u32,
    pub unstamped: u32,
    pub malformed: u32,
}

/// How many frames a block says it has.
pub fn claimed(block: &[u8]) -> u32 {
    if block.len() < BLOCK_HEADER { 0 } else { u32_at(block, 12) }
}

/// The frames of a block of a version 3 ring.
pub fn in_block(block: &[u8]) -> Vec<Expected> {
    let mut found = Vec::new();
    let claimed = claimed(block) as usize;
    if claimed == 0 {
        return found;
    }
    let (mut at, end) = (u32_at(block, 16) as usize, u32_at(block, 20) as usize);
    if at < BLOCK_HEADER || end > block.len() {
        return found;
    }
    while found.len() < claimed && at + V3_HEADER <= end {
        let is_last = found.len() + 1 == claimed;
        let next = if is_last { end } else { at + u32_at(block, at) as usize };
        let said = Expected {
            data: Range::default(),
            end: u16_at(block, at + 24) as usize + u32_at(block, at + 12) as usize,
            status: u32_at(block, at + 20),
            wire_len: u32_at(block, at + 16),
            nanos: nanos(u32_at(block, at + 4), u32_at(block, at + 8)),
            rx_hash: u32_at(block, at + 28),
            tci: (u32_at(block, at + 32) & 0xffff) as u16,
            tpid: u16_at(block, at + 36),
            address: block[at + 48..at + 68].try_into().unwrap(),
        };
        let mac = u16_at(block, at + 24) as usize;
        let (start, behind) = (at + mac, at + said.end);
        if next > end || mac < V3_HEADER || behind > next || behind - start > said.wire_len as usize {
            break;
        }
        found.push(Expected { data: start..behind, ..said });
        at = next;
    }
    found
}

/// What must be counted for these frames of that block.
pub fn counts_of(block: &[u8], found: &[Expected]) -> Counts {
    let count = |is: &dyn Fn(&Expected) -> bool| found.iter().filter(|frame| is(frame)).count() as u32;
    Counts {
        // A block has room for this much from a frame's header on.
        truncated: count(&|frame| frame.is_truncated() && frame.end >= block.len() - BLOCK_HEADER),
        unstamped: count(&|frame| frame.is_unstamped()),
        malformed: claimed(block) - found.len() as u32,
    }
}

/// The frame in a slot of a version 2 ring.
pub fn in_slot(slot: &[u8]) -> Option<Expected> {
    if slot.len() < V2_HEADER {
        return None;
    }
    let (mac, len, wire_len) = (u16_at(slot, 12) as usize, u32_at(slot, 8) as usize, u32_at(slot, 4));
    if mac < V2_HEADER || mac + len > slot.len() || len > wire_len as usize {
        return None;
    }
    Some(Expected {
        data: mac..mac + len,
        end: mac + len,
        status: u32_at(slot, 0),
        wire_len,
        nanos: nanos(u32_at(slot, 16), u32_at(slot, 20)),
        rx_hash: 0,
        tci: u16_at(slot, 24),
        tpid: u16_at(slot, 26),
        address: slot[32..52].try_into().unwrap(),
    })
}

fn nanos(seconds: u32, nanos: u32) -> i64 {
    i64::from(seconds) * 1_000_000_000 + i64::from(nanos)
}

impl Expected {
    pub const fn is_truncated(&self) -> bool {
        self.data.end - self.data.start < self.wire_len as usize
    }

    pub const fn is_unstamped(&self) -> bool {
        self.status & (SOFTWARE | HARDWARE) == 0
    }

    /// Whether it was cut because a slot is no longer.
    pub const fn is_cut_by(&self, slot: &[u8]) -> bool {
        self.is_truncated() && self.end == slot.len()
    }

    /// Compares all that the library says of the frame that it found in this memory.
    pub fn compare(&self, memory: &[u8], frame: &Frame<'_>) {
        let data = frame.data();
        let start = data.as_ptr().addr() - memory.as_ptr().addr();
        assert_eq!(start..start + data.len(), self.data);
        let meta = frame.meta();
        assert_eq!((meta.len, meta.wire_len), (data.len(), self.wire_len as usize));
        assert_eq!(frame.wire_len(), meta.wire_len);
        assert!(meta.len <= meta.wire_len);
        assert_eq!((frame.is_truncated(), meta.is_truncated()), (self.is_truncated(), self.is_truncated()));
        self.compare_times(frame);
        assert_eq!((frame.vlan(), meta.vlan), (self.vlan(), self.vlan()));
        assert_eq!(frame.rx_hash(), (self.rx_hash != 0).then_some(self.rx_hash));
        let checksum = match self.status & (CHECKSUM_NOT_READY | CHECKSUM_VALID) {
            0 => ChecksumState::Unverified,
            CHECKSUM_VALID => ChecksumState::Verified,
            _ => ChecksumState::Partial,
        };
        assert_eq!((meta.checksum, meta.offload), (checksum, None));
        self.compare_address(&meta.from);
    }

    /// A time is a stamp of the clock that the status names, or of none.
    fn compare_times(&self, frame: &Frame<'_>) {
        let (system, hardware) = (SystemStamp::from_nanos(self.nanos), HardwareStamp::from_nanos(self.nanos));
        let found = frame.timestamps();
        assert_eq!(frame.meta().timestamps, found);
        let found = (found.hardware, found.software, frame.copied_at());
        let expected = match (self.status & HARDWARE != 0, self.status & SOFTWARE != 0) {
            (true, _) => (Some(hardware), None, None),
            (false, true) => (None, Some(system), None),
            (false, false) => (None, None, Some(system)),
        };
        assert_eq!(found, expected);
    }

    fn vlan(&self) -> Option<VlanTag> {
        if self.status & VLAN_VALID == 0 {
            return None;
        }
        let tpid = if self.status & VLAN_TPID_VALID == 0 { 0x8100 } else { self.tpid };
        Some(VlanTag::new(EtherType::new(tpid), self.tci))
    }

    /// `sockaddr_ll`: family, protocol (big-endian), interface index, hardware type, packet type, length, address.
    fn compare_address(&self, found: &PacketAddr) {
        let bytes = &self.address;
        assert_eq!(found.ether_type().value(), u16::from_be_bytes([bytes[2], bytes[3]]));
        let index = u32_at(bytes, 4);
        assert_eq!(found.interface_index(), if index > i32::MAX as u32 { 0 } else { index });
        assert_eq!(found.hardware_type(), u16_at(bytes, 8));
        let kind = match bytes[10] {
            0 => PacketType::Host,
            1 => PacketType::Broadcast,
            2 => PacketType::Multicast,
            3 => PacketType::OtherHost,
            4 => PacketType::Outgoing,
            other => PacketType::Other(other),
        };
        assert_eq!(found.packet_type(), kind);
        let len = usize::from(bytes[11]).min(8);
        assert_eq!(found.link_address(), &bytes[12..12 + len]);
        assert_eq!(found.mac().map(|mac| mac.octets().to_vec()), (len == 6).then(|| bytes[12..18].to_vec()));
    }

    /// Whether two frames have the same address: what stands behind its bytes is of no account.
    pub fn has_address_of(&self, other: &Self) -> bool {
        let said = |frame: &Self| {
            let bytes = &frame.address;
            let index = u32_at(bytes, 4) as i32;
            let end = 12 + usize::from(bytes[11]).min(8);
            ([bytes[2], bytes[3]], index.max(0), bytes[8..end].to_vec())
        };
        said(self) == said(other)
    }
}
