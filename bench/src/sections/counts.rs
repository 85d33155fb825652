//! What does not depend on the machine's mood: instructions, allocations and system calls for each frame.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process;

use anyhow::{Context, ensure};
use fast_afpacket_bench_harness::{Count, Job, Part, Role, Task, Way, exact};

use super::{Bench, Findings, Measured, count, receiver_setup, sender_setup};
use crate::lab::{End, Lab, SENDER};
use crate::programs::Entry;
use crate::table::{Column, Unit};

const EXPLANATION: &str = "The frames are in the receiver's buffer before it is measured (192, in a ring 1,920): nothing \
    waits, and the counts are the same in each run. Instructions are those of user space, by callgrind, from the difference \
    of 1,920 and 3,840 frames; allocations by an allocator that counts; system calls by strace. The bare batches are sent \
    from headers that were made once: what it takes to make them for other frames is not in their count.";

const FRAME_LEN: usize = 64;
/// How many frames make the difference.
const FRAMES: u64 = 1920;
/// What fits into any receive buffer and any queue of stamps: three batches of 64.
const CHUNK: u64 = 192;

/// Tools cannot be looked into, and a task receives until its socket is closed, not so and so many frames.
fn is_wanted(entry: &Entry) -> bool {
    !entry.description.is_tool && entry.description.way != Way::RecvAsync
}

pub(super) fn run(bench: &Bench) -> anyhow::Result<Findings> {
    let columns = [
        Column::new("instructions", "instructions/frame", Unit::Count).compared(),
        Column::new("allocations", "allocations/frame", Unit::Count),
        Column::new("calls", "system calls/frame", Unit::Count),
    ];
    let entries = bench.contenders(is_wanted);
    let title = "Instructions, allocations and system calls".to_owned();
    let table = bench.alternate(("counts-64", title), &columns, &entries, 1, |entry| measure(bench, entry));
    let title = "Instructions, allocations and system calls for each frame";
    Ok(Findings { section: "counts", title, explanation: EXPLANATION, tables: vec![table] })
}

fn measure(bench: &Bench, entry: &Entry) -> anyhow::Result<Measured> {
    let instructions = per_frame(&bench.lab, entry, Part::All, Counter::Instructions)?;
    let allocations = per_frame(&bench.lab, entry, Part::All, Counter::Allocations)?;
    let calls = per_frame(&bench.lab, entry, Part::All, Counter::SystemCalls)?;
    Ok((vec![Some(instructions), Some(allocations), Some(calls)], None))
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    /// In user space.
    Instructions,
    Allocations,
    SystemCalls,
}

/// Counts for each frame: the difference that more frames make.
pub(crate) fn per_frame(lab: &Lab, entry: &Entry, part: Part, counter: Counter) -> anyhow::Result<f64> {
    let once = counted(lab, entry, part, counter, FRAMES)?;
    let twice = counted(lab, entry, part, counter, 2 * FRAMES)?;
    Ok((count(twice) - count(once)) / count(FRAMES))
}

fn counted(lab: &Lab, entry: &Entry, part: Part, counter: Counter, frames: u64) -> anyhow::Result<u64> {
    let way = entry.description.way;
    let mut setup = if way.role() == Role::Receive { receiver_setup(FRAME_LEN) } else { sender_setup(FRAME_LEN) };
    let mut chunk = CHUNK;
    if way.is_receive_ring() {
        // The share of a frame in the costs of its block is to be small, and much the same in each run: under valgrind it
        // takes a tenth of a second to send them.
        (chunk, setup.block_timeout) = (FRAMES, 200);
    }
    let job = Job { setup, task: Task::Count(Count { frames, chunk, part, far_end: SENDER.to_owned() }) };
    let out = Scratch::new();
    let path = out.0.display();
    let tool = match counter {
        Counter::Allocations => Vec::new(),
        Counter::Instructions => vec![
            "valgrind".to_owned(),
            "--quiet".to_owned(),
            "--tool=callgrind".to_owned(),
            format!("--toggle-collect={}", exact::MEASURED),
            format!("--callgrind-out-file={path}"),
        ],
        Counter::SystemCalls => {
            ["strace", "--follow-forks", "--quiet=all", "--signal=none", "--output", &path.to_string()]
                .map(str::to_owned)
                .to_vec()
        }
    };
    let outcome = entry.run(lab, End::Both, &job, &tool)?;
    ensure!(outcome.frames >= frames, "only {} frames were moved", outcome.frames);
    match counter {
        Counter::Allocations => Ok(outcome.allocations),
        Counter::Instructions => instructions(&out.read()?).context("callgrind wrote no total"),
        Counter::SystemCalls => Ok(system_calls(&out.read()?)),
    }
}

/// A file for a tool's output, removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        Self(env::temp_dir().join(format!("fast-afpacket-bench-{}", process::id())))
    }

    fn read(&self) -> anyhow::Result<String> {
        fs::read_to_string(&self.0).context("the tool wrote nothing")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The total in callgrind's output.
fn instructions(output: &str) -> Option<u64> {
    output.lines().find_map(|line| line.strip_prefix("totals:")?.trim().parse().ok())
}

/// The system calls between marks in strace's output.
fn system_calls(output: &str) -> u64 {
    let mut is_measured = false;
    let mut calls = 0;
    for line in output.lines() {
        if line.contains(exact::BEGIN) {
            is_measured = true;
        } else if line.contains(exact::END) {
            is_measured = false;
        } else if is_measured && !line.contains("resumed>") {
            calls += 1;
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_between_marks_count() {
        let output = "7 openat(AT_FDCWD, \"x\")\n\
            7 statx(AT_FDCWD, \"/measured/begin\", 0) = -1 ENOENT\n7 recvmsg(3, {}) = 64\n7 poll([], 1, 100 <unfinished ...>\n\
            8 <... poll resumed>) = 1\n7 statx(AT_FDCWD, \"/measured/end\", 0) = -1 ENOENT\n7 sendto(4)\n\
            7 statx(AT_FDCWD, \"/measured/begin\", 0)\n7 recvmsg(3)\n7 statx(AT_FDCWD, \"/measured/end\", 0)\n";
        assert_eq!(system_calls(output), 3);
        assert_eq!(system_calls(""), 0);
    }

    #[test]
    fn the_total_is_found() {
        assert_eq!(instructions("version: 1\nevents: Ir\nfn=(1) x\n16 400\ntotals: 53280\n"), Some(53280));
        assert_eq!(instructions("events: Ir\n"), None);
    }
}
