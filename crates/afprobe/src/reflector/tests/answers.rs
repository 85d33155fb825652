//! Replies to the octet.

use fast_afpacket::TaiOffset;

use super::super::{Config, Peer, Reflector};
use super::{T3, answer, arrival, config, read};
use crate::reflector::tests::Pair;
use crate::two_way::stamps::{Header, Stamps};
use crate::wire::stamp::error_estimate::ErrorEstimate;
use crate::wire::stamp::integrity::Keys;
use crate::wire::stamp::reflected::Tlvs;
use crate::wire::stamp::request::Request;
use crate::wire::stamp::standard::{ClassOfService, DirectMeasurement, TimestampInformation, source};
use crate::wire::stamp::tests::{
    AUTHENTICATED_REPLY, AUTHENTICATED_REQUEST, PLAIN_REPLY, PLAIN_REQUEST, at, full, hex, key, one_second, sending,
};
use crate::wire::stamp::time::TimeFormat;

/// What the reflector makes of a request with these TLVs.
fn tlvs(config: Config, tlvs: &str) -> Vec<u8> {
    let request = [hex(PLAIN_REQUEST), hex(tlvs)].concat();
    let (packet, _) = answer(&mut Reflector::new(config), &request, &arrival()).unwrap();
    assert_eq!(packet.len(), request.len());
    packet[44..].to_vec()
}

/// RFC 8762, figures 5 and 6.
#[test]
fn both_forms() {
    for (keys, request, reply) in [
        (Keys::NONE, PLAIN_REQUEST, PLAIN_REPLY),
        (Keys::authenticated(key()), AUTHENTICATED_REQUEST, AUTHENTICATED_REPLY),
    ] {
        let mut reflector = Reflector::new(config(keys));
        let (packet, id) = answer(&mut reflector, &hex(request), &arrival()).unwrap();
        assert_eq!(packet, hex(reply));
        assert!(id.is_none(), "nobody asks for its stamps");
    }
}

#[test]
fn a_stateless_one_says_the_senders_number() {
    for (keys, request) in [(Keys::NONE, PLAIN_REQUEST), (Keys::authenticated(key()), AUTHENTICATED_REQUEST)] {
        let config = Config { is_stateful: false, ..config(keys.clone()) };
        let (packet, _) = answer(&mut Reflector::new(config), &hex(request), &arrival()).unwrap();
        let reply = read(&packet, &keys);
        assert_eq!((reply.sequence, reply.sender_sequence), (7, 7));
    }
}

/// T3 is written last, and may be written again.
#[test]
fn finished_when_it_leaves() {
    let keys = Keys::authenticated(key());
    let mut reflector = Reflector::new(config(keys.clone()));
    let request = hex(AUTHENTICATED_REQUEST);
    let arrival = arrival();
    let mut reply = reflector.answer(&request, &arrival).unwrap();
    assert_eq!((reply.len(), reply.dscp), (112, Some(10)));
    for later in [1, 20_000_000] {
        let packet = reply.finish(at(T3 + later), ErrorEstimate::UNKNOWN).to_vec();
        let reply = read(&packet, &keys);
        assert_eq!((reply.t3, reply.error), (Some(at(T3 + later)), ErrorEstimate::UNKNOWN));
    }
    assert_eq!(reply.finish(at(T3), one_second()), hex(AUTHENTICATED_REPLY));
}

/// RFC 8762, section 4.2.1: each side has its own format; what is copied is copied as it stands.
#[test]
fn in_its_own_format() {
    let ptp = TimeFormat::Ptp(TaiOffset::from_seconds(37));
    let config = Config { format: ptp, ..Config::default() };
    let (packet, _) = answer(&mut Reflector::new(config), &hex(PLAIN_REQUEST), &arrival()).unwrap();
    let expected =
        hex("00000000 5e59a9a52cb41780 d980 1234 5e59a9a52540be40 00000007 e204280080000000 9980 0000 3d 000000");
    assert_eq!(packet, expected);
}

