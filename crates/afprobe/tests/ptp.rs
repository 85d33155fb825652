//! What `afprobe run --wire ptp` and `--wire ptp-udp` put on the wire, and which PTP messages they take for probes.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that finds something else than it expects shall panic"
)]

mod common;

use std::process::Command;

use common::capture::{TCPDUMP, checksum, frames_in, octets, tshark};
use common::process::Process;
use common::{Host, Log, afprobe, number, two_hosts, with_privileges};
use fast_afpacket::{Interface, PacketSocket};

/// Probes that each host sends at least.
const PROBES: usize = 20;
const TOOLS: [&str; 3] = ["ip", "tcpdump", "tshark"];
const ETHER_TYPE: [u8; 2] = [0x88, 0xf7];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    Ethernet,
    Ipv4,
    Ipv6,
}

impl Carrier {
    fn flags(self) -> &'static str {
        if self == Self::Ethernet { "--wire ptp" } else { "--wire ptp-udp" }
    }
}

#[test]
fn over_ethernet() {
    with_privileges("over_ethernet", &TOOLS, || capture(Carrier::Ethernet));
}

#[test]
fn over_udp() {
    with_privileges("over_udp", &TOOLS, || capture(Carrier::Ipv4));
}

#[test]
fn over_udp_and_ipv6() {
    with_privileges("over_udp_and_ipv6", &TOOLS, || capture(Carrier::Ipv6));
}

fn capture(carrier: Carrier) {
    let ipv6 = carrier == Carrier::Ipv6;
    let [near, far] = &two_hosts();
    let mut tcpdump = far.spawn(Command::new("tcpdump").args(TCPDUMP));
    tcpdump.wait_until("listening", |tcpdump| tcpdump.stderr().contains("listening on eth1"));
    let first = near.probe(far.address(ipv6), carrier.flags());
    let second = far.probe(near.address(ipv6), carrier.flags());
    let seen = |tcpdump: &Process, host: &Host| {
        frames_in(&tcpdump.stdout()).into_iter().filter(|frame| is_probe_of(host, carrier, frame)).count()
    };
    tcpdump.wait_until("the probes", |tcpdump| [near, far].iter().all(|host| seen(tcpdump, host) >= PROBES));
    for (prober, host) in [(first, near), (second, far)] {
        let ended = prober.interrupt();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        let log = Log::read(&ended.stdout);
        let summary = log.summary(host.name);
        assert!(number(summary, "received") > 0, "{summary}");
        for key in ["lost", "duplicates", "foreign", "missing", "refused"] {
            assert_eq!(number(summary, key), 0, "{summary}");
        }
    }
    let capture = tcpdump.interrupt_for_bytes();
    let frames = frames_in(&capture);
    // While both hosts probe neither kernel complains; of UDP, while nobody listens, it would.
    let both_from = frames.iter().position(|frame| is_probe_of(far, carrier, frame)).unwrap();
    let both_until = frames.iter().rposition(|frame| is_probe_of(near, carrier, frame)).unwrap();
    let complains = |frames: &[&[u8]]| frames.iter().any(|frame| is_complaint(frame));
    assert_eq!(complains(&frames[..both_from]), carrier != Carrier::Ethernet, "before the second host");
    assert!(!complains(&frames[both_from..=both_until]));
    let mut probes = 0;
    for (src, dst) in [(near, far), (far, near)] {
        let sent: Vec<_> = frames.iter().filter(|frame| is_probe_of(src, carrier, frame)).collect();
        for (id, frame) in (1..).zip(&sent) {
            assert_eq!(**frame, expected(src, dst, carrier, id), "probe {id} of {}", src.name);
        }
        check_sequence_ids(&capture, src, sent.len());
        probes += sent.len();
    }
    let matching = |filter: &str| tshark(&capture, &format!("({filter}) && !icmp && !icmpv6"), &[]).len();
    assert_eq!(matching("ptp && (_ws.malformed || _ws.expert)"), 0);
    let message = "ptp.v2.messagetype == 0 && ptp.v2.versionptp == 2 && ptp.v2.messagelength == 64 && \
                   ptp.v2.domainnumber == 97 && ptp.v2.flags == 0x0600 && ptp.v2.correction.ns == 0";
    assert_eq!(matching(message), probes);
    assert_eq!((matching("udp.checksum.status == 0"), matching("ip.checksum.status == 0")), (0, 0));
    let udp = if carrier == Carrier::Ethernet { 0 } else { probes };
    assert_eq!(matching("udp.checksum.status == 1 && udp.srcport == 319 && udp.dstport == 319"), udp);
}

