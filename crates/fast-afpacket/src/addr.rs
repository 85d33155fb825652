//! Link-layer addresses and what else the kernel says of a frame's origin.

use std::fmt;
use std::str::FromStr;

use crate::sys::abi;

/// A 48-bit IEEE 802 MAC address.
///
/// ```
/// use fast_afpacket::MacAddr;
///
/// let mac: MacAddr = "02:42:ac:c8:01:61".parse()?;
/// assert_eq!(mac, MacAddr::new([0x02, 0x42, 0xac, 0xc8, 0x01, 0x61]));
/// assert!(!mac.is_multicast());
/// # Ok::<(), fast_afpacket::ParseMacAddrError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[doc(alias("HardwareAddr", "ether_addr"))]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The address made of these octets, in the order in which they stand on the wire.
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// The six octets in wire order.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Whether this is a group address (multicast or broadcast): the lowest bit of the first octet is set.
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl From<[u8; 6]> for MacAddr {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

impl From<MacAddr> for [u8; 6] {
    fn from(mac: MacAddr) -> Self {
        mac.0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = ParseMacAddrError;

    /// Reads six pairs of hexadecimal digits separated by `:` (or all of them by `-`).
    fn from_str(text: &str) -> Result<Self, ParseMacAddrError> {
        let refused = || ParseMacAddrError { text: text.into() };
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut octets = [0; 6];
        let mut parts = text.split(separator);
        for octet in &mut octets {
            let part = parts.next().ok_or_else(refused)?;
            let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
            if !digits {
                return Err(refused());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| refused())?;
        }
        match parts.next() {
            None => Ok(Self(octets)),
            Some(_) => Err(refused()),
        }
    }
}

/// The text is not a MAC address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseMacAddrError {
    text: Box<str>,
}

impl fmt::Display for ParseMacAddrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a MAC address: six pairs of hexadecimal digits are expected, like 02:42:ac:c8:01:61",
            self.text
        )
    }
}

impl std::error::Error for ParseMacAddrError {}

/// The protocol of a frame: what stands in the Ethernet type field, in host byte order.
///
/// The kernel wants it in network byte order in every address and in `socket(2)`; this library converts, everywhere.
///
/// ```
/// use fast_afpacket::EtherType;
///
/// assert_eq!(EtherType::IPV4, EtherType::new(0x0800));
/// assert_eq!(format!("{:?} {:?}", EtherType::ARP, EtherType::new(0x1234)), "ARP EtherType(0x1234)");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[doc(alias("ETH_P", "sll_protocol", "socketProtocol"))]
pub struct EtherType(u16);

/// Constants and their names for `Debug`, from one list.
macro_rules! ether_types {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl EtherType {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

ether_types! {
    /// Every protocol, incoming and outgoing: only for opening a socket, never on the wire (`ETH_P_ALL`).
    #[doc(alias = "ETH_P_ALL")] ALL = 0x0003;
    /// A frame with an IEEE 802.2 LLC header in place of a type; the kernel reports it so (`ETH_P_802_2`).
    #[doc(alias = "ETH_P_802_2")] LLC = 0x0004;
    /// IPv4, RFC 894.
    #[doc(alias = "ETH_P_IP")] IPV4 = 0x0800;
    /// ARP, RFC 826.
    #[doc(alias = "ETH_P_ARP")] ARP = 0x0806;
    /// An IEEE 802.1Q tag (C-tag).
    #[doc(alias = "ETH_P_8021Q")] VLAN = 0x8100;
    /// IPv6, RFC 2464.
    #[doc(alias = "ETH_P_IPV6")] IPV6 = 0x86dd;
    /// IEEE 802 local experimental 1: free for tests and private use.
    #[doc(alias = "ETH_P_802_EX1")] EXPERIMENTAL_1 = 0x88b5;
    /// IEEE 802 local experimental 2: free for tests and private use.
    EXPERIMENTAL_2 = 0x88b6;
    /// An IEEE 802.1ad service tag (S-tag, the outer one of QinQ).
    #[doc(alias = "ETH_P_8021AD")] SERVICE_VLAN = 0x88a8;
    /// Precision Time Protocol over Ethernet, IEEE 1588 annex F.
    #[doc(alias = "ETH_P_1588")] PTP = 0x88f7;
}

impl EtherType {
    /// The EtherType with this value, in host byte order.
    pub const fn new(value: u16) -> Self {
        Self(value)
    }

    /// The value in host byte order.
    pub const fn value(self) -> u16 {
        self.0
    }
}

impl From<u16> for EtherType {
    fn from(value: u16) -> Self {
        Self(value)
    }
}

impl From<EtherType> for u16 {
    fn from(ether_type: EtherType) -> Self {
        ether_type.0
    }
}

impl fmt::Debug for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "EtherType({:#06x})", self.0),
        }
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

