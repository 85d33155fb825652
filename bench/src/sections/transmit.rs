//! How many frames can be sent.

use fast_afpacket_bench_harness::{Job, Role, Task};

use super::{Bench, Findings, Measured, count, sender_setup};
use crate::lab::End;
use crate::programs::Entry;
use crate::table::{Column, Unit};

const EXPLANATION: &str = "Nothing listens at the other end: the IP stack there drops each frame as another host's, on the \
    sender's processor. What arrives is counted by the interface. The kernel cuts GSO frames into segments (the cable's \
    tx-udp-segmentation is off); each segment counts as a frame. This library sends through a socket that is for sending \
    alone (`Options::dual`), as that of the bare system calls is; with one socket for both directions each frame is sent to \
    an address.";

pub(super) fn run(bench: &Bench) -> anyhow::Result<Findings> {
    let columns = [
        Column::new("rate", "frames/s", Unit::PerSecond).compared(),
        Column::new("cpu", "CPU/frame", Unit::Nanoseconds).compared(),
        Column::new("arrived", "arrived", Unit::Percent),
    ];
    let entries = bench.contenders(|entry| entry.description.way.role() == Role::Send);
    let tables = bench.by_length(("transmit", "Sending"), &columns, &entries, bench.runs, |entry, frame_len| {
        measure(bench, entry, frame_len)
    });
    Ok(Findings { section: "transmit", title: "Transmit rate", explanation: EXPLANATION, tables })
}

fn measure(bench: &Bench, entry: &Entry, frame_len: usize) -> anyhow::Result<Measured> {
    let time = u32::try_from(bench.time(500).as_millis())?;
    let job = Job { setup: sender_setup(frame_len), task: Task::Send { time, pace: None } };
    let before = bench.lab.arrived()?;
    let sent = entry.run(&bench.lab, End::Sender, &job, &[])?;
    let arrived = bench.lab.arrived()?.since(before);
    let expected = arrived.frames * u64::try_from(frame_len)?;
    anyhow::ensure!(arrived.frames > 0, "{} frames were sent, as it says, and none arrived", sent.frames);
    anyhow::ensure!(
        arrived.bytes == expected,
        "what arrived is not what was to be sent: {} frames of {:.1} bytes",
        arrived.frames,
        count(arrived.bytes) / count(arrived.frames)
    );
    let frames = count(sent.frames);
    let values = vec![
        Some(frames / sent.seconds),
        (sent.frames > 0).then(|| sent.cpu_seconds / frames),
        Some(count(arrived.frames) / frames),
    ];
    let note = (sent.refused > 0).then(|| "some calls were refused for want of room".to_owned());
    Ok((values, note))
}
