//! The command line.

#[cfg(test)]
mod generated;
mod help;
mod two_way;

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use fast_afpacket::MacAddr;

use crate::doctor::Peer;
use crate::endpoint::{Endpoint, ScopedAddr};
use crate::netns::NetnsArgument;
use crate::privileges::UserArgument;
use crate::schedule::Pattern;
use crate::sender::Schedule;
use crate::threads::ThreadArguments;
use crate::treatment::TreatmentArguments;
use crate::wire::Wire;
pub(crate) use two_way::{KeyArguments, PolicyArguments, ReflectArguments, TwoWayArguments};

/// What makes a measurement one that goes there and back: its arguments have this id in each command that has them.
const TWO_WAY: &str = "two-way";

/// Hosts probe each other and show every timestamp of every probe.
///
/// Probes are sent and received by packet sockets. Of each it is told when the program sent it, the kernel's scheduler took
/// it, the driver and, if it can, the network card: and the same on the other side, down to the program that received it.
/// What was lost, doubled or overtaken is counted, and a time that two clocks would have to agree on is shown with what it
/// may be wrong by, or not at all.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_long_help = help::AFPROBE)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make two hosts on this machine, joined by a virtual cable, that probe each other. Needs no root.
    Lab(LabArguments),
    /// Probe another host, and receive its probes or, with --reflector, its replies.
    ///
    /// The address of the other host is enough: interface, source, next hop and MAC addresses are found out, and each can be
    /// given instead. It goes on until it is interrupted, or as long as --count or --duration say.
    ///
    /// With --reflector it measures there and back: the round trip with and without the reflector's time, both ways apart,
    /// loss, duplicates and reordering by direction, and where the time went. Without, each host probes the other, and the
    /// stamps of both are for whoever joins their logs.
    Run(Box<RunArguments>),
    /// Answer probes of afprobe run --reflector, and of other senders of STAMP or TWAMP Light, until interrupted.
    ///
    /// No more is sent than was received (but see --answer-short), and all that is refused is counted by reason.
    Reflect(ReflectArguments),
    /// Show what network interfaces can stamp in hardware, what they are set to, and who relies on it.
    Nic(NicArguments),
    /// Find out, with real frames, which timestamps this host and its NIC deliver. Changes nothing for good.
    Doctor(DoctorArguments),
}

#[derive(Debug, Args)]
#[command(after_long_help = help::LAB)]
pub(crate) struct LabArguments {
    /// Probe over IPv6 instead of IPv4.
    #[arg(long)]
    pub(crate) ipv6: bool,
    /// Let the second host reflect the probes of the first, which measures both ways.
    #[arg(long = "reflect", id = TWO_WAY)]
    pub(crate) reflect: bool,
    #[command(flatten)]
    pub(crate) two_way: TwoWayArguments,
    #[command(flatten)]
    pub(crate) job: JobArguments,
}

#[derive(Debug, Args)]
#[command(after_long_help = help::RUN)]
pub(crate) struct RunArguments {
    /// Interface to probe through. Default: the one that the route to the destination uses.
    #[arg(long, value_name = "NAME")]
    pub(crate) iface_name: Option<String>,
    /// Source MAC address. Default: the interface's.
    #[arg(long, value_name = "MAC")]
    pub(crate) src_mac: Option<MacAddr>,
    /// Source address. Default: the one that the kernel would use.
    #[arg(long, value_name = "ADDR")]
    pub(crate) src_addr: Option<IpAddr>,
    /// Source UDP port. Default: 60000 with --wire seed, where probes from it and the five ports above are received; with
    /// --wire stamp one that is free.
    #[arg(long, value_name = "PORT")]
    pub(crate) src_port: Option<u16>,
    /// MAC address of the next hop. Default: asked of the kernel's tables, then of the network.
    #[arg(long, value_name = "MAC")]
    pub(crate) dst_mac: Option<MacAddr>,
    /// Address of the host to probe: 192.0.2.1, 2001:db8::1, or fe80::1%eth1 with the link that it is on.
    #[arg(long, value_name = "ADDR", required_unless_present = TWO_WAY)]
    pub(crate) dst_addr: Option<ScopedAddr>,
    /// Measure there and back: address, and UDP port if it is not 862, of a host where afprobe reflect runs, or another
    /// reflector of STAMP or TWAMP Light: 192.0.2.1, 192.0.2.1:10862, 2001:db8::1; IPv6 with a port stands in brackets.
    #[arg(long = "reflector", id = TWO_WAY, value_name = "ADDR[:PORT]")]
    pub(crate) reflector: Option<Endpoint>,
    #[command(flatten)]
    pub(crate) two_way: TwoWayArguments,
    /// Destination UDP port of --wire seed, on which probes are received too. Default: 61000.
    #[arg(long, value_name = "PORT")]
    pub(crate) dst_port: Option<u16>,
    /// Name of this host in the output. Default: its host name.
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
    #[command(flatten)]
    pub(crate) treatment: TreatmentArguments,
    #[command(flatten)]
    pub(crate) job: JobArguments,
    #[command(flatten)]
    pub(crate) netns: NetnsArgument,
    #[command(flatten)]
    pub(crate) user: UserArgument,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_long_help = help::NIC)]
