//! Each octet is from the RFC that is named. The codes were computed by another implementation of HMAC, Python's.

use fast_afpacket::TaiOffset;

use super::super::integrity::{Keys, are_authentic, authenticate};
use super::super::packet::{Head, Layout, Tail};
use super::super::reflected::{Left, Reflected, Tlvs, Unreadable};
use super::super::request::Request;
use super::super::standard::{ClassOfService, DirectMeasurement, TimestampInformation};
use super::super::time::TimeFormat;
use super::super::tlv::{HEAD_LEN, Walk, flag, kind};
use super::{
    AUTHENTICATED_REPLY, AUTHENTICATED_REQUEST, PLAIN_REPLY, PLAIN_REQUEST, at, bare, full, hex, key, one_second,
    sending,
};

#[test]
fn requests() {
    assert_eq!(Request::new(&bare(Keys::NONE)).probe(sending(7)), hex(PLAIN_REQUEST));
    assert_eq!(Request::new(&bare(Keys::authenticated(key()))).probe(sending(7)), hex(AUTHENTICATED_REQUEST));
    let mut ptp = bare(Keys::NONE);
    ptp.format = TimeFormat::Ptp(TaiOffset::from_seconds(37));
    // RFC 8186: seconds and nanoseconds, and the Z bit.
    let expected = hex("00000007 5e59a9a51dcd6500 d980 1234");
    assert_eq!(Request::new(&ptp).probe(sending(7))[..16], expected);
    assert_eq!(Request::new(&bare(Keys::NONE)).probe(sending(0x5_0000_0007)), hex(PLAIN_REQUEST), "numbers wrap");
}

#[test]
fn replies_are_read() {
    for (reply, keys) in [(PLAIN_REPLY, Keys::NONE), (AUTHENTICATED_REPLY, Keys::authenticated(key()))] {
        let expected = Reflected {
            sequence: 0,
            t3: Some(at(750_000_000)),
            t2: Some(at(625_000_000)),
            error: one_second(),
            ssid: 0x1234,
            sender_sequence: 7,
            sender_timestamp: 0xe204_2800_8000_0000,
            sender_ttl: 61,
            tlvs: Tlvs::default(),
        };
        let packet = hex(reply);
        assert_eq!(Reflected::read(&packet, &keys, TimeFormat::Ntp, at(0)), Ok(expected));
        let bad = |packet: &[u8]| Reflected::read(packet, &keys, TimeFormat::Ntp, at(0)).unwrap_err();
        for len in 0..keys.layout().shortest_reply {
            assert_eq!(bad(&packet[..len]), Unreadable::TooShort, "{len} octets");
        }
        let mut corrupt = packet.clone();
        corrupt[keys.layout().error + 1] = 0;
        keys.layout().authenticate(&mut corrupt, keys.packet.as_ref());
        assert_eq!(bad(&corrupt), Unreadable::Corrupt);
    }
}

/// RFC 5357, figure in section 4.2.1: 41 octets, and padding or none. TWAMP has zeros for the session's id.
#[test]
fn replies_of_twamp_light_are_read() {
    let whole = [&hex(PLAIN_REPLY)[..14], &[0, 0], &hex(PLAIN_REPLY)[16..]].concat();
    for len in 41..=44 {
        let reply = Reflected::read(&whole[..len], &Keys::NONE, TimeFormat::Ntp, at(0)).unwrap();
        assert_eq!((reply.ssid, reply.sender_sequence, reply.sender_ttl), (0, 7, 61), "{len} octets");
        assert_eq!(reply.tlvs, Tlvs::default());
    }
    // A reflector without TLVs returns ours as padding, from where the request's padding began or from behind the fixed part.
    let mut request = Request::new(&full(Keys::NONE));
    let as_sent = request.probe(sending(7));
    let padding = [&whole[..], &as_sent[44..]].concat();
    let reply = Reflected::read(&padding, &Keys::NONE, TimeFormat::Ntp, at(0)).unwrap();
    assert_eq!(reply.tlvs, Tlvs { unrecognized: 6, ..Tlvs::default() });
    let moved = [&whole[..41], &as_sent[14..as_sent.len() - 27]].concat();
    assert!(Reflected::read(&moved, &Keys::NONE, TimeFormat::Ntp, at(0)).is_ok());
}

/// RFC 8186, section 2.2: a reflector has its own format, and says which in its Z bit.
#[test]
fn a_reply_in_the_other_format() {
    let mut reply = hex(PLAIN_REPLY);
    reply[4..14].copy_from_slice(&hex("5e59a9a52cb41780 d980"));
    reply[16..24].copy_from_slice(&hex("5e59a9a52540be40"));
    let told = TimeFormat::Ptp(TaiOffset::from_seconds(37));
    let read = |format| Reflected::read(&reply, &Keys::NONE, format, at(0)).unwrap();
    assert_eq!((read(told).t2, read(told).t3), (Some(at(625_000_000)), Some(at(750_000_000))));
    // Nobody has told how far TAI is ahead, and nobody guesses.
    assert_eq!(read(TimeFormat::Ntp).t3, Some(at(37_750_000_000)));
}

