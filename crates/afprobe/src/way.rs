//! The way to another host, of whom an address is known: which interface, from which address, to whose MAC address.

use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use fast_afpacket::{Interface, MacAddr, VlanTag};

use crate::endpoint::{ScopedAddr, is_link_local};
use crate::frame::Path;
use crate::neighbor::{self, Link};
use crate::netlink::Netlink;

/// What is said of the way; the rest is found out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Given<'a> {
    pub(crate) iface_name: Option<&'a str>,
    pub(crate) src_mac: Option<MacAddr>,
    pub(crate) src_addr: Option<IpAddr>,
    pub(crate) dst_mac: Option<MacAddr>,
    /// The tag that frames will have.
    pub(crate) vlan: Option<VlanTag>,
}

/// What was not given is found out: the interface and the source from the route, the MAC address of the next hop from
/// the kernel's tables or the network.
///
/// `is_routed`: whether a router would forward what is to be sent.
pub(crate) fn find(dst: &ScopedAddr, given: &Given<'_>, is_routed: bool) -> Result<(Interface, Path)> {
    let dst_addr = dst.addr;
    ensure_one_host(dst_addr)?;
    let mut netlink = Netlink::open()?;
    let named = find_interface(dst, given)?;
    ensure!(
        named.is_some() || !is_link_local(dst_addr),
        "{dst_addr} is the address of a host on each link: {dst_addr}%eth1 would say on which, or --iface-name"
    );
    let route = netlink.route_to(dst_addr, named.as_ref().map(Interface::index));
    // With everything given no route is needed.
    let is_complete = named.is_some() && given.src_addr.is_some() && given.dst_mac.is_some();
    let route = match route {
        Err(_) if is_complete => None,
        route => Some(route?),
    };
    let interface = match (named, &route) {
        (Some(interface), _) => interface,
        (None, Some(route)) => Interface::by_index(route.interface_index)?,
        (None, None) => bail!("no route to {dst_addr}: give --iface-name"),
    };
    let src_mac = match given.src_mac {
        Some(mac) => mac,
        None => own_mac(&interface, dst_addr)?,
    };
    let src_addr = match given.src_addr.or(route.and_then(|route| route.source)) {
        Some(address) => address,
        None => netlink
            .source_for(interface.index(), dst_addr)?
            .with_context(|| format!("{interface} has no address to reach {dst_addr} from: give --src-addr"))?,
    };
    ensure!(
        src_addr.is_ipv4() == dst_addr.is_ipv4(),
        "source {src_addr} and destination {dst_addr} are of different families"
    );
    let dst_mac = match given.dst_mac {
        Some(mac) => mac,
        None => {
            let gateway = route.and_then(|route| route.gateway);
            if let (Some(gateway), false) = (gateway, is_routed) {
                bail!("{dst_addr} is behind the router {gateway}, which forwards no PTP over Ethernet: --wire ptp-udp");
            }
            let link = Link { interface: &interface, src_mac, src_addr, vlan: given.vlan };
            neighbor::mac_of(gateway.unwrap_or(dst_addr), &link, &mut netlink)?
        }
    };
    Ok((interface, Path { src_mac, dst_mac, src_addr, dst_addr }))
}

/// The interface that is named: with the address, or beside it.
fn find_interface(dst: &ScopedAddr, given: &Given<'_>) -> Result<Option<Interface>> {
    let named = given.iface_name.map(Interface::by_name).transpose()?;
    match (named, dst.interface()?) {
        (Some(named), Some(scope)) if named.index() != scope.index() => {
            bail!("{dst} is on {scope}, and --iface-name says {named}")
        }
        (named, scope) => Ok(named.or(scope)),
    }
}

fn ensure_one_host(address: IpAddr) -> Result<()> {
    let is_group = match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast(),
    };
    ensure!(!is_group && !address.is_unspecified(), "{address} is not the address of one host");
    Ok(())
}

fn own_mac(interface: &Interface, dst_addr: IpAddr) -> Result<MacAddr> {
    interface.mac()?.with_context(|| {
        format!("the way to {dst_addr} is through {interface}, which is no Ethernet link and has no MAC address")
    })
}
