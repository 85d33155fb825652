//! Tests of `afprobe run` between two hosts: what it finds out, what it says when it cannot, what it makes of another
//! implementation's probes.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds something else than it expects shall panic"
)]

mod common;

use std::net::UdpSocket;
use std::process::Command;

use common::process::{Ended, Process};
use common::{Log, afprobe, keys, notice_carrier, number, two_hosts, with_privileges};

const PREFIX: [u8; 8] = [0x93, 0x72, 0xe7, 0x59, 0xc7, 0xb5, 0xaa, 0x73];

/// The payload of the Go example's probe.
fn payload(id: u64) -> Vec<u8> {
    [PREFIX, id.to_le_bytes()].concat()
}

#[test]
fn two_probers_find_each_other() {
    with_privileges("two_probers_find_each_other", &["ip"], || probe_each_other(false));
}

#[test]
fn two_probers_find_each_other_over_ipv6() {
    with_privileges("two_probers_find_each_other_over_ipv6", &["ip"], || probe_each_other(true));
}

fn probe_each_other(ipv6: bool) {
    let [near, far] = &two_hosts();
    for host in [near, far] {
        assert_eq!(host.ip("neighbor show nud all dev eth1").matches("02:42:ac").count(), 0, "nobody is known");
    }
    let mut first = near.probe(far.address(ipv6), "");
    // The first was asked who it is, and is known on the other side now: so that both have to ask, this is forgotten.
    far.ip("neighbor flush nud all dev eth1");
    let mut second = far.probe(near.address(ipv6), "");
    first.wait_until("probes of the second", |first| first.log().of("rx", near.name).len() >= 20);
    second.wait_until("probes of the first", |second| second.log().of("rx", far.name).len() >= 20);
    let (first, second) = (first.interrupt(), second.interrupt());
    for (ended, host) in [(&first, near), (&second, far)] {
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        let log = Log::read(&ended.stdout);
        assert!(log.all().iter().all(|event| event["host"] == host.name), "{}", ended.stdout);
        assert!(log.of("tx", host.name).iter().all(|event| event["outcome"] == "stamped"), "{}", ended.stdout);
        let sent = log.probes("tx", host.name);
        assert!(sent.into_iter().eq(1..=log.of("tx", host.name).len() as u64), "{}", ended.stdout);
        let received = log.probes("rx", host.name);
        let summary = log.summary(host.name);
        assert_eq!(number(summary, "received"), i64::try_from(received.len()).unwrap());
        for (key, expected) in [("lost", 0), ("duplicates", 0), ("foreign", 0), ("missing", 0), ("refused", 0)] {
            assert_eq!(number(summary, key), expected, "{summary}");
        }
        assert!(summary["one_way_ns"].is_null(), "two machines, two clocks");
        // Those that the second sent all arrived, those of the first from some probe on.
        let from = if host.name == near.name { 1 } else { received[0] };
        assert!(received.into_iter().eq(from..from + u64::try_from(number(summary, "received")).unwrap()));
    }
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    with_privileges("what_is_wrong_is_said_in_one_line", &["ip", "setpriv"], || {
        let [near, far] = &two_hosts();
        let without_right = "setpriv --bounding-set=-net_raw --inh-caps=-net_raw --";
        let known = format!("--iface-name eth1 --dst-mac {}", far.mac_text());
        let cases = [
            ("", "--iface-name eth7 --dst-addr 192.168.56.102", &["eth7"][..]),
            ("", "--dst-addr 203.0.113.9", &["203.0.113.9"]),
            ("", "--dst-addr 2001:db8::9", &["2001:db8::9"]),
            ("", "--dst-addr 192.168.56.77", &["192.168.56.77", "eth1", "--dst-mac"]),
            ("", "--dst-addr fde4:8dba:82e1::77", &["fde4:8dba:82e1::77", "eth1", "--dst-mac"]),
            ("", "--dst-addr 127.0.0.1", &["127.0.0.1", "lo"]),
            ("", "--dst-addr 192.168.56.102 --src-addr fde4::1", &["192.168.56.102", "fde4::1"]),
            (
                "",
                &format!("{known} --dst-addr 192.168.56.102 --src-addr 192.168.56.9"),
                &["192.168.56.9", "--src-addr"],
            ),
            (without_right, &format!("{known} --dst-addr 192.168.56.102"), &["CAP_NET_RAW"]),
            (without_right, "--dst-addr 192.168.56.102", &["CAP_NET_RAW"]),
        ];
        let start = |(launcher, arguments, named)| {
            let line = format!("{launcher} {} run {arguments}", env!("CARGO_BIN_EXE_afprobe"));
            let mut words = line.split_whitespace();
            (near.spawn(Command::new(words.next().unwrap()).args(words)), arguments, named)
        };
        // Nobody's answer is waited for: all at once.
        let started: Vec<(Process, &str, &[&str])> = cases.into_iter().map(start).collect();
        for (process, arguments, named) in started {
            let Ended { code, stdout, stderr } = process.end();
            assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments}: {stderr}");
            assert_eq!(stderr.lines().count(), 1, "{arguments}: {stderr}");
            assert!(stderr.starts_with("afprobe: "), "{arguments}: {stderr}");
            assert!(named.iter().all(|name| stderr.contains(name)), "{arguments}: {stderr}");
        }
    });
}