#[test]
fn what_is_no_reply() {
    let read = |packet: &[u8], keys: &Keys| Reflected::read(packet, keys, TimeFormat::Ntp, at(0)).map(|_| ());
    assert_eq!(read(&hex(PLAIN_REQUEST), &Keys::NONE), Err(Unreadable::NoReply), "returned as it was");
    let keys = Keys::authenticated(key());
    assert_eq!(read(&hex(AUTHENTICATED_REQUEST), &keys), Err(Unreadable::NoReply));
    for at in 0..112 {
        let mut forged = hex(AUTHENTICATED_REPLY);
        forged[at] ^= 1;
        assert_eq!(read(&forged, &keys), Err(Unreadable::Forged), "octet {at}");
    }
    assert_eq!(read(&hex(PLAIN_REPLY), &keys), Err(Unreadable::TooShort));
}

/// RFC 8972: section 4 for the head; 4.3, 4.4, 4.5, 4.7, 4.1 for the values. Ours is in `WIRE.md`.
#[test]
fn tlvs_of_a_request() {
    let setup = full(Keys::NONE);
    let mut request = Request::new(&setup);
    let packet = request.probe(sending(7));
    let room = setup.room.unwrap();
    let ours = [&hex("80fa")[..], &u16::try_from(room).unwrap().to_be_bytes(), b"afpr", &[1], &vec![0; room - 5][..]];
    let expected = [
        hex(PLAIN_REQUEST),
        ours.concat(),
        hex("80030004 00000000"),                            // timestamp information
        hex("80040004 b8000000"),                            // class of service: DSCP1 101110, the rest 0
        hex("8005000c 00000008 00000000 00000000"),          // direct measurement: the sender's eighth
        hex("80070010 00000000 0000000000000000 00 000000"), // follow-up telemetry
    ]
    .concat();
    assert_eq!(packet[..expected.len()], expected);
    let padding = packet.len() - expected.len() - HEAD_LEN;
    assert_eq!(packet[expected.len()..][..HEAD_LEN], [0x80, 1, 0, u8::try_from(padding).unwrap()]);
    assert_eq!(packet.len(), 500);
}

#[test]
fn padding_fills_what_a_tlv_can_fill() {
    for len in 0..120 {
        let mut setup = bare(Keys::NONE);
        setup.len = len;
        let mut request = Request::new(&setup);
        assert_eq!((request.len(), request.ssid()), (len.max(44), 0x1234));
        let packet = request.probe(sending(0)).to_vec();
        let tlvs: Vec<_> = Walk::new(&packet, 44).map(|place| (place.kind, place.len, place.is_malformed)).collect();
        let expected = len.checked_sub(48).map(|value| (kind::EXTRA_PADDING, value, false));
        assert_eq!(tlvs, Vec::from_iter(expected), "{len}");
    }
    let mut setup = bare(Keys::NONE);
    setup.len = 65_507;
    assert_eq!(Request::new(&setup).len(), 65_507, "the longest that UDP has");
    let mut setup = full(Keys::authenticated(key()));
    for len in 480..520 {
        setup.len = len;
        let mut request = Request::new(&setup);
        assert_eq!(request.len(), len);
        let packet = request.probe(sending(0));
        assert!(are_authentic(packet, &Layout::AUTHENTICATED, Some(&key())), "{len}");
    }
}

/// RFC 8972, section 4.8: the code is of the packet's number and of what is in front of it.
#[test]
fn the_code_of_tlvs() {
    let mut setup = bare(Keys::of_tlvs(key()));
    setup.class_of_service = Some(46);
    let mut request = Request::new(&setup);
    let expected = [hex(PLAIN_REQUEST), hex("80040004b8000000 80080010 453f5c878e8a412c8ae0e3d8f3e2e696")].concat();
    assert_eq!(request.probe(sending(7)), expected);
    let is_right = |packet: &[u8]| are_authentic(packet, &Layout::PLAIN, Some(&key()));
    assert!(is_right(&expected));
    // Not the flags of the code's own TLV.
    let covered = [0..4, 44..52, 53..expected.len()].into_iter().flatten();
    for at in covered {
        let mut forged = expected.clone();
        forged[at] ^= 1;
        assert!(!is_right(&forged), "octet {at}");
    }
    let mut sender_free_to_change = expected.clone();
    sender_free_to_change[5] ^= 1;
    assert!(is_right(&sender_free_to_change), "the time is written after it");
    assert!(!is_right(&expected[..52]), "no code at all");
    assert!(!are_authentic(&expected, &Layout::PLAIN, None), "one that cannot be verified");
    let padded = [&expected[..], &[0x80, 1, 0, 2, 5, 5]].concat();
    assert!(is_right(&padded), "padding may follow");
    assert!(!is_right(&[&padded[..], &[0x80, 99, 0, 0]].concat()), "nothing else");
    assert!(is_right(&[&hex(PLAIN_REQUEST)[..], &[0x80, 1, 0, 2, 5, 5]].concat()), "padding alone needs none");
    assert!(is_right(&hex(PLAIN_REQUEST)), "nor does nothing");
    let mut twice = [&expected[..], &expected[52..]].concat();
    authenticate(&mut twice, &Layout::PLAIN, Some(&key()));
    assert!(!is_right(&twice), "two of them");
}

