//! What was found, and whether it is well: text for people, JSON with every sample.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use super::receivers::Received;
use super::resources::Resources;
use super::senders::Tracked;
use crate::machine::Machine;

/// By how much the resident memory may differ between two halves of the run: what the allocator keeps for later.
const MEMORY_SLACK: u64 = 1024;

#[derive(Serialize)]
pub(super) struct Findings {
    seconds: f64,
    senders: Vec<Sender>,
    receivers: Vec<Receiver>,
    outcomes: Outcomes,
    flaps: u64,
    opened: u64,
    samples: Vec<Resources>,
}

/// One cable, from its sender's side.
#[derive(Serialize)]
struct Sender {
    cable: String,
    /// Frames that the kernel took.
    sent: u64,
    /// Those that the interface counts as dropped on their way out, while the link came up or the queue of the processor
    /// was full.
    dropped: u64,
    /// Those that its other end counts.
    arrived: u64,
}

impl Sender {
    const fn is_well(&self) -> bool {
        self.sent > 0 && self.sent == self.arrived + self.dropped
    }
}

/// One receiver.
#[derive(Serialize)]
struct Receiver {
    name: &'static str,
    /// Frames that the interface counts.
    arrived: u64,
    /// By the socket's own count, without those that were dropped.
    received: u64,
    read: u64,
    /// Thrown away when the filter was changed.
    discarded: u64,
    dropped: u64,
    malformed: u64,
    told_down: u64,
    filter_changes: u64,
}

impl Receiver {
    /// Frames that the filter did not let in are not counted by the kernel.
    const fn is_well(&self) -> bool {
        let let_in = self.received + self.dropped;
        self.malformed == 0
            && self.read > 0
            && self.received == self.read + self.discarded
            && (let_in == self.arrived || self.filter_changes > 0 && let_in < self.arrived)
    }
}

#[derive(Serialize)]
struct Outcomes {
    sent: u64,
    refused: u64,
    outcomes: u64,
    complete: u64,
    missing: u64,
    unknown: u64,
}

impl Outcomes {
    const fn is_well(&self) -> bool {
        self.outcomes == self.sent + self.refused
            && self.sent == self.complete + self.missing
            && self.unknown == 0
            && self.complete > 0
    }
}

