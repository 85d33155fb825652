//! A relay on the cable between two hosts: it loses, delays, duplicates and reorders probes by plan, and keeps a ledger of
//! what it did. Two threads, one for each way.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fast_afpacket::{Interface, PacketSocket, SystemStamp};

use super::{Host, configure, notice_carrier};

/// The UDP port of a reflector.
const PORT: u16 = 862;

const BUFFER: usize = 8 << 20;

/// What happens to a probe or a reply on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Pass,
    Lose,
    Duplicate,
    /// It is sent right after the next one.
    LetPass,
    Delay(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Forward,
    Backward,
}

/// What is done on which way to the probe of which number. A reply has the number of its probe.
pub(crate) type Plan = Arc<dyn Fn(Way, u32) -> Deed + Send + Sync>;

/// What was done on one way. Packets are named by their own numbers: of a reply it is the reflector's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// As they came.
    pub(crate) received: Vec<u32>,
    /// As they were sent on.
    pub(crate) sent: Vec<u32>,
    /// From the kernel's stamp until right before the send, of each that was sent on.
    pub(crate) held: Vec<Duration>,
    /// Frames that the relay had no room for. Then nothing of this is the whole truth.
    pub(crate) dropped: u64,
}

/// A relay at work. Its threads end with it.
pub(crate) struct Relay {
    sockets: [Arc<PacketSocket>; 2],
    ways: [JoinHandle<Ledger>; 2],
}

/// Two hosts, and between them the host of the relay.
pub(crate) struct Stretch {
    pub(crate) hosts: [Host; 2],
    middle: Host,
}

/// Two hosts as [`two_hosts`](super::two_hosts) makes them, whose cables end at the relay's host.
pub(crate) fn two_hosts_apart() -> Stretch {
    let hosts = [Host::new("fast-afpacket-101", 1), Host::new("fast-afpacket-102", 2)];
    let middle = Host::new("relay", 9);
    for (host, end) in hosts.iter().zip(["near", "far"]) {
        let (mac, peer) = (host.mac_text(), middle.namespace_path());
        host.ip(&format!("link add eth1 address {mac} type veth peer name {end} netns {peer}"));
        configure(host);
        // Nothing of its own shall be on the cables.
        middle.ip(&format!("link set {end} addrgenmode none"));
        middle.ip(&format!("link set {end} up"));
    }
    notice_carrier(&hosts);
    for end in ["near", "far"] {
        middle.ip(&format!("link show {end}"));
    }
    Stretch { hosts, middle }
}

impl Stretch {
    /// Whether sockets have as much room as they ask for.
    pub(crate) fn has_room(&self) -> bool {
        self.open("near").granted().receive_buffer >= BUFFER
    }

    fn open(&self, end: &'static str) -> Arc<PacketSocket> {
        let bind = || {
            let options = PacketSocket::options().ignore_outgoing(true).receive_buffer(BUFFER);
            options.bind(&Interface::by_name(end).unwrap()).unwrap()
        };
        Arc::new(self.middle.inside(bind))
    }

    /// Begins to relay. Until then the hosts cannot reach each other.
    pub(crate) fn relay(&self, plan: &Plan) -> Relay {
        let sockets = [self.open("near"), self.open("far")];
        let way = |way: Way| {
            let [near, far] = sockets.clone();
            let (from, to) = if way == Way::Forward { (near, far) } else { (far, near) };
            let plan = Arc::clone(plan);
            thread::spawn(move || carry(way, &from, &to, &plan))
        };
        let ways = [way(Way::Forward), way(Way::Backward)];
        Relay { sockets, ways }
    }
}

impl Relay {
    /// Ends it, and gives the ledgers of both ways.
    pub(crate) fn end(self) -> [Ledger; 2] {
        self.sockets.iter().for_each(|socket| socket.close());
        let mut ledgers = self.ways.map(|way| way.join().unwrap());
        for (ledger, socket) in ledgers.iter_mut().zip(&self.sockets) {
            ledger.dropped = socket.stats().unwrap().dropped;
        }
        ledgers
    }
}

