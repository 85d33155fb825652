//! The examination: sends frames of each kind, reads what comes of them, and counts.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use fast_afpacket::{Interface, PacketSocket, PacketType, SystemStamp, Timestamping, TxKey, TxReport, TxStage};

use super::probes::{Kind, Session, filter, probe_of_any_kind};
use super::target::{Answers, Target};
use crate::endpoint;
use crate::frame::ProbeFrame;
use crate::nic::STAMPS;
use crate::sink::Sink;
use crate::warm_up;

/// Of each kind.
const FRAMES: u8 = 20;
/// From one frame to the next: cards have room for few stamps, many for one, and need some time for each.
const INTERVAL: Duration = Duration::from_millis(20);
/// For what is under way after the last frame.
const LATE: Duration = Duration::from_millis(500);
const BUFFER_LEN: usize = 2048;

/// How many frames of a kind had one of the stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) stamp: Timestamping,
    pub(super) kind: Kind,
    /// Those that were sent, or that came: each could have had the stamp.
    pub(super) frames: usize,
    pub(super) stamped: usize,
    /// In nanoseconds, the median: from the send to the report, or from the software stamp of a received frame to its
    /// reader.
    pub(super) latency: Option<i64>,
}

/// A frame that the kernel took, and how long each of its stamps took to come.
#[derive(Clone, Copy, Debug)]
struct Sent {
    kind: Kind,
    at: Instant,
    scheduled: Option<Duration>,
    software: Option<Duration>,
    hardware: Option<Duration>,
}

/// A probe that came.
#[derive(Clone, Copy, Debug)]
struct Received {
    key: TxKey,
    kind: Kind,
    has_software: bool,
    has_hardware: bool,
    /// From the software stamp to the reader.
    latency: Option<i64>,
}

/// By key.
type SentFrames = BTreeMap<u32, Sent>;

/// Examines an interface that is up, or gives `None` if it was stopped.
pub(super) fn run(interface: &Interface, target: &Target, stop: &AtomicBool) -> Result<Option<Vec<Count>>> {
    let filter = filter(Some(target.path.src_addr))?;
    let socket =
        PacketSocket::options().dual(true).timestamping(Timestamping::all()).filter(&filter).bind(interface)?;
    let _sinks = match target.answers {
        Answers::Nobody => Vec::new(),
        Answers::Peer(_) | Answers::Itself => open_sinks(&[endpoint::local(target.path.src_addr, 0, interface)]),
    };
    warm_up::wait_for_stamping();
    let session = Session::new();
    let (sent, received) = thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&socket, session, target.answers));
        let sent = send(&socket, session, target, stop);
        socket.close();
        let received = receiver.join().map_err(|_| anyhow!("a thread of this program has panicked"))?;
        anyhow::Ok((sent?, received?))
    })?;
    if stop.load(Ordering::SeqCst) {
        return Ok(None);
    }
    if sent.is_empty() {
        bail!("{interface} took none of the frames: a queue refuses them all");
    }
    Ok(Some(count(&sent, &received)))
}

/// Keeps the kernel from answering probes with ICMP. Where it cannot be done the examination is none the worse for it.
pub(super) fn open_sinks(addresses: &[SocketAddr]) -> Vec<Sink> {
    let ports = Kind::ALL.into_iter().filter_map(|kind| kind.wire().ports());
    let with_port = |mut address: SocketAddr, port| {
        address.set_port(port);
        address
    };
    let places = ports.flat_map(|ports| addresses.iter().map(move |address| with_port(*address, ports.dst)));
    places.filter_map(|place| Sink::open_unless_taken(place).ok().flatten()).collect()
}

