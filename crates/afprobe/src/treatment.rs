//! What in a frame's headers the network treats it by: VLAN tag, DSCP, ECN, hop limit.

use std::fmt;
use std::str::FromStr;

use clap::Args;
use fast_afpacket::{EtherType, VlanTag};

/// What of it is chosen on the command line.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct TreatmentArguments {
    /// Tag probes with this VLAN, and priority. On a VLAN's own interface (eth1.5) the kernel does it.
    #[arg(long, value_name = "ID[:PRIO]", value_parser = parse_vlan)]
    pub(crate) vlan: Option<VlanTag>,
    /// Differentiated services code point of probes: EF, AF41, CS6, or 0 to 63.
    #[arg(long, value_name = "NAME", default_value = "BE")]
    pub(crate) dscp: Dscp,
    /// Congestion mark of probes: not-ect, ect0, ect1 or ce.
    #[arg(long, value_name = "MARK", default_value = "not-ect")]
    pub(crate) ecn: Ecn,
}

impl TreatmentArguments {
    /// Applies it to the treatment that a format needs.
    pub(crate) const fn over(self, format: Treatment) -> Treatment {
        Treatment { vlan: self.vlan, dscp: self.dscp, ecn: self.ecn, ..format }
    }
}

/// How the network is asked to treat a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Treatment {
    pub(crate) vlan: Option<VlanTag>,
    pub(crate) dscp: Dscp,
    pub(crate) ecn: Ecn,
    /// TTL in IPv4.
    pub(crate) hop_limit: u8,
    /// Of IPv4; IPv6 is never fragmented on its way.
    pub(crate) may_be_fragmented: bool,
}

impl Treatment {
    /// As the Go example's probes have it: nothing special.
    pub(crate) const SEED: Self =
        Self { vlan: None, dscp: Dscp(0), ecn: Ecn::NotCapable, hop_limit: 64, may_be_fragmented: true };

    /// As a STAMP packet needs it: the hop limit is the highest (RFC 8762, section 4.2.1), so that the other side can
    /// tell how many routers there were, and what came in pieces would be no measurement.
    pub(crate) const STAMP: Self = Self { hop_limit: 255, may_be_fragmented: false, ..Self::SEED };

    /// The byte that IPv4 calls type of service and IPv6 traffic class.
    pub(crate) const fn traffic_class(self) -> u8 {
        self.dscp.0 << 2 | self.ecn.bits()
    }
}

/// A differentiated services code point (RFC 2474): 0 to 63.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Dscp(u8);

/// The names of RFC 2474, 2597, 3246, 5865 and 8622. `BE` and `DF` are two names of one.
const DSCP_NAMES: [(&str, u8); 24] = [
    ("BE", 0),
    ("DF", 0),
    ("LE", 1),
    ("CS1", 8),
    ("AF11", 10),
    ("AF12", 12),
    ("AF13", 14),
    ("CS2", 16),
    ("AF21", 18),
    ("AF22", 20),
    ("AF23", 22),
    ("CS3", 24),
    ("AF31", 26),
    ("AF32", 28),
    ("AF33", 30),
    ("CS4", 32),
    ("AF41", 34),
    ("AF42", 36),
    ("AF43", 38),
    ("CS5", 40),
    ("VA", 44),
    ("EF", 46),
    ("CS6", 48),
    ("CS7", 56),
];

impl Dscp {
    /// The code point in a traffic class.
    pub(crate) const fn of(traffic_class: u8) -> Self {
        Self(traffic_class >> 2)
    }

    /// The code point with this number, of which the lower six bits count.
    pub(crate) const fn new(value: u8) -> Self {
        Self(value & 0x3f)
    }

    pub(crate) const fn value(self) -> u8 {
        self.0
    }
}

impl FromStr for Dscp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = DSCP_NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, value)| *value);
        let value = named.or_else(|| text.parse().ok().filter(|value| *value < 64));
        let expected =
            || format!("{text:?} is no DSCP: EF, AF11 to AF43, CS1 to CS7, VA, LE, BE or 0 to 63 is expected");
        value.map(Self).ok_or_else(expected)
    }
}

impl fmt::Display for Dscp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DSCP_NAMES.iter().find(|(_, value)| *value == self.0) {
            Some((name, _)) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}

/// What a packet says of congestion (RFC 3168, RFC 9331).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ecn {
    /// Not-ECT: its ends do not know of it.
    NotCapable,
    /// ECT(1): also the mark of L4S.
    Capable1,
    /// ECT(0).
    Capable0,
    /// CE: a queue on the way was long.
    Congested,
}

