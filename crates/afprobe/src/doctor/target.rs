//! Where the doctor's probes go: to a peer, back to oneself, or where nobody answers.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use fast_afpacket::{Interface, InterfaceFlags, MacAddr};
use netlink_packet_route::AddressFamily;

use crate::frame::{Flow, Path};
use crate::neighbor::{self, Link};
use crate::netlink::Netlink;
use crate::treatment::Treatment;
use crate::wire::Wire;

/// Of PTP's peer-delay messages: no bridge forwards what is sent there, and no host answers this.
const NOBODY: MacAddr = MacAddr::new([0x01, 0x80, 0xc2, 0, 0, 0x0e]);
const NOBODY_ADDR: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 107));

const ETHERNET: u16 = 1;

/// Another host of the link, as it is named on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Address(IpAddr),
    Mac(MacAddr),
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mac = text.parse().map(Self::Mac).ok();
        let peer = mac.or_else(|| text.parse().map(Self::Address).ok());
        peer.ok_or_else(|| format!("{text:?} is neither an IP address nor a MAC address"))
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Mac(mac) => mac.fmt(f),
        }
    }
}

/// Who may send frames to this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    Nobody,
    Peer(Peer),
    /// On the loopback interface the frames themselves come back.
    Itself,
}

/// From where to where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) path: Path,
    pub(super) answers: Answers,
}

/// Whether the interface is loopback, and an error if it has no Ethernet frames.
fn is_loopback(interface: &Interface) -> Result<bool> {
    let is_loopback = interface.flags()?.contains(InterfaceFlags::LOOPBACK);
    ensure!(
        is_loopback || interface.hardware_type()? == ETHERNET,
        "{interface} is no Ethernet interface: the doctor sends Ethernet frames"
    );
    Ok(is_loopback)
}

/// The interface's MAC address: loopback has zeros.
pub(super) fn own_mac(interface: &Interface) -> Result<MacAddr> {
    if is_loopback(interface)? {
        return Ok(MacAddr::new([0; 6]));
    }
    interface.mac()?.with_context(|| format!("{interface} has no MAC address"))
}

impl Target {
    pub(super) fn find(interface: &Interface, peer: Option<Peer>) -> Result<Self> {
        let src_mac = own_mac(interface)?;
        let mut netlink = Netlink::open()?;
        if is_loopback(interface)? {
            ensure!(peer.is_none(), "{interface} is its own peer: without --peer");
            let own = Ipv4Addr::LOCALHOST.into();
            let path = Path { src_mac, dst_mac: src_mac, src_addr: own, dst_addr: own };
            return Ok(Self { path, answers: Answers::Itself });
        }
        let (dst_mac, answers) = match peer {
            Some(Peer::Address(address)) => return Self::towards(address, interface, src_mac, &mut netlink),
            Some(Peer::Mac(mac)) => {
                ensure!(!mac.is_multicast(), "{mac} is not the address of one host");
                (mac, Answers::Peer(Peer::Mac(mac)))
            }
            None => (NOBODY, Answers::Nobody),
        };
        let own = netlink.addresses(interface.index(), AddressFamily::Inet)?.into_iter().next();
        let src_addr = own.map_or(Ipv4Addr::UNSPECIFIED.into(), |(address, _)| address);
        Ok(Self { path: Path { src_mac, dst_mac, src_addr, dst_addr: NOBODY_ADDR }, answers })
    }

    fn towards(address: IpAddr, interface: &Interface, src_mac: MacAddr, netlink: &mut Netlink) -> Result<Self> {
        let route = netlink.route_to(address, Some(interface.index()))?;
        let src_addr = match route.source {
            Some(source) => source,
            None => netlink
                .source_for(interface.index(), address)?
                .with_context(|| format!("{interface} has no address to reach {address} from: give a MAC address"))?,
        };
        if src_addr == address {
            bail!("{address} is this host's own address: a peer is another host");
        }
        let next_hop = route.gateway.unwrap_or(address);
        let link = Link { interface, src_mac, src_addr, vlan: None };
        let dst_mac =
            neighbor::mac_of(next_hop, &link, netlink).with_context(|| format!("cannot reach the peer {address}"))?;
        let path = Path { src_mac, dst_mac, src_addr, dst_addr: address };
        Ok(Self { path, answers: Answers::Peer(Peer::Address(address)) })
    }

    pub(super) fn flow(&self, wire: Wire) -> Flow {
        Flow { path: self.path, treatment: Treatment::SEED, wire, ports: wire.ports() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_named_by_either_address() {
        let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
        assert_eq!("02:00:00:00:00:01".parse(), Ok(Peer::Mac(mac)));
        assert_eq!("192.0.2.1".parse(), Ok(Peer::Address([192, 0, 2, 1].into())));
        assert_eq!("fe80::1".parse(), Ok(Peer::Address("fe80::1".parse().unwrap())));
        assert!("eth1".parse::<Peer>().unwrap_err().contains("\"eth1\""));
    }
}
