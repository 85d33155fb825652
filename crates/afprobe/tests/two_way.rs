//! Tests of measuring there and back: `lab --reflect`, and `run --reflector` against `reflect` on another host.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds something else than it expects shall panic"
)]

mod common;

use std::process::Command;
use std::time::Duration;

use common::capture::{TCPDUMP, frames_in, tshark};
use common::process::{Process, run};
use common::two_way::{KeyFile, check_answered, end, numbers, of, one, reflect, run_from, way};
use common::{Log, Routed, afprobe, number, skip, two_hosts, where_a_lab_works, with_privileges};
use nix::sys::signal::Signal;
use serde_json::Value;

#[test]
fn every_probe_of_a_lab_has_all_its_stamps() {
    where_a_lab_works("every_probe_of_a_lab_has_all_its_stamps", || {
        let ways = ["", "--ipv6", "--wire ptp", "--wire ptp-udp", "--wire ptp-udp --ipv6", "--schedule poisson:1"];
        for arguments in ways {
            let line = format!("lab --reflect --count 20 --interval 10ms --format json {arguments}");
            let ended = run(&mut afprobe(&line));
            assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{arguments}");
            check_lab(&Log::read(&ended.stdout), 20);
        }
    });
}

fn check_lab(log: &Log, count: i64) {
    let start = &log.all()[0];
    assert_eq!((start["event"].as_str(), &start["schema"]), (Some("start"), &Value::from(1)));
    let probes = of(log, "probe");
    let sequence: Vec<i64> = probes.iter().map(|probe| number(probe, "seq")).collect();
    assert!(sequence.iter().copied().eq(0..count), "{sequence:?}");
    for probe in &probes {
        assert_eq!((&probe["outcome"], &probe["tx_outcome"]), (&"answered".into(), &"stamped".into()), "{probe}");
        let way = way(probe);
        assert!(way.is_sorted(), "{way:?}: {probe}");
        let (t1, t4) = (number(&probe["t1"], "software_ns"), number(&probe["t4"], "software_ns"));
        let residence = number(&probe["t3"], "software_ns") - number(&probe["t2"], "software_ns");
        let times = numbers(probe, ["rtt_ns", "rtt_net_ns"]);
        assert_eq!(times, [t4 - t1, t4 - t1 - residence], "{probe}");
        let [forward, backward] = numbers(probe, ["forward_ns", "backward_ns"]);
        assert_eq!(forward + backward, times[1], "{probe}");
        assert!(number(probe, "due_ns") <= number(&probe["t1"], "userspace_ns"), "{probe}");
    }
    let summary = one(log, "summary");
    let counts = ["sent", "received", "lost", "lost_forward", "lost_backward", "late", "refused", "duplicates"];
    assert_eq!(numbers(summary, counts), [count, count, 0, 0, 0, 0, 0, 0], "{summary}");
    let counts = ["reordered_forward", "reordered_backward", "foreign", "malformed", "wrong_checksum", "forged"];
    assert_eq!(numbers(summary, counts), [0; 6], "{summary}");
    assert_eq!(number(&summary["rtt_ns"], "count"), count);
    let extreme = |key: &str, pick: fn(std::vec::IntoIter<i64>) -> Option<i64>| {
        let times: Vec<i64> = probes.iter().map(|probe| number(probe, key)).collect();
        pick(times.into_iter()).unwrap()
    };
    for key in ["rtt_ns", "rtt_net_ns", "forward_ns", "backward_ns"] {
        let expected = [extreme(key, Iterator::min), extreme(key, Iterator::max)];
        assert_eq!(numbers(&summary[key], ["min", "max"]), expected, "{key}: {summary}");
    }
    for point in ["t1", "t2", "t3", "t4"] {
        let missing = summary["missing_stamps"][point].as_object().unwrap();
        assert!(missing.values().all(|count| count.is_null() || count == 0), "{summary}");
    }
    let clock = &summary["clock"];
    assert_eq!((&clock["synchronised"], number(clock, "one_way_bound_ns")), (&true.into(), 0), "one clock: {clock}");
}

