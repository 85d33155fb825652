//! Whom a reflector answers, and what it tells: keys, replays, addresses, rates, and no sessions.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds something else than it expects shall panic"
)]

mod common;

use std::time::Instant;

use common::two_way::{KeyFile, check_answered, end, numbers, of, one, reflect, run_from};
use common::{Log, eventually, number, two_hosts, with_privileges};
use fast_afpacket::{Interface, PacketSocket, PacketType};

#[test]
fn only_who_has_the_key_is_answered() {
    with_privileges("only_who_has_the_key_is_answered", &["ip"], || {
        let [near, far] = &two_hosts();
        let (right, wrong) = (KeyFile::new("right", b"the secret\n"), KeyFile::new("wrong", b"another\n"));
        let reflector = reflect(far, &right.argument());
        let to = format!("--reflector {} --count 20 --interval 5ms", far.ipv4);
        check_answered(&run_from(near, &format!("{to} {}", right.argument())), 20);
        for other in [wrong.argument(), String::new()] {
            let ended = run_from(near, &format!("{to} {other} --timeout 200ms --max-loss 50"));
            assert_eq!(ended.code, Some(1), "{other}: {}", ended.stderr);
            let log = Log::read(&ended.stdout);
            assert_eq!(numbers(one(&log, "summary"), ["sent", "received", "lost"]), [20, 0, 20], "{other}");
        }
        let summary = end(reflector);
        // A plain packet with room for all stamps is longer than an authenticated one, and is looked at as one.
        assert_eq!(numbers(&summary["refused"], ["forged", "plain", "replayed"]), [40, 0, 0], "{summary}");
        let [answered, questions] = numbers(&summary, ["answered", "questions"]);
        assert_eq!(answered - questions, 20, "{summary}");
    });
}

#[test]
fn a_replayed_packet_is_refused_and_counted() {
    with_privileges("a_replayed_packet_is_refused_and_counted", &["ip"], || {
        let [near, far] = &two_hosts();
        let key = KeyFile::new("replay", b"the secret");
        let reflector = reflect(far, &key.argument());
        let wire = near.inside(|| PacketSocket::bind(&Interface::by_name("eth1").unwrap()).unwrap());
        let line = format!("--reflector {} --count 10 --interval 5ms {}", far.ipv4, key.argument());
        check_answered(&run_from(near, &line), 10);

        let mut requests = Vec::new();
        let mut buf = [0; 2048];
        wire.set_read_deadline(Some(Instant::now()));
        while let Ok(meta) = wire.recv(&mut buf) {
            // To UDP port 862.
            if meta.from.packet_type() == PacketType::Outgoing && buf[36..38] == [0x03, 0x5e] {
                requests.push(buf[..meta.len].to_vec());
            }
        }
        assert!(requests.len() > 10, "probes, and questions at the end");
        for request in requests.iter().chain(&requests) {
            wire.send(request).unwrap();
        }
        let all = i64::try_from(2 * requests.len()).unwrap();
        let mut replies = 0;
        eventually("all of them refused", || {
            while let Ok(meta) = wire.recv(&mut buf) {
                replies += usize::from(meta.from.packet_type() != PacketType::Outgoing && buf[34..36] == [0x03, 0x5e]);
            }
            let log = reflector.log();
            let stats = of(&log, "stats");
            stats.last().is_some_and(|stats| number(&stats["refused"], "replayed") == all)
        });
        assert_eq!(replies, 0, "nothing is said to a replay");
        let summary = end(reflector);
        assert_eq!(number(&summary, "answered"), i64::try_from(requests.len()).unwrap(), "{summary}");
    });
}

#[test]
fn a_reflector_may_choose_whom_to_answer() {
    with_privileges("a_reflector_may_choose_whom_to_answer", &["ip"], || {
        let [near, far] = &two_hosts();
        let to = format!("--reflector {} --count 20 --interval 1ms --timeout 2s", far.ipv4);
        let received = |arguments: &str, why: &str| {
            let reflector = reflect(far, arguments);
            let ended = run_from(near, &to);
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
            let log = Log::read(&ended.stdout);
            let [sent, received] = numbers(one(&log, "summary"), ["sent", "received"]);
            let summary = end(reflector);
            assert!(sent == 20 && number(&summary["refused"], why) >= 20 - received, "{arguments}: {summary}");
            received
        };
        assert_eq!(received("--allow 192.168.56.0/24 --allow ::1", "not_allowed"), 20);
        assert_eq!(received("--allow 192.168.57.0/24 --allow fde4::/16", "not_allowed"), 0);
        // One at once, and one more for each second that all of it takes.
        let began = Instant::now();
        let answered = received("--rate-limit 1/s", "too_many");
        let most = 1 + i64::try_from(began.elapsed().as_secs()).unwrap();
        assert!((1..=most).contains(&answered), "{answered} in {most} s");
    });
}

#[test]
fn a_reflector_without_sessions_tells_what_it_can() {
    with_privileges("a_reflector_without_sessions_tells_what_it_can", &["ip"], || {
        let [near, far] = &two_hosts();
        let reflector = reflect(far, "--stateless --port 10862");
        let ended = run_from(near, &format!("--reflector {}:10862 --count 20 --interval 5ms", far.ipv4));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        let log = Log::read(&ended.stdout);
        let summary = one(&log, "summary");
        assert_eq!(numbers(summary, ["sent", "received", "lost"]), [20, 20, 0], "{summary}");
        assert!(summary["duplicates_forward"].is_null() && summary["reordered_forward"].is_null(), "{summary}");
        for probe in of(&log, "probe") {
            let t3 = &probe["t3"];
            assert!(t3["software_ns"].is_null() && t3["userspace_ns"].is_i64(), "{probe}");
            assert!(probe["t2"]["software_ns"].is_i64(), "{probe}");
        }
        assert_eq!(number(&end(reflector), "sessions"), 0);
    });
}
