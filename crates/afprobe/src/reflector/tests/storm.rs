//! A million packets: right ones, cut, changed, forged, replayed and foreign ones, replies, and mere noise.
//!
//! What becomes of each is foretold here by other means than the reflector's, and every octet of every reply is looked at.

use std::collections::{HashMap, VecDeque};
use std::thread;
use std::time::Duration;

use super::super::{Config, Flow, Peer, Rate, Reflector, Refusal};
use super::{T2, T3, answer, arrival, config, udp};
use crate::two_way::stamps::Stamps;
use crate::wire::stamp::afprobe::{Point, room_for};
use crate::wire::stamp::integrity::Keys;
use crate::wire::stamp::key::Key;
use crate::wire::stamp::reflected::Reflected;
use crate::wire::stamp::request::{Request, Sending, Setup};
use crate::wire::stamp::tests::{at, bare, full, key, one_second};
use crate::wire::stamp::time::TimeFormat;

/// Numbers that look drawn by lot and are the same each time.
struct Lot(u64);

impl Lot {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from((self.next() >> 32) % u64::try_from(bound).unwrap()).unwrap()
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(len).collect()
    }
}

/// A sender that keeps to the book.
struct Sender {
    flow: Flow,
    request: Request,
    next: u64,
    /// What it has sent last and the reflector has seen.
    sent: VecDeque<Vec<u8>>,
    /// A reply that it got.
    reply: Option<Vec<u8>>,
    /// Replies that it got, or should have got.
    replies: u32,
}

impl Sender {
    fn new(place: u16, setup: &Setup) -> Self {
        let is_ipv4 = place.is_multiple_of(2);
        let peer = udp(if is_ipv4 { "192.0.2.1" } else { "2001:db8::1" }, 50_000 + place);
        let local = udp(if is_ipv4 { "192.0.2.2" } else { "2001:db8::2" }, 862);
        let request = Request::new(&Setup { ssid: 0x100 + place, ..setup.clone() });
        // The numbers of some wrap while the storm lasts.
        let next = if place.is_multiple_of(3) { u64::from(u32::MAX) - 50 } else { 0 };
        Self { flow: Flow { peer, local }, request, next, sent: VecDeque::new(), reply: None, replies: 0 }
    }

    fn probe(&mut self) -> Vec<u8> {
        let packet = self.request.probe(sending_of(self.next)).to_vec();
        self.next += 1;
        packet
    }

    /// The reflector will see it.
    fn remember(&mut self, packet: &[u8]) {
        if self.sent.len() == 64 {
            self.sent.pop_front();
        }
        self.sent.push_back(packet.to_vec());
    }
}

fn sending_of(sequence: u64) -> Sending {
    Sending { sequence, sent: sequence, t1: at(5), error: one_second() }
}

/// A packet, where it comes from, and what is to become of it.
struct Thrown {
    packet: Vec<u8>,
    flow: Flow,
    refusal: Option<Refusal>,
    /// Whose session it belongs to, if it is one that the ledger follows.
    sender: Option<usize>,
}

struct Storm<'a> {
    lot: Lot,
    keys: &'a Keys,
    senders: Vec<Sender>,
    /// An authenticated packet, by a key that is not ours.
    other: Vec<u8>,
}

