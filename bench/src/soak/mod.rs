//! Hours, or minutes, of everything at once: full-rate traffic through sockets, batches, rings and stamps, while the link
//! goes down and up, filters are changed, and sockets and rings are opened and closed beside it.
//!
//! In the end each frame is accounted for, and nothing has grown.

mod beside;
mod receivers;
mod report;
mod resources;
mod senders;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use fast_afpacket::{EtherType, Interface};
use nix::sched::{CloneFlags, unshare};

use crate::lab::tool;
use crate::machine::Machine;
use report::{Findings, Report};
use resources::Resources;

/// The protocol of all frames.
const PROTOCOL: EtherType = EtherType::EXPERIMENTAL_1;

/// How often what the process holds is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// What all threads share.
struct Shared {
    /// Nothing more is to be sent.
    senders_stop: AtomicBool,
    /// Nothing more is to be received either.
    receivers_stop: AtomicBool,
    /// Held for reading by whoever opens something for a moment, so that nothing of theirs is there when the process is
    /// looked at.
    open_and_close: RwLock<()>,
    /// What went wrong, so that all others stop.
    failure: Mutex<Option<anyhow::Error>>,
}

impl Shared {
    fn sends(&self) -> bool {
        !self.senders_stop.load(Ordering::Relaxed)
    }

    fn receives(&self) -> bool {
        !self.receivers_stop.load(Ordering::Relaxed)
    }

    /// Runs what a thread does, and has all others stop if it fails.
    fn run<T>(&self, what: &str, work: impl FnOnce() -> anyhow::Result<T>) -> Option<T> {
        match work() {
            Ok(result) => Some(result),
            Err(error) => {
                let mut failure = self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                failure.get_or_insert(error.context(what.to_owned()));
                self.senders_stop.store(true, Ordering::Relaxed);
                self.receivers_stop.store(true, Ordering::Relaxed);
                None
            }
        }
    }
}

/// Runs for so long and writes a report. Returns whether all is well.
pub(crate) fn run(machine: Machine, seconds: u64, out: Option<PathBuf>) -> anyhow::Result<bool> {
    let directory = out.unwrap_or_else(|| crate::default_directory(machine.day(), "soak"));
    // The namespace is that of this thread and of those that it starts.
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
        soak(Duration::from_secs(seconds))
    };
    let findings = match thread::scope(|scope| scope.spawn(inside).join()) {
        Ok(findings) => findings?,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    let report = Report::new(machine, findings);
    report.write(&directory)?;
    println!("{}", report.text());
    eprintln!("written into {}", directory.display());
    Ok(report.is_well())
}

/// A virtual cable with these ends.
fn cable(a: &str, b: &str) -> anyhow::Result<(Interface, Interface)> {
    tool("ip", &format!("link add {a} address 02:00:00:00:00:0a type veth peer name {b} address 02:00:00:00:00:0b"))?;
    for setting in ["addrgenmode none", "up"] {
        for end in [a, b] {
            tool("ip", &format!("link set {end} {setting}"))?;
        }
    }
    beside::look_at(a)?;
    Ok((Interface::by_name(a)?, Interface::by_name(b)?))
}

/// Frames that an end of a cable has received, and those that could not be sent through it.
#[derive(Clone, Copy)]
struct Counted {
    received: u64,
    send_drops: u64,
}

fn counted(interface: &str) -> anyhow::Result<Counted> {
    let table = fs::read_to_string("/proc/thread-self/net/dev")?;
    let of = |line: &str| {
        let fields: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
        Some(Counted { received: *fields.get(1)?, send_drops: *fields.get(11)? })
    };
    let line = table.lines().find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'));
    line.and_then(of).with_context(|| format!("{interface} is not in /proc/net/dev"))
}

fn soak(duration: Duration) -> anyhow::Result<Findings> {
    let shared = Shared {
        senders_stop: AtomicBool::new(false),
        receivers_stop: AtomicBool::new(false),
        open_and_close: RwLock::new(()),
        failure: Mutex::new(None),
    };
    let (plain_a, plain_b) = cable("plain-a", "plain-b")?;
    let (keyed_a, keyed_b) = cable("keyed-a", "keyed-b")?;
    let (ring_a, ring_b) = cable("ring-a", "ring-b")?;
    let start = Instant::now();
    let findings = thread::scope(|scope| {
        let shared = &shared;
        let receivers: Vec<_> = [
            ("blocks of a ring", receivers::by_block as receivers::Run, &plain_b),
            ("frames of a ring", receivers::by_frame, &plain_b),
            ("batches", receivers::batches, &plain_b),
            ("one by one, while the filter changes", receivers::one_by_one, &plain_b),
            ("frames with keys, in batches", receivers::batches, &keyed_b),
            ("frames of a transmit ring, in batches", receivers::batches, &ring_b),
        ]
        .into_iter()
        .map(|(name, run, interface)| {
            let opened = receivers::Opened::default();
            let handle = scope.spawn({
                let opened = opened.clone();
                move || shared.run(name, || run(shared, interface, &opened))
            });
            opened.wait(shared);
            (name, interface.name().into_owned(), handle)
        })
        .collect();
        let batch_sender = scope.spawn(|| shared.run("sending batches", || senders::batches(shared, &plain_a)));
        let tracker = scope.spawn(|| shared.run("sending with keys", || senders::tracked(shared, &keyed_a)));
        let ring_sender = scope.spawn(|| shared.run("sending from a ring", || senders::ring(shared, &ring_a)));
        let flaps = scope.spawn(|| shared.run("flaps", || beside::flap(shared, &["plain-a", "keyed-a"])));
        let churn = scope.spawn(|| shared.run("opening and closing", || beside::open_and_close(shared, &ring_b)));
        let mut samples = Vec::new();
        while start.elapsed() < duration && shared.sends() {
            thread::sleep(EVERY);
            let _nothing_is_opened = shared.open_and_close.write();
            samples.push(Resources::now(start.elapsed())?);
        }
        shared.senders_stop.store(true, Ordering::Relaxed);
        let sent = [batch_sender.join(), ring_sender.join()].map(|sent| sent.ok().flatten().unwrap_or_default());
        let tracked = tracker.join().ok().flatten().unwrap_or_default();
        let beside = (flaps.join().ok().flatten().unwrap_or_default(), churn.join().ok().flatten().unwrap_or_default());
        // What was sent is received within a moment, or never.
        thread::sleep(Duration::from_secs(1));
        shared.receivers_stop.store(true, Ordering::Relaxed);
        let received = receivers
            .into_iter()
            .map(|(name, interface, handle)| (name, interface, handle.join().ok().flatten().unwrap_or_default()));
        let received: Vec<_> = received.collect();
        let cables = [("plain-a", "plain-b"), ("keyed-a", "keyed-b"), ("ring-a", "ring-b")];
        let mut counts = Vec::new();
        for (a, b) in cables {
            counts.push((a, b, counted(a)?.send_drops, counted(b)?.received));
        }
        anyhow::Ok(Findings::of(start.elapsed(), sent, tracked, &received, &counts, beside, samples))
    })?;
    match shared.failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(findings),
    }
}
