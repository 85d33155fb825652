//! Lines for people: times relative to the one before, and a table at the end.

use std::io::{self, Write};

use fast_afpacket::{Stats, SystemStamp, TxResult};

use super::two_way::human as two_way;
use super::{Look, Report, Start, TwoWaySummary, go_duration};
use crate::probe::{Rx, Tx};
use crate::session::Summary;
use crate::two_way::{Finished, Progress};

/// Back to the first column, and nothing from there on.
const CLEAR_LINE: &str = "\r\x1b[K";

pub(crate) struct Human<W> {
    out: W,
    look: Look,
    /// Whether the heading of the summary is printed.
    summarizing: bool,
    /// Against whom it is measured, there and back.
    start: Option<Start>,
    /// Whether the last line is one of progress, which gives way to the next.
    is_provisional: bool,
}

impl<W: Write> Human<W> {
    pub(crate) fn new(out: W, look: Look) -> Self {
        Self { out, look, summarizing: false, start: None, is_provisional: false }
    }

    /// Writes lines where the one of progress was.
    fn lines(&mut self, lines: &str) -> io::Result<()> {
        if self.is_provisional {
            self.is_provisional = false;
            write!(self.out, "{CLEAR_LINE}")?;
        }
        write!(self.out, "{lines}")
    }
}

/// A time between two stamps, or a dash where one is absent.
fn span(from: Option<SystemStamp>, to: Option<SystemStamp>) -> String {
    match (from, to) {
        (Some(from), Some(to)) => go_duration(to.nanos_since(from)),
        _ => "-".to_owned(),
    }
}

impl<W: Write> Report for Human<W> {
    fn tx(&mut self, host: &str, tx: &Tx) -> io::Result<()> {
        let probe = tx.probe;
        let outcome = &tx.outcome;
        if let TxResult::Refused { .. } = outcome.result {
            return writeln!(self.out, "{host}  tx {probe:>6}  refused by the kernel");
        }
        write!(self.out, "{host}  tx {probe:>6} ")?;
        if let Some(reason) = tx.reason_name() {
            write!(self.out, " stamp missing ({});", reason.replace('_', " "))?;
        }
        let to_scheduled = span(Some(outcome.before), outcome.scheduled);
        let to_software = span(outcome.scheduled.or(Some(outcome.before)), outcome.software);
        write!(self.out, " user →{to_scheduled:>10}→ scheduled →{to_software:>10}→ software")?;
        match (outcome.hardware, outcome.result) {
            (Some(hardware), _) => writeln!(self.out, ", hardware {hardware}"),
            (None, TxResult::HardwareSkipped) => writeln!(self.out, ", hardware skipped"),
            (None, _) => writeln!(self.out),
        }
    }

    fn rx(&mut self, host: &str, rx: &Rx) -> io::Result<()> {
        let probe = rx.probe;
        let hardware = rx.hardware.map(|hardware| format!("hardware {hardware}, ")).unwrap_or_default();
        let to_user = span(rx.software, Some(rx.userspace));
        writeln!(self.out, "{host}  rx {probe:>6}  {hardware}software →{to_user:>10}→ user")
    }

    fn stats(&mut self, host: &str, stats: &Stats, foreign: u64) -> io::Result<()> {
        let Stats { received, dropped, .. } = stats;
        self.lines(&format!("{host}  {received} frames received, {dropped} dropped, {foreign} foreign\n"))
    }

    fn summary(&mut self, host: &str, summary: &Summary) -> io::Result<()> {
        if !self.summarizing {
            self.summarizing = true;
            writeln!(
                self.out,
                "\n{:<20} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6} {:>8}   one way: min, p50, p99, max",
                "host", "sent", "stamped", "missing", "received", "lost", "dup", "foreign"
            )?;
        }
        write!(
            self.out,
            "{host:<20} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6} {:>8}   ",
            summary.sent,
            summary.stamped,
            summary.missing,
            summary.received,
            summary.lost,
            summary.duplicates,
            summary.foreign
        )?;
        match summary.one_way {
            Some(figures) => {
                let times = [figures.min, figures.p50, figures.p99, figures.max].map(go_duration);
                writeln!(self.out, "{}", times.join(", "))?;
            }
            None => writeln!(self.out, "unknown: two clocks")?,
        }
        if summary.hardware_skipped > 0 {
            let skipped = summary.hardware_skipped;
            writeln!(self.out, "{host}: the card had no room for the hardware stamps of {skipped} probes")?;
        }
        if summary.refused > 0 {
            writeln!(self.out, "{host}: the kernel refused {} probes", summary.refused)?;
        }
        Ok(())
    }

    fn start(&mut self, start: &Start) -> io::Result<()> {
        self.lines(&two_way::start(start))?;
        self.start = Some(start.clone());
        self.out.flush()
    }

    fn probe(&mut self, finished: &Finished) -> io::Result<()> {
        if self.look.verbose { self.lines(&two_way::probe(finished)) } else { Ok(()) }
    }

    fn progress(&mut self, progress: &Progress) -> io::Result<()> {
        if !self.look.progress {
            return Ok(());
        }
        self.lines(&two_way::progress(progress))?;
        self.is_provisional = true;
        self.out.flush()
    }

    fn two_way_summary(&mut self, summary: &TwoWaySummary) -> io::Result<()> {
        let page = two_way::summary(self.start.as_ref(), summary);
        self.lines(&page)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::Format;
    use crate::report::tests::print;

    #[test]
    fn lines_and_table() {
        let text = print(Format::Human);
        for part in [
            "a  tx     13  user →       3µs→ scheduled →   1.453µs→ software\n",
            "a  tx     13  stamp missing (deadline passed); user →         -→ scheduled →         -→ software\n",
            "a  tx     13  user →       3µs→ scheduled →   1.453µs→ software, hardware skipped\n",
            "b  rx     33  hardware 37.000000001, software → 423.796µs→ user\n",
            "b  rx     33  software →         -→ user\n",
            "280ns, 311ns, 1µs, 20.5µs\n",
            "unknown: two clocks\n",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
    }
}
