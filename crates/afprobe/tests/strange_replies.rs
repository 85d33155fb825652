//! What becomes of replies that answer no probe of this measurement: a reflector of the test makes them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds something else than it expects shall panic"
)]

mod common;

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::two_way::{Measuring, measure, numbers};
use common::{afprobe, two_hosts, with_privileges};
use nix::sys::signal::Signal;

/// The reply of a reflector without sessions, that knows no TLV: RFC 8762, section 4.3.1, and RFC 8972, section 4.
fn reply(request: &[u8]) -> Vec<u8> {
    let mut reply = request.to_vec();
    let later = |by: u64| (u64::from_be_bytes(request[4..12].try_into().unwrap()) + by).to_be_bytes();
    reply[4..12].copy_from_slice(&later(2));
    reply[16..24].copy_from_slice(&later(1));
    reply[24..28].copy_from_slice(&request[..4]);
    reply[28..38].copy_from_slice(&request[4..14]);
    reply[40] = 255;
    reply
}

/// Answers each request with these replies, until the end is near.
fn answer(socket: &UdpSocket, is_over: &AtomicBool, replies: impl Fn(&[u8]) -> Vec<Vec<u8>>) -> usize {
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut buf = [0; 2048];
    let mut requests = 0;
    while !is_over.load(Ordering::Acquire) {
        match socket.recv_from(&mut buf) {
            Ok((len, sender)) => {
                requests += 1;
                for reply in replies(&buf[..len]) {
                    socket.send_to(&reply, sender).unwrap();
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
    }
    requests
}

/// A plain packet has no code. Whoever has not seen the probe does not know the time that it says.
#[test]
fn a_reply_that_repeats_another_time_than_the_probe_said_is_foreign() {
    with_privileges("a_reply_that_repeats_another_time_than_the_probe_said_is_foreign", &["ip"], || {
        const COUNT: i64 = 50;
        let [near, far] = &two_hosts();
        let socket = far.udp(far.ipv4, 862);
        let is_over = AtomicBool::new(false);
        let changed = |request: &[u8], at: usize, bits: u8| {
            let mut reply = reply(request);
            reply[at] ^= bits;
            reply
        };
        let replies = |request: &[u8]| {
            // Another second, another instant, that of a probe which is not this one; another session; and the right one.
            let mut other = reply(request);
            other[24..28].copy_from_slice(&(u32::from_be_bytes(request[..4].try_into().unwrap()) ^ 1).to_be_bytes());
            let wrong = [changed(request, 31, 1), changed(request, 35, 1), changed(request, 14, 0x80), other];
            wrong.into_iter().chain([reply(request)]).collect()
        };
        let (outcomes, summary, requests) = thread::scope(|scope| {
            let reflector = scope.spawn(|| answer(&socket, &is_over, replies));
            let line = format!("--reflector {} --count {COUNT} --interval 5ms --timeout 10s", far.ipv4);
            let (outcomes, summary) = measure(near, &line, |probe| probe["outcome"].clone());
            is_over.store(true, Ordering::Release);
            (outcomes, summary, reflector.join().unwrap())
        });
        assert_eq!((requests, outcomes.len()), (50, 50));
        let counts = ["sent", "received", "lost", "duplicates", "malformed", "forged"];
        assert_eq!(numbers(&summary, counts), [COUNT, COUNT, 0, 0, 0, 0], "{summary}");
        let [foreign, unasked] = numbers(&summary, ["foreign", "unasked"]);
        // A reply to a probe that is not sent yet is to none.
        assert_eq!(foreign + unasked, 4 * COUNT, "{summary}");
        assert!(foreign >= 3 * COUNT + COUNT / 2, "{summary}");
        assert!(outcomes.iter().all(|outcome| outcome == "answered"), "{outcomes:?}");
    });
}

/// It is lost, but the network has not lost it.
#[test]
fn what_this_host_has_no_room_for_is_told() {
    with_privileges("what_this_host_has_no_room_for_is_told", &["ip"], || {
        const FLOOD: i64 = 30_000;
        let [near, far] = &two_hosts();
        let socket = far.udp(far.ipv4, 862);
        let line = format!("run --reflector {} --count 1 --timeout 2s --format json", far.ipv4);
        let measuring = Measuring::start(near, &mut afprobe(&line), |_| ());
        let (_, prober) = socket.recv_from(&mut [0; 2048]).unwrap();
        measuring.process.signal(Signal::SIGSTOP);
        for _ in 0..FLOOD {
            socket.send_to(b"this is no reply", prober).unwrap();
        }
        measuring.process.signal(Signal::SIGCONT);
        let (_, summary) = measuring.end();
        let [lost, malformed, drops] = numbers(&summary, ["lost", "malformed", "drops"]);
        assert_eq!(lost, 1, "{summary}");
        assert!(malformed > 0 && drops > 0 && malformed + drops <= FLOOD, "{summary}");
    });
}
