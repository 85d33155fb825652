//! Tests of what afprobe needs, what it gives up, and where it works: `--user`, `CAP_NET_RAW` alone, `--netns`.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds something else than it expects shall panic"
)]

mod common;

use std::fs;
use std::process::Command;

use common::process::{Process, run};
use common::two_way::{Measuring, end, numbers, reflect};
use common::{Log, afprobe, eventually, number, two_hosts, with_privileges};
use nix::unistd::{User, geteuid};
use serde_json::Value;

/// An ordinary user whom this process may become: in a user namespace with one user, that one.
fn ordinary_user() -> User {
    let own = geteuid();
    let found = if own.is_root() { User::from_name("nobody") } else { User::from_uid(own) };
    found.unwrap().unwrap()
}

/// What `/proc/PID/status` says of each thread.
fn statuses(process: &Process) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.pid())).unwrap();
    tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap()).collect()
}

fn value_of<'a>(status: &'a str, name: &str) -> Vec<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).split_whitespace().collect()
}

/// Neither of its threads is or may become anything.
fn assert_has_nothing(process: &Process, user: &User) {
    let statuses = statuses(process);
    assert!(statuses.len() >= 3, "one that sends or answers, one that prints, one for signals");
    let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
    for status in &statuses {
        assert_eq!(value_of(status, "Uid"), [&uid; 4]);
        assert_eq!(value_of(status, "Gid"), [&gid; 4]);
        assert!(value_of(status, "Groups").iter().all(|group| *group == gid), "{status}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(value_of(status, set), ["0000000000000000"], "{set}");
        }
        assert_eq!(value_of(status, "NoNewPrivs"), ["1"]);
    }
}

/// All stamps that the kernel takes of a probe and its reply.
fn software_stamps(probe: &Value) -> [i64; 6] {
    [
        ("t1", "scheduled_ns"),
        ("t1", "software_ns"),
        ("t2", "software_ns"),
        ("t3", "scheduled_ns"),
        ("t3", "software_ns"),
        ("t4", "software_ns"),
    ]
    .map(|(point, stamp)| number(&probe[point], stamp))
}

#[test]
fn all_sides_go_on_without_privileges() {
    with_privileges("all_sides_go_on_without_privileges", &["ip", "setpriv"], || {
        let ([near, far], user) = (&two_hosts(), &ordinary_user());
        let reflector = reflect(far, &format!("--user {}", user.name));
        let mut prober = near.probe(far.ipv4, &format!("--user {}", user.name));
        // By number, too.
        let line = format!("run --reflector {} --count 100 --interval 5ms --format json --user {}", far.ipv4, user.uid);
        // In a user namespace nobody may choose groups.
        let in_groups = if geteuid().is_root() { "setpriv --groups=4,27 --" } else { "" };
        let measuring = Measuring::start(near, &mut launched(in_groups, &line), software_stamps);
        eventually("ten probes", || measuring.told() >= 10);
        for process in [&measuring.process, &reflector, &prober] {
            assert_has_nothing(process, user);
        }
        let (probes, summary) = measuring.end();
        assert_eq!(probes.len(), 100);
        assert_eq!(numbers(&summary, ["sent", "received"]), [100, 100], "{summary}");
        assert!(number(&end(reflector), "answered") >= 100);

        prober.wait_until("20 probes", |prober| prober.log().of("tx", near.name).len() >= 20);
        let ended = prober.interrupt();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        let log = Log::read(&ended.stdout);
        assert!(log.of("tx", near.name).iter().all(|event| event["outcome"] == "stamped"), "{}", ended.stdout);
    });
}

#[test]
fn who_cannot_be_another_goes_no_further() {
    with_privileges("who_cannot_be_another_goes_no_further", &["ip", "setpriv"], || {
        let [near, far] = &two_hosts();
        let to = format!("run --dst-addr {} --dst-mac {} --count 1 --linger 0s", far.ipv4, far.mac_text());
        let raw = only_with("+net_raw");
        let cases = [
            ("", "--user root", "is root"),
            ("", "--user no-such-user", "there is no user no-such-user"),
            ("", "--user nobody --hardware required", "its driver takes no hardware timestamps"),
            (&raw, "--user daemon", "CAP_SETUID and CAP_SETGID"),
            (&raw, "--netns 1", "--netns"),
        ];
        for (launcher, arguments, named) in cases {
            let ended = near.run(&mut launched(launcher, &format!("{to} {arguments}")));
            assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{arguments}: {}", ended.stderr);
            assert!(ended.stderr.starts_with("afprobe: ") && ended.stderr.contains(named), "{}", ended.stderr);
            assert_eq!(ended.stderr.lines().count(), 1, "{arguments}: {}", ended.stderr);
        }
    });
}

