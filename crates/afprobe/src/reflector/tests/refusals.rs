//! What is not answered, each for its reason, and counted once.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::{Config, Peer, Rate, Reflector, Refusal};
use super::{T2, T3, answer, arrival, config, udp};
use crate::wire::stamp::error_estimate::ErrorEstimate;
use crate::wire::stamp::integrity::Keys;
use crate::wire::stamp::request::Request;
use crate::wire::stamp::tests::{
    AUTHENTICATED_REPLY, AUTHENTICATED_REQUEST, PLAIN_REPLY, PLAIN_REQUEST, at, bare, hex, key, one_second, sending,
};

/// Why a new reflector refuses it. It is counted so, and nothing else is.
fn refusal(config: Config, request: &[u8]) -> Option<Refusal> {
    let mut reflector = Reflector::new(config);
    let refusal = answer(&mut reflector, request, &arrival()).err();
    let tally = reflector.tally();
    for why in Refusal::ALL {
        assert_eq!(tally.refused(why), u64::from(refusal == Some(why)), "{why:?}");
    }
    assert_eq!(tally.answered, u64::from(refusal.is_none()));
    refusal
}

#[test]
fn each_has_a_name_of_its_own() {
    let names: BTreeSet<_> = Refusal::ALL.map(Refusal::name).into();
    assert_eq!(names.len(), Refusal::ALL.len());
}

#[test]
fn by_length() {
    for len in 0..=44 {
        let expected = match len {
            0..14 => Some(Refusal::TooShort),
            14..41 => Some(Refusal::ShorterThanReply),
            _ => None,
        };
        assert_eq!(refusal(Config::default(), &hex(PLAIN_REQUEST)[..len]), expected, "{len} octets");
        let short = Config { answers_short: true, ..Config::default() };
        assert_eq!(refusal(short, &hex(PLAIN_REQUEST)[..len]), expected.filter(|_| len < 14), "{len} octets");
    }
    for len in 0..=112 {
        let expected = match len {
            0..14 => Some(Refusal::TooShort),
            14..112 => Some(Refusal::Plain),
            _ => None,
        };
        assert_eq!(refusal(config(Keys::authenticated(key())), &hex(AUTHENTICATED_REQUEST)[..len]), expected, "{len}");
    }
}

#[test]
fn forged_packets() {
    let keys = || config(Keys::authenticated(key()));
    for bit in 0..112 * 8 {
        let mut forged = hex(AUTHENTICATED_REQUEST);
        forged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(refusal(keys(), &forged), Some(Refusal::Forged), "bit {bit}");
    }
    let plain = [hex(PLAIN_REQUEST), vec![0; 100]].concat();
    assert_eq!(refusal(keys(), &plain), Some(Refusal::Forged), "a plain one that is long enough");
}

#[test]
fn a_forbidden_error_estimate() {
    for high in [0, 0x3f, 0x80, 0xff] {
        let mut request = hex(PLAIN_REQUEST);
        request[12..14].copy_from_slice(&[high, 0]);
        assert_eq!(refusal(Config::default(), &request), Some(Refusal::Corrupt));
    }
    // An authenticated packet has zeros there.
    assert_eq!(refusal(Config::default(), &hex(AUTHENTICATED_REQUEST)), Some(Refusal::Corrupt));
}

