//! A probe as a Sync message of PTP (IEEE 1588-2019, clause 13), for cards that stamp nothing else on receive.
//!
//! The message is whole and true: its sender has no time to tell, so its timestamp is 0, and two-step, so that neither a
//! card nor a receiver takes the 0 for one. What makes it a probe is a TLV behind it, with the Go example's 16 bytes, or
//! with a whole STAMP packet. A reflector's reply is a Sync message, too: so cards stamp it as they do the request.

use fast_afpacket::{EtherType, Filter, FilterError, Instruction, MacAddr};

use super::{seed, write_at};

/// The UDP port of event messages, to which cards look.
pub(crate) const PORT: u16 = 319;

/// What PTP over IPv6 sends behind each message, for transparent clocks that must keep the checksum right.
pub(crate) const BEHIND_IPV6_MESSAGE: [u8; 2] = [0; 2];

/// A clock throws away what is not of its domain. Of those that anybody may use (4 to 127) this one is the default of no
/// profile that we know: telecom has 4 to 63, NTP over PTP 123, SMPTE 127.
const DOMAIN: u8 = 97;

const HEADER_LEN: usize = 34;
const ORIGIN_TIMESTAMP_LEN: usize = 10;
const LEN_AT: usize = 2;
const SEQUENCE_ID_AT: usize = 30;
const PROBE_AT: usize = 48;

/// With no SDO's bits in the upper half.
const SYNC: u8 = 0;
/// 2.0 and not 2.1: there are cards that do not know a message with a minor version.
const VERSION: u8 = 2;
const TWO_STEP: u8 = 0x02;
const UNICAST: u8 = 0x04;
/// Not 1, which a PTP daemon with the same MAC address has: some cards tell messages apart by port and sequence.
const PORT_NUMBER: u16 = 0xaf00;
/// As unicast messages have it.
const NO_INTERVAL: u8 = 0x7f;
/// Out of the range for experiments, of which everybody may choose; NTP over PTP has 2023.
const SEED_TLV: [u8; 2] = [0x20, 0x11];
const STAMP_TLV: [u8; 2] = [0x20, 0x12];
const TLV_HEAD_LEN: usize = 4;

/// The message of the probe 0.
pub(crate) fn message(src_mac: MacAddr) -> Vec<u8> {
    let mut message = empty_message(src_mac, SEED_TLV);
    message.extend(seed::encode(0));
    set_lengths(&mut message, [0, 64], [0, 16]);
    message
}

/// A message up to the value of its TLV. Both lengths are still 0.
fn empty_message(src_mac: MacAddr, tlv: [u8; 2]) -> Vec<u8> {
    // The clock's identity is an EUI-64 of the MAC address, as PTP daemons make it.
    let [a, b, c, d, e, f] = src_mac.octets();
    [
        &[SYNC, VERSION][..],
        &[0; 2],
        &[DOMAIN, 0, TWO_STEP | UNICAST, 0],
        // Correction, and bytes that the message's type does not use.
        &[0; 8 + 4],
        &[a, b, c, 0xff, 0xfe, d, e, f],
        &PORT_NUMBER.to_be_bytes(),
        // Sequence id, control field.
        &[0; 2 + 1],
        &[NO_INTERVAL],
        &[0; ORIGIN_TIMESTAMP_LEN],
        &tlv,
        &[0; 2],
    ]
    .concat()
}

fn set_lengths(message: &mut [u8], whole: [u8; 2], value: [u8; 2]) {
    write_at(message, LEN_AT, &whole);
    write_at(message, PROBE_AT - 2, &value);
}

/// Makes a message that of the probe with this id.
pub(crate) fn set_id(message: &mut [u8], id: u64) {
    let [.., high, low] = id.to_be_bytes();
    write_at(message, SEQUENCE_ID_AT, &[high, low]);
    write_at(message, PROBE_AT, &seed::encode(id));
}

/// The id of the probe in a PTP message, or `None` if it is none.
///
/// What follows the message is padding. What a transparent clock changes on the way, the correction, is not looked at.
pub(crate) fn decode(payload: &[u8]) -> Option<u64> {
    seed::decode(value_in(payload, SEED_TLV)?)
}

