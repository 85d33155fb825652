//! Tests of the way to another host of which nothing but an address is known, and of what frames ask of the network.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds something else than it expects shall panic"
)]

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use common::capture::{TCPDUMP, frames_in, tshark};
use common::process::Process;
use common::{Host, Log, Routed, afprobe, missing, number, skip, two_hosts, with_privileges};
use fast_afpacket::{EtherType, Filter, Interface, PacketSocket, VlanTag};

/// Starts a prober with these arguments, and waits until it probes.
fn start(host: &Host, arguments: &str) -> Process {
    let line = format!("run --host {} --interval 20ms --format json {arguments}", host.name);
    let mut prober = host.spawn(&mut afprobe(&line));
    prober.wait_until("the first probe", |prober| !prober.log().of("tx", host.name).is_empty());
    prober
}

/// Lets two probers that know each other's addresses exchange probes.
fn probe_each_other(hosts: [&Host; 2], arguments: [&str; 2]) {
    let [mut first, mut second] = [0, 1].map(|end| start(hosts[end], arguments[end]));
    let received = |prober: &Process, host: &Host| prober.log().of("rx", host.name).len();
    first.wait_until("probes of the second", |first| received(first, hosts[0]) >= 10);
    second.wait_until("probes of the first", |second| received(second, hosts[1]) >= 10);
    for (prober, host) in [(first, hosts[0]), (second, hosts[1])] {
        let ended = prober.interrupt();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        let log = Log::read(&ended.stdout);
        let summary = log.summary(host.name);
        let counts = ["lost", "duplicates", "foreign", "refused", "missing"].map(|key| number(summary, key));
        assert_eq!(counts, [0; 5], "{arguments:?}: {summary}");
    }
}

#[test]
fn a_link_local_address_names_its_link() {
    with_privileges("a_link_local_address_names_its_link", &["ip"], || {
        let [near, far] = &two_hosts();
        let index = near.ip("-o link show eth1").split(':').next().unwrap().to_owned();
        let by_index = format!("--dst-addr fe80::62%{index}");
        probe_each_other([near, far], ["--dst-addr fe80::62%eth1", "--iface-name eth1 --dst-addr fe80::61"]);
        probe_each_other([near, far], [&by_index, "--dst-addr fe80::61%eth1 --iface-name eth1"]);
        for (arguments, named) in [
            ("--dst-addr fe80::62", &["fe80::62", "fe80::62%eth1", "--iface-name"][..]),
            ("--dst-addr fe80::62%eth7", &["fe80::62%eth7", "eth7"]),
            ("--dst-addr fe80::62%eth1 --iface-name lo", &["fe80::62%eth1", "lo"]),
            ("--dst-addr ff02::1%eth1", &["ff02::1", "one host"]),
            ("--dst-addr 224.0.0.1", &["224.0.0.1", "one host"]),
        ] {
            let ended = near.run(&mut afprobe(&format!("run {arguments}")));
            assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{arguments}");
            assert_eq!(ended.stderr.lines().count(), 1, "{arguments}: {}", ended.stderr);
            assert!(named.iter().all(|name| ended.stderr.contains(name)), "{arguments}: {}", ended.stderr);
        }
    });
}

#[test]
fn over_a_router() {
    with_privileges("over_a_router", &["ip", "tcpdump"], || {
        let Some(Routed { near, router, far }) = Routed::make() else {
            return skip("over_a_router", "forwarding cannot be switched on");
        };
        let mut tcpdump = far.spawn(Command::new("tcpdump").args(TCPDUMP));
        tcpdump.wait_until("listening", |tcpdump| tcpdump.stderr().contains("listening on eth1"));
        for (to_far, to_near) in Routed::FAR.into_iter().zip(["192.0.2.1", "2001:db8:1::1"]) {
            let arguments = [to_far, to_near].map(|address| format!("--dst-addr {address}"));
            probe_each_other([&near, &far], [&arguments[0], &arguments[1]]);
        }
        let capture = tcpdump.interrupt_for_bytes();
        let mac_of = |host: &Host, name: &str| {
            let shown = host.ip(&format!("-o link show {name}"));
            let mac = shown.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
            mac.split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect::<Vec<u8>>()
        };
        let router_mac = mac_of(&router, "eth2");
        // What came over the router has its MAC address and a hop less; what goes there, its MAC address.
        for (ether_type, hops_at) in [([0x08, 0x00], 22), ([0x86, 0xdd], 21)] {
            let udp = |frame: &&[u8]| {
                frame[12..14] == ether_type && frame[if ether_type == [0x08, 0x00] { 23 } else { 20 }] == 17
            };
            let capture = frames_in(&capture);
            let (coming, going): (Vec<&[u8]>, Vec<&[u8]>) =
                capture.into_iter().filter(udp).partition(|frame| frame[6..12] == router_mac);
            assert!(coming.len() >= 10 && going.len() >= 10);
            assert!(coming.iter().all(|frame| frame[..6] == far.mac && frame[hops_at] == 63));
            assert!(
                going.iter().all(|frame| frame[..6] == router_mac && frame[6..12] == far.mac && frame[hops_at] == 64)
            );
        }
        // A router that is not there is named, not the host behind it.
        near.ip("route add 203.0.113.0/24 via 192.0.2.77");
        let ended = near.run(&mut afprobe("run --dst-addr 203.0.113.9"));
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains("192.0.2.77 does not say its MAC address on eth1"), "{}", ended.stderr);
        let ended = near.run(&mut afprobe(&format!("run --wire ptp --dst-addr {}", Routed::FAR[0])));
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains("behind the router 192.0.2.3"), "{}", ended.stderr);
    });
}