/// The values that a reflector would have written, in a reply, and its flags.
fn reply_with(tlvs: &str) -> Vec<u8> {
    [hex(PLAIN_REPLY), hex(tlvs)].concat()
}

fn read(packet: &[u8]) -> Tlvs<'_> {
    Reflected::read(packet, &Keys::NONE, TimeFormat::Ntp, at(0)).unwrap().tlvs
}

#[test]
fn tlvs_of_a_reply() {
    let packet = reply_with(
        "00030004 01020501 00040004 b8a90000 0005000c 00000008 00000006 00000005 \
         00070010 00000004 e204280090000000 01 000000 00010002 aaaa 80060004 10010000",
    );
    let expected = Tlvs {
        timestamp_information: Some(TimestampInformation { source_in: 1, method_in: 2, source_out: 5, method_out: 1 }),
        class_of_service: Some(ClassOfService { wanted_dscp: 46, received_dscp: 10, received_ecn: 2, reverse_path: 1 }),
        direct_measurement: Some(DirectMeasurement { sender_sent: 8, reflector_received: 6, reflector_sent: 5 }),
        follow_up: Some(Left { sequence: 4, at: at(562_500_000), method: 1 }),
        told: None,
        unrecognized: 1,
        is_malformed: false,
        is_forged: false,
    };
    assert_eq!(read(&packet), expected);
}

/// RFC 8972, section 4: skip, stop, discard.
#[test]
fn flags_of_a_reply() {
    let class = "00040004 b8a90000";
    let with = |flags: u8, behind: &str| {
        let packet = reply_with(&format!("{flags:02x}030004 01020501 {behind}"));
        let tlvs = read(&packet);
        (tlvs.timestamp_information.is_some(), tlvs.class_of_service.is_some(), tlvs.is_malformed, tlvs.is_forged)
    };
    assert_eq!(with(0, class), (true, true, false, false));
    assert_eq!(with(flag::UNRECOGNIZED, class), (false, true, false, false));
    assert_eq!(with(flag::MALFORMED, class), (false, false, true, false));
    assert_eq!(with(flag::INTEGRITY_FAILED, class), (false, false, false, true));
    assert_eq!(with(0, "20040004 b8a90000"), (false, false, false, true), "on any of them");
    assert_eq!(with(0x1f, class), (true, true, false, false), "those that are reserved");
    assert_eq!(with(0, "00040003 b8a900"), (true, false, true, false), "a length that cannot be");
    assert_eq!(read(&reply_with("00070010 00000000 0000000000000000 00 000000")).follow_up, None, "nothing known");
}

#[test]
fn a_reply_whose_tlvs_must_be_authentic() {
    let packet = reply_with("00040004 b8a90000 00080010 f443b18b50a61e3a3fe4cb1e618018dd");
    let keys = Keys::of_tlvs(key());
    let read = |packet: &[u8]| Reflected::read(packet, &keys, TimeFormat::Ntp, at(0)).unwrap().tlvs.is_forged;
    assert!(!read(&packet));
    for at in [0, 44, 48, 53, packet.len() - 1] {
        let mut forged = packet.clone();
        forged[at] ^= 1;
        assert!(read(&forged), "octet {at}");
    }
    assert!(read(&packet[..52]), "no code");
    assert!(!read(&packet[..44]), "and no TLVs");
}

/// What is written is what is read, in both forms.
#[test]
fn fixed_parts_both_ways() {
    for (layout, reply) in [(Layout::PLAIN, PLAIN_REPLY), (Layout::AUTHENTICATED, AUTHENTICATED_REPLY)] {
        let packet = hex(reply);
        let head = Head::read(&layout, &packet).unwrap();
        let tail = Tail::read(&layout, &packet).unwrap();
        let mut written = vec![0; layout.len];
        head.write(&layout, &mut written);
        tail.write(&layout, &mut written);
        layout.authenticate(&mut written, layout.code.map(|_| key()).as_ref());
        assert_eq!(written, packet);
        assert_eq!((head.sequence, head.timestamp, head.error, head.ssid), (0, 0xe204_2800_c000_0000, 0x9980, 0x1234));
        let expected = Tail {
            receive: 0xe204_2800_a000_0000,
            sender_sequence: 7,
            sender_timestamp: 0xe204_2800_8000_0000,
            sender_error: 0x9980,
            sender_ttl: 61,
        };
        assert_eq!(tail, expected);
    }
}
