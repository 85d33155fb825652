//! What people and programs see of measurements that are true to life.

use serde_json::Value;

use super::sample::{Hosts, Sample, sample};
use crate::cli::Format;
use crate::report::{Look, with_look};

/// All that a report prints of a measurement.
fn print(format: Format, look: Look, sample: &Sample) -> String {
    let mut out = Vec::new();
    {
        let mut report = with_look(format, look, &mut out);
        report.start(&sample.start).unwrap();
        for finished in sample.probes.iter().take(3) {
            report.probe(finished).unwrap();
        }
        report.progress(&sample.progress).unwrap();
        report.two_way_summary(&sample.summary).unwrap();
        report.flush().unwrap();
    }
    String::from_utf8(out).unwrap()
}

const ONE_CLOCK: &str = "\
192.168.56.102:862 through eth1, stamp

192.168.56.102:862: 999 probes sent, 988 answered, 11 lost (1.10 %)

                     there →         ← back     round trip   without reflector
min                 26.24 µs       23.22 µs       58.07 µs            49.99 µs
p50                 28.28 µs       24.63 µs       62.13 µs            53.20 µs
p90                 31.08 µs       26.28 µs       66.46 µs            56.59 µs
p99                 50.74 µs       46.03 µs       97.38 µs            82.27 µs
p99.9               88.42 µs       55.63 µs       129.5 µs            113.1 µs
max                 88.45 µs       55.64 µs       129.5 µs            113.1 µs
variation p99       22.49 µs       21.69 µs
lost              7 (0.70 %)     4 (0.40 %)    11 (1.10 %)
reordered                  0              0              0
duplicates                 2              0              2

where the time went                       p50        p99
sender     system call               1.005 µs   4.174 µs ▎
           queue                       278 ns     997 ns ▏
there →    driver, wire, interrupt   28.28 µs   50.74 µs █████████▋
reflector  wake-up                   5.258 µs   15.64 µs           █▊
           program                   1.878 µs   5.678 µs            ▋
           system call                 997 ns   1.692 µs             ▍
           queue                       278 ns   1.147 µs             ▏
← back     driver, wire, interrupt   24.63 µs   46.03 µs             ████████▍
sender     wake-up                   5.342 µs   39.34 µs                      █▉

clocks       both hosts read one clock
stamps       the kernels': drivers and cards are in the times of the ways
             2 probes had other stamps, and are not in all of the times above
sent late    by 3.631 µs, p99 61.42 µs, max 113.4 µs
no stamp     2 software at T4
refused      1 probe not sent: the kernel did not take it
not used     3 foreign frames
";

const APART: &str = "\
where the time went                       p50        p99
sender     system call               1.005 µs   4.174 µs ▎
           queue                       278 ns     997 ns ▏
           driver                    1.517 µs   2.457 µs ▌
there →    wire                     250.0 ms?  250.0 ms?
           both ways together        41.10 µs   67.74 µs ██████████████
reflector  interrupt                 4.270 µs   8.628 µs               █▍
           wake-up                   5.258 µs   15.64 µs                 █▉
           program                   1.878 µs   5.678 µs                   ▋
           system call                 997 ns   1.692 µs                   ▍
           queue                       278 ns   1.147 µs                    ▏
           driver                    1.509 µs   4.986 µs                    ▌
← back     wire                    -250.0 ms? -250.0 ms?
sender     interrupt                 4.262 µs   6.242 µs                    █▌
           wake-up                   5.342 µs   39.34 µs                      █▉

clocks       not synchronised; the reflector's is 250.0 ms ahead, give or take
             19.70 µs; drift -2.140 ppm
             the reflector's kernel says that nobody keeps its clock on time
?            not to be believed: the two hosts' clocks may be 250.0 ms apart,
             more than half of the time itself
stamps       the cards' own: from wire to wire
             2 probes had other stamps, and are not in all of the times above
sent late    by 3.631 µs, p99 61.42 µs, max 113.4 µs
no stamp     2 software at T4
refused      1 probe not sent: the kernel did not take it
not used     3 foreign frames
";

#[test]
fn a_page_at_a_glance() {
    assert_eq!(print(Format::Human, Look::default(), &sample(Hosts::OneClock)), ONE_CLOCK);
    let apart = print(Format::Human, Look::default(), &sample(Hosts::Apart));
    assert_eq!(apart.lines().skip(16).map(|line| format!("{line}\n")).collect::<String>(), APART);
}

