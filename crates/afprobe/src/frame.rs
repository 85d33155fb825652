//! Frames that carry probes: built once, then only id and checksum change; and read back with care.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, bail};
use etherparse::{
    EtherType, Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header, Ipv6Header, NetSlice, SlicedPacket, TransportSlice,
    UdpHeader,
};
use fast_afpacket::{ChecksumState, MacAddr};

use crate::wire::{Ports, Wire, write_at};

/// The shortest frame that Ethernet allows, without its check sequence.
const MIN_LEN: usize = 60;
const HOP_LIMIT: u8 = 64;
const PTP: EtherType = EtherType(fast_afpacket::EtherType::PTP.value());

/// Who sends and who receives a probe, on all layers, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) src_mac: MacAddr,
    pub(crate) dst_mac: MacAddr,
    pub(crate) src_addr: IpAddr,
    pub(crate) dst_addr: IpAddr,
    pub(crate) wire: Wire,
    /// `None`: without IP and UDP.
    pub(crate) ports: Option<Ports>,
}

/// A probe's frame: Ethernet, IPv4 or IPv6 and UDP or neither, payload, zeros up to the shortest length.
#[derive(Clone, Debug)]
pub(crate) struct ProbeFrame {
    bytes: Vec<u8>,
    /// Where the part begins that is not the same in each frame: UDP, if there is, and payload.
    changing_at: usize,
    udp: Option<Udp>,
    wire: Wire,
    payload: Vec<u8>,
}

/// What the UDP checksum is made of, apart from the payload.
#[derive(Clone, Debug)]
struct Udp {
    header: UdpHeader,
    addresses: Addresses,
}

#[derive(Clone, Copy, Debug)]
enum Addresses {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

impl ProbeFrame {
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let addresses = match (path.src_addr, path.dst_addr) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Addresses::V4(src, dst),
            (IpAddr::V6(src), IpAddr::V6(dst)) => Addresses::V6(src, dst),
            (src, dst) => bail!("source {src} and destination {dst} are of different families"),
        };
        let payload = path.wire.payload(path.src_mac, path.src_addr.is_ipv6());
        let udp = |ports: Ports| UdpHeader::without_ipv4_checksum(ports.src, ports.dst, payload.len());
        let udp = path.ports.map(udp).transpose()?.map(|header| Udp { header, addresses });
        let ether_type = match (&udp, addresses) {
            (None, _) => PTP,
            (Some(_), Addresses::V4(..)) => EtherType::IPV4,
            (Some(_), Addresses::V6(..)) => EtherType::IPV6,
        };
        let ethernet =
            Ethernet2Header { destination: path.dst_mac.octets(), source: path.src_mac.octets(), ether_type };
        let mut bytes = ethernet.to_bytes().to_vec();
        if let Some(udp) = &udp {
            bytes.extend(udp.ip_header()?);
        }
        let changing_at = bytes.len();
        let udp_len = if udp.is_some() { UdpHeader::LEN } else { 0 };
        bytes.resize((changing_at + udp_len + payload.len()).max(MIN_LEN), 0);
        Ok(Self { bytes, changing_at, udp, wire: path.wire, payload })
    }

    /// The frame of the probe with this id.
    pub(crate) fn probe(&mut self, id: u64) -> Result<&[u8]> {
        self.wire.set_id(&mut self.payload, id);
        let mut payload_at = self.changing_at;
        if let Some(Udp { header, addresses }) = &mut self.udp {
            header.checksum = match *addresses {
                Addresses::V4(src, dst) => header.calc_checksum_ipv4_raw(src.octets(), dst.octets(), &self.payload)?,
                Addresses::V6(src, dst) => header.calc_checksum_ipv6_raw(src.octets(), dst.octets(), &self.payload)?,
            };
            write_at(&mut self.bytes, self.changing_at, &header.to_bytes());
            payload_at += UdpHeader::LEN;
        }
        write_at(&mut self.bytes, payload_at, &self.payload);
        Ok(&self.bytes)
    }
}

