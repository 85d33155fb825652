//! Interfaces, addresses, routes and neighbours, asked of the kernel by rtnetlink(7) over a blocking socket.
//!
//! A [`Netlink`] speaks for the network namespace of the thread that opened it, whatever that thread enters later. One
//! request is finished before the next: send it, then read until the kernel says that it has said everything.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REQUEST, NLMSG_ALIGNTO, NetlinkBuffer,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::libc;
use socket2::SockRef;

/// The kernel answers in microseconds, or after whoever holds its configuration lock: never this late.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Dumps come in datagrams of at most 32 KiB, which the kernel only makes that large for a reader with the room.
const BUFFER_LENGTH: usize = 64 * 1024;

/// One end of a virtual cable that is to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkSpec<'a> {
    pub(crate) name: &'a str,
    pub(crate) mac: [u8; 6],
}

/// The way that the kernel would take to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) interface_index: u32,
    /// The address that the kernel would send from.
    pub(crate) source: Option<IpAddr>,
    /// The next hop, of either family; `None` when the destination is on the link itself.
    pub(crate) gateway: Option<IpAddr>,
}

/// A conversation with the kernel about the network namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens the conversation in the network namespace of the calling thread.
    pub(crate) fn open() -> Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE).context("cannot open a netlink socket")?;
        // Once connected, the socket hears port 0, the kernel, and no other process.
        socket.connect(&SocketAddr::new(0, 0)).context("cannot connect a netlink socket")?;
        SockRef::from(&socket).set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let buffer = Vec::with_capacity(BUFFER_LENGTH);
        Ok(Self { socket, sequence: 0, buffer })
    }

    /// Makes a pair of connected Ethernet interfaces, `near` in this namespace and `far` in another; both are down.
    ///
    /// One request makes both in place. Making the pair first and moving an end afterwards would need a name free in
    /// both namespaces, and would drop what was configured on that end.
    pub(crate) fn create_veth(
        &mut self,
        near: &LinkSpec<'_>,
        far: &LinkSpec<'_>,
        far_namespace: BorrowedFd<'_>,
    ) -> Result<()> {
        let mut peer = far.to_message();
        peer.attributes.push(LinkAttribute::NetNsFd(far_namespace.as_raw_fd()));
        let mut link = near.to_message();
        link.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        self.change(NLM_F_CREATE | NLM_F_EXCL, RouteNetlinkMessage::NewLink(link))
            .with_context(|| format!("cannot make the veth pair {} and {}", near.name, far.name))
    }

    /// The index of the interface with this name.
    pub(crate) fn interface_index(&mut self, name: &str) -> Result<u32> {
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.ask(RouteNetlinkMessage::GetLink(link), |answer| match answer {
            RouteNetlinkMessage::NewLink(link) => Some(link.header.index),
            _ => None,
        })
        .with_context(|| format!("cannot look up the interface {name}"))
    }

    /// The kind of a virtual interface, such as `veth` or `bridge`; `None` for a card.
    pub(crate) fn kind(&mut self, index: u32) -> Result<Option<String>> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        let of = |info: &LinkInfo| if let LinkInfo::Kind(kind) = info { Some(kind.to_string()) } else { None };
        let link = self.ask(RouteNetlinkMessage::GetLink(link), |answer| match answer {
            RouteNetlinkMessage::NewLink(link) => Some(link),
            _ => None,
        })?;
        Ok(link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(infos) => infos.iter().find_map(of),
            _ => None,
        }))
    }

    /// Switches an interface on. A veth has carrier once both ends are up, but the kernel may act on it a second late;
    /// asking for either end's [`interface_index`](Self::interface_index) makes it act at once (Linux 6.8).
    pub(crate) fn set_up(&mut self, index: u32) -> Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        self.change(0, RouteNetlinkMessage::SetLink(link)).with_context(|| format!("cannot set interface {index} up"))
    }

    /// Gives an interface an address, usable at once: an IPv6 address skips duplicate address detection.
    pub(crate) fn add_address(&mut self, index: u32, address: IpAddr, prefix_len: u8) -> Result<()> {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.family = family_of(address);
        message.header.prefix_len = prefix_len;
        if address.is_ipv6() {
            message.header.flags = AddressHeaderFlags::Nodad;
        }
        // For IPv4, `Address` is the far end of a point-to-point link; where there is none, both are the same.
        message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
        self.change(NLM_F_CREATE | NLM_F_EXCL, RouteNetlinkMessage::NewAddress(message))
            .with_context(|| format!("cannot add {address}/{prefix_len} to interface {index}"))
    }

    /// The route that a packet to `destination` would take now, out of `out_interface` when one is given.
    ///
    /// # Errors
    ///
    /// An [`io::Error`] with the errno that a send would meet: ENETUNREACH without a route, EHOSTUNREACH, EACCES or
    /// EINVAL where one of type unreachable, prohibit or blackhole says so.
    pub(crate) fn route_to(&mut self, destination: IpAddr, out_interface: Option<u32>) -> Result<Route> {
        if out_interface.is_none() && is_ipv6_link_local(destination) {
            bail!("{destination} is link-local, the same on every link: say which interface leads to it");
        }
        let mut query = RouteMessage::default();
        query.header.address_family = family_of(destination);
        query.header.destination_prefix_length = if destination.is_ipv4() { 32 } else { 128 };
        query.attributes.push(RouteAttribute::Destination(destination.into()));
        query.attributes.extend(out_interface.map(RouteAttribute::Oif));
        self.ask(RouteNetlinkMessage::GetRoute(query), |answer| match answer {
            RouteNetlinkMessage::NewRoute(route) => Some(route),
            _ => None,
        })
        .and_then(|route| read_route(&route))
        .with_context(|| format!("cannot find a route to {destination}"))
    }

    /// The MAC address that the kernel holds for a neighbour; `None` when it has none that it would use.
    pub(crate) fn neighbor(&mut self, index: u32, address: IpAddr) -> Result<Option<[u8; 6]>> {
        let mut query = NeighbourMessage::default();
        query.header.family = family_of(address);
        // The header's own index field is not for this: a kernel that checks strictly refuses it in a dump.
        query.attributes.push(NeighbourAttribute::IfIndex(index));
        let answers = self
            .dump(&RouteNetlinkMessage::GetNeighbour(query))
            .with_context(|| format!("cannot look up the neighbor {address} on interface {index}"))?;
        Ok(answers.iter().find_map(|answer| match answer {
            // Kernels before 4.4 do not filter by interface.
            RouteNetlinkMessage::NewNeighbour(entry) if entry.header.ifindex == index => usable_mac(entry, address),
            _ => None,
        }))
    }

    /// The addresses of one family that an interface may send from now, each with its prefix length.
    pub(crate) fn addresses(&mut self, index: u32, family: AddressFamily) -> Result<Vec<(IpAddr, u8)>> {
        let mut query = AddressMessage::default();
        query.header.family = family;
        let answers = self
            .dump(&RouteNetlinkMessage::GetAddress(query))
            .with_context(|| format!("cannot list the addresses of interface {index}"))?;
        let usable = |answer| usable_address(answer, Some(index));
        Ok(answers.iter().filter_map(usable).collect())
    }

    /// All addresses of this host that may be sent to, on whatever interface.
    pub(crate) fn own_addresses(&mut self) -> Result<Vec<IpAddr>> {
        let answers = self
            .dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()))
            .context("cannot list the addresses of this host")?;
        Ok(answers.iter().filter_map(|answer| usable_address(answer, None)).map(|(address, _)| address).collect())
    }

    /// The first address of an interface in the scope of `destination`, to speak from where the route names none.
    pub(crate) fn source_for(&mut self, index: u32, destination: IpAddr) -> Result<Option<IpAddr>> {
        let mut addresses = self.addresses(index, family_of(destination))?.into_iter().map(|(ip, _)| ip);
        Ok(addresses.find(|ip| is_ipv6_link_local(*ip) == is_ipv6_link_local(destination)))
    }

    /// For a request with one answer.
    fn ask<T>(&mut self, message: RouteNetlinkMessage, pick: fn(RouteNetlinkMessage) -> Option<T>) -> Result<T> {
        let mut answers = self.exchange(NLM_F_ACK, message)?.messages.into_iter();
        answers.find_map(pick).context("the kernel acknowledged without an answer")
    }

    fn change(&mut self, flags: u16, message: RouteNetlinkMessage) -> Result<()> {
        self.exchange(NLM_F_ACK | flags, message).map(drop)
    }

    fn dump(&mut self, message: &RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..8 {
            let answer = self.exchange(NLM_F_DUMP, message.clone())?;
            if !answer.torn {
                return Ok(answer.messages);
            }
        }
        bail!("the table changed each time that it was read")
    }

    /// Sends one request and gathers what comes back up to its end: the acknowledgement, or a dump's last message.
    fn exchange(&mut self, flags: u16, message: RouteNetlinkMessage) -> Result<Answer> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let mut answer = Answer::default();
        loop {
            self.receive()?;
            let mut rest = self.buffer.as_slice();
            while !rest.is_empty() {
                let header = NetlinkBuffer::new_checked(rest)?;
                let (message, next) = rest.split_at(usize::try_from(header.length())?);
                let padding = message.len().next_multiple_of(usize::from(NLMSG_ALIGNTO)) - message.len();
                rest = next.get(padding..).unwrap_or_default();
                // What is left of a request that timed out.
                if header.sequence_number() != self.sequence {
                    continue;
                }
                answer.torn |= header.flags() & NLM_F_DUMP_INTR != 0;
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message)?;
                match message.payload {
                    NetlinkPayload::InnerMessage(message) => answer.messages.push(message),
                    // Netlink's errors are errnos with a minus sign; none at all is the acknowledgement.
                    NetlinkPayload::Error(error) => return ended(error.code.map_or(0, i32::from)).map(|()| answer),
                    NetlinkPayload::Done(done) => return ended(done.code).map(|()| answer),
                    _ => {}
                }
            }
        }
    }

    /// Reads one datagram into the buffer.
    fn receive(&mut self) -> Result<()> {
        loop {
            self.buffer.clear();
            // With MSG_TRUNC the kernel tells the datagram's length, not that of the part which fitted.
            match self.socket.recv(&mut self.buffer, libc::MSG_TRUNC) {
                Ok(length) => {
                    ensure!(length == self.buffer.len(), "an answer has {length} bytes, too many");
                    return Ok(());
                }
                // A socket with a timeout is not resumed after a signal, not even under SA_RESTART.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(error).context(format!("cannot wait {ANSWER_TIMEOUT:?} for the kernel's answer"));
                }
            }
        }
    }
}