#[test]
fn a_port_that_is_taken_is_named() {
    with_privileges("a_port_that_is_taken_is_named", &["ip"], || {
        let [near, far] = &two_hosts();
        let _taken = near.udp(near.ipv4, 61000);
        let ended = near.run(&mut afprobe(&format!("run --dst-addr {}", far.ipv4)));
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains("192.168.56.101:61000"), "{}", ended.stderr);
    });
}

#[test]
fn loss_beyond_what_is_allowed_exits_with_1() {
    with_privileges("loss_beyond_what_is_allowed_exits_with_1", &["ip"], || {
        let [near, far] = &two_hosts();
        let peer = far.udp(far.ipv4, 60000);
        for (arguments, code) in
            [("--max-loss 0", 1), ("--max-loss 24.9", 1), ("--max-loss 25", 0), ("--max-loss 100", 0), ("", 0)]
        {
            let mut prober = near.probe(far.ipv4, arguments);
            // One of four is lost on its way.
            for id in [1, 2, 4] {
                peer.send_to(&payload(id), (near.ipv4, 61000)).unwrap();
            }
            prober.wait_until("three probes", |prober| prober.log().of("rx", near.name).len() == 3);
            let ended = prober.interrupt();
            assert_eq!((ended.code, ended.stderr.as_str()), (Some(code), ""), "{arguments}");
            let log = Log::read(&ended.stdout);
            let summary = log.summary(near.name);
            assert_eq!((number(summary, "received"), number(summary, "lost")), (3, 1), "{summary}");
        }
    });
}

#[test]
fn a_link_that_goes_down_and_up_loses_probes_and_no_more() {
    with_privileges("a_link_that_goes_down_and_up_loses_probes_and_no_more", &["ip"], || {
        let hosts = two_hosts();
        let [near, far] = &hosts;
        let mut first = near.probe(far.ipv4, "--max-loss 0");
        let mut second = far.probe(near.ipv4, "--max-loss 100");
        first.wait_until("probes of the second", |first| first.log().of("rx", near.name).len() >= 3);

        far.ip("link set eth1 down");
        let refused = |log: &Log| {
            let events = log.of("tx", far.name);
            events.iter().filter(|tx| tx["outcome"] == "refused").map(|tx| number(tx, "probe")).collect::<Vec<i64>>()
        };
        second.wait_until("refused probes", |second| refused(&second.log()).len() >= 3);
        far.ip("link set eth1 up");
        notice_carrier(&hosts);
        let back = number(second.log().of("tx", far.name).last().unwrap(), "probe").unsigned_abs();
        first.wait_until("probes again", |first| first.log().probes("rx", near.name).last() > Some(&back));
        second.wait_until("a probe from the other side", |second| {
            let log = second.log();
            let last_refused = refused(&log).last().copied();
            log.of("rx", far.name).iter().any(|rx| Some(number(rx, "probe")) > last_refused)
        });

        let (first, second) = (first.interrupt(), second.interrupt());
        assert_eq!((first.code, first.stderr.as_str()), (Some(1), ""));
        assert_eq!((second.code, second.stderr.as_str()), (Some(0), ""));
        let (log, far_log) = (Log::read(&first.stdout), Log::read(&second.stdout));
        let count = i64::try_from(refused(&far_log).len()).unwrap();
        assert_eq!(number(far_log.summary(far.name), "refused"), count);
        assert!(number(log.summary(near.name), "lost") >= count, "{}", log.summary(near.name));
    });
}

