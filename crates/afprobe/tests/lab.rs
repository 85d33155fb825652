//! Tests of `afprobe lab` as a user starts it: what it prints, how it ends, what it leaves.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds something else than it expects shall panic"
)]

mod common;

use std::fs::{self, File};
use std::process::Command;
use std::thread;
use std::time::Duration;

use common::process::{Process, processes_with, run};
use common::{Log, afprobe, eventually, keys, number, where_a_lab_works};
use jiff::Timestamp;
use nix::sys::signal::Signal;
use serde_json::Value;

const HOSTS: [&str; 2] = ["fast-afpacket-101", "fast-afpacket-102"];
const PEERS: [(&str, &str); 2] = [(HOSTS[0], HOSTS[1]), (HOSTS[1], HOSTS[0])];

#[test]
fn every_probe_is_stamped_and_arrives() {
    where_a_lab_works("every_probe_is_stamped_and_arrives", || check_twenty_probes(""));
}

#[test]
fn every_probe_is_stamped_and_arrives_over_ipv6() {
    where_a_lab_works("every_probe_is_stamped_and_arrives_over_ipv6", || check_twenty_probes("--ipv6"));
}

#[test]
fn ptp_probes_are_stamped_and_arrive_as_well() {
    where_a_lab_works("ptp_probes_are_stamped_and_arrive_as_well", || {
        ["--wire ptp", "--wire ptp-udp", "--wire ptp-udp --ipv6"].into_iter().for_each(check_twenty_probes);
    });
}

