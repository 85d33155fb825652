//! The program that moves frames: started for each run, in the namespace and on the processor where it is to work.

use std::env;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::contender::{Contender, Receiver, Sender, Stamper};
use crate::job::{Job, Outcome, Pace, Percentiles, Task};
use crate::sink::{Latencies, Sink, Tally};
use crate::{clock, exact, socket};

/// The line that says that the contender is open.
pub const READY: &str = "ready";
/// The argument that asks for a list of the contenders.
pub const LIST: &str = "list-contenders";
/// The argument that asks for a run; the number of the contender and the [`Job`] follow.
pub const RUN: &str = "run-contender";

/// How long the kernel may take to switch stamps on: some milliseconds.
const SETTLE: Duration = Duration::from_millis(30);
/// Between two looks at the clock, where a look costs too much for each frame.
const CALLS_PER_LOOK: u32 = 16;
/// The most latencies that are kept.
const MAX_SAMPLES: usize = 1 << 20;

/// The main function of a program that is nothing but a list of contenders.
pub fn main(contenders: &[Contender]) -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match serve(contenders, &arguments) {
        Some(code) => code,
        None => {
            eprintln!("this is a part of the benchmark, which starts it: see bench/README.md");
            ExitCode::from(2)
        }
    }
}

/// Does what a worker is asked to. `None` if the arguments are not a worker's.
pub fn serve(contenders: &[Contender], arguments: &[String]) -> Option<ExitCode> {
    let done = match arguments {
        [verb] if verb == LIST => list(contenders),
        [verb, number, job] if verb == RUN => run(contenders, number, job),
        _ => return None,
    };
    Some(match done {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    })
}

fn list(contenders: &[Contender]) -> anyhow::Result<String> {
    let descriptions: Vec<_> = contenders.iter().map(|contender| &contender.description).collect();
    Ok(serde_json::to_string(&descriptions)?)
}

fn run(contenders: &[Contender], number: &str, job: &str) -> anyhow::Result<String> {
    let contender = number.parse().ok().and_then(|number: usize| contenders.get(number));
    let contender = contender.with_context(|| format!("there is no contender {number}"))?;
    let job: Job = serde_json::from_str(job).context("not a job")?;
    Ok(serde_json::to_string(&contender.run(&job, &Signals::default())?)?)
}

/// What the benchmark and a worker tell each other during a run.
#[derive(Debug, Default)]
pub struct Signals {
    stop: Arc<AtomicBool>,
}

impl Signals {
    /// Tells the benchmark that all is open, once the kernel has had time for it.
    ///
    /// # Errors
    ///
    /// If nobody listens.
    pub fn ready(&self) -> io::Result<()> {
        thread::sleep(SETTLE);
        let mut out = io::stdout().lock();
        writeln!(out, "{READY}")?;
        out.flush()
    }

    /// Whether the benchmark has said that nothing more will come.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits until the benchmark says that nothing more will come.
    pub fn wait(&self) {
        // An error is an end too.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        self.stop.store(true, Ordering::Relaxed);
    }

    /// [`wait`](Self::wait)s on another thread, and calls `wake` from then on until the process ends.
    fn watch(&self, wake: Option<Box<dyn Fn() + Send>>) {
        let signals = Self { stop: Arc::clone(&self.stop) };
        thread::spawn(move || {
            signals.wait();
            while let Some(wake) = &wake {
                thread::sleep(3 * socket::IDLE);
                wake();
            }
        });
    }
}

/// Receives as the job says.
pub(crate) fn receive<R: Receiver>(mut receiver: R, job: &Job, signals: &Signals) -> anyhow::Result<Outcome> {
    match &job.task {
        Task::Count(count) => exact::receive(receiver, job, count),
        Task::Receive { latency: false } => {
            let (tally, cpu_seconds) = receive_all(&mut receiver, Tally::default(), signals)?;
            tally.keep();
            Ok(Outcome { cpu_seconds, dropped: receiver.dropped()?, ..counted(&tally) })
        }
        Task::Receive { latency: true } => {
            let latencies = Latencies::with_capacity(MAX_SAMPLES);
            let (mut latencies, cpu_seconds) = receive_all(&mut receiver, latencies, signals)?;
            let latency = Percentiles::of(&mut latencies.samples);
            Ok(Outcome { cpu_seconds, dropped: receiver.dropped()?, latency, ..counted(&latencies.tally) })
        }
        _ => bail!("a receiver cannot do this"),
    }
}

fn counted(tally: &Tally) -> Outcome {
    Outcome { frames: tally.frames, stamped: tally.stamped(), ..Outcome::default() }
}