impl Udp {
    fn ip_header(&self) -> Result<Vec<u8>> {
        Ok(match self.addresses {
            Addresses::V4(src, dst) => {
                // As the Go example has it: no identification, and fragmenting not forbidden.
                let (src, dst) = (src.octets(), dst.octets());
                let mut header = Ipv4Header::new(self.header.length, HOP_LIMIT, IpNumber::UDP, src, dst)?;
                header.dont_fragment = false;
                header.header_checksum = header.calc_header_checksum();
                header.to_bytes().to_vec()
            }
            Addresses::V6(src, dst) => {
                let header = Ipv6Header {
                    payload_length: self.header.length,
                    next_header: IpNumber::UDP,
                    hop_limit: HOP_LIMIT,
                    source: src.octets(),
                    destination: dst.octets(),
                    ..Ipv6Header::default()
                };
                header.to_bytes().to_vec()
            }
        })
    }
}

/// The id of the probe in a received frame, or `None` if there is none: another protocol, a fragment, cut, a wrong
/// checksum, another payload. Addresses and ports are the filter's business.
pub(crate) fn probe_in(wire: Wire, frame: &[u8], checksum: ChecksumState) -> Option<u64> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    match wire.ports() {
        Some(_) => wire.id_in(udp_payload(&packet, checksum)?),
        None => wire.id_in(packet.ether_payload().filter(|payload| payload.ether_type == PTP)?.payload),
    }
}

