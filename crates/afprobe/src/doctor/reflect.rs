//! The other end of an examination: sends each doctor's probe back to its sender.

use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use etherparse::{LinkSlice, NetSlice, SlicedPacket};
use fast_afpacket::{Interface, MacAddr, PacketSocket, PacketType, Timestamping};

use super::examine::open_sinks;
use super::probes::{filter, probe_of_any_kind, reply_to};
use super::target::own_mac;
use crate::engine::Verdict;
use crate::frame::{Flow, Path, ProbeFrame};
use crate::sender;
use crate::sink::Sink;
use crate::treatment::Treatment;
use crate::wire::Wire;

/// How long a reply may wait for room. The next request matters more.
const PATIENCE: Duration = Duration::from_millis(20);

/// A reflector that misses no probe from now on.
pub(super) struct Reflector {
    socket: PacketSocket,
    mac: MacAddr,
    _sinks: Vec<Sink>,
}

/// Reflects until it is interrupted.
pub(super) fn run(interface: &Interface) -> Result<Verdict> {
    let reflector = Arc::new(Reflector::open(interface)?);
    let interrupted = Arc::clone(&reflector);
    ctrlc::set_handler(move || interrupted.close()).context("cannot catch signals")?;
    let mut out = io::stdout();
    let told = writeln!(out, "{interface} ({}) reflects doctor's probes until it is interrupted", reflector.mac);
    told.and_then(|()| out.flush()).context("cannot write to standard output")?;
    let count = reflector.run()?;
    // Who has closed our output does not want to know.
    let _ = writeln!(out, "{count} probes reflected");
    Ok(Verdict::Fine)
}

impl Reflector {
    /// Opens it in the network namespace of the calling thread.
    pub(super) fn open(interface: &Interface) -> Result<Self> {
        let mac = own_mac(interface)?;
        // No stamps: what is examined is the other end.
        let options = PacketSocket::options().dual(true).timestamping(Timestamping::empty());
        let socket = options.filter(&filter(None)?).bind(interface)?;
        let sinks = open_sinks(&[(Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv6Addr::UNSPECIFIED, 0).into()]);
        Ok(Self { socket, mac, _sinks: sinks })
    }

    /// Ends [`run`](Self::run).
    pub(super) fn close(&self) {
        self.socket.close();
    }

    /// Reflects until it is closed, and says how many probes it has sent back.
    pub(super) fn run(&self) -> Result<u64> {
        let socket = &self.socket;
        let mut buf = vec![0; 2048];
        let mut count = 0;
        loop {
            let meta = match socket.recv(&mut buf) {
                Ok(meta) => meta,
                Err(error) => match error.kind() {
                    ErrorKind::ConnectionAborted => return Ok(count),
                    ErrorKind::NetworkDown | ErrorKind::InvalidData => continue,
                    _ => return Err(error).with_context(|| format!("cannot receive on {}", socket.interface())),
                },
            };
            // What is sent to all, or to another host and seen by chance, is not for this one to answer.
            let frame = buf.get(..meta.len).filter(|_| meta.from.packet_type() == PacketType::Host);
            let Some((flow, id)) = frame.and_then(|frame| {
                let (kind, id) = probe_of_any_kind(frame, meta.checksum)?;
                Some((way_back(frame, kind.wire(), self.mac)?, reply_to(id)?))
            }) else {
                continue;
            };
            socket.set_write_deadline(Some(Instant::now() + PATIENCE));
            match socket.send(ProbeFrame::new(&flow)?.probe(id)) {
                Ok(_) => count += 1,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => return Ok(count),
                Err(error) => sender::refused(error)?,
            }
        }
    }
}

/// The way from here to the sender of a frame.
fn way_back(frame: &[u8], wire: Wire, own: MacAddr) -> Option<Flow> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let Some(LinkSlice::Ethernet2(ethernet)) = &packet.link else {
        return None;
    };
    let dst_mac = MacAddr::new(ethernet.source());
    let (src_addr, dst_addr) = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => {
            let asked = ip.header().destination_addr();
            // Nobody sends from a group.
            let own = if asked.is_multicast() { Ipv4Addr::UNSPECIFIED } else { asked };
            (own.into(), ip.header().source_addr().into())
        }
        Some(NetSlice::Ipv6(ip)) => (ip.header().destination_addr().into(), IpAddr::from(ip.header().source_addr())),
        _ => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()),
    };
    // A frame that claims to come from all would be answered to all.
    let path = Path { src_mac: own, dst_mac, src_addr, dst_addr };
    let flow = Flow { path, treatment: Treatment::SEED, wire, ports: wire.ports() };
    (!dst_mac.is_multicast()).then_some(flow)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(wire: Wire, src_addr: &str, dst_addr: &str) -> Flow {
        let path = Path {
            src_mac: "02:00:00:00:00:01".parse().unwrap(),
            dst_mac: "02:00:00:00:00:02".parse().unwrap(),
            src_addr: src_addr.parse().unwrap(),
            dst_addr: dst_addr.parse().unwrap(),
        };
        Flow { path, treatment: Treatment::SEED, wire, ports: wire.ports() }
    }

    fn back(there: &Flow) -> Option<Flow> {
        let mut frame = ProbeFrame::new(there).unwrap();
        way_back(frame.probe(1), there.wire, there.path.dst_mac)
    }

    #[test]
    fn the_way_back_is_the_way_there_reversed() {
        for (wire, src, dst) in [
            (Wire::Seed, "192.0.2.1", "192.0.2.2"),
            (Wire::PtpUdp, "2001:db8::1", "2001:db8::2"),
            (Wire::Ptp, "0.0.0.0", "0.0.0.0"),
        ] {
            let there = flow(wire, src, dst);
            let Path { src_mac, dst_mac, src_addr, dst_addr } = there.path;
            let reversed = Path { src_mac: dst_mac, dst_mac: src_mac, src_addr: dst_addr, dst_addr: src_addr };
            assert_eq!(back(&there), Some(Flow { path: reversed, ..there }));
        }
    }

    #[test]
    fn nobody_sends_from_a_group_nor_to_all() {
        let there = flow(Wire::Seed, "192.0.2.1", "224.0.0.107");
        assert_eq!(back(&there).unwrap().path.src_addr, Ipv4Addr::UNSPECIFIED);
        let from_all = Path { src_mac: MacAddr::BROADCAST, ..there.path };
        assert_eq!(back(&Flow { path: from_all, ..there }), None);
    }
}
