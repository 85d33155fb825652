//! What the headers around a probe say: VLAN, DSCP and ECN, on both ways, as another program sees them on the cable; and what
//! afprobe reports where the network changes them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds something else than it expects shall panic"
)]

mod common;

use std::io::ErrorKind;
use std::sync::Arc;
use std::thread;

use common::relay::Stretch;
use common::relay::plan::{Deed, Plan, Way};
use common::sight::Watch;
use common::two_way::{end, measure, numbers, reflect};
use common::{Host, number, two_hosts, with_privileges};
use fast_afpacket::{EtherType, Filter, Interface, PacketSocket, VlanTag};
use serde_json::Value;

const COUNT: i64 = 40;
const NOT_ECT: u8 = 0;
const ECT1: u8 = 1;
const ECT0: u8 = 2;
const CE: u8 = 3;

/// A measurement in which all is answered: its probes, and its summary.
fn measured(host: &Host, arguments: &str) -> (Vec<Value>, Value) {
    let line = format!("--count {COUNT} --interval 2ms --timeout 10s {arguments}");
    let (probes, summary) = measure(host, &line, Value::clone);
    let counts = ["sent", "received", "lost", "foreign", "wrong_checksum", "malformed"];
    assert_eq!(numbers(&summary, counts), [COUNT, COUNT, 0, 0, 0, 0], "{summary}");
    (probes, summary)
}

/// How many arrived with another mark: DSCP there and back, ECN there and back.
fn changes(summary: &Value) -> [i64; 4] {
    let keys = ["dscp_changed_forward", "dscp_changed_backward", "ecn_changed_forward", "ecn_changed_backward"];
    numbers(summary, keys)
}

#[test]
fn marks_arrive_on_both_ways() {
    with_privileges("marks_arrive_on_both_ways", &["ip", "tcpdump", "tshark"], || {
        for ipv6 in [false, true] {
            let [near, far] = &two_hosts();
            let reflector = reflect(far, "");
            let marks = [
                ("EF", "ect0", 46, ECT0),
                ("AF41", "ect1", 34, ECT1),
                ("63", "ce", 63, CE),
                ("0", "not-ect", 0, NOT_ECT),
            ];
            for (dscp_name, ecn_name, dscp, ecn) in marks {
                let watch = Watch::new([near, far]);
                let line = format!("--reflector {} --dscp {dscp_name} --ecn {ecn_name}", far.address(ipv6));
                let (_, summary) = measured(near, &line);
                assert_eq!(changes(&summary), [0; 4], "{dscp_name} {ecn_name}: {summary}");
                // A reply to a probe that met congestion has not met any itself.
                let ecn_back = if ecn == CE { ECT0 } else { ecn };
                for sight in watch.end(2 * usize::try_from(COUNT).unwrap()) {
                    for packet in sight.stamp() {
                        let expected = if packet.dst_port == 862 { (dscp, ecn) } else { (dscp, ecn_back) };
                        assert_eq!((packet.dscp, packet.ecn), expected, "{packet:?}");
                        assert!(packet.checksum_is_right && !packet.is_malformed, "{packet:?}");
                    }
                    assert_eq!(sight.complaints(), 0);
                }
            }
            end(reflector);
        }
    });
}

