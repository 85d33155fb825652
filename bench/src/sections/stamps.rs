//! Sending, with the stamp of each frame read back.

use fast_afpacket_bench_harness::{Job, Role, Task};

use super::{Bench, Findings, Measured, count, sender_setup};
use crate::lab::End;
use crate::programs::Entry;
use crate::table::{Column, Unit};

const EXPLANATION: &str = "One thread sends and reads the software stamps of what it has sent from the error queue, with \
    their numbers. On a virtual cable a stamp is there when the send returns; a card takes its time. A key is a number that \
    is sent along with each frame (SCM_TS_OPT_ID, Linux 6.13), and what this library does unless it is told to count. \
    `Counted`: without one, and the stamp has the kernel's count of frames, which costs less. Bare calls that count name the \
    wrong frame once a send was refused; this library keeps a ledger of what used up a number.";

pub(super) fn run(bench: &Bench) -> anyhow::Result<Findings> {
    let columns = [
        Column::new("rate", "stamps/s", Unit::PerSecond).compared(),
        Column::new("cpu", "CPU/frame", Unit::Nanoseconds).compared(),
        Column::new("lost", "stamps lost", Unit::Count),
    ];
    let entries = bench.contenders(|entry| entry.description.way.role() == Role::Stamp);
    let names = ("stamps", "Sending with stamps");
    let tables =
        bench.by_length(names, &columns, &entries, bench.runs, |entry, frame_len| measure(bench, entry, frame_len));
    Ok(Findings { section: "stamps", title: names.1, explanation: EXPLANATION, tables })
}

fn measure(bench: &Bench, entry: &Entry, frame_len: usize) -> anyhow::Result<Measured> {
    let time = u32::try_from(bench.time(500).as_millis())?;
    let job = Job { setup: sender_setup(frame_len), task: Task::Stamp { time } };
    let sent = entry.run(&bench.lab, End::Sender, &job, &[])?;
    let frames = count(sent.frames);
    let values = vec![
        Some(count(sent.stamped) / sent.seconds),
        Some(sent.cpu_seconds / frames),
        Some(frames - count(sent.stamped)),
    ];
    Ok((values, None))
}