#[test]
fn a_lab_on_one_processor_that_never_sleeps() {
    where_a_lab_works("a_lab_on_one_processor_that_never_sleeps", || {
        let ended = run(&mut afprobe(
            "lab --reflect --count 50 --interval 2ms --schedule burst:10 --cpu 0 --busy-poll --format json",
        ));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        let log = Log::read(&ended.stdout);
        let summary = one(&log, "summary");
        assert_eq!(numbers(summary, ["sent", "received", "lost"]), [50, 50, 0], "{summary}");
        let timed = of(&log, "probe").into_iter().filter(|probe| !probe["due_ns"].is_null()).count();
        assert_eq!(timed, 5, "of each burst the first has a time");
        let ended = run(&mut afprobe("lab --reflect --count 1 --cpu 4096"));
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains("processor 4096 (--cpu)"), "{}", ended.stderr);
    });
}

#[test]
fn two_processes_over_ipv4_and_ipv6() {
    with_privileges("two_processes_over_ipv4_and_ipv6", &["ip"], || {
        let [near, far] = &two_hosts();
        let addresses = [
            far.ipv4.to_string(),
            far.ipv6.to_string(),
            format!("[{}]:862", far.ipv6),
            "fe80::62%eth1".to_owned(),
            "[fe80::62%eth1]:862".to_owned(),
        ];
        let reflector = reflect(far, "");
        for address in &addresses {
            check_answered(&run_from(near, &format!("--reflector {address} --count 20 --interval 5ms")), 20);
        }
        let summary = end(reflector);
        let counts = ["sessions", "not_sent", "wrong_checksum", "malformed", "drops", "foreign"];
        assert_eq!(numbers(&summary, counts), [5, 0, 0, 0, 0, 0], "{summary}");
        let [answered, questions] = numbers(&summary, ["answered", "questions"]);
        assert_eq!(answered - questions, 100, "{summary}");
        assert!(questions >= 5, "each measurement asks for the last word: {summary}");
        let refused = summary["refused"].as_object().unwrap();
        assert!(refused.values().all(|count| count == 0), "{summary}");
    });
}

#[test]
fn over_a_router_with_nothing_but_the_address() {
    with_privileges("over_a_router_with_nothing_but_the_address", &["ip"], || {
        let Some(Routed { near, router, far }) = &Routed::make() else {
            return skip("over_a_router_with_nothing_but_the_address", "forwarding cannot be switched on");
        };
        let reflector = reflect(far, "");
        for address in Routed::FAR {
            let ended = run_from(near, &format!("--reflector {address} --count 20 --interval 5ms"));
            check_answered(&ended, 20);
            let log = Log::read(&ended.stdout);
            for probe in of(&log, "probe") {
                let ttl = ["forward_header", "backward_header"].map(|key| number(&probe[key], "ttl"));
                assert_eq!(ttl, [254, 254], "one router on each way: {probe}");
            }
        }
        end(reflector);
        // A reflector on the router itself answers nothing that only passes.
        let passive = router.spawn(&mut afprobe("reflect --iface-name eth1 --format json"));
        let ended = run_from(near, &format!("--reflector {} --count 5 --interval 5ms --timeout 100ms", Routed::FAR[0]));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let log = Log::read(&ended.stdout);
        assert_eq!(numbers(one(&log, "summary"), ["sent", "received"]), [5, 0]);
        let summary = end(passive);
        assert_eq!(number(&summary, "answered"), 0, "{summary}");
        assert!(number(&summary, "foreign") >= 5, "{summary}");
    });
}

#[test]
fn marks_and_lengths_arrive_as_they_were_sent() {
    with_privileges("marks_and_lengths_arrive_as_they_were_sent", &["ip"], || {
        let [near, far] = &two_hosts();
        let reflector = reflect(far, "");
        for (arguments, dscp, ecn) in [("--dscp EF --ecn ect0 --size 1000", 46, 2), ("--dscp AF41 --size 44", 34, 0)] {
            let line = format!("--reflector {} --count 10 --interval 5ms {arguments}", far.ipv4);
            let ended = run_from(near, &line);
            assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{arguments}");
            let log = Log::read(&ended.stdout);
            for probe in of(&log, "probe") {
                let header = &probe["backward_header"];
                assert_eq!(numbers(header, ["ttl", "dscp", "ecn"]), [255, dscp, ecn], "{arguments}: {probe}");
            }
        }
        end(reflector);
        let ended = run_from(near, &format!("--reflector {} --size 43", far.ipv4));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
        assert!(ended.stderr.contains("--size: the shortest packet has 44 bytes"), "{}", ended.stderr);
        let ended = run_from(near, &format!("--reflector {} --size 1473", far.ipv4));
        assert_eq!(ended.code, Some(2), "28 bytes of headers and an MTU of 1500");
    });
}

