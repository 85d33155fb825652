//! How long a frame takes from the kernel's stamp to the program.

use anyhow::Context;
use fast_afpacket_bench_harness::{Role, Setup, Way};

use super::{Bench, Findings, Flow, Measured, receiver_setup, sender_setup};
use crate::programs::Entry;
use crate::table::{Column, Unit};

const EXPLANATION: &str = "1,000 frames a second. The time is the system's clock as the program has the frame, less the \
    kernel's software stamp, which is taken where the frame arrives, before the kernel has looked at it. \
    \"From the copy\" is less the time that the kernel writes into a ring beside a frame without stamp, as it copies the frame: \
    what the program itself adds. V3 rings hand over a block after 1 ms. The highest \
    percentiles are the machine's pauses more than the contender's doing.";

const FRAME_LEN: usize = 64;

pub(super) fn run(bench: &Bench) -> anyhow::Result<Findings> {
    let columns = [
        Column::new("p50", "median", Unit::Microseconds).compared(),
        Column::new("p99", "99 %", Unit::Microseconds),
        Column::new("p999", "99.9 %", Unit::Microseconds),
        Column::new("cpu", "CPU/frame", Unit::Microseconds),
    ];
    let source = bench.source(Way::Send)?;
    let entries = bench.contenders(|entry| entry.description.way.role() == Role::Receive && !entry.description.is_tool);
    let title = "Wake-up latency, 64 bytes".to_owned();
    let table =
        bench.alternate(("latency-64", title), &columns, &entries, bench.runs, |entry| measure(bench, entry, source));
    let title = "Wake-up latency at 1,000 frames/s";
    Ok(Findings { section: "latency", title, explanation: EXPLANATION, tables: vec![table] })
}

fn measure(bench: &Bench, entry: &Entry, source: &Entry) -> anyhow::Result<Measured> {
    let setup = Setup { block_timeout: 1, immediate: true, ..receiver_setup(FRAME_LEN) };
    let flow = Flow::paced(bench.time(2000), 1000.0);
    let transfer = bench.transfer((entry, setup, true), (source, sender_setup(FRAME_LEN), flow))?;
    transfer.check()?;
    let latency = transfer.received.latency.context("it tells no stamps")?;
    let seconds = [latency.p50, latency.p99, latency.p999].map(|nanos| Some(nanos / 1e9));
    let lost = transfer.sent.frames - latency.samples.min(transfer.sent.frames);
    let note = (lost > 0).then(|| format!("{lost} frames of a run came without stamp or not at all"));
    let mut values = seconds.to_vec();
    values.push(transfer.cpu());
    Ok((values, note))
}