/// A router that remarks: it takes some DSCPs away, and says that there was congestion, of other probes on each way.
#[test]
fn marks_that_are_changed_on_the_way_are_reported_for_that_way() {
    with_privileges("marks_that_are_changed_on_the_way_are_reported_for_that_way", &["ip"], || {
        const EF: u8 = 46;
        let class = |dscp: u8, ecn: u8| Deed::Mark(dscp << 2 | ecn);
        for (ipv6, ecn_name, ecn) in [(false, "ect0", ECT0), (true, "ect0", ECT0), (false, "ect1", ECT1)] {
            let stretch = Stretch::new();
            let [near, far] = &stretch.hosts;
            let plan = Plan::default()
                .doing(Way::Forward, class(0, ecn), 0..10)
                .doing(Way::Forward, class(EF, CE), 10..17)
                .doing(Way::Forward, class(8, CE), [17])
                .doing(Way::Backward, class(10, ecn), 20..25)
                .doing(Way::Backward, class(EF, CE), [15, 30, 31]);
            let relay = stretch.relay(&plan);
            let reflector = reflect(far, "");
            let line = format!("--reflector {} --dscp EF --ecn {ecn_name}", far.address(ipv6));
            let (probes, summary) = measured(near, &line);
            assert_eq!(changes(&summary), [11, 5, 8, 3], "{summary}");
            for probe in probes {
                let marks = |key: &str| numbers(&probe[key], ["dscp", "ecn"]);
                // The reflector replies as the probes were sent, without the congestion that these have met.
                let (forward, backward) = match number(&probe, "seq") {
                    0..10 => ((0, ecn), (EF, ecn)),
                    15 => ((EF, CE), (EF, CE)),
                    10..17 => ((EF, CE), (EF, ECT0)),
                    17 => ((8, CE), (EF, ECT0)),
                    20..25 => ((EF, ecn), (10, ecn)),
                    30 | 31 => ((EF, ecn), (EF, CE)),
                    _ => ((EF, ecn), (EF, ecn)),
                };
                let [forward, backward] = [forward, backward].map(|(dscp, ecn)| [dscp, ecn].map(i64::from));
                assert_eq!((marks("forward_header"), marks("backward_header")), (forward, backward), "{probe}");
            }
            end(reflector);
            relay.end();
        }
    });
}

/// Answers ARP in a VLAN, as a kernel does that has one there.
fn answer_arp(host: &Host, vlan: VlanTag) -> (Arc<PacketSocket>, thread::JoinHandle<usize>) {
    let (mac, address) = (host.mac, host.ipv4);
    let socket = Arc::new(host.inside(|| {
        let options = PacketSocket::options().filter(&Filter::ether_type(EtherType::ARP)).ignore_outgoing(true);
        options.bind(&Interface::by_name("eth1").unwrap()).unwrap()
    }));
    let own = common::capture::octets(address);
    let answering = Arc::clone(&socket);
    let answer = move || {
        let mut buf = [0; 128];
        let mut answered = 0;
        loop {
            match answering.recv(&mut buf) {
                Ok(meta) if meta.vlan == Some(vlan) && buf[20..22] == [0, 1] && buf[38..42] == own => {
                    let asker = [&buf[6..12], &mac, &[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2]].concat();
                    let mut frame = [&asker[..], &mac, &own, &buf[22..32], &[0; 22]].concat();
                    let len = frame.len() - 4;
                    vlan.restore(&mut frame, len).unwrap();
                    answering.send(&frame).unwrap();
                    answered += 1;
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => return answered,
                Err(error) => panic!("{error}"),
            }
        }
    };
    (socket, thread::spawn(answer))
}

#[test]
fn in_a_vlan_both_ways_are_tagged() {
    with_privileges("in_a_vlan_both_ways_are_tagged", &["ip", "tcpdump", "tshark"], || {
        let [near, far] = &two_hosts();
        let tag = VlanTag::new(EtherType::VLAN, 3 << 13 | 5);
        let (arp, answers) = answer_arp(far, tag);
        let reflector = reflect(far, "");
        for ipv6 in [false, true] {
            let watch = Watch::new([near, far]);
            // Over IPv4 nothing but the address. The kernels here have no VLANs: nobody answers for IPv6.
            let mac = if ipv6 { format!("--dst-mac {}", far.mac_text()) } else { String::new() };
            let line = format!("--reflector {} --vlan 5:3 --dscp CS6 {mac}", far.address(ipv6));
            let (_, summary) = measured(near, &line);
            assert_eq!(changes(&summary), [0; 4], "{summary}");
            for sight in watch.end(2 * usize::try_from(COUNT).unwrap()) {
                for packet in sight.stamp() {
                    assert_eq!((packet.vlan, packet.priority, packet.dscp), (Some(5), Some(3), 48), "{packet:?}");
                    assert!(packet.checksum_is_right && packet.sequence.is_some(), "{packet:?}");
                }
                assert_eq!(sight.complaints(), 0);
            }
        }
        let summary = end(reflector);
        assert_eq!(numbers(&summary, ["sessions", "not_sent", "foreign", "malformed"]), [2, 0, 0, 0], "{summary}");
        arp.close();
        assert!(answers.join().unwrap() > 0, "it was asked in the VLAN");
    });
}