impl Findings {
    pub(super) fn of(
        time: Duration,
        [batches, ring]: [u64; 2],
        tracked: Tracked,
        received: &[(&'static str, String, Received)],
        counts: &[(&str, &str, u64, u64)],
        (flaps, opened): (u64, u64),
        samples: Vec<Resources>,
    ) -> Self {
        let senders = counts.iter().zip([batches, tracked.sent, ring]);
        let senders = senders.map(|(&(a, b, dropped, arrived), sent)| Sender {
            cable: format!("{a} to {b}"),
            sent,
            dropped,
            arrived,
        });
        let receivers = received.iter().map(|&(name, ref interface, ref found)| Receiver {
            name,
            arrived: counts.iter().find(|(_, b, ..)| b == interface).map_or(0, |&(.., arrived)| arrived),
            received: found.stats.received,
            read: found.read,
            discarded: found.stats.discarded,
            dropped: found.stats.dropped,
            malformed: found.stats.malformed,
            told_down: found.down,
            filter_changes: found.filter_changes,
        });
        let Tracked { sent, refused, outcomes, complete, missing, unknown } = tracked;
        Self {
            seconds: time.as_secs_f64(),
            senders: senders.collect(),
            receivers: receivers.collect(),
            outcomes: Outcomes { sent, refused, outcomes, complete, missing, unknown },
            flaps,
            opened,
            samples,
        }
    }

    /// What the process held in the second quarter of the run at most, and in the last: with the first, memory is still
    /// touched for the first time.
    fn growth(&self) -> Option<[Resources; 2]> {
        let quarter = self.samples.len() / 4;
        let most = |samples: &[Resources]| {
            let first = *samples.first()?;
            Some(samples.iter().fold(first, |most, sample| Resources {
                at: sample.at,
                memory: most.memory.max(sample.memory),
                descriptors: most.descriptors.max(sample.descriptors),
                rings: most.rings.max(sample.rings),
                mappings: most.mappings.max(sample.mappings),
                threads: most.threads.max(sample.threads),
            }))
        };
        Some([most(self.samples.get(quarter..2 * quarter)?)?, most(self.samples.get(3 * quarter..)?)?])
    }

    fn has_grown(&self) -> bool {
        self.growth().is_none_or(|[before, after]| {
            after.memory > before.memory + MEMORY_SLACK
                || after.descriptors > before.descriptors
                || after.rings > before.rings
                || after.mappings > before.mappings
                || after.threads > before.threads
        })
    }
}

#[derive(Serialize)]
pub(super) struct Report {
    machine: Machine,
    is_well: bool,
    findings: Findings,
}

impl Report {
    pub(super) fn new(machine: Machine, findings: Findings) -> Self {
        let is_well = findings.senders.iter().all(Sender::is_well)
            && findings.receivers.iter().all(Receiver::is_well)
            && findings.outcomes.is_well()
            && findings.flaps > 0
            && findings.opened > 0
            && !findings.has_grown();
        Self { machine, is_well, findings }
    }

    pub(super) const fn is_well(&self) -> bool {
        self.is_well
    }

    /// Writes `report.md` and `samples.json` into a directory, which is made.
    pub(super) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let context = || format!("cannot write into {}", directory.display());
        fs::create_dir_all(directory).with_context(context)?;
        fs::write(directory.join("report.md"), self.text()).with_context(context)?;
        fs::write(directory.join("samples.json"), serde_json::to_string_pretty(self)? + "\n").with_context(context)
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = self.write_text(&mut text);
        text
    }

    fn write_text(&self, text: &mut String) -> std::fmt::Result {
        let Self { machine, is_well, findings } = self;
        let Findings { seconds, senders, receivers, outcomes, flaps, opened, samples } = findings;
        let verdict = |is_well: bool| if is_well { "yes" } else { "NO" };
        writeln!(text, "# Soak, {}\n", machine.date)?;
        writeln!(
            text,
            "{seconds:.0} s of everything at once; {flaps} times a link went down and up, {opened} sockets and rings were \
             opened and closed beside the traffic. {}\n",
            if *is_well { "Every frame is accounted for, and nothing grew." } else { "**NOT ALL IS WELL.**" }
        )?;
        writeln!(text, "Revision {}; {}; {}.", machine.revision, machine.kernel, machine.processor)?;
        writeln!(text, "`{}`\n", machine.command)?;
        writeln!(
            text,
            "## Sent\n\n| cable | sent | arrived | dropped by the interface | exact |\n|---|---|---|---|---|"
        )?;
        for sender in senders {
            let Sender { cable, sent, dropped, arrived } = sender;
            writeln!(text, "| {cable} | {sent} | {arrived} | {dropped} | {} |", verdict(sender.is_well()))?;
        }
        writeln!(text, "\n## Received\n\nFrames that a filter did not let in are counted by nobody.\n")?;
        writeln!(
            text,
            "| receiver | arrived | read | dropped | thrown away with a filter | filters | exact |\n|---|---|---|---|---|---|---|"
        )?;
        for receiver in receivers {
            let Receiver { name, arrived, read, discarded, dropped, filter_changes, .. } = receiver;
            writeln!(
                text,
                "| {name} | {arrived} | {read} | {dropped} | {discarded} | {filter_changes} | {} |",
                verdict(receiver.is_well())
            )?;
        }
        let Outcomes { sent, refused, outcomes: all, complete, missing, unknown } = outcomes;
        writeln!(
            text,
            "\n## Stamps\n\n{sent} frames with keys were taken and {refused} refused: {all} outcomes, of which {complete} with \
             all stamps and {missing} without; {unknown} stamps of nobody. Exact: {}.",
            verdict(outcomes.is_well())
        )?;
        let Some([before, after]) = findings.growth() else {
            return writeln!(text, "\nToo short to say whether anything grew.");
        };
        writeln!(
            text,
            "\n## Held\n\nAt most, of {} looks while nothing was being opened.\n\n| | second quarter | last quarter |\n|---|---|---|",
            samples.len()
        )?;
        writeln!(text, "| resident memory | {} KiB | {} KiB |", before.memory, after.memory)?;
        writeln!(text, "| descriptors | {} | {} |", before.descriptors, after.descriptors)?;
        writeln!(text, "| rings mapped | {} | {} |", before.rings, after.rings)?;
        writeln!(text, "| mappings | {} | {} |", before.mappings, after.mappings)?;
        writeln!(text, "| threads | {} | {} |", before.threads, after.threads)
    }
}