/// For whom a received frame was meant, or that this host sent it: `sll_pkttype` of packet(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[doc(alias("sll_pkttype", "PACKET_HOST"))]
pub enum PacketType {
    /// Addressed to this host.
    Host,
    /// Link-layer broadcast.
    Broadcast,
    /// Link-layer multicast.
    Multicast,
    /// Addressed to another host; seen because the interface is promiscuous, or because it does not filter (veth).
    OtherHost,
    /// Sent by this host, by another socket or the kernel itself, and looped back to packet sockets.
    /// [`Options::ignore_outgoing`](crate::Options::ignore_outgoing) keeps these away.
    Outgoing,
    /// A type that this library does not know.
    Other(u8),
}

impl PacketType {
    pub(crate) const fn from_raw(value: u8) -> Self {
        match value {
            0 => Self::Host,
            1 => Self::Broadcast,
            2 => Self::Multicast,
            3 => Self::OtherHost,
            4 => Self::Outgoing,
            other => Self::Other(other),
        }
    }
}

/// Where a received frame came from, or where a frame goes: `sockaddr_ll` of packet(7).
///
/// For sending, [`PacketAddr::new`] says all that counts: on a cooked socket the destination's MAC address and the
/// EtherType. A raw frame carries both itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[doc(alias("sockaddr_ll", "Addr", "SockaddrLinklayer"))]
pub struct PacketAddr {
    ether_type: EtherType,
    interface_index: u32,
    hardware_type: u16,
    /// As the kernel has it: what was received is looked at by few, and received by the million.
    packet_type: u8,
    /// Of the address on the link, which may be longer than `bytes`.
    len: u8,
    bytes: [u8; 8],
}

impl PacketAddr {
    /// The address of `mac` for frames of type `ether_type`, on the interface that the socket is bound to.
    pub const fn new(mac: MacAddr, ether_type: EtherType) -> Self {
        let [a, b, c, d, e, g] = mac.0;
        Self {
            ether_type,
            interface_index: 0,
            hardware_type: 0,
            packet_type: 0,
            len: 6,
            bytes: [a, b, c, d, e, g, 0, 0],
        }
    }

    /// The MAC address: of the sender for a received frame, also for one that this host sent.
    /// `None` where the link has none (a tunnel), or one that is not 6 bytes long (InfiniBand).
    #[doc(alias = "sll_addr")]
    pub const fn mac(&self) -> Option<MacAddr> {
        let [a, b, c, d, e, g, ..] = self.bytes;
        match self.len {
            6 => Some(MacAddr([a, b, c, d, e, g])),
            _ => None,
        }
    }

