//! What a received frame says: a datagram that is whole and right, or why it is none.

use std::net::IpAddr;

use etherparse::checksum::Sum16BitWords;
use etherparse::{IpFragOffset, LinkSlice, NetSlice, SlicedPacket, TransportSlice, UdpSlice, ip_number};
use fast_afpacket::{ChecksumState, EtherType, MacAddr, VlanTag};

use crate::treatment::{Dscp, Ecn};

/// A UDP datagram, and what its headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReceivedUdp<'a> {
    pub(crate) src_mac: MacAddr,
    /// The outermost tag, which the kernel takes out of the frames that it receives.
    pub(crate) vlan: Option<VlanTag>,
    pub(crate) src_addr: IpAddr,
    pub(crate) dst_addr: IpAddr,
    pub(crate) src_port: u16,
    pub(crate) dst_port: u16,
    pub(crate) dscp: Dscp,
    pub(crate) ecn: Ecn,
    /// TTL in IPv4.
    pub(crate) hop_limit: u8,
    pub(crate) payload: &'a [u8],
}

/// Why a frame carries no datagram to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// Another protocol.
    NoUdp,
    /// Headers that promise more bytes than there are, or that contradict themselves.
    Malformed,
    /// Part of a datagram.
    Fragment,
    /// Of the datagram or of IPv4's header.
    WrongChecksum,
    /// IPv6 has no datagrams without (RFC 8200, section 8.1).
    NoChecksum,
}

/// Reads a frame from a raw socket. The kernel says what it knows of the checksum, and which tag it took out.
pub(crate) fn read_udp(
    frame: &[u8],
    checksum: ChecksumState,
    vlan: Option<VlanTag>,
) -> Result<ReceivedUdp<'_>, Unread> {
    let packet = SlicedPacket::from_ethernet(frame).map_err(|_| Unread::Malformed)?;
    let Some(LinkSlice::Ethernet2(ethernet)) = &packet.link else {
        return Err(Unread::NoUdp);
    };
    let (src_addr, dst_addr, class, hop_limit, pseudo_header, is_fragment) = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => {
            let ip = ip.header();
            if ip.protocol() != ip_number::UDP {
                return Err(Unread::NoUdp);
            }
            if Sum16BitWords::new().add_slice(ip.slice()).ones_complement() != 0 {
                return Err(Unread::WrongChecksum);
            }
            let (src, dst) = (ip.source(), ip.destination());
            let is_fragment = ip.more_fragments() || ip.fragments_offset() != IpFragOffset::ZERO;
            let class = ip.dcp().value() << 2 | ip.ecn().value();
            let sum = Sum16BitWords::new().add_4bytes(src).add_4bytes(dst);
            (ip.source_addr().into(), ip.destination_addr().into(), class, ip.ttl(), sum, is_fragment)
        }
        Some(NetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let sum = Sum16BitWords::new().add_16bytes(header.source()).add_16bytes(header.destination());
            let (src, dst): (IpAddr, IpAddr) = (header.source_addr().into(), header.destination_addr().into());
            if ip.payload().ip_number != ip_number::UDP {
                return Err(Unread::NoUdp);
            }
            (src, dst, header.traffic_class(), header.hop_limit(), sum, ip.is_payload_fragmented())
        }
        _ => return Err(Unread::NoUdp),
    };
    if is_fragment {
        return Err(Unread::Fragment);
    }
    let Some(TransportSlice::Udp(udp)) = &packet.transport else {
        return Err(Unread::NoUdp);
    };
    verify(udp, pseudo_header, src_addr.is_ipv4(), checksum)?;
    Ok(ReceivedUdp {
        src_mac: MacAddr::new(ethernet.source()),
        vlan: vlan.or_else(|| tag_in_line(frame)),
        src_addr,
        dst_addr,
        src_port: udp.source_port(),
        dst_port: udp.destination_port(),
        dscp: Dscp::of(class),
        ecn: Ecn::of(class),
        hop_limit,
        payload: udp.payload(),
    })
}

