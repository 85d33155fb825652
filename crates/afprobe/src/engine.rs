//! Runs the hosts of a job: two threads each, and one that prints and counts.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fast_afpacket::{Filter, Interface, PacketSocket};

use crate::cli::{HardwareArguments, JobArguments};
use crate::crew::{self, Stop};
use crate::endpoint;
use crate::frame::{Flow, ProbeFrame, probe_in};
use crate::in_order::InOrder;
use crate::probe::{Event, Rx, Tx};
use crate::receiver;
use crate::report::{self, Report};
use crate::sender::{PATIENCE_AFTER_STOP, Schedule, Sender, Settled};
use crate::session::{End, OneWay, Session, Summary};
use crate::sink::Sink;
use crate::threads::{Role, ThreadArguments};
use crate::warm_up;
use crate::wire::{Ports, Wire};

const STATS_INTERVAL: Duration = Duration::from_secs(5);
/// How long the loop that prints waits at most before it looks at the time.
const TICK: Duration = Duration::from_millis(20);

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fine,
    /// More was lost than allowed, or it took longer.
    BeyondLimits,
    /// There are no hardware stamps, and none were promised.
    SoftwareOnly,
    /// Not all stamps that are advertised are delivered.
    NotDelivered,
}

/// A host that is ready to send and receives already.
pub(crate) struct Host {
    name: String,
    socket: PacketSocket,
    frame: ProbeFrame,
    wire: Wire,
    _sink: Option<Sink>,
}

impl Host {
    /// Opens a host's sockets in the network namespace of the calling thread.
    pub(crate) fn open(name: String, interface: &Interface, flow: &Flow, card: &HardwareArguments) -> Result<Self> {
        let (wire, own) = (flow.wire, flow.path.src_addr);
        let filter = match flow.ports {
            Some(Ports { src, dst, more_sources }) => {
                let sources = src..=src.saturating_add(more_sources);
                Filter::udp_dst(dst).source_ports(sources).address(own).filter()
            }
            None => Wire::ethernet_filter()?,
        };
        let socket = card.bind(interface, &filter, wire.rx_filter())?;
        let sink = match (flow.ports, wire) {
            (Some(ports), Wire::Seed) => {
                Some(Sink::open(endpoint::local(own, ports.dst, interface), "--src-addr, --dst-port")?)
            }
            (Some(ports), _) => Sink::open_unless_taken(endpoint::local(own, ports.dst, interface))?,
            (None, _) => None,
        };
        warm_up::wait_for_stamping();
        Ok(Self { name, socket, frame: ProbeFrame::new(flow)?, wire, _sink: sink })
    }
}

/// Runs a job to its end: the schedule's, or a signal's.
///
/// With two hosts each is the other's peer, and both share a clock.
pub(crate) fn run(hosts: &[Host], job: &JobArguments) -> Result<Verdict> {
    let stop = Stop::on_signals()?;
    let (schedule, threads) = (job.schedule(), &job.threads);
    let sockets: Vec<&PacketSocket> = hosts.iter().map(|host| &host.socket).collect();
    crew::work(
        &stop,
        &sockets,
        |crew| {
            for (index, host) in hosts.iter().enumerate() {
                let stop = &stop;
                crew.start(move |teller| {
                    threads.begin(Role::Sender, Role::Sender)?;
                    let tell = |event| teller.tell((index, event));
                    let result = host.send(&schedule, stop, |tx| tell(Event::Tx(tx)));
                    tell(Event::SenderDone);
                    result
                });
                crew.start(move |teller| {
                    threads.begin(Role::Receiver, Role::Sender)?;
                    host.receive(threads, |event| teller.tell((index, event)))
                });
            }
        },
        |inbox| Job::new(hosts, report::new(job.format, io::stdout().lock())).run(inbox, &stop, job),
    )
}

impl Host {
    /// Sends probes, and tells of each in their order.
    fn send(&self, schedule: &Schedule, stop: &Stop, mut tell: impl FnMut(Tx)) -> Result<()> {
        const FIRST: u64 = 1;
        let mut in_order = InOrder::from(FIRST);
        let settled =
            |Settled { id, outcome, .. }| in_order.put(id, outcome, |probe, outcome| tell(Tx { probe, outcome }));
        let mut sender = Sender::new(&self.socket, schedule.stamp_timeout, stop, settled)?;
        sender.run(FIRST, &mut self.frame.clone(), schedule)?;
        sender.settle()
    }

    /// Receives probes, and tells of each.
    fn receive(&self, threads: &ThreadArguments, tell: impl Fn(Event)) -> Result<()> {
        receiver::run(&self.socket, threads.polls(), |received| {
            tell(received.map_or(Event::Foreign, |received| {
                let probe = probe_in(self.wire, received.bytes, received.meta.checksum);
                probe.map_or(Event::Foreign, |probe| {
                    let stamps = received.meta.timestamps;
                    let (software, hardware) = (stamps.software, stamps.hardware);
                    Event::Rx(Rx { probe, software, hardware, userspace: received.userspace })
                })
            }));
            Ok(())
        })
    }
}

