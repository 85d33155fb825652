//! A relay on the way between two hosts, which is the truth that a measurement is held against: it loses, delays, doubles and
//! reorders probes and replies as it is told to, and keeps a ledger of what it really did.
//!
//! It has a network namespace of its own, with the far ends of both hosts' cables. Two threads carry frames, one each way.

mod carry;
mod depart;
pub(crate) mod ledger;
mod packet;
pub(crate) mod plan;

use std::thread::{self, JoinHandle};

use fast_afpacket::{ByFrame, Filter, Interface, PacketSocket, RingControl, RingShape, RxRing, Timestamping};

use super::{Host, configure, notice_carrier};
use carry::Carrier;
use ledger::Ledger;
use plan::{Plan, Way};

/// Kernel memory for what the hosts send meanwhile: 16,384 frames. A ring has it where `net.core.rmem_max` allows nobody else so
/// much.
const RING: RingShape<ByFrame> = RingShape::latency().blocks(512);
/// For TX stamps that wait to be read.
const STAMPS: usize = 4 << 20;

/// Two hosts, and between them the host of the relay.
pub(crate) struct Stretch {
    pub(crate) hosts: [Host; 2],
    middle: Host,
}

impl Stretch {
    /// Two hosts as [`two_hosts`](super::two_hosts) makes them, whose cables end at the relay's host.
    pub(crate) fn new() -> Self {
        let hosts = [Host::new("fast-afpacket-101", 1), Host::new("fast-afpacket-102", 2)];
        let middle = Host::new("relay", 9);
        for (host, end) in hosts.iter().zip(Way::ENDS) {
            let (mac, peer) = (host.mac_text(), middle.namespace_path());
            host.ip(&format!("link add eth1 address {mac} type veth peer name {end} netns {peer}"));
            configure(host);
            // Nothing of its own shall be on the cables.
            middle.ip(&format!("link set {end} addrgenmode none"));
            middle.ip(&format!("link set {end} up"));
        }
        notice_carrier(&hosts);
        for end in Way::ENDS {
            middle.ip(&format!("link show {end}"));
        }
        Self { hosts, middle }
    }

    /// Whether sockets have as much room as they ask for, so that a program may be kept from running for a while.
    pub(crate) fn has_room(&self) -> bool {
        self.middle.inside(|| open_sender(Way::Forward.to()).granted().receive_buffer) >= STAMPS
    }

    /// Begins to relay. Until then the hosts cannot reach each other.
    pub(crate) fn relay(&self, plan: &Plan) -> Relay {
        Relay { ways: [Way::Forward, Way::Backward].map(|way| Carriage::start(&self.middle, way, plan.clone())) }
    }
}

/// A relay at work.
pub(crate) struct Relay {
    ways: [Carriage; 2],
}

impl Relay {
    /// Ends it, and gives the ledgers of both ways.
    pub(crate) fn end(self) -> [Ledger; 2] {
        self.ways.map(Carriage::end)
    }
}

/// One way of it, on a thread.
struct Carriage {
    control: RingControl,
    thread: JoinHandle<Ledger>,
}

impl Carriage {
    fn start(middle: &Host, way: Way, plan: Plan) -> Self {
        let (from, to) = middle.inside(|| (open_ring(way.from()), open_sender(way.to())));
        let control = from.control();
        let carry = move || Carrier::new(way, &plan, &to).carry(from);
        Self { control, thread: thread::spawn(carry) }
    }

    fn end(self) -> Ledger {
        let dropped = self.control.stats().unwrap().dropped;
        self.control.close();
        let ledger = self.thread.join().unwrap();
        assert_eq!(dropped, 0, "the relay was too slow: its own ring has lost frames, and its ledger is not the truth");
        ledger
    }
}

fn open_ring(end: &str) -> RxRing<ByFrame> {
    PacketSocket::options().ignore_outgoing(true).rx_ring(&Interface::by_name(end).unwrap(), RING).unwrap()
}

/// A socket that only sends.
fn open_sender(end: &str) -> PacketSocket {
    let stamps = Timestamping::TX_SOFTWARE;
    let options = PacketSocket::options().filter(&Filter::nothing()).timestamping(stamps).receive_buffer(STAMPS);
    options.bind(&Interface::by_name(end).unwrap()).unwrap()
}