/// The value of the only TLV in one of our messages, if it has this type. What follows the message is padding.
fn value_in(payload: &[u8], tlv: [u8; 2]) -> Option<&[u8]> {
    let (header, _) = payload.split_first_chunk::<HEADER_LEN>()?;
    let [kind, version, high, low, domain, ..] = *header;
    let message = payload.get(..u16::from_be_bytes([high, low]).into())?;
    let (head, value) = message.split_at_checked(PROBE_AT)?;
    let [.., a, b, high, low] = *head else {
        return None;
    };
    // A sender may have a minor version, in the upper half.
    let is_ours = (kind, version & 0x0f, domain) == (SYNC, VERSION, DOMAIN)
        && [a, b] == tlv
        && value.len() == usize::from(u16::from_be_bytes([high, low]));
    is_ours.then_some(value)
}

/// The STAMP packet in a PTP message, or `None` if there is none.
pub(crate) fn stamp_in(payload: &[u8]) -> Option<&[u8]> {
    value_in(payload, STAMP_TLV).filter(|packet| packet.len().is_multiple_of(2))
}

/// Makes messages around STAMP packets, one at a time.
#[derive(Clone, Debug)]
pub(crate) struct Carrier {
    message: Vec<u8>,
}

impl Carrier {
    /// The octets that a message has more than the STAMP packet in it.
    pub(crate) const OVERHEAD: usize = HEADER_LEN + ORIGIN_TIMESTAMP_LEN + TLV_HEAD_LEN;

    pub(crate) fn new(src_mac: MacAddr) -> Self {
        Self { message: empty_message(src_mac, STAMP_TLV) }
    }

    /// The message with this packet, of which it has the number, too. `None` if the packet's length is odd, which no TLV of
    /// PTP may have, or more than one can tell.
    pub(crate) fn carry(&mut self, packet: &[u8]) -> Option<&[u8]> {
        let whole = u16::try_from(Self::OVERHEAD + packet.len()).ok()?;
        let value = u16::try_from(packet.len()).ok().filter(|len| len.is_multiple_of(2))?;
        let [_, _, number @ ..] = *packet.first_chunk::<4>()?;
        self.message.truncate(Self::OVERHEAD);
        self.message.extend_from_slice(packet);
        set_lengths(&mut self.message, whole.to_be_bytes(), value.to_be_bytes());
        write_at(&mut self.message, SEQUENCE_ID_AT, &number);
        Some(&self.message)
    }
}

const _: () = assert!(Carrier::OVERHEAD == PROBE_AT);

