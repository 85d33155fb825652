//! One host that answers probes: its sockets, and the thread that receives, stamps, answers and sends.
//!
//! One thread does all of it, since a hand-over to another would be part of what is measured. The stamps of its own replies
//! are read when nobody waits for an answer: right after a reply has left and, if they were not there yet, before the next.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fast_afpacket::{ClockState, Interface, MacAddr, PacketSocket, Stats, SystemStamp, Timestamping, TxKey, TxTracker};

use super::Setup;
use crate::clock::CardClock;
use crate::frame::Unread;
use crate::hardware;
use crate::netlink::Netlink;
use crate::receiver::{self, Received};
use crate::reflector::{Arrival, Flow, Peer, Reflector, Reply, ReplyId, Tally};
use crate::sink::Sink;
use crate::threads::{Role, ThreadArguments};
use crate::treatment::{Dscp, Treatment};
use crate::two_way::stamps::Stamps;
use crate::two_way::transport::{Envelope, Letter, Transport};
use crate::warm_up;
use crate::wire::stamp::error_estimate::ErrorEstimate;

/// How long a reply may wait for room in a queue: the next request matters more.
const PATIENCE: Duration = Duration::from_millis(20);
/// Replies whose stamps are under way at most: twice of what a tracker holds.
const UNDER_WAY: usize = 8192;

/// A host that misses no probe from now on.
pub(crate) struct Responder {
    pub(crate) name: String,
    pub(crate) socket: PacketSocket,
    transport: Transport,
    mac: MacAddr,
    stamp_timeout: Duration,
    hardware_every: u64,
    /// The card's clock, if there is one.
    card: Option<CardClock>,
    netlink: Mutex<Netlink>,
    state: Mutex<State>,
    clock: Mutex<ErrorEstimate>,
    _sinks: Vec<Sink>,
}

/// What the thread that answers shares with the one that prints.
#[derive(Debug)]
struct State {
    reflector: Reflector,
    own_addresses: Vec<IpAddr>,
    unanswered: Unanswered,
}

/// What became of all frames, and how many sessions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) tally: Tally,
    pub(crate) unanswered: Unanswered,
    pub(crate) sessions: usize,
    pub(crate) stats: Stats,
}

/// Frames that were no requests to this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unanswered {
    /// To another host, or to all; another protocol; a fragment.
    pub(crate) foreign: u64,
    pub(crate) wrong_checksum: u64,
    pub(crate) malformed: u64,
}

impl Responder {
    /// Opens it in the network namespace of the calling thread.
    pub(crate) fn open(name: String, interface: &Interface, setup: &Setup<'_>) -> Result<Self> {
        let mac = interface.mac()?.with_context(|| format!("{interface} has no MAC address"))?;
        let Setup { transport, port, .. } = *setup;
        let port = transport.fixed_port().unwrap_or(port);
        let socket = setup.hardware.bind(interface, &transport.request_filter(port)?, transport.rx_filter())?;
        let mut netlink = Netlink::open()?;
        let state = State {
            reflector: Reflector::new(setup.config.clone()),
            own_addresses: netlink.own_addresses()?,
            unanswered: Unanswered::default(),
        };
        let sinks = match transport {
            Transport::Udp => Sink::open_for_all(port, "--port")?,
            Transport::PtpUdp => Sink::open_for_all_unless_taken(port)?,
            Transport::Ptp => Vec::new(),
        };
        warm_up::wait_for_stamping();
        Ok(Self {
            name,
            socket,
            transport,
            mac,
            stamp_timeout: setup.hardware.stamp_timeout,
            hardware_every: setup.hardware.every,
            card: hardware::open_clock(interface),
            netlink: Mutex::new(netlink),
            state: Mutex::new(state),
            clock: Mutex::new(ErrorEstimate::UNKNOWN),
            _sinks: sinks,
        })
    }

    /// Follows the card's clock from now on, on a thread: once everything is open, and privileges are given up.
    pub(crate) fn follow_card(&mut self) -> Result<()> {
        self.card.as_mut().map_or(Ok(()), CardClock::follow)
    }

    /// Answers until the socket is closed.
    pub(crate) fn reflect(&self, threads: &ThreadArguments, first: Role) -> Result<()> {
        threads.begin(Role::Reflector, first)?;
        let mut departures = Departures::new(self)?;
        receiver::run(&self.socket, threads.polls(), |received| {
            if departures.are_under_way() {
                departures.take()?;
            }
            match received {
                Some(received) => self.respond(&received, &mut departures)?,
                None => self.state().unanswered.malformed += 1,
            }
            departures.take()
        })
    }

    /// Looks after what changes slowly: what the kernel says of this host's clock, and which addresses it has. What cannot
    /// be found out stays as it was.
    pub(crate) fn look_around(&self) {
        if let Ok(clock) = ClockState::read() {
            *locked(&self.clock) = ErrorEstimate::new(clock.synchronised, Some(clock.max_error));
        }
        if let Ok(addresses) = locked(&self.netlink).own_addresses() {
            self.state().own_addresses = addresses;
        }
    }