impl Storm<'_> {
    fn throw(&mut self) -> Thrown {
        let place = self.lot.below(self.senders.len());
        let flow = self.senders[place].flow;
        let stranger = Flow { peer: udp("198.51.100.9", 4000), ..flow };
        let layout = self.keys.layout();
        let is_authenticated = self.keys.packet.is_some();
        let of_length = |len: usize| match len {
            0..14 => Some(Refusal::TooShort),
            14..112 if is_authenticated => Some(Refusal::Plain),
            14..41 => Some(Refusal::ShorterThanReply),
            _ => None,
        };
        let thrown = |packet, refusal| Thrown { packet, flow, refusal, sender: Some(place) };
        let by_a_stranger = |packet, refusal| Thrown { packet, flow: stranger, refusal, sender: None };
        let Self { lot, senders, other, .. } = self;
        let sender = &mut senders[place];
        let mut packet = sender.probe();
        match lot.below(9) {
            // One that was there before.
            0 if !sender.sent.is_empty() => {
                let which = lot.below(sender.sent.len());
                thrown(sender.sent[which].clone(), is_authenticated.then_some(Refusal::Replayed))
            }
            // Cut.
            1 => {
                packet.truncate(lot.below(packet.len()));
                let refusal = of_length(packet.len());
                if refusal.is_none() {
                    sender.remember(&packet);
                }
                thrown(packet, refusal)
            }
            // One bit of the fixed part is another.
            2 => {
                let bit = lot.below(layout.len * 8);
                packet[bit / 8] ^= 1 << (bit % 8);
                let is_corrupt = packet[layout.error + 1] == 0;
                let refusal =
                    if is_authenticated { Some(Refusal::Forged) } else { is_corrupt.then_some(Refusal::Corrupt) };
                by_a_stranger(packet, refusal)
            }
            // The TLVs are noise from some octet on.
            3 => {
                let from = layout.len + lot.below(packet.len() - layout.len + 1);
                let noise = lot.bytes(packet.len() - from);
                packet[from..].copy_from_slice(&noise);
                by_a_stranger(packet, None)
            }
            // All of it is.
            4 => {
                let len = lot.below(300);
                let packet = lot.bytes(len);
                let refusal = of_length(len).or_else(|| match is_authenticated {
                    true => Some(Refusal::Forged),
                    false => (packet[13] == 0).then_some(Refusal::Corrupt),
                });
                by_a_stranger(packet, refusal)
            }
            // A reply comes back.
            5 if sender.reply.is_some() => {
                thrown(sender.reply.clone().unwrap_or_default(), Some(Refusal::LooksLikeReply))
            }
            // From a group.
            6 => {
                let addr = ["224.0.0.5", "255.255.255.255", "ff02::1", "0.0.0.0"][lot.below(4)];
                let flow = Flow { peer: udp(addr, 9), ..flow };
                Thrown { packet, flow, refusal: Some(Refusal::NotUnicast), sender: None }
            }
            // By another key. To a plain reflector its error estimate is where zeros are.
            7 => by_a_stranger(other.clone(), Some(if is_authenticated { Refusal::Forged } else { Refusal::Corrupt })),
            _ => {
                sender.remember(&packet);
                thrown(packet, None)
            }
        }
    }
}

/// What was sent and received, by another account than the reflector's.
#[derive(Default)]
struct Ledger {
    refused: HashMap<&'static str, u64>,
    answered: u64,
    octets_in: usize,
    octets_out: usize,
}

/// Throws so many packets at a reflector.
fn storm(packets: usize, keys: &Keys, setup: &Setup, config: Config, seed: u64) -> Ledger {
    let is_stateful = config.is_stateful;
    let mut reflector = Reflector::new(config);
    let senders = (0..8).map(|place| Sender::new(place, setup)).collect();
    let other = bare(Keys::authenticated(Key::new(b"another").unwrap()));
    let other = Request::new(&other).probe(sending_of(0)).to_vec();
    let mut storm = Storm { lot: Lot(seed), keys, senders, other };
    let mut ledger = Ledger::default();
    let mut arrival = arrival();
    for _ in 0..packets {
        let thrown = storm.throw();
        arrival.flow = thrown.flow;
        arrival.at += Duration::from_micros(1);
        ledger.octets_in += thrown.packet.len();
        let result = answer(&mut reflector, &thrown.packet, &arrival);
        assert_eq!(result.as_ref().err().copied(), thrown.refusal, "{:02x?}", thrown.packet);
        let (reply, id) = match result {
            Ok(answered) => answered,
            Err(why) => {
                *ledger.refused.entry(why.name()).or_default() += 1;
                continue;
            }
        };
        ledger.answered += 1;
        ledger.octets_out += reply.len();
        assert_eq!(reply.len(), thrown.packet.len(), "not one octet more, nor less");
        let copied = u32::from_be_bytes(thrown.packet[..4].try_into().unwrap());
        let mut number = (!is_stateful).then_some(copied);
        if let Some(sender) = thrown.sender.map(|place| &mut storm.senders[place]) {
            number = number.or(Some(sender.replies));
            sender.replies += 1;
            sender.reply = Some(reply.clone());
        }
        look_at(&reply, &thrown.packet, keys, number);
        if let Some(id) = id {
            reflector.stamped(id, Stamps { software: Some(at(T3 + 1)), ..Stamps::NONE });
        }
    }
    let tally = reflector.tally();
    assert_eq!(tally.answered, ledger.answered);
    for why in Refusal::ALL {
        assert_eq!(tally.refused(why), ledger.refused.get(why.name()).copied().unwrap_or(0), "{why:?}");
    }
    assert_eq!(ledger.answered + ledger.refused.values().sum::<u64>(), u64::try_from(packets).unwrap());
    assert!(reflector.sessions() <= 1024);
    ledger
}