#[test]
fn what_was_not_seen_is_not_invented() {
    let mut arrival = arrival();
    arrival.header = Header { ttl: None, dscp: None, ecn: None };
    arrival.stamps = Stamps { userspace: Some(at(1)), ..Stamps::NONE };
    let request = [hex(PLAIN_REQUEST), hex("80040004 b8000000")].concat();
    let mut reflector = Reflector::new(Config::default());
    let reply = reflector.answer(&request, &arrival).unwrap();
    assert_eq!(reply.dscp, None);
    let (packet, _) = answer(&mut reflector, &request, &arrival).unwrap();
    let reply = read(&packet, &Keys::NONE);
    assert_eq!((reply.t2, reply.sender_ttl), (Some(at(1)), 255), "RFC 5357: 255 where it cannot be seen");
    assert_eq!(packet[44..], hex("80040004 b8000000"), "class of service cannot be told");
    arrival.stamps = Stamps::NONE;
    let (packet, _) = answer(&mut reflector, &request, &arrival).unwrap();
    assert_eq!(read(&packet, &Keys::NONE).t2, None);
}

/// RFC 8762, section 4.6, and RFC 5357, section 4.2.1: TWAMP's reply ends with the TTL, its request with the error estimate.
#[test]
fn senders_of_twamp_light() {
    let mut reflector = Reflector::new(Config::default());
    let whole = hex(PLAIN_REPLY);
    for len in 41..=44 {
        // Each begins anew, so that all have the number 0.
        let mut reflector = Reflector::new(Config::default());
        let (packet, _) = answer(&mut reflector, &hex(PLAIN_REQUEST)[..len], &arrival()).unwrap();
        assert_eq!(packet, whole[..len]);
    }
    // Random padding begins where STAMP has the session's id. It is one session all the same, and comes back.
    for number in 0..5_u8 {
        let mut request = hex(PLAIN_REQUEST);
        request[14..].fill(0x31 + number);
        request.extend([0x41 + number; 61]);
        let (packet, _) = answer(&mut reflector, &request, &arrival()).unwrap();
        assert_eq!((read(&packet, &Keys::NONE).sequence, packet.len()), (number.into(), 105));
        assert_eq!(packet[45..], request[45..], "but for a flag in what might be a TLV");
    }
    assert_eq!(reflector.sessions(), 1);
    // Padding of zeros is no TLV at all.
    let request = [hex(PLAIN_REQUEST), vec![0; 50]].concat();
    let (packet, _) = answer(&mut reflector, &request, &arrival()).unwrap();
    assert_eq!(packet[44..], [0; 50]);
}

#[test]
fn short_requests_of_twamp_light_where_that_is_wanted() {
    let config = Config { answers_short: true, ..Config::default() };
    for len in 14..41 {
        let mut reflector = Reflector::new(config.clone());
        let (packet, _) = answer(&mut reflector, &hex(PLAIN_REQUEST)[..len], &arrival()).unwrap();
        let mut expected = hex(PLAIN_REPLY);
        if len < 16 {
            expected[14..16].fill(0);
        }
        assert_eq!(packet, expected, "{len} octets");
    }
}

#[test]
fn without_ip() {
    let mut arrival = arrival();
    arrival.flow.peer = Peer::Ethernet("02:42:ac:c8:01:61".parse().unwrap());
    arrival.flow.local = Peer::Ethernet("02:42:ac:c8:01:62".parse().unwrap());
    let (packet, _) = answer(&mut Reflector::new(Config::default()), &hex(PLAIN_REQUEST), &arrival).unwrap();
    assert_eq!(packet, hex(PLAIN_REPLY));
}

