//! Tests of `afprobe doctor`: what it finds on devices without hardware timestamps, what it says, how it ends.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that finds something else than it expects shall panic"
)]

mod common;

use std::fs::File;
use std::process::Command;

use common::process::{Ended, Process, run};
use common::{Host, afprobe, eventually, keys, number, two_hosts, where_a_lab_works, with_privileges};
use nix::sys::signal::Signal;
use serde_json::Value;

const STAMPS: [(&str, &str); 5] =
    [("tx", "scheduled"), ("tx", "software"), ("tx", "hardware"), ("rx", "software"), ("rx", "hardware")];
const KINDS: [&str; 3] = ["any", "ptp_ethernet", "ptp_udp"];

const DELIVERED: &str = "delivered";
const BROKEN: &str = "advertised_not_delivered";
const NOT_SUPPORTED: &str = "not_supported";
const NOT_TESTED: &str = "not_tested";

/// Of a device without hardware timestamps, to which nobody sends.
const SOFTWARE_ALONE: [&str; 5] = [DELIVERED, DELIVERED, NOT_SUPPORTED, NOT_TESTED, NOT_TESTED];
/// And with somebody who does.
const SOFTWARE: [&str; 5] = [DELIVERED, DELIVERED, NOT_SUPPORTED, DELIVERED, NOT_SUPPORTED];

fn examine(host: &Host, arguments: &str) -> Ended {
    host.run(&mut afprobe(&format!("doctor {arguments} --json")))
}

/// Checks the one object that is printed: its keys, and that numbers fit their verdicts. `rows` has the verdicts, stamp
/// by stamp, the same of all kinds.
fn check(ended: &Ended, code: i32, rows: [&str; 5]) -> Value {
    const KEYS: [&str; 6] = ["interface", "driver", "nic", "cells", "advice", "verdict"];
    const CELL_KEYS: [&str; 8] =
        ["direction", "stage", "kind", "verdict", "advertised", "delivered", "frames", "latency_ns"];
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(code), ""), "{}", ended.stdout);
    assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stdout);
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(keys(&found), KEYS);
    assert_eq!(keys(&found["nic"]), ["before", "used", "after", "borrowed", "refused"]);
    assert!(["before", "used", "after"].iter().all(|when| found["nic"][when].is_null()), "{found}");
    assert_eq!(found["verdict"], if code == 3 { "software_only" } else { "not_delivered" });
    assert!(!advice(&found).is_empty(), "{found}");
    let cells = found["cells"].as_array().unwrap();
    assert_eq!(cells.len(), STAMPS.len() * KINDS.len());
    let places = STAMPS.iter().zip(rows).flat_map(|(stamp, verdict)| KINDS.map(|kind| (stamp, kind, verdict)));
    for (cell, ((direction, stage), kind, verdict)) in cells.iter().zip(places) {
        assert_eq!(keys(cell), CELL_KEYS);
        assert_eq!(
            (&cell["direction"], &cell["stage"], &cell["kind"]),
            (&(*direction).into(), &(*stage).into(), &kind.into())
        );
        assert_eq!(cell["verdict"], verdict, "{cell}");
        let (delivered, frames) = (number(cell, "delivered"), number(cell, "frames"));
        match (*direction, rows[3]) {
            ("tx", _) => assert_eq!(frames, 20, "{cell}"),
            // A reply that takes too long is not waited for.
            (_, DELIVERED) => assert!((1..=20).contains(&frames), "{cell}"),
            _ => assert_eq!(frames, 0, "{cell}"),
        }
        assert_eq!(delivered, if verdict == DELIVERED { frames } else { 0 }, "{cell}");
        match verdict {
            DELIVERED => assert!(number(cell, "latency_ns") >= 0, "{cell}"),
            _ => assert!(cell["latency_ns"].is_null(), "{cell}"),
        }
    }
    found
}

