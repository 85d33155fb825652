//! afprobe with other people's programs, in both roles: Scapy's STAMP layer (Python), and stamp-suite (crates.io).
//!
//! `.ci/run` says how both are installed. What each of the two sides counts has to agree, and what tcpdump has seen on both
//! hosts, as tshark dissects it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds something else than it expects shall panic"
)]

mod common;

use std::process::Command;

use common::process::{Ended, Process};
use common::sight::{Sight, Watch};
use common::two_way::{KeyFile, end, measure, numbers, reflect};
use common::{Host, missing, number, skip, two_hosts, with_privileges};
use serde_json::{Value, json};

const PROBES: i64 = 1_000;
/// Scapy takes a millisecond and more for a packet; how long it takes on a busy machine says nothing of the probes.
const SCAPY_PACE: &str = "--interval 4ms --timeout 60s";
/// stamp-suite's reflector takes ten, where the processor is emulated, and comes to answer a part only at the first of these.
const STAMP_SUITE_PACES: [&str; 2] = ["--interval 2ms --timeout 10s", "--interval 20ms --timeout 10s"];
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign/scapy_stamp.py");
const TOOLS: [&str; 3] = ["ip", "tcpdump", "tshark"];

fn with_scapy(test: &str, body: fn()) {
    let loaded = Command::new("python3").args(["-c", "import scapy.contrib.stamp"]).output();
    match loaded {
        Ok(output) if output.status.success() => with_privileges(test, &TOOLS, body),
        Ok(output) => skip(test, &format!("Scapy 2.8 is needed: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => skip(test, &format!("python3 is needed: {error}")),
    }
}

fn with_stamp_suite(test: &str, body: fn()) {
    with_privileges(test, &[&TOOLS[..], &["stamp-suite"]].concat(), body);
}

fn scapy(arguments: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(SCRIPT).args(arguments.split_whitespace());
    command
}

fn stamp_suite(arguments: &str) -> Command {
    let mut command = Command::new("stamp-suite");
    // Its log would go through a filter from the environment.
    command.args(arguments.split_whitespace()).args(["--output-format", "json"]).env_remove("RUST_LOG");
    command
}

/// The last line that a program has printed, which is its account of all.
fn account(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let last = ended.stdout.lines().last().unwrap_or_else(|| panic!("it says nothing: {}", ended.stderr));
    serde_json::from_str(last).unwrap()
}

/// What afprobe reports: each probe, and the summary.
fn measured(host: &Host, arguments: &str) -> (Vec<Value>, Value) {
    measure(host, &format!("--count {PROBES} {arguments}"), Value::clone)
}

/// That of a way on which nothing happens, to a reflector on the same clock.
fn check_measurement((probes, summary): &(Vec<Value>, Value)) {
    assert_eq!(numbers(summary, ["sent", "received"]), [PROBES; 2], "{summary}");
    let none = ["lost", "late", "refused", "duplicates", "reordered", "unasked", "crowded_out"];
    assert_eq!(numbers(summary, none), [0; 7], "{summary}");
    let none = ["foreign", "wrong_checksum", "malformed", "forged"];
    assert_eq!(numbers(summary, none), [0; 4], "{summary}");
    let sequence: Vec<i64> = probes.iter().map(|probe| number(probe, "seq")).collect();
    assert!(sequence.iter().copied().eq(0..PROBES), "{sequence:?}");
    for probe in probes {
        assert_eq!((&probe["outcome"], &probe["tx_outcome"]), (&"answered".into(), &"stamped".into()), "{probe}");
        // The reflector's own times, which its packets carry, on the clock that both hosts share.
        let [t1, t4] = ["t1", "t4"].map(|point| numbers(&probe[point], ["userspace_ns", "software_ns"]));
        let [t2, t3] = ["t2", "t3"].map(|point| number(&probe[point], "userspace_ns"));
        let way = [t1[0], t1[1], t2, t3, t4[1], t4[0]];
        assert!(way.is_sorted(), "{way:?}: {probe}");
        let [rtt, net, forward, backward] = numbers(probe, ["rtt_ns", "rtt_net_ns", "forward_ns", "backward_ns"]);
        assert_eq!((rtt, forward + backward), (t4[1] - t1[1], net), "{probe}");
        assert!(0 < net && net < rtt && 0 < forward && 0 < backward, "{probe}");
        let ttl = ["forward_header", "backward_header"].map(|way| number(&probe[way], "ttl"));
        assert_eq!(ttl, [255, 255], "{probe}");
    }
}

/// What afprobe's reflector reports of somebody else's probes.
fn check_reflector(reflector: Process) {
    let summary = end(reflector);
    let counts = ["answered", "questions", "not_sent", "sessions", "foreign", "wrong_checksum", "malformed", "drops"];
    assert_eq!(numbers(&summary, counts), [PROBES, 0, 0, 1, 0, 0, 0, 0], "{summary}");
    let refused = summary["refused"].as_object().unwrap();
    assert!(refused.values().all(|count| count == 0), "{summary}");
}

/// All packets, as they were seen on both hosts. `ours`: the host where afprobe sends.
fn check_sight(sights: [Sight; 2], ours: &Host, is_plain: bool) {
    for sight in sights {
        let packets = sight.stamp();
        let requests = packets.iter().filter(|packet| packet.dst_port == 862).count();
        assert_eq!((requests, packets.len() - requests), (1_000, 1_000));
        for packet in packets {
            assert!(!packet.is_malformed && packet.hop_limit == 255, "{packet:?}");
            assert!(!is_plain || packet.sequence.is_some(), "{packet:?}");
            // The kernel leaves the checksum of the other side's packets to a card that is none.
            assert!(packet.src_mac != ours.mac_text() || packet.checksum_is_right, "{packet:?}");
        }
        assert_eq!(sight.complaints(), 0, "no kernel complains");
    }
}

/// What the other tests rely on: a packet that ends too early is called malformed, and one with an error message in it is
/// seen.
#[test]
fn a_cut_packet_and_a_complaint_are_noticed() {
    if let Some(why) = missing(&["tshark"]) {
        return skip("a_cut_packet_and_a_complaint_are_noticed", &why);
    }
    let whole = ipv4(17, &[&[0xc3, 0x50, 0x03, 0x5e, 0, 52, 0, 0][..], &[0; 44]].concat());
    let cut = ipv4(17, &[&[0xc3, 0x50, 0x03, 0x5e, 0, 18, 0, 0][..], &[0; 10]].concat());
    let complaint = ipv4(1, &[&[3, 3, 0, 0, 0, 0, 0, 0], &whole[14..]].concat());
    let header = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 0xffff, 1];
    let mut capture: Vec<u8> = header.into_iter().flat_map(u32::to_ne_bytes).collect();
    for frame in [whole, cut, complaint] {
        let len = u32::try_from(frame.len()).unwrap();
        capture.extend([0, 0, len, len].into_iter().flat_map(u32::to_ne_bytes));
        capture.extend(frame);
    }
    let sight = Sight::read(&capture);
    let found: Vec<_> = sight.stamp().iter().map(|packet| (packet.is_malformed, packet.sequence)).collect();
    assert_eq!(found, [(false, Some(0)), (true, Some(0))]);
    assert_eq!(sight.complaints(), 1);
}

/// A frame with this in an IPv4 packet, whose checksum is left out.
fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let header = [0x45, 0, high, low, 0, 0, 0, 0, 255, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    [&[2; 6][..], &[4; 6], &[8, 0], &header, payload].concat()
}

#[test]
fn afprobe_measures_with_scapys_reflector() {
    with_scapy("afprobe_measures_with_scapys_reflector", || {
        for (ipv6, arguments) in [(false, "--stateful"), (true, "")] {
            let [near, far] = &two_hosts();
            let address = far.address(ipv6);
            let watch = Watch::new([near, far]);
            let mut reflector = far.spawn(&mut scapy(&format!("reflect {address} {arguments}")));
            reflector.wait_until("readiness", |reflector| !reflector.stdout().is_empty());
            check_measurement(&measured(near, &format!("--reflector {address} {SCAPY_PACE}")));
            let account = account(&reflector.interrupt());
            let expected = json!({"event": "summary", "received": PROBES, "sent": PROBES, "sessions": 1, "wrong": {}});
            assert_eq!(account, expected);
            check_sight(watch.end(2_000), near, true);
        }
    });
}

#[test]
fn scapys_sender_measures_with_afprobes_reflector() {
    with_scapy("scapys_sender_measures_with_afprobes_reflector", || {
        for (ipv6, ours, theirs) in [(false, "", ""), (true, "--stateless", "--stateless")] {
            let [near, far] = &two_hosts();
            let watch = Watch::new([near, far]);
            let reflector = reflect(far, ours);
            let line = format!("send {} --count {PROBES} --interval 0.004 --timeout 60 {theirs}", far.address(ipv6));
            let account = account(&near.run(&mut scapy(&line)));
            assert_eq!(numbers(&account, ["sent", "received", "lost", "duplicates"]), [PROBES, PROBES, 0, 0]);
            assert_eq!(account["wrong"], json!({}), "{account}");
            assert!(number(&account["residence_ns"], "min") > 0, "{account}");
            assert!(number(&account["rtt_ns"], "min") > number(&account["residence_ns"], "min"), "{account}");
            if ours.is_empty() {
                check_reflector(reflector);
            } else {
                assert_eq!(numbers(&end(reflector), ["answered", "sessions"]), [PROBES, 0]);
            }
            check_sight(watch.end(2_000), far, true);
        }
    });
}

/// How stamp-suite is told to work, and afprobe: plain and authenticated, times of NTP and of PTP.
fn ways_of_stamp_suite(test: &str) -> [(bool, String, String, Option<KeyFile>); 3] {
    // It takes a key in hexadecimal digits for the bytes that they stand for; others as they are.
    let key = KeyFile::new(test, b"a secret of 32 bytes, no hex: zz");
    let theirs = format!("-A A --hmac-key-file {}", key.0.display());
    let ours = key.argument();
    [
        (false, String::new(), String::new(), None),
        (true, "--clock-source PTP".to_owned(), String::new(), None),
        (false, theirs, ours, Some(key)),
    ]
}

#[test]
fn afprobe_measures_with_stamp_suites_reflector() {
    const TEST: &str = "afprobe_measures_with_stamp_suites_reflector";
    with_stamp_suite(TEST, || {
        for (ipv6, theirs, ours, key) in ways_of_stamp_suite(TEST) {
            let [near, far] = &two_hosts();
            let address = far.address(ipv6);
            let verify = if key.is_some() { "--verify-tlv-hmac" } else { "" };
            let line = format!("--is-reflector --local-addr {address} --stateful-reflector {theirs} {verify}");
            let attempt = |pace: &str| {
                let watch = Watch::new([near, far]);
                let mut reflector = far.spawn(&mut stamp_suite(&line));
                reflector.wait_until("readiness", |_| far.has_udp_port(862));
                let measured = measured(near, &format!("--reflector {address} {pace} {ours}"));
                (watch, measured, account(&reflector.interrupt()))
            };
            let [fast, slow] = STAMP_SUITE_PACES;
            let (watch, measured, account) = match attempt(fast) {
                // Only what it says itself that it has not answered: all that it has was received.
                (_, (_, summary), account)
                    if number(&account, "total_packets_reflected") < PROBES
                        && number(&account, "total_packets_reflected") == number(&summary, "received") =>
                {
                    attempt(slow)
                }
                attempted => attempted,
            };
            check_measurement(&measured);
            let counts =
                ["total_packets_received", "total_packets_reflected", "total_packets_dropped", "active_sessions"];
            assert_eq!(numbers(&account, counts), [PROBES, PROBES, 0, 1], "{account}");
            check_sight(watch.end(2_000), near, key.is_none());
        }
    });
}

#[test]
fn stamp_suites_sender_measures_with_afprobes_reflector() {
    const TEST: &str = "stamp_suites_sender_measures_with_afprobes_reflector";
    with_stamp_suite(TEST, || {
        for (ipv6, theirs, ours, key) in ways_of_stamp_suite(TEST) {
            let [near, far] = &two_hosts();
            let watch = Watch::new([near, far]);
            let reflector = reflect(far, &ours);
            let (from, to) = (near.address(ipv6), far.address(ipv6));
            let extensions =
                "--timestamp-info --direct-measurement --follow-up-telemetry --cos --dscp 10 --extra-padding 40";
            let line = format!(
                "--remote-addr {to} --local-addr {from} --count {PROBES} --send-delay 2ms --timeout 10 --ssid 4660 \
                 {extensions} {theirs}"
            );
            let account = account(&near.run(&mut stamp_suite(&line)));
            check_account_of_stamp_suite(&account, key.is_some());
            check_reflector(reflector);
            check_sight(watch.end(2_000), far, key.is_none());
        }
    });
}

fn check_account_of_stamp_suite(account: &Value, is_authenticated: bool) {
    assert_eq!(
        numbers(account, ["packets_sent", "packets_received", "packets_lost"]),
        [PROBES, PROBES, 0],
        "{account}"
    );
    let measured = &account["measurements"];
    let counts = ["unique_replies", "additional_replies", "late_replies", "duplicate_replies", "unknown_replies"];
    assert_eq!(numbers(measured, counts), [PROBES, 0, 0, 0, 0], "{account}");
    assert_eq!(numbers(measured, ["reordered_replies", "last_reflector_sequence"]), [0, PROBES - 1], "{account}");
    let tlvs = &measured["tlv_validation"];
    assert_eq!(numbers(tlvs, ["evaluated_replies", "rejected_replies"]), [PROBES, 0], "{account}");
    let flags = numbers(&tlvs["flags"], ["unrecognized", "malformed", "integrity_failed"]);
    assert_eq!(flags, [0, 0, 0], "{account}");
    let verified = numbers(&tlvs["hmac"], ["verified", "unverified", "failed", "missing"]);
    assert_eq!(verified, [if is_authenticated { PROBES } else { 0 }, 0, 0, 0], "{account}");
    // The first packet of each is where it begins to count.
    let direct = &measured["direct_measurement"];
    let counts = ["observations", "sender_packets", "reflector_received", "reflector_transmitted", "replies_received"];
    assert_eq!(numbers(direct, counts), [PROBES, PROBES - 1, PROBES - 1, PROBES - 1, PROBES - 1], "{account}");
    let counts = ["forward_missing", "reverse_missing", "unavailable", "discontinuities", "reordered"];
    assert_eq!(numbers(direct, counts), [0; 5], "{account}");
    // Each reply tells when an earlier one left, with the kernel's stamp; the first has none to tell of.
    let follow_up = &measured["follow_up"];
    assert_eq!(numbers(follow_up, ["observations", "unmatched", "ambiguous"]), [PROBES, 0, 0], "{account}");
    let matched = number(follow_up, "matched");
    assert!(matched > 0 && matched < PROBES, "{account}");
    // On one clock no way takes less than no time.
    for key in ["min_rtt_ms", "forward_min_ms", "reverse_min_ms"] {
        let time = account.get(key).or_else(|| account["owd"].get(key)).unwrap();
        assert!(time.as_f64().unwrap() > 0.0, "{key}: {account}");
    }
    assert!(follow_up["reverse_delay"]["min_ms"].as_f64().unwrap() > 0.0, "{account}");
}