/// RFC 8972, sections 4.1 to 4.7: what the reflector knows, and what it leaves out.
#[test]
fn each_tlv() {
    let plain = || Config { time_source: source::NTP, ..Config::default() };
    let answered = |text: &str| tlvs(plain(), text);
    assert_eq!(answered("80010003 abcdef"), hex("00010003 abcdef"), "extra padding");
    assert_eq!(answered("80020004 00000000"), hex("80020004 00000000"), "location is not told");
    assert_eq!(answered("80030004 ffffffff"), hex("00030004 01020102"), "timestamp information");
    assert_eq!(answered("80040004 b8ffffff"), hex("00040004 b8a80000"), "class of service");
    assert_eq!(
        answered("8005000c 00000008 ffffffff ffffffff"),
        hex("0005000c 00000008 00000001 00000001"),
        "direct measurement: this request and this reply"
    );
    assert_eq!(answered("80060004 10010000"), hex("80060004 10010000"), "access report is left out");
    let follow_up = answered("80070010 ffffffff ffffffffffffffff ff ffffff");
    assert_eq!(follow_up, hex("00070010 00000000 0000000000000000 00 000000"), "nothing has left before");
    assert_eq!(answered("80630002 aabb"), hex("80630002 aabb"), "unknown");
    assert_eq!(answered("80000000"), hex("80000000"), "reserved");
    assert_eq!(answered("80fa0004 61626364"), hex("80fa0004 61626364"), "somebody else's experiment");
    assert_eq!(answered("80fa0005 6166707202"), hex("80fa0005 6166707202"), "ours, of a later version");
    for source in [source::NTP, source::FREE_RUNNING] {
        let config = Config { time_source: source, ..Config::default() };
        assert_eq!(tlvs(config, "80030004 00000000"), [0, 3, 0, 4, source, 2, source, 2]);
    }
    // Whatever flags a sender sets.
    assert_eq!(answered("ff030004 00000000 00630000"), hex("00030004 01020102 80630000"));
}

/// Section 4: M, and what follows is copied as it was.
#[test]
fn malformed_tlvs() {
    let answered = |text: &str| tlvs(Config::default(), text);
    let class = "80040004 b8000000";
    for (bad, returned) in [
        ("80040003 b80000", "40040003 b80000"),
        ("80030005 0000000000", "40030005 0000000000"),
        ("8005000b 0000000100000000000000", "4005000b 0000000100000000000000"),
        ("80080002 0000", "40080002 0000"),
        ("80fa0005 6166707201", "40fa0005 6166707201"),
        // Section 4.7 (erratum 8339): nothing that looks like a time comes back.
        ("8007000f ffffffffffffffffffffffffffffff", "4007000f 000000000000000000000000ffffff"),
    ] {
        assert_eq!(answered(&format!("{bad} {class}")), hex(&format!("{returned} {class}")));
        let behind = answered(&format!("{class} {bad}"));
        assert_eq!(behind, hex(&format!("00040004 b8a80000 {returned}")), "what is in front is answered");
    }
    assert_eq!(answered("80630009 aabb"), hex("40630009 aabb"), "beyond the packet");
    assert_eq!(answered("8063ffff"), hex("4063ffff"));
    assert_eq!(answered("80040004 b8000000 8063"), hex("00040004 b8a80000 8063"), "half a head is no TLV");
}

/// Section 4.4, with erratum 8199.
#[test]
fn a_mark_that_is_not_permitted() {
    let asked = |config: Config, tlvs: &str| {
        let request = [hex(PLAIN_REQUEST), hex(tlvs)].concat();
        Reflector::new(config).answer(&request, &arrival()).unwrap().dscp
    };
    let expedited = 1 << 46;
    let only = |marks| Config { marks, ..Config::default() };
    assert_eq!(asked(only(expedited), "80040004 b8000000"), Some(46));
    assert_eq!(asked(only(!expedited), "80040004 b8000000"), Some(10), "then as the request was");
    assert_eq!(tlvs(only(!expedited), "80040004 b8000000"), hex("00040004 b8a90000"), "and RP says so");
    assert_eq!(asked(only(expedited), ""), Some(10), "who does not ask");
}

