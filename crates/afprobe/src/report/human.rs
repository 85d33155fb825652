//! Lines for people: times relative to the one before, and a table at the end.

use std::io::{self, Write};

use fast_afpacket::{Stats, SystemStamp};

use super::{Report, go_duration};
use crate::probe::{Outcome, Rx, Tx};
use crate::session::Summary;

pub(crate) struct Human<W> {
    out: W,
    /// Whether the heading of the summary is printed.
    summarizing: bool,
}

impl<W: Write> Human<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, summarizing: false }
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
        match tx.outcome {
            Outcome::Refused => return writeln!(self.out, "{host}  tx {probe:>6}  refused by the kernel"),
            Outcome::Missing => write!(self.out, "{host}  tx {probe:>6}  stamp missing;")?,
            Outcome::Stamped => write!(self.out, "{host}  tx {probe:>6} ")?,
        }
        let to_scheduled = span(Some(tx.userspace), tx.scheduled);
        let to_software = span(tx.scheduled.or(Some(tx.userspace)), tx.software);
        write!(self.out, " user →{to_scheduled:>10}→ scheduled →{to_software:>10}→ software")?;
        match tx.hardware {
            Some(hardware) => writeln!(self.out, ", hardware {hardware}"),
            None => writeln!(self.out),
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
        writeln!(self.out, "{host}  {received} frames received, {dropped} dropped, {foreign} foreign")
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
        if summary.refused > 0 {
            writeln!(self.out, "{host}: the kernel refused {} probes", summary.refused)?;
        }
        Ok(())
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
            "a  tx     13  stamp missing; user →         -→ scheduled →         -→ software\n",
            "b  rx     33  hardware 37.000000001, software → 423.796µs→ user\n",
            "b  rx     33  software →         -→ user\n",
            "280ns, 311ns, 1µs, 20.5µs\n",
            "unknown: two clocks\n",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
    }
}
