//! Probes of the fixed formats: built once, then only the id changes; and found in received frames.

use anyhow::Result;
use fast_afpacket::{ChecksumState, EtherType};

use super::{Carrier, Frame, Path, ethernet_payload, read_udp};
use crate::sender::Frames;
use crate::treatment::Treatment;
use crate::wire::{Ports, Wire, write_at};

/// Probes from one host to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) path: Path,
    pub(crate) treatment: Treatment,
    pub(crate) wire: Wire,
    /// `None`: without IP and UDP.
    pub(crate) ports: Option<Ports>,
}

impl Flow {
    pub(crate) const fn carrier(&self) -> Carrier {
        match self.ports {
            Some(Ports { src, dst, .. }) => Carrier::Udp { src_port: src, dst_port: dst },
            None => Carrier::Ethernet(EtherType::PTP),
        }
    }
}

/// A probe's frame.
#[derive(Clone, Debug)]
pub(crate) struct ProbeFrame {
    frame: Frame,
    wire: Wire,
}

impl ProbeFrame {
    pub(crate) fn new(flow: &Flow) -> Result<Self> {
        let payload = flow.wire.payload(flow.path.src_mac, flow.path.src_addr.is_ipv6());
        let mut frame = Frame::new(&flow.path, &flow.treatment, flow.carrier(), payload.len())?;
        write_at(frame.payload_mut(), 0, &payload);
        Ok(Self { frame, wire: flow.wire })
    }

    /// The frame of the probe with this id.
    pub(crate) fn probe(&mut self, id: u64) -> &[u8] {
        self.wire.set_id(self.frame.payload_mut(), id);
        self.frame.finish()
    }
}

impl Frames for ProbeFrame {
    fn frame(&mut self, id: u64) -> Result<&[u8]> {
        Ok(self.probe(id))
    }
}

/// The id of the probe in a received frame, or `None` if there is none: another protocol, a fragment, cut, a wrong
/// checksum, another payload. Addresses and ports are the filter's business.
pub(crate) fn probe_in(wire: Wire, frame: &[u8], checksum: ChecksumState) -> Option<u64> {
    match wire.ports() {
        Some(_) => wire.id_in(read_udp(frame, checksum, None).ok()?.payload),
        None => wire.id_in(ethernet_payload(frame, EtherType::PTP)?.1),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{hex, path};
    use super::*;
    use etherparse::UdpHeader;

    const WIRES: [Wire; 3] = [Wire::Seed, Wire::Ptp, Wire::PtpUdp];
    const FAMILIES: [(&str, &str); 2] = [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")];

    fn flow(wire: Wire, src: &str, dst: &str) -> Flow {
        Flow { path: path(src, dst), treatment: Treatment::SEED, wire, ports: wire.ports() }
    }

    /// Put together by hand from RFC 791, RFC 768 and the Go example's source.
    #[test]
    fn the_go_examples_frame_to_the_byte() {
        let mut frame = ProbeFrame::new(&flow(Wire::Seed, "192.168.56.101", "192.168.56.102")).unwrap();
        let expected = hex("0242acc80162 0242acc80161 0800 \
             4500002c 00000000 4011 88a5 c0a83865 c0a83866 \
             ea60ee48 0018 3b02 9372e759c7b5aa73 0d00000000000000 0000");
        assert_eq!(frame.probe(13), expected);
        assert_eq!(probe_in(Wire::Seed, &expected, ChecksumState::Unverified), Some(13));
    }

    #[test]
    fn ptp_needs_no_ip() {
        let frames = FAMILIES.map(|(src, dst)| {
            let mut frame = ProbeFrame::new(&flow(Wire::Ptp, src, dst)).unwrap();
            frame.probe(u64::MAX).to_vec()
        });
        let [frame, same] = &frames;
        assert_eq!((frame, frame.len()), (same, 14 + 64));
        assert_eq!(frame[..20], hex("0242acc80162 0242acc80161 88f7 0002 0040 6100"));
        assert_eq!(probe_in(Wire::Ptp, frame, ChecksumState::Unverified), Some(u64::MAX));
        assert_eq!(probe_in(Wire::PtpUdp, frame, ChecksumState::Unverified), None, "the other carrier");
    }

    #[test]
    fn ptp_over_udp_is_two_bytes_longer_over_ipv6() {
        for ((src, dst), ip_len, udp_len) in [(FAMILIES[0], 20, "0048"), (FAMILIES[1], 40, "004a")] {
            let mut frame = ProbeFrame::new(&flow(Wire::PtpUdp, src, dst)).unwrap();
            let bytes = frame.probe(0x1_0000_0001);
            let (_, datagram) = bytes.split_at(14 + ip_len);
            assert_eq!(datagram[..6], hex(&format!("013f 013f {udp_len}")));
            assert_eq!(datagram[8..16], hex("0002 0040 6100 0600"));
            assert_eq!(probe_in(Wire::PtpUdp, bytes, ChecksumState::Unverified), Some(0x1_0000_0001));
            assert_eq!(probe_in(Wire::Seed, bytes, ChecksumState::Unverified), None, "another format");
        }
    }

    #[test]
    fn ipv6_too() {
        let mut frame = ProbeFrame::new(&flow(Wire::Seed, "fde4:8dba:82e1::c1", "fde4:8dba:82e1::c2")).unwrap();
        for id in [1, u64::MAX, 0x0123_4567_89ab_cdef] {
            let bytes = frame.probe(id).to_vec();
            assert_eq!(bytes.len(), 78);
            assert_eq!(bytes[14..22], hex("60000000 0018 11 40"));
            assert_eq!(probe_in(Wire::Seed, &bytes, ChecksumState::Unverified), Some(id));
        }
    }

    #[test]
    fn damaged_datagrams_are_no_probes() {
        for (wire, (src, dst)) in
            [Wire::Seed, Wire::PtpUdp].into_iter().flat_map(|wire| FAMILIES.map(|pair| (wire, pair)))
        {
            let mut frame = ProbeFrame::new(&flow(wire, src, dst)).unwrap();
            let good = frame.probe(0x5555_5555).to_vec();
            let udp_at = frame.frame.payload_at - UdpHeader::LEN;
            let datagram_end = udp_at + UdpHeader::LEN + frame.frame.payload_len;
            for len in 0..datagram_end {
                assert_eq!(probe_in(wire, &good[..len], ChecksumState::Unverified), None, "{len} bytes");
            }
            for at in udp_at..datagram_end {
                let mut bad = good.clone();
                bad[at] ^= 0x10;
                assert_eq!(probe_in(wire, &bad, ChecksumState::Unverified), None, "byte {at} changed");
            }
            let mut unfinished = good;
            unfinished[udp_at + 6] ^= 0xff;
            assert_eq!(probe_in(wire, &unfinished, ChecksumState::Partial), Some(0x5555_5555));
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        let mut state = 1_u64;
        for wire in WIRES {
            let mut frame = ProbeFrame::new(&flow(wire, "192.0.2.1", "192.0.2.2")).unwrap();
            for round in 0..20_000_u64 {
                let mut bytes = frame.probe(round).to_vec();
                for _ in 0..4 {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    let [byte, at, ..] = state.to_le_bytes();
                    let at = usize::from(at) % bytes.len();
                    bytes[at] = byte;
                }
                bytes.truncate(usize::from(state.to_le_bytes()[2]) % (bytes.len() + 20));
                probe_in(wire, &bytes, ChecksumState::Partial);
            }
        }
    }
}
