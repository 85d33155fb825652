//! Receiving, as fast as frames come and at a steady rate.

use fast_afpacket_bench_harness::{Role, Way};

use super::{Bench, Findings, Flow, Measured, Transfer, receiver_setup, sender_setup};
use crate::programs::Entry;
use crate::table::{Column, Table, Unit};

const FULL: &str = "The sender has the kernel cut large frames, which is faster than most receivers. The kernel hands frames \
    to the receiver's socket on the sender's processor: what is offered falls with what that costs, and differs from row to \
    row. Sockets have the system's default receive buffer, rings 64 MiB (by block) or 16 MiB (by frame). \"Not accounted \
    for\" are frames that were neither received nor counted as dropped by the kernel. There are three times as many rounds as \
    elsewhere: with both processors busy, runs differ more.";

const PACED: &str = "100,000 frames a second, sent one by one at their times. A receiver that waits for each frame is woken \
    for each; \"recv, async\" is a task on a runtime of one thread. Bare calls end their waits by a time-out, this library's \
    threads are woken by another one. With a deadline each wait reads the clock, which is slow after a pause.";

fn is_wanted(entry: &Entry) -> bool {
    let way = entry.description.way;
    way.role() == Role::Receive && !way.spins()
}

const OFFERED: Column = Column::new("offered", "offered/s", Unit::PerSecond);
const RECEIVED: Column = Column::new("received", "received/s", Unit::PerSecond);
const LOST: Column = Column::new("lost", "lost", Unit::Percent);
const CPU: Column = Column::new("cpu", "CPU/frame", Unit::Nanoseconds).compared();
const UNACCOUNTED: Column = Column::new("unaccounted", "not accounted for", Unit::Count);

pub(super) fn full(bench: &Bench) -> anyhow::Result<Findings> {
    let flow = Flow { time: bench.time(500), pace: None };
    let names = ("receive", "Receiving at full rate");
    let tables = tables(bench, names, Way::Segments, flow, 3 * bench.runs)?;
    Ok(Findings { section: "receive", title: names.1, explanation: FULL, tables })
}

pub(super) fn paced(bench: &Bench) -> anyhow::Result<Findings> {
    let flow = Flow::paced(bench.time(500), 100_000.0);
    let names = ("paced", "Receiving 100,000 frames/s");
    let tables = tables(bench, names, Way::Send, flow, bench.runs)?;
    Ok(Findings { section: "paced", title: names.1, explanation: PACED, tables })
}

fn tables(bench: &Bench, names: (&str, &str), source: Way, flow: Flow, runs: usize) -> anyhow::Result<Vec<Table>> {
    let columns = [CPU, OFFERED, RECEIVED, LOST, UNACCOUNTED];
    let source = bench.source(source)?;
    let entries = bench.contenders(is_wanted);
    Ok(bench.by_length(names, &columns, &entries, runs, |entry, frame_len| {
        let from = (source, sender_setup(frame_len), flow);
        values(&bench.transfer((entry, receiver_setup(frame_len), false), from)?)
    }))
}

fn values(transfer: &Transfer) -> anyhow::Result<Measured> {
    transfer.check()?;
    let received = super::count(transfer.received.frames) / transfer.sent.seconds;
    let values =
        vec![transfer.cpu(), Some(transfer.offered()), Some(received), Some(transfer.loss()), transfer.unaccounted()];
    Ok((values, None))
}
