//! Nothing that arrives makes the sender's side panic, or read what is not there.

use fast_afpacket::TaiOffset;
use proptest::prelude::*;

use super::super::afprobe::Told;
use super::super::integrity::{Keys, are_authentic, authenticate};
use super::super::packet::Layout;
use super::super::reflected::Reflected;
use super::super::request::Request;
use super::super::time::TimeFormat;
use super::super::tlv::Walk;
use super::{at, bare, full, key, sending};

const FORMATS: [TimeFormat; 2] = [TimeFormat::Ntp, TimeFormat::Ptp(TaiOffset::from_seconds(37))];

fn read_all(packet: &[u8]) {
    for keys in [Keys::NONE, Keys::of_tlvs(key()), Keys::authenticated(key())] {
        let layout = keys.layout();
        for format in FORMATS {
            if let Ok(reply) = Reflected::read(packet, &keys, format, at(0)) {
                assert!(packet.len() >= layout.shortest_reply);
                let records = reply.tlvs.told.map_or(0, |told| told.records.count());
                assert!(records * 12 <= packet.len());
            }
        }
        for place in Walk::new(packet, layout.len) {
            assert!(place.is_malformed || place.value(packet).len() == place.len);
        }
        let mut copy = packet.to_vec();
        layout.authenticate(&mut copy, keys.packet.as_ref());
        authenticate(&mut copy, &layout, keys.tlvs.as_ref());
        assert_eq!(copy.len(), packet.len());
    }
    if let Some(told) = Told::read(packet) {
        assert!(told.records.count() <= 255);
    }
}

#[test]
fn cut_anywhere() {
    for setup in [bare(Keys::NONE), full(Keys::NONE), full(Keys::authenticated(key())), full(Keys::of_tlvs(key()))] {
        let mut request = Request::new(&setup);
        let packet = request.probe(sending(3)).to_vec();
        for len in 0..packet.len() {
            read_all(&packet[..len]);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
        read_all(&bytes);
    }

    /// Not far from what is right.
    #[test]
    fn changed(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in 0..120_usize) {
        for setup in [full(Keys::NONE), full(Keys::authenticated(key()))] {
            let mut request = Request::new(&setup);
            let mut packet = request.probe(sending(3)).to_vec();
            for (at, byte) in &changes {
                let at = at.index(packet.len());
                packet[at] = *byte;
            }
            packet.truncate(packet.len() - cut);
            read_all(&packet);
        }
    }

    #[test]
    fn what_a_sender_makes_is_what_it_means(sequence in any::<u64>(), sent in any::<u32>(), len in 0..1500_usize, asks in any::<bool>()) {
        for keys in [Keys::NONE, Keys::of_tlvs(key()), Keys::authenticated(key())] {
            let mut setup = full(keys.clone());
            setup.len = len;
            let mut request = Request::new(&setup);
            let sending = super::super::request::Sending { sequence, sent: sent.into(), ..sending(0) };
            let packet = if asks { request.question(sending) } else { request.probe(sending) };
            let layout = keys.layout();
            prop_assert!(packet.len() >= len);
            prop_assert!(layout.is_authentic(packet, keys.packet.as_ref()));
            prop_assert!(are_authentic(packet, &layout, keys.tlvs.as_ref()));
            prop_assert!(Walk::new(packet, layout.len).all(|place| !place.is_malformed && place.flags == 0x80));
            prop_assert_eq!(layout.len, if keys.packet.is_some() { Layout::AUTHENTICATED.len } else { 44 });
        }
    }
}
