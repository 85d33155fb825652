//! Frames that carry probes: built once, then only id and checksum change; and read back with care.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, bail};
use etherparse::{
    EtherType, Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header, Ipv6Header, NetSlice, SlicedPacket, TransportSlice,
    UdpHeader,
};
use fast_afpacket::{ChecksumState, MacAddr};

use crate::wire::seed;

/// The shortest frame that Ethernet allows, without its check sequence.
const MIN_LEN: usize = 60;
const HOP_LIMIT: u8 = 64;

/// Who sends and who receives a probe, on all layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) src_mac: MacAddr,
    pub(crate) dst_mac: MacAddr,
    pub(crate) src_addr: IpAddr,
    pub(crate) dst_addr: IpAddr,
    pub(crate) src_port: u16,
    pub(crate) dst_port: u16,
}

/// A probe's frame: Ethernet, IPv4 or IPv6, UDP, payload, zeros up to the shortest length.
#[derive(Clone, Debug)]
pub(crate) struct ProbeFrame {
    bytes: Vec<u8>,
    udp: UdpHeader,
    addresses: Addresses,
    udp_at: usize,
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
        let udp = UdpHeader::without_ipv4_checksum(path.src_port, path.dst_port, seed::LEN)?;
        let ip_payload = u16::try_from(UdpHeader::LEN + seed::LEN)?;
        let ether_type = match addresses {
            Addresses::V4(..) => EtherType::IPV4,
            Addresses::V6(..) => EtherType::IPV6,
        };
        let ethernet =
            Ethernet2Header { destination: path.dst_mac.octets(), source: path.src_mac.octets(), ether_type };
        let mut bytes = ethernet.to_bytes().to_vec();
        match addresses {
            Addresses::V4(src, dst) => {
                // As the Go example has it: no identification, and fragmenting not forbidden.
                let mut header = Ipv4Header::new(ip_payload, HOP_LIMIT, IpNumber::UDP, src.octets(), dst.octets())?;
                header.dont_fragment = false;
                header.header_checksum = header.calc_header_checksum();
                bytes.extend(header.to_bytes());
            }
            Addresses::V6(src, dst) => {
                let header = Ipv6Header {
                    payload_length: ip_payload,
                    next_header: IpNumber::UDP,
                    hop_limit: HOP_LIMIT,
                    source: src.octets(),
                    destination: dst.octets(),
                    ..Ipv6Header::default()
                };
                bytes.extend(header.to_bytes());
            }
        }
        let udp_at = bytes.len();
        bytes.resize((udp_at + UdpHeader::LEN + seed::LEN).max(MIN_LEN), 0);
        Ok(Self { bytes, udp, addresses, udp_at })
    }

    /// The frame of the probe with this id.
    pub(crate) fn probe(&mut self, id: u64) -> Result<&[u8]> {
        let payload = seed::encode(id);
        self.udp.checksum = match self.addresses {
            Addresses::V4(src, dst) => self.udp.calc_checksum_ipv4_raw(src.octets(), dst.octets(), &payload)?,
            Addresses::V6(src, dst) => self.udp.calc_checksum_ipv6_raw(src.octets(), dst.octets(), &payload)?,
        };
        let datagram = self.udp.to_bytes().into_iter().chain(payload);
        for (to, from) in self.bytes.iter_mut().skip(self.udp_at).zip(datagram) {
            *to = from;
        }
        Ok(&self.bytes)
    }
}

/// The id of the probe in a received frame, or `None` if there is none: another protocol, a fragment, cut, a wrong
/// checksum, another payload. Addresses and ports are the filter's business.
pub(crate) fn probe_in(frame: &[u8], checksum: ChecksumState) -> Option<u64> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let Some(TransportSlice::Udp(udp)) = packet.transport else {
        return None;
    };
    let header = udp.to_header();
    let (expected, may_be_absent) = match packet.net? {
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
    is_right.then(|| seed::decode(udp.payload()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(src: &str, dst: &str) -> Path {
        Path {
            src_mac: "02:42:ac:c8:01:61".parse().unwrap(),
            dst_mac: "02:42:ac:c8:01:62".parse().unwrap(),
            src_addr: src.parse().unwrap(),
            dst_addr: dst.parse().unwrap(),
            src_port: 60000,
            dst_port: 61000,
        }
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: String = text.split_whitespace().collect();
        (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
    }

    /// Put together by hand from RFC 791, RFC 768 and the Go example's source.
    #[test]
    fn the_go_examples_frame_to_the_byte() {
        let mut frame = ProbeFrame::new(&path("192.168.56.101", "192.168.56.102")).unwrap();
        let expected = hex("0242acc80162 0242acc80161 0800 \
             4500002c 00000000 4011 88a5 c0a83865 c0a83866 \
             ea60ee48 0018 3b02 9372e759c7b5aa73 0d00000000000000 0000");
        assert_eq!(frame.probe(13).unwrap(), expected);
        assert_eq!(probe_in(&expected, ChecksumState::Unverified), Some(13));
    }

    #[test]
    fn ipv6_too() {
        let mut frame = ProbeFrame::new(&path("fde4:8dba:82e1::c1", "fde4:8dba:82e1::c2")).unwrap();
        for id in [1, u64::MAX, 0x0123_4567_89ab_cdef] {
            let bytes = frame.probe(id).unwrap().to_vec();
            assert_eq!(bytes.len(), 78);
            assert_eq!(bytes[14..22], hex("60000000 0018 11 40"));
            assert_eq!(probe_in(&bytes, ChecksumState::Unverified), Some(id));
        }
    }

    #[test]
    fn families_do_not_mix() {
        let error = ProbeFrame::new(&path("192.0.2.1", "2001:db8::1")).unwrap_err();
        assert!(error.to_string().contains("192.0.2.1"), "{error}");
    }

    #[test]
    fn damaged_frames_are_no_probes() {
        for (src, dst) in [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")] {
            let mut frame = ProbeFrame::new(&path(src, dst)).unwrap();
            let good = frame.probe(0x5555_5555).unwrap().to_vec();
            let datagram_end = frame.udp_at + UdpHeader::LEN + seed::LEN;
            for len in 0..datagram_end {
                assert_eq!(probe_in(&good[..len], ChecksumState::Unverified), None, "{len} bytes");
            }
            for at in frame.udp_at..datagram_end {
                let mut bad = good.clone();
                bad[at] ^= 0x10;
                assert_eq!(probe_in(&bad, ChecksumState::Unverified), None, "byte {at} changed");
            }
            let mut unfinished = good;
            unfinished[frame.udp_at + 6] ^= 0xff;
            assert_eq!(probe_in(&unfinished, ChecksumState::Partial), Some(0x5555_5555));
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        let mut state = 1_u64;
        let mut frame = ProbeFrame::new(&path("192.0.2.1", "192.0.2.2")).unwrap();
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
            bytes.truncate(usize::from(state.to_le_bytes()[2]) % 80);
            probe_in(&bytes, ChecksumState::Partial);
        }
    }
}
