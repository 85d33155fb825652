//! The MAC address of the next hop: from the kernel's tables or, where they have none, by asking the network.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fast_afpacket::{EtherType, Filter, Interface, MacAddr, PacketSocket, Timestamping, VlanTag};

use crate::netlink::Netlink;
use crate::resolve_frames::{arp_answer, arp_request, neighbor_advertisement, neighbor_solicitation};

const ATTEMPTS: u32 = 3;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Where to ask, and as whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link<'a> {
    pub(crate) interface: &'a Interface,
    pub(crate) src_mac: MacAddr,
    pub(crate) src_addr: IpAddr,
    /// The tag of the frames that will be sent there.
    pub(crate) vlan: Option<VlanTag>,
}

impl Link<'_> {
    /// The VLAN that this host's own stack is not in. Identifier 0 is none: it gives a frame a priority.
    fn foreign_vlan(&self) -> Option<VlanTag> {
        self.vlan.filter(|tag| tag.id() != 0)
    }
}

/// The MAC address of `target`, which is on this link.
pub(crate) fn mac_of(target: IpAddr, link: &Link<'_>, netlink: &mut Netlink) -> Result<MacAddr> {
    // What the kernel knows of the interface's hosts, it has heard without a tag.
    let known = match link.foreign_vlan() {
        Some(_) => None,
        None => netlink.neighbor(link.interface.index(), target)?,
    };
    match known {
        Some(octets) => Ok(MacAddr::new(octets)),
        None => ask(target, link),
    }
}

/// Asks by ARP (RFC 826) or neighbour solicitation (RFC 4861).
fn ask(target: IpAddr, link: &Link<'_>) -> Result<MacAddr> {
    let Link { interface, src_mac, src_addr, .. } = *link;
    let (question, protocol) = match (src_addr, target) {
        (IpAddr::V4(src), IpAddr::V4(target)) => (arp_request(src_mac.octets(), src, target), EtherType::ARP),
        (IpAddr::V6(src), IpAddr::V6(target)) => {
            (neighbor_solicitation(src_mac.octets(), src, target), EtherType::IPV6)
        }
        _ => bail!("cannot ask for the MAC address of {target} from {src_addr}, of another family: give --dst-mac"),
    };
    let vlan = link.foreign_vlan();
    let question = tagged(question, vlan)?;
    let answer = |frame: &[u8]| match target {
        IpAddr::V4(target) => arp_answer(frame, target),
        IpAddr::V6(target) => neighbor_advertisement(frame, target),
    };
    // Of all protocols, and filtered: a socket of one protocol is not told of the tag.
    let options = PacketSocket::options().filter(&Filter::ether_type(protocol));
    let socket = options.timestamping(Timestamping::empty()).bind(interface)?;
    let mut buf = [0; 2048];
    for _ in 0..ATTEMPTS {
        socket.send(&question).with_context(|| format!("cannot ask for the MAC address of {target}"))?;
        socket.set_read_deadline(Some(Instant::now() + ANSWER_TIMEOUT));
        loop {
            match socket.recv(&mut buf) {
                Ok(meta) => {
                    let id = |tag: Option<VlanTag>| tag.map_or(0, VlanTag::id);
                    let frame = buf.get(..meta.len).filter(|_| id(meta.vlan) == id(vlan));
                    if let Some(octets) = frame.and_then(answer) {
                        return Ok(MacAddr::new(octets));
                    }
                }
                Err(error) if error.kind() == ErrorKind::TimedOut => break,
                Err(error) => return Err(error).with_context(|| format!("no answer from {target}")),
            }
        }
    }
    let in_vlan = vlan.map(|tag| format!(" in VLAN {}", tag.id())).unwrap_or_default();
    bail!("{target} does not say its MAC address on {interface}{in_vlan}: is it up? Otherwise give --dst-mac");
}

fn tagged(mut frame: Vec<u8>, tag: Option<VlanTag>) -> Result<Vec<u8>> {
    if let Some(tag) = tag {
        let len = frame.len();
        frame.resize(len + 4, 0);
        tag.restore(&mut frame, len)?;
    }
    Ok(frame)
}