/// As another dissector reads them: 1, 2, and so on.
fn check_sequence_ids(capture: &[u8], src: &Host, count: usize) {
    let filter = format!("ptp && eth.src == {} && !icmp && !icmpv6", src.mac_text());
    let fields = ["-T", "fields", "-e", "ptp.v2.sequenceid"];
    let ids: Vec<usize> = tshark(capture, &filter, &fields).iter().map(|id| id.parse().unwrap()).collect();
    assert!(ids.iter().copied().eq(1..=count), "{ids:?}");
}

fn is_probe_of(host: &Host, carrier: Carrier, frame: &[u8]) -> bool {
    let is_ptp = match carrier {
        Carrier::Ethernet => frame[12..14] == ETHER_TYPE,
        Carrier::Ipv4 => (&frame[12..14], frame[23]) == (&[0x08, 0x00], 17),
        Carrier::Ipv6 => (&frame[12..14], frame[20]) == (&[0x86, 0xdd], 17),
    };
    is_ptp && frame[6..12] == host.mac
}

/// Whether a frame is an ICMP message, or an ICMPv6 error.
fn is_complaint(frame: &[u8]) -> bool {
    match &frame[12..14] {
        [0x08, 0x00] => frame[23] == 1,
        [0x86, 0xdd] => frame[20] == 58 && frame[54] < 128,
        _ => false,
    }
}

/// The Sync message of a probe, after IEEE 1588.
fn message(src: &Host, id: u64) -> Vec<u8> {
    let [a, b, c, d, e, f] = src.mac;
    [
        &[0x00, 0x02, 0, 64, 97, 0, 0x06, 0x00][..],
        &[0; 12],
        &[a, b, c, 0xff, 0xfe, d, e, f, 0xaf, 0x00],
        &id.to_be_bytes()[6..],
        &[0x00, 0x7f],
        &[0; 10],
        &[0x20, 0x11, 0, 16, 0x93, 0x72, 0xe7, 0x59, 0xc7, 0xb5, 0xaa, 0x73],
        &id.to_le_bytes(),
    ]
    .concat()
}

