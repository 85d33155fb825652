//! Between whom a session is, and who may have one.

use std::net::IpAddr;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use fast_afpacket::MacAddr;

/// One end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    Udp {
        addr: IpAddr,
        port: u16,
    },
    /// STAMP in PTP messages, without IP.
    Ethernet(MacAddr),
}

impl Peer {
    /// Whether a reply to it, or one from it, can go to one receiver alone. A request to all of a group would be answered
    /// by all of them, and one from a group to all of it.
    pub(crate) fn is_unicast(self) -> bool {
        match self {
            Self::Udp { port: 0, .. } => false,
            Self::Udp { addr: IpAddr::V4(addr), .. } => {
                !(addr.is_multicast() || addr.is_broadcast() || addr.is_unspecified())
            }
            Self::Udp { addr: IpAddr::V6(addr), .. } => !(addr.is_multicast() || addr.is_unspecified()),
            Self::Ethernet(mac) => {
                let [first, ..] = mac.octets();
                first & 1 == 0 && mac.octets() != [0; 6]
            }
        }
    }
}

/// The way of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flow {
    /// Who has sent it.
    pub(crate) peer: Peer,
    /// To which of our own addresses.
    pub(crate) local: Peer,
}

/// Addresses that begin alike: `192.0.2.0/24`, `2001:db8::/32`, or a single one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    addr: IpAddr,
    len: u8,
}

impl Prefix {
    pub(crate) fn contains(&self, addr: IpAddr) -> bool {
        match (self.addr, addr.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let difference = own.to_bits() ^ other.to_bits();
                difference.leading_zeros() >= self.len.into()
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let difference = own.to_bits() ^ other.to_bits();
                difference.leading_zeros() >= self.len.into()
            }
            _ => false,
        }
    }
}

impl FromStr for Prefix {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (addr, len) = text.split_once('/').map_or((text, None), |(addr, len)| (addr, Some(len)));
        let addr: IpAddr = addr.parse().with_context(|| format!("no address: {addr}"))?;
        let longest = if addr.is_ipv4() { 32 } else { 128 };
        let len = len.map_or(Ok(longest), str::parse).with_context(|| format!("no length of a prefix: {text}"))?;
        ensure!(len <= longest, "{text}: an address has no more than {longest} bits");
        Ok(Self { addr, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(prefix: &str, addr: &str) -> bool {
        prefix.parse::<Prefix>().unwrap().contains(addr.parse().unwrap())
    }

    #[test]
    fn prefixes() {
        assert!(contains("192.0.2.0/24", "192.0.2.255"));
        assert!(!contains("192.0.2.0/24", "192.0.3.0"));
        assert!(contains("192.0.2.128/25", "192.0.2.200") && !contains("192.0.2.128/25", "192.0.2.100"));
        assert!(contains("192.0.2.7", "192.0.2.7") && !contains("192.0.2.7", "192.0.2.6"));
        assert!(contains("0.0.0.0/0", "203.0.113.9") && !contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("2001:db8::/32", "2001:db8:ffff::1") && !contains("2001:db8::/32", "2001:db9::"));
        assert!(contains("::/0", "fe80::1") && !contains("::/0", "203.0.113.9"));
        assert!(contains("192.0.2.0/24", "::ffff:192.0.2.1"), "IPv4 in an IPv6 address");
        for bad in ["", "192.0.2.0/33", "::/129", "192.0.2.0/", "192.0.2.0/-1", "example.org/8", "192.0.2/24"] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }

    #[test]
    fn groups_are_not_answered() {
        let udp = |addr: &str, port| Peer::Udp { addr: addr.parse().unwrap(), port };
        for addr in ["192.0.2.1", "127.0.0.1", "169.254.0.1", "2001:db8::1", "fe80::1", "::1"] {
            assert!(udp(addr, 1).is_unicast(), "{addr}");
            assert!(!udp(addr, 0).is_unicast(), "{addr}: port 0 cannot be answered");
        }
        for addr in ["224.0.0.1", "239.1.2.3", "255.255.255.255", "0.0.0.0", "::", "ff02::1"] {
            assert!(!udp(addr, 862).is_unicast(), "{addr}");
        }
        let ethernet = |octets| Peer::Ethernet(MacAddr::new(octets));
        assert!(ethernet([2, 0, 0, 0, 0, 1]).is_unicast());
        for octets in [[0xff; 6], [0; 6], [1, 0x1b, 0x19, 0, 0, 0]] {
            assert!(!ethernet(octets).is_unicast());
        }
    }
}
