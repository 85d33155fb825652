//! Two-way measurement for people: a line while it runs, a line for each probe, and a page at the end, in 80 columns.

use std::fmt::Write;

use super::Start;
use super::json::reason;
use crate::report::text::{bar, count, number_of, percent, span, wrapped};
use crate::stats::Figures;
use crate::two_way::clocks::Validity;
use crate::two_way::figures::{Missing, OneWayFigures, Summary};
use crate::two_way::parts::{Host, Part, Stretch, Taken};
use crate::two_way::stamps::Fate;
use crate::two_way::times::{Kind, Span};
use crate::two_way::{Finished, Progress};

const WIDTH: usize = 80;
/// The columns of the table.
const LABEL: usize = 13;
const COLUMN: usize = 15;
const LAST_COLUMN: usize = 20;
/// The width of what is drawn.
const BARS: u64 = 23;

pub(in crate::report) fn start(start: &Start) -> String {
    format!("{} through {}, {}\n", start.reflector, start.interface, start.wire)
}

/// How it goes, in less than a line.
pub(in crate::report) fn progress(progress: &Progress) -> String {
    let Progress { counts, lost, under_way, round_trip } = progress;
    let sent = counts.sent + u64::try_from(*under_way).unwrap_or(0);
    let mut line = format!("{} sent, {} answered", count(sent), count(counts.in_time));
    if *lost > 0 {
        let _ = write!(line, ", {} lost ({})", count(*lost), percent(*lost, counts.sent));
    }
    if counts.late > 0 {
        let _ = write!(line, ", {} late", count(counts.late));
    }
    if let Some((median, p99)) = round_trip {
        let _ = write!(line, "; round trip {}, p99 {}", span(*median), span(*p99));
    }
    line.chars().take(WIDTH - 1).collect()
}

/// A probe in a line.
pub(in crate::report) fn probe(finished: &Finished) -> String {
    let Finished { probe, times, forward, backward } = finished;
    let mut line = format!("{:>8}", probe.seq);
    let fate = match probe.fate {
        Fate::Answered => "",
        Fate::Late => "  late",
        Fate::Lost => "  lost",
        Fate::LostBackward => "  lost on the way back",
        Fate::Refused => "  refused by the kernel",
    };
    line.push_str(fate);
    let Some(times) = times else { return line + "\n" };
    if let Some(round_trip) = times.round_trip {
        let _ = write!(line, "  {:>9}", span(round_trip));
    }
    let way = |way: Option<Span>, validity: &Option<Validity>| {
        let doubt = if *validity == Some(Validity::Valid) { "" } else { "?" };
        way.map_or_else(|| "-".to_owned(), |way| span(way.nanos) + doubt)
    };
    let _ = write!(line, "   there {:>10}   back {:>10}", way(times.forward, forward), way(times.backward, backward));
    if let Some((all, net)) = times.round_trip.zip(times.net) {
        let _ = write!(line, "   reflector {:>9}", span(all.saturating_sub(net)));
    }
    line + "\n"
}

/// The page at the end.
pub(in crate::report) fn summary(start: Option<&Start>, summary: &Summary) -> String {
    let mut page = Page { text: String::new(), summary };
    page.heading(start);
    page.table();
    page.breakdown();
    page.notes();
    page.text
}

struct Page<'a> {
    text: String,
    summary: &'a Summary,
}

