//! Inputs to begin with: what afprobe itself sends.

use std::time::Instant;

use fast_afpacket::MacAddr;

use crate::reflector::{Arrival, Config, Flow, Peer, Reflector};
use crate::two_way::stamps::{Header, Stamps};
use crate::wire::Wire;
use crate::wire::ptp::Carrier;
use crate::wire::stamp::afprobe::room_for;
use crate::wire::stamp::request::{Request, Sending, Setup};
use crate::wire::stamp::time::TimeFormat;
use crate::{at, keys, one_second};

/// Of each target: its name, and an input.
pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
    let mut seeds = Vec::new();
    for wire in [Wire::Seed, Wire::Ptp, Wire::PtpUdp] {
        let mut payload = wire.payload(mac, false);
        wire.set_id(&mut payload, 7);
        seeds.push(("probe_frame", udp(&payload)));
        seeds.push(("probe_frame", [&[4; 6][..], &mac.octets(), &[0x88, 0xf7], &payload].concat()));
    }
    for choice in 0..3 {
        for is_full in [false, true] {
            let (requests, replies) = exchange(choice, is_full);
            let mut steps = vec![choice];
            for request in &requests {
                let len = u16::try_from(request.len()).unwrap().to_be_bytes();
                steps.extend([&[0x03][..], &len, request].concat());
            }
            seeds.push(("stamp_requests", steps));
            for reply in replies {
                seeds.push(("stamp_reply", [&[choice][..], &reply].concat()));
            }
            let mut carrier = Carrier::new(mac);
            let message = carrier.carry(requests.first().unwrap()).unwrap();
            seeds.push(("probe_frame", udp(message)));
        }
    }
    seeds
}

/// Three probes and a question, and the replies to them.
fn exchange(choice: u8, is_full: bool) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let keys = keys(choice);
    let mut request = Request::new(&Setup {
        keys: keys.clone(),
        format: TimeFormat::Ntp,
        ssid: 0x1234,
        len: 0,
        timestamp_information: is_full,
        class_of_service: is_full.then_some(46),
        direct_measurement: is_full,
        follow_up_telemetry: is_full,
        room: is_full.then(|| room_for(2, false)),
    });
    let mut reflector = Reflector::new(Config { keys, ..Config::default() });
    let peer = |last: u8, port: u16| Peer::Udp { addr: [192, 0, 2, last].into(), port };
    let arrival = Arrival {
        flow: Flow { peer: peer(1, 50_000), local: peer(2, 862) },
        header: Header { ttl: Some(64), dscp: Some(0), ecn: Some(0) },
        stamps: Stamps { userspace: Some(at(1_500)), software: Some(at(1_000)), ..Stamps::NONE },
        at: Instant::now(),
    };
    let (mut requests, mut replies) = (Vec::new(), Vec::new());
    for sequence in 0..4 {
        let sending = Sending { sequence, sent: sequence + 1, t1: at(0), error: one_second() };
        let packet = if sequence < 3 { request.probe(sending) } else { request.question(sending) }.to_vec();
        let mut reply = reflector.answer(&packet, &arrival).unwrap();
        let id = reply.id;
        replies.push(reply.finish(at(2_000), one_second()).to_vec());
        requests.push(packet);
        if let Some(id) = id {
            reflector.stamped(id, Stamps { software: Some(at(2_500)), ..Stamps::NONE });
        }
    }
    (requests, replies)
}

/// A frame with this in a datagram without a checksum.
fn udp(payload: &[u8]) -> Vec<u8> {
    let len = |len: usize| u16::try_from(len).unwrap().to_be_bytes();
    let mut ip =
        [&[0x45, 0][..], &len(28 + payload.len()), &[0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]].concat();
    let sum: u32 = ip.as_chunks::<2>().0.iter().map(|&word| u32::from(u16::from_be_bytes(word))).sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let head = [&[0xea, 0x60, 0xee, 0x48][..], &len(8 + payload.len()), &[0, 0]].concat();
    [&[4; 6][..], &[2, 0, 0, 0, 0, 1], &[8, 0], &ip, &head, payload].concat()
}
