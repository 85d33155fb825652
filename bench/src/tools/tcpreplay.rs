//! tcpreplay: sends a file of frames from memory, with `send`, by its own clock.

use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use fast_afpacket_bench_harness::worker::Signals;
use fast_afpacket_bench_harness::{Job, Outcome, Task, frames};

use super::{Input, children_cpu, number, printed, whole};

/// In the file, which is sent repeatedly.
const FRAMES: u32 = 1000;
/// About as many frames as it sends in a millisecond: it is told how many to send, not how long.
const PER_MILLISECOND: u32 = 600;

pub(super) fn run(job: &Job, signals: &Signals) -> anyhow::Result<Outcome> {
    let Task::Send { time, pace: None } = job.task else { bail!("it is not asked for this") };
    let file = Input::new(&capture(&frames::one(job.setup.frame_len)?)?)?;
    let loops = (time * PER_MILLISECOND / FRAMES).max(1);
    signals.ready()?;
    let output = Command::new("tcpreplay")
        .args(["--topspeed", "--preload-pcap", "--no-flow-stats", "--quiet"])
        .args([&format!("--loop={loops}"), &format!("--intf1={}", job.setup.interface)])
        .arg(&file.0)
        .stdin(Stdio::null())
        .output()
        .context("cannot start tcpreplay")?;
    let text = printed(&output)?;
    let frames = number(&text, "packets (")?;
    let rate = number(&text, "pps")?;
    Ok(Outcome { frames: whole(frames), seconds: frames / rate, cpu_seconds: children_cpu()?, ..Outcome::default() })
}

/// A pcap file with copies of a frame.
fn capture(frame: &[u8]) -> anyhow::Result<Vec<u8>> {
    let len = u32::try_from(frame.len())?.to_ne_bytes();
    let mut file = Vec::new();
    // Magic number, version 2.4 in two halves, no time zone, accuracy, length limit, Ethernet.
    for field in [0xa1b2_c3d4_u32, u32::from_ne_bytes([2, 0, 4, 0]), 0, 0, 65_535, 1] {
        file.extend(field.to_ne_bytes());
    }
    for _ in 0..FRAMES {
        file.extend([0; 8]);
        file.extend(len);
        file.extend(len);
        file.extend(frame);
    }
    Ok(file)
}