/// Receives until nothing more comes, and returns the processor time that it took. The sink is handed over and back, so
/// that it can be in registers meanwhile.
fn receive_all<R: Receiver, S: Sink>(receiver: &mut R, mut sink: S, signals: &Signals) -> anyhow::Result<(S, f64)> {
    signals.watch(receiver.waker());
    signals.ready()?;
    let before = clock::thread_cpu()?;
    loop {
        let frames = sink.frames();
        // Asked before the pass: if it is over then, a pass without a frame has seen all.
        let is_over = signals.is_over();
        receiver.pass(&mut sink)?;
        if is_over && sink.frames() == frames {
            break;
        }
    }
    Ok((sink, clock::thread_cpu()? - before))
}

/// Sends as the job says.
pub(crate) fn send<S: Sender>(mut sender: S, job: &Job, signals: &Signals) -> anyhow::Result<Outcome> {
    match &job.task {
        Task::Count(count) => exact::send(sender, count),
        &Task::Send { time, pace } => {
            let mut timer = Timer::start(time, signals)?;
            let mut schedule = pace.map(Schedule::new);
            let mut outcome = Outcome::default();
            loop {
                let sent = match sender.send() {
                    Ok(sent) => sent,
                    Err(error) if is_want_of_room(&error) => {
                        outcome.refused += 1;
                        0
                    }
                    Err(error) => return Err(error).context("cannot send"),
                };
                outcome.frames += sent;
                let is_over = match &mut schedule {
                    Some(schedule) => timer.is_over_at(schedule.wait(sent)),
                    None => timer.is_over(),
                };
                if is_over {
                    break;
                }
            }
            timer.stop(outcome)
        }
        _ => bail!("a sender cannot do this"),
    }
}

/// Sends frames and reads their stamps as the job says.
pub(crate) fn stamp<S: Stamper>(mut stamper: S, job: &Job, signals: &Signals) -> anyhow::Result<Outcome> {
    match &job.task {
        Task::Count(count) => exact::stamp(stamper, count),
        &Task::Stamp { time } => {
            let mut timer = Timer::start(time, signals)?;
            let mut outcome = Outcome::default();
            while !timer.is_over() {
                let sent = stamper.send().context("cannot send")?;
                outcome.frames += sent;
                outcome.stamped += stamper.read(sent).context("cannot read stamps")?;
            }
            timer.stop(outcome)
        }
        _ => bail!("a sender of stamped frames cannot do this"),
    }
}

fn is_want_of_room(error: &io::Error) -> bool {
    use nix::errno::Errno;
    [Errno::ENOBUFS, Errno::EAGAIN].iter().any(|&errno| error.raw_os_error() == Some(errno as i32))
}

/// How long a run has lasted.
struct Timer {
    start: Instant,
    end: Instant,
    cpu_before: f64,
    calls: u32,
}

impl Timer {
    fn start(millis: u32, signals: &Signals) -> anyhow::Result<Self> {
        signals.ready()?;
        let cpu_before = clock::thread_cpu()?;
        let start = Instant::now();
        Ok(Self { start, end: start + Duration::from_millis(millis.into()), cpu_before, calls: 0 })
    }

    /// Looks at the clock once in some calls.
    #[inline]
    fn is_over(&mut self) -> bool {
        self.calls = self.calls.wrapping_add(1);
        self.calls.is_multiple_of(CALLS_PER_LOOK) && Instant::now() >= self.end
    }

    fn is_over_at(&self, now: Instant) -> bool {
        now >= self.end
    }

    fn stop(self, outcome: Outcome) -> anyhow::Result<Outcome> {
        let seconds = self.start.elapsed().as_secs_f64();
        Ok(Outcome { seconds, cpu_seconds: clock::thread_cpu()? - self.cpu_before, ..outcome })
    }
}

/// When the next frames are due.
struct Schedule {
    interval: Duration,
    due: Instant,
}

impl Schedule {
    fn new(pace: Pace) -> Self {
        Self { interval: Duration::from_secs_f64(1.0 / pace.frames_per_second), due: Instant::now() }
    }

    /// Lets so many frames' time pass, without sleeping, and returns the time. What was late stays late: a burst that makes
    /// up for it would be another rate.
    #[inline]
    fn wait(&mut self, frames: u64) -> Instant {
        let frames = u32::try_from(frames).unwrap_or(u32::MAX);
        let mut now = Instant::now();
        self.due = (self.due + self.interval * frames).max(now);
        while now < self.due {
            std::hint::spin_loop();
            now = Instant::now();
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_never_runs_ahead() {
        let start = Instant::now();
        let mut schedule = Schedule::new(Pace { frames_per_second: 100_000.0 });
        for _ in 0..50 {
            schedule.wait(2);
        }
        assert!(start.elapsed() >= Duration::from_millis(1), "100 frames take a millisecond");
    }

    #[test]
    fn other_arguments_are_not_a_workers() {
        let arguments = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert!(serve(&[], &arguments(&["--quick"])).is_none());
        assert!(serve(&[], &arguments(&[RUN, "0"])).is_none());
        assert!(serve(&[], &arguments(&[LIST])).is_some());
    }
}