/// The payload of a UDP datagram that is whole and right.
fn udp_payload<'a>(packet: &SlicedPacket<'a>, checksum: ChecksumState) -> Option<&'a [u8]> {
    let Some(TransportSlice::Udp(udp)) = &packet.transport else {
        return None;
    };
    let header = udp.to_header();
    let (expected, may_be_absent) = match packet.net.as_ref()? {
        NetSlice::Ipv4(ip) => {
            let ip = ip.header();
            let is_whole = !ip.more_fragments() && ip.fragments_offset() == IpFragOffset::ZERO;
            let sum = header.calc_checksum_ipv4_raw(ip.source(), ip.destination(), udp.payload());
            (sum.ok().filter(|_| is_whole)?, true)
        }
        NetSlice::Ipv6(ip) => {
            let ip = ip.header();
            let sum = header.calc_checksum_ipv6_raw(ip.source(), ip.destination(), udp.payload());
            (sum.ok()?, false)
        }
        NetSlice::Arp(_) => return None,
    };
    let is_right = header.checksum == expected
        || (may_be_absent && header.checksum == 0)
        // Not computed yet: the sender is on this machine, and its card would have done it.
        || checksum == ChecksumState::Partial;
    is_right.then(|| udp.payload())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIRES: [Wire; 3] = [Wire::Seed, Wire::Ptp, Wire::PtpUdp];
    const FAMILIES: [(&str, &str); 2] = [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")];

    fn path(wire: Wire, src: &str, dst: &str) -> Path {
        Path {
            src_mac: "02:42:ac:c8:01:61".parse().unwrap(),
            dst_mac: "02:42:ac:c8:01:62".parse().unwrap(),
            src_addr: src.parse().unwrap(),
            dst_addr: dst.parse().unwrap(),
            wire,
            ports: wire.ports(),
        }
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: String = text.split_whitespace().collect();
        (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
    }

    /// Put together by hand from RFC 791, RFC 768 and the Go example's source.
    #[test]
    fn the_go_examples_frame_to_the_byte() {
        let mut frame = ProbeFrame::new(&path(Wire::Seed, "192.168.56.101", "192.168.56.102")).unwrap();
        let expected = hex("0242acc80162 0242acc80161 0800 \
             4500002c 00000000 4011 88a5 c0a83865 c0a83866 \
             ea60ee48 0018 3b02 9372e759c7b5aa73 0d00000000000000 0000");
        assert_eq!(frame.probe(13).unwrap(), expected);
        assert_eq!(probe_in(Wire::Seed, &expected, ChecksumState::Unverified), Some(13));
    }

    #[test]
    fn ptp_needs_no_ip() {
        let frames = FAMILIES.map(|(src, dst)| {
            let mut frame = ProbeFrame::new(&path(Wire::Ptp, src, dst)).unwrap();
            frame.probe(u64::MAX).unwrap().to_vec()
        });
        let [frame, same] = &frames;
        assert_eq!((frame, frame.len()), (same, 14 + 64));
        assert_eq!(frame[..20], hex("0242acc80162 0242acc80161 88f7 0002 0040 6100"));
        assert_eq!(probe_in(Wire::Ptp, frame, ChecksumState::Unverified), Some(u64::MAX));
        assert_eq!(probe_in(Wire::PtpUdp, frame, ChecksumState::Unverified), None, "the other carrier");
    }

    #[test]
    fn ptp_over_udp_is_two_bytes_longer_over_ipv6() {
        for ((src, dst), ip_len, udp_len) in [(FAMILIES[0], 20, "0048"), (FAMILIES[1], 40, "004a")] {
            let mut frame = ProbeFrame::new(&path(Wire::PtpUdp, src, dst)).unwrap();
            let bytes = frame.probe(0x1_0000_0001).unwrap();
            let (_, datagram) = bytes.split_at(14 + ip_len);
            assert_eq!(datagram[..6], hex(&format!("013f 013f {udp_len}")));
            assert_eq!(datagram[8..16], hex("0002 0040 6100 0600"));
            assert_eq!(probe_in(Wire::PtpUdp, bytes, ChecksumState::Unverified), Some(0x1_0000_0001));
            assert_eq!(probe_in(Wire::Seed, bytes, ChecksumState::Unverified), None, "another format");
        }
    }

    #[test]
    fn ipv6_too() {
        let mut frame = ProbeFrame::new(&path(Wire::Seed, "fde4:8dba:82e1::c1", "fde4:8dba:82e1::c2")).unwrap();
        for id in [1, u64::MAX, 0x0123_4567_89ab_cdef] {
            let bytes = frame.probe(id).unwrap().to_vec();
            assert_eq!(bytes.len(), 78);
            assert_eq!(bytes[14..22], hex("60000000 0018 11 40"));
            assert_eq!(probe_in(Wire::Seed, &bytes, ChecksumState::Unverified), Some(id));
        }
    }

    #[test]
    fn families_do_not_mix() {
        let error = ProbeFrame::new(&path(Wire::Seed, "192.0.2.1", "2001:db8::1")).unwrap_err();
        assert!(error.to_string().contains("192.0.2.1"), "{error}");
    }

    #[test]
    fn damaged_datagrams_are_no_probes() {
        for (wire, (src, dst)) in
            [Wire::Seed, Wire::PtpUdp].into_iter().flat_map(|wire| FAMILIES.map(|pair| (wire, pair)))
        {
            let mut frame = ProbeFrame::new(&path(wire, src, dst)).unwrap();
            let good = frame.probe(0x5555_5555).unwrap().to_vec();
            let udp_at = frame.changing_at;
            let datagram_end = udp_at + UdpHeader::LEN + frame.payload.len();
            for len in 0..datagram_end {
                assert_eq!(probe_in(wire, &good[..len], ChecksumState::Unverified), None, "{len} bytes");
            }
            for at in udp_at..datagram_end {
                let mut bad = good.clone();
                bad[at] ^= 0x10;
                assert_eq!(probe_in(wire, &bad, ChecksumState::Unverified), None, "byte {at} changed");
            }
            let mut unfinished = good;
            unfinished[udp_at + 6] ^= 0xff;
            assert_eq!(probe_in(wire, &unfinished, ChecksumState::Partial), Some(0x5555_5555));
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        let mut state = 1_u64;
        for wire in WIRES {
            let mut frame = ProbeFrame::new(&path(wire, "192.0.2.1", "192.0.2.2")).unwrap();
            for round in 0..20_000_u64 {
                let mut bytes = frame.probe(round).unwrap().to_vec();
                for _ in 0..4 {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    let [byte, at, ..] = state.to_le_bytes();
                    let at = usize::from(at) % bytes.len();
                    bytes[at] = byte;
                }
                bytes.truncate(usize::from(state.to_le_bytes()[2]) % (bytes.len() + 20));
                probe_in(wire, &bytes, ChecksumState::Partial);
            }
        }
    }
}