impl Page<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn heading(&mut self, start: Option<&Start>) {
        let Summary { counts, losses, .. } = self.summary;
        let whom = start.map(|start| format!("{}: ", start.reflector)).unwrap_or_default();
        let lost = if losses.all == 0 {
            "none lost".to_owned()
        } else {
            format!("{} lost ({})", count(losses.all), percent(losses.all, counts.sent))
        };
        let mut rest = format!("{} answered, {lost}", count(counts.in_time));
        if counts.late > 0 {
            let _ = write!(rest, ", {} late", count(counts.late));
        }
        self.line("");
        self.line(&format!("{whom}{} sent, {rest}", number_of(counts.sent, "probe")));
    }

    fn row(&mut self, label: &str, cells: [&str; 4]) {
        let [there, back, both, net] = cells;
        let line = format!("{label:<LABEL$}{there:>COLUMN$}{back:>COLUMN$}{both:>COLUMN$}{net:>LAST_COLUMN$}");
        self.line(&line);
    }

    fn table(&mut self) {
        let Summary { forward, backward, round_trip, net, clocks, .. } = self.summary;
        let Summary { variation_forward, variation_backward, .. } = self.summary;
        self.line("");
        self.row("", ["there →", "← back", "round trip", "without reflector"]);
        let one_way = |way: &Option<OneWayFigures>, of: fn(&Figures) -> i64| {
            let Some(OneWayFigures { figures, bound, validity, .. }) = way else { return "-".to_owned() };
            let nanos = of(figures);
            // What is far larger than the error can be told, if the median cannot: a queue, with clocks that nobody keeps.
            // Not if the clocks were worse before than they are now.
            let is_by_now = clocks.validity(figures.p50, *bound) == *validity;
            span(nanos) + mark(if is_by_now { clocks.validity(nanos, *bound) } else { *validity })
        };
        let figure = |figures: &Option<Figures>, of: fn(&Figures) -> i64| {
            figures.map_or_else(|| "-".to_owned(), |figures| span(of(&figures)))
        };
        type Of = fn(&Figures) -> i64;
        let rows: [(&str, Of); 6] = [
            ("min", |figures| figures.min),
            ("p50", |figures| figures.p50),
            ("p90", |figures| figures.p90),
            ("p99", |figures| figures.p99),
            ("p99.9", |figures| figures.p999),
            ("max", |figures| figures.max),
        ];
        if round_trip.is_some() {
            for (label, of) in rows {
                let cells = [one_way(forward, of), one_way(backward, of), figure(round_trip, of), figure(net, of)];
                self.row(label, cells.each_ref().map(String::as_str));
            }
            let of = |figures: &Figures| figures.p99;
            let cells = [figure(variation_forward, of), figure(variation_backward, of)];
            self.row("variation p99", [&cells[0], &cells[1], "", ""]);
        }
        let Summary { counts, losses, reordered, duplicates, .. } = self.summary;
        let known = |number: Option<u64>| number.map_or_else(|| "unknown".to_owned(), count);
        let lost = |number: Option<u64>| match number {
            Some(number) if number > 0 => format!("{} ({})", count(number), percent(number, counts.sent)),
            number => known(number),
        };
        let rows = [
            ("lost", lost(losses.forward), lost(losses.backward), lost(Some(losses.all))),
            ("reordered", known(reordered.forward), known(reordered.backward), count(reordered.round_trip)),
            ("duplicates", known(duplicates.forward), known(duplicates.backward), count(duplicates.all)),
        ];
        for (label, there, back, both) in rows {
            self.row(label, [&there, &back, &both, ""]);
        }
    }

    fn breakdown(&mut self) {
        let summary = self.summary;
        let breakdown = &summary.breakdown;
        if breakdown.stretches.is_empty() {
            return;
        }
        // If one of the two ways cannot be told by the clocks, their sum can, and takes their place.
        let sum = breakdown
            .wires
            .filter(|_| breakdown.stretches.iter().any(|taken| summary.validity(taken) != Validity::Valid));
        let is_drawn = |taken: &Taken| sum.is_none() || !taken.stretch.is_of_two_clocks();
        let len = |figures: &Figures| figures.p50.max(0).unsigned_abs();
        let drawn = breakdown.stretches.iter().filter(|taken| is_drawn(taken)).map(|taken| len(&taken.figures));
        let whole = drawn.sum::<u64>() + sum.as_ref().map_or(0, len);

        self.line("");
        self.line(&format!("{:<35}{:>10}{:>11}", "where the time went", "p50", "p99"));
        let (mut at, mut before) = (0, None);
        for taken in &breakdown.stretches {
            let host = taken.stretch.host();
            let mut row = |host: &str, label: &str, figures: &Figures, doubt: &str, is_drawn: bool| {
                let bar = if is_drawn { bar(at, at + len(figures), whole, BARS) } else { String::new() };
                at += if is_drawn { len(figures) } else { 0 };
                let (p50, p99) = (span(figures.p50) + doubt, span(figures.p99) + doubt);
                self.line(&format!("{host:<11}{label:<24}{p50:>10}{p99:>11} {bar}"));
            };
            let name = if before.replace(host) == Some(host) { "" } else { host_name(host) };
            row(name, &label(taken.stretch), &taken.figures, mark(summary.validity(taken)), is_drawn(taken));
            if let (Host::WayThere, Some(sum)) = (host, &sum) {
                row("", "both ways together", sum, "", true);
            }
        }
    }

    /// A sentence on what there is to say beside the numbers.
    fn note(&mut self, label: &str, text: &str) {
        let first = format!("{label:<LABEL$}");
        self.line(&wrapped(&first, text, WIDTH));
    }

    fn notes(&mut self) {
        self.line("");
        self.clock_note();
        self.basis_note();
        let Summary { counts, losses, send_error, missing, changes, unusable, .. } = self.summary;
        if let Some(Figures { p50, p99, max, .. }) = send_error {
            let text = format!("by {}, p99 {}, max {}", span(*p50), span(*p99), span(*max));
            self.note("sent late", &text);
        }
        if missing.all() > 0 {
            let text = missing_text(missing.by_point());
            self.note("no stamp", &text);
        }
        if changes.any() {
            let changed = |number: Option<u64>, what: &str| {
                number.filter(|&number| number > 0).map(|number| format!("{what} of {}", count(number)))
            };
            let texts = [
                changed(changes.dscp_forward, "DSCP there"),
                changed(changes.dscp_backward, "DSCP back"),
                changed(changes.ecn_forward, "ECN there"),
                changed(changes.ecn_backward, "ECN back"),
            ];
            self.note("changed", &list(texts.into_iter().flatten()));
        }
        for (label, number, thing, text) in [
            ("lost", losses.unknown, "probe", "of which nobody knows the way"),
            ("late", counts.late, "probe", "answered after the timeout: in no time above"),
            ("refused", counts.refused, "probe", "not sent: the kernel did not take it"),
            ("unasked", counts.strays, "reply", "to a probe that was not sent"),
            ("given up", counts.crowded_out, "probe", "too soon: too many were under way"),
            ("dropped", unusable.dropped, "frame", "for which this host had no room: replies, they count as lost"),
        ] {
            if number > 0 {
                self.note(label, &format!("{} {text}", number_of(number, thing)));
            }
        }
        let kinds = [
            (unusable.foreign, "foreign"),
            (unusable.wrong_checksum, "with a wrong checksum"),
            (unusable.malformed, "malformed"),
            (unusable.forged, "forged"),
        ];
        let kinds = kinds.into_iter().filter(|(number, _)| *number > 0);
        let texts: Vec<String> = kinds.map(|(number, kind)| format!("{} {kind}", count(number))).collect();
        if !texts.is_empty() {
            self.note("not used", &format!("{} frames", list(texts.into_iter())));
        }
    }

    fn clock_note(&mut self) {
        let Summary { clocks, forward, backward, .. } = self.summary;
        let bound = |nanos: u64| span(i64::try_from(nanos).unwrap_or(i64::MAX));
        let mut text = match clocks.synchronised {
            Some(true) => "synchronised".to_owned(),
            Some(false) => "not synchronised".to_owned(),
            None => "not known to be synchronised".to_owned(),
        };
        let mut reasons = clocks.reasons.iter();
        if clocks.one_way_bound_ns == Some(0) {
            text = reasons.next().map_or("one for both hosts", String::as_str).to_owned();
        } else if let Some(offset) = clocks.offset_ns {
            let side = if offset < 0 { "behind" } else { "ahead" };
            let _ = write!(text, "; the reflector's is {} {side}", bound(offset.unsigned_abs()));
            if let Some(nanos) = clocks.bound_ns {
                let _ = write!(text, ", give or take {}", bound(nanos));
            }
            if let Some((drift, _)) = clocks.drift_ppb {
                let (sign, ppb) = (if drift < 0 { "-" } else { "" }, drift.unsigned_abs());
                let _ = write!(text, "; drift {sign}{}.{:03} ppm", ppb / 1_000, ppb % 1_000);
            }
        }
        self.note("clocks", &text);
        for text in reasons {
            self.note("", text);
        }
        let doubtful = [forward, backward].into_iter().flatten().find_map(|way| {
            let Figures { min, p50, p90, p99, p999, max, .. } = way.figures;
            let each = [p50, min, p90, p99, p999, max].map(|nanos| clocks.validity(nanos, way.bound));
            [way.validity].iter().chain(&each).find_map(reason)
        });
        if let Some(doubt) = doubtful {
            self.note("?", &format!("not to be believed: {doubt}"));
        }
    }

    fn basis_note(&mut self) {
        let Summary { basis, off_basis, breakdown, .. } = self.summary;
        let Some(basis) = basis else { return };
        let text = match (basis.sender, basis.reflector) {
            (Kind::Hardware, Some(Kind::Hardware)) => "the cards' own: from wire to wire".to_owned(),
            (Kind::Software, Some(Kind::Software)) => {
                "the kernels': drivers and cards are in the times of the ways".to_owned()
            }
            (sender, Some(reflector)) => {
                format!("{} of the sender, {} of the reflector", sender.name(), reflector.name())
            }
            (sender, None) => format!("{} of the sender, none of the reflector", sender.name()),
        };
        self.note("stamps", &text);
        let others = (*off_basis).max(breakdown.others);
        if others > 0 {
            let text =
                format!("{} had other stamps, and are not in all of the times above", number_of(others, "probe"));
            self.note("", &text);
        }
    }
}