#[derive(Debug, Default)]
struct Answer {
    messages: Vec<RouteNetlinkMessage>,
    /// The table changed while it was read: entries can be missing or there twice.
    torn: bool,
}

impl LinkSpec<'_> {
    fn to_message(self) -> LinkMessage {
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(self.name.to_owned()));
        link.attributes.push(LinkAttribute::Address(self.mac.to_vec()));
        link
    }
}

fn ended(code: i32) -> Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code.saturating_neg()).into()) }
}

fn read_route(message: &RouteMessage) -> Result<Route> {
    // IPv4 answers these with an error. IPv6 answers with the route itself, which leads to the loopback interface.
    match message.header.kind {
        RouteType::BlackHole => ended(-libc::EINVAL)?,
        RouteType::Prohibit => ended(-libc::EACCES)?,
        RouteType::Unreachable | RouteType::Throw => ended(-libc::EHOSTUNREACH)?,
        _ => {}
    }
    let (mut interface_index, mut source, mut gateway) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface_index = Some(*index),
            RouteAttribute::PrefSource(RouteAddress::Inet(ip)) => source = Some(IpAddr::V4(*ip)),
            RouteAttribute::PrefSource(RouteAddress::Inet6(ip)) => source = Some(IpAddr::V6(*ip)),
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) => gateway = Some(IpAddr::V4(*ip)),
            // `Via` is how an IPv4 route names a next hop of the other family.
            RouteAttribute::Gateway(RouteAddress::Inet6(ip)) | RouteAttribute::Via(RouteVia::Inet6(ip)) => {
                gateway = Some(IpAddr::V6(*ip));
            }
            _ => {}
        }
    }
    Ok(Route { interface_index: interface_index.context("the route leads to no interface")?, source, gateway })
}