#[test]
fn no_line_is_longer_than_a_terminal() {
    for hosts in [Hosts::OneClock, Hosts::Apart, Hosts::Foreign] {
        let text = print(Format::Human, Look { verbose: true, progress: false }, &sample(hosts));
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
            assert_eq!(line, line.trim_end());
        }
    }
}

#[test]
fn what_a_foreign_reflector_does_not_say_is_unknown() {
    let text = print(Format::Human, Look::default(), &sample(Hosts::Foreign));
    for part in [
        "lost                 unknown        unknown    11 (1.10 %)\n",
        "lost         11 probes of which nobody knows the way\n",
        "there →    driver to wake-up ",
        "           both ways together ",
        "stamps       software of the sender, userspace of the reflector\n",
        "changed      DSCP back of 988\n",
    ] {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
}

#[test]
fn progress_gives_way_to_the_next_line() {
    let text = print(Format::Human, Look { verbose: false, progress: true }, &sample(Hosts::OneClock));
    let progress = "\n999 sent, 988 answered, 11 lost (1.10 %); round trip 62.13 µs, p99 97.38 µs\r\u{1b}[K\n192.168";
    assert!(text.contains(progress), "{text}");
}

#[test]
fn a_line_for_each_probe() {
    let sample = sample(Hosts::Apart);
    let lines: String = sample.probes[499..502].iter().map(super::human::probe).collect();
    let expected = "     \
     499   57.81 µs   there  250.0 ms?   back -250.0 ms?   reflector  14.01 µs
     500  refused by the kernel
     501   55.16 µs   there  250.0 ms?   back -250.0 ms?   reflector  14.39 µs
";
    assert_eq!(lines, expected);
    let lost = sample.probes.iter().find(|finished| finished.times.is_none() && finished.probe.seq > 500).unwrap();
    assert_eq!(super::human::probe(lost).trim_start().split_once(' ').unwrap().1, " lost\n");
}

/// Calls with each key of an object, and of the objects in it.
fn each_key(value: &Value, see: &mut impl FnMut(&str)) {
    for (key, value) in value.as_object().into_iter().flatten() {
        see(key);
        each_key(value, see);
    }
}

#[test]
fn every_key_is_documented() {
    let documented = include_str!("../../../OUTPUT.md");
    for hosts in [Hosts::Apart, Hosts::Foreign] {
        let text = print(Format::Json, Look::default(), &sample(hosts));
        for line in text.lines() {
            each_key(&serde_json::from_str(line).unwrap(), &mut |key| {
                let name = key.strip_suffix("_ns").unwrap_or(key);
                let is_documented =
                    documented.contains(&format!("`{key}`")) || documented.contains(&format!("`{name}`"));
                assert!(is_documented, "{key}");
            });
        }
    }
}

#[test]
fn objects_have_the_keys_that_are_promised() {
    let text = print(Format::Json, Look::default(), &sample(Hosts::OneClock));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["event"], &lines[0]["schema"]), (&"start".into(), &1.into()));
    assert!(lines[1..].iter().all(|line| line["schema"].is_null()));
    let probe = r#"{"event":"probe","seq":2,"outcome":"answered","rtt_ns":64640,"rtt_net_ns":55632,"forward_ns":28783,"backward_ns":26849,"forward_valid":true,"backward_valid":true,"reason":null,"basis":{"sender":"software","reflector":"software"},"t1":{"userspace_ns":1652138202020002406,"scheduled_ns":1652138202020003552,"software_ns":1652138202020003856,"hardware_ns":null,"hardware_system_ns":null,"hardware_bound_ns":null},"t2":{"userspace_ns":1652138202020038293,"scheduled_ns":null,"software_ns":1652138202020032639,"hardware_ns":null,"hardware_system_ns":null,"hardware_bound_ns":null},"t3":{"userspace_ns":1652138202020040038,"scheduled_ns":1652138202020041343,"software_ns":1652138202020041647,"hardware_ns":null,"hardware_system_ns":null,"hardware_bound_ns":null},"t4":{"userspace_ns":1652138202020074579,"scheduled_ns":null,"software_ns":1652138202020068496,"hardware_ns":null,"hardware_system_ns":null,"hardware_bound_ns":null},"due_ns":1652138202020000000,"tx_outcome":"stamped","tx_reason":null,"forward_header":{"ttl":64,"dscp":0,"ecn":0},"backward_header":{"ttl":64,"dscp":0,"ecn":0}}"#;
    assert_eq!(text.lines().nth(3).unwrap(), probe);
    let summary = &lines[4];
    assert_eq!(summary["event"], "summary");
    for key in
        ["sent", "received", "lost_forward", "lost_backward", "duplicates", "reordered_forward", "reordered_backward"]
    {
        assert!(summary[key].is_u64(), "{key}");
    }
    for key in ["rtt_ns", "rtt_net_ns", "forward_ns", "backward_ns", "ipdv_forward_ns", "send_error_ns"] {
        for figure in ["min", "p50", "p90", "p99", "p999", "max"] {
            assert!(summary[key][figure].is_i64(), "{key} {figure}");
        }
    }
    assert_eq!(summary["forward_ns"]["valid"], true);
    let breakdown = &summary["breakdown"];
    assert!(breakdown["send_user_to_scheduled_ns"]["p999"].is_i64());
    assert!(breakdown["send_software_to_hardware_ns"].is_null(), "no card stamps here");
    let includes = ["send_software_to_hardware", "reflector_hardware_to_software"];
    assert_eq!(breakdown["forward_wire_ns"]["includes"], serde_json::json!(includes));
    assert_eq!(summary["clock"]["synchronised"], true);
    assert_eq!(summary["missing_stamps"]["t4"]["software"], 2);
}

