//! Frames that carry probes: headers built once, payloads written in place; and received ones read with care.

mod probe;
mod received;

use std::net::IpAddr;

use anyhow::{Result, bail, ensure};
use etherparse::checksum::Sum16BitWords;
use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, UdpHeader, ip_number};
use fast_afpacket::{EtherType, MacAddr};

pub(crate) use probe::{Flow, ProbeFrame, probe_in};
pub(crate) use received::{Unread, ethernet_payload, read_udp};

use crate::treatment::Treatment;
use crate::wire::write_at;

/// The shortest frame that Ethernet allows, without its check sequence and without a VLAN tag: a switch may take the
/// tag out.
const MIN_LEN: usize = 60;
const UDP_CHECKSUM_AT: usize = 6;

/// Who sends a frame, and who receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) src_mac: MacAddr,
    pub(crate) dst_mac: MacAddr,
    pub(crate) src_addr: IpAddr,
    pub(crate) dst_addr: IpAddr,
}

/// What is between Ethernet and a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// IPv4 or IPv6, as the addresses are, and UDP.
    Udp { src_port: u16, dst_port: u16 },
    /// Nothing: the addresses of IP are not looked at.
    Ethernet(EtherType),
}

impl Carrier {
    /// The bytes of its headers, for addresses of this family.
    pub(crate) const fn header_len(self, is_ipv6: bool) -> usize {
        match self {
            Self::Udp { .. } if is_ipv6 => Ipv6Header::LEN + UdpHeader::LEN,
            Self::Udp { .. } => Ipv4Header::MIN_LEN + UdpHeader::LEN,
            Self::Ethernet(_) => 0,
        }
    }

    /// Whether a payload of this length fits a link's MTU.
    pub(crate) fn ensure_fits(self, payload_len: usize, is_ipv6: bool, mtu: u32) -> Result<()> {
        let headers = self.header_len(is_ipv6);
        let room = usize::try_from(mtu)?.saturating_sub(headers);
        ensure!(
            payload_len <= room,
            "a payload of {payload_len} bytes is too long: with {headers} bytes of headers and an MTU of {mtu} there is \
             room for {room}"
        );
        Ok(())
    }
}

/// A frame whose payload is written in place: Ethernet, perhaps a VLAN tag, the carrier's headers, the payload, and zeros
/// up to the shortest length.
///
/// ```text
/// let mut frame = Frame::new(&path, &Treatment::STAMP, carrier, 44)?;
/// loop {
///     write_probe(frame.payload_mut());
///     socket.send(frame.finish())?;
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame {
    bytes: Vec<u8>,
    payload_at: usize,
    payload_len: usize,
    /// Of all that the UDP checksum covers before the payload. `None` without UDP.
    checksummed: Option<Sum16BitWords>,
}

impl Frame {
    /// A frame with a payload of zeros.
    pub(crate) fn new(path: &Path, treatment: &Treatment, carrier: Carrier, payload_len: usize) -> Result<Self> {
        let mut frame = Self { bytes: Vec::new(), payload_at: 0, payload_len: 0, checksummed: None };
        frame.rebuild(path, treatment, carrier, payload_len)?;
        Ok(frame)
    }

    /// Makes another frame of it, with a payload of zeros. Allocates only if none so far was as long.
    pub(crate) fn rebuild(
        &mut self,
        path: &Path,
        treatment: &Treatment,
        carrier: Carrier,
        payload_len: usize,
    ) -> Result<()> {
        let Self { bytes, payload_at, payload_len: len, checksummed } = self;
        bytes.clear();
        bytes.extend(path.dst_mac.octets());
        bytes.extend(path.src_mac.octets());
        let mut min_len = MIN_LEN;
        if let Some(tag) = treatment.vlan {
            bytes.extend(tag.tpid().value().to_be_bytes());
            bytes.extend(tag.tci().to_be_bytes());
            min_len += 4;
        }
        *checksummed = match carrier {
            Carrier::Ethernet(ether_type) => {
                bytes.extend(ether_type.value().to_be_bytes());
                None
            }
            Carrier::Udp { src_port, dst_port } => {
                let header = UdpHeader::without_ipv4_checksum(src_port, dst_port, payload_len)?;
                let mut pseudo_header = push_ip_header(bytes, path, treatment, header.length)?;
                let header = header.to_bytes();
                bytes.extend(header);
                Some(pseudo_header.add_8bytes(header))
            }
        };
        *payload_at = bytes.len();
        *len = payload_len;
        bytes.resize((*payload_at + payload_len).max(min_len), 0);
        Ok(())
    }

