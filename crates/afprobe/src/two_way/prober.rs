//! The host that sends: its sockets, its packets, and whose replies it reads.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use fast_afpacket::{Interface, PacketSocket, SystemStamp};

use super::replies::{Expected, Replies};
use super::sent_times::Sent;
use super::session;
use super::stamps::Header;
use super::transport::{Envelope, Transport};
use crate::cli::{HardwareArguments, TwoWayArguments};
use crate::clock::CardClock;
use crate::endpoint;
use crate::frame::Path;
use crate::hardware;
use crate::reflector::Peer;
use crate::report::Start;
use crate::sender::Frames;
use crate::sink::Sink;
use crate::treatment::Treatment;
use crate::warm_up;
use crate::wire::stamp::error_estimate::ErrorEstimate;
use crate::wire::stamp::request::{Request, Sending};

/// From where to where, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) path: Path,
    pub(crate) treatment: Treatment,
    pub(crate) transport: Transport,
    /// `None`: one that is free.
    pub(crate) src_port: Option<u16>,
    /// Of the reflector.
    pub(crate) dst_port: u16,
}

/// A host that is ready to send and receives already.
pub(crate) struct Prober {
    pub(crate) name: String,
    pub(crate) socket: PacketSocket,
    envelope: Envelope,
    request: Request,
    expected: Expected,
    header: Header,
    /// The card's clock, if there is one.
    card: Option<CardClock>,
    _sink: Option<Sink>,
}

impl Prober {
    /// Opens its sockets in the network namespace of the calling thread.
    pub(crate) fn open(
        name: String,
        interface: &Interface,
        route: &Route,
        two_way: &TwoWayArguments,
        card: &HardwareArguments,
    ) -> Result<Self> {
        let Route { path, treatment, transport, src_port, dst_port } = *route;
        let keys = session::keys_from(&two_way.key)?;
        let own = |port| endpoint::local(path.src_addr, port, interface);
        let sink = match (transport, transport.fixed_port()) {
            // The kernel finds a port that is free, and keeps it from others.
            (Transport::Udp, _) => Some(Sink::open(own(src_port.unwrap_or(0)), "--src-addr, --src-port")?),
            (_, Some(port)) => Sink::open_unless_taken(own(port))?,
            (_, None) => None,
        };
        let own_port = match (&sink, transport.fixed_port()) {
            (_, Some(port)) => port,
            (Some(sink), None) => sink.port()?,
            (None, None) => 0,
        };
        let filter = transport.reply_filter(path.src_addr, own_port, dst_port)?;
        let socket = card.bind(interface, &filter, transport.rx_filter())?;
        // Whether the other side's card stamps is not known: as a rule both are alike.
        let with_hardware = hardware::may_come(interface);
        let request = session::request(&keys, treatment.dscp.value(), two_way.size, with_hardware)?;
        ensure!(
            transport == Transport::Udp || request.len().is_multiple_of(2),
            "--size: PTP messages carry packets of even length, and {} is odd",
            request.len()
        );
        let is_ipv6 = path.src_addr.is_ipv6();
        let payload_len = request.len() + transport.overhead(is_ipv6);
        transport.carrier(own_port, dst_port).ensure_fits(payload_len, is_ipv6, interface.mtu()?)?;
        let mut envelope = Envelope::new(transport, path.src_mac);
        envelope.address(&path, &treatment, (own_port, dst_port), request.len())?;
        let peer = match transport {
            Transport::Udp | Transport::PtpUdp => Peer::Udp { addr: path.dst_addr, port: dst_port },
            Transport::Ptp => Peer::Ethernet(path.dst_mac),
        };
        let expected =
            Expected { transport, own_mac: path.src_mac, peer, keys, format: session::FORMAT, ssid: request.ssid() };
        let header = match transport {
            Transport::Ptp => Header::default(),
            _ => Header {
                ttl: Some(treatment.hop_limit),
                dscp: Some(treatment.dscp.value()),
                ecn: Some(treatment.ecn.bits()),
            },
        };
        warm_up::wait_for_stamping();
        Ok(Self {
            name,
            socket,
            envelope,
            request,
            expected,
            header,
            card: hardware::open_clock(interface),
            _sink: sink,
        })
    }

    /// Follows the card's clock from now on, on a thread: once everything is open, and privileges are given up.
    pub(crate) fn follow_card(&mut self) -> Result<()> {
        self.card.as_mut().map_or(Ok(()), CardClock::follow)
    }

    /// What its output begins with.
    pub(crate) fn start(&self) -> Start {
        let Expected { transport, peer, .. } = self.expected;
        let reflector = match peer {
            Peer::Udp { addr, port } if transport == Transport::Udp => SocketAddr::new(addr, port).to_string(),
            Peer::Udp { addr, .. } => addr.to_string(),
            Peer::Ethernet(mac) => mac.to_string(),
        };
        Start {
            host: self.name.clone(),
            interface: self.socket.interface().name().into_owned(),
            reflector,
            wire: transport.name().to_owned(),
        }
    }

    /// What the IP header of its probes says.
    pub(crate) const fn header(&self) -> Header {
        self.header
    }

    pub(crate) const fn card(&self) -> Option<&CardClock> {
        self.card.as_ref()
    }

    /// A reader of its replies.
    pub(crate) fn replies(&self) -> Replies {
        Replies::new(self.expected.clone())
    }

    /// A maker of its probes.
    pub(crate) fn probes<'a>(&self, shared: &'a Shared) -> Probes<'a> {
        Probes { envelope: self.envelope.clone(), request: self.request.clone(), shared, questions: 0 }
    }
}

/// What the threads of a prober share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) sent: Sent,
    clock: Mutex<ErrorEstimate>,
}

impl Default for Shared {
    fn default() -> Self {
        Self { sent: Sent::default(), clock: Mutex::new(ErrorEstimate::UNKNOWN) }
    }
}

impl Shared {
    /// What probes say of this host's clock from now on.
    pub(crate) fn set_clock(&self, error: ErrorEstimate) {
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    fn clock(&self) -> ErrorEstimate {
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the frames of one prober.
#[derive(Debug)]
pub(crate) struct Probes<'a> {
    envelope: Envelope,
    request: Request,
    shared: &'a Shared,
    questions: u64,
}

impl Probes<'_> {
    /// A frame that is no probe, and asks for what is known of the latest replies.
    pub(crate) fn question(&mut self) -> Result<&[u8]> {
        let sent = &self.shared.sent;
        let sending = self.sending(self.questions, sent.probes.newest());
        sent.questions.note(self.questions, self.request.timestamp(sending));
        self.questions += 1;
        self.envelope.seal(self.request.question(sending))
    }

    fn sending(&self, sequence: u64, newest: u64) -> Sending {
        Sending { sequence, sent: newest + 1, t1: SystemStamp::now(), error: self.shared.clock() }
    }
}

impl Frames for Probes<'_> {
    fn frame(&mut self, id: u64) -> Result<&[u8]> {
        let sending = self.sending(id, id);
        self.shared.sent.probes.note(id, self.request.timestamp(sending));
        self.envelope.seal(self.request.probe(sending))
    }
}
