//! The filter of a probe receiver: UDP datagrams to one port, and which of them.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::operation::{
    ABS, ANCILLARY, B, H, IMM, IND, JA, JEQ, JGE, JGT, JMP, JSET, LD, LDX, MSH, NETWORK, PROTOCOL, W,
};
use super::{EtherType, Filter, Instruction};

/// The number of UDP in the IPv4 protocol and the IPv6 next header field.
const UDP: u32 = 17;
/// The bits of the IPv4 fragment offset in its 16-bit word; the others are flags.
const FRAGMENT_OFFSET: u32 = 0x1fff;
const IPV6_HEADER: u32 = 40;

const IPV4: u32 = EtherType::IPV4.value() as u32;
const IPV6: u32 = EtherType::IPV6.value() as u32;

/// A filter for UDP datagrams to one port, under construction: see [`Filter::udp_dst`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the filter is made by `filter()`"]
pub struct UdpDst {
    port: u16,
    source_ports: Option<RangeInclusive<u16>>,
    address: Option<IpAddr>,
}

impl Filter {
    /// Keeps the UDP datagrams to `port`; [`UdpDst`] can narrow them down to source ports and to one address.
    ///
    /// It means what `udp and dst port P and src portrange A-B and dst host ADDR` means to tcpdump, and works on raw and
    /// cooked sockets alike: the kernel says which protocol a frame has and where its network header is. A VLAN tag that
    /// the kernel has taken out of the frame does not disturb it.
    ///
    /// - Both IPv4 and IPv6 match, unless an address decides between them.
    /// - IPv4 options are stepped over. Of a fragmented datagram only the first fragment can match: the others carry no
    ///   ports.
    /// - In IPv6, the UDP header must follow the IPv6 header directly; datagrams behind extension headers do not match.
    ///
    /// ```
    /// use fast_afpacket::Filter;
    ///
    /// let filter = Filter::udp_dst(319).source_ports(49_152..=65_535).address([192, 0, 2, 1].into()).filter();
    ///
    /// let mut frame = [0; 60];
    /// frame[12..14].copy_from_slice(&[0x08, 0x00]); // IPv4 ..
    /// frame[14] = 0x45; // .. with a header of 20 bytes ..
    /// frame[23] = 17; // .. that carries UDP ..
    /// frame[30..34].copy_from_slice(&[192, 0, 2, 1]);
    /// frame[34..36].copy_from_slice(&50_000_u16.to_be_bytes()); // .. from port 50000 ..
    /// frame[36..38].copy_from_slice(&319_u16.to_be_bytes()); // .. to port 319
    /// assert!(filter.matches(&frame));
    ///
    /// frame[37] += 1;
    /// assert!(!filter.matches(&frame));
    /// ```
    pub fn udp_dst(port: u16) -> UdpDst {
        UdpDst { port, source_ports: None, address: None }
    }
}

impl UdpDst {
    /// Keeps only the datagrams from these ports; from none of them if the range is empty.
    pub fn source_ports(self, ports: RangeInclusive<u16>) -> Self {
        Self { source_ports: Some(ports), ..self }
    }

    /// Keeps only the datagrams to this address, and so to its version of IP.
    pub fn address(self, address: IpAddr) -> Self {
        Self { address: Some(address), ..self }
    }

    /// The filter.
    ///
    /// It keeps whole frames and is at most 20 instructions long.
    pub fn filter(&self) -> Filter {
        if self.source_ports.as_ref().is_some_and(RangeInclusive::is_empty) {
            return Filter::nothing();
        }
        let mut program = vec![Instruction::new(LD | W | ABS, 0, 0, ANCILLARY + PROTOCOL)];
        match self.address {
            Some(IpAddr::V4(_)) => {
                program.push(require(JEQ, IPV4));
                program.extend(self.ipv4());
            }
            Some(IpAddr::V6(_)) => {
                program.push(require(JEQ, IPV6));
                program.extend(self.ipv6());
            }
            None => {
                let mut ipv6 = vec![require(JEQ, IPV6)];
                ipv6.extend(self.ipv6());
                let mut ipv4 = self.ipv4();
                ipv4.push(Instruction::new(JMP | JA, 0, 0, count(&ipv6).into()));
                program.push(Instruction::new(JMP | JEQ, 0, count(&ipv4), IPV4));
                program.extend(ipv4);
                program.extend(ipv6);
            }
        }
        program.extend(self.ports());
        program.extend([Instruction::KEEP, Instruction::REFUSE]);
        resolve(&mut program);
        Filter { instructions: program.into() }
    }

