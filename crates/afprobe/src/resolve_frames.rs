//! The frames that ask a neighbour for its MAC address, and the reading of its answers: ARP for IPv4 (RFC 826),
//! neighbour discovery for IPv6 (RFC 4861).
//!
//! The kernel's neighbour table answers first; these frames are for the neighbour that it does not know, on an
//! interface where nothing has talked through the kernel's own stack yet. Nothing here sends or receives: a frame goes
//! out as bytes, and any frame that came in may be offered to the readers, which say `None` to whatever is not the
//! answer.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::checksum::Sum16BitWords;
use etherparse::icmpv6::{Icmpv6PayloadSlice, NdpOptionSlice, NdpOptionType, NeighborSolicitationPayload};
use etherparse::{
    ArpEthIpv4Packet, ArpOperation, ArpPacket, EtherType, Ethernet2Header, Ethernet2Slice, Icmpv6Header, Icmpv6Slice,
    Icmpv6Type, IpNumber, Ipv6Header, Ipv6Slice, ether_type, ip_number,
};

const BROADCAST: [u8; 6] = [0xff; 6];

/// The shortest frame that Ethernet allows, without its check sequence.
const MINIMUM_FRAME_LENGTH: usize = 60;

/// Neighbour discovery trusts only what no router has forwarded: senders start at the maximum, receivers insist on it.
const NEIGHBOR_DISCOVERY_HOP_LIMIT: u8 = 255;

/// The frame that asks, by broadcast, who has `target`.
pub(crate) fn arp_request(source_mac: [u8; 6], source: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let request = ArpEthIpv4Packet {
        operation: ArpOperation::REQUEST,
        sender_mac: source_mac,
        sender_ipv4: source.octets(),
        target_mac: [0; 6],
        target_ipv4: target.octets(),
    };
    let mut frame = Vec::with_capacity(MINIMUM_FRAME_LENGTH);
    frame.extend(ethernet_header(source_mac, BROADCAST, ether_type::ARP));
    frame.extend(request.to_bytes());
    // Not every driver pads a short frame, and one that does may pad it with what was in its memory.
    frame.resize(MINIMUM_FRAME_LENGTH, 0);
    frame
}

/// The MAC address of `target`, when `frame` is an ARP reply that comes from it.
pub(crate) fn arp_answer(frame: &[u8], target: Ipv4Addr) -> Option<[u8; 6]> {
    let ethernet = Ethernet2Slice::from_slice_without_fcs(frame).ok()?;
    if ethernet.ether_type() != ether_type::ARP {
        return None;
    }
    let reply = ArpPacket::from_slice(ethernet.payload_slice()).ok()?.try_eth_ipv4().ok()?;
    let answers = reply.operation == ArpOperation::REPLY && reply.sender_ipv4_addr() == target;
    (answers && is_station(reply.sender_mac)).then_some(reply.sender_mac)
}

/// The frame that asks the solicited-node group of `target` who has that address.
///
/// `source` is an address of ours, never `::`: it is where the answer goes.
pub(crate) fn neighbor_solicitation(source_mac: [u8; 6], source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let group = solicited_node_group(target);

    let mut body = NeighborSolicitationPayload { target_address: target }.to_bytes().to_vec();
    body.extend(link_layer_address_option(NdpOptionType::SOURCE_LINK_LAYER_ADDRESS, source_mac));

    icmpv6_frame(source_mac, multicast_mac(group), source, group, Icmpv6Type::NeighborSolicitation, &body)
}

/// The MAC address of `target`, when `frame` is a valid neighbour advertisement for it.
///
/// An advertisement may leave its link-layer address option out when it answers a unicast question; what remains is
/// the address that the frame came from.
pub(crate) fn neighbor_advertisement(frame: &[u8], target: Ipv6Addr) -> Option<[u8; 6]> {
    let ethernet = Ethernet2Slice::from_slice_without_fcs(frame).ok()?;
    if ethernet.ether_type() != ether_type::IPV6 {
        return None;
    }
    let packet = Ipv6Slice::from_slice(ethernet.payload_slice()).ok()?;
    let header = packet.header();
    // RFC 6980: neighbour discovery in fragments is to be ignored, because it slips past the filters of switches.
    if header.hop_limit() != NEIGHBOR_DISCOVERY_HOP_LIMIT || packet.is_payload_fragmented() {
        return None;
    }
    let payload = packet.payload();
    if payload.ip_number != ip_number::IPV6_ICMP {
        return None;
    }
    let message = Icmpv6Slice::from_slice(payload.payload).ok()?;
    if !message.is_checksum_valid(header.source(), header.destination()) {
        return None;
    }
    // What is solicited is answered to the one who asked; the pair below is what RFC 4861 (7.1.2) calls invalid.
    let Icmpv6Type::NeighborAdvertisement(flags) = message.icmp_type() else {
        return None;
    };
    if flags.solicited && header.destination_addr().is_multicast() {
        return None;
    }
    let Icmpv6PayloadSlice::NeighborAdvertisement(advertisement) = message.payload_slice().ok()? else {
        return None;
    };
    if advertisement.target_address() != target {
        return None;
    }

    let mut mac = ethernet.source();
    for option in advertisement.options_iterator() {
        // One malformed option makes the whole message invalid, also when it stands behind the one we want.
        if let NdpOptionSlice::TargetLinkLayerAddress(option) = option.ok()? {
            mac = option.link_layer_address().try_into().ok()?;
        }
    }
    is_station(mac).then_some(mac)
}

