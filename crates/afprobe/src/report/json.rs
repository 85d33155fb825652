//! One JSON object a line. Keys are stable and documented in OUTPUT.md; what is absent is null.

use std::io::{self, Write};

use fast_afpacket::{HardwareStamp, Stats, SystemStamp};
use serde_json::{Value, json};

use super::two_way::json as two_way;
use super::{Report, Start, TwoWaySummary};
use crate::probe::{Rx, Tx};
use crate::session::Summary;
use crate::stats::Figures;
use crate::two_way::{Finished, Progress};

/// Counted up when a key goes, or means something else.
const SCHEMA: u32 = 1;

pub(crate) struct Json<W> {
    out: W,
    /// Whether a line was printed, and in it what the others are to be understood by.
    has_begun: bool,
}

impl<W: Write> Json<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, has_begun: false }
    }

    fn line(&mut self, mut object: Value) -> io::Result<()> {
        if let (false, Value::Object(object)) = (self.has_begun, &mut object) {
            object.insert("schema".to_owned(), SCHEMA.into());
            self.has_begun = true;
        }
        writeln!(self.out, "{object}")
    }
}

impl<W: Write> Report for Json<W> {
    fn tx(&mut self, host: &str, tx: &Tx) -> io::Result<()> {
        let stamps = &tx.outcome;
        self.line(json!({
            "event": "tx",
            "host": host,
            "probe": tx.probe,
            "userspace_ns": stamps.before.as_nanos(),
            "scheduled_ns": stamps.scheduled.map(SystemStamp::as_nanos),
            "software_ns": stamps.software.map(SystemStamp::as_nanos),
            "hardware_ns": stamps.hardware.map(HardwareStamp::as_nanos),
            "returned_ns": stamps.after.map(SystemStamp::as_nanos),
            "outcome": tx.outcome_name(),
            "reason": tx.reason_name(),
        }))
    }

    fn rx(&mut self, host: &str, rx: &Rx) -> io::Result<()> {
        self.line(json!({
            "event": "rx",
            "host": host,
            "probe": rx.probe,
            "software_ns": rx.software.map(|stamp| stamp.as_nanos()),
            "hardware_ns": rx.hardware.map(|stamp| stamp.as_nanos()),
            "userspace_ns": rx.userspace.as_nanos(),
            "delay_ns": rx.delay_nanos(),
        }))
    }

    fn stats(&mut self, host: &str, stats: &Stats, foreign: u64) -> io::Result<()> {
        self.line(json!({
            "event": "stats",
            "host": host,
            "packets": stats.received,
            "drops": stats.dropped,
            "queue_freezes": stats.freezes,
            "foreign": foreign,
        }))
    }

    fn summary(&mut self, host: &str, summary: &Summary) -> io::Result<()> {
        self.line(json!({
            "event": "summary",
            "host": host,
            "sent": summary.sent,
            "stamped": summary.stamped,
            "hardware_skipped": summary.hardware_skipped,
            "missing": summary.missing,
            "refused": summary.refused,
            "received": summary.received,
            "lost": summary.lost,
            "duplicates": summary.duplicates,
            "foreign": summary.foreign,
            "one_way_ns": summary.one_way.map(|Figures { min, p50, p99, max, .. }| {
                json!({ "min": min, "p50": p50, "p99": p99, "max": max })
            }),
        }))
    }

    fn start(&mut self, start: &Start) -> io::Result<()> {
        self.line(two_way::start(start))
    }

    fn probe(&mut self, finished: &Finished) -> io::Result<()> {
        self.line(two_way::probe(finished))
    }

    fn progress(&mut self, _: &Progress) -> io::Result<()> {
        Ok(())
    }

    fn two_way_summary(&mut self, summary: &TwoWaySummary) -> io::Result<()> {
        self.line(two_way::summary(summary))
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
    fn lines_as_documented() {
        let expected = r#"{"event":"tx","host":"a","probe":13,"userspace_ns":1652138202507650000,"scheduled_ns":1652138202507653000,"software_ns":1652138202507654453,"hardware_ns":null,"returned_ns":1652138202507660000,"outcome":"stamped","reason":null,"schema":1}
{"event":"tx","host":"a","probe":13,"userspace_ns":1652138202507650000,"scheduled_ns":null,"software_ns":null,"hardware_ns":null,"returned_ns":1652138202507660000,"outcome":"missing","reason":"deadline_passed"}
{"event":"tx","host":"a","probe":13,"userspace_ns":1652138202507650000,"scheduled_ns":1652138202507653000,"software_ns":1652138202507654453,"hardware_ns":null,"returned_ns":1652138202507660000,"outcome":"hardware_skipped","reason":null}
{"event":"rx","host":"b","probe":33,"software_ns":1652138202855011458,"hardware_ns":37000000001,"userspace_ns":1652138202855435254,"delay_ns":423796}
{"event":"rx","host":"b","probe":33,"software_ns":null,"hardware_ns":null,"userspace_ns":1652138202855435254,"delay_ns":null}
{"event":"stats","host":"a","packets":0,"drops":0,"queue_freezes":0,"foreign":4}
{"event":"summary","host":"a","sent":20,"stamped":18,"hardware_skipped":1,"missing":1,"refused":0,"received":18,"lost":2,"duplicates":3,"foreign":4,"one_way_ns":{"min":280,"p50":311,"p99":1000,"max":20500}}
{"event":"summary","host":"b","sent":20,"stamped":18,"hardware_skipped":1,"missing":1,"refused":0,"received":18,"lost":2,"duplicates":3,"foreign":4,"one_way_ns":null}
"#;
        assert_eq!(print(Format::Json), expected);
    }
}