const fn mark(validity: Validity) -> &'static str {
    match validity {
        Validity::Valid => "",
        Validity::Invalid(_) => "?",
    }
}

const fn host_name(host: Host) -> &'static str {
    match host {
        Host::Sender => "sender",
        Host::WayThere => "there →",
        Host::Reflector => "reflector",
        Host::WayBack => "← back",
        Host::BothWays => "both ways",
    }
}

/// What takes the time.
fn label(stretch: Stretch) -> String {
    let names: Vec<&str> = stretch.parts().map(part_name).collect();
    match names[..] {
        // Too many to be named: from the first to the last.
        [first, _, _, .., last] if names.len() > 3 => format!("{first} to {last}"),
        _ => names.join(", "),
    }
}

const fn part_name(part: Part) -> &'static str {
    match part {
        Part::SendUserToScheduled | Part::ReflectorUserToScheduled => "system call",
        Part::SendScheduledToSoftware | Part::ReflectorScheduledToSoftware => "queue",
        Part::SendSoftwareToHardware | Part::ReflectorSoftwareToHardware => "driver",
        Part::ForwardWire | Part::BackwardWire => "wire",
        Part::ReflectorHardwareToSoftware | Part::ReceiveHardwareToSoftware => "interrupt",
        Part::ReflectorSoftwareToUser | Part::ReceiveSoftwareToUser => "wake-up",
        Part::ReflectorUserToUser => "program",
    }
}

fn list(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(", ")
}

fn missing_text(points: [Missing; 4]) -> String {
    let points = ["T1", "T2", "T3", "T4"].into_iter().zip(points);
    list(points.flat_map(|(point, missing)| {
        let Missing { scheduled, software, hardware } = missing;
        let kinds = [(scheduled, "scheduled"), (software, "software"), (hardware, "hardware")];
        kinds.into_iter().filter_map(move |(number, kind)| {
            let number = number.filter(|&number| number > 0)?;
            Some(format!("{} {kind} at {point}", count(number)))
        })
    }))
}