/// Every octet of a reply is where it has to be, and says what is true.
fn look_at(reply: &[u8], request: &[u8], keys: &Keys, sequence: Option<u32>) {
    let layout = keys.layout();
    // A reply to what is shorter than the fixed part, as TWAMP's is, ends as early.
    let read = Reflected::read(reply, keys, TimeFormat::Ntp, at(0)).unwrap();
    let field = |at: usize, len: usize| &request[at..at + len];
    if let Some(sequence) = sequence {
        assert_eq!(read.sequence, sequence);
    }
    assert_eq!((read.t2, read.t3), (Some(at(T2)), Some(at(T3))));
    assert_eq!((read.error, read.sender_ttl), (one_second(), 61));
    assert_eq!(read.sender_sequence.to_be_bytes(), field(layout.sequence, 4));
    assert_eq!(read.sender_timestamp.to_be_bytes(), field(layout.timestamp, 8));
    assert_eq!(read.ssid.to_be_bytes(), field(layout.ssid, 2));
    assert_eq!(&reply[layout.sender_error..layout.sender_error + 2], field(layout.error, 2));
    let is_used = |octet: usize| {
        let within = |at: usize, len: usize| (at..at + len).contains(&octet);
        within(layout.sequence, 4)
            || within(layout.timestamp, 12)
            || within(layout.receive, 8)
            || within(layout.sender_sequence, 4)
            || within(layout.sender_timestamp, 10)
            || octet == layout.sender_ttl
            || layout.code.is_some_and(|code| octet >= code)
    };
    let fixed = reply.iter().take(layout.len).enumerate();
    assert!(fixed.into_iter().all(|(at, &byte)| byte == 0 || is_used(at)), "{reply:02x?}");
    if let Some(told) = read.tlvs.told {
        assert!(told.records.filter(|record| record.point == Point::Arrival).count() == 1);
    }
}

fn brief(keys: &Keys) -> Setup {
    Setup { len: 0, room: Some(room_for(1, false)), ..full(keys.clone()) }
}

#[test]
fn a_million_packets() {
    let [plain, authenticated, tlvs] = [Keys::NONE, Keys::authenticated(key()), Keys::of_tlvs(key())];
    let stateless = Config { is_stateful: false, ..Config::default() };
    let storms = [
        (500_000, &plain, bare(plain.clone()), Config::default(), 1),
        (240_000, &plain, brief(&plain), Config::default(), 2),
        (100_000, &plain, brief(&plain), stateless, 3),
        (100_000, &authenticated, brief(&authenticated), config(authenticated.clone()), 4),
        (60_000, &tlvs, brief(&tlvs), config(tlvs.clone()), 5),
    ];
    let ledgers = thread::scope(|scope| {
        let storms = storms.map(|(packets, keys, setup, config, seed)| {
            scope.spawn(move || storm(packets, keys, &setup, config, seed))
        });
        storms.map(|storm| storm.join().unwrap())
    });
    let mut refused: HashMap<_, u64> = HashMap::new();
    for ledger in ledgers {
        assert!(ledger.octets_out <= ledger.octets_in);
        for (why, count) in ledger.refused {
            *refused.entry(why).or_default() += count;
        }
    }
    // None of what is to be tested was missing; lists and rates have tests of their own.
    let kinds = Refusal::ALL.into_iter().filter(|why| !matches!(why, Refusal::NotAllowed | Refusal::TooMany));
    for why in kinds {
        assert!(refused.get(why.name()).is_some_and(|&count| count > 1_000), "{why:?}: {refused:?}");
    }
}

/// From more addresses than there is room for: what is kept stays bounded, and what is counted adds up.
#[test]
fn from_everywhere() {
    let rate = Some(Rate { per_second: 1, burst: 1 });
    for rate in [None, rate] {
        let mut reflector = Reflector::new(Config { rate, ..Config::default() });
        let mut request = Request::new(&bare(Keys::NONE));
        let packet = request.probe(sending_of(0)).to_vec();
        let mut arrival = arrival();
        let total = 20_000_u32;
        for host in 0..total {
            let addr = std::net::Ipv4Addr::from(0x0a00_0000 + host);
            arrival.flow.peer = Peer::Udp { addr: addr.into(), port: 7 };
            assert!(answer(&mut reflector, &packet, &arrival).is_ok());
        }
        assert_eq!(reflector.sessions(), 1024);
        assert_eq!((reflector.tally().answered, reflector.tally().forgotten), (total.into(), u64::from(total) - 1024));
    }
}
