//! Sending, with the stamp of each frame read back.

use fast_afpacket_bench_harness::{Job, Role, Task};

use super::{Bench, FRAME_LENS, Findings, Measured, count, sender_setup};
use crate::lab::End;
use crate::programs::Entry;
use crate::table::{Column, Unit};

const EXPLANATION: &str = "One thread sends and reads the software stamps of what it has sent from the error queue, with \
    their numbers. On a virtual cable a stamp is there when the send returns; a card takes its time.";

pub(super) fn run(bench: &Bench) -> anyhow::Result<Findings> {
    let columns = [
        Column::new("rate", "stamps/s", Unit::PerSecond).compared(),
        Column::new("cpu", "CPU/frame", Unit::Nanoseconds).compared(),
        Column::new("lost", "stamps lost", Unit::Count),
    ];
    let entries = bench.contenders(|entry| entry.description.way.role() == Role::Stamp);
    let tables = FRAME_LENS.map(|frame_len| {
        let title = format!("Sending with stamps, {frame_len} bytes");
        bench.alternate((&format!("stamps-{frame_len}"), title), &columns, &entries, bench.runs, |entry| {
            measure(bench, entry, frame_len)
        })
    });
    Ok(Findings { section: "stamps", title: "Sending with stamps", explanation: EXPLANATION, tables: tables.into() })
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