#[test]
fn loss_and_long_round_trips_exit_with_1() {
    with_privileges("loss_and_long_round_trips_exit_with_1", &["ip"], || {
        let [near, far] = &two_hosts();
        let code = |arguments: &str, timeout: &str| {
            let to = format!("--reflector {} --count 5 --interval 5ms --timeout {timeout}", far.ipv4);
            run_from(near, &format!("{to} {arguments}")).code
        };
        let unanswered = |arguments| code(arguments, "100ms");
        assert_eq!(unanswered(""), Some(0), "nobody answers, and nobody minds");
        assert_eq!((unanswered("--max-loss 99"), unanswered("--max-loss 100")), (Some(1), Some(0)));
        assert_eq!(unanswered("--max-rtt-p99 10s"), Some(1), "what is not known is not within a limit");
        let reflector = reflect(far, "");
        let answered = |arguments| code(arguments, "20s");
        assert_eq!((answered("--max-loss 0"), answered("--max-rtt-p99 1ns")), (Some(0), Some(1)));
        assert_eq!(answered("--max-rtt-p99 10s --max-loss 0"), Some(0));
        end(reflector);
    });
}

#[test]
fn a_signal_ends_both_sides_with_a_summary() {
    with_privileges("a_signal_ends_both_sides_with_a_summary", &["ip"], || {
        let [near, far] = &two_hosts();
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let reflector = reflect(far, "");
            let line = format!("run --reflector {} --interval 10ms --format json", far.ipv4);
            let mut prober = near.spawn(&mut afprobe(&line));
            prober.wait_until("ten probes", |prober| of(&prober.log(), "probe").len() >= 10);
            prober.signal(signal);
            let ended = prober.end();
            assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{signal}");
            let log = Log::read(&ended.stdout);
            let summary = one(&log, "summary");
            let [sent, received, lost] = numbers(summary, ["sent", "received", "lost"]);
            assert_eq!((sent, lost), (received, 0), "{signal}: {summary}");
            let told = i64::try_from(of(&log, "probe").len()).unwrap();
            assert_eq!(told, sent, "each is told of");
            let last = of(&log, "probe").last().map(|probe| probe["t3"]["software_ns"].is_i64());
            assert_eq!(last, Some(true), "the last stamp was asked for");
            reflector.signal(signal);
            let ended = reflector.end();
            assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{signal}");
            let log = Log::read(&ended.stdout);
            let [answered, questions] = numbers(one(&log, "summary"), ["answered", "questions"]);
            assert_eq!(answered - questions, sent, "{signal}");
        }
        // Also when nobody answers, and there is something to wait for.
        let line = format!("run --reflector {} --interval 10ms --timeout 60s --format json", far.ipv4);
        let mut prober = near.spawn(&mut afprobe(&line));
        prober.wait_until("the first line", |prober| !prober.stdout().is_empty());
        std::thread::sleep(Duration::from_millis(100));
        let ended = prober.interrupt();
        assert_eq!(ended.code, Some(0));
        let log = Log::read(&ended.stdout);
        let [sent, received] = numbers(one(&log, "summary"), ["sent", "received"]);
        assert!(sent > 0 && received == 0, "{}", ended.stdout);
    });
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    where_a_lab_works("a_reader_that_leaves_is_no_failure", || {
        for format in ["human --verbose", "logfmt", "json"] {
            let mut lab = Process::spawn(&mut afprobe(&format!("lab --reflect --interval 5ms --format {format}")));
            lab.wait_until("the first line", |lab| !lab.stdout().is_empty());
            lab.stop_reading();
            let ended = lab.end();
            assert_eq!(ended.code, Some(0), "{format}: {}", ended.stderr);
        }
    });
}