pub(crate) struct NicArguments {
    #[command(subcommand)]
    pub(crate) command: Option<NicCommand>,
    /// The interface. Default: all.
    pub(crate) iface: Option<String>,
    /// One JSON object for each interface.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) netns: NetnsArgument,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NicCommand {
    /// Give back the timestamp settings that killed programs had borrowed.
    Restore {
        /// The interface. Default: all.
        iface: Option<String>,
        #[command(flatten)]
        netns: NetnsArgument,
    },
}

#[derive(Debug, Args)]
#[command(after_long_help = help::DOCTOR)]
pub(crate) struct DoctorArguments {
    /// The interface. It must be up.
    #[arg(required_unless_present = "lab", conflicts_with = "lab")]
    pub(crate) iface: Option<String>,
    /// The host on the other side, which runs --reflect: its IP or MAC address. Without, receiving is not tested.
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["lab", "reflect"])]
    pub(crate) peer: Option<Peer>,
    /// Be the other side: send each doctor's probe back to its sender, until interrupted.
    #[arg(long, conflicts_with_all = ["lab", "json"])]
    pub(crate) reflect: bool,
    /// Examine a virtual cable between two hosts on this machine. Needs no root.
    #[arg(long, conflicts_with = "netns")]
    pub(crate) lab: bool,
    /// One JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) netns: NetnsArgument,
}

/// What to send, how much of it, and how to tell of it.
#[derive(Debug, Args)]
pub(crate) struct JobArguments {
    /// What probes are on the wire. Both sides need the same. Default: seed, or stamp with a reflector.
    #[arg(long, value_enum)]
    pub(crate) wire: Option<WireName>,
    /// Probes that each host sends. Default: no end.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Time between two probes: 50ms, 1s, 1m30s.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub(crate) interval: Duration,
    /// How probes follow each other: periodic; poisson, at random intervals (RFC 2330) with --interval as their mean,
    /// poisson:SEED for the same ones again; burst:N, so many back to back in each interval.
    #[arg(long = "schedule", value_name = "PATTERN", default_value = "periodic")]
    pub(crate) pattern: Pattern,
    /// Time after which to stop sending. Default: no end.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// Time to wait, after the last probe, for stamps and probes that are under way.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub(crate) linger: Duration,
    /// Exit with 1 if more than this share of the probes was lost, in percent.
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    pub(crate) max_loss: Option<f64>,
    /// What to print on standard output.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) hardware: HardwareArguments,
    #[command(flatten)]
    pub(crate) threads: ThreadArguments,
}

impl JobArguments {
    pub(crate) const fn schedule(&self) -> Schedule {
        Schedule {
            pattern: self.pattern,
            interval: self.interval,
            count: self.count,
            duration: self.duration,
            hardware_every: self.hardware.every,
            stamp_timeout: self.hardware.stamp_timeout,
            spin: self.threads.spin(),
        }
    }
}

/// Stamps of sent probes, those of the network card above all.
#[derive(Clone, Debug, Args)]
pub(crate) struct HardwareArguments {
    /// Whether to ask the card for stamps, and to set it up for them.
    #[arg(long = "hardware", value_enum, value_name = "USE", default_value_t = UseOfCard::AsIs)]
    pub(crate) use_of_card: UseOfCard,
    /// Ask for a hardware stamp of one sent probe in N: a card has room for few, and a PTP daemon needs them too.
    #[arg(long = "hardware-every", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) every: u64,
    /// How long a stamp of a sent probe may take, of the card or the kernel. Some drivers need half a second.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub(crate) stamp_timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum UseOfCard {
    /// Ask for no hardware stamps of sent probes.
    Off,
    /// Ask for those that the card is set to take. Change nothing.
    AsIs,
    /// Switch them on until the end, if it can be done.
    Preferred,
    /// Switch them on until the end, or fail.
    Required,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Lines for people.
    Human,
    /// key=value lines, with the keys of the Go package's example.
    Logfmt,
    /// One JSON object a line.
    Json,
}