#[test]
fn another_implementations_probes() {
    // What is said to be foreign: another prefix, a byte too few, a byte too many, nothing, and of a datagram in fragments
    // the first, the only one with ports.
    with_privileges("another_implementations_probes", &["ip"], || probe_a_plain_udp_socket(false, 5));
}

#[test]
fn another_implementations_probes_over_ipv6() {
    // As above, without the fragment: in IPv6 the UDP header stands behind a fragment header then, and does not pass.
    with_privileges("another_implementations_probes_over_ipv6", &["ip"], || probe_a_plain_udp_socket(true, 4));
}

/// The peer is the kernel's UDP: what it takes is valid, and what it sends has checksums of its own making, or of none
/// yet, as between hosts on one machine.
fn probe_a_plain_udp_socket(ipv6: bool, foreign: i64) {
    let [near, far] = &two_hosts();
    let (own, other) = (near.address(ipv6), far.address(ipv6));
    let inbox = far.udp(other, 61000);
    let mut prober = near.probe(other, "");
    for id in 1..=5 {
        let mut buf = [0; 64];
        let (len, from) = inbox.recv_from(&mut buf).unwrap();
        assert_eq!((&buf[..len], from.ip(), from.port()), (&payload(id)[..], own, 60000));
    }

    let outbox = far.udp(other, 60000);
    let send = |outbox: &UdpSocket, port, bytes: &[u8]| {
        assert_eq!(outbox.send_to(bytes, (own, port)).unwrap(), bytes.len());
    };
    for id in [1, 2, 3, 3, 4] {
        send(&outbox, 61000, &payload(id));
    }
    let mut other_prefix = payload(5);
    other_prefix[0] ^= 1;
    let too_long = [&payload(5)[..], &[0]].concat();
    for bytes in [&other_prefix, &payload(5)[..15], &too_long, &[], &vec![0; 60_000]] {
        send(&outbox, 61000, bytes);
    }
    // Nobody's: another destination port, and source ports before and after those that are looked at.
    send(&outbox, 61001, &payload(6));
    for port in [59_999, 60_006] {
        send(&far.udp(other, port), 61000, &payload(6));
    }
    // The last source port that is.
    send(&far.udp(other, 60_005), 61000, &payload(u64::MAX));

    prober.wait_until("the last probe", |prober| prober.log().probes("rx", near.name).contains(&u64::MAX));
    let all_told = |stats: &serde_json::Value| number(stats, "foreign") >= foreign;
    prober.wait_until("the foreign frames", |prober| prober.log().of("stats", near.name).into_iter().any(all_told));
    let ended = prober.interrupt();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let log = Log::read(&ended.stdout);
    let mut ids = log.probes("rx", near.name);
    // Datagrams that two processors send may overtake each other.
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3, 3, 4, u64::MAX]);
    let stats = log.of("stats", near.name);
    assert_eq!(keys(stats[0]), ["event", "host", "packets", "drops", "queue_freezes", "foreign"]);
    let summary = log.summary(near.name);
    let counts = ["received", "duplicates", "foreign"].map(|key| number(summary, key));
    assert_eq!(counts, [5, 1, foreign], "{summary}");
    let last = stats.last().unwrap();
    assert_eq!((number(last, "packets"), number(last, "drops")), (6 + foreign, 0), "{last}");
}