fn advice(found: &Value) -> String {
    found["advice"].as_array().unwrap().iter().map(|sentence| sentence.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Whether each of the three cells of a stamp is said to be advertised.
fn is_advertised(found: &Value, stamp: usize) -> bool {
    let cells = &found["cells"].as_array().unwrap()[stamp * 3..][..3];
    assert!(cells.iter().all(|cell| cell["advertised"] == cells[0]["advertised"]), "{found}");
    cells[0]["advertised"] == true
}

fn reflector(host: &Host, interface: &str) -> Process {
    let mut reflector = host.spawn(&mut afprobe(&format!("doctor {interface} --reflect")));
    reflector.wait_until("the reflector", |reflector| !reflector.stdout().is_empty());
    reflector
}

/// How many probes a reflector has sent back.
fn reflected(reflector: Process) -> u32 {
    let ended = reflector.interrupt();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    ended.stdout.lines().last().unwrap().strip_suffix(" probes reflected").unwrap().parse().unwrap()
}

#[test]
fn a_cable_with_a_reflector() {
    with_privileges("a_cable_with_a_reflector", &["ip"], || {
        let [near, far] = &two_hosts();
        let reflector = reflector(far, "eth1");
        let peers = [far.ipv4.to_string(), far.ipv6.to_string(), far.mac_text()];
        for peer in &peers {
            let found = check(&examine(near, &format!("eth1 --peer {peer}")), 3, SOFTWARE);
            assert_eq!((&found["interface"], &found["driver"]), (&"eth1".into(), &"veth".into()));
            assert!(advice(&found).contains("this driver has none"), "{found}");
            assert!(!advice(&found).contains("not tested"), "{found}");
        }
        assert!((1..=180).contains(&reflected(reflector)));
    });
}

#[test]
fn a_cable_without() {
    with_privileges("a_cable_without", &["ip"], || {
        let [near, far] = &two_hosts();
        let found = check(&examine(near, "eth1"), 3, SOFTWARE_ALONE);
        assert!(advice(&found).contains("afprobe doctor eth1 --peer"), "{found}");
        let found = check(&examine(near, &format!("eth1 --peer {}", far.ipv4)), 3, SOFTWARE_ALONE);
        assert!(advice(&found).contains("no reply came from 192.168.56.102"), "{found}");
        // Neither an address nor a loopback interface is needed.
        near.ip("address flush dev eth1");
        near.ip("link set lo down");
        check(&examine(near, "eth1"), 3, SOFTWARE_ALONE);
    });
}

#[test]
fn loopback_is_its_own_peer() {
    with_privileges("loopback_is_its_own_peer", &["ip"], || {
        let [near, _] = &two_hosts();
        let found = check(&examine(near, "lo"), 3, SOFTWARE);
        assert!(found["driver"].is_null(), "{found}");
    });
}

#[test]
fn a_bridge_gives_what_it_does_not_advertise() {
    with_privileges("a_bridge_gives_what_it_does_not_advertise", &["ip"], || {
        let [near, _] = &two_hosts();
        near.ip("link add br0 type bridge");
        near.ip("link set eth1 master br0");
        near.ip("link set br0 up");
        let found = check(&examine(near, "br0"), 3, SOFTWARE_ALONE);
        assert!(is_advertised(&found, 0) && !is_advertised(&found, 1), "{found}");
        assert!(advice(&found).contains("not advertised, and come all the same"), "{found}");
        let table = near.run(&mut afprobe("doctor br0")).stdout;
        assert!(table.contains("* not advertised"), "{table}");
    });
}

#[test]
fn what_is_advertised_and_not_delivered() {
    with_privileges("what_is_advertised_and_not_delivered", &["ip"], || {
        let [near, _] = &two_hosts();
        // What goes from one macvlan to another of the same device meets no driver.
        for (name, mac) in [("mv0", "02:00:00:00:00:10"), ("mv1", "02:00:00:00:00:11")] {
            near.ip(&format!("link add {name} link eth1 address {mac} type macvlan mode bridge"));
            near.ip(&format!("link set {name} up"));
        }
        let reflector = reflector(near, "mv1");
        let rows = [DELIVERED, BROKEN, NOT_SUPPORTED, DELIVERED, NOT_SUPPORTED];
        let found = check(&examine(near, "mv0 --peer 02:00:00:00:00:11"), 4, rows);
        assert_eq!(found["driver"], "macvlan");
        assert!(is_advertised(&found, 1), "{found}");
        assert!(advice(&found).contains("advertised and not delivered"), "{found}");
        let table = near.run(&mut afprobe("doctor mv0 --peer 02:00:00:00:00:11"));
        let broken = table.stdout.matches("0/20, but advertised").count();
        assert_eq!((table.code, broken), (Some(4), 3), "{}", table.stdout);
        assert!((1..=120).contains(&reflected(reflector)));
        // To the world outside it is another matter.
        check(&examine(near, "mv0"), 3, SOFTWARE_ALONE);
    });
}

/// A program that holds a tap or a tunnel, and reads what is sent there or does not.
fn tap(host: &Host, name: &str, flags: u16, reads: bool) -> Process {
    let then = if reads { "1 while sysread($tun, my $frame, 65536)" } else { "sleep" };
    let script = format!(
        "open(my $tun, '+<', '/dev/net/tun') or die $!; my $request = pack('a16 S x22', '{name}', {flags});
         ioctl($tun, 0x400454ca, $request) or die $!; $| = 1; print qq(open\n); {then};"
    );
    let mut process = host.spawn(Command::new("perl").args(["-e", &script]));
    process.wait_until("the tap", |tap| !tap.stdout().is_empty());
    host.ip(&format!("link set {name} up"));
    process
}

const TUN: u16 = 0x1001;
const TAP: u16 = 0x1002;

#[test]
fn taps_and_tunnels() {
    with_privileges("taps_and_tunnels", &["ip", "perl"], || {
        if let Err(error) = File::options().read(true).write(true).open("/dev/net/tun") {
            return eprintln!("without taps, which this user may not make: /dev/net/tun: {error}");
        }
        let [near, _] = &two_hosts();
        // The stamp is taken before the frame is queued for the program behind the tap, whether that reads it or not.
        for (name, reads) in [("tap0", true), ("tap1", false)] {
            let _holder = tap(near, name, TAP, reads);
            let found = check(&examine(near, name), 3, SOFTWARE_ALONE);
            assert_eq!(found["driver"], "tun");
        }
        near.ip("tuntap add dev tap2 mode tap");
        near.ip("link set tap2 up");
        cannot(near, "tap2", "tap2 has no carrier");
        let _tunnel = tap(near, "tun0", TUN, true);
        cannot(near, "tun0", "tun0 is no Ethernet interface");
    });
}

/// Exits with 2 and one line that holds these words.
fn cannot(host: &Host, arguments: &str, words: &str) {
    let ended = host.run(&mut afprobe(&format!("doctor {arguments}")));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{}", ended.stderr);
    assert!(ended.stderr.lines().count() == 1 && ended.stderr.contains(words), "{}", ended.stderr);
}

#[test]
fn what_cannot_be_examined() {
    with_privileges("what_cannot_be_examined", &["ip"], || {
        let [near, far] = &two_hosts();
        cannot(near, "eth7", "eth7");
        cannot(near, "lo --peer 192.168.56.102", "lo is its own peer");
        cannot(near, "eth1 --peer 192.168.56.101", "192.168.56.101");
        cannot(near, "eth1 --peer 01:80:c2:00:00:0e", "is not the address of one host");
        far.ip("link set eth1 down");
        cannot(near, "eth1", "eth1 has no carrier");
        near.ip("link set eth1 down");
        cannot(near, "eth1", "eth1 is down");
        cannot(near, "eth1 --reflect", "eth1 is down");
    });
}

#[test]
fn a_link_that_goes_down_ends_the_examination() {
    with_privileges("a_link_that_goes_down_ends_the_examination", &["ip"], || {
        let [near, _] = &two_hosts();
        let ended = disturb(near, |_| drop(near.ip("link set eth1 down")));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{}", ended.stderr);
        assert!(ended.stderr.lines().count() == 1 && ended.stderr.contains("eth1"), "{}", ended.stderr);
    });
}

/// How many frames have left through `eth1`.
fn frames_sent(host: &Host) -> i64 {
    let links: Value = serde_json::from_str(&host.ip("-json -statistics link show eth1")).unwrap();
    number(&links[0]["stats64"]["tx"], "packets")
}

/// Starts an examination and, while it sends, does something that it does not survive.
fn disturb(host: &Host, what: impl Fn(&Process)) -> Ended {
    for _ in 0..20 {
        let before = frames_sent(host);
        let mut doctor = host.spawn(&mut afprobe("doctor eth1"));
        // More than the kernel has to say by itself.
        eventually("frames", || doctor.has_ended() || frames_sent(host) >= before + 15);
        if !doctor.has_ended() {
            what(&doctor);
        }
        let ended = doctor.end();
        if ended.code != Some(3) {
            return ended;
        }
    }
    panic!("it has always ended before");
}

#[test]
fn a_signal_ends_it_and_nothing_is_left() {
    with_privileges("a_signal_ends_it_and_nothing_is_left", &["ip"], || {
        let [near, _] = &two_hosts();
        let before = near.ip("-details address show");
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let ended = disturb(near, |doctor| doctor.signal(signal));
            assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{}", ended.stderr);
            assert_eq!(ended.stderr, "afprobe: interrupted before the end of the examination\n");
        }
        assert_eq!(near.ip("-details address show"), before);
    });
}

#[test]
fn reflectors_leave_each_other_alone() {
    with_privileges("reflectors_leave_each_other_alone", &["ip"], || {
        let [near, far] = &two_hosts();
        let reflectors = [near, far].map(|host| reflector(host, "eth1"));
        let before = [near, far].map(frames_sent);
        check(&examine(near, &format!("eth1 --peer {}", far.ipv4)), 3, SOFTWARE);
        let [own, others] = reflectors.map(reflected);
        assert!(own == 0 && (1..=60).contains(&others), "{own}, {others}");
        for (host, before) in [near, far].iter().zip(before) {
            // With what the kernels tell each other of their addresses.
            let sent = frames_sent(host) - before;
            assert!(sent < 120, "{sent} frames of {}", host.name);
        }
    });
}

#[test]
fn two_doctors_at_one_reflector() {
    with_privileges("two_doctors_at_one_reflector", &["ip"], || {
        let [near, far] = &two_hosts();
        let reflector = reflector(far, "eth1");
        let line = format!("doctor eth1 --peer {} --json", far.ipv4);
        let doctors = [(); 2].map(|()| near.spawn(&mut afprobe(&line)));
        for doctor in doctors {
            check(&doctor.end(), 3, SOFTWARE);
        }
        assert!((1..=120).contains(&reflected(reflector)));
    });
}

#[test]
fn probes_of_run_are_not_reflected() {
    with_privileges("probes_of_run_are_not_reflected", &["ip"], || {
        let [near, far] = &two_hosts();
        let reflector = reflector(far, "eth1");
        let ended = near.run(&mut afprobe(&format!("run --dst-addr {} --count 5 --interval 1ms", far.ipv4)));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(reflected(reflector), 0);
    });
}

#[test]
fn a_lab_needs_nothing() {
    where_a_lab_works("a_lab_needs_nothing", || {
        check(&run(&mut afprobe("doctor --lab --json")), 3, SOFTWARE);
        let ended = run(&mut afprobe("doctor --lab"));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(3), ""));
        let first: Vec<&str> = ended.stdout.lines().map(|line| line.get(..12).unwrap_or(line).trim_end()).collect();
        let rows = ["tx scheduled", "tx software", "tx hardware", "rx software", "rx hardware", ""];
        assert_eq!(first[2..8], rows, "{}", ended.stdout);
        assert!(ended.stdout.starts_with("eth1  (veth)"), "{}", ended.stdout);
    });
}

#[test]
fn arguments_that_exclude_each_other() {
    for arguments in ["", "eth1 --lab", "--lab --reflect", "eth1 --reflect --json", "--lab --peer 192.0.2.1"] {
        let ended = run(&mut afprobe(&format!("doctor {arguments}")));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{arguments}: {}", ended.stderr);
    }
}