fn expected(src: &Host, dst: &Host, carrier: Carrier, id: u64) -> Vec<u8> {
    let mut message = message(src, id);
    if carrier == Carrier::Ethernet {
        return [&dst.mac[..], &src.mac, &ETHER_TYPE, &message].concat();
    }
    let ipv6 = carrier == Carrier::Ipv6;
    if ipv6 {
        message.extend([0, 0]);
    }
    let len = u8::try_from(8 + message.len()).unwrap();
    let mut udp = [&319_u16.to_be_bytes()[..], &319_u16.to_be_bytes(), &[0, len, 0, 0], &message].concat();
    let addresses = [octets(src.address(ipv6)), octets(dst.address(ipv6))].concat();
    let sum = match checksum(&[&addresses[..], &[0, 17, 0, len], &udp].concat()) {
        0 => 0xffff,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    let (ether_type, ip) = if ipv6 {
        ([0x86, 0xdd], [&[0x60, 0, 0, 0, 0, len, 17, 64], &addresses[..]].concat())
    } else {
        let mut ip = [&[0x45, 0, 0, 20 + len, 0, 0, 0, 0, 64, 17, 0, 0], &addresses[..]].concat();
        let sum = checksum(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        ([0x08, 0x00], ip)
    };
    [&dst.mac[..], &src.mac, &ether_type, &ip, &udp].concat()
}

#[test]
fn other_messages_over_ethernet() {
    with_privileges("other_messages_over_ethernet", &["ip"], || {
        let [near, far] = &two_hosts();
        let mut prober = near.probe(far.ipv4, "--wire ptp");
        let socket = far.inside(|| PacketSocket::bind(&Interface::by_name("eth1").unwrap()).unwrap());
        let send = |to: [u8; 6], message: &[u8]| {
            socket.send(&[&to[..], &far.mac, &ETHER_TYPE, message].concat()).unwrap();
        };
        let changed = |at: usize, value: u8| {
            let mut message = message(far, 9);
            message[at] = value;
            message
        };
        // Nobody's: of a PTP daemon's domain, to all PTP daemons, to another host.
        send(near.mac, &changed(4, 0));
        send([0x01, 0x1b, 0x19, 0, 0, 0], &message(far, 9));
        send([0x02, 0, 0, 0, 0, 0x77], &message(far, 9));
        // Foreign: Delay_Req, without the TLV, with another TLV, with another probe's prefix.
        for other in [changed(0, 1), message(far, 9)[..44].to_vec(), changed(45, 0x23), changed(48, 0)] {
            send(near.mac, &other);
        }
        // With the correction of a transparent clock, and padding.
        send(near.mac, &[&changed(11, 0x80)[..], &[0xee; 20]].concat());
        send(near.mac, &message(far, u64::MAX));
        expect(&mut prober, near, &[9, u64::MAX], 4);
    });
}

#[test]
fn other_messages_over_udp() {
    with_privileges("other_messages_over_udp", &["ip"], || {
        for ipv6 in [false, true] {
            let [near, far] = &two_hosts();
            let mut prober = near.probe(far.address(ipv6), "--wire ptp-udp");
            let to = (near.address(ipv6), 319);
            let socket = far.udp(far.address(ipv6), 319);
            // A PTP daemon's, and one of general PTP's port.
            let daemons = [&[0x00, 0x02, 0, 44, 0, 0, 0x02, 0x00][..], &[0; 36]].concat();
            socket.send_to(&daemons, to).unwrap();
            far.udp(far.address(ipv6), 320).send_to(&message(far, 8), to).unwrap();
            // With and without what IPv6 has behind a message.
            socket.send_to(&message(far, 9), to).unwrap();
            socket.send_to(&[&message(far, u64::MAX)[..], &[0, 0]].concat(), to).unwrap();
            expect(&mut prober, near, &[9, u64::MAX], 1);
        }
    });
}

/// These probes, the last of which is `u64::MAX`, and so many foreign messages.
fn expect(prober: &mut Process, host: &Host, probes: &[u64], foreign: i64) {
    let received = |prober: &Process| prober.log().probes("rx", host.name);
    prober.wait_until("the last probe", |prober| received(prober).contains(&u64::MAX));
    prober.wait_until("the foreign messages", |prober| {
        prober.log().of("stats", host.name).into_iter().any(|stats| number(stats, "foreign") >= foreign)
    });
    let log = prober.log();
    let stats = *log.of("stats", host.name).last().unwrap();
    let frames = i64::try_from(probes.len()).unwrap() + foreign;
    assert_eq!((number(stats, "foreign"), number(stats, "packets")), (foreign, frames), "{stats}");
    let mut ids = received(prober);
    // Frames that two processors send may overtake each other.
    ids.sort_unstable();
    assert_eq!(ids, probes);
}

/// A PTP daemon has the port, of all addresses, and keeps it: what comes there is still its own.
#[test]
fn a_ptp_daemon_keeps_its_port() {
    with_privileges("a_ptp_daemon_keeps_its_port", &["ip"], || {
        let [near, far] = &two_hosts();
        let daemon = near.udp([0, 0, 0, 0].into(), 319);
        let mut prober = near.probe(far.ipv4, "--wire ptp-udp");
        far.udp(far.ipv4, 319).send_to(&message(far, 3), (near.ipv4, 319)).unwrap();
        prober.wait_until("a probe", |prober| prober.log().probes("rx", near.name) == [3]);
        let mut buf = [0; 128];
        let (len, _) = daemon.recv_from(&mut buf).unwrap();
        assert_eq!(buf[..len], message(far, 3));
    });
}

#[test]
fn the_port_needs_a_right() {
    with_privileges("the_port_needs_a_right", &["ip", "setpriv"], || {
        let [near, far] = &two_hosts();
        let run = |wire: &str| {
            let without = "--bounding-set=-net_bind_service --inh-caps=-net_bind_service --";
            let line =
                format!("{without} {} run --dst-addr {} --count 1 {wire}", env!("CARGO_BIN_EXE_afprobe"), far.ipv4);
            near.run(Command::new("setpriv").args(line.split_whitespace()))
        };
        let ended = run("--wire ptp-udp");
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(2), 1), "{}", ended.stderr);
        assert!(ended.stderr.contains("192.168.56.101:319 without CAP_NET_BIND_SERVICE"), "{}", ended.stderr);
        assert_eq!(run("--wire ptp").code, Some(0), "without a port none is needed");
    });
}

#[test]
fn ethernet_does_not_cross_a_router() {
    with_privileges("ethernet_does_not_cross_a_router", &["ip"], || {
        let [near, far] = &two_hosts();
        near.ip(&format!("route add 203.0.113.0/24 via {}", far.ipv4));
        let ended = near.run(&mut afprobe("run --dst-addr 203.0.113.9 --wire ptp"));
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(2), 1), "{}", ended.stderr);
        for named in ["203.0.113.9", "192.168.56.102", "--wire ptp-udp"] {
            assert!(ended.stderr.contains(named), "{}", ended.stderr);
        }
        // UDP does, and where a frame goes is nobody's business but the user's.
        for wire in ["--wire ptp-udp".to_owned(), format!("--wire ptp --dst-mac {}", far.mac_text())] {
            let line = format!("run --dst-addr 203.0.113.9 --count 1 --linger 10ms {wire}");
            let ended = near.run(&mut afprobe(&line));
            assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{wire}");
        }
    });
}