#[test]
fn replies() {
    let plain = |packet: &[u8]| refusal(Config::default(), packet);
    assert_eq!(plain(&hex(PLAIN_REPLY)), Some(Refusal::LooksLikeReply));
    assert_eq!(plain(&hex(PLAIN_REPLY)[..41]), Some(Refusal::LooksLikeReply), "TWAMP's");
    let authenticated = config(Keys::authenticated(key()));
    assert_eq!(refusal(authenticated, &hex(AUTHENTICATED_REPLY)), Some(Refusal::LooksLikeReply));
    // A reflector that says twice the same time, one whose clock was stepped, one that was held up.
    let mut reply = hex(PLAIN_REPLY);
    for (t2, t3, expected) in [
        ("e2042800c0000000", "e2042800c0000000", Some(Refusal::LooksLikeReply)),
        ("e2042800c0000000", "e20427ffc0000000", Some(Refusal::LooksLikeReply)),
        ("e2042800c0000000", "e204283bc0000000", Some(Refusal::LooksLikeReply)),
        ("e2042800c0000000", "e204283cc0000000", None),
        ("ffffffffc0000000", "00000001c0000000", Some(Refusal::LooksLikeReply)),
        ("0000000000000000", "00000001c0000000", None),
    ] {
        reply[4..12].copy_from_slice(&hex(t3));
        reply[16..24].copy_from_slice(&hex(t2));
        assert_eq!(plain(&reply), expected, "{t2} {t3}");
    }
    // The same moment in PTP's format, and a request.
    reply[12] |= 0x40;
    reply[4..12].copy_from_slice(&hex("5e59a9a600000001"));
    reply[16..24].copy_from_slice(&hex("5e59a9a53b9ac9ff"));
    assert_eq!(plain(&reply), Some(Refusal::LooksLikeReply));
}

/// Two reflectors, and a forged packet that has each believe that the other has asked.
#[test]
fn two_reflectors_do_not_answer_each_other_for_ever() {
    for ours in [Keys::NONE, Keys::authenticated(key())] {
        for other in [false, true] {
            let stateful = Config { is_stateful: other, ..config(ours.clone()) };
            let mut reflectors = [Reflector::new(config(ours.clone())), Reflector::new(stateful)];
            let mut packet = Request::new(&bare(ours.clone())).probe(sending(0)).to_vec();
            let mut answers = 0;
            for hop in 0..10 {
                match answer(&mut reflectors[hop % 2], &packet, &arrival()) {
                    Ok((reply, _)) => packet = reply,
                    Err(why) => {
                        assert_eq!(why, Refusal::LooksLikeReply);
                        break;
                    }
                }
                answers += 1;
            }
            assert_eq!(answers, 1);
        }
    }
}

#[test]
fn replayed_packets() {
    let keys = Keys::authenticated(key());
    let mut reflector = Reflector::new(config(keys.clone()));
    let mut request = Request::new(&bare(keys));
    let packets: Vec<_> = (0..20_000).map(|sequence| request.probe(sending(sequence)).to_vec()).collect();
    let mut send = |sequence: usize| answer(&mut reflector, &packets[sequence], &arrival()).map(|_| ()).err();
    assert_eq!(send(5), None);
    assert_eq!(send(5), Some(Refusal::Replayed));
    assert_eq!(send(4), None, "late, and new");
    assert_eq!(send(4), Some(Refusal::Replayed));
    assert_eq!(send(16_384 + 4), None);
    assert_eq!(send(4), Some(Refusal::Replayed), "so late that nobody knows");
    assert_eq!(send(6), None);
    assert_eq!(send(6), Some(Refusal::Replayed));
    assert_eq!(reflector.tally().refused(Refusal::Replayed), 4);
    // From elsewhere it is another session.
    let mut elsewhere = arrival();
    elsewhere.flow.peer = udp("192.0.2.1", 50_001);
    assert!(answer(&mut reflector, &packets[5], &elsewhere).is_ok());
    // However long it is idle, an authenticated session does not begin anew.
    let mut later = arrival();
    later.at += Duration::from_secs(100_000);
    assert_eq!(answer(&mut reflector, &packets[5], &later).err(), Some(Refusal::Replayed));
    // The standard does not refuse duplicates of plain packets: they count as duplicates.
    let mut plain = Reflector::new(Config::default());
    assert!((0..3).all(|_| answer(&mut plain, &hex(PLAIN_REQUEST), &arrival()).is_ok()));
}

