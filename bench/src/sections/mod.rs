//! What is measured, in sections that can be chosen.

mod counts;
mod latency;
mod lossless;
mod receive;
mod stamps;
mod transmit;

use std::time::Duration;

use clap::ValueEnum;
use fast_afpacket_bench_harness::{Job, Outcome, Pace, Setup, Task, Way};
use serde::Serialize;

use crate::lab::{End, Lab, RECEIVER, SENDER};
use crate::programs::{Entry, Field};
use crate::table::{Column, Row, Table, Values};

pub(crate) use counts::{Counter, per_frame};

/// One part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Section {
    /// How many frames can be sent.
    Transmit,
    /// Receiving from a sender that is faster than most receivers.
    Receive,
    /// Receiving 100,000 frames a second.
    Paced,
    /// The highest rate without loss.
    Lossless,
    /// How long a frame takes from the kernel's stamp to the program.
    Latency,
    /// Sending with stamps read back.
    Stamps,
    /// User instructions, allocations and system calls for each frame.
    Counts,
}

/// What a section found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Findings {
    pub(crate) section: &'static str,
    pub(crate) title: &'static str,
    /// What was measured, and how.
    pub(crate) explanation: &'static str,
    pub(crate) tables: Vec<Table>,
}

/// What all sections work with.
pub(crate) struct Bench {
    pub(crate) lab: Lab,
    pub(crate) field: Field,
    /// Only these, or all if there are none.
    pub(crate) ways: Vec<Way>,
    pub(crate) runs: usize,
    pub(crate) quick: bool,
}

impl Section {
    pub(crate) fn run(self, bench: &Bench) -> anyhow::Result<Findings> {
        match self {
            Self::Transmit => transmit::run(bench),
            Self::Receive => receive::full(bench),
            Self::Paced => receive::paced(bench),
            Self::Lossless => lossless::run(bench),
            Self::Latency => latency::run(bench),
            Self::Stamps => stamps::run(bench),
            Self::Counts => counts::run(bench),
        }
    }
}

/// The lengths of the frames that are sent, without checksum.
const FRAME_LENS: [usize; 2] = [64, 1514];

/// What one run gives: values, and what there is to say about them.
type Measured = (Values, Option<String>);

impl Bench {
    /// So many milliseconds, a fourth of it in a quick run.
    fn time(&self, millis: u32) -> Duration {
        Duration::from_millis(u64::from(if self.quick { millis / 4 } else { millis }))
    }

    /// The contenders that go one of these ways: each way's bare system calls first, then this library, then the others.
    fn contenders(&self, is_wanted: impl Fn(&Entry) -> bool) -> Vec<&Entry> {
        let is_chosen = |entry: &Entry| self.ways.is_empty() || self.ways.contains(&entry.description.way);
        let mut wanted: Vec<_> =
            self.field.entries.iter().filter(|entry| is_chosen(entry) && is_wanted(entry)).collect();
        // Stable: the field lists them in this order, way by way.
        wanted.sort_by_key(|entry| entry.description.way);
        wanted
    }

    /// The bare system calls of this way, as source of frames for receivers.
    fn source(&self, way: Way) -> anyhow::Result<&Entry> {
        let bare = |entry: &&Entry| entry.description.who == crate::bare::WHO && entry.description.way == way;
        self.field.entries.iter().find(bare).ok_or_else(|| anyhow::anyhow!("there is no bare {}", way.label()))
    }

    /// A table for each length of frames.
    fn by_length(
        &self,
        names: (&str, &str),
        columns: &[Column],
        entries: &[&Entry],
        runs: usize,
        measure: impl Fn(&Entry, usize) -> anyhow::Result<Measured>,
    ) -> Vec<Table> {
        let (key, title) = names;
        let table = |frame_len| {
            let (key, title) = (format!("{key}-{frame_len}"), format!("{title}, {frame_len} bytes"));
            self.alternate((&key, title), columns, entries, runs, |entry| measure(entry, frame_len))
        };
        FRAME_LENS.map(table).into()
    }

