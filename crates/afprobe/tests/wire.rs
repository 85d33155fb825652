//! What `afprobe run` puts on the wire, to the byte, as tcpdump on the other host sees it and tshark judges it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds something else than it expects shall panic"
)]

mod common;

use std::process::Command;

use common::capture::{TCPDUMP, checksum, frames_in, octets, tshark};
use common::process::Process;
use common::{Host, missing, skip, two_hosts, with_privileges};

/// Probes that each host sends at least.
const PROBES: usize = 20;

#[test]
fn frames_to_the_byte() {
    with_privileges("frames_to_the_byte", &["ip", "tcpdump"], || capture("frames_to_the_byte", false));
}

#[test]
fn frames_to_the_byte_over_ipv6() {
    with_privileges("frames_to_the_byte_over_ipv6", &["ip", "tcpdump"], || {
        capture("frames_to_the_byte_over_ipv6", true);
    });
}

fn capture(test: &str, ipv6: bool) {
    let [near, far] = &two_hosts();
    for (host, peer) in [(near, far), (far, near)] {
        // What the kernel's table knows nobody is asked.
        host.ip(&format!("neighbor add {} lladdr {} dev eth1", peer.address(ipv6), peer.mac_text()));
    }
    let mut tcpdump = far.spawn(Command::new("tcpdump").args(TCPDUMP));
    tcpdump.wait_until("listening", |tcpdump| tcpdump.stderr().contains("listening on eth1"));
    let first = near.probe(far.address(ipv6), "");
    let second = far.probe(near.address(ipv6), "");
    let seen = |tcpdump: &Process, host: &Host| {
        let so_far = tcpdump.stdout();
        frames_in(&so_far).into_iter().filter(|frame| is_probe_of(host, frame)).count()
    };
    tcpdump.wait_until("the probes", |tcpdump| [near, far].iter().all(|host| seen(tcpdump, host) >= PROBES));
    for prober in [first, second] {
        assert_eq!(prober.interrupt().code, Some(0));
    }
    let capture = tcpdump.interrupt_for_bytes();

    let frames = frames_in(&capture);
    let mut next = [1, 1];
    for frame in frames.iter().filter(|frame| is_udp(frame)) {
        let from_far = usize::from(frame[6..12] == far.mac);
        let (src, dst) = if from_far == 1 { (far, near) } else { (near, far) };
        assert_eq!(*frame, expected(src, dst, ipv6, next[from_far]), "probe {} of {}", next[from_far], src.name);
        next[from_far] += 1;
    }
    // While nobody listens on the other side, the kernel there complains of probes; not while both hosts probe. That the
    // kernels make each other's acquaintance over IPv6 is no matter of ours. Nobody is asked by ARP.
    let both_from = frames.iter().position(|frame| is_probe_of(far, frame)).unwrap();
    let both_until = frames.iter().rposition(|frame| is_probe_of(near, frame)).unwrap();
    assert!(frames[..both_from].iter().any(|frame| !is_probe_or_acquaintance(frame)), "that it would complain");
    let strange: Vec<_> =
        frames[both_from..=both_until].iter().filter(|frame| !is_probe_or_acquaintance(frame)).collect();
    assert!(strange.is_empty(), "{strange:02x?}");
    if let Some(why) = missing(&["tshark"]) {
        return skip(test, &why);
    }
    let probes = frames.iter().filter(|frame| is_udp(frame)).count();
    check_with_tshark(&capture, probes, if ipv6 { 0 } else { probes });
}

/// Another dissector finds all checksums right, and sees when one is not.
fn check_with_tshark(capture: &[u8], udp: usize, ipv4: usize) {
    let matching = |capture: &[u8], filter: &str| {
        // What a complaint quotes of a probe counts as one otherwise.
        tshark(capture, &format!("({filter}) && !icmp && !icmpv6"), &[]).len()
    };
    const BAD: &str = "udp.checksum.status == 0 || ip.checksum.status == 0 || _ws.malformed";
    assert_eq!(matching(capture, BAD), 0);
    assert_eq!(matching(capture, "udp.checksum.status == 1"), udp);
    assert_eq!(matching(capture, "ip.checksum.status == 1"), ipv4);
    let mut damaged = capture.to_vec();
    for found in 0..damaged.len() - 8 {
        if damaged[found..found + 8] == PREFIX {
            damaged[found] ^= 1;
        }
    }
    assert_eq!(matching(&damaged, BAD), udp);
}

const PREFIX: [u8; 8] = [0x93, 0x72, 0xe7, 0x59, 0xc7, 0xb5, 0xaa, 0x73];

/// Whether a frame carries UDP, over IPv4 or IPv6.
fn is_udp(frame: &[u8]) -> bool {
    matches!((&frame[12..14], frame[23], frame[20]), ([0x08, 0x00], 17, _) | ([0x86, 0xdd], _, 17))
}

fn is_probe_of(host: &Host, frame: &[u8]) -> bool {
    is_udp(frame) && frame[6..12] == host.mac
}

/// Whether a frame carries UDP or ICMPv6 that is no error message.
fn is_probe_or_acquaintance(frame: &[u8]) -> bool {
    is_udp(frame) || icmpv6_type(frame).is_some_and(|kind| kind >= 128)
}

/// The type of the ICMPv6 message in a frame, behind a header of hop-by-hop options or not.
fn icmpv6_type(frame: &[u8]) -> Option<u8> {
    match (&frame[12..14], frame[20]) {
        ([0x86, 0xdd], 58) => frame.get(54).copied(),
        ([0x86, 0xdd], 0) if frame.get(54) == Some(&58) => frame.get(62).copied(),
        _ => None,
    }
}

/// The frame of a probe, after RFC 791, RFC 8200, RFC 768 and the Go example's source.
fn expected(src: &Host, dst: &Host, ipv6: bool, id: u64) -> Vec<u8> {
    let mut udp = [&60_000_u16.to_be_bytes()[..], &61_000_u16.to_be_bytes(), &[0, 24, 0, 0]].concat();
    udp.extend([PREFIX, id.to_le_bytes()].concat());
    let addresses = [octets(src.address(ipv6)), octets(dst.address(ipv6))].concat();
    let sum = match checksum(&[&addresses[..], &[0, 17, 0, 24], &udp].concat()) {
        // Zero stands for none.
        0 => 0xffff,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    let ip = if ipv6 {
        [&[0x60, 0, 0, 0, 0, 24, 17, 64], &addresses[..]].concat()
    } else {
        let mut ip = [&[0x45, 0, 0, 0x2c, 0, 0, 0, 0, 64, 17, 0, 0], &addresses[..]].concat();
        let sum = checksum(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        ip
    };
    let ether_type = if ipv6 { [0x86, 0xdd] } else { [0x08, 0x00] };
    let mut frame = [&dst.mac[..], &src.mac, &ether_type, &ip, &udp].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}