    /// Goes on if the IPv4 header announces UDP and a first fragment, with the length of the header in X.
    fn ipv4(&self) -> Vec<Instruction> {
        let mut part = vec![load(B, 9), require(JEQ, UDP), load(H, 6), forbid(JSET, FRAGMENT_OFFSET)];
        if let Some(IpAddr::V4(address)) = self.address {
            part.extend([load(W, 16), require(JEQ, address.to_bits())]);
        }
        part.push(Instruction::new(LDX | B | MSH, 0, 0, NETWORK));
        part
    }

    /// Goes on if the IPv6 header announces UDP, with the length of the header in X.
    fn ipv6(&self) -> Vec<Instruction> {
        let mut part = vec![load(B, 6), require(JEQ, UDP)];
        if let Some(IpAddr::V6(address)) = self.address {
            for (offset, word) in (24..).step_by(4).zip(address.octets().as_chunks::<4>().0) {
                part.extend([load(W, offset), require(JEQ, u32::from_be_bytes(*word))]);
            }
        }
        part.push(Instruction::new(LDX | IMM, 0, 0, IPV6_HEADER));
        part
    }

    /// Goes on if the ports are right; X is the length of the IP header.
    fn ports(&self) -> Vec<Instruction> {
        // The kernel adds X to the offset before it looks which header the sum counts from.
        let load = |offset| Instruction::new(LD | H | IND, 0, 0, NETWORK + offset);
        let mut part = vec![load(2), require(JEQ, self.port.into())];
        if let Some(ports) = &self.source_ports {
            let (first, last) = (*ports.start(), *ports.end());
            part.extend([load(0), require(JGE, first.into()), forbid(JGT, last.into())]);
        }
        part
    }
}

/// Stands for a jump to the last instruction, which refuses, until [`resolve`] knows how far away that is.
const REFUSE: u8 = u8::MAX;

/// Loads from the network header.
const fn load(size: u16, offset: u32) -> Instruction {
    Instruction::new(LD | size | ABS, 0, 0, NETWORK + offset)
}

/// Refuses the frame unless the test holds.
const fn require(test: u16, k: u32) -> Instruction {
    Instruction::new(JMP | test, 0, REFUSE, k)
}

/// Refuses the frame if the test holds.
const fn forbid(test: u16, k: u32) -> Instruction {
    Instruction::new(JMP | test, REFUSE, 0, k)
}

/// How many instructions a jump skips that skips this part of the program.
fn count(part: &[Instruction]) -> u8 {
    u8::try_from(part.len()).unwrap_or(REFUSE)
}

