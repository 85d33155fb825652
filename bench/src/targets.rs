//! What this library is to reach, and whether it did.

use fast_afpacket_bench_harness::Way;
use serde::Serialize;

use crate::report::text;
use crate::sections::Findings;
use crate::statistics::Spread;
use crate::table::{Row, Table, Unit};
use crate::{bare, ours};

/// What was to be reached, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) what: String,
    pub(crate) limit: String,
    pub(crate) measured: String,
    pub(crate) verdict: &'static str,
}

/// How a target is judged.
#[derive(Clone, Copy)]
enum Test {
    /// The median of the ratios to the bare system calls is at most this.
    RatioAtMost(f64),
    RatioAtLeast(f64),
    /// The median of the ratios to this library's own, of this way, is at most this.
    OwnRatioAtMost(Way, f64),
    /// The median is at most this.
    AtMost(f64),
    /// No run was above this.
    NeverAbove(f64),
    /// The median is below every other's, the bare system calls apart.
    BelowPeers,
    AbovePeers,
}

use Test::{AbovePeers, AtMost, BelowPeers, NeverAbove, OwnRatioAtMost, RatioAtLeast, RatioAtMost};

/// Two who are no further apart are level: the next run may turn them round.
const LEVEL: f64 = 0.03;

/// Table, column, way.
const TARGETS: [(&str, &str, Way, Test); 29] = [
    ("counts-64", "instructions", Way::RingByBlock, AtMost(45.0)),
    ("counts-64", "instructions", Way::Recv, AtMost(220.0)),
    ("counts-64", "allocations", Way::Recv, NeverAbove(0.0)),
    ("counts-64", "calls", Way::Recv, NeverAbove(1.0)),
    ("receive-64", "cpu", Way::RingByBlock, RatioAtMost(1.25)),
    ("receive-64", "cpu", Way::RingByBlock, BelowPeers),
    ("receive-64", "lost", Way::RingByBlock, NeverAbove(0.0)),
    ("receive-64", "cpu", Way::Recv, RatioAtMost(1.05)),
    ("paced-64", "cpu", Way::Recv, RatioAtMost(1.05)),
    ("paced-64", "cpu", Way::RecvAsync, OwnRatioAtMost(Way::Recv, 1.3)),
    ("receive-64", "cpu", Way::RecvBatch, RatioAtMost(1.08)),
    // As the bare calls: two rates that the search tells apart are 7 % apart.
    ("lossless-64", "rate", Way::RecvBatch, RatioAtLeast(0.93)),
    ("lossless-64", "rate", Way::RingByBlock, RatioAtLeast(0.93)),
    ("transmit-64", "rate", Way::Send, RatioAtLeast(0.97)),
    ("transmit-64", "rate", Way::SendBatch, RatioAtLeast(0.97)),
    ("transmit-64", "rate", Way::SendBatchBypass, RatioAtLeast(0.97)),
    ("transmit-64", "rate", Way::Segments, RatioAtLeast(0.97)),
    ("transmit-64", "rate", Way::SendBatch, AbovePeers),
    ("stamps-64", "rate", Way::StampEach, RatioAtLeast(0.95)),
    ("stamps-64", "rate", Way::StampEachCounted, RatioAtLeast(0.95)),
    ("stamps-64", "rate", Way::StampBatch, RatioAtLeast(0.95)),
    ("stamps-64", "rate", Way::StampBatchBypass, RatioAtLeast(0.95)),
    ("stamps-64", "lost", Way::StampEach, NeverAbove(0.0)),
    ("stamps-64", "lost", Way::StampEachCounted, NeverAbove(0.0)),
    ("stamps-64", "lost", Way::StampBatch, NeverAbove(0.0)),
    ("stamps-64", "lost", Way::StampBatchBypass, NeverAbove(0.0)),
    ("latency-64", "p50", Way::Recv, RatioAtMost(1.1)),
    ("latency-64", "p50", Way::RingSpinning, RatioAtMost(1.1)),
    ("latency-64", "p50", Way::RingSpinningUnstamped, AtMost(0.5e-6)),
];

/// Judges what was measured; what was not is left out.
pub(crate) fn judge(sections: &[Findings]) -> Vec<Verdict> {
    let tables = || sections.iter().flat_map(|section| &section.tables);
    let judged = TARGETS.iter().filter_map(|&(key, column, way, test)| {
        let table = tables().find(|table| table.key == key)?;
        verdict(table, column, way, test)
    });
    judged.collect()
}

fn verdict(table: &Table, key: &str, way: Way, test: Test) -> Option<Verdict> {
    let index = table.column(key)?;
    let column = table.columns.get(index)?;
    let limit = limit(test, column.unit);
    let what = format!("{}, {}: {}", table.title, way.label(), column.title);
    let (verdict, measured) = table
        .row(ours::WHO, way)
        .and_then(|row| judged(table, row, (index, column.unit), test))
        .unwrap_or(("not measured", "–".to_owned()));
    Some(Verdict { what, limit, measured, verdict })
}

