//! A packet as the reply of a reflector.

use fast_afpacket::TaiOffset;

use crate::wire::stamp::reflected::Reflected;
use crate::wire::stamp::time::TimeFormat;
use crate::{at, authenticate, keys};

/// It is read or refused; a code makes no difference to what is read, but is needed.
pub fn check(input: &[u8]) {
    let Some((&choice, packet)) = input.split_first() else { return };
    let keys = keys(choice);
    let format = if choice & 0x80 == 0 { TimeFormat::Ntp } else { TimeFormat::Ptp(TaiOffset::from_seconds(37)) };
    let mut signed = packet.to_vec();
    authenticate(&mut signed, &keys);
    for packet in [packet, &signed] {
        let Ok(reply) = Reflected::read(packet, &keys, format, at(0)) else { continue };
        let layout = keys.layout();
        assert!(packet.len() >= layout.shortest_reply);
        assert!(layout.is_authentic(packet, keys.packet.as_ref()));
        let tlvs = &reply.tlvs;
        assert!(
            !tlvs.is_forged || (tlvs.unrecognized, tlvs.is_malformed, tlvs.told.is_none()) == (0, false, true),
            "nothing is used of what was forged"
        );
        let Some(told) = &tlvs.told else { continue };
        let records = told.records.clone().count();
        assert!(records <= packet.len() / 12, "more than there is room for");
    }
}