/// `ff02::1:ffxx:xxxx`, the group that a host joins for each of its addresses, made of the address's last three octets.
fn solicited_node_group(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// The Ethernet group that carries an IPv6 group (RFC 2464).
fn multicast_mac(group: Ipv6Addr) -> [u8; 6] {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

/// Whether an address can be that of one host: a reply that names a group or nobody would send probes astray.
fn is_station(mac: [u8; 6]) -> bool {
    let [first, ..] = mac;
    first & 1 == 0 && mac != [0; 6]
}

fn link_layer_address_option(kind: NdpOptionType, mac: [u8; 6]) -> [u8; 8] {
    let [a, b, c, d, e, f] = mac;
    // The length counts units of eight octets.
    [kind.0, 1, a, b, c, d, e, f]
}

fn ethernet_header(source: [u8; 6], destination: [u8; 6], ether_type: EtherType) -> [u8; Ethernet2Header::LEN] {
    Ethernet2Header { source, destination, ether_type }.to_bytes()
}

fn icmpv6_frame(
    source_mac: [u8; 6],
    destination_mac: [u8; 6],
    source: Ipv6Addr,
    destination: Ipv6Addr,
    icmp_type: Icmpv6Type,
    body: &[u8],
) -> Vec<u8> {
    let mut icmpv6 = Icmpv6Header::new(icmp_type);
    // Messages here are a few dozen octets, far from either type's limit.
    let length = u16::try_from(icmpv6.header_len() + body.len()).unwrap_or(u16::MAX);
    icmpv6.checksum = Sum16BitWords::new()
        .add_16bytes(source.octets())
        .add_16bytes(destination.octets())
        .add_4bytes(u32::from(length).to_be_bytes())
        .add_4bytes(u32::from(ip_number::IPV6_ICMP.0).to_be_bytes())
        .add_slice(&icmpv6.to_bytes())
        .add_slice(body)
        .ones_complement()
        .to_be();
    let ipv6 = Ipv6Header {
        payload_length: length,
        next_header: IpNumber::IPV6_ICMP,
        hop_limit: NEIGHBOR_DISCOVERY_HOP_LIMIT,
        source: source.octets(),
        destination: destination.octets(),
        ..Ipv6Header::default()
    };

    let mut frame = ethernet_header(source_mac, destination_mac, ether_type::IPV6).to_vec();
    frame.extend(ipv6.to_bytes());
    frame.extend(icmpv6.to_bytes());
    frame.extend(body);
    frame
}

#[cfg(test)]
mod tests {
    use etherparse::icmpv6::NeighborAdvertisementHeader;

    use super::*;

    const OURS: [u8; 6] = [0x02, 0x42, 0xac, 0xc8, 0x01, 0x61];
    const THEIRS: [u8; 6] = [0x02, 0x42, 0xac, 0xc8, 0x01, 0x62];
    const OUR_V4: Ipv4Addr = Ipv4Addr::new(192, 168, 56, 101);
    const THEIR_V4: Ipv4Addr = Ipv4Addr::new(192, 168, 56, 102);
    const OUR_V6: Ipv6Addr = Ipv6Addr::new(0xfde4, 0x8dba, 0x82e1, 0, 0, 0, 0, 0xc1);
    const THEIR_V6: Ipv6Addr = Ipv6Addr::new(0xfde4, 0x8dba, 0x82e1, 0, 0, 0, 0xab12, 0x34c2);

    fn arp_reply() -> Vec<u8> {
        let reply = ArpEthIpv4Packet {
            operation: ArpOperation::REPLY,
            sender_mac: THEIRS,
            sender_ipv4: THEIR_V4.octets(),
            target_mac: OURS,
            target_ipv4: OUR_V4.octets(),
        };
        let mut frame = ethernet_header(THEIRS, OURS, ether_type::ARP).to_vec();
        frame.extend(reply.to_bytes());
        frame
    }

    fn advertisement(destination: Ipv6Addr, options: &[u8]) -> Vec<u8> {
        let flags = NeighborAdvertisementHeader { router: false, solicited: true, r#override: true };
        let body = [&THEIR_V6.octets()[..], options].concat();
        icmpv6_frame(THEIRS, OURS, THEIR_V6, destination, Icmpv6Type::NeighborAdvertisement(flags), &body)
    }

    #[test]
    fn an_arp_request_is_this_frame() {
        let mut expected = vec![
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x42, 0xac, 0xc8, 0x01, 0x61, 0x08, 0x06, // Ethernet
            0, 1, 0x08, 0, 6, 4, 0, 1, // Ethernet, IPv4, lengths, request
            0x02, 0x42, 0xac, 0xc8, 0x01, 0x61, 192, 168, 56, 101, // sender
            0, 0, 0, 0, 0, 0, 192, 168, 56, 102, // target
        ];
        expected.extend([0; 18]);
        assert_eq!(arp_request(OURS, OUR_V4, THEIR_V4), expected);
    }

    #[test]
    fn an_arp_reply_is_taken_only_from_the_target() {
        assert_eq!(arp_answer(&arp_reply(), THEIR_V4), Some(THEIRS));
        assert_eq!(arp_answer(&arp_reply(), OUR_V4), None);
        assert_eq!(arp_answer(&arp_request(THEIRS, THEIR_V4, OUR_V4), THEIR_V4), None);
    }

    #[test]
    fn an_arp_reply_that_names_a_group_is_refused() {
        let mut frame = arp_reply();
        frame[22] |= 1;
        assert_eq!(arp_answer(&frame, THEIR_V4), None);
    }

    #[test]
    fn a_solicitation_is_this_frame() {
        let frame = neighbor_solicitation(OURS, OUR_V6, THEIR_V6);
        assert_eq!(frame.len(), 86);
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0xc2]);
        let packet = Ipv6Slice::from_slice(&frame[14..]).unwrap();
        assert_eq!(packet.header().hop_limit(), 255);
        assert_eq!(packet.header().destination_addr(), "ff02::1:ff12:34c2".parse::<Ipv6Addr>().unwrap());
        let message = Icmpv6Slice::from_slice(packet.payload().payload).unwrap();
        assert!(message.is_checksum_valid(packet.header().source(), packet.header().destination()));
        assert_eq!((message.type_u8(), message.code_u8()), (135, 0));
        assert_eq!(message.payload()[..16], THEIR_V6.octets());
        assert_eq!(message.payload()[16..], [1, 1, 0x02, 0x42, 0xac, 0xc8, 0x01, 0x61]);
    }

    #[test]
    fn an_advertisement_says_its_address_in_the_option_or_by_its_source() {
        let other = [0x02, 0, 0, 0, 0, 7];
        let option = link_layer_address_option(NdpOptionType::TARGET_LINK_LAYER_ADDRESS, other);
        assert_eq!(neighbor_advertisement(&advertisement(OUR_V6, &option), THEIR_V6), Some(other));
        assert_eq!(neighbor_advertisement(&advertisement(OUR_V6, &[]), THEIR_V6), Some(THEIRS));
        assert_eq!(neighbor_advertisement(&advertisement(OUR_V6, &option), OUR_V6), None);
    }

    #[test]
    fn an_invalid_advertisement_is_refused() {
        let option = link_layer_address_option(NdpOptionType::TARGET_LINK_LAYER_ADDRESS, THEIRS);
        let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        // Solicited and yet for everyone; an option of length zero behind a good one.
        assert_eq!(neighbor_advertisement(&advertisement(all_nodes, &option), THEIR_V6), None);
        let options = [&option[..], &[14, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(neighbor_advertisement(&advertisement(OUR_V6, &options), THEIR_V6), None);

        // The hop limit is outside the checksum, so nothing but the check of its value can catch it.
        let mut forwarded = advertisement(OUR_V6, &option);
        forwarded[21] = 254;
        assert_eq!(neighbor_advertisement(&forwarded, THEIR_V6), None);
    }

    #[test]
    fn every_flipped_bit_of_the_message_breaks_the_checksum() {
        let option = link_layer_address_option(NdpOptionType::TARGET_LINK_LAYER_ADDRESS, THEIRS);
        let frame = advertisement(OUR_V6, &option);
        // From the IPv6 source address on, every octet is under the checksum.
        for bit in 22 * 8..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(neighbor_advertisement(&flipped, THEIR_V6), None, "bit {bit}");
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_no_answer() {
        let option = link_layer_address_option(NdpOptionType::TARGET_LINK_LAYER_ADDRESS, THEIRS);
        let advertisement = advertisement(OUR_V6, &option);
        for length in 0..advertisement.len() {
            assert_eq!(neighbor_advertisement(&advertisement[..length], THEIR_V6), None);
        }
        let reply = arp_reply();
        for length in 0..reply.len() {
            assert_eq!(arp_answer(&reply[..length], THEIR_V4), None);
        }
    }
}
