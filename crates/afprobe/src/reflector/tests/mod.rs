//! The reflector without sockets, packet by packet, and then a million of them.

mod answers;
mod interop;
mod refusals;
mod sessions;
mod stamps;
mod storm;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Arrival, Config, Flow, Peer, Reflector, Refusal, ReplyId};
use crate::two_way::stamps::{Header, Stamps};
use crate::wire::stamp::PORT;
use crate::wire::stamp::integrity::Keys;
use crate::wire::stamp::reflected::Reflected;
use crate::wire::stamp::request::{Request, Setup};
use crate::wire::stamp::tests::{at, one_second, sending};
use crate::wire::stamp::time::TimeFormat;

/// When a request arrives, by the kernel's stamp and by user space's, and its reply leaves: in nanoseconds of [`at`].
const T2: i64 = 625_000_000;
const T3: i64 = 750_000_000;

fn udp(addr: &str, port: u16) -> Peer {
    Peer::Udp { addr: addr.parse::<IpAddr>().unwrap(), port }
}

fn flow() -> Flow {
    Flow { peer: udp("192.0.2.1", 50_000), local: udp("192.0.2.2", PORT) }
}

fn arrival() -> Arrival {
    Arrival {
        flow: flow(),
        header: Header { ttl: Some(61), dscp: Some(10), ecn: Some(2) },
        stamps: Stamps { userspace: Some(at(T2 + 5_000)), software: Some(at(T2)), ..Stamps::NONE },
        at: Instant::now(),
    }
}

fn config(keys: Keys) -> Config {
    Config { keys, ..Config::default() }
}

/// The packet that leaves, and the number by which its stamps are told.
fn answer(reflector: &mut Reflector, request: &[u8], arrival: &Arrival) -> Result<(Vec<u8>, Option<ReplyId>), Refusal> {
    let mut reply = reflector.answer(request, arrival)?;
    let id = reply.id;
    let packet = reply.finish(at(T3), one_second()).to_vec();
    Ok((packet, id))
}

fn read<'a>(packet: &'a [u8], keys: &Keys) -> Reflected<'a> {
    Reflected::read(packet, keys, TimeFormat::Ntp, at(0)).unwrap()
}

/// A sender and its reflector.
struct Pair {
    request: Request,
    reflector: Reflector,
    arrival: Arrival,
}

impl Pair {
    fn new(setup: &Setup, config: Config) -> Self {
        Self { request: Request::new(setup), reflector: Reflector::new(config), arrival: arrival() }
    }

    fn probe(&mut self, sequence: u64) -> (Vec<u8>, Option<ReplyId>) {
        let request = self.request.probe(sending(sequence)).to_vec();
        let (packet, id) = answer(&mut self.reflector, &request, &self.arrival).unwrap();
        assert_eq!(packet.len(), request.len());
        (packet, id)
    }

    fn question(&mut self, sequence: u64) -> Vec<u8> {
        let request = self.request.question(sending(sequence)).to_vec();
        let (packet, id) = answer(&mut self.reflector, &request, &self.arrival).unwrap();
        assert!(id.is_none() && packet.len() == request.len());
        packet
    }

    fn wait(&mut self, time: Duration) {
        self.arrival.at += time;
    }
}