/// Sends the frames at their times, of each kind in turn, and reads the reports of those that were sent.
fn send(socket: &PacketSocket, session: Session, target: &Target, stop: &AtomicBool) -> Result<SentFrames> {
    let mut frames = Vec::new();
    for kind in Kind::ALL {
        frames.push((kind, ProbeFrame::new(&target.flow(kind.wire()))?));
    }
    let mut sent = SentFrames::new();
    let mut due = Instant::now();
    for number in 0..FRAMES {
        for (kind, frame) in &mut frames {
            read_reports(socket, &mut sent, due, stop)?;
            if stop.load(Ordering::SeqCst) {
                return Ok(sent);
            }
            let key = kind.key(number);
            let bytes = frame.probe(session.request(key));
            let at = Instant::now();
            // However late this one is, the card has its time until the next.
            due = at + INTERVAL;
            socket.set_write_deadline(Some(due));
            match socket.send_keyed(bytes, key) {
                Ok(_) => {
                    let frame = Sent { kind: *kind, at, scheduled: None, software: None, hardware: None };
                    sent.insert(key.value(), frame);
                }
                Err(error) if is_full(&error) => {}
                Err(error) => return Err(error).with_context(|| format!("cannot send on {}", socket.interface())),
            }
        }
    }
    read_reports(socket, &mut sent, Instant::now() + LATE, stop)?;
    Ok(sent)
}

/// Whether a queue had no room for a frame. It was not sent, and no stamp of it is missing.
fn is_full(error: &io::Error) -> bool {
    const ENOBUFS: i32 = 105;
    error.kind() == ErrorKind::TimedOut || error.raw_os_error() == Some(ENOBUFS)
}

fn read_reports(socket: &PacketSocket, sent: &mut SentFrames, until: Instant, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::SeqCst) {
        socket.set_tx_deadline(Some(until.min(Instant::now() + INTERVAL)));
        match socket.recv_tx(&mut []) {
            Ok(report) => note(sent, &report, Instant::now()),
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                if Instant::now() >= until {
                    break;
                }
            }
            // One that cannot be trusted is one that is missing.
            Err(error) if error.kind() == ErrorKind::InvalidData => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read TX stamps on {}", socket.interface()));
            }
        }
    }
    Ok(())
}

/// A device on top of another repeats a stage. The first report is that for which a program waits.
fn note(sent: &mut SentFrames, report: &TxReport, now: Instant) {
    let Some(frame) = sent.get_mut(&report.key.value()) else {
        return;
    };
    let took = now.duration_since(frame.at);
    let stamps = report.timestamps;
    match report.stage {
        TxStage::Scheduled if stamps.software.is_some() => frame.scheduled = frame.scheduled.or(Some(took)),
        TxStage::Sent => {
            frame.software = frame.software.or(stamps.software.map(|_| took));
            frame.hardware = frame.hardware.or(stamps.hardware.map(|_| took));
        }
        _ => {}
    }
}

/// Receives the probes that are answers to this session's, until the socket is closed.
fn receive(socket: &PacketSocket, session: Session, answers: Answers) -> Result<Vec<Received>> {
    let mut buf = vec![0; BUFFER_LEN];
    let mut received = Vec::new();
    loop {
        let meta = match socket.recv(&mut buf) {
            Ok(meta) => meta,
            Err(error) => match error.kind() {
                ErrorKind::ConnectionAborted => return Ok(received),
                ErrorKind::NetworkDown | ErrorKind::InvalidData => continue,
                _ => return Err(error).with_context(|| format!("cannot receive on {}", socket.interface())),
            },
        };
        let now = SystemStamp::now();
        let probe = buf.get(..meta.len).and_then(|frame| probe_of_any_kind(frame, meta.checksum));
        let Some((kind, id)) = probe.filter(|_| meta.from.packet_type() == PacketType::Host) else {
            continue;
        };
        let key = match answers {
            Answers::Nobody => None,
            Answers::Peer(_) => session.key_of_reply(id),
            Answers::Itself => session.key_of_request(id),
        };
        let stamps = meta.timestamps;
        received.extend(key.map(|key| Received {
            key,
            kind,
            has_software: stamps.software.is_some(),
            has_hardware: stamps.hardware.is_some(),
            latency: stamps.software.map(|software| now.nanos_since(software)),
        }));
    }
}

