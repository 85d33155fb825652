//! netsniff-ng: receives through a `TPACKET_V3` ring and writes the frames to `/dev/null`.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use fast_afpacket_bench_harness::worker::Signals;
use fast_afpacket_bench_harness::{Job, Outcome, Task};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{children_cpu, number, whole};

pub(super) fn run(job: &Job, signals: &Signals) -> anyhow::Result<Outcome> {
    let Task::Receive { latency: false } = job.task else { bail!("it is not asked for this") };
    let mut child = Command::new("netsniff-ng")
        // It tunes neither the system's socket memory nor its interrupts, nor the card.
        .args(["--no-sock-mem", "--notouch-irq", "--no-hwtimestamp", "--no-promisc", "--silent"])
        .args(["--in", &job.setup.interface, "--out", "/dev/null", "--ring-size", "64MiB"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .context("cannot start netsniff-ng")?;
    let mut said = BufReader::new(child.stdout.take().context("no standard output")?);
    let mut line = String::new();
    while !line.contains("Running!") {
        line.clear();
        if said.read_line(&mut line)? == 0 {
            child.wait()?;
            bail!("netsniff-ng did not start");
        }
    }
    signals.ready()?;
    signals.wait();
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT)?;
    let mut text = String::new();
    said.read_to_string(&mut text)?;
    child.wait()?;
    let frames = whole(number(&text, "packets passed filter")?);
    let dropped = whole(number(&text, "packets failed filter")?);
    // Its processor time includes its start.
    Ok(Outcome { frames, dropped: Some(dropped), cpu_seconds: children_cpu()?, ..Outcome::default() })
}
