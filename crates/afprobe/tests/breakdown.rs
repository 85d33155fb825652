//! Where the time went: what holds a probe up is seen where it is, and nowhere else.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds something else than it expects shall panic"
)]

mod common;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::two_way::{Measuring, end, measure, median, reflect};
use common::{number, two_hosts, with_privileges};
use fast_afpacket::SystemStamp;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::Value;

/// Stamps of a probe on the host that sends it, and its times, in nanoseconds.
struct Sent {
    scheduled: i64,
    software: i64,
    forward: i64,
    backward: i64,
}

impl Sent {
    fn read(probe: &Value) -> Self {
        Self {
            scheduled: number(&probe["t1"], "scheduled_ns"),
            software: number(&probe["t1"], "software_ns"),
            forward: number(probe, "forward_ns"),
            backward: number(probe, "backward_ns"),
        }
    }
}

#[test]
fn a_queue_is_seen_before_the_wire() {
    with_privileges("a_queue_is_seen_before_the_wire", &["ip", "tc"], || {
        /// 80 kbit/s.
        const BYTES_PER_SECOND: i64 = 10_000;
        const BURST: i64 = 1_600;
        /// 400 octets with the headers of UDP, IPv4 and Ethernet.
        const FRAME: i64 = 400 + 8 + 20 + 14;
        /// How far the kernel's timer may be ahead of the bytes that have gone.
        const ROUNDING: i64 = 1_000_000;
        let [near, far] = &two_hosts();
        let reflector = reflect(far, "");
        let line = format!("--reflector {} --count 40 --interval 20ms --size 400 --timeout 20s --linger 20s", far.ipv4);
        let (free, _) = measure(near, &line, Sent::read);
        let tbf = format!("qdisc add dev eth1 root tbf rate 80kbit burst {BURST} limit 100000");
        let added = near.run(Command::new("tc").args(tbf.split_whitespace()));
        assert_eq!(added.code, Some(0), "{}", added.stderr);
        let (queued, summary) = measure(near, &line, Sent::read);
        end(reflector);
        assert_eq!((number(&summary, "sent"), number(&summary, "received")), (40, 40), "{summary}");

        // By the rate alone: when the frames before it have gone, and it is more than the bucket holds.
        let mut least = Vec::new();
        for (behind, probe) in (0..).zip(&queued) {
            let leaves = queued[0].software + (behind * FRAME - BURST) * 1_000_000_000 / BYTES_PER_SECOND - ROUNDING;
            assert!(probe.software >= leaves, "{behind}: it left before the rate allows it");
            assert!(probe.scheduled <= probe.software, "{behind}");
            least.push(leaves - probe.scheduled);
        }
        let part = |name: &str| number(&summary["breakdown"][name], "p50");
        let (queue, at_least) = (part("send_scheduled_to_software_ns"), median(least));
        assert!(queue >= at_least - at_least / 500, "{queue}, at least {at_least}");
        let ways = |probes: &[Sent]| {
            [median(probes.iter().map(|probe| probe.forward)), median(probes.iter().map(|probe| probe.backward))]
        };
        let (before, now) = (ways(&free), ways(&queued));
        for (way, name) in ["forward_wire_ns", "backward_wire_ns"].iter().enumerate() {
            assert!((now[way] - before[way]).abs() < 100_000, "{name}: {before:?} without a queue, {now:?} with");
            assert!((part(name) - now[way]).abs() < 100_000, "{name}: {summary}");
        }
        eprintln!("queue {queue} ns, at least {at_least} by its rate; ways {before:?} without, {now:?} with");
    });
}

/// A thread that never sleeps on one processor, and when it ran there without a pause. Nobody else ran there then.
struct Spinner {
    enough: Arc<AtomicBool>,
    thread: JoinHandle<Vec<[i64; 2]>>,
}