impl Ecn {
    /// The mark in a traffic class.
    pub(crate) const fn of(traffic_class: u8) -> Self {
        match traffic_class & 0b11 {
            0b00 => Self::NotCapable,
            0b01 => Self::Capable1,
            0b10 => Self::Capable0,
            _ => Self::Congested,
        }
    }

    /// The mark of a reply to a packet that arrived with this one: the same, so that a mark that is made on the way back can
    /// be told from one that was made before.
    pub(crate) const fn back(self) -> Self {
        match self {
            Self::Congested => Self::Capable0,
            Self::NotCapable | Self::Capable0 | Self::Capable1 => self,
        }
    }

    pub(crate) const fn bits(self) -> u8 {
        match self {
            Self::NotCapable => 0b00,
            Self::Capable1 => 0b01,
            Self::Capable0 => 0b10,
            Self::Congested => 0b11,
        }
    }
}

impl FromStr for Ecn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "not-ect" | "0" => Self::NotCapable,
            "ect1" | "1" => Self::Capable1,
            "ect0" | "2" => Self::Capable0,
            "ce" | "3" => Self::Congested,
            _ => return Err(format!("{text:?} is no ECN mark: not-ect, ect0, ect1 or ce is expected")),
        })
    }
}

impl fmt::Display for Ecn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotCapable => "not-ect",
            Self::Capable1 => "ect1",
            Self::Capable0 => "ect0",
            Self::Congested => "ce",
        })
    }
}

/// A VLAN tag as the command line has it: `ID` or `ID:PRIORITY`.
pub(crate) fn parse_vlan(text: &str) -> Result<VlanTag, String> {
    let (id, priority) = text.split_once(':').unwrap_or((text, "0"));
    let id: Option<u16> = id.parse().ok().filter(|id| *id < 4095);
    let priority: Option<u16> = priority.parse().ok().filter(|priority| *priority < 8);
    match (id, priority) {
        (Some(id), Some(priority)) => Ok(VlanTag::new(EtherType::VLAN, priority << 13 | id)),
        (None, _) => Err(format!("{text:?} is no VLAN: an identifier from 0 (a priority alone) to 4094 is expected")),
        (_, None) => Err(format!("{text:?}: behind the colon a priority from 0 to 7 is expected")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_points_by_name_and_number() {
        for (text, value) in [("EF", 46), ("ef", 46), ("46", 46), ("AF41", 34), ("cs6", 48), ("BE", 0), ("63", 63)] {
            assert_eq!(text.parse().map(Dscp::value), Ok(value), "{text}");
        }
        for text in ["64", "-1", "AF44", "", "CS8"] {
            assert!(text.parse::<Dscp>().unwrap_err().contains(&format!("{text:?} is no DSCP")));
        }
        // Assured forwarding is 8 * class + 2 * drop precedence, class selectors are 8 * class.
        for (class, drop) in (1..=4).flat_map(|class| (1..=3).map(move |drop| (class, drop))) {
            assert_eq!(format!("AF{class}{drop}").parse(), Ok(Dscp(8 * class + 2 * drop)));
            assert_eq!(format!("CS{class}").parse(), Ok(Dscp(8 * class)));
        }
        assert_eq!((Dscp(46).to_string(), Dscp(47).to_string()), ("EF".to_owned(), "47".to_owned()));
        assert_eq!(Dscp(0).to_string(), "BE");
    }

    #[test]
    fn both_share_a_byte() {
        let treatment = Treatment { dscp: Dscp(46), ecn: Ecn::Capable0, ..Treatment::SEED };
        assert_eq!(treatment.traffic_class(), 0xba);
        for byte in 0..=u8::MAX {
            let (dscp, ecn) = (Dscp::of(byte), Ecn::of(byte));
            assert_eq!(Treatment { dscp, ecn, ..Treatment::SEED }.traffic_class(), byte);
            assert_eq!((dscp.to_string().parse(), ecn.to_string().parse()), (Ok(dscp), Ok(ecn)));
        }
        assert!("ect2".parse::<Ecn>().unwrap_err().contains("not-ect, ect0, ect1 or ce"));
    }

    #[test]
    fn vlan_tags() {
        let tag = parse_vlan("5:3").unwrap();
        assert_eq!((tag.tpid(), tag.tci(), tag.id(), tag.priority()), (EtherType::VLAN, 0x6005, 5, 3));
        assert_eq!(parse_vlan("4094").map(VlanTag::tci), Ok(4094));
        assert_eq!(parse_vlan("0:7").map(VlanTag::tci), Ok(0xe000));
        for (text, complaint) in
            [("4095", "0 (a priority alone) to 4094"), ("x", "no VLAN"), ("5:8", "from 0 to 7"), ("5:", "0 to 7")]
        {
            assert!(parse_vlan(text).unwrap_err().contains(complaint), "{text}");
        }
    }
}