/// What starts a program as an ordinary user's with these capabilities and no others.
fn only_with(capabilities: &str) -> String {
    let User { uid, gid, .. } = ordinary_user();
    let user = if geteuid() == uid { String::new() } else { format!("--reuid={uid} --regid={gid} --clear-groups") };
    let set = format!("-all,{capabilities}");
    format!("setpriv {user} --inh-caps={set} --ambient-caps={set} --bounding-set={set} --")
}

fn launched(launcher: &str, arguments: &str) -> Command {
    let line = format!("{launcher} {} {arguments}", env!("CARGO_BIN_EXE_afprobe"));
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    command
}

#[test]
fn one_capability_is_enough_to_measure() {
    with_privileges("one_capability_is_enough_to_measure", &["ip", "setpriv"], || {
        let [near, far] = &two_hosts();
        let launcher = only_with("+net_raw");
        // Ports below 1024 take another.
        let line = "reflect --iface-name eth1 --port 10862 --format json";
        let mut reflector = far.spawn(&mut launched(&launcher, line));
        reflector.wait_until("readiness", |reflector| !reflector.stdout().is_empty());
        let line = format!("run --reflector {}:10862 --count 100 --interval 5ms --format json", far.ipv4);
        let measuring = Measuring::start(near, &mut launched(&launcher, &line), software_stamps);
        for process in [&measuring.process, &reflector] {
            eventually("afprobe in the place of setpriv", || value_of(&statuses(process)[0], "Name") == ["afprobe"]);
            for status in statuses(process) {
                assert_eq!(value_of(&status, "CapEff"), ["0000000000002000"], "CAP_NET_RAW: {status}");
                assert!(!value_of(&status, "Uid").contains(&"0"), "{status}");
            }
        }
        let (probes, summary) = measuring.end();
        assert_eq!(probes.len(), 100);
        assert_eq!(numbers(&summary, ["sent", "received"]), [100, 100], "{summary}");
        end(reflector);
        let ended = far.run(&mut launched(&launcher, "reflect --iface-name eth1"));
        assert!(ended.stderr.contains("0.0.0.0:862 without CAP_NET_BIND_SERVICE"), "{}", ended.stderr);
    });
}

#[test]
fn a_namespace_is_named_by_path_process_or_name() {
    with_privileges("a_namespace_is_named_by_path_process_or_name", &["ip", "unshare", "mount"], || {
        let [near, far] = &two_hosts();
        let far_path = far.namespace_path();
        let line = format!("reflect --iface-name eth1 --format json --netns {far_path}");
        let mut reflector = Process::spawn(&mut afprobe(&line));
        reflector.wait_until("readiness", |reflector| !reflector.stdout().is_empty());
        let near_path = near.namespace_path();
        let line = format!("run --reflector {} --count 20 --interval 5ms --format json --netns {near_path}", far.ipv4);
        let (probes, summary) = Measuring::start_here(&mut afprobe(&line), software_stamps).end();
        assert_eq!((probes.len(), numbers(&summary, ["sent", "received"])), (20, [20, 20]), "{summary}");

        // A process of which each thread is there.
        let ended = run(&mut afprobe(&format!("nic eth1 --json --netns {}", reflector.pid())));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let nic: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!((&nic["interface"], &nic["driver"]), (&"eth1".into(), &Value::Null));
        end(reflector);

        // A name, in a mount namespace where it disturbs nobody.
        let program = env!("CARGO_BIN_EXE_afprobe");
        let script = format!("mount -t tmpfs none /run && ip netns add blue && exec {program} nic --netns blue");
        // mount(8) is for root alone, and ip goes back to where it came from.
        let as_root: &[&str] = if geteuid().is_root() { &[] } else { &["--user", "--map-root-user", "--net"] };
        let ended = run(Command::new("unshare").args(as_root).args(["--mount", "--", "sh", "-c", &script]));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let names: Vec<_> = ended.stdout.lines().filter(|line| !line.starts_with(' ')).collect();
        assert_eq!(names, ["lo"]);

        for (netns, named) in [("no-such-name", "no-such-name"), ("/proc/self/cmdline", "/proc/self/cmdline")] {
            let ended = run(&mut afprobe(&format!("nic --netns {netns}")));
            assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{netns}");
            assert!(ended.stderr.contains(named), "{}", ended.stderr);
        }
    });
}
