//! Runs the hosts of a job: two threads each, one that prints and counts, and an orderly end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use fast_afpacket::{Filter, Interface, PacketSocket, Timestamping};

use crate::cli::{HardwareArguments, JobArguments, UseOfCard};
use crate::frame::{Path, ProbeFrame};
use crate::hardware;
use crate::probe::Event;
use crate::receiver;
use crate::report::{self, Report};
use crate::sender::{self, Schedule};
use crate::session::{End, OneWay, Session, Summary};
use crate::sink::Sink;
use crate::warm_up;
use crate::wire::{Ports, Wire};

const STATS_INTERVAL: Duration = Duration::from_secs(5);
/// How long the loop that prints waits at most before it looks at the time.
const TICK: Duration = Duration::from_millis(20);
/// Whoever interrupts the job wants to see the summary.
const LINGER_AFTER_STOP: Duration = Duration::from_millis(200);
/// Events that may wait to be printed. When they are that many, probing waits for the printing.
const BACKLOG: usize = 4096;

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fine,
    TooMuchLost,
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
    pub(crate) fn open(name: String, interface: &Interface, path: Path, card: &HardwareArguments) -> Result<Self> {
        let filter = match path.ports {
            Some(Ports { src, dst, more_sources }) => {
                let sources = src..=src.saturating_add(more_sources);
                Filter::udp_dst(dst).source_ports(sources).address(path.src_addr).filter()
            }
            None => Wire::ethernet_filter()?,
        };
        let mut stamps = Timestamping::all();
        stamps.set(Timestamping::TX_HARDWARE, card.use_of_card != UseOfCard::Off);
        let options = PacketSocket::options().dual(true).timestamping(stamps).filter(&filter);
        let socket = options.configure_nic(card.configure_nic(path.wire)).bind(interface)?;
        hardware::tell(interface, socket.granted().nic)?;
        let sink = match (path.ports, path.wire) {
            (Some(ports), Wire::Seed) => Some(Sink::open(path.src_addr, ports.dst)?),
            (Some(ports), _) => Sink::open_unless_taken(path.src_addr, ports.dst)?,
            (None, _) => None,
        };
        warm_up::wait_for_stamping();
        Ok(Self { name, socket, frame: ProbeFrame::new(&path)?, wire: path.wire, _sink: sink })
    }
}

/// Runs a job to its end: the schedule's, or a signal's.
///
/// With two hosts each is the other's peer, and both share a clock.
pub(crate) fn run(hosts: &[Host], job: &JobArguments) -> Result<Verdict> {
    let stop = Arc::new(AtomicBool::new(false));
    let signalled = Arc::clone(&stop);
    ctrlc::set_handler(move || signalled.store(true, Ordering::SeqCst)).context("cannot catch signals")?;
    let schedule = Schedule {
        interval: job.interval,
        count: job.count,
        duration: job.duration,
        hardware_every: job.hardware.every,
        stamp_timeout: job.hardware.stamp_timeout,
    };
    let (events, inbox) = sync_channel(BACKLOG);
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for (index, host) in hosts.iter().enumerate() {
            let (socket, wire, stop, schedule) = (&host.socket, host.wire, &*stop, &schedule);
            let (mut frame, tell) = (host.frame.clone(), teller(index, &events));
            threads.push(scope.spawn(move || {
                let result = sender::run(socket, &mut frame, schedule, stop, |tx| tell(Event::Tx(tx)));
                tell(Event::SenderDone);
                stop_unless_ok(result, stop)
            }));
            let tell = teller(index, &events);
            threads.push(scope.spawn(move || stop_unless_ok(receiver::run(socket, wire, tell), stop)));
        }
        drop(events);
        let report = report::new(job.format, io::stdout().lock());
        let verdict = Job::new(hosts, report).run(&inbox, &stop, job);
        // Whoever still waits, to tell of an event or for a frame, is let go.
        drop(inbox);
        stop.store(true, Ordering::SeqCst);
        hosts.iter().for_each(|host| host.socket.close());
        for thread in threads {
            let result = thread.join().map_err(|_| anyhow!("a thread of this program has panicked"))?;
            // Being interrupted by `close` is nothing to complain of.
            result.or_else(|error| if was_closed(&error) { Ok(()) } else { Err(error) })?;
        }
        verdict
    })
}

/// What one thread cannot do ends the job of all.
fn stop_unless_ok(result: Result<()>, stop: &AtomicBool) -> Result<()> {
    result.inspect_err(|_| stop.store(true, Ordering::SeqCst))
}

fn was_closed(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionAborted)
}

/// A way to tell of a host's events. Once nobody listens any more, events are dropped: the job is over.
fn teller(index: usize, events: &SyncSender<(usize, Event)>) -> impl Fn(Event) + Send + use<> {
    let events = events.clone();
    move |event| {
        let _ = events.send((index, event));
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

    fn run(mut self, inbox: &Receiver<(usize, Event)>, stop: &AtomicBool, job: &JobArguments) -> Result<Verdict> {
        match self.listen(inbox, stop, job.linger).and_then(|()| self.summarize(job.max_loss)) {
            // Whoever read our output has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Verdict::Fine),
            result => result.context("cannot write the report"),
        }
    }

    /// Prints and counts until all senders are done and what was under way has arrived.
    fn listen(&mut self, inbox: &Receiver<(usize, Event)>, stop: &AtomicBool, linger: Duration) -> io::Result<()> {
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
            if !stopping && stop.load(Ordering::SeqCst) {
                stopping = true;
                // Senders look at `stop` when their wait for stamps ends.
                self.hosts.iter().for_each(|host| host.socket.set_tx_deadline(Some(now)));
            }
            if now >= next_stats {
                next_stats += STATS_INTERVAL;
                self.print_stats()?;
            }
            if sending == 0 {
                let linger = if stopping { linger.min(LINGER_AFTER_STOP) } else { linger };
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
        Ok(if summaries.iter().any(exceeds) { Verdict::TooMuchLost } else { Verdict::Fine })
    }
}

/// The other of two hosts.
const fn peer_of(host: usize) -> usize {
    1 - host % 2
}