/// What another program sees of the tag and of both marks, and that the probes arrive all the same.
#[test]
fn tag_and_marks_on_the_wire() {
    with_privileges("tag_and_marks_on_the_wire", &["ip", "tcpdump"], || {
        let [near, far] = &two_hosts();
        let mut tcpdump = far.spawn(Command::new("tcpdump").args(TCPDUMP));
        tcpdump.wait_until("listening", |tcpdump| tcpdump.stderr().contains("listening on eth1"));
        for ipv6 in [false, true] {
            let arguments = |peer: &Host, marks: &str| {
                // The kernel here has no VLANs: nobody answers in one.
                format!("--dst-addr {} --dst-mac {} {marks}", peer.address(ipv6), peer.mac_text())
            };
            let tagged = arguments(far, "--vlan 5:3 --dscp AF41 --ecn ect0");
            probe_each_other([near, far], [&tagged, &arguments(near, "--vlan 0:7 --ecn ce")]);
        }
        let capture = tcpdump.interrupt_for_bytes();
        let frames = frames_in(&capture);
        let tagged: Vec<_> = frames.iter().filter(|frame| frame[12..14] == [0x81, 0]).collect();
        assert!(tagged.len() >= 40);
        for frame in tagged {
            let is_nears = frame[6..12] == near.mac;
            let (tag, class) = if is_nears { ([0x60, 0x05], 34 << 2 | 2) } else { ([0xe0, 0], 3) };
            assert_eq!(frame[14..16], tag, "{frame:02x?}");
            let found = match frame[16..18] {
                [0x08, 0] => frame[19],
                _ => frame[18] << 4 | frame[19] >> 4,
            };
            assert_eq!(found, class, "{frame:02x?}");
        }
        if let Some(why) = missing(&["tshark"]) {
            return skip("tag_and_marks_on_the_wire", &why);
        }
        let seen = |filter: &str| tshark(&capture, &format!("udp && {filter}"), &[]).len();
        for filter in [
            "vlan.id == 5 && vlan.priority == 3 && ip.dsfield.dscp == 34 && ip.dsfield.ecn == 2",
            "vlan.id == 5 && vlan.priority == 3 && ipv6.tclass.dscp == 34 && ipv6.tclass.ecn == 2",
            "vlan.id == 0 && vlan.priority == 7 && ip.dsfield.dscp == 0 && ip.dsfield.ecn == 3",
            "vlan.id == 0 && vlan.priority == 7 && ipv6.tclass.dscp == 0 && ipv6.tclass.ecn == 3",
        ] {
            assert!(seen(filter) >= 10, "{filter}");
        }
        assert_eq!(seen("(udp.checksum.status != 1 || ip.checksum.status != 1) && vlan"), 0, "wrong checksums");
        assert_eq!(seen("frame.len < 64 && vlan"), 0, "a switch that takes the tag out would leave too little");
    });
}

#[test]
fn a_next_hop_in_a_vlan_is_asked_there() {
    with_privileges("a_next_hop_in_a_vlan_is_asked_there", &["ip"], || {
        let [near, far] = &two_hosts();
        // Without the tag the kernel knows somebody, who is not meant.
        near.ip(&format!("neighbor add {} lladdr 02:00:00:00:00:99 dev eth1", far.ipv4));
        let socket = far.inside(|| {
            let interface = Interface::by_name("eth1").unwrap();
            PacketSocket::options().filter(&Filter::ether_type(EtherType::ARP)).bind(&interface).unwrap()
        });
        socket.set_read_deadline(Some(Instant::now() + Duration::from_secs(60)));
        let line = format!("run --host near --dst-addr {} --vlan 9:2 --interval 20ms --format json", far.ipv4);
        let mut prober = near.spawn(&mut afprobe(&line));

        let mut buf = [0; 128];
        let meta = socket.recv(&mut buf).unwrap();
        assert_eq!(meta.vlan, Some(VlanTag::new(EtherType::VLAN, 0x4009)), "the question");
        assert_eq!((&buf[..6], &buf[20..22], &buf[38..42]), (&[0xff; 6][..], &[0, 1][..], &[192, 168, 56, 102][..]));
        let answer = |mac: [u8; 6]| {
            let head = [0, 1, 8, 0, 6, 4, 0, 2];
            let to = [near.mac, far.mac].concat();
            let body = [&mac[..], &[192, 168, 56, 102], &near.mac, &[192, 168, 56, 101]].concat();
            [&to[..], &[0x08, 0x06], &head, &body, &[0; 18]].concat()
        };
        // Not in the VLAN, in another one, in it.
        let tagged = |mac, id| {
            let mut frame = answer(mac);
            let len = frame.len();
            frame.resize(len + 4, 0);
            VlanTag::new(EtherType::VLAN, id).restore(&mut frame, len).unwrap();
            frame
        };
        socket.send(&answer([2, 0, 0, 0, 0, 1])).unwrap();
        socket.send(&tagged([2, 0, 0, 0, 0, 2], 8)).unwrap();
        socket.send(&tagged([2, 0, 0, 0, 0, 3], 9)).unwrap();
        prober.wait_until("the first probe", |prober| !prober.log().of("tx", "near").is_empty());

        socket.set_filter(&Filter::udp_dst(61000).filter()).unwrap();
        let meta = socket.recv(&mut buf).unwrap();
        assert_eq!((&buf[..6], meta.vlan.map(VlanTag::tci)), (&[2, 0, 0, 0, 0, 3][..], Some(0x4009)));
        assert_eq!(prober.interrupt().code, Some(0));
    });
}
