//! Output: one small file for each format. What is printed is decided here, what it means elsewhere.

mod human;
mod json;
mod logfmt;
mod text;
mod two_way;

use std::io::{self, BufWriter, Write};

use fast_afpacket::Stats;

use crate::cli::Format;
use crate::probe::{Rx, Tx};
use crate::session::Summary;
use crate::two_way::figures::Summary as TwoWaySummary;
use crate::two_way::{Finished, Progress};

pub(crate) use two_way::Start;

/// A way to print what happens.
pub(crate) trait Report {
    fn tx(&mut self, host: &str, tx: &Tx) -> io::Result<()>;
    fn rx(&mut self, host: &str, rx: &Rx) -> io::Result<()>;
    fn stats(&mut self, host: &str, stats: &Stats, foreign: u64) -> io::Result<()>;
    fn summary(&mut self, host: &str, summary: &Summary) -> io::Result<()>;
    /// A measurement there and back begins.
    fn start(&mut self, start: &Start) -> io::Result<()>;
    /// A probe that goes there and back is finished.
    fn probe(&mut self, finished: &Finished) -> io::Result<()>;
    /// How it goes: for whoever looks on, as often as that makes sense.
    fn progress(&mut self, progress: &Progress) -> io::Result<()>;
    fn two_way_summary(&mut self, summary: &TwoWaySummary) -> io::Result<()>;
    /// Called when nothing else is to be done: what was printed shall be seen.
    fn flush(&mut self) -> io::Result<()>;
}

/// What people want to see of a measurement there and back, while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// A line for each probe.
    pub(crate) verbose: bool,
    /// A line that is written again and again: only where somebody looks on.
    pub(crate) progress: bool,
}

pub(crate) fn new<'a>(format: Format, out: impl Write + 'a) -> Box<dyn Report + 'a> {
    with_look(format, Look::default(), out)
}

pub(crate) fn with_look<'a>(format: Format, look: Look, out: impl Write + 'a) -> Box<dyn Report + 'a> {
    let out = BufWriter::new(out);
    match format {
        Format::Human => Box::new(human::Human::new(out, look)),
        Format::Logfmt => Box::new(logfmt::Logfmt::new(out)),
        Format::Json => Box::new(json::Json::new(out)),
    }
}

/// A time span of that many nanoseconds, in the form of Go's `Duration`: 847ns, 423.796µs, -1.5ms, 2m3.5s.
fn go_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let in_unit = |unit: u64, digits: usize| {
        let fraction = format!("{:0digits$}", nanos % unit);
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() { "" } else { "." };
        format!("{}{point}{fraction}", nanos / unit)
    };
    const MINUTE: u64 = 60_000_000_000;
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{nanos}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", in_unit(1_000, 3)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", in_unit(1_000_000, 6)),
        1_000_000_000..MINUTE => format!("{sign}{}s", in_unit(1_000_000_000, 9)),
        _ => {
            let (minutes, rest) = (nanos / MINUTE, nanos % MINUTE);
            let rest = if rest == 0 { "0s".to_owned() } else { go_seconds(rest) };
            match minutes / 60 {
                0 => format!("{sign}{minutes}m{rest}"),
                hours => format!("{sign}{hours}h{}m{rest}", minutes % 60),
            }
        }
    }
}

/// Less than a minute, in seconds.
fn go_seconds(nanos: u64) -> String {
    let text = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::stats::Figures;
    use fast_afpacket::{HardwareStamp, SystemStamp, Timestamping, Timestamps, TxJoiner, TxKey, TxReport, TxStage};
    use std::time::{Duration, Instant};

    /// A probe that was sent, with these stamps of those that were expected.
    fn sent(
        probe: u64,
        before: SystemStamp,
        scheduled: Option<SystemStamp>,
        software: Option<SystemStamp>,
        expects_hardware: bool,
    ) -> Tx {
        let mut expected = Timestamping::TX_SCHEDULED | Timestamping::TX_SOFTWARE;
        expected.set(Timestamping::TX_HARDWARE, expects_hardware);
        let (mut joiner, now) = (TxJoiner::new(expected).timeout(Duration::ZERO), Instant::now());
        let after = SystemStamp::from_nanos(before.as_nanos() + 10_000);
        joiner.sent(TxKey::new(1), before, after, now).unwrap();
        for (stage, software) in [(TxStage::Scheduled, scheduled), (TxStage::Sent, software)] {
            let mut timestamps = Timestamps::NONE;
            timestamps.software = software;
            joiner.report(&TxReport::new(TxKey::new(1), stage, timestamps));
        }
        Tx { probe, outcome: joiner.take_outcome(now).unwrap() }
    }

    /// What a report prints of one event of each kind, with stamps and without.
    pub(crate) fn print(format: Format) -> String {
        let mut out = Vec::new();
        let stamp = |nanos: i64| SystemStamp::from_nanos(1_652_138_202_000_000_000 + nanos);
        {
            let mut report = new(format, &mut out);
            let at = |nanos| Some(stamp(nanos));
            let tx = sent(13, stamp(507_650_000), at(507_653_000), at(507_654_453), false);
            let skipped = sent(13, stamp(507_650_000), at(507_653_000), at(507_654_453), true);
            let missing = sent(13, stamp(507_650_000), None, None, false);
            let rx = Rx {
                probe: 33,
                software: Some(stamp(855_011_458)),
                hardware: Some(HardwareStamp::from_nanos(37_000_000_001)),
                userspace: stamp(855_435_254),
            };
            let summary = Summary {
                sent: 20,
                stamped: 18,
                hardware_skipped: 1,
                missing: 1,
                refused: 0,
                received: 18,
                lost: 2,
                duplicates: 3,
                foreign: 4,
                one_way: Some(Figures {
                    count: 18,
                    min: 280,
                    p50: 311,
                    p90: 600,
                    p99: 1_000,
                    p999: 20_500,
                    max: 20_500,
                }),
            };
            report.tx("a", &tx).unwrap();
            report.tx("a", &missing).unwrap();
            report.tx("a", &skipped).unwrap();
            report.rx("b", &rx).unwrap();
            report.rx("b", &Rx { software: None, hardware: None, ..rx }).unwrap();
            report.stats("a", &Stats::default(), 4).unwrap();
            report.summary("a", &summary).unwrap();
            report.summary("b", &Summary { one_way: None, ..summary }).unwrap();
            report.flush().unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn durations_as_go_prints_them() {
        for (nanos, text) in [
            (0, "0s"),
            (847, "847ns"),
            (423_796, "423.796µs"),
            (-1_500_000, "-1.5ms"),
            (20_000_000, "20ms"),
            (2_000_000_001, "2.000000001s"),
            (123_500_000_000, "2m3.5s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(nanos), text);
        }
    }
}
