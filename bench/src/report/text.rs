//! The report as Markdown.

use super::{Report, chart, chart_name};
use crate::machine::Machine;
use crate::statistics::Spread;
use crate::table::{Row, Table, Unit};

pub(crate) fn write(report: &Report) -> String {
    let mut text = format!("# Benchmark of {}\n\n", report.machine.day());
    text += &intent(report);
    text += &machine(&report.machine);
    if !report.targets.is_empty() {
        text += "## What was to be reached\n\n| | limit | measured | |\n|---|---|---|---|\n";
        for target in &report.targets {
            let verdict = if target.verdict == "missed" { "**missed**" } else { target.verdict };
            text += &format!("| {} | {} | {} | {verdict} |\n", target.what, target.limit, target.measured);
        }
        text += "\n";
    }
    for section in &report.sections {
        text += &format!("## {}\n\n{}\n\n", section.title, section.explanation);
        for table in &section.tables {
            text += &self::table(table);
        }
    }
    if !report.absent.is_empty() {
        text += "## Absent\n\n";
        for absent in &report.absent {
            text += &format!("* {}: {}\n", absent.who, one_line(&absent.why));
        }
    }
    text
}

fn intent(report: &Report) -> String {
    let quick = if report.is_quick { " This was a quick run: its numbers are for a first look only." } else { "" };
    format!(
        "Contenders take turns: all once, then all again; rounds: {}. A cell is the median of its runs and, in brackets, the \
         least and the greatest. A ratio is to the bare system calls that go the same way, taken run by run, again as \
         median and range: it is worth more than the numbers themselves, which the machine's mood moves for all. Every run \
         is in `runs.json`.{quick}\n\n",
        report.runs
    )
}

fn machine(machine: &Machine) -> String {
    let virtual_ = if machine.is_virtual { ", virtual" } else { "" };
    let rights = if machine.is_root {
        "as root"
    } else {
        "in a user namespace, where buffers cannot be larger than the system's limit"
    };
    let arguments = match &*machine.command {
        "" => "no arguments".to_owned(),
        arguments => format!("`{arguments}`"),
    };
    let rows = [
        ("date", machine.date.clone()),
        ("revision", machine.revision.clone()),
        ("command line", arguments),
        ("kernel", machine.kernel.clone()),
        ("processor", format!("{} × {}{virtual_}", machine.processors, machine.processor)),
        ("memory", machine.memory.clone()),
        ("frequency governor", machine.governor.clone()),
        ("clock source", machine.clock.clone()),
        ("load before", machine.load.clone()),
        (
            "link",
            format!(
                "veth, sender on processor {}, receiver on processor {}, {rights}",
                machine.sender_processor, machine.receiver_processor
            ),
        ),
        ("compiler", machine.compiler.clone()),
    ];
    let rows: String = rows.iter().map(|(key, value)| format!("| {key} | {value} |\n")).collect();
    format!("| machine | |\n|---|---|\n{rows}\n")
}

fn table(table: &Table) -> String {
    let mut head = "| | |".to_owned();
    for column in &table.columns {
        head += &format!(" {} |", column.title);
        if column.is_compared {
            head += " ratio to bare |";
        }
    }
    let rule = "|---".repeat(head.matches('|').count() - 1);
    let mut text = format!("### {}\n\n{head}\n{rule}|\n", table.title);
    for row in &table.rows {
        text += &line(table, row);
    }
    text += "\n";
    if chart::draw(table).is_some() {
        text += &format!("![{}]({})\n\n", table.title, chart_name(&table.key));
    }
    for row in &table.rows {
        for note in &row.notes {
            text += &format!("* {}: {}\n", row.contender.name(), one_line(note));
        }
    }
    if table.rows.iter().any(|row| !row.notes.is_empty()) {
        text += "\n";
    }
    text
}

fn line(table: &Table, row: &Row) -> String {
    let variant = row.contender.variant.as_ref().map_or(String::new(), |variant| format!(", {variant}"));
    let mut line = format!("| {}{variant} | {} |", row.contender.who, row.contender.way.label());
    for (index, column) in table.columns.iter().enumerate() {
        line += &format!(" {} |", row.spread(index).map_or("–".to_owned(), |spread| cell(spread, column.unit)));
        if column.is_compared {
            line += &format!(" {} |", table.ratio(row, index).map_or(String::new(), ratio));
        }
    }
    line + "\n"
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A median and, if there was more than one run, its range.
pub(super) fn cell(spread: Spread, unit: Unit) -> String {
    let write = |value| number(value, unit);
    match spread.runs {
        1 => write(spread.median),
        _ => format!("{} [{}–{}]", write(spread.median), write(spread.min), write(spread.max)),
    }
}

pub(crate) fn ratio(spread: Spread) -> String {
    match spread.runs {
        1 => format!("{:.2}", spread.median),
        _ => format!("{:.2} [{:.2}–{:.2}]", spread.median, spread.min, spread.max),
    }
}

pub(crate) fn number(value: f64, unit: Unit) -> String {
    match unit {
        Unit::PerSecond => format!("{:.0} k", value / 1e3),
        Unit::Nanoseconds => with_digits(value * 1e9, " ns"),
        Unit::Microseconds => with_digits(value * 1e6, " µs"),
        // Rounded, nearly all would be all, and hardly any none.
        Unit::Percent if value == 0.0 || value == 1.0 => format!("{:.0} %", value * 100.0),
        Unit::Percent if (0.000_05..0.999_95).contains(&value) => format!("{:.2} %", value * 100.0),
        Unit::Percent => format!("{:.4} %", value * 100.0),
        Unit::Count => with_digits(value, ""),
    }
}

/// Three digits or so.
fn with_digits(value: f64, unit: &str) -> String {
    match value.abs() {
        size if (size - size.round()).abs() < 1e-9 || size >= 100.0 => format!("{value:.0}{unit}"),
        size if size >= 10.0 => format!("{value:.1}{unit}"),
        _ => format!("{value:.2}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_units() {
        let cases = [
            (529_400.0, Unit::PerSecond, "529 k"),
            (8.14e-9, Unit::Nanoseconds, "8.14 ns"),
            (1.139e-6, Unit::Nanoseconds, "1139 ns"),
            (30.12e-6, Unit::Microseconds, "30.1 µs"),
            (0.0, Unit::Percent, "0 %"),
            (1.0, Unit::Percent, "100 %"),
            (0.321, Unit::Percent, "32.10 %"),
            (0.000_001, Unit::Percent, "0.0001 %"),
            (0.999_999, Unit::Percent, "99.9999 %"),
            (0.0, Unit::Count, "0"),
            (27.5, Unit::Count, "27.5"),
            (-3.0, Unit::Count, "-3"),
        ];
        for (value, unit, expected) in cases {
            assert_eq!(number(value, unit), expected);
        }
    }

    #[test]
    fn one_run_has_no_range() {
        let spread = Spread { median: 2.0, min: 1.0, max: 3.0, runs: 3 };
        assert_eq!(cell(spread, Unit::Count), "2 [1–3]");
        assert_eq!(cell(Spread { runs: 1, ..spread }, Unit::Count), "2");
        assert_eq!(ratio(spread), "2.00 [1.00–3.00]");
    }
}
