//! How STAMP packets travel: in UDP, or in PTP messages for cards that stamp nothing else on receive. Both sides use it.

use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use fast_afpacket::{EtherType, Filter, MacAddr, PacketType, RxFilter, VlanTag};

use super::stamps::Header;
use crate::cli::WireName;
use crate::frame::{Carrier, Frame, Path, Unread, ethernet_payload, read_udp};
use crate::receiver::Received;
use crate::reflector::Peer;
use crate::treatment::{Ecn, Treatment};
use crate::wire::{Wire, ptp, write_at};

/// Which way to travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    PtpUdp,
    /// PTP over Ethernet.
    Ptp,
}

/// A packet that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Letter<'a> {
    pub(crate) from: Peer,
    pub(crate) to: Peer,
    pub(crate) src_mac: MacAddr,
    pub(crate) vlan: Option<VlanTag>,
    pub(crate) header: Header,
    pub(crate) packet: &'a [u8],
}

impl Transport {
    pub(crate) fn named(wire: WireName) -> Result<Self> {
        Ok(match wire {
            WireName::Stamp => Self::Udp,
            WireName::PtpUdp => Self::PtpUdp,
            WireName::Ptp => Self::Ptp,
            WireName::Seed => bail!("--wire seed goes one way: a reflector needs --wire stamp, ptp or ptp-udp"),
        })
    }

    /// As [`WireName`] has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Udp => "stamp",
            Self::PtpUdp => "ptp-udp",
            Self::Ptp => "ptp",
        }
    }

    /// The frames that a card has to stamp on receive.
    pub(crate) const fn rx_filter(self) -> RxFilter {
        match self {
            Self::Udp => RxFilter::ALL,
            Self::PtpUdp => Wire::PtpUdp.rx_filter(),
            Self::Ptp => Wire::Ptp.rx_filter(),
        }
    }

    /// The port that cannot be chosen, if there is one.
    pub(crate) const fn fixed_port(self) -> Option<u16> {
        match self {
            Self::Udp | Self::Ptp => None,
            Self::PtpUdp => Some(ptp::PORT),
        }
    }

    /// Keeps the requests to a reflector with this port.
    pub(crate) fn request_filter(self, port: u16) -> Result<Filter> {
        Ok(match self {
            Self::Udp | Self::PtpUdp => Filter::udp_dst(port).filter(),
            Self::Ptp => Wire::ethernet_filter()?,
        })
    }

    /// Keeps the replies to this address and port from a reflector's port.
    pub(crate) fn reply_filter(self, own: IpAddr, own_port: u16, port: u16) -> Result<Filter> {
        Ok(match self {
            Self::Udp | Self::PtpUdp => Filter::udp_dst(own_port).source_ports(port..=port).address(own).filter(),
            Self::Ptp => Wire::ethernet_filter()?,
        })
    }

    pub(crate) const fn carrier(self, src_port: u16, dst_port: u16) -> Carrier {
        match self {
            Self::Udp | Self::PtpUdp => Carrier::Udp { src_port, dst_port },
            Self::Ptp => Carrier::Ethernet(EtherType::PTP),
        }
    }

    /// Octets of a frame's payload around a packet.
    pub(crate) const fn overhead(self, is_ipv6: bool) -> usize {
        match self {
            Self::Udp => 0,
            Self::PtpUdp if is_ipv6 => ptp::Carrier::OVERHEAD + ptp::BEHIND_IPV6_MESSAGE.len(),
            Self::PtpUdp | Self::Ptp => ptp::Carrier::OVERHEAD,
        }
    }

    /// Reads a frame that was received by the host with this MAC address.
    pub(crate) fn read<'a>(self, received: &Received<'a>, own_mac: MacAddr) -> Result<Letter<'a>, Unread> {
        let Received { bytes, meta, .. } = received;
        // Nobody sends from a group; an answer to it would go to all of it.
        if meta.from.packet_type() != PacketType::Host || meta.from.mac().is_none_or(MacAddr::is_multicast) {
            return Err(Unread::NoUdp);
        }
        if self == Self::Ptp {
            let (src_mac, payload) = ethernet_payload(bytes, EtherType::PTP).ok_or(Unread::NoUdp)?;
            return Ok(Letter {
                from: Peer::Ethernet(src_mac),
                to: Peer::Ethernet(own_mac),
                src_mac,
                vlan: meta.vlan,
                header: Header::default(),
                packet: ptp::stamp_in(payload).ok_or(Unread::NoUdp)?,
            });
        }
        let datagram = read_udp(bytes, meta.checksum, meta.vlan)?;
        let packet = match self {
            Self::Udp => datagram.payload,
            _ => ptp::stamp_in(datagram.payload).ok_or(Unread::NoUdp)?,
        };
        Ok(Letter {
            from: Peer::Udp { addr: datagram.src_addr, port: datagram.src_port },
            to: Peer::Udp { addr: datagram.dst_addr, port: datagram.dst_port },
            src_mac: datagram.src_mac,
            vlan: datagram.vlan,
            header: Header {
                ttl: Some(datagram.hop_limit),
                dscp: Some(datagram.dscp.value()),
                ecn: Some(datagram.ecn.bits()),
            },
            packet,
        })
    }
}

impl Letter<'_> {
    /// The way of a reply, and the ports of it.
    pub(crate) fn way_back(&self, own_mac: MacAddr) -> (Path, u16, u16) {
        const NONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        let place = |peer: Peer| match peer {
            Peer::Udp { addr, port } => (addr, port),
            Peer::Ethernet(_) => (NONE, 0),
        };
        let ((src_addr, src_port), (dst_addr, dst_port)) = (place(self.to), place(self.from));
        (Path { src_mac: own_mac, dst_mac: self.src_mac, src_addr, dst_addr }, src_port, dst_port)
    }

    /// The congestion mark of a reply.
    pub(crate) fn ecn_back(&self) -> Ecn {
        self.header.ecn.map_or(Ecn::NotCapable, |ecn| Ecn::of(ecn).back())
    }
}

/// A frame around packets, one at a time.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    transport: Transport,
    frame: Frame,
    message: ptp::Carrier,
}

impl Envelope {
    pub(crate) fn new(transport: Transport, own_mac: MacAddr) -> Self {
        Self { transport, frame: Frame::default(), message: ptp::Carrier::new(own_mac) }
    }

    /// Addresses it, for packets of this length. Allocates only if none so far was as long.
    pub(crate) fn address(
        &mut self,
        path: &Path,
        treatment: &Treatment,
        (src_port, dst_port): (u16, u16),
        packet_len: usize,
    ) -> Result<()> {
        let len = packet_len + self.transport.overhead(path.src_addr.is_ipv6());
        self.frame.rebuild(path, treatment, self.transport.carrier(src_port, dst_port), len)
    }

    /// The frame with this packet, of the length that was said.
    pub(crate) fn seal(&mut self, packet: &[u8]) -> Result<&[u8]> {
        let payload = match self.transport {
            Transport::Udp => packet,
            _ => self.message.carry(packet).context("PTP messages carry packets of even length")?,
        };
        write_at(self.frame.payload_mut(), 0, payload);
        Ok(self.frame.finish())
    }
}