/// Section 4.8.
#[test]
fn the_code_of_tlvs() {
    let keys = Keys::of_tlvs(key());
    let with_key = || config(keys.clone());
    let good = "80040004b8000000 80080010 453f5c878e8a412c8ae0e3d8f3e2e696";
    let answered = "00040004 b8a80000 00080010";
    let reply = tlvs(with_key(), good);
    assert_eq!(reply[..12], hex(answered), "and then the code, of the reply's number and what is in front");
    assert_eq!(reply[12..], key().code(&[&[0; 4], &hex("00040004 b8a80000")]));

    let forged = "80040004b8000001 80080010 453f5c878e8a412c8ae0e3d8f3e2e696";
    let returned = "20040004b8000001 20080010 453f5c878e8a412c8ae0e3d8f3e2e696";
    assert_eq!(tlvs(with_key(), forged), hex(returned), "all have I, and nothing is answered");
    assert_eq!(tlvs(with_key(), "80040004b8000000"), hex("20040004b8000000"), "no code where there has to be one");
    assert_eq!(tlvs(with_key(), "80010002aaaa"), hex("00010002aaaa"), "padding alone needs none");
    assert_eq!(tlvs(Config::default(), good)[..1], [0x20], "a code that cannot be verified");
    let wrong_place = format!("{good} 80630000");
    assert_eq!(tlvs(with_key(), &wrong_place)[28..], hex("20630000"), "the code is not the last one");
    let malformed = tlvs(with_key(), "80040003b80000 80630000");
    assert_eq!(malformed, hex("60040003b80000 80630000"), "neither");
}

#[test]
fn tlvs_of_an_authenticated_session() {
    let keys = Keys::authenticated(key());
    let mut pair = Pair::new(&full(keys.clone()), config(keys.clone()));
    pair.probe(0);
    let (packet, _) = pair.probe(1);
    let tlvs = read(&packet, &keys).tlvs;
    assert!(!tlvs.is_forged && !tlvs.is_malformed && tlvs.unrecognized == 0);
    assert_eq!(tlvs.direct_measurement.map(|counts| counts.sender_sent), Some(2));
    assert_eq!(tlvs.told.map(|told| told.records.count()), Some(1));
    // The packet is right, its TLVs are not: it is answered, they are not.
    let mut request = pair.request.probe(sending(2)).to_vec();
    request[130] ^= 1;
    let (packet, id) = answer(&mut pair.reflector, &request, &pair.arrival).unwrap();
    assert_eq!(read(&packet, &keys).tlvs, Tlvs { is_forged: true, ..Tlvs::default() });
    assert!(id.is_none(), "nobody asked for stamps who could be believed");
}

#[test]
fn all_of_them_at_once() {
    let mut pair = Pair::new(&full(Keys::NONE), Config::default());
    let (packet, _) = pair.probe(7);
    let tlvs = read(&packet, &Keys::NONE).tlvs;
    let class = ClassOfService { wanted_dscp: 46, received_dscp: 10, received_ecn: 2, reverse_path: 0 };
    assert_eq!(tlvs.class_of_service, Some(class));
    let counts = DirectMeasurement { sender_sent: 8, reflector_received: 1, reflector_sent: 1 };
    assert_eq!(tlvs.direct_measurement, Some(counts));
    let information = TimestampInformation { source_in: 5, method_in: 2, source_out: 5, method_out: 2 };
    assert_eq!(tlvs.timestamp_information, Some(information));
    assert_eq!((tlvs.unrecognized, tlvs.is_malformed, tlvs.is_forged), (0, false, false));
    // A reflector without sessions has counted nothing, and says so.
    let mut stateless = Reflector::new(Config { is_stateful: false, ..Config::default() });
    let request = Request::new(&full(Keys::NONE)).probe(sending(7)).to_vec();
    let (packet, _) = answer(&mut stateless, &request, &arrival()).unwrap();
    let tlvs = read(&packet, &Keys::NONE).tlvs;
    assert_eq!((tlvs.unrecognized, tlvs.direct_measurement, tlvs.follow_up), (1, None, None));
    assert_eq!(tlvs.told.unwrap().counts, None);
}
