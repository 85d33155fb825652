//! The MAC address of the next hop: from the kernel's tables or, where they have none, by asking the network.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fast_afpacket::{EtherType, Interface, MacAddr, PacketSocket, Timestamping};

use crate::netlink::Netlink;
use crate::resolve_frames::{arp_answer, arp_request, neighbor_advertisement, neighbor_solicitation};

const ATTEMPTS: u32 = 3;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The MAC address of `target`, which is on the link of this interface.
pub(crate) fn mac_of(
    target: IpAddr,
    interface: &Interface,
    src_mac: MacAddr,
    src_addr: IpAddr,
    netlink: &mut Netlink,
) -> Result<MacAddr> {
    match netlink.neighbor(interface.index(), target)? {
        Some(octets) => Ok(MacAddr::new(octets)),
        None => ask(target, interface, src_mac, src_addr),
    }
}

/// Asks by ARP (RFC 826) or neighbour solicitation (RFC 4861).
fn ask(target: IpAddr, interface: &Interface, src_mac: MacAddr, src_addr: IpAddr) -> Result<MacAddr> {
    let (question, protocol) = match (src_addr, target) {
        (IpAddr::V4(src), IpAddr::V4(target)) => (arp_request(src_mac.octets(), src, target), EtherType::ARP),
        (IpAddr::V6(src), IpAddr::V6(target)) => {
            (neighbor_solicitation(src_mac.octets(), src, target), EtherType::IPV6)
        }
        _ => bail!("cannot ask for the MAC address of {target} from {src_addr}, of another family: give --dst-mac"),
    };
    let answer = |frame: &[u8]| match target {
        IpAddr::V4(target) => arp_answer(frame, target),
        IpAddr::V6(target) => neighbor_advertisement(frame, target),
    };
    let socket = PacketSocket::options().protocol(protocol).timestamping(Timestamping::empty()).bind(interface)?;
    let mut buf = [0; 2048];
    for _ in 0..ATTEMPTS {
        socket.send(&question).with_context(|| format!("cannot ask for the MAC address of {target}"))?;
        socket.set_read_deadline(Some(Instant::now() + ANSWER_TIMEOUT));
        loop {
            match socket.recv(&mut buf) {
                Ok(meta) => {
                    if let Some(octets) = buf.get(..meta.len).and_then(answer) {
                        return Ok(MacAddr::new(octets));
                    }
                }
                Err(error) if error.kind() == ErrorKind::TimedOut => break,
                Err(error) => return Err(error).with_context(|| format!("no answer from {target}")),
            }
        }
    }
    bail!("{target} does not say its MAC address on {interface}: is it up? Otherwise give --dst-mac");
}