/// The verdict on a row, and what it rests on. `None` if there is nothing to judge.
fn judged(table: &Table, row: &Row, column: (usize, Unit), test: Test) -> Option<(&'static str, String)> {
    let (index, unit) = column;
    let spread = row.spread(index)?;
    let ratio = || table.ratio(row, index);
    let number = |value| text::number(value, unit);
    let (holds, measured) = match test {
        RatioAtMost(limit) => (ratio()?.median <= limit, text::ratio(ratio()?)),
        RatioAtLeast(limit) => (ratio()?.median >= limit, text::ratio(ratio()?)),
        OwnRatioAtMost(way, limit) => {
            let own = table.row(ours::WHO, way)?;
            let ratio = Spread::of_ratios(row.values(index), own.values(index))?;
            (ratio.median <= limit, text::ratio(ratio))
        }
        AtMost(limit) => (spread.median <= limit, number(spread.median)),
        NeverAbove(limit) => (spread.max <= limit, number(spread.max)),
        BelowPeers | AbovePeers => {
            let (best, peer) = best_peer(table, index, matches!(test, AbovePeers))?;
            let measured = format!("{}, {} {}", number(spread.median), peer.contender.who, number(best));
            let ratio = Spread::of_ratios(row.values(index), peer.values(index))?.median;
            if (ratio - 1.0).abs() <= LEVEL {
                return Some(("level", measured));
            }
            ((ratio > 1.0) == matches!(test, AbovePeers), measured)
        }
    };
    Some((if holds { "held" } else { "missed" }, measured))
}

fn limit(test: Test, unit: Unit) -> String {
    match test {
        RatioAtMost(limit) => format!("≤ {limit} × bare"),
        RatioAtLeast(limit) => format!("≥ {limit} × bare"),
        OwnRatioAtMost(way, limit) => format!("≤ {limit} × our {}", way.label()),
        AtMost(limit) => format!("≤ {}", text::number(limit, unit)),
        NeverAbove(limit) => format!("≤ {} in every run", text::number(limit, unit)),
        BelowPeers => "below every peer".to_owned(),
        AbovePeers => "above every peer".to_owned(),
    }
}

/// The best median of the others, the bare system calls apart, and whose it is.
fn best_peer(table: &Table, column: usize, is_highest: bool) -> Option<(f64, &Row)> {
    let peers = table.rows.iter().filter(|row| ![ours::WHO, bare::WHO].contains(&&*row.contender.who));
    let medians = peers.filter_map(|row| Some((row.spread(column)?.median, row)));
    if is_highest { medians.max_by(|a, b| a.0.total_cmp(&b.0)) } else { medians.min_by(|a, b| a.0.total_cmp(&b.0)) }
}

#[cfg(test)]
mod tests {
    use fast_afpacket_bench_harness::Description;

    use super::*;
    use crate::table::Column;

    fn table(ours: &[f64]) -> Table {
        let row = |who: &str, values: &[f64]| {
            let contender = Description { who: who.to_owned(), variant: None, way: Way::Recv, is_tool: false };
            let runs = values.iter().map(|&value| Some(vec![Some(value)])).collect();
            Row { runs, ..Row::new(contender) }
        };
        let rows = vec![row(bare::WHO, &[10.0, 20.0]), row(ours::WHO, ours), row("p", &[30.0]), row("q", &[25.0])];
        let columns = vec![Column::new("cpu", "CPU", Unit::Count).compared()];
        Table { key: String::new(), title: "T".to_owned(), columns, rows }
    }

    #[test]
    fn a_target_is_held_or_missed() {
        let judged = |test| verdict(&table(&[11.0, 22.0]), "cpu", Way::Recv, test).unwrap().verdict;
        let (held, missed) = ("held", "missed");
        assert_eq!(
            [judged(RatioAtMost(1.2)), judged(RatioAtMost(1.05)), judged(RatioAtLeast(1.05))],
            [held, missed, held]
        );
        assert_eq!([judged(AtMost(17.0)), judged(NeverAbove(17.0)), judged(NeverAbove(22.0))], [held, missed, held]);
        assert_eq!([judged(BelowPeers), judged(AbovePeers)], [held, missed]);
    }

    #[test]
    fn what_was_not_measured_is_said_to_be_so() {
        let table = table(&[]);
        let verdict = verdict(&table, "cpu", Way::Recv, AtMost(1.0)).unwrap();
        assert_eq!((verdict.verdict, &*verdict.measured), ("not measured", "–"));
        assert!(judge(&[]).is_empty());
    }

    #[test]
    fn the_best_peer_is_neither_bare_nor_ours() {
        let table = table(&[1.0]);
        let best = |is_highest| best_peer(&table, 0, is_highest).map(|(median, row)| (median, &*row.contender.who));
        assert_eq!((best(true), best(false)), (Some((30.0, "p")), Some((25.0, "q"))));
    }

    #[test]
    fn close_peers_are_level() {
        let judged = |ours| verdict(&table(&[ours]), "cpu", Way::Recv, BelowPeers).unwrap().verdict;
        assert_eq!([judged(24.0), judged(24.5), judged(25.5), judged(26.0)], ["held", "level", "level", "missed"]);
    }
}