#[test]
fn groups() {
    for (peer, local) in [
        (udp("224.0.0.1", 1), udp("192.0.2.2", 862)),
        (udp("192.0.2.1", 0), udp("192.0.2.2", 862)),
        (udp("192.0.2.1", 1), udp("255.255.255.255", 862)),
        (udp("fe80::1", 1), udp("ff02::1", 862)),
        (Peer::Ethernet("02:00:00:00:00:01".parse().unwrap()), Peer::Ethernet("ff:ff:ff:ff:ff:ff".parse().unwrap())),
    ] {
        let mut arrival = arrival();
        arrival.flow = super::Flow { peer, local };
        let refused = answer(&mut Reflector::new(Config::default()), &hex(PLAIN_REQUEST), &arrival).err();
        assert_eq!(refused, Some(Refusal::NotUnicast), "{peer:?} {local:?}");
    }
}

#[test]
fn who_is_not_on_the_list() {
    let allowed = vec!["198.51.100.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    let mut reflector = Reflector::new(Config { allowed, ..Config::default() });
    let mut from = |peer: Peer| {
        let mut arrival = arrival();
        arrival.flow.peer = peer;
        answer(&mut reflector, &hex(PLAIN_REQUEST), &arrival).err()
    };
    assert_eq!(from(udp("198.51.100.77", 9)), None);
    assert_eq!(from(udp("2001:db8:1::2", 9)), None);
    assert_eq!(from(udp("192.0.2.1", 9)), Some(Refusal::NotAllowed));
    assert_eq!(from(udp("2001:db9::1", 9)), Some(Refusal::NotAllowed));
    let without_ip = Peer::Ethernet("02:00:00:00:00:01".parse().unwrap());
    assert_eq!(from(without_ip), Some(Refusal::NotAllowed));
}

#[test]
fn more_than_the_rate() {
    let keys = Keys::authenticated(key());
    let rate = Some(Rate { per_second: 10, burst: 3 });
    let mut reflector = Reflector::new(Config { rate, ..config(keys.clone()) });
    let mut request = Request::new(&bare(keys));
    let start = arrival();
    let mut send = |sequence: u64, millis: u64, peer: Peer, is_forged: bool| {
        let mut packet = request.probe(sending(sequence)).to_vec();
        packet[4] ^= u8::from(is_forged);
        let mut arrival = start;
        arrival.at += Duration::from_millis(millis);
        arrival.flow.peer = peer;
        answer(&mut reflector, &packet, &arrival).err()
    };
    let peer = udp("192.0.2.1", 1);
    assert!((0..100).all(|sequence| send(sequence, 0, peer, true) == Some(Refusal::Forged)), "cost its name nothing");
    assert!((0..3).all(|sequence| send(sequence, 0, peer, false).is_none()));
    assert_eq!(send(3, 0, peer, false), Some(Refusal::TooMany));
    assert_eq!(send(3, 99, udp("192.0.2.1", 2), false), Some(Refusal::TooMany), "from another port of the same host");
    assert_eq!(send(3, 99, udp("192.0.2.3", 1), false), None, "another host");
    assert_eq!(send(3, 100, peer, false), None, "what was refused for its rate is no replay");
    assert_eq!(reflector.tally().refused(Refusal::TooMany), 2);
}

/// What the times of a reply are, in which [`super::T2`] and [`super::T3`] lie.
#[test]
fn a_reply_is_known_by_its_times_whatever_its_clock() {
    let mut reflector = Reflector::new(Config::default());
    let request = hex(PLAIN_REQUEST);
    let mut reply = reflector.answer(&request, &arrival()).unwrap();
    for t3 in [T2, T2 - 1, T3, T2 + 59_000_000_000] {
        for error in [one_second(), ErrorEstimate::UNKNOWN] {
            let packet = reply.finish(at(t3), error).to_vec();
            assert_eq!(refusal(Config::default(), &packet), Some(Refusal::LooksLikeReply));
        }
    }
}