fn usable_mac(entry: &NeighbourMessage, address: IpAddr) -> Option<[u8; 6]> {
    use NeighbourState::{Delay, Noarp, Permanent, Probe, Reachable, Stale};

    let wanted = NeighbourAttribute::Destination(address.into());
    match entry.header.state {
        Delay | Noarp | Permanent | Probe | Reachable | Stale if entry.attributes.contains(&wanted) => {}
        _ => return None,
    }
    entry.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(mac) => mac.as_slice().try_into().ok(),
        _ => None,
    })
}

/// On any interface, if none is named.
fn usable_address(answer: &RouteNetlinkMessage, index: Option<u32>) -> Option<(IpAddr, u8)> {
    let RouteNetlinkMessage::NewAddress(message) = answer else {
        return None;
    };
    // Until duplicate address detection is through, and for good when it found a duplicate, the address is not ours.
    let refused = AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed;
    let is_elsewhere = index.is_some_and(|index| message.header.index != index);
    if is_elsewhere || message.header.flags.intersects(refused) {
        return None;
    }
    let mut own = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => own = Some(*ip),
            // With a peer on a point-to-point link this is the peer's; without one, IPv6 says nothing else.
            AddressAttribute::Address(ip) => own = own.or(Some(*ip)),
            _ => {}
        }
    }
    Some((own?, message.header.prefix_len))
}

fn is_ipv6_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

fn family_of(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::testing::in_network_namespace;

    #[test]
    fn a_refusal_keeps_its_errno() {
        in_network_namespace("netlink::tests::a_refusal_keeps_its_errno", || {
            let errno = |error: &anyhow::Error| error.downcast_ref::<io::Error>().unwrap().raw_os_error();
            let mut netlink = Netlink::open().unwrap();
            let error = netlink.route_to(IpAddr::from([203, 0, 113, 1]), None).unwrap_err();
            assert!(error.to_string().contains("203.0.113.1"));
            assert_eq!(errno(&error), Some(libc::ENETUNREACH));
            assert_eq!(errno(&netlink.set_up(4711).unwrap_err()), Some(libc::ENODEV));
        });
    }

    #[test]
    fn a_dump_of_many_datagrams_is_whole() {
        in_network_namespace("netlink::tests::a_dump_of_many_datagrams_is_whole", || {
            let mut netlink = Netlink::open().unwrap();
            let lo = netlink.interface_index("lo").unwrap();
            let expected: Vec<_> = (0x0a00_0000_u32..0x0a00_07d0).map(|bits| (IpAddr::V4(bits.into()), 32)).collect();
            for (address, prefix_len) in &expected {
                netlink.add_address(lo, *address, *prefix_len).unwrap();
            }
            assert_eq!(netlink.addresses(lo, AddressFamily::Inet).unwrap(), expected);
        });
    }
}
