//! The highest rate without loss.

use std::time::Duration;

use fast_afpacket_bench_harness::{Role, Setup, Way};

use super::{Bench, Findings, Flow, Measured, receiver_setup, sender_setup};
use crate::programs::Entry;
use crate::table::{Column, Unit};

const EXPLANATION: &str = "Bursts of 16 frames at a steady rate, each rate for 0.3 s: the highest at which no frame is lost, \
    found by bisection. Sockets have a receive buffer of 64 MiB where that can be asked for. Who loses none from a sender \
    without limit is limited by the sender: such rates are lower bounds, and not to be ranked.";

/// Where the search begins, and how many times the interval is cut in two.
const FLOOR: f64 = 20_000.0;
const STEPS: u32 = 6;
const LARGE_BUFFER: usize = 64 << 20;
const BURST: u16 = 16;
/// More searches than these tell nothing new.
const MAX_RUNS: usize = 3;

pub(super) fn run(bench: &Bench) -> anyhow::Result<Findings> {
    let columns = [Column::new("rate", "frames/s", Unit::PerSecond).compared()];
    let entries = bench.contenders(is_wanted);
    let names = ("lossless", "Highest rate without loss");
    let tables = bench.by_length(names, &columns, &entries, bench.runs.min(MAX_RUNS), |entry, frame_len| {
        search(&mut |rate| offer(bench, entry, frame_len, rate))
    });
    Ok(Findings { section: "lossless", title: names.1, explanation: EXPLANATION, tables })
}

fn is_wanted(entry: &Entry) -> bool {
    let way = entry.description.way;
    way.role() == Role::Receive && way == way.reference() && !way.spins()
}

/// The rate that was offered, and whether all was received.
fn offer(bench: &Bench, entry: &Entry, frame_len: usize, rate: Option<f64>) -> anyhow::Result<(f64, bool)> {
    let to = Setup { receive_buffer: Some(LARGE_BUFFER), ..receiver_setup(frame_len) };
    let from = Setup { batch: BURST, ..sender_setup(frame_len) };
    let time = if bench.quick { Duration::from_millis(100) } else { Duration::from_millis(300) };
    let flow = rate.map_or(Flow { time, pace: None }, |rate| Flow::paced(time, rate));
    let transfer = bench.transfer((entry, to, false), (bench.source(Way::Segments)?, from, flow))?;
    transfer.check()?;
    Ok((transfer.offered(), transfer.received.frames == transfer.sent.frames))
}

/// Finds the highest rate that passes.
fn search(offer: &mut impl FnMut(Option<f64>) -> anyhow::Result<(f64, bool)>) -> anyhow::Result<Measured> {
    let (highest, passes) = offer(None)?;
    if passes {
        return Ok((vec![Some(highest)], Some("limited by the sender".to_owned())));
    }
    let (mut low, mut high) = (FLOOR.min(highest), highest);
    let mut found = None;
    for _ in 0..STEPS {
        let middle = (low * high).sqrt();
        let (offered, passes) = offer(Some(middle))?;
        if passes {
            found = Some(found.map_or(offered, |found: f64| found.max(offered)));
            low = middle;
        } else {
            high = middle;
        }
    }
    let note = found.is_none().then(|| format!("frames were lost at {:.0} k/s already", high / 1000.0));
    Ok((vec![found], note))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn searched(limit: f64) -> Measured {
        search(&mut |rate| {
            let offered = rate.unwrap_or(2e6);
            Ok((offered, offered <= limit))
        })
        .unwrap()
    }

    #[test]
    fn the_highest_rate_is_found() {
        for limit in [30_000.0, 500_000.0, 1_900_000.0] {
            let (values, note) = searched(limit);
            let found = values[0].unwrap();
            // Two decades in 64 steps are 7.5 % each.
            assert!(found <= limit && found > limit * 0.92, "{found} of {limit}");
            assert_eq!(note, None);
        }
    }

    #[test]
    fn the_sender_may_be_the_limit_and_there_may_be_none() {
        let (values, note) = searched(3e6);
        assert_eq!((values[0], note.as_deref()), (Some(2e6), Some("limited by the sender")));
        let (values, note) = searched(1000.0);
        assert_eq!(values[0], None);
        assert!(note.unwrap().starts_with("frames were lost at 2"));
    }
}