impl Spinner {
    /// In a shorter pause nobody receives a frame and looks at the clock.
    const PAUSE: i64 = 5_000;
    const LONGEST: Duration = Duration::from_secs(60);

    fn start(cpu: usize) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&enough);
        let spin = move || {
            let mut set = CpuSet::new();
            set.set(cpu).unwrap();
            sched_setaffinity(Pid::from_raw(0), &set).unwrap();
            let until = Instant::now() + Self::LONGEST;
            let mut stretches = vec![[SystemStamp::now().as_nanos(); 2]];
            while !stop.load(Ordering::Relaxed) {
                let now = SystemStamp::now().as_nanos();
                let last = stretches.last_mut().unwrap();
                if now - last[1] < Self::PAUSE {
                    last[1] = now;
                } else {
                    stretches.push([now; 2]);
                    assert!(Instant::now() < until, "spinning for ever");
                }
            }
            stretches
        };
        Self { enough, thread: thread::spawn(spin) }
    }

    fn end(self) -> Vec<[i64; 2]> {
        self.enough.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// When a reply came, when the program had it, and what its way back took.
struct Received {
    software: i64,
    userspace: i64,
    backward: i64,
}

#[test]
fn a_busy_processor_is_seen_in_the_wake_up() {
    with_privileges("a_busy_processor_is_seen_in_the_wake_up", &["ip", "chrt", "nice"], || {
        const LONG: i64 = 500_000;
        let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let cpu = (0..CpuSet::count()).rfind(|&cpu| allowed.is_set(cpu).unwrap()).unwrap();
        let first = (0..CpuSet::count()).find(|&cpu| allowed.is_set(cpu).unwrap()).unwrap();
        let [near, far] = &two_hosts();
        let reflector = reflect(far, "");
        let spinner = Spinner::start(cpu);
        // What is a batch does not interrupt the spinner when a frame comes, and what is nice comes after it.
        let line = format!("--reflector {} --count 1000 --interval 2ms --timeout 20s --cpu {first},{cpu}", far.ipv4);
        let mut command = Command::new("nice");
        command
            .args(["-n", "19", "chrt", "--batch", "0", env!("CARGO_BIN_EXE_afprobe"), "run", "--format", "json"])
            .args(line.split(' '));
        let read = |probe: &Value| {
            probe["rtt_ns"].as_i64().map(|_| Received {
                software: number(&probe["t4"], "software_ns"),
                userspace: number(&probe["t4"], "userspace_ns"),
                backward: number(probe, "backward_ns"),
            })
        };
        let (probes, summary) = Measuring::start(near, &mut command, read).end();
        let stretches = spinner.end();
        end(reflector);

        // Replies that came while the spinner ran, and for how long it still did.
        let mut caught = Vec::new();
        for probe in probes.iter().flatten() {
            let place = stretches.partition_point(|[from, _]| *from <= probe.software);
            let Some([_, to]) = place.checked_sub(1).map(|place| stretches[place]) else { continue };
            let rest = to - probe.software;
            if rest > 0 {
                assert!(probe.userspace >= to, "{} before the processor was free", to - probe.userspace);
            }
            if rest > LONG {
                caught.push((rest, probe));
            }
        }
        assert!(caught.len() >= 20, "{} of {}: {summary}", caught.len(), probes.len());
        let [wake_up, wire] = [
            median(caught.iter().map(|(_, probe)| probe.userspace - probe.software)),
            median(caught.iter().map(|(_, probe)| probe.backward)),
        ];
        assert!(wake_up > LONG && wire < 100_000, "{wake_up} and {wire}");
        let most = caught.iter().map(|(rest, _)| *rest).max().unwrap();
        let part = &summary["breakdown"]["receive_software_to_user_ns"];
        assert!(number(part, "max") >= most, "{summary}");
        eprintln!("{} of {} replies caught: wake-up {wake_up} ns, wire {wire} ns; {part}", caught.len(), probes.len());
    });
}