    pub(crate) fn payload(&self) -> &[u8] {
        self.bytes.get(self.payload_at..).and_then(|rest| rest.get(..self.payload_len)).unwrap_or_default()
    }

    /// The payload, to be written.
    pub(crate) fn payload_mut(&mut self) -> &mut [u8] {
        let (at, len) = (self.payload_at, self.payload_len);
        self.bytes.get_mut(at..).and_then(|rest| rest.get_mut(..len)).unwrap_or_default()
    }

    /// The frame, with the checksum of its payload as it is now.
    pub(crate) fn finish(&mut self) -> &[u8] {
        if let Some(sum) = self.checksummed.clone() {
            // In memory the sum is as the bytes were added: in the order of the network.
            let checksum = sum.add_slice(self.payload()).to_ones_complement_with_no_zero().to_ne_bytes();
            let at = self.payload_at - UdpHeader::LEN + UDP_CHECKSUM_AT;
            write_at(&mut self.bytes, at, &checksum);
        }
        &self.bytes
    }
}

/// Appends EtherType and IP header, and gives the sum of the pseudo header.
fn push_ip_header(bytes: &mut Vec<u8>, path: &Path, treatment: &Treatment, udp_len: u16) -> Result<Sum16BitWords> {
    let class = treatment.traffic_class();
    let mut sum = Sum16BitWords::new().add_2bytes([0, ip_number::UDP.0]).add_2bytes(udp_len.to_be_bytes());
    match (path.src_addr, path.dst_addr) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            bytes.extend(EtherType::IPV4.value().to_be_bytes());
            let (src, dst) = (src.octets(), dst.octets());
            // No identification: RFC 6864 wants none of a datagram that is not fragmented.
            let mut header = Ipv4Header::new(udp_len, treatment.hop_limit, IpNumber::UDP, src, dst)?;
            header.dscp = treatment.dscp.value().try_into()?;
            header.ecn = treatment.ecn.bits().try_into()?;
            header.dont_fragment = !treatment.may_be_fragmented;
            header.header_checksum = header.calc_header_checksum();
            bytes.extend(header.to_bytes());
            Ok(sum.add_4bytes(src).add_4bytes(dst))
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            bytes.extend(EtherType::IPV6.value().to_be_bytes());
            let header = Ipv6Header {
                traffic_class: class,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: udp_len,
                next_header: IpNumber::UDP,
                hop_limit: treatment.hop_limit,
                source: src.octets(),
                destination: dst.octets(),
            };
            bytes.extend(header.to_bytes());
            Ok(sum.add_16bytes(src.octets()).add_16bytes(dst.octets()))
        }
        (src, dst) => bail!("source {src} and destination {dst} are of different families"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::treatment::{Dscp, Ecn};
    use fast_afpacket::{ChecksumState, VlanTag};

    pub(super) fn hex(text: &str) -> Vec<u8> {
        let digits: String = text.split_whitespace().collect();
        (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
    }

    pub(super) fn path(src: &str, dst: &str) -> Path {
        Path {
            src_mac: "02:42:ac:c8:01:61".parse().unwrap(),
            dst_mac: "02:42:ac:c8:01:62".parse().unwrap(),
            src_addr: src.parse().unwrap(),
            dst_addr: dst.parse().unwrap(),
        }
    }

    const CARRIER: Carrier = Carrier::Udp { src_port: 50_000, dst_port: 862 };

    /// Put together by hand from RFC 791, 768, 2474, 3168 and IEEE 802.1Q; the checksums with another program.
    #[test]
    fn a_frame_with_everything_to_the_byte() {
        let vlan = Some(VlanTag::new(EtherType::VLAN, 0x6005));
        let treatment = Treatment { vlan, dscp: Dscp::new(46), ecn: Ecn::Capable0, ..Treatment::STAMP };
        let mut frame = Frame::new(&path("192.0.2.1", "192.0.2.2"), &treatment, CARRIER, 4).unwrap();
        frame.payload_mut().copy_from_slice(&[1, 2, 3, 4]);
        let expected = [
            hex("0242acc80162 0242acc80161 8100 6005 0800"),
            hex("45ba0020 00004000 ff11 f70e c0000201 c0000202"),
            hex("c350 035e 000c b11d 01020304"),
            vec![0; 14],
        ];
        assert_eq!(frame.finish(), expected.concat());
        assert_eq!(frame.bytes.len(), 64);
    }

    #[test]
    fn the_same_over_ipv6() {
        let treatment = Treatment { dscp: Dscp::new(46), ecn: Ecn::Congested, ..Treatment::STAMP };
        let mut frame = Frame::new(&path("2001:db8::1", "2001:db8::2"), &treatment, CARRIER, 4).unwrap();
        frame.payload_mut().copy_from_slice(&[1, 2, 3, 4]);
        let expected = [
            hex("0242acc80162 0242acc80161 86dd 6bb00000 000c 11 ff"),
            hex("20010db8000000000000000000000001 20010db8000000000000000000000002"),
            hex("c350 035e 000c d9ac 01020304"),
        ];
        assert_eq!(frame.finish(), expected.concat());
    }

    #[test]
    fn the_payload_is_written_in_place() {
        for (src, dst) in [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")] {
            for len in [0, 1, 7, 44, 1400] {
                let mut frame = Frame::new(&path(src, dst), &Treatment::STAMP, CARRIER, len).unwrap();
                let memory = frame.bytes.as_ptr();
                for round in 0..4_u8 {
                    frame.payload_mut().fill(round.wrapping_mul(0x5b));
                    let payload = frame.payload().to_vec();
                    let bytes = frame.finish();
                    let received = read_udp(bytes, ChecksumState::Unverified, None).unwrap();
                    assert_eq!((received.payload, received.hop_limit), (&payload[..], 255), "{len} bytes");
                    assert_eq!((received.src_port, received.dst_port), (50_000, 862));
                }
                assert_eq!(frame.bytes.as_ptr(), memory, "nothing is allocated");
            }
        }
    }

    /// Such a datagram says 0xffff, since 0 says that there is no checksum.
    #[test]
    fn a_checksum_that_comes_to_zero() {
        for (src, dst) in [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")] {
            let mut frame = Frame::new(&path(src, dst), &Treatment::STAMP, CARRIER, 2).unwrap();
            frame.finish();
            let at = frame.payload_at - 2;
            let sum = [frame.bytes[at], frame.bytes[at + 1]];
            // What the checksum was, added to what it covers, makes it 0.
            frame.payload_mut().copy_from_slice(&sum);
            let bytes = frame.finish();
            assert_eq!(bytes[at..at + 2], [0xff, 0xff]);
            assert!(read_udp(bytes, ChecksumState::Unverified, None).is_ok());
        }
    }

    #[test]
    fn a_frame_is_made_anew_in_its_own_memory() {
        let (v4, v6) = (path("192.0.2.1", "192.0.2.2"), path("2001:db8::1", "2001:db8::2"));
        let mut frame = Frame::new(&v6, &Treatment::STAMP, CARRIER, 1000).unwrap();
        let memory = frame.bytes.as_ptr();
        frame.payload_mut().fill(0xee);
        frame.rebuild(&v4, &Treatment::SEED, CARRIER, 3).unwrap();
        let mut other = Frame::new(&v4, &Treatment::SEED, CARRIER, 3).unwrap();
        assert_eq!(frame.finish(), other.finish(), "nothing is left of what it was");
        assert_eq!(frame.bytes.as_ptr(), memory);
        frame.rebuild(&v4, &Treatment::SEED, Carrier::Ethernet(EtherType::PTP), 70).unwrap();
        frame.payload_mut().fill(0xaa);
        assert_eq!(ethernet_payload(frame.finish(), EtherType::PTP), Some((v4.src_mac, &[0xaa; 70][..])));
    }

    #[test]
    fn what_fits_a_link() {
        let ethernet = Carrier::Ethernet(EtherType::PTP);
        assert!(CARRIER.ensure_fits(1472, false, 1500).is_ok());
        assert!(CARRIER.ensure_fits(1452, true, 1500).is_ok());
        assert!(ethernet.ensure_fits(1500, true, 1500).is_ok());
        for (carrier, len, is_ipv6, room) in
            [(CARRIER, 1473, false, 1472), (CARRIER, 1453, true, 1452), (ethernet, 1501, false, 1500)]
        {
            let error = carrier.ensure_fits(len, is_ipv6, 1500).unwrap_err().to_string();
            assert!(error.contains(&format!("{len} bytes")) && error.contains(&format!("room for {room}")), "{error}");
        }
        assert!(Frame::new(&path("192.0.2.1", "192.0.2.2"), &Treatment::STAMP, CARRIER, 65_530).is_err());
    }

    #[test]
    fn families_do_not_mix() {
        let error = Frame::new(&path("192.0.2.1", "2001:db8::1"), &Treatment::SEED, CARRIER, 8).unwrap_err();
        assert!(error.to_string().contains("192.0.2.1"), "{error}");
    }
}
