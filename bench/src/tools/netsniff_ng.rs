//! netsniff-ng: receives through a `TPACKET_V3` ring and writes the frames to `/dev/null`.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, bail};
use fast_afpacket_bench_harness::worker::Signals;
use fast_afpacket_bench_harness::{Job, Outcome, Task, socket};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{number, whole};

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
    let before = cpu_of(child.id())?;
    signals.wait();
    // It may not have read the last frames yet.
    thread::sleep(2 * socket::IDLE);
    let cpu_seconds = cpu_of(child.id())? - before;
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT)?;
    let mut text = String::new();
    said.read_to_string(&mut text)?;
    child.wait()?;
    let frames = whole(number(&text, "packets passed filter")?);
    let dropped = whole(number(&text, "packets failed filter")?);
    Ok(Outcome { frames, dropped: Some(dropped), cpu_seconds, ..Outcome::default() })
}

/// The processor time of a process with one thread, in seconds.
fn cpu_of(process: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/schedstat"))?;
    let nanos = stat.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Ok(Duration::from_nanos(nanos.context("no processor time in schedstat")?).as_secs_f64())
}