#[test]
fn another_dissector_reads_all_packets_and_no_kernel_complains() {
    let test = "another_dissector_reads_all_packets_and_no_kernel_complains";
    with_privileges(test, &["ip", "tcpdump", "tshark"], || {
        let [near, far] = &two_hosts();
        let mut tcpdump = far.spawn(Command::new("tcpdump").args(TCPDUMP));
        tcpdump.wait_until("listening", |tcpdump| tcpdump.stderr().contains("listening on eth1"));
        let reflector = reflect(far, "");
        for address in [far.ipv4.to_string(), far.ipv6.to_string()] {
            check_answered(&run_from(near, &format!("--reflector {address} --count 50 --interval 2ms")), 50);
        }
        let [answered] = numbers(&end(reflector), ["answered"]);
        let expected = usize::try_from(2 * answered).unwrap();
        let is_stamp = |frame: &&[u8]| [34, 36, 54, 56].iter().any(|&at| frame.get(at..at + 2) == Some(&[0x03, 0x5e]));
        tcpdump.wait_until("all packets", |tcpdump| {
            frames_in(&tcpdump.stdout()).into_iter().filter(is_stamp).count() >= expected
        });
        let capture = tcpdump.interrupt_for_bytes();
        let count = |filter: &str| tshark(&capture, filter, &["-d", "udp.port==862,twamp.test"]).len();
        assert_eq!(count("twamp.test"), expected);
        assert_eq!(count("udp.port == 862 && udp.checksum.status == 1"), expected);
        assert_eq!(count("_ws.malformed || udp.checksum.status == 0 || ip.checksum.status == 0"), 0);
        assert_eq!(count("icmp || (icmpv6.type && icmpv6.type < 128)"), 0, "no kernel complains");
        assert_eq!(count("twamp.test && !(ip.ttl == 255 || ipv6.hlim == 255)"), 0);
    });
}

#[test]
fn what_cannot_be_done_is_said_in_one_line() {
    with_privileges("what_cannot_be_done_is_said_in_one_line", &["ip"], || {
        let [near, far] = &two_hosts();
        let _taken = far.udp(far.ipv4, 862);
        let empty = KeyFile::new("empty", b"\n");
        for (arguments, named) in [
            ("reflect --iface-name eth7".to_owned(), "eth7"),
            ("reflect --iface-name eth1 --wire seed".to_owned(), "--wire seed goes one way"),
            ("reflect --iface-name eth1 --port 862".to_owned(), "0.0.0.0:862"),
            (format!("reflect --iface-name eth1 {}", empty.argument()), "there is no key"),
            ("reflect --iface-name eth1 --auth-key-file /nowhere".to_owned(), "/nowhere"),
            (format!("run --reflector {} --wire seed", near.ipv4), "--wire seed goes one way"),
            (format!("run --reflector {} --wire ptp --src-port 5", near.ipv4), "PTP has UDP port 319"),
            (format!("run --reflector {}:5 --wire ptp-udp", near.ipv4), "PTP has UDP port 319"),
            (format!("run --reflector {} --src-port 862", near.ipv4), "--src-port"),
            (format!("run --reflector {0} --dst-addr {0}", near.ipv4), "--reflector says address and port"),
            (format!("run --reflector {} --dst-port 5", near.ipv4), "--reflector says address and port"),
            ("run --reflector 203.0.113.9".to_owned(), "203.0.113.9"),
            (format!("run --dst-addr {} --wire stamp", near.ipv4), "--reflector"),
            ("lab --wire stamp".to_owned(), "--reflect"),
            ("lab --reflect --wire ptp --size 101".to_owned(), "even length"),
        ] {
            let ended = far.run(&mut afprobe(&arguments));
            assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{arguments}: {}", ended.stderr);
            assert!(
                ended.stderr.starts_with("afprobe: ") && ended.stderr.contains(named),
                "{arguments}: {}",
                ended.stderr
            );
            assert_eq!(ended.stderr.lines().count(), 1, "{arguments}: {}", ended.stderr);
        }
    });
}
