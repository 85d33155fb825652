//! The doctor's probes: three kinds of frames, and ids that say whose they are.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;

use anyhow::Result;
use fast_afpacket::{ChecksumState, Filter, Instruction, TxKey};

use crate::frame::probe_in;
use crate::wire::Wire;

/// A kind of frame that cards may treat apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A frame like any other: UDP to a port of no meaning.
    Any,
    PtpEthernet,
    PtpUdp,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Any, Self::PtpEthernet, Self::PtpUdp];

    pub(super) const fn wire(self) -> Wire {
        match self {
            Self::Any => Wire::Seed,
            Self::PtpEthernet => Wire::Ptp,
            Self::PtpUdp => Wire::PtpUdp,
        }
    }

    /// For programs.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::PtpEthernet => "ptp_ethernet",
            Self::PtpUdp => "ptp_udp",
        }
    }

    /// For people.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::PtpEthernet => "PTP over Ethernet",
            Self::PtpUdp => "PTP over UDP",
        }
    }

    /// The key of a frame of this kind. It fits into PTP's sequence number, by which some cards tell messages apart.
    pub(super) fn key(self, number: u8) -> TxKey {
        let kind = match self {
            Self::Any => 1,
            Self::PtpEthernet => 2,
            Self::PtpUdp => 3,
        };
        TxKey::new(kind << 8 | u32::from(number))
    }
}

/// The highest bit says that an id is that of a reply, which nobody sends back: two reflectors never answer each other.
const REPLY: u64 = 1 << 63;
/// Says that a probe is a doctor's. `afprobe run` counts from 1 and never comes this far.
const MARK: u64 = 0x0d0c << 48;
const MARK_BITS: u64 = 0x7fff << 48;

/// One examination. Its number is in the ids of its probes, so that it takes no reply to another's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session(u64);

impl Session {
    pub(super) fn new() -> Self {
        let [a, b, ..] = RandomState::new().build_hasher().finish().to_ne_bytes();
        Self(MARK | u64::from(u16::from_ne_bytes([a, b])) << 32)
    }

    pub(super) fn request(self, key: TxKey) -> u64 {
        self.0 | u64::from(key.value())
    }

    /// The key of the request with this id.
    pub(super) fn key_of_request(self, id: u64) -> Option<TxKey> {
        u32::try_from(id ^ self.0).ok().map(TxKey::new)
    }

    /// The key of the request to which this id is the reply's.
    pub(super) fn key_of_reply(self, id: u64) -> Option<TxKey> {
        self.key_of_request(id ^ REPLY)
    }
}

/// The id of the reply to a probe, or `None` if it is no doctor's, or a reply itself.
pub(super) fn reply_to(id: u64) -> Option<u64> {
    (id & (REPLY | MARK_BITS) == MARK).then_some(id | REPLY)
}

/// The probe in a received frame.
pub(super) fn probe_of_any_kind(frame: &[u8], checksum: ChecksumState) -> Option<(Kind, u64)> {
    Kind::ALL.into_iter().find_map(|kind| Some((kind, probe_in(kind.wire(), frame, checksum)?)))
}

/// Keeps frames that may be probes of one of the kinds, over UDP to this address if one is given.
pub(super) fn filter(address: Option<IpAddr>) -> Result<Filter> {
    let udp = |wire: Wire| {
        let ports = wire.ports()?;
        let filter = Filter::udp_dst(ports.dst).source_ports(ports.src..=ports.src);
        Some(address.map_or(filter.clone(), |address| filter.address(address)).filter())
    };
    let mut filters = vec![Wire::ethernet_filter()?];
    filters.extend(Kind::ALL.into_iter().filter_map(|kind| udp(kind.wire())));
    any_of(&filters)
}

/// Keeps what one of them keeps: a frame that one refuses goes on to the next.
fn any_of(filters: &[Filter]) -> Result<Filter> {
    const REFUSE: Instruction = Instruction::new(0x06, 0, 0, 0);
    const JUMP: u16 = 0x05;
    let mut program = Vec::new();
    for filter in filters {
        let part = filter.instructions();
        // From the last instruction of a part, 0 further is the first of the next.
        for (behind, instruction) in (0..part.len()).rev().zip(part) {
            let jump = Instruction::new(JUMP, 0, 0, u32::try_from(behind)?);
            program.push(if *instruction == REFUSE { jump } else { *instruction });
        }
    }
    program.push(REFUSE);
    Ok(Filter::new(program)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Flow, Path, ProbeFrame};
    use crate::treatment::Treatment;

    #[test]
    fn whose_an_id_is() {
        let (session, other) = (Session(MARK | 7 << 32), Session(MARK | 8 << 32));
        for kind in Kind::ALL {
            let key = kind.key(19);
            let request = session.request(key);
            let reply = reply_to(request).unwrap();
            assert_eq!(session.key_of_request(request), Some(key));
            assert_eq!(session.key_of_reply(reply), Some(key));
            assert_eq!((session.key_of_request(reply), session.key_of_reply(request)), (None, None));
            assert_eq!((other.key_of_request(request), other.key_of_reply(reply)), (None, None));
            assert_eq!(reply_to(reply), None, "for ever");
        }
        for of_run in [0, 1, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(reply_to(of_run), None);
        }
    }

    #[test]
    fn keys_are_of_one_frame_only() {
        let mut keys: Vec<_> =
            Kind::ALL.iter().flat_map(|kind| (0..20).map(|number| kind.key(number).value())).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 60);
    }

    #[test]
    fn the_filter_keeps_probes_of_each_kind() {
        let flow = |wire: Wire, dst_addr: &str| {
            let path = Path {
                src_mac: "02:00:00:00:00:01".parse().unwrap(),
                dst_mac: "02:00:00:00:00:02".parse().unwrap(),
                src_addr: "192.0.2.1".parse().unwrap(),
                dst_addr: dst_addr.parse().unwrap(),
            };
            Flow { path, treatment: Treatment::SEED, wire, ports: wire.ports() }
        };
        let filter_for = |address: &str| filter(Some(address.parse().unwrap())).unwrap();
        for kind in Kind::ALL {
            let mut frame = ProbeFrame::new(&flow(kind.wire(), "192.0.2.2")).unwrap();
            let bytes = frame.probe(Session::new().request(kind.key(1)));
            assert!(filter(None).unwrap().matches(bytes), "{kind:?}");
            assert!(filter_for("192.0.2.2").matches(bytes), "{kind:?}");
            assert_eq!(filter_for("192.0.2.3").matches(bytes), kind == Kind::PtpEthernet);
            assert_eq!(probe_of_any_kind(bytes, ChecksumState::Unverified).unwrap().0, kind);
            let mut other = bytes.to_vec();
            other[12..14].copy_from_slice(&[0x88, 0xb5]);
            assert!(!filter(None).unwrap().matches(&other));
        }
        let mut other = flow(Wire::Seed, "192.0.2.2");
        other.ports.as_mut().unwrap().dst += 1;
        assert!(!filter(None).unwrap().matches(ProbeFrame::new(&other).unwrap().probe(1)), "another port");
    }
}
