//! What tcpdump sees on several hosts at once, and what tshark makes of each frame.

use std::process::Command;

use super::Host;
use super::capture::{TCPDUMP, frames_in, tshark};
use super::process::Process;

/// tcpdump at work on several hosts.
pub(crate) struct Watch<const N: usize>([Process; N]);

/// The frames that one host has sent and received.
pub(crate) struct Sight(Vec<Packet>);

/// A frame, as tshark dissects it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packet {
    pub(crate) src_mac: String,
    pub(crate) src_port: u16,
    pub(crate) dst_port: u16,
    pub(crate) hop_limit: u8,
    pub(crate) dscp: u8,
    pub(crate) ecn: u8,
    pub(crate) vlan: Option<u16>,
    pub(crate) priority: Option<u8>,
    pub(crate) checksum_is_right: bool,
    /// By the dissector of TWAMP-Test, which STAMP is up to the TLVs.
    pub(crate) sequence: Option<u32>,
    pub(crate) is_malformed: bool,
    /// An error message of ICMP.
    pub(crate) is_complaint: bool,
}

const FIELDS: [&str; 17] = [
    "eth.src",
    "udp.srcport",
    "udp.dstport",
    "ip.ttl",
    "ipv6.hlim",
    "ip.dsfield.dscp",
    "ipv6.tclass.dscp",
    "ip.dsfield.ecn",
    "ipv6.tclass.ecn",
    "vlan.id",
    "vlan.priority",
    "ip.checksum.status",
    "udp.checksum.status",
    "twamp.test.seq_number",
    "icmp.type",
    "icmpv6.type",
    "_ws.malformed",
];

/// Room for thousands of frames, which tcpdump may not come to read for a while: a frame's place is as large as the longest
/// that is captured, and by default there are some thirty of 64 KiB.
const ROOM: [&str; 4] = ["-s", "2048", "-B", "8192"];

impl<const N: usize> Watch<N> {
    pub(crate) fn new(hosts: [&Host; N]) -> Self {
        Self(hosts.map(|host| {
            let mut tcpdump = host.spawn(Command::new("tcpdump").args(TCPDUMP).args(ROOM));
            tcpdump.wait_until("listening", |tcpdump| tcpdump.stderr().contains("listening on eth1"));
            tcpdump
        }))
    }

    /// Waits until each has seen so many packets from or to port 862.
    pub(crate) fn end(self, packets: usize) -> [Sight; N] {
        self.0.map(|mut tcpdump| {
            let count = |tcpdump: &Process| {
                frames_in(&tcpdump.stdout()).into_iter().filter(|frame| ports(frame).contains(&862)).count()
            };
            tcpdump.wait_until("all packets", |tcpdump| count(tcpdump) >= packets);
            Sight::read(&tcpdump.interrupt_for_bytes())
        })
    }
}

/// The UDP ports in a frame, or zeros.
fn ports(frame: &[u8]) -> [u16; 2] {
    let untagged = if frame[12..14] == [0x81, 0] { &frame[4..] } else { frame };
    let udp = match (&untagged[12..14], untagged.get(23), untagged.get(20)) {
        ([0x08, 0x00], Some(17), _) => untagged.get(34..38),
        ([0x86, 0xdd], _, Some(17)) => untagged.get(54..58),
        _ => None,
    };
    udp.map_or([0; 2], |udp| [0, 2].map(|at| u16::from_be_bytes([udp[at], udp[at + 1]])))
}

impl Sight {
    /// Reads a capture file.
    pub(crate) fn read(capture: &[u8]) -> Self {
        // Of what an error message quotes, only the outer headers count.
        let arguments = ["-d", "udp.port==862,twamp.test", "-T", "fields", "-E", "occurrence=f"];
        let arguments: Vec<_> =
            arguments.into_iter().chain(FIELDS.into_iter().flat_map(|field| ["-e", field])).collect();
        Self(tshark(capture, "frame", &arguments).iter().map(|line| Packet::read(line)).collect())
    }

    /// The packets from or to port 862, apart from those that an error message quotes.
    pub(crate) fn stamp(&self) -> Vec<&Packet> {
        let is_stamp = |packet: &&Packet| !packet.is_complaint && [packet.src_port, packet.dst_port].contains(&862);
        self.0.iter().filter(is_stamp).collect()
    }

    /// How many error messages of ICMP there are.
    pub(crate) fn complaints(&self) -> usize {
        self.0.iter().filter(|packet| packet.is_complaint).count()
    }
}

impl Packet {
    fn read(line: &str) -> Self {
        let values: Vec<&str> = line.split('\t').collect();
        assert_eq!(values.len(), FIELDS.len(), "{line}");
        let value = |name: &str| {
            let at = FIELDS.iter().position(|field| *field == name).unwrap();
            Some(values[at]).filter(|value| !value.is_empty())
        };
        let number = |name: &str| value(name).and_then(|value| value.parse::<u32>().ok());
        let small = |v4: &str, v6: &str| u8::try_from(number(v4).or_else(|| number(v6)).unwrap_or(0)).unwrap();
        let port = |name: &str| u16::try_from(number(name).unwrap_or(0)).unwrap();
        Self {
            src_mac: value("eth.src").unwrap().to_owned(),
            src_port: port("udp.srcport"),
            dst_port: port("udp.dstport"),
            hop_limit: small("ip.ttl", "ipv6.hlim"),
            dscp: small("ip.dsfield.dscp", "ipv6.tclass.dscp"),
            ecn: small("ip.dsfield.ecn", "ipv6.tclass.ecn"),
            vlan: number("vlan.id").map(|id| u16::try_from(id).unwrap()),
            priority: number("vlan.priority").map(|priority| u8::try_from(priority).unwrap()),
            checksum_is_right: number("udp.checksum.status") == Some(1) && number("ip.checksum.status") != Some(0),
            sequence: number("twamp.test.seq_number"),
            is_malformed: value("_ws.malformed").is_some(),
            is_complaint: number("icmp.type").is_some_and(|kind| [3, 4, 5, 11, 12].contains(&kind))
                || number("icmpv6.type").is_some_and(|kind| kind < 128),
        }
    }
}