/// The names of what probes are on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WireName {
    /// UDP, as the Go package's example sends it.
    Seed,
    /// STAMP (RFC 8762) over UDP: there and back.
    Stamp,
    /// PTP over Ethernet: also stamped on receive by cards that stamp only PTP there. Crosses no router.
    Ptp,
    /// PTP over UDP, port 319.
    PtpUdp,
}

impl JobArguments {
    /// What probes that go one way are.
    pub(crate) fn one_way_wire(&self) -> Result<Wire> {
        Ok(match self.wire {
            None | Some(WireName::Seed) => Wire::Seed,
            Some(WireName::Ptp) => Wire::Ptp,
            Some(WireName::PtpUdp) => Wire::PtpUdp,
            Some(WireName::Stamp) => {
                bail!("--wire stamp goes there and back: --reflector says to whom (lab: --reflect)")
            }
        })
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("{text:?} is not a time: a number with a unit is expected, like 50ms, 1s or 1m30s");
    let duration: jiff::SignedDuration = text.parse().map_err(|_| expected())?;
    Duration::try_from(duration).map_err(|_| expected())
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let percent = text.trim_end_matches('%').parse().ok();
    let inside = percent.filter(|percent| (0.0..=100.0).contains(percent));
    inside.ok_or_else(|| format!("{text:?} is not a share: a number from 0 to 100 is expected"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_go_examples_flags_are_taken() {
        let line = "afprobe run --iface-name eth1 --src-mac 02:42:ac:c8:01:61 --src-addr 192.168.56.101 --src-port 60000 \
                    --dst-mac 02:42:ac:c8:01:62 --dst-addr 192.168.56.102 --dst-port 61000";
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Run(arguments) = cli.command else { panic!("another command") };
        assert_eq!(arguments.src_mac, Some(MacAddr::new([0x02, 0x42, 0xac, 0xc8, 0x01, 0x61])));
        assert_eq!((arguments.src_port, arguments.dst_port), (Some(60000), Some(61000)));
        assert_eq!(arguments.job.interval, Duration::from_secs(1));
    }

    #[test]
    fn bad_values_are_named() {
        for (arguments, complaint) in [
            ("lab --interval 5", "\"5\" is not a time"),
            ("lab --interval=-5ms", "\"-5ms\" is not a time"),
            ("lab --count 0", "0 is not in 1.."),
            ("lab --max-loss 101", "\"101\" is not a share"),
            ("lab --wire udp", "seed, stamp, ptp, ptp-udp"),
            ("lab --max-rtt-p99 5ms", "--reflect"),
            ("run --dst-addr 192.0.2.1 --size 100", "--reflector"),
            ("run --dst-addr 192.0.2.1 --auth-key-file key", "--reflector"),
            ("reflect --iface-name eth1 --auth-tlvs-only", "--auth-key-file"),
            ("run --reflector 192.0.2.1:0", "no port"),
            ("lab --schedule burst:0", "burst:N"),
            ("reflect", "--iface-name <NAME>"),
            ("reflect --iface-name eth1 --port 0", "number would be zero"),
            ("run --dst-addr 1.2.3", "\"1.2.3\" is no IP address"),
            ("run --dst-addr 192.0.2.1 --dst-mac 1:2", "\"1:2\" is not a MAC address"),
            ("run", "--dst-addr <ADDR>"),
            ("doctor", "<IFACE>"),
            ("doctor eth1 --lab", "'[IFACE]' cannot be used with '--lab'"),
            ("doctor eth1 --reflect --peer 192.0.2.2", "cannot be used with"),
            ("doctor eth1 --peer eth2", "\"eth2\" is neither an IP address nor a MAC address"),
        ] {
            let error = Cli::try_parse_from(format!("afprobe {arguments}").split_whitespace()).unwrap_err();
            assert!(error.to_string().contains(complaint), "{error}");
            assert_eq!(error.exit_code(), i32::from(crate::CANNOT));
        }
        assert_eq!(parse_duration("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(parse_percent("0.5%"), Ok(0.5));
    }
}