/// Keeps the PTP messages over Ethernet to this host, of the probes' domain. It refuses what the host itself sends, and
/// what is for others or for all: a PTP daemon's messages.
pub(crate) fn ethernet_filter() -> Result<Filter, FilterError> {
    const PROTOCOL: u32 = 0xffff_f000;
    const PACKET_TYPE: u32 = PROTOCOL + 4;
    const NETWORK_HEADER: u32 = 0xfff0_0000;
    const TO_THIS_HOST: u32 = 0;
    let [load, load_byte, jump_if_equal, give] = [0x20, 0x30, 0x15, 0x06];
    Filter::new([
        Instruction::new(load, 0, 0, PROTOCOL),
        Instruction::new(jump_if_equal, 0, 5, EtherType::PTP.value().into()),
        Instruction::new(load, 0, 0, PACKET_TYPE),
        Instruction::new(jump_if_equal, 0, 3, TO_THIS_HOST),
        Instruction::new(load_byte, 0, 0, NETWORK_HEADER + 4),
        Instruction::new(jump_if_equal, 0, 1, DOMAIN.into()),
        Instruction::new(give, 0, 0, u32::MAX),
        Instruction::new(give, 0, 0, 0),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr::new([0x02, 0x42, 0xac, 0xc8, 0x01, 0x61]);

    fn probe(id: u64) -> Vec<u8> {
        let mut message = message(MAC);
        set_id(&mut message, id);
        message
    }

    fn with(mut message: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
        message[at] = byte;
        message
    }

    /// Put together by hand from IEEE 1588.
    #[test]
    fn bytes_on_the_wire() {
        let expected = [
            &[0x00, 0x02, 0x00, 0x40, 0x61, 0x00, 0x06, 0x00][..], // Sync, PTPv2, 64 bytes, domain 97, flags
            &[0; 12],
            &[0x02, 0x42, 0xac, 0xff, 0xfe, 0xc8, 0x01, 0x61, 0xaf, 0x00], // port identity
            &[0x43, 0x21, 0x00, 0x7f],                                     // sequence, control, interval
            &[0; 10],
            &[0x20, 0x11, 0x00, 0x10],
            &[0x93, 0x72, 0xe7, 0x59, 0xc7, 0xb5, 0xaa, 0x73, 0x21, 0x43, 0x65, 0, 0, 0, 0, 0x80],
        ]
        .concat();
        assert_eq!(probe(0x8000_0000_0065_4321), expected);
    }

    #[test]
    fn all_of_the_id_comes_across() {
        for id in [0, 1, 0xffff, 0x1_0000, u64::MAX - 1, u64::MAX] {
            assert_eq!(decode(&probe(id)), Some(id));
        }
    }

    #[test]
    fn what_may_change_on_the_way_or_follow() {
        assert_eq!(decode(&with(probe(7), 9, 0x55)), Some(7), "a correction");
        assert_eq!(decode(&with(probe(7), 1, 0x12)), Some(7), "version 2.1");
        assert_eq!(decode(&[&probe(7)[..], &[1, 2]].concat()), Some(7), "padding");
    }

    #[test]
    fn other_messages_are_no_probes() {
        let whole = probe(7);
        for len in 0..whole.len() {
            assert_eq!(decode(&whole[..len]), None, "{len} bytes");
        }
        let own = [0..5, 44..56].into_iter().flatten();
        for at in own {
            assert_eq!(decode(&with(probe(7), at, whole[at] ^ 1)), None, "byte {at}");
        }
        assert_eq!(decode(&with(probe(7), 0, 0x10)), None, "gPTP");
    }

    /// Put together by hand from IEEE 1588, around the octets of a STAMP packet.
    #[test]
    fn a_stamp_packet_to_the_byte() {
        let packet: Vec<u8> = (1..=44).collect();
        let mut carrier = Carrier::new(MAC);
        let expected = [
            &[0x00, 0x02, 0x00, 0x5c, 0x61, 0x00, 0x06, 0x00][..], // Sync, PTPv2, 92 bytes, domain 97, flags
            &[0; 12],
            &[0x02, 0x42, 0xac, 0xff, 0xfe, 0xc8, 0x01, 0x61, 0xaf, 0x00], // port identity
            &[0x03, 0x04, 0x00, 0x7f],                                     // sequence: the packet's, its lower half
            &[0; 10],
            &[0x20, 0x12, 0x00, 0x2c], // TLV, 44 bytes
            &packet,
        ]
        .concat();
        assert_eq!(carrier.carry(&packet).unwrap(), expected);
        assert_eq!(stamp_in(&expected), Some(&packet[..]));
        assert_eq!(stamp_in(&[&expected[..], &[0, 0]].concat()), Some(&packet[..]), "as behind IPv6");
        assert_eq!(decode(&expected), None, "no probe of the other kind");
        assert_eq!(stamp_in(&probe(7)), None);
        for len in 0..expected.len() {
            assert_eq!(stamp_in(&expected[..len]), None, "{len} bytes");
        }
        for at in [0, 1, 2, 3, 4, 44, 45, 46, 47] {
            assert_eq!(stamp_in(&with(expected.clone(), at, expected[at] ^ 1)), None, "byte {at}");
        }
    }

    #[test]
    fn packets_of_any_length_that_a_tlv_can_have() {
        let mut carrier = Carrier::new(MAC);
        for len in [112, 44, 1400, 44] {
            let packet = vec![0x55; len];
            assert_eq!(stamp_in(carrier.carry(&packet).unwrap()), Some(&packet[..]));
        }
        assert_eq!(carrier.carry(&[0; 45]), None, "an odd length");
        assert_eq!(carrier.carry(&[0; 0xffff - 47]), None, "an even one that the message's length cannot tell");
        assert_eq!(carrier.carry(&[]), None);
        assert_eq!(stamp_in(carrier.carry(&[0; 44]).unwrap()), Some(&[0; 44][..]), "still whole");
    }

    #[test]
    fn the_filter_keeps_ptp_of_our_domain() {
        let filter = ethernet_filter().unwrap();
        let frame = |ether_type: [u8; 2]| [&[0; 12][..], &ether_type, &probe(1)].concat();
        let ours = frame([0x88, 0xf7]);
        assert_eq!(filter.run(&ours), u32::MAX);
        assert!(!filter.matches(&frame([0x88, 0xf8])));
        assert!(!filter.matches(&with(ours.clone(), 14 + 4, 0)), "a PTP daemon's domain");
        assert!(!filter.matches(&ours[..18]), "cut");
    }
}
