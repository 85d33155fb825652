//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use fast_afpacket_bench_harness::Way;
use serde_json::Value;

use crate::sections::Section;

/// Measures fast-afpacket beside bare system calls and its peers, in network namespaces of its own.
#[derive(Parser)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) measure: Measure,
}

/// Without a command: measure and write a report.
#[derive(Args)]
pub(crate) struct Measure {
    /// Runs a fourth as long, and two of each: for a first look
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only this section; may be given repeatedly
    #[arg(long = "section", value_name = "NAME")]
    pub(crate) sections: Vec<Section>,
    /// Only those who go this way, such as recv or ring_by_block; may be given repeatedly
    #[arg(long = "way", value_name = "NAME", value_parser = way)]
    pub(crate) ways: Vec<Way>,
    /// How often each contender's turn comes [default: 5, or 2 with --quick]
    #[arg(long, value_name = "N")]
    pub(crate) runs: Option<u16>,
    /// Where to write the report [default: lab/results/DATE-bench]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) out: Option<PathBuf>,
    /// Leave the peers out
    #[arg(long)]
    pub(crate) no_peers: bool,
}

/// The way of this name; the error names them all.
fn way(name: &str) -> serde_json::Result<Way> {
    serde_json::from_value(Value::from(name))
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Counts the user instructions of the library's paths for each frame
    Instructions(Instructions),
    /// Everything at once for a long time: is every frame accounted for, does anything grow?
    Soak(Soak),
}

#[derive(Args)]
pub(crate) struct Soak {
    /// For how long
    #[arg(long, default_value_t = 1800, value_parser = clap::value_parser!(u64).range(10..))]
    pub(crate) seconds: u64,
    /// Where to write the report [default: lab/results/DATE-soak]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Instructions {
    /// Fail if one is more than 10 % above its limit in bench/instructions.txt
    #[arg(long)]
    pub(crate) check: bool,
    /// Write the counts into that file
    #[arg(long, conflicts_with = "check")]
    pub(crate) bless: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn ways_have_names() {
        assert_eq!(super::way("ring_by_block").unwrap(), fast_afpacket_bench_harness::Way::RingByBlock);
        assert!(super::way("ring").unwrap_err().to_string().contains("`ring_by_frame`"));
    }
}
