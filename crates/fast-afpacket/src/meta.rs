//! What the kernel says of a received frame beside its bytes.

use std::fmt;

use crate::addr::{EtherType, PacketAddr};
use crate::offload::Offload;
use crate::sys::cmsg::{self, Messages};
use crate::sys::layout::Layout;
use crate::timestamp::{ControlError, Timestamps};

/// A received frame's lengths, origin, stamps and state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RxMeta {
    /// How many bytes of the frame are in the caller's buffer.
    pub len: usize,
    /// How many bytes the frame has in the kernel: more than `len` if the buffer or the filter cut it. A VLAN tag that
    /// was moved to `vlan` is not counted, nor is the frame check sequence.
    #[doc(alias("tp_len", "tp_snaplen"))]
    pub wire_len: usize,
    /// Who sent it, on which interface it was seen, for whom it was.
    pub from: PacketAddr,
    /// When it was received. The first frames after a socket is opened may have no stamp.
    pub timestamps: Timestamps,
    /// The outermost VLAN tag, if the kernel took it out of the bytes; [`VlanTag::restore`] puts it back.
    pub vlan: Option<VlanTag>,
    /// What is known of the checksum of its transport header.
    pub checksum: ChecksumState,
    /// What was left undone to it, on a socket with [`Options::offload`](crate::Options::offload).
    pub offload: Option<Offload>,
}

impl RxMeta {
    /// Whether bytes of the frame are missing at its end.
    #[doc(alias = "MSG_TRUNC")]
    pub const fn is_truncated(&self) -> bool {
        self.len < self.wire_len
    }
}

/// A VLAN tag that the kernel (or the NIC) took out of a received frame: IEEE 802.1Q, 802.1ad.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[doc(alias("tp_vlan_tci", "tp_vlan_tpid"))]
pub struct VlanTag {
    tpid: EtherType,
    tci: u16,
}

impl VlanTag {
    /// A tag with this protocol identifier (0x8100 or 0x88a8, as a rule) and control information.
    pub const fn new(tpid: EtherType, tci: u16) -> Self {
        Self { tpid, tci }
    }

    /// The tag's protocol identifier: [`EtherType::VLAN`], [`EtherType::SERVICE_VLAN`] or what else was on the wire.
    pub const fn tpid(self) -> EtherType {
        self.tpid
    }

    /// The tag control information: priority (3 bits), drop eligible (1), VLAN identifier (12). 0 is a valid tag.
    pub const fn tci(self) -> u16 {
        self.tci
    }

    /// The VLAN identifier, 0 to 4095; 0 means that the tag carries only a priority.
    pub const fn id(self) -> u16 {
        self.tci & 0x0fff
    }

    /// The priority code point, 0 to 7.
    pub const fn priority(self) -> u8 {
        self.tci.to_be_bytes()[0] >> 5
    }

    /// The drop eligible indicator.
    pub const fn drop_eligible(self) -> bool {
        self.tci & 0x1000 != 0
    }

    /// The tag that the kernel says it took out: `TP_STATUS_` bits, and the fields that hold a tag only if these say so.
    #[inline]
    pub(crate) const fn from_status(status: u32, tci: u16, tpid: u16) -> Option<Self> {
        if status & libc::TP_STATUS_VLAN_VALID == 0 { None } else { Some(Self::taken_out(status, tci, tpid)) }
    }

    #[cold] // of most frames; it keeps their way short
    const fn taken_out(status: u32, tci: u16, tpid: u16) -> Self {
        // Kernels before 3.14 have no TPID; they stripped 802.1Q tags only.
        let tpid = match status & libc::TP_STATUS_VLAN_TPID_VALID {
            0 => EtherType::VLAN,
            _ => EtherType::new(tpid),
        };
        Self::new(tpid, tci)
    }

