//! From flags and the facts of the host to what can be opened: interface, addresses, ports.

use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use fast_afpacket::{Interface, MacAddr};

use crate::cli::RunArguments;
use crate::engine::{self, Host, Verdict};
use crate::frame::Path;
use crate::neighbor;
use crate::netlink::Netlink;
use crate::wire::{Ports, Wire};

/// Probes one other host from this one.
pub(crate) fn run(arguments: &RunArguments) -> Result<Verdict> {
    let (interface, path) = find_path(arguments)?;
    let name = match &arguments.host {
        Some(name) => name.clone(),
        None => host_name()?,
    };
    let host = Host::open(name, &interface, path, &arguments.job.hardware)?;
    engine::run(&[host], &arguments.job)
}

fn host_name() -> Result<String> {
    let file = "/proc/sys/kernel/hostname";
    let name = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}: give --host"))?;
    Ok(name.trim_end().to_owned())
}

/// What was not given is found out: the interface and the source from the route, the MAC address of the next hop from
/// the kernel's tables or the network.
fn find_path(arguments: &RunArguments) -> Result<(Interface, Path)> {
    let wire = arguments.job.wire;
    let ports = find_ports(arguments)?;
    let dst_addr = arguments.dst_addr;
    let mut netlink = Netlink::open()?;
    let given = arguments.iface_name.as_deref().map(Interface::by_name).transpose()?;
    let route = netlink.route_to(dst_addr, given.as_ref().map(Interface::index));
    // With everything given no route is needed.
    let is_complete = given.is_some() && arguments.src_addr.is_some() && arguments.dst_mac.is_some();
    let route = match route {
        Err(_) if is_complete => None,
        route => Some(route?),
    };
    let interface = match (given, &route) {
        (Some(interface), _) => interface,
        (None, Some(route)) => Interface::by_index(route.interface_index)?,
        (None, None) => bail!("no route to {dst_addr}: give --iface-name"),
    };
    let src_mac = match arguments.src_mac {
        Some(mac) => mac,
        None => own_mac(&interface, dst_addr)?,
    };
    let src_addr = match arguments.src_addr.or(route.and_then(|route| route.source)) {
        Some(address) => address,
        None => netlink
            .source_for(interface.index(), dst_addr)?
            .with_context(|| format!("{interface} has no address to reach {dst_addr} from: give --src-addr"))?,
    };
    ensure!(
        src_addr.is_ipv4() == dst_addr.is_ipv4(),
        "source {src_addr} and destination {dst_addr} are of different families"
    );
    let dst_mac = match arguments.dst_mac {
        Some(mac) => mac,
        None => {
            let gateway = route.and_then(|route| route.gateway);
            if let (Some(gateway), None) = (gateway, ports) {
                bail!("{dst_addr} is behind the router {gateway}, which forwards no PTP over Ethernet: --wire ptp-udp");
            }
            neighbor::mac_of(gateway.unwrap_or(dst_addr), &interface, src_mac, src_addr, &mut netlink)?
        }
    };
    Ok((interface, Path { src_mac, dst_mac, src_addr, dst_addr, wire, ports }))
}

/// The wire's ports, or those that were given. A card looks for PTP on one port: that cannot be changed.
fn find_ports(arguments: &RunArguments) -> Result<Option<Ports>> {
    let (src, dst) = (arguments.src_port, arguments.dst_port);
    ensure!(
        arguments.job.wire == Wire::Seed || (src, dst) == (None, None),
        "--src-port and --dst-port are for --wire seed: PTP has UDP port 319, and over Ethernet none"
    );
    let given = |ports: Ports| Ports { src: src.unwrap_or(ports.src), dst: dst.unwrap_or(ports.dst), ..ports };
    Ok(arguments.job.wire.ports().map(given))
}

fn own_mac(interface: &Interface, dst_addr: IpAddr) -> Result<MacAddr> {
    interface.mac()?.with_context(|| {
        format!("the way to {dst_addr} is through {interface}, which is no Ethernet link and has no MAC address")
    })
}