    /// What became of all frames so far.
    pub(crate) fn counts(&self) -> io::Result<Counts> {
        let stats = self.socket.stats().map_err(io::Error::from)?;
        let state = self.state();
        let (tally, sessions) = (*state.reflector.tally(), state.reflector.sessions());
        Ok(Counts { tally, unanswered: state.unanswered, sessions, stats })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    fn respond(&self, received: &Received<'_>, departures: &mut Departures<'_>) -> Result<()> {
        let mut state = self.state();
        let State { reflector, own_addresses, unanswered } = &mut *state;
        let letter = match self.transport.read(received, self.mac) {
            Ok(letter) => letter,
            Err(why) => {
                *unanswered.of(why) += 1;
                return Ok(());
            }
        };
        // A frame to this host's MAC address may be for another one, to which this host is the router.
        if matches!(letter.to, Peer::Udp { addr, .. } if !own_addresses.contains(&addr)) {
            unanswered.foreign += 1;
            return Ok(());
        }
        let Ok(mut reply) = reflector.answer(letter.packet, &arrival(received, &letter, self.card.as_ref())) else {
            return Ok(());
        };
        let (id, sent) = (reply.id, departures.send(&mut reply, &letter));
        match sent {
            Err(error) if was_closed(&error) => Err(error),
            // Whatever it is, the next reply may have more luck, and whoever waits for this one will notice.
            Err(_) => {
                reflector.not_sent(id);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

fn was_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::ConnectionAborted)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that runs under these locks leaves things half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Unanswered {
    pub(crate) const fn all(&self) -> u64 {
        self.foreign + self.wrong_checksum + self.malformed
    }

    fn of(&mut self, why: Unread) -> &mut u64 {
        match why {
            Unread::WrongChecksum | Unread::NoChecksum => &mut self.wrong_checksum,
            Unread::Malformed => &mut self.malformed,
            Unread::NoUdp | Unread::Fragment => &mut self.foreign,
        }
    }
}

fn arrival(received: &Received<'_>, letter: &Letter<'_>, card: Option<&CardClock>) -> Arrival {
    Arrival {
        flow: Flow { peer: letter.from, local: letter.to },
        header: letter.header,
        stamps: hardware::converted(received.stamps(), card),
        at: Instant::now(),
    }
}

/// Replies on their way out.
struct Departures<'a> {
    responder: &'a Responder,
    tracker: TxTracker<'a>,
    envelope: Envelope,
    /// Sent, and their outcomes not taken.
    under_way: usize,
    /// Those whose stamps are under way, by the keys that they were sent with.
    ids: HashMap<u32, ReplyId>,
    next_key: u32,
}

impl<'a> Departures<'a> {
    fn new(responder: &'a Responder) -> Result<Self> {
        let tracker = TxTracker::new(&responder.socket)?.timeout(responder.stamp_timeout);
        let envelope = Envelope::new(responder.transport, responder.mac);
        let ids = HashMap::with_capacity(UNDER_WAY);
        Ok(Self { responder, tracker, envelope, ids, next_key: 0, under_way: 0 })
    }

    fn are_under_way(&self) -> bool {
        self.under_way > 0
    }

    fn send(&mut self, reply: &mut Reply<'_>, request: &Letter<'_>) -> Result<()> {
        let responder = self.responder;
        let (path, src_port, dst_port) = request.way_back(responder.mac);
        let treatment = Treatment {
            vlan: request.vlan,
            dscp: Dscp::new(reply.dscp.or(request.header.dscp).unwrap_or(0)),
            ecn: request.ecn_back(),
            ..Treatment::STAMP
        };
        self.envelope.address(&path, &treatment, (src_port, dst_port), reply.len())?;
        let error = *locked(&responder.clock);
        responder.socket.set_write_deadline(Some(Instant::now() + PATIENCE));
        let frame = self.envelope.seal(reply.finish(SystemStamp::now(), error))?;
        let Some(id) = reply.id else {
            responder.socket.send(frame)?;
            return Ok(());
        };
        let key = self.next_key;
        self.next_key = key.wrapping_add(1);
        let mut stamps = self.tracker.expected();
        if !u64::from(key).is_multiple_of(responder.hardware_every) {
            stamps -= Timestamping::TX_HARDWARE;
        }
        match self.tracker.send_stamped(frame, TxKey::new(key), stamps) {
            // So many stamps are under way that there is no room for more: it goes without.
            Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                responder.socket.send(frame)?;
            }
            // It has an outcome all the same.
            Err(error) => {
                self.under_way += 1;
                return Err(error.into());
            }
            Ok(_) => {
                self.under_way += 1;
                self.ids.insert(key, id);
            }
        }
        Ok(())
    }

    /// Takes the stamps that have come, for later replies to tell.
    fn take(&mut self) -> Result<()> {
        while self.are_under_way()
            && let Some(outcome) = self.tracker.try_outcome().context("cannot read TX stamps")?
        {
            self.under_way -= 1;
            if let Some(id) = self.ids.remove(&outcome.key.value()) {
                let stamps = hardware::converted(Stamps::from(&outcome), self.responder.card.as_ref());
                self.responder.state().reflector.stamped(id, stamps);
            }
        }
        Ok(())
    }
}
