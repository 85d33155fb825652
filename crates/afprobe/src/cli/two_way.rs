//! The command line of two-way measurement: both of its sides.

use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Format, HardwareArguments, TWO_WAY, WireName, help, parse_duration};
use crate::netns::NetnsArgument;
use crate::privileges::UserArgument;
use crate::reflector::{Prefix, Rate};
use crate::threads::ThreadArguments;
use crate::wire::stamp;

const PORT: NonZero<u16> = NonZero::new(stamp::PORT).unwrap();

/// The secret of both sides.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct KeyArguments {
    /// File with a key that both sides have, any bytes: packets are authenticated, and only such ones are taken.
    #[arg(long, value_name = "FILE", requires = TWO_WAY)]
    pub(crate) auth_key_file: Option<PathBuf>,
    /// Authenticate only the TLVs behind the packets, which are plain otherwise (RFC 8972, section 4.8).
    #[arg(long, requires = "auth_key_file")]
    pub(crate) auth_tlvs_only: bool,
}

/// What the sender of two-way probes is told beside the rest of its job.
#[derive(Debug, Args)]
pub(crate) struct TwoWayArguments {
    #[command(flatten)]
    pub(crate) key: KeyArguments,
    /// Bytes of UDP payload, which is the STAMP packet. A reply has the same length. Default: as many as all stamps need.
    #[arg(long, value_name = "BYTES", requires = TWO_WAY)]
    pub(crate) size: Option<u16>,
    /// How long a reply may take. A probe that is not answered by then is lost; a reply that comes later is late.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration, requires = TWO_WAY)]
    pub(crate) timeout: Duration,
    /// Exit with 1 if the 99th percentile of the round trip is longer.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = TWO_WAY)]
    pub(crate) max_rtt_p99: Option<Duration>,
    /// Print a line for each probe, with --format human.
    #[arg(long, short, requires = TWO_WAY)]
    pub(crate) verbose: bool,
    /// Print nothing of single probes, with the other formats.
    #[arg(long, requires = TWO_WAY, conflicts_with = "verbose")]
    pub(crate) summary_only: bool,
}

/// Who is answered, and how.
#[derive(Debug, Default, Args)]
pub(crate) struct PolicyArguments {
    /// Keep no sessions: a reply has the number of its probe, and nothing is told later of replies or counted.
    #[arg(long)]
    pub(crate) stateless: bool,
    #[command(flatten)]
    pub(crate) key: KeyArguments,
    /// Answer only senders with these addresses: 192.0.2.7, 192.0.2.0/24, 2001:db8::/32. May be given several times.
    #[arg(long, value_name = "PREFIX")]
    pub(crate) allow: Vec<Prefix>,
    /// Answer each sender's address no more often than this, in the long run: 1000/s.
    #[arg(long, value_name = "N/s", value_parser = parse_rate)]
    pub(crate) rate_limit: Option<Rate>,
    /// Answer also requests that are shorter than a reply, as some senders of TWAMP send them. Then up to three times as
    /// much goes out as came in.
    #[arg(long)]
    pub(crate) answer_short: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = help::REFLECT)]
pub(crate) struct ReflectArguments {
    /// Interface to reflect on: probes to any of this host's addresses that come in there.
    #[arg(long = "iface-name", id = TWO_WAY, value_name = "NAME")]
    pub(crate) iface_name: String,
    /// UDP port of --wire stamp.
    #[arg(long, value_name = "PORT", default_value_t = PORT)]
    pub(crate) port: NonZero<u16>,
    /// What probes are inside: stamp over UDP, or STAMP in PTP messages. The sender needs the same.
    #[arg(long, value_enum, default_value_t = WireName::Stamp)]
    pub(crate) wire: WireName,
    #[command(flatten)]
    pub(crate) policy: PolicyArguments,
    /// Time after which to stop. Default: no end.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// What to print on standard output.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
    /// Name of this host in the output. Default: its host name.
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
    #[command(flatten)]
    pub(crate) hardware: HardwareArguments,
    #[command(flatten)]
    pub(crate) threads: ThreadArguments,
    #[command(flatten)]
    pub(crate) netns: NetnsArgument,
    #[command(flatten)]
    pub(crate) user: UserArgument,
}

/// So many a second, and as many at once after a pause.
fn parse_rate(text: &str) -> Result<Rate, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse().ok().filter(|&number| number > 0);
    let rate = number.map(|per_second| Rate { per_second, burst: per_second });
    rate.ok_or_else(|| format!("{text:?} is not a rate: a number from 1 on is expected, like 1000/s"))
}