/// The side of the job that prints and counts.
struct Job<'a> {
    hosts: &'a [Host],
    sessions: Vec<Session>,
    /// The way to each host from its peer, where there are two that share a clock.
    ways: Vec<OneWay>,
    report: Box<dyn Report + 'a>,
}

impl<'a> Job<'a> {
    fn new(hosts: &'a [Host], report: Box<dyn Report + 'a>) -> Self {
        let ways = if hosts.len() == 2 { hosts.len() } else { 0 };
        Self {
            hosts,
            sessions: hosts.iter().map(|_| Session::default()).collect(),
            ways: (0..ways).map(|_| OneWay::new()).collect(),
            report,
        }
    }

    fn run(mut self, inbox: &Receiver<(usize, Event)>, stop: &Stop, job: &JobArguments) -> Result<Verdict> {
        match self.listen(inbox, stop, job.linger).and_then(|()| self.summarize(job.max_loss)) {
            // Whoever read our output has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Verdict::Fine),
            result => result.context("cannot write the report"),
        }
    }

    /// Prints and counts until all senders are done and what was under way has arrived.
    fn listen(&mut self, inbox: &Receiver<(usize, Event)>, stop: &Stop, linger: Duration) -> io::Result<()> {
        let mut sending = self.hosts.len();
        let mut next_stats = Instant::now() + STATS_INTERVAL;
        let mut end = None;
        let mut stopping = false;
        loop {
            match inbox.recv_timeout(TICK) {
                Ok((_, Event::SenderDone)) => sending -= 1,
                Ok((host, event)) => self.note(host, &event)?,
                Err(RecvTimeoutError::Timeout) => self.report.flush()?,
                // Both threads of every host have ended, by an error that is reported elsewhere.
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            let now = Instant::now();
            if !stopping && stop.is_set() {
                stopping = true;
                // Senders look at `stop` when their wait for stamps ends.
                self.hosts.iter().for_each(|host| host.socket.set_tx_deadline(Some(now)));
            }
            if now >= next_stats {
                next_stats += STATS_INTERVAL;
                self.print_stats()?;
            }
            if sending == 0 {
                let linger = if stopping { linger.min(PATIENCE_AFTER_STOP) } else { linger };
                let end = *end.get_or_insert(now + linger);
                if now >= end || self.nothing_is_under_way() {
                    return Ok(());
                }
            }
        }
    }

    fn note(&mut self, host: usize, event: &Event) -> io::Result<()> {
        let (Some(Host { name, .. }), Some(session)) = (self.hosts.get(host), self.sessions.get_mut(host)) else {
            return Ok(());
        };
        session.note(event);
        let (stamp, receiver) = match event {
            Event::Tx(tx) => {
                self.report.tx(name, tx)?;
                (tx.outcome.software.map(|stamp| (tx.probe, End::Sent, stamp)), peer_of(host))
            }
            Event::Rx(rx) => {
                self.report.rx(name, rx)?;
                (rx.software.map(|stamp| (rx.probe, End::Received, stamp)), host)
            }
            Event::Foreign | Event::SenderDone => (None, host),
        };
        if let (Some((probe, end, stamp)), Some(way)) = (stamp, self.ways.get_mut(receiver)) {
            way.stamp(probe, end, stamp);
        }
        Ok(())
    }

    /// Whether each host has received all that its peer sent. Never true of a peer that is not ours.
    fn nothing_is_under_way(&self) -> bool {
        let all_here = |(host, session): (usize, &Session)| self.sent_by_peer(host) == Some(session.received());
        self.sessions.iter().enumerate().all(all_here)
    }

    fn sent_by_peer(&self, host: usize) -> Option<u64> {
        self.ways.get(host)?;
        self.sessions.get(peer_of(host)).map(Session::sent)
    }

    fn print_stats(&mut self) -> io::Result<()> {
        for (host, session) in self.hosts.iter().zip(&self.sessions) {
            let stats = host.socket.stats().map_err(io::Error::from)?;
            self.report.stats(&host.name, &stats, session.foreign())?;
        }
        self.report.flush()
    }

    fn summarize(&mut self, max_loss: Option<f64>) -> io::Result<Verdict> {
        let summary = |(host, session): (usize, &Session)| {
            session.summary(self.sent_by_peer(host), self.ways.get(host).and_then(OneWay::figures))
        };
        let summaries: Vec<Summary> = self.sessions.iter().enumerate().map(summary).collect();
        for (host, summary) in self.hosts.iter().zip(&summaries) {
            self.report.summary(&host.name, summary)?;
        }
        self.report.flush()?;
        let exceeds = |summary: &Summary| max_loss.is_some_and(|limit| summary.loss_percent() > limit);
        Ok(if summaries.iter().any(exceeds) { Verdict::BeyondLimits } else { Verdict::Fine })
    }
}

/// The other of two hosts.
const fn peer_of(host: usize) -> usize {
    1 - host % 2
}