fn check_twenty_probes(arguments: &str) {
    const TX_KEYS: [&str; 10] = [
        "event",
        "host",
        "probe",
        "userspace_ns",
        "scheduled_ns",
        "software_ns",
        "hardware_ns",
        "returned_ns",
        "outcome",
        "reason",
    ];
    const RX_KEYS: [&str; 7] = ["event", "host", "probe", "software_ns", "hardware_ns", "userspace_ns", "delay_ns"];

    let ended = run(&mut afprobe(&format!("lab --count 20 --interval 50ms --format json {arguments}")));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert_eq!(ended.stdout.matches(r#","schema":1}"#).count(), 1, "in the first line: {}", ended.stdout);
    assert!(ended.stdout.lines().next().unwrap().ends_with(r#","schema":1}"#), "{}", ended.stdout);
    let log = Log::read(&ended.stdout);
    let with_schema: Vec<&Value> = log.all().iter().filter(|value| value.get("schema").is_some()).collect();
    assert_eq!(with_schema, [&log.all()[0]], "the first line");
    assert_eq!(with_schema[0]["schema"], 1);
    let ids: Vec<u64> = (1..=20).collect();
    for (host, peer) in PEERS {
        assert_eq!(log.probes("tx", host), ids, "sent by {host}");
        assert_eq!(log.probes("rx", peer), ids, "received by {peer}");
        let mut one_way = Vec::new();
        for (tx, rx) in log.of("tx", host).into_iter().zip(log.of("rx", peer)) {
            let besides_schema = |value| keys(value).into_iter().filter(|key| *key != "schema");
            assert!(besides_schema(tx).eq(TX_KEYS) && besides_schema(rx).eq(RX_KEYS), "{tx} {rx}");
            assert_eq!(tx["outcome"], "stamped", "{tx}");
            assert!(tx["hardware_ns"].is_null() && rx["hardware_ns"].is_null(), "{tx} {rx}");
            let (sent, received) = (number(tx, "software_ns"), number(rx, "software_ns"));
            let way =
                [number(tx, "userspace_ns"), number(tx, "scheduled_ns"), sent, received, number(rx, "userspace_ns")];
            assert!(way.is_sorted(), "{tx} {rx}");
            assert_eq!(number(rx, "delay_ns"), number(rx, "userspace_ns") - received, "{rx}");
            one_way.push(received - sent);
        }
        check_summary(log.summary(host), log.summary(peer), one_way);
    }
    let counted = log.all().iter().filter(|value| value["event"] != "stats").count();
    assert_eq!(counted, 2 * (20 + 20 + 1), "nothing else is told of");
}

/// Of a host and of the peer that received its probes with these one-way times.
fn check_summary(own: &Value, peers: &Value, mut one_way: Vec<i64>) {
    const KEYS: [&str; 12] = [
        "event",
        "host",
        "sent",
        "stamped",
        "hardware_skipped",
        "missing",
        "refused",
        "received",
        "lost",
        "duplicates",
        "foreign",
        "one_way_ns",
    ];
    assert_eq!(keys(own), KEYS);
    let counts: Vec<i64> = KEYS[2..11].iter().map(|key| number(own, key)).collect();
    assert_eq!(counts, [20, 20, 0, 0, 0, 20, 0, 0, 0], "{own}");

    one_way.sort_unstable();
    let times = &peers["one_way_ns"];
    assert_eq!(keys(times), ["min", "p50", "p99", "max"]);
    let [min, p50, p99, max] = ["min", "p50", "p99", "max"].map(|key| number(times, key));
    assert_eq!((min, max), (one_way[0], one_way[19]));
    assert!(min <= p50 && p50 <= p99 && p99 <= max, "{times}");
    // Quantiles are good to a thousandth: the tenth of twenty, and the last.
    assert!((p50 - one_way[9]).abs() <= 1 + one_way[9] / 1000, "{times}: {one_way:?}");
    assert!((p99 - max).abs() <= 1 + max / 1000, "{times}");
}

#[test]
fn hardware_stamps_are_refused_or_done_without() {
    where_a_lab_works("hardware_stamps_are_refused_or_done_without", || {
        let required = run(&mut afprobe("lab --count 1 --hardware required"));
        assert_eq!((required.code, required.stdout.as_str()), (Some(2), ""));
        assert!(required.stderr.contains("eth1") && required.stderr.contains("takes no hardware timestamps"));
        let preferred = run(&mut afprobe("lab --count 1 --hardware preferred --format json"));
        assert_eq!(preferred.code, Some(0));
        let complaints: Vec<_> = preferred.stderr.lines().collect();
        assert_eq!(complaints.len(), 2, "one for each host: {complaints:?}");
        assert!(complaints.iter().all(|line| line.starts_with("afprobe: no hardware timestamps on eth1: ")));
        let log = Log::read(&preferred.stdout);
        HOSTS.iter().for_each(|host| assert_eq!(number(log.summary(host), "stamped"), 1));
    });
}

#[test]
fn logfmt_has_the_go_examples_keys() {
    where_a_lab_works("logfmt_has_the_go_examples_keys", || {
        let stamps = ["hardware", "hardware_ns", "probe", "software", "software_ns"];
        let head = ["level", "msg", "host"];
        let rx = [&head[..], &["delay"], &stamps, &["userspace", "userspace_ns"]].concat();
        let after =
            ["scheduled", "scheduled_ns", "userspace", "userspace_ns", "returned", "returned_ns", "outcome", "reason"];
        let tx = [&head[..], &stamps, &after].concat();

        let ended = run(&mut afprobe("lab --count 3 --interval 10ms --format logfmt"));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        let (mut received, mut sent) = (0, 0);
        for line in ended.stdout.lines() {
            let fields = logfmt_fields(line);
            let names: Vec<&str> = fields.iter().map(|(key, _)| *key).collect();
            let value = |wanted: &str| fields.iter().find(|(key, _)| *key == wanted).unwrap().1;
            assert!(HOSTS.contains(&value("host")), "{line}");
            match value("msg") {
                "RX Recvmsg" => {
                    received += 1;
                    assert_eq!(names, rx, "{line}");
                }
                "TX Recvmsg" => {
                    sent += 1;
                    assert_eq!(names, tx, "{line}");
                }
                "Stats" | "Summary" => continue,
                other => panic!("{other}: {line}"),
            }
            for time in ["software", "userspace"] {
                let nanos = value(time).parse::<Timestamp>().unwrap().as_nanosecond().to_string();
                assert_eq!(nanos, value(&format!("{time}_ns")), "{line}");
            }
            assert_eq!((value("hardware"), value("hardware_ns")), ("", ""), "{line}");
        }
        assert_eq!((received, sent), (6, 6), "{}", ended.stdout);
    });
}

/// The keys and values of a line, without the quotes.
fn logfmt_fields(mut line: &str) -> Vec<(&str, &str)> {
    let mut fields = Vec::new();
    while let Some((key, rest)) = line.split_once('=') {
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or_else(|| panic!("a quote is open: {line}")),
            None => rest.find(' ').map_or((rest, ""), |end| rest.split_at(end)),
        };
        fields.push((key, value));
        line = rest.strip_prefix(' ').unwrap_or(rest);
    }
    assert_eq!(line, "", "something that is no field");
    fields
}

#[test]
fn a_signal_ends_it_with_a_summary() {
    where_a_lab_works("a_signal_ends_it_with_a_summary", || {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let mut lab = Process::spawn(&mut afprobe("lab"));
            // The way is told of before; a probe's line says that signals are heard.
            lab.wait_until("the first lines", |lab| !lab.stdout().is_empty());
            lab.signal(signal);
            let ended = lab.end();
            assert_eq!(ended.code, Some(0), "{signal}: {}", ended.stderr);
            let (_, table) = ended.stdout.split_once("\n\n").unwrap();
            let rows: Vec<&str> = table.lines().filter_map(|row| row.split_whitespace().next()).collect();
            assert_eq!(rows, ["host", HOSTS[0], HOSTS[1]], "{signal}: {}", ended.stdout);
        }
    });
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    where_a_lab_works("a_reader_that_leaves_is_no_failure", || {
        for format in ["human", "logfmt", "json"] {
            let mut lab = Process::spawn(&mut afprobe(&format!("lab --interval 10ms --format {format}")));
            lab.wait_until("the first line", |lab| !lab.stdout().is_empty());
            lab.stop_reading();
            let ended = lab.end();
            assert_eq!(ended.code, Some(0), "{format}: {}", ended.stderr);
        }
    });
}

#[test]
fn an_output_that_cannot_be_written_is_a_failure() {
    where_a_lab_works("an_output_that_cannot_be_written_is_a_failure", || {
        let full = || File::options().write(true).open("/dev/full").unwrap();
        let lab = afprobe("lab --count 2 --interval 1ms").stdout(full()).output().unwrap();
        let stderr = String::from_utf8_lossy(&lab.stderr);
        assert_eq!(lab.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("cannot write the report"), "{stderr}");
        // Of hints, and of the fault itself, that nobody can read, there is no more to say.
        let lab = afprobe("lab --count 2 --interval 1ms").stderr(full()).output().unwrap();
        assert_eq!(lab.status.code(), Some(0));
        let lab = afprobe("lab --count 2 --interval 1ms").stdout(full()).stderr(full()).output().unwrap();
        assert_eq!(lab.status.code(), Some(2));
    });
}

#[test]
fn bad_arguments_exit_with_2_and_are_named() {
    for (arguments, named) in [
        ("", "Usage: afprobe"),
        ("lap", "'lap'"),
        ("lab --speed 3", "'--speed'"),
        ("lab --count 0", "'--count <N>'"),
        ("lab --interval 5", "'--interval <TIME>'"),
        ("lab --duration soon", "'--duration <TIME>'"),
        ("lab --max-loss 101", "'--max-loss <PERCENT>'"),
        ("lab --format xml", "'--format <FORMAT>'"),
        ("lab --wire udp", "'--wire <WIRE>'"),
        ("lab --wire ptp --ipv6", "--wire ptp-udp"),
        ("run", "--dst-addr <ADDR>"),
        ("run --dst-addr 192.168.56", "'--dst-addr <ADDR>'"),
        ("run --dst-addr 192.168.56.102 --dst-mac 1:2", "'--dst-mac <MAC>'"),
        ("run --dst-addr 192.168.56.102 --src-port 65536", "'--src-port <PORT>'"),
        ("run --dst-addr 192.168.56.102 --wire ptp --src-port 60000", "--src-port and --dst-port are for --wire seed"),
        (
            "run --dst-addr 192.168.56.102 --wire ptp-udp --dst-port 319",
            "--src-port and --dst-port are for --wire seed",
        ),
    ] {
        let ended = run(&mut afprobe(arguments));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{arguments}: {}", ended.stderr);
        assert!(ended.stderr.contains(named), "{arguments}: {}", ended.stderr);
    }
}

/// How a lab is made to end.
#[derive(Clone, Copy, Debug)]
enum End {
    Count,
    Signal(Signal),
    ClosedStdout,
}

#[test]
fn nothing_is_left_however_it_ends() {
    common::in_a_user_namespace("nothing_is_left_however_it_ends", &["setpriv"], || {
        // The kernel counts the namespaces that were made from within a user namespace until they are freed. Where two
        // network namespaces and one user namespace are all that there may be, no lab starts while another, or what it
        // left, is there.
        for (limit, number) in [("max_net_namespaces", "2"), ("max_user_namespaces", "1")] {
            if let Err(error) = fs::write(format!("/proc/sys/user/{limit}"), number) {
                return common::skip("nothing_is_left_however_it_ends", &format!("{limit}: {error}"));
            }
        }
        let signals = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL].map(End::Signal);
        let ends = [&[End::Count], &signals[..], &[End::ClosedStdout, End::Count]].concat();
        // With all that it needs, and as root of a container, who has to make a user namespace first.
        for launcher in ["", "setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin --"] {
            ends.iter().for_each(|end| check_end(launcher, *end));
        }
    });
}

fn check_end(launcher: &str, end: End) {
    const MARK: &str = "AFPROBE_TEST_MARK";
    let mark = std::process::id().to_string();
    let lab = |arguments: &str| {
        let line = format!("{launcher} {} lab --format json {arguments}", env!("CARGO_BIN_EXE_afprobe"));
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        command.args(words).env(MARK, &mark);
        command
    };
    let arguments = if matches!(end, End::Count) { "--count 20 --interval 10ms" } else { "--interval 10ms" };
    let mut running = start_where_there_is_room(&mut lab(arguments));
    if !running.has_ended() {
        assert_eq!(processes_with(MARK, &mark), [running.pid().to_string()]);
    }
    let expected = match end {
        End::Count => Some(0),
        End::Signal(signal) => {
            // The limits are what this test thinks that they are.
            let second = run(&mut lab("--count 1"));
            assert!(second.code == Some(2) && says_no_room(&second.stderr), "{second:?}");
            running.signal(signal);
            (signal != Signal::SIGKILL).then_some(0)
        }
        End::ClosedStdout => {
            running.stop_reading();
            Some(0)
        }
    };
    let ended = running.end();
    assert_eq!(ended.code, expected, "{end:?}: {}", ended.stderr);
    assert_eq!(processes_with(MARK, &mark), [""; 0], "after {end:?}");
    if matches!(end, End::Count | End::Signal(Signal::SIGINT | Signal::SIGTERM)) {
        let log = Log::read(&ended.stdout);
        HOSTS.iter().for_each(|host| assert_eq!(number(log.summary(host), "missing"), 0, "{end:?}"));
    }
}

/// Starts a lab once the kernel has freed the namespaces of the one before, which it does a little later, and waits for
/// its first line. An attempt that fails has namespaces to be freed too, so that the pauses have to grow.
fn start_where_there_is_room(lab: &mut Command) -> Process {
    for attempt in 0..12 {
        let mut process = Process::spawn(lab);
        eventually("a lab that starts or does not", || process.has_ended() || !process.stdout().is_empty());
        if !process.stdout().is_empty() {
            return process;
        }
        let ended = process.end();
        assert!(says_no_room(&ended.stderr), "{ended:?}");
        thread::sleep(Duration::from_millis(10 << attempt));
    }
    panic!("the namespaces of the lab before are still there");
}

fn says_no_room(stderr: &str) -> bool {
    stderr.contains("No space left on device")
}
