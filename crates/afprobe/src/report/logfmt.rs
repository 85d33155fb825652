//! key=value lines with the keys of the Go package's example, sorted as it sorts them. What is absent has no value.

use std::io::{self, Write};

use fast_afpacket::{HardwareStamp, Stats, SystemStamp};
use jiff::Timestamp;

use super::two_way::{json, logfmt as two_way};
use super::{Report, Start, TwoWaySummary, go_duration};
use crate::probe::{Rx, Tx};
use crate::session::Summary;
use crate::two_way::{Finished, Progress};

pub(crate) struct Logfmt<W> {
    out: W,
    /// The host that measures, there and back.
    host: String,
}

impl<W: Write> Logfmt<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, host: String::new() }
    }

    fn line(&mut self, message: &str, host: &str, fields: &str) -> io::Result<()> {
        writeln!(self.out, "level=info msg={message:?} host={host} {fields}")
    }
}

/// RFC 3339 with nanoseconds, in quotes as the Go example's logger has it. Nothing for what is absent.
fn time(nanos: Option<i64>) -> String {
    let time = nanos.and_then(|nanos| Timestamp::from_nanosecond(nanos.into()).ok());
    time.map(|time| format!("\"{time}\"")).unwrap_or_default()
}

fn number(nanos: Option<i64>) -> String {
    nanos.map(|nanos| nanos.to_string()).unwrap_or_default()
}

/// The four fields of a frame's kernel stamps, with the probe's id between them.
fn stamps(probe: u64, software: Option<SystemStamp>, hardware: Option<HardwareStamp>) -> String {
    let (software, hardware) = (software.map(SystemStamp::as_nanos), hardware.map(HardwareStamp::as_nanos));
    format!(
        "hardware={} hardware_ns={} probe={probe} software={} software_ns={}",
        time(hardware),
        number(hardware),
        time(software),
        number(software)
    )
}

fn userspace(stamp: SystemStamp) -> String {
    let nanos = stamp.as_nanos();
    format!("userspace={} userspace_ns={nanos}", time(Some(nanos)))
}

impl<W: Write> Report for Logfmt<W> {
    fn tx(&mut self, host: &str, tx: &Tx) -> io::Result<()> {
        let outcome = &tx.outcome;
        let (scheduled, returned) =
            (outcome.scheduled.map(SystemStamp::as_nanos), outcome.after.map(SystemStamp::as_nanos));
        let fields = format!(
            "{} scheduled={} scheduled_ns={} {} returned={} returned_ns={} outcome={} reason={}",
            stamps(tx.probe, outcome.software, outcome.hardware),
            time(scheduled),
            number(scheduled),
            userspace(outcome.before),
            time(returned),
            number(returned),
            tx.outcome_name(),
            tx.reason_name().unwrap_or_default()
        );
        self.line("TX Recvmsg", host, &fields)
    }

    fn rx(&mut self, host: &str, rx: &Rx) -> io::Result<()> {
        let delay = rx.delay_nanos().map(|nanos| format!("\"{}\"", go_duration(nanos))).unwrap_or_default();
        let fields =
            format!("delay={delay} {} {}", stamps(rx.probe, rx.software, rx.hardware), userspace(rx.userspace));
        self.line("RX Recvmsg", host, &fields)
    }

    fn stats(&mut self, host: &str, stats: &Stats, foreign: u64) -> io::Result<()> {
        let Stats { received, dropped, freezes, .. } = stats;
        let fields = format!("packets={received} drops={dropped} queue_freezes={freezes} foreign={foreign}");
        self.line("Stats", host, &fields)
    }

    fn summary(&mut self, host: &str, summary: &Summary) -> io::Result<()> {
        let figures = summary.one_way;
        let figure = |nanos: Option<i64>| number(nanos);
        let fields = format!(
            "sent={} stamped={} hardware_skipped={} missing={} refused={} received={} lost={} duplicates={} foreign={} \
             one_way_min_ns={} one_way_p50_ns={} one_way_p99_ns={} one_way_max_ns={}",
            summary.sent,
            summary.stamped,
            summary.hardware_skipped,
            summary.missing,
            summary.refused,
            summary.received,
            summary.lost,
            summary.duplicates,
            summary.foreign,
            figure(figures.map(|figures| figures.min)),
            figure(figures.map(|figures| figures.p50)),
            figure(figures.map(|figures| figures.p99)),
            figure(figures.map(|figures| figures.max)),
        );
        self.line("Summary", host, &fields)
    }

    fn start(&mut self, start: &Start) -> io::Result<()> {
        self.host.clone_from(&start.host);
        let Start { interface, reflector, wire, .. } = start;
        self.line("Start", &start.host, &format!("interface={interface} reflector={reflector} wire={wire}"))
    }

    fn probe(&mut self, finished: &Finished) -> io::Result<()> {
        let (host, fields) = (self.host.clone(), two_way::fields(&json::probe(finished)));
        self.line("Probe", &host, &fields)
    }

    fn progress(&mut self, _: &Progress) -> io::Result<()> {
        Ok(())
    }

    fn two_way_summary(&mut self, summary: &TwoWaySummary) -> io::Result<()> {
        let (host, fields) = (self.host.clone(), two_way::fields(&json::summary(summary)));
        self.line("Summary", &host, &fields)
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
    fn the_go_examples_fields() {
        let text = print(Format::Logfmt);
        let lines: Vec<_> = text.lines().collect();
        let rx = "level=info msg=\"RX Recvmsg\" host=b delay=\"423.796µs\" hardware=\"1970-01-01T00:00:37.000000001Z\" \
                  hardware_ns=37000000001 probe=33 software=\"2022-05-09T23:16:42.855011458Z\" \
                  software_ns=1652138202855011458 userspace=\"2022-05-09T23:16:42.855435254Z\" \
                  userspace_ns=1652138202855435254";
        assert_eq!(lines[3], rx);
        assert!(
            lines[0]
                .starts_with("level=info msg=\"TX Recvmsg\" host=a hardware= hardware_ns= probe=13 software=\"2022")
        );
        assert!(
            lines[4].contains("delay= hardware= hardware_ns= probe=33 software= software_ns= userspace="),
            "{}",
            lines[4]
        );
        assert!(lines[5].ends_with("packets=0 drops=0 queue_freezes=0 foreign=4"));
        assert!(lines[7].ends_with("one_way_min_ns= one_way_p50_ns= one_way_p99_ns= one_way_max_ns="));
    }
}
