//! The check that no path gets longer unseen: user instructions for each frame, against limits in a file.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail};
use fast_afpacket_bench_harness::{Part, Way};

use crate::lab::Lab;
use crate::ours;
use crate::programs::{Entry, Field};
use crate::sections::{Counter, per_frame};

/// The paths that are checked: their names in the file, and what is measured.
const PATHS: [(&str, Way, Part); 8] = [
    ("send", Way::Send, Part::All),
    ("send_keyed", Way::StampEach, Part::Sending),
    ("recv_tx", Way::StampEach, Part::Reading),
    ("send_batch", Way::SendBatch, Part::All),
    ("recv_tx_batch", Way::StampBatch, Part::Reading),
    ("recv", Way::Recv, Part::All),
    ("recv_batch", Way::RecvBatch, Part::All),
    ("next_block", Way::RingByBlock, Part::All),
];

/// What a count may be above its limit: another compiler, another libc.
const SLACK: f64 = 0.10;

const HEAD: &str = "# User instructions for each frame of 64 bytes, by callgrind: see README.md. Written by\n\
    # `cargo run --release --manifest-path bench/Cargo.toml -- instructions --bless`.\n";

/// What to do with the counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Show,
    Check,
    Bless,
}

/// Counts, and does with the counts what is wanted. Returns whether all is well.
pub(crate) fn run(purpose: Purpose) -> anyhow::Result<bool> {
    let field = Field::own()?;
    let lab = Lab::new()?;
    let mut counts = Vec::new();
    for (name, way, part) in PATHS {
        let is_it = |entry: &&Entry| entry.description.who == ours::WHO && entry.description.way == way;
        let entry = field.entries.iter().find(is_it).with_context(|| format!("there is no {name}"))?;
        let count = per_frame(&lab, entry, part, Counter::Instructions);
        counts.push((name, count.with_context(|| format!("cannot count the instructions of {name}"))?));
    }
    let file = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt"));
    if purpose == Purpose::Bless {
        fs::write(&file, write(&counts)).context("cannot write the limits")?;
    }
    let limits = match (fs::read_to_string(&file), purpose) {
        (Ok(text), _) => read(&text)?,
        (Err(error), Purpose::Check) => return Err(error).context("cannot read the limits"),
        (Err(_), _) => Vec::new(),
    };
    let mut is_well = true;
    for (name, count) in counts {
        let limit = limits.iter().find(|(limited, _)| limited == name).map(|&(_, limit)| limit);
        let (line, passes) = judge(name, count, limit);
        println!("{line}");
        is_well &= passes;
    }
    Ok(is_well || purpose != Purpose::Check)
}

/// One line on a path, and whether it is short enough.
fn judge(name: &str, count: f64, limit: Option<f64>) -> (String, bool) {
    let Some(limit) = limit else {
        return (format!("{name}: {count:.1} instructions/frame, without a limit: bless it"), false);
    };
    let line = format!("{name}: {count:.1} instructions/frame, limit {limit:.1}");
    let growth = count / limit - 1.0;
    if growth > SLACK {
        let percent = growth * 100.0;
        return (format!("{line}: THIS PATH GREW by {percent:.0} %, {:.0} % are allowed", SLACK * 100.0), false);
    }
    let advice = if growth < -SLACK { ": it has become much shorter, bless that" } else { "" };
    (format!("{line}{advice}"), true)
}

fn write(counts: &[(&str, f64)]) -> String {
    let mut text = HEAD.to_owned();
    for (name, count) in counts {
        // A String takes all that is written to it.
        let _ = writeln!(text, "{name} {count:.1}");
    }
    text
}

fn read(text: &str) -> anyhow::Result<Vec<(String, f64)>> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines
        .map(|line| match line.split_once(' ').map(|(name, count)| (name, count.trim().parse())) {
            Some((name, Ok(count))) if count > 0.0 => Ok((name.to_owned(), count)),
            _ => bail!("not a limit: {line}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_grow_a_tenth() {
        for (count, passes) in [(100.0, true), (109.9, true), (110.1, false), (50.0, true)] {
            let (line, passed) = judge("recv", count, Some(100.0));
            assert_eq!(passed, passes, "{line}");
            assert_eq!(line.contains("recv: ") && line.contains("GREW"), !passes, "{line}");
        }
        assert!(!judge("recv", 1.0, None).1, "a path without a limit is not checked");
    }

    #[test]
    fn what_is_written_is_read() {
        let counts = [("recv", 150.3), ("send", 60.0)];
        let read = read(&write(&counts)).unwrap();
        assert_eq!(read, [("recv".to_owned(), 150.3), ("send".to_owned(), 60.0)]);
        assert!(super::read("recv many\n").is_err());
        assert!(super::read("recv 0\n").is_err(), "a limit of zero would be broken for ever, or never");
    }
}
