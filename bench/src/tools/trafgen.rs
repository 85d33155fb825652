//! trafgen: sends through a `TPACKET_V2` ring, by its own clock.

use std::fmt::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use fast_afpacket_bench_harness::worker::Signals;
use fast_afpacket_bench_harness::{Job, Outcome, Task, frames};

use super::{Input, children_cpu, number, printed, whole};

/// About as many frames as it sends in a millisecond: it is told how many to send, not how long.
const PER_MILLISECOND: u32 = 700;

pub(super) fn run(job: &Job, signals: &Signals, qdisc: bool) -> anyhow::Result<Outcome> {
    let Task::Send { time, pace: None } = job.task else { bail!("it is not asked for this") };
    let file = Input::new(packet(&frames::one(job.setup.frame_len)?)?.as_bytes())?;
    let mut command = Command::new("trafgen");
    // It tunes neither the system's socket memory nor its interrupts.
    command.args(["--no-sock-mem", "--notouch-irq", "--cpus", "1"]);
    command.args(["--dev", &job.setup.interface, "--num", &(time * PER_MILLISECOND).to_string()]);
    if qdisc {
        command.arg("--qdisc-path");
    }
    command.arg("--conf").arg(&file.0).stdin(Stdio::null());
    signals.ready()?;
    let text = printed(&command.output().context("cannot start trafgen")?)?;
    let frames = number(&text, "packets outgoing")?;
    let seconds = number(&text, "sec,")? + number(&text, "usec on")? / 1e6;
    Ok(Outcome { frames: whole(frames), seconds, cpu_seconds: children_cpu()?, ..Outcome::default() })
}

/// A frame in trafgen's language.
fn packet(frame: &[u8]) -> anyhow::Result<String> {
    let mut text = "{".to_owned();
    for byte in frame {
        write!(text, "{byte:#04x},")?;
    }
    text.pop();
    text.push_str("}\n");
    Ok(text)
}