/// Makes each [`REFUSE`] the distance to the last instruction.
fn resolve(program: &mut [Instruction]) {
    // A skip of 0 leads to the next instruction, so counting starts at the one before the last.
    for (distance, instruction) in (0..REFUSE).zip(program.iter_mut().rev().skip(1)) {
        for skip in [&mut instruction.jt, &mut instruction.jf] {
            if *skip == REFUSE {
                *skip = distance;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A UDP datagram from 192.0.2.2 to 192.0.2.1, with an IPv4 header of so many 32-bit words.
    fn ipv4(words: u8, source: u16, destination: u16) -> Vec<u8> {
        let mut frame = vec![0; 14 + usize::from(words) * 4];
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        frame[14] = 0x40 | words;
        frame[23] = 17;
        frame[26..34].copy_from_slice(&[192, 0, 2, 2, 192, 0, 2, 1]);
        frame.extend([source, destination, 8, 0].map(u16::to_be_bytes).as_flattened());
        frame
    }

    /// A UDP datagram from 2001:db8::2 to 2001:db8::1.
    fn ipv6(source: u16, destination: u16) -> Vec<u8> {
        let mut frame = vec![0; 54];
        frame[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
        frame[20] = 17;
        for (at, last) in [(22, 2), (38, 1)] {
            frame[at..at + 4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
            frame[at + 15] = last;
        }
        frame.extend([source, destination, 8, 0].map(u16::to_be_bytes).as_flattened());
        frame
    }

    fn set(mut frame: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
        frame[at] = value;
        frame
    }

    const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

    #[test]
    fn destination_port() {
        let filter = Filter::udp_dst(319).filter();
        assert_eq!(filter.run(&ipv4(5, 1, 319)), u32::MAX);
        assert!(filter.matches(&ipv6(1, 319)));
        for frame in [ipv4(5, 319, 320), ipv6(319, 320)] {
            assert!(!filter.matches(&frame));
        }
    }

    #[test]
    fn options_are_stepped_over() {
        for words in 5..=15 {
            assert!(Filter::udp_dst(319).source_ports(7..=7).filter().matches(&ipv4(words, 7, 319)), "{words}");
        }
    }

    #[test]
    fn other_protocols_do_not_match() {
        let filter = Filter::udp_dst(319).filter();
        assert!(!filter.matches(&set(ipv4(5, 1, 319), 23, 6)));
        assert!(!filter.matches(&set(ipv6(1, 319), 20, 44)), "a fragment header");
        assert!(!filter.matches(&set(ipv4(5, 1, 319), 13, 6)), "ARP");
    }

    #[test]
    fn only_the_first_fragment_matches() {
        let filter = Filter::udp_dst(319).filter();
        assert!(filter.matches(&set(ipv4(5, 1, 319), 20, 0x20)), "first, more to come");
        assert!(filter.matches(&set(ipv4(5, 1, 319), 20, 0x40)), "must not be fragmented");
        for (at, value) in [(20, 0x01), (20, 0x30), (21, 1)] {
            assert!(!filter.matches(&set(ipv4(5, 1, 319), at, value)));
        }
    }

    #[test]
    fn source_ports() {
        let filter = Filter::udp_dst(319).source_ports(1000..=1002).filter();
        for (port, expected) in [(999, false), (1000, true), (1002, true), (1003, false)] {
            assert_eq!(filter.matches(&ipv4(6, port, 319)), expected, "{port}");
            assert_eq!(filter.matches(&ipv6(port, 319)), expected, "{port}");
        }
        assert!(Filter::udp_dst(319).source_ports(0..=u16::MAX).filter().matches(&ipv6(0, 319)));
        #[expect(clippy::reversed_empty_ranges, reason = "an empty range is what is tested")]
        let none = Filter::udp_dst(319).source_ports(2..=1).filter();
        assert_eq!(none, Filter::nothing());
    }

    #[test]
    fn address_decides_the_version() {
        let filter = Filter::udp_dst(319).address(V4).filter();
        assert!(filter.matches(&ipv4(7, 1, 319)));
        assert!(!filter.matches(&ipv6(1, 319)));
        assert!(!filter.matches(&set(ipv4(7, 1, 319), 33, 2)));

        let filter = Filter::udp_dst(319).address(V6).filter();
        assert!(filter.matches(&ipv6(1, 319)));
        assert!(!filter.matches(&ipv4(5, 1, 319)));
        for at in 38..54 {
            assert!(!filter.matches(&set(ipv6(1, 319), at, 0xee)), "{at}");
        }
    }

    #[test]
    fn a_frame_cut_before_the_ports_it_must_show_does_not_match() {
        for (frame, ports_end) in [(ipv4(8, 9, 319), 50), (ipv6(9, 319), 58)] {
            let filter = Filter::udp_dst(319).source_ports(9..=9).filter();
            for len in 0..frame.len() {
                assert_eq!(filter.matches(&frame[..len]), len >= ports_end, "{len}");
            }
        }
    }

    #[test]
    fn every_made_filter_follows_the_rules() {
        let mut made = vec![Filter::nothing(), Filter::ether_type(EtherType::PTP)];
        for udp in [Filter::udp_dst(319), Filter::udp_dst(319).source_ports(1..=9)] {
            made.extend([udp.filter(), udp.clone().address(V4).filter(), udp.address(V6).filter()]);
        }
        for filter in made {
            assert_eq!(Filter::new(filter.instructions()), Ok(filter.clone()));
            assert!(filter.instructions().len() <= 20, "{filter}");
        }
    }

    #[test]
    fn ether_type_of_frames_and_of_lengths() {
        let frame = set(vec![0; 60], 12, 0x08);
        assert!(Filter::ether_type(EtherType::IPV4).matches(&frame));
        assert!(!Filter::ether_type(EtherType::LLC).matches(&frame));
        assert!(Filter::ether_type(EtherType::LLC).matches(&[0; 60]));
        assert!(!Filter::ether_type(EtherType::ALL).matches(&frame));
        assert!(!Filter::nothing().matches(&frame));
    }
}