/// A frame that waits until it may go on.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Instant,
    order: usize,
    arrived: SystemStamp,
    numbers: Option<Numbers>,
    frame: Vec<u8>,
}

/// The number of a packet, and that of the probe that it is or answers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Numbers {
    own: u32,
    probe: u32,
}

fn carry(way: Way, from: &PacketSocket, to: &PacketSocket, plan: &Plan) -> Ledger {
    /// So much before its time a frame is waited for without sleeping.
    const SPIN: Duration = Duration::from_micros(200);
    let mut ledger = Ledger::default();
    let mut waiting = BinaryHeap::<Reverse<Waiting>>::new();
    let mut let_pass: Option<Waiting> = None;
    let mut buf = vec![0; 65_600];
    for order in 0.. {
        from.set_read_deadline(waiting.peek().and_then(|Reverse(first)| first.due.checked_sub(SPIN)));
        let mut next = match from.recv(&mut buf) {
            Ok(meta) => {
                let arrived = meta.timestamps.software.unwrap_or_else(SystemStamp::now);
                let mut len = meta.len;
                if let Some(tag) = meta.vlan {
                    len = tag.restore(&mut buf, len).unwrap();
                }
                let frame = buf[..len].to_vec();
                Some(Waiting { due: Instant::now(), order, arrived, numbers: numbers_in(way, &frame), frame })
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => None,
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => break,
            Err(error) => panic!("{error}"),
        };
        if let Some(numbers) = next.as_ref().and_then(|next| next.numbers) {
            ledger.received.push(numbers.own);
            match plan(way, numbers.probe) {
                Deed::Pass => {}
                Deed::Lose => next = None,
                Deed::Duplicate => next.iter().for_each(|next| send(to, next, &mut ledger)),
                Deed::LetPass => let_pass = next.take(),
                Deed::Delay(delay) => {
                    waiting.extend(next.take().map(|next| Reverse(Waiting { due: next.due + delay, ..next })));
                }
            }
        }
        if let Some(next) = &next {
            send(to, next, &mut ledger);
            if next.numbers.is_some() {
                let_pass.take().iter().for_each(|passed| send(to, passed, &mut ledger));
            }
        }
        while let Some(Reverse(first)) = waiting.peek().filter(|Reverse(first)| first.due <= Instant::now() + SPIN) {
            while Instant::now() < first.due {
                std::hint::spin_loop();
            }
            send(to, first, &mut ledger);
            waiting.pop();
        }
    }
    assert!(waiting.is_empty() && let_pass.is_none(), "frames were still to be sent");
    ledger
}

fn send(to: &PacketSocket, waiting: &Waiting, ledger: &mut Ledger) {
    let held = SystemStamp::now().nanos_since(waiting.arrived);
    match to.send(&waiting.frame) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionAborted => return,
        Err(error) => panic!("{error}"),
    }
    if let Some(numbers) = waiting.numbers {
        ledger.sent.push(numbers.own);
        ledger.held.push(Duration::from_nanos(held.try_into().unwrap()));
    }
}

/// The numbers in a frame: RFC 8762, sections 4.2.1 and 4.3.1, unauthenticated.
fn numbers_in(way: Way, frame: &[u8]) -> Option<Numbers> {
    let (protocol, udp_at) = match frame.get(12..14)? {
        [0x08, 0x00] => (frame.get(23)?, 34),
        [0x86, 0xdd] => (frame.get(20)?, 54),
        _ => return None,
    };
    let port_at = if way == Way::Forward { udp_at + 2 } else { udp_at };
    if *protocol != 17 || frame.get(port_at..port_at + 2)? != PORT.to_be_bytes() {
        return None;
    }
    let packet = frame.get(udp_at + 8..)?;
    // What only asks has numbers of its own. The TLV that says so is the first, and has five bytes before its flags.
    let tlv = packet.get(48..54)?;
    if tlv.starts_with(b"afpr") && tlv[5] & 0x80 != 0 {
        return None;
    }
    let number = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
    let own = number(0);
    Some(Numbers { own, probe: if way == Way::Forward { own } else { number(24) } })
}