fn count(sent: &SentFrames, received: &[Received]) -> Vec<Count> {
    // Each answer to a frame of its kind counts once.
    let mut answers = BTreeMap::new();
    for answer in received {
        if sent.get(&answer.key.value()).is_some_and(|frame| frame.kind == answer.kind) {
            answers.entry(answer.key.value()).or_insert(*answer);
        }
    }
    let of_kind = |stamp: Timestamping, kind: Kind| {
        let sent = || sent.values().filter(|frame| frame.kind == kind);
        let came = || answers.values().filter(|answer| answer.kind == kind);
        let sent_count = |took: fn(&Sent) -> Option<Duration>| {
            let times: Vec<_> = sent().filter_map(took).map(in_nanos).collect();
            Count { stamp, kind, frames: sent().count(), stamped: times.len(), latency: median(times) }
        };
        let came_count = |has: fn(&Received) -> bool| Count {
            stamp,
            kind,
            frames: came().count(),
            stamped: came().filter(|one| has(one)).count(),
            latency: None,
        };
        match stamp {
            Timestamping::TX_SCHEDULED => sent_count(|frame| frame.scheduled),
            Timestamping::TX_SOFTWARE => sent_count(|frame| frame.software),
            Timestamping::TX_HARDWARE => sent_count(|frame| frame.hardware),
            Timestamping::RX_HARDWARE => came_count(|answer| answer.has_hardware),
            _ => {
                let latency = median(came().filter_map(|answer| answer.latency).collect());
                Count { latency, ..came_count(|answer| answer.has_software) }
            }
        }
    };
    STAMPS.iter().flat_map(|(stamp, _, _)| Kind::ALL.map(|kind| of_kind(*stamp, kind))).collect()
}

fn in_nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

fn median(mut times: Vec<i64>) -> Option<i64> {
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_one_of_the_times() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![7]), Some(7));
        assert_eq!(median(vec![9, 1]), Some(1));
        assert_eq!(median(vec![9, 1, 5]), Some(5));
    }

    #[test]
    fn answers_count_once_and_only_to_what_was_sent() {
        let sent_frame = |kind: Kind| {
            let frame = Sent {
                kind,
                at: Instant::now(),
                scheduled: Some(Duration::from_nanos(5)),
                software: None,
                hardware: None,
            };
            (kind.key(0).value(), frame)
        };
        let sent = SentFrames::from([sent_frame(Kind::Any), sent_frame(Kind::PtpUdp)]);
        let answer =
            |kind: Kind, key: TxKey| Received { key, kind, has_software: true, has_hardware: false, latency: Some(3) };
        let received = [
            answer(Kind::Any, Kind::Any.key(0)),
            answer(Kind::Any, Kind::Any.key(0)),
            answer(Kind::Any, Kind::Any.key(1)),
            answer(Kind::PtpEthernet, Kind::PtpUdp.key(0)),
        ];
        let counts = count(&sent, &received);
        let get = |stamp, kind| *counts.iter().find(|count| count.stamp == stamp && count.kind == kind).unwrap();
        let figures = |stamp, kind| {
            let Count { frames, stamped, latency, .. } = get(stamp, kind);
            (frames, stamped, latency)
        };
        assert_eq!(counts.len(), 15);
        assert_eq!(figures(Timestamping::TX_SCHEDULED, Kind::Any), (1, 1, Some(5)));
        assert_eq!(figures(Timestamping::TX_SOFTWARE, Kind::Any), (1, 0, None));
        assert_eq!(figures(Timestamping::TX_SOFTWARE, Kind::PtpEthernet), (0, 0, None));
        assert_eq!(figures(Timestamping::RX_SOFTWARE, Kind::Any), (1, 1, Some(3)));
        assert_eq!(figures(Timestamping::RX_HARDWARE, Kind::Any), (1, 0, None));
        assert_eq!(figures(Timestamping::RX_SOFTWARE, Kind::PtpUdp), (0, 0, None));
    }
}