    /// Measures all contenders in turn, then all again, and so on.
    fn alternate(
        &self,
        table: (&str, String),
        columns: &[Column],
        entries: &[&Entry],
        runs: usize,
        mut measure: impl FnMut(&Entry) -> anyhow::Result<Measured>,
    ) -> Table {
        let (key, title) = table;
        let mut rows: Vec<_> = entries.iter().map(|entry| Row::new(entry.description.clone())).collect();
        for run in 1..=runs {
            eprintln!("{title}: run {run} of {runs}");
            for (entry, row) in entries.iter().zip(&mut rows) {
                // Who cannot do it at all need not be asked again.
                let is_hopeless = row.runs.first().is_some_and(Option::is_none);
                let values = if is_hopeless { None } else { noted(row, measure(entry)) };
                row.runs.push(values);
            }
        }
        Table { key: key.to_owned(), title, columns: columns.to_vec(), rows }
    }

    /// Has frames of one contender received by another.
    fn transfer(&self, to: (&Entry, Setup, bool), from: (&Entry, Setup, Flow)) -> anyhow::Result<Transfer> {
        let (receiver, setup, latency) = to;
        let receiving =
            receiver.start(&self.lab, End::Receiver, &Job { setup, task: Task::Receive { latency } }, &[])?;
        let (sender, setup, Flow { time, pace }) = from;
        let time = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let before = self.lab.arrived()?;
        let job = Job { setup, task: Task::Send { time, pace } };
        let sent = sender.run(&self.lab, End::Sender, &job, &[])?;
        let arrived = self.lab.arrived()?.since(before).frames;
        Ok(Transfer { sent, arrived, received: receiving.finish()? })
    }
}

fn noted(row: &mut Row, measured: anyhow::Result<Measured>) -> Option<Values> {
    match measured {
        Ok((values, note)) => {
            note.into_iter().for_each(|note| row.note(note));
            Some(values)
        }
        Err(error) => {
            row.note(format!("{error:#}"));
            None
        }
    }
}

/// How long and how fast frames are sent.
#[derive(Clone, Copy)]
struct Flow {
    time: Duration,
    pace: Option<Pace>,
}

impl Flow {
    fn paced(time: Duration, frames_per_second: f64) -> Self {
        Self { time, pace: Some(Pace { frames_per_second }) }
    }
}

/// What one contender sent and another received.
struct Transfer {
    sent: Outcome,
    /// By the interface's own count.
    arrived: u64,
    received: Outcome,
}

impl Transfer {
    fn offered(&self) -> f64 {
        count(self.sent.frames) / self.sent.seconds
    }

    /// What the sender sent and the receiver did not receive, as a part of what was sent.
    fn loss(&self) -> f64 {
        1.0 - count(self.received.frames) / count(self.sent.frames)
    }

    /// Frames that were sent, not received, and not counted as dropped by the kernel. Should be 0.
    fn unaccounted(&self) -> Option<f64> {
        let dropped = self.received.dropped?;
        Some(count(self.sent.frames) - count(self.received.frames) - count(dropped))
    }

    fn cpu(&self) -> Option<f64> {
        (self.received.frames > 0).then(|| self.received.cpu_seconds / count(self.received.frames))
    }

    /// What would make the numbers worthless.
    fn check(&self) -> anyhow::Result<()> {
        let (sent, arrived) = (self.sent.frames, self.arrived);
        anyhow::ensure!(sent == arrived, "{sent} frames were sent and {arrived} arrived: the link lost some");
        Ok(())
    }
}

/// A count as a number to divide.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn count(count: u64) -> f64 {
    count as f64
}

fn receiver_setup(frame_len: usize) -> Setup {
    Setup::new(RECEIVER, frame_len)
}

fn sender_setup(frame_len: usize) -> Setup {
    Setup::new(SENDER, frame_len)
}
