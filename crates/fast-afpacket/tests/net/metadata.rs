//! What the kernel says of a frame: lengths, direction, VLAN tags, checksums.

use std::net::UdpSocket;

use fast_afpacket::{ChecksumState, EtherType, Filter, Interface, MacAddr, PacketType, RxMeta, VlanTag};

use crate::lab::{self, Cable, MAC_A, MAC_B, PROTOCOL, bind, frame, frame_of, ip, options};

crate::tests! {
    lengths_and_truncation;
    a_filter_may_cut_frames;
    direction_and_destination;
    vlan_tags_are_kept_and_can_be_restored;
    oversized_frames_are_delivered_whole;
    local_checksums_are_partial;
}

fn lengths_and_truncation() {
    let cable = Cable::new();
    let (sender, receiver) = (bind(options(), &cable.a), bind(options(), &cable.b));
    let mut buf = [0; 2048];
    for len in [18, 59, 60, 1514] {
        sender.send(&frame_of(len, 5)).unwrap();
        let meta = receiver.recv(&mut buf).unwrap();
        assert_eq!((meta.len, meta.wire_len, meta.is_truncated()), (len, len, false));
        assert_eq!(buf[..len], frame_of(len, 5));
    }
    sender.send(&frame_of(1400, 6)).unwrap();
    let meta = receiver.recv(&mut buf[..128]).unwrap();
    assert_eq!((meta.len, meta.wire_len, meta.is_truncated()), (128, 1400, true));
    sender.send(&frame(7)).unwrap();
    assert_eq!(receiver.recv(&mut []).unwrap().wire_len, 60);
    assert_eq!(receiver.stats().unwrap().truncated, 2);
    assert!(sender.send(&[0; 13]).is_err(), "shorter than a header");
}

fn a_filter_may_cut_frames() {
    let cable = Cable::new();
    let snap = Filter::parse_ddd("1\n6 0 0 20\n").unwrap();
    let (sender, receiver) = (bind(options(), &cable.a), bind(options().filter(&snap), &cable.b));
    sender.send(&frame_of(214, 1)).unwrap();
    let meta = receiver.recv(&mut [0; 2048]).unwrap();
    assert_eq!((meta.len, meta.wire_len, meta.is_truncated()), (20, 214, true));
}

fn direction_and_destination() {
    let cable = Cable::new();
    let all = || options().protocol(EtherType::ALL);
    let (sender, receiver, tap) = (bind(all(), &cable.a), bind(all(), &cable.b), bind(all(), &cable.a));
    let cases = [
        (MAC_B, PacketType::Host),
        ([0xff; 6], PacketType::Broadcast),
        ([0x01, 0, 0x5e, 0, 0, 1], PacketType::Multicast),
        ([0x02, 0, 0, 0, 0, 0x99], PacketType::OtherHost),
    ];
    let mut buf = [0; 64];
    for (destination, packet_type) in cases {
        let mut frame = frame(1);
        frame[..6].copy_from_slice(&destination);
        sender.send(&frame).unwrap();
        let meta = receiver.recv(&mut buf).unwrap();
        assert_eq!(meta.from.packet_type(), packet_type);
        assert_eq!(meta.from.mac(), Some(MacAddr::new(MAC_A)));
        assert_eq!(meta.from.interface_index(), cable.b.index());
        let meta = tap.recv(&mut buf).unwrap();
        assert_eq!((meta.from.packet_type(), meta.from.mac()), (PacketType::Outgoing, Some(MacAddr::new(MAC_A))));
        assert_eq!(meta.from.ether_type(), PROTOCOL);
    }
}

/// A frame with these tags before its type.
fn tagged(tags: &[(u16, u16)]) -> Vec<u8> {
    let plain = frame(9);
    let mut frame = plain[..12].to_vec();
    for (tpid, tci) in tags {
        frame.extend(tpid.to_be_bytes());
        frame.extend(tci.to_be_bytes());
    }
    frame.extend(&plain[12..]);
    frame
}

fn vlan_tags_are_kept_and_can_be_restored() {
    let cable = Cable::new();
    let all = || options().protocol(EtherType::ALL);
    let (sender, receiver, tap) = (bind(all(), &cable.a), bind(all(), &cable.b), bind(all(), &cable.a));
    let cooked = bind(all().cooked(true), &cable.b);
    let cases: [&[(u16, u16)]; 7] = [
        &[],
        &[(0x8100, 0x6005)],
        &[(0x8100, 0xa000)],
        &[(0x8100, 0)],
        &[(0x88a8, 0x1007)],
        &[(0x88a8, 0)],
        &[(0x88a8, 7), (0x8100, 5)],
    ];
    let mut buf = [0; 2048];
    for tags in cases {
        let sent = tagged(tags);
        sender.send(&sent).unwrap();
        let RxMeta { len, vlan, from, .. } = receiver.recv(&mut buf).unwrap();
        let expected = tags.first().map(|&(tpid, tci)| VlanTag::new(EtherType::new(tpid), tci));
        assert_eq!(vlan, expected, "{tags:x?}");
        let inner = if tags.len() == 2 { EtherType::VLAN } else { PROTOCOL };
        assert_eq!(from.ether_type(), inner, "{tags:x?}");
        let restored = vlan.map_or(len, |tag| tag.restore(&mut buf, len).unwrap());
        assert_eq!(buf[..restored], sent, "{tags:x?}: the bytes as they were sent");
        assert_eq!(cooked.recv(&mut buf).unwrap().vlan, expected, "{tags:x?}");
        // What this host sends is seen by its own taps as it was written.
        let meta = tap.recv(&mut buf).unwrap();
        assert_eq!((meta.vlan, &buf[..meta.len]), (None, &sent[..]));
    }
    let parts = VlanTag::new(EtherType::VLAN, 0x6005);
    assert_eq!((parts.priority(), parts.id(), parts.drop_eligible()), (3, 5, false));
}

/// Merged segments are longer than the MTU, and a buffer of 64 KiB holds them.
fn oversized_frames_are_delivered_whole() {
    let lo = Interface::by_name("lo").unwrap();
    let receiver = bind(options().protocol(EtherType::IPV4), &lo);
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(&[7; 40_000], server.local_addr().unwrap()).unwrap();
    let mut buf = vec![0; 65_600];
    let meta = receiver.recv(&mut buf).unwrap();
    assert_eq!((meta.len, meta.is_truncated()), (14 + 20 + 8 + 40_000, false));
}

fn local_checksums_are_partial() {
    let cable = Cable::new();
    let elsewhere = lab::Namespace::new();
    ip(&format!("link set vb netns {}", elsewhere.path()));
    ip("addr add 192.0.2.1/24 dev va");
    let receiver = elsewhere.run(|| {
        lab::link_up(&["vb"]);
        ip("addr add 192.0.2.2/24 dev vb");
        let vb = Interface::by_name("vb").unwrap();
        bind(options().protocol(EtherType::IPV4).filter(&Filter::udp_dst(7777).filter()), &vb)
    });
    let sender = UdpSocket::bind("192.0.2.1:0").unwrap();
    sender.send_to(b"checksum", "192.0.2.2:7777").unwrap();
    let meta = receiver.recv(&mut [0; 2048]).unwrap();
    assert_eq!(meta.checksum, ChecksumState::Partial);
    let raw = bind(options(), &cable.a);
    let typed = elsewhere.run(|| bind(options(), &Interface::by_name("vb").unwrap()));
    raw.send(&frame(1)).unwrap();
    assert_eq!(typed.recv(&mut [0; 64]).unwrap().checksum, ChecksumState::Unverified);
}