    /// The link-layer address as the kernel gave it: 0 to 8 bytes. A longer one (InfiniBand: 20) is cut to 8.
    #[doc(alias("sll_addr", "sll_halen"))]
    pub fn link_address(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&self.bytes)
    }

    /// The protocol of the frame.
    ///
    /// For a received frame this is what follows the outermost VLAN tag, when the kernel has moved that tag to
    /// [`RxMeta::vlan`](crate::RxMeta::vlan).
    #[doc(alias = "sll_protocol")]
    pub const fn ether_type(&self) -> EtherType {
        self.ether_type
    }

    /// The index of the interface that received or sent the frame; 0 for an address made with [`PacketAddr::new`].
    #[doc(alias = "sll_ifindex")]
    pub const fn interface_index(&self) -> u32 {
        self.interface_index
    }

    /// The kind of link, an `ARPHRD_` number: 1 for Ethernet, 772 for the loopback interface.
    #[doc(alias("sll_hatype", "ARPHRD"))]
    pub const fn hardware_type(&self) -> u16 {
        self.hardware_type
    }

    /// For whom the frame was, or that this host sent it.
    #[doc(alias = "sll_pkttype")]
    pub const fn packet_type(&self) -> PacketType {
        PacketType::from_raw(self.packet_type)
    }

    #[inline]
    pub(crate) fn from_raw(raw: &libc::sockaddr_ll) -> Self {
        Self {
            ether_type: EtherType(u16::from_be(raw.sll_protocol)),
            interface_index: u32::try_from(raw.sll_ifindex).unwrap_or(0),
            hardware_type: raw.sll_hatype,
            packet_type: raw.sll_pkttype,
            len: raw.sll_halen,
            bytes: raw.sll_addr,
        }
    }

    /// This address as the kernel wants it for a frame of type `ether_type` on interface `index`.
    pub(crate) fn to_raw(self, ether_type: EtherType, index: i32) -> libc::sockaddr_ll {
        libc::sockaddr_ll { sll_halen: self.len.min(8), sll_addr: self.bytes, ..abi::link_address(ether_type.0, index) }
    }
}

impl fmt::Debug for PacketAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketAddr")
            .field("address", &format_args!("{self}"))
            .field("ether_type", &self.ether_type)
            .field("interface_index", &self.interface_index)
            .field("hardware_type", &self.hardware_type)
            .field("packet_type", &self.packet_type())
            .finish()
    }
}

/// The link-layer address alone, as pairs of hexadecimal digits; `-` where there is none.
impl fmt::Display for PacketAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.len == 0 {
            return f.write_str("-");
        }
        for (i, byte) in self.link_address().iter().enumerate() {
            let separator = if i == 0 { "" } else { ":" };
            write!(f, "{separator}{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_address_reads_what_it_prints() {
        let mac = MacAddr::new([0x02, 0x42, 0xac, 0xc8, 0x01, 0x61]);
        assert_eq!(mac.to_string(), "02:42:ac:c8:01:61");
        assert_eq!(mac.to_string().parse(), Ok(mac));
        assert_eq!("02-42-AC-C8-01-61".parse(), Ok(mac));
    }

    #[test]
    fn mac_address_refuses_other_text() {
        for text in [
            "",
            "02:42:ac:c8:01",
            "02:42:ac:c8:01:61:00",
            "2:42:ac:c8:1:61",
            "02:42:ac:c8:01:6g",
            "02:42:ac-c8:01:61",
            "+2:42:ac:c8:01:61",
        ] {
            let refused = text.parse::<MacAddr>().expect_err(text);
            assert!(refused.to_string().contains(&format!("{text:?}")), "{refused}");
        }
    }

    #[test]
    fn protocol_is_in_network_order_for_the_kernel() {
        let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
        let raw = PacketAddr::new(mac, EtherType::EXPERIMENTAL_1).to_raw(EtherType::EXPERIMENTAL_1, 7);
        assert_eq!(raw.sll_protocol.to_ne_bytes(), [0x88, 0xb5]);
        assert_eq!(raw.sll_ifindex, 7);
        let back = PacketAddr::from_raw(&raw);
        assert_eq!(back.ether_type(), EtherType::EXPERIMENTAL_1);
        assert_eq!(back.mac(), Some(mac));
    }

    #[test]
    fn an_address_that_is_too_long_is_cut_not_read_past() {
        let mut raw = PacketAddr::new(MacAddr::BROADCAST, EtherType::IPV4).to_raw(EtherType::IPV4, 1);
        raw.sll_halen = 20;
        let address = PacketAddr::from_raw(&raw);
        assert_eq!(address.link_address().len(), 8);
        assert_eq!(address.mac(), None);
    }
}