    /// Puts the tag back where it was on the wire, behind the two MAC addresses, and gives the frame's new length.
    ///
    /// `buffer` holds the frame of `len` bytes and four bytes more. Only for frames from a raw socket: a cooked one
    /// leaves out the addresses.
    ///
    /// ```
    /// use fast_afpacket::{EtherType, VlanTag};
    ///
    /// let mut buffer = [0; 18];
    /// buffer[12..14].copy_from_slice(&[0x88, 0xb5]);
    /// let len = VlanTag::new(EtherType::VLAN, 5).restore(&mut buffer, 14)?;
    /// assert_eq!(buffer[12..len], [0x81, 0x00, 0x00, 0x05, 0x88, 0xb5]);
    /// # Ok::<(), fast_afpacket::RestoreError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`RestoreError`] if the frame is shorter than two MAC addresses or the buffer has no room for the tag.
    pub fn restore(self, buffer: &mut [u8], len: usize) -> Result<usize, RestoreError> {
        const ADDRESSES: usize = 12;
        const TAG: usize = 4;
        let refused = RestoreError { len, room: buffer.len() };
        let new_len = len.checked_add(TAG).ok_or(refused)?;
        let rest = buffer.get_mut(ADDRESSES..new_len).filter(|_| len >= ADDRESSES).ok_or(refused)?;
        rest.copy_within(..len - ADDRESSES, TAG);
        let tag = self.tpid.value().to_be_bytes().into_iter().chain(self.tci.to_be_bytes());
        for (byte, tag_byte) in rest.iter_mut().zip(tag) {
            *byte = tag_byte;
        }
        Ok(new_len)
    }
}

impl fmt::Debug for VlanTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VlanTag")
            .field("tpid", &self.tpid)
            .field("id", &self.id())
            .field("priority", &self.priority())
            .field("drop_eligible", &self.drop_eligible())
            .finish()
    }
}

/// A VLAN tag cannot be put back: too short a frame, or no room behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreError {
    len: usize,
    room: usize,
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no VLAN tag fits into a frame of {} bytes in a buffer of {}: 12 bytes of addresses and 4 of room are needed",
            self.len, self.room
        )
    }
}

impl std::error::Error for RestoreError {}

/// What the kernel knows of a received frame's TCP or UDP checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChecksumState {
    /// Nobody has checked it.
    #[default]
    Unverified,
    /// The NIC or the kernel found it right.
    #[doc(alias = "TP_STATUS_CSUM_VALID")]
    Verified,
    /// It is not there yet: the field holds the sum of the pseudo header, which the NIC would have completed. Frames
    /// between local hosts (veth) and this host's own look so; a checker that does not know this calls them corrupt.
    #[doc(alias = "TP_STATUS_CSUMNOTREADY")]
    Partial,
}

impl ChecksumState {
    /// What the `TP_STATUS_` bits of a frame say.
    #[inline]
    pub(crate) const fn from_status(status: u32) -> Self {
        if status & libc::TP_STATUS_CSUMNOTREADY != 0 {
            Self::Partial
        } else if status & libc::TP_STATUS_CSUM_VALID != 0 {
            Self::Verified
        } else {
            Self::Unverified
        }
    }
}

/// What the control messages of a received frame say.
#[derive(Default)]
pub(crate) struct Ancillary {
    pub(crate) timestamps: Timestamps,
    pub(crate) wire_len: Option<usize>,
    pub(crate) vlan: Option<VlanTag>,
    pub(crate) checksum: ChecksumState,
}

impl Ancillary {
    /// Reads a control buffer of a received frame.
    #[inline(always)] // saves a tenth of `recv`
    pub(crate) fn parse<L: Layout>(control: &[u8]) -> Result<Self, ControlError> {
        // What the kernel writes as a rule, in this order, the stamps only if there are any.
        if let Some((times, rest)) = cmsg::expect::<L, 48>(control, libc::SOL_SOCKET, L::SO_TIMESTAMPING) {
            if let Some((auxdata, [])) = cmsg::expect::<L, 20>(rest, libc::SOL_PACKET, libc::PACKET_AUXDATA)
                && let Some(timestamps) = Timestamps::from_times::<L>(times)
            {
                return Ok(Self::from_auxdata::<L>(auxdata, timestamps));
            }
        } else if let Some((auxdata, [])) = cmsg::expect::<L, 20>(control, libc::SOL_PACKET, libc::PACKET_AUXDATA) {
            return Ok(Self::from_auxdata::<L>(auxdata, Timestamps::NONE));
        }
        Self::parse_any::<L>(control)
    }

    /// Reads any messages in any order; those of others are skipped.
    #[cold]
    fn parse_any<L: Layout>(control: &[u8]) -> Result<Self, ControlError> {
        let mut found = Self::default();
        for message in Messages::<L>::new(control) {
            let message = message?;
            if message.level == libc::SOL_PACKET && message.kind == libc::PACKET_AUXDATA {
                let auxdata = message.data.try_into().map_err(|_| ControlError::Truncated)?;
                found = Self::from_auxdata::<L>(auxdata, found.timestamps);
            } else if let Some(timestamps) = Timestamps::from_message::<L>(&message)? {
                found.timestamps = timestamps;
            }
        }
        Ok(found)
    }