/// Whether a datagram's checksum is right, or not there to be.
fn verify(
    udp: &UdpSlice<'_>,
    pseudo_header: Sum16BitWords,
    is_ipv4: bool,
    checksum: ChecksumState,
) -> Result<(), Unread> {
    let length = udp.length().to_be_bytes();
    match (udp.length(), udp.checksum(), checksum) {
        // Only of a datagram of more than 64 KiB, which IPv6 would have an option for.
        (0, ..) => Err(Unread::Malformed),
        // Not computed yet: the sender is on this machine, and its card would have done it.
        (_, _, ChecksumState::Partial) => Ok(()),
        (_, 0, _) if is_ipv4 => Ok(()),
        (_, 0, _) => Err(Unread::NoChecksum),
        _ => {
            let sum = pseudo_header.add_2bytes([0, ip_number::UDP.0]).add_2bytes(length).add_slice(udp.slice());
            if sum.ones_complement() == 0 { Ok(()) } else { Err(Unread::WrongChecksum) }
        }
    }
}

/// The tag that is still among the bytes: on a frame that this host sends.
fn tag_in_line(frame: &[u8]) -> Option<VlanTag> {
    let [a, b, c, d] = *frame.get(12..16)?.first_chunk()?;
    let tpid = EtherType::new(u16::from_be_bytes([a, b]));
    let is_tag = tpid == EtherType::VLAN || tpid == EtherType::SERVICE_VLAN;
    is_tag.then(|| VlanTag::new(tpid, u16::from_be_bytes([c, d])))
}

