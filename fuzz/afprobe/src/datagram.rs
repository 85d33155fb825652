//! A received frame: the datagram in it, and the probe in that.

use fast_afpacket::{ChecksumState, EtherType, MacAddr};

use crate::frame::received::{Unread, ethernet_payload, read_udp};
use crate::is_within;
use crate::wire::Wire;
use crate::wire::ptp::{self, Carrier};

/// What is read lies in the frame, and does not depend on a checksum unless that one is to be verified. Each payload is a
/// probe of a format only if that format makes the same bytes.
pub fn check(frame: &[u8]) {
    probe(frame);
    if let Some((_, payload)) = ethernet_payload(frame, EtherType::PTP) {
        assert!(is_within(payload, frame));
        probe(payload);
    }
    let verified = read_udp(frame, ChecksumState::Unverified, None);
    let unfinished = read_udp(frame, ChecksumState::Partial, None);
    match (verified, unfinished) {
        (Ok(datagram), other) => assert_eq!(other, Ok(datagram), "a right checksum is right"),
        // IPv4's own header has a checksum that is always finished.
        (Err(Unread::WrongChecksum | Unread::NoChecksum), Ok(_) | Err(Unread::WrongChecksum)) => {}
        (Err(why), other) => assert_eq!(other, Err(why)),
    }
    if let Ok(datagram) = unfinished {
        assert!(is_within(datagram.payload, frame));
        assert_eq!(datagram.src_addr.is_ipv4(), datagram.dst_addr.is_ipv4());
        probe(datagram.payload);
    }
}

fn probe(payload: &[u8]) {
    let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
    for wire in [Wire::Seed, Wire::Ptp, Wire::PtpUdp] {
        let Some(id) = wire.id_in(payload) else { continue };
        let mut made = wire.payload(mac, false);
        wire.set_id(&mut made, id);
        assert_eq!(wire.id_in(&made), Some(id));
        assert!(wire != Wire::Seed || made == payload, "there is one way to write it");
    }
    let Some(packet) = ptp::stamp_in(payload) else { return };
    assert!(is_within(packet, payload));
    assert_eq!(Wire::Ptp.id_in(payload), None, "it is one or the other");
    if packet.len() >= 4 {
        assert_eq!(ptp::stamp_in(Carrier::new(mac).carry(packet).unwrap()), Some(packet));
    }
}