    /// `struct tpacket_auxdata`: status, len, snaplen (u32 each), mac, net, vlan_tci, vlan_tpid (u16 each).
    #[inline]
    fn from_auxdata<L: Layout>(auxdata: &[u8; 20], timestamps: Timestamps) -> Self {
        let [s0, s1, s2, s3, l0, l1, l2, l3, _, _, _, _, _, _, _, _, tci0, tci1, tpid0, tpid1] = *auxdata;
        let status = L::u32([s0, s1, s2, s3]);
        let (tci, tpid) = (L::u16([tci0, tci1]), L::u16([tpid0, tpid1]));
        Self {
            timestamps,
            wire_len: usize::try_from(L::u32([l0, l1, l2, l3])).ok(),
            vlan: VlanTag::from_status(status, tci, tpid),
            checksum: ChecksumState::from_status(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::cmsg::CmsgBytes;
    use crate::sys::layout::Native;
    use proptest::prelude::*;

    fn parse(control: &[u8]) -> Result<Ancillary, ControlError> {
        Ancillary::parse::<Native>(control)
    }

    fn auxdata(status: u32, tci: u16, tpid: u16) -> CmsgBytes {
        let mut data = Vec::new();
        for word in [status, 214, 20] {
            data.extend(word.to_ne_bytes());
        }
        for half in [0, 14, tci, tpid] {
            data.extend(half.to_ne_bytes());
        }
        let mut control = CmsgBytes::default();
        control.push(libc::SOL_PACKET, libc::PACKET_AUXDATA, &data);
        control
    }

    #[test]
    fn a_tag_of_value_zero_is_a_tag() {
        let found = parse(&auxdata(0x51, 0, 0x88a8).0).unwrap();
        assert_eq!(found.vlan, Some(VlanTag::new(EtherType::SERVICE_VLAN, 0)));
        assert_eq!(found.wire_len, Some(214));
        assert_eq!(parse(&auxdata(0x01, 0x6005, 0x8100).0).unwrap().vlan, None, "the status bit decides");
    }

    #[test]
    fn parts_of_a_tag() {
        let tag = VlanTag::new(EtherType::VLAN, 0x7005);
        assert_eq!((tag.id(), tag.priority(), tag.drop_eligible()), (5, 3, true));
    }

    #[test]
    fn checksum_states() {
        let state = |status| parse(&auxdata(status, 0, 0).0).unwrap().checksum;
        assert_eq!(state(0x01), ChecksumState::Unverified);
        assert_eq!(state(0x09), ChecksumState::Partial);
        assert_eq!(state(0x81), ChecksumState::Verified);
    }

    #[test]
    fn cut_auxdata_is_refused() {
        let mut control = CmsgBytes::default();
        control.push(libc::SOL_PACKET, libc::PACKET_AUXDATA, &[0; 12]);
        assert_eq!(parse(&control.0).err(), Some(ControlError::Truncated));
    }

    #[test]
    fn a_tag_needs_addresses_and_room() {
        let tag = VlanTag::new(EtherType::VLAN, 5);
        assert!(tag.restore(&mut [0; 64], 11).is_err());
        assert!(tag.restore(&mut [0; 63], 60).is_err());
        assert!(tag.restore(&mut [0; 63], usize::MAX).is_err());
        assert_eq!(tag.restore(&mut [0; 64], 60), Ok(64));
        assert_eq!(tag.restore(&mut [0; 16], 12), Ok(16));
    }

    proptest! {
        #[test]
        fn restoring_moves_only_the_tail(frame in proptest::collection::vec(any::<u8>(), 12..100), tci in any::<u16>()) {
            let mut buffer = frame.clone();
            buffer.extend([0; 4]);
            let len = VlanTag::new(EtherType::VLAN, tci).restore(&mut buffer, frame.len()).unwrap();
            prop_assert_eq!(len, frame.len() + 4);
            prop_assert_eq!(&buffer[..12], &frame[..12]);
            prop_assert_eq!(&buffer[16..], &frame[12..]);
        }
    }
}