#[test]
fn a_one_way_time_that_cannot_be_believed_says_why() {
    let text = print(Format::Json, Look::default(), &sample(Hosts::Apart));
    let summary: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    for value in [&summary["forward_ns"], &summary["backward_ns"], &summary["breakdown"]["forward_wire_ns"]] {
        assert_eq!(value["valid"], false);
        let reason = "the two hosts' clocks may be 250.0 ms apart, more than half of the time itself";
        assert_eq!(value["reason"], reason);
    }
    assert!(summary["backward_ns"]["p50"].as_i64().unwrap() < 0);
    let spread = summary["forward_ns"]["p90"].as_i64().unwrap() - summary["forward_ns"]["p50"].as_i64().unwrap();
    assert!((1_000..10_000).contains(&spread), "differences do not drown in the offset: {spread}");
}

#[test]
fn the_same_as_key_value_lines() {
    let text = print(Format::Logfmt, Look::default(), &sample(Hosts::Apart));
    let lines: Vec<&str> = text.lines().collect();
    let start = "level=info msg=\"Start\" host=a interface=eth1 reflector=192.168.56.102:862 wire=stamp";
    assert_eq!(lines[0], start);
    assert!(lines[1].starts_with("level=info msg=\"Probe\" host=a seq=0 outcome=answered rtt_ns=59126 rtt_net_ns="));
    assert!(lines[4].starts_with("level=info msg=\"Summary\" host=a sent=999 received=988 late=0 lost=11 "));
    assert!(lines[4].contains(" breakdown_send_software_to_hardware_ns_p50=1517 "), "{}", lines[4]);
    assert!(lines[4].contains(" clock_reasons=\"the reflector's kernel says that nobody keeps its clock on time\" "));
}

#[test]
fn nobody_answered() {
    let unreachable = sample(Hosts::Unreachable);
    let expected = "\
192.168.56.102:862 through eth1, stamp

192.168.56.102:862: 999 probes sent, 0 answered, 999 lost (100 %)

                     there →         ← back     round trip   without reflector
lost                 unknown        unknown    999 (100 %)
reordered            unknown        unknown              0
duplicates           unknown        unknown              0

clocks       not known to be synchronised
sent late    by 3.807 µs, p99 30.06 µs, max 85.85 µs
lost         999 probes of which nobody knows the way
refused      1 probe not sent: the kernel did not take it
not used     3 foreign frames
";
    assert_eq!(print(Format::Human, Look::default(), &unreachable), expected);
    let summary = print(Format::Json, Look::default(), &unreachable);
    let summary: Value = serde_json::from_str(summary.lines().last().unwrap()).unwrap();
    assert_eq!((&summary["received"], &summary["lost_unknown"]), (&0.into(), &999.into()));
    for key in ["rtt_ns", "forward_ns", "ipdv_backward_ns"] {
        assert!(summary[key].is_null(), "{key}");
    }
    assert!(summary["breakdown"]["forward_wire_ns"].is_null());
}
