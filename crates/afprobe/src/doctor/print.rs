//! The findings, for people and for programs.

use std::io::{self, Write};
use std::time::Duration;

use fast_afpacket::Hwtstamp;
use serde_json::{Value, json};

use super::probes::Kind;
use super::setting::{Setting, in_words};
use super::verdict::{Cell, Delivery, Findings};
use crate::engine::Verdict;
use crate::nic::{STAMPS, setting_as_json};

const FIRST_COLUMN: usize = 14;
const COLUMN: usize = 24;

pub(super) fn text(findings: &Findings, cells: &[Cell], advice: &[String], out: &mut impl Write) -> io::Result<()> {
    let driver = findings.driver.as_ref().map(|driver| format!("  ({driver})")).unwrap_or_default();
    writeln!(out, "{}{driver}  {}", findings.interface, nic(&findings.setting))?;
    let line = |first: &str, cells: Vec<String>| {
        let row: String = cells.iter().map(|cell| format!("{cell:<COLUMN$}")).collect();
        format!("{first:<FIRST_COLUMN$}{row}").trim_end().to_owned()
    };
    writeln!(out, "{}", line("", Kind::ALL.map(|kind| kind.title().to_owned()).to_vec()))?;
    for (stamp, direction, name) in STAMPS {
        let row = cells.iter().filter(|cell| cell.count.stamp == stamp).map(cell_as_text).collect();
        writeln!(out, "{}", line(&format!("{direction} {name}"), row))?;
    }
    if cells.iter().any(is_a_gift) {
        writeln!(out, "* not advertised")?;
    }
    writeln!(out)?;
    advice.iter().try_for_each(|sentence| writeln!(out, "{sentence}"))
}

fn nic(setting: &Setting) -> String {
    let used = in_words(setting.used);
    match (setting.used, setting.is_borrowed) {
        (None, _) => "no hardware timestamps to set".to_owned(),
        (Some(_), true) if setting.trouble.is_none() => format!("{used} (borrowed, given back)"),
        (Some(_), true) => format!("{used} (borrowed)"),
        (Some(_), false) => format!("{used} (as it was set)"),
    }
}

/// Delivered without having been promised.
fn is_a_gift(cell: &Cell) -> bool {
    !cell.is_advertised && matches!(cell.delivery, Delivery::Delivered | Delivery::Partly)
}

fn cell_as_text(cell: &Cell) -> String {
    let count = cell.count;
    let rate = format!("{}/{}", count.stamped, count.frames);
    let latency = count.latency.map(|nanos| format!("  {}", latency_as_text(nanos))).unwrap_or_default();
    let gift = if is_a_gift(cell) { " *" } else { "" };
    match cell.delivery {
        Delivery::Delivered => format!("{rate}{latency}{gift}"),
        Delivery::Partly => format!("{rate}{latency}{gift}, partly"),
        Delivery::Broken => format!("{rate}, but advertised"),
        Delivery::NotSupported => "not supported".to_owned(),
        Delivery::NotTested => "not tested".to_owned(),
    }
}

fn latency_as_text(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    format!("{sign}{:.1?}", Duration::from_nanos(nanos.unsigned_abs()))
}

pub(super) fn json(
    findings: &Findings,
    cells: &[Cell],
    advice: &[String],
    verdict: Verdict,
    out: &mut impl Write,
) -> io::Result<()> {
    let setting = &findings.setting;
    let set = |set: Option<Hwtstamp>| set.map(setting_as_json);
    let object = json!({
        "interface": findings.interface,
        "driver": findings.driver,
        "nic": {
            "before": set(setting.before),
            "used": set(setting.used),
            "after": set(setting.after),
            "borrowed": setting.is_borrowed,
            "refused": setting.refusal.map(|refusal| refusal.to_string()),
        },
        "cells": cells.iter().map(cell_as_json).collect::<Vec<_>>(),
        "advice": advice,
        "verdict": verdict_name(verdict),
    });
    writeln!(out, "{object}")
}

fn cell_as_json(cell: &Cell) -> Value {
    let count = cell.count;
    let named = STAMPS.iter().find(|(stamp, _, _)| *stamp == count.stamp);
    let (direction, stage) = named.map_or(("", ""), |(_, direction, stage)| (*direction, *stage));
    json!({
        "direction": direction,
        "stage": stage,
        "kind": count.kind.name(),
        "verdict": cell.delivery.name(),
        "advertised": cell.is_advertised,
        "delivered": count.stamped,
        "frames": count.frames,
        "latency_ns": count.latency,
    })
}

const fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::SoftwareOnly => "software_only",
        Verdict::NotDelivered => "not_delivered",
        Verdict::Fine | Verdict::BeyondLimits => "delivered",
    }
}

#[cfg(test)]
mod tests {
    use super::super::verdict::examples::*;
    use super::super::verdict::{cells, overall};
    use super::*;

    #[test]
    fn the_table() {
        let igb = answered(igb(), of_igb);
        let mut out = Vec::new();
        text(&igb, &cells(&igb), &["Advice.".to_owned()], &mut out).unwrap();
        let expected = "\
eth1  (igb)  transmit on, receive ptpv2-event (borrowed, given back)
              any                     PTP over Ethernet       PTP over UDP
tx scheduled  20/20  12.0µs           20/20  12.0µs           20/20  12.0µs
tx software   20/20  12.0µs           20/20  12.0µs           20/20  12.0µs
tx hardware   20/20  12.0µs           20/20  12.0µs           20/20  12.0µs
rx software   20/20                   20/20                   20/20
rx hardware   not supported           20/20                   20/20

Advice.
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn other_cells() {
        let row = |findings: &Findings, at: usize| cell_as_text(&cells(findings)[at]);
        assert_eq!(row(&bridge(), 3), "20/20  12.0µs *");
        assert_eq!(row(&macvlan(), 3), "0/20, but advertised");
        assert_eq!(row(&igb_with_one_slot(), 6), "15/20  12.0µs, partly");
        assert_eq!(row(&veth(), 9), "not tested");
        assert_eq!(latency_as_text(-1_234_567), "-1.2ms");
        for (findings, words) in [
            (veth(), "no hardware timestamps to set"),
            (igb_not_permitted(), "transmit off, receive none (as it was set)"),
        ] {
            assert_eq!(nic(&findings.setting), words);
        }
    }

    #[test]
    fn one_object_on_one_line() {
        let bridge = bridge();
        let cells = cells(&bridge);
        let mut out = Vec::new();
        json(&bridge, &cells, &[], overall(&cells), &mut out).unwrap();
        let line = String::from_utf8(out).unwrap();
        let nic =
            r#"{"interface":"eth1","driver":"bridge","nic":{"before":null,"used":null,"after":null,"borrowed":false,"#;
        assert!(line.starts_with(nic), "{line}");
        let cell = r#"{"direction":"tx","stage":"software","kind":"ptp_udp","verdict":"delivered","advertised":false,"delivered":20,"frames":20,"latency_ns":12000}"#;
        assert!(line.contains(cell), "{line}");
        assert!(line.ends_with("\"advice\":[],\"verdict\":\"software_only\"}\n"), "{line}");
    }
}
