//! A long measurement takes no more memory than a short one.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds something else than it expects shall panic"
)]

mod common;

use std::fs;

use common::process::Process;
use common::two_way::{end, reflect, summary};
use common::{afprobe, eventually, number, two_hosts, with_privileges};

/// Bytes of memory that a process has in use: `VmRSS`.
fn resident(process: &Process) -> i64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<i64>().unwrap()
}

/// How many probes the reflector has answered, as it says every five seconds.
fn answered(reflector: &Process) -> i64 {
    let log = reflector.log();
    log.all().iter().rfind(|event| event["event"] == "stats").map_or(0, |stats| number(stats, "answered"))
}

/// Longer than anything that is remembered: unfinished probes, windows of 16,384 and 32,768 of them, sessions' stamps.
#[test]
fn neither_side_grows() {
    with_privileges("neither_side_grows", &["ip"], || {
        const ALL: i64 = 150_000;
        let [near, far] = &two_hosts();
        let reflector = reflect(far, "");
        let line = format!("run --reflector {} --interval 100us --format json --summary-only", far.ipv4);
        let prober = near.spawn(&mut afprobe(&line));
        let both = [&prober, &reflector];
        eventually("a fifth of the probes", || answered(&reflector) >= ALL / 5);
        let before = both.map(resident);
        eventually("all probes", || answered(&reflector) >= ALL);
        let after = both.map(resident);
        let grown = [after[0] - before[0], after[1] - before[1]];
        let summary = summary(&prober.interrupt());
        end(reflector);
        assert!(grown.iter().all(|&bytes| bytes < 2 << 20), "{before:?} and then {after:?}");
        eprintln!("{before:?} bytes and then {after:?}, of {} probes", summary["sent"]);
    });
}