/// The sender and the payload of a frame of this EtherType, padding included; tags among the bytes are skipped.
pub(crate) fn ethernet_payload(frame: &[u8], ether_type: EtherType) -> Option<(MacAddr, &[u8])> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let Some(LinkSlice::Ethernet2(ethernet)) = &packet.link else {
        return None;
    };
    let payload = packet.ether_payload().filter(|payload| payload.ether_type.0 == ether_type.value())?;
    Some((MacAddr::new(ethernet.source()), payload.payload))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{hex, path};
    use super::super::{Carrier, Frame};
    use super::*;
    use crate::treatment::Treatment;

    const PAIRS: [(&str, &str); 2] = [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")];
    const PAYLOAD: [u8; 5] = [9, 8, 7, 6, 5];

    fn datagram(src: &str, dst: &str) -> Vec<u8> {
        let treatment = Treatment { dscp: Dscp::new(34), ecn: Ecn::Capable1, ..Treatment::STAMP };
        let carrier = Carrier::Udp { src_port: 862, dst_port: 50_000 };
        let mut frame = Frame::new(&path(src, dst), &treatment, carrier, PAYLOAD.len()).unwrap();
        frame.payload_mut().copy_from_slice(&PAYLOAD);
        frame.finish().to_vec()
    }

    fn read(frame: &[u8]) -> Result<ReceivedUdp<'_>, Unread> {
        read_udp(frame, ChecksumState::Unverified, None)
    }

    /// Puts the right checksum into the IPv4 header of an untagged frame.
    fn with_header_checksum(mut frame: Vec<u8>) -> Vec<u8> {
        frame[24..26].fill(0);
        let sum = Sum16BitWords::new().add_slice(&frame[14..34]).ones_complement();
        frame[24..26].copy_from_slice(&sum.to_ne_bytes());
        frame
    }

    #[test]
    fn all_that_the_headers_say() {
        for (src, dst) in PAIRS {
            let frame = datagram(src, dst);
            let expected = ReceivedUdp {
                src_mac: path(src, dst).src_mac,
                vlan: None,
                src_addr: src.parse().unwrap(),
                dst_addr: dst.parse().unwrap(),
                src_port: 862,
                dst_port: 50_000,
                dscp: Dscp::new(34),
                ecn: Ecn::Capable1,
                hop_limit: 255,
                payload: &PAYLOAD,
            };
            assert_eq!(read(&frame), Ok(expected));
            let tag = VlanTag::new(EtherType::VLAN, 0xa005);
            let tagged = ReceivedUdp { vlan: Some(tag), ..expected };
            assert_eq!(read_udp(&frame, ChecksumState::Unverified, Some(tag)), Ok(tagged), "the kernel took it out");
            let mut in_line = frame.clone();
            in_line.resize(frame.len() + 4, 0);
            tag.restore(&mut in_line, frame.len()).unwrap();
            assert_eq!(read(&in_line), Ok(tagged));
        }
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        for (src, dst) in PAIRS {
            let frame = datagram(src, dst);
            let is_ipv4 = src.contains('.');
            let udp_at = if is_ipv4 { 34 } else { 54 };
            for at in udp_at..udp_at + 8 + PAYLOAD.len() {
                let mut damaged = frame.clone();
                damaged[at] ^= 0x04;
                let result = read(&damaged);
                // A length that is wrong is one that is too long, or leaves bytes over.
                let expected: &[_] = if (udp_at + 4..udp_at + 6).contains(&at) {
                    &[Err(Unread::Malformed), Err(Unread::WrongChecksum)]
                } else {
                    &[Err(Unread::WrongChecksum)]
                };
                assert!(expected.contains(&result), "byte {at}: {result:?}");
                if at >= udp_at + 6 {
                    assert!(read_udp(&damaged, ChecksumState::Partial, None).is_ok(), "it was not finished");
                }
            }
            let mut absent = frame.clone();
            absent[udp_at + 6..udp_at + 8].fill(0);
            let expected = if is_ipv4 { Ok(&PAYLOAD[..]) } else { Err(Unread::NoChecksum) };
            assert_eq!(read(&absent).map(|received| received.payload), expected);
            let mut no_length = frame.clone();
            no_length[udp_at + 4..udp_at + 6].fill(0);
            assert_eq!(read_udp(&no_length, ChecksumState::Partial, None), Err(Unread::Malformed));
            for len in 14..udp_at + 8 + PAYLOAD.len() {
                assert_eq!(read(&frame[..len]), Err(Unread::Malformed), "{len} bytes");
            }
        }
    }

    #[test]
    fn ipv4_has_a_checksum_of_its_own() {
        let frame = datagram("192.0.2.1", "192.0.2.2");
        for at in [15, 18, 22, 24, 25, 27, 33] {
            let mut damaged = frame.clone();
            damaged[at] ^= 1;
            assert_eq!(read(&damaged), Err(Unread::WrongChecksum), "byte {at}");
            assert_eq!(read_udp(&damaged, ChecksumState::Partial, None), Err(Unread::WrongChecksum), "byte {at}");
        }
    }

    #[test]
    fn fragments_and_other_protocols() {
        let v4 = datagram("192.0.2.1", "192.0.2.2");
        for (high, low) in [(0x20, 0), (0, 1), (0x1f, 0xff)] {
            let mut fragment = v4.clone();
            (fragment[20], fragment[21]) = (high, low);
            assert_eq!(read(&with_header_checksum(fragment)), Err(Unread::Fragment));
        }
        let mut tcp = v4.clone();
        tcp[23] = 6;
        assert_eq!(read(&with_header_checksum(tcp)), Err(Unread::Malformed), "cut TCP");
        let mut icmp = v4.clone();
        icmp[23] = 1;
        assert_eq!(read(&with_header_checksum(icmp)), Err(Unread::NoUdp));

        // The same datagram behind a fragment header: next header, reserved, offset and more, identification.
        let v6 = datagram("2001:db8::1", "2001:db8::2");
        let with_fragment_header = |offset: &str| {
            let mut frame = v6.clone();
            frame[19] += 8;
            frame[20] = 44;
            frame.splice(54..54, hex(&format!("1100 {offset} 12345678")));
            frame
        };
        for offset in ["0001", "0008", "fff9"] {
            assert_eq!(read(&with_fragment_header(offset)), Err(Unread::Fragment), "{offset}");
        }
        // A fragment that is the whole is none: RFC 6946.
        assert_eq!(read(&with_fragment_header("0000")).map(|received| received.payload), Ok(&PAYLOAD[..]));
        let arp =
            hex("ffffffffffff 0242acc80161 0806 0001 0800 06 04 0001 0242acc80161 c0000201 000000000000 c0000202");
        assert_eq!(read(&arp), Err(Unread::NoUdp));
        assert_eq!(read(&hex("0242acc80162 0242acc80161 88b5 0000")), Err(Unread::NoUdp));
    }
}
