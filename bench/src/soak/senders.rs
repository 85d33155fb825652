//! Those who send, as fast as it goes, whatever the link does.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use fast_afpacket::{Interface, Options, PacketSocket, RingShape, Timestamping, TxFrame, TxKey, TxResult, TxTracker};

use super::{PROTOCOL, Shared};

/// What became of frames with keys.
#[derive(Clone, Copy, Default)]
pub(super) struct Tracked {
    pub(super) sent: u64,
    pub(super) refused: u64,
    pub(super) outcomes: u64,
    pub(super) complete: u64,
    /// Taken, and stamps are missing: the link went down.
    pub(super) missing: u64,
    /// Stamps of frames that nobody knows.
    pub(super) unknown: u64,
}

fn options() -> Options {
    PacketSocket::options().protocol(PROTOCOL).dual(true)
}

/// A frame with a number behind its header.
fn frame(number: u32) -> [u8; 60] {
    let mut frame = [0; 60];
    let header = [0x02, 0, 0, 0, 0, 0x0b, 0x02, 0, 0, 0, 0, 0x0a].into_iter().chain(PROTOCOL.value().to_be_bytes());
    for (to, from) in frame.iter_mut().zip(header.chain(number.to_be_bytes())) {
        *to = from;
    }
    frame
}

/// The link is down for a moment: nothing else may be refused.
fn wait_for_link(error: &io::Error) -> anyhow::Result<()> {
    match error.raw_os_error() {
        Some(libc::ENETDOWN | libc::ENXIO) => thread::sleep(Duration::from_millis(1)),
        _ if error.kind() == io::ErrorKind::TimedOut => {}
        _ => anyhow::bail!("a send was refused: {error}"),
    }
    Ok(())
}

pub(super) fn batches(shared: &Shared, interface: &Interface) -> anyhow::Result<u64> {
    let socket = options().timestamping(Timestamping::empty()).bind(interface)?;
    let (mut sent, mut number) = (0, 0_u32);
    while shared.sends() {
        socket.set_write_deadline(Some(Instant::now() + Duration::from_millis(100)));
        let bytes: Vec<_> = (0..32).map(|offset| frame(number.wrapping_add(offset))).collect();
        let frames: Vec<_> = bytes.iter().map(|bytes| TxFrame::new(bytes)).collect();
        let taken = match socket.send_batch(&frames) {
            Ok(()) => frames.len(),
            Err(refused) => {
                wait_for_link(refused.error())?;
                refused.sent()
            }
        };
        sent += taken as u64;
        number = number.wrapping_add(u32::try_from(taken)?);
    }
    Ok(sent)
}

pub(super) fn ring(shared: &Shared, interface: &Interface) -> anyhow::Result<u64> {
    let options = PacketSocket::options().protocol(PROTOCOL).timestamping(Timestamping::empty());
    let mut ring = options.tx_ring(interface, RingShape::transmit())?;
    let (mut sent, mut number) = (0, 0_u32);
    while shared.sends() {
        ring.set_write_deadline(Some(Instant::now() + Duration::from_millis(100)));
        for _ in 0..32 {
            match ring.push(&frame(number)) {
                Ok(()) => number = number.wrapping_add(1),
                Err(error) => {
                    wait_for_link(&error)?;
                    break;
                }
            }
        }
        sent += match ring.flush() {
            Ok(taken) => taken as u64,
            Err(refused) => {
                wait_for_link(refused.error())?;
                refused.taken() as u64
            }
        };
    }
    Ok(sent)
}

/// Sends with keys on one thread and takes the outcomes on another.
pub(super) fn tracked(shared: &Shared, interface: &Interface) -> anyhow::Result<Tracked> {
    let socket = options().timestamping(Timestamping::TX_SCHEDULED | Timestamping::TX_SOFTWARE).bind(interface)?;
    let tracker = TxTracker::new(&socket)?.timeout(Duration::from_millis(200));
    thread::scope(|scope| {
        let sender = scope.spawn(|| send_tracked(shared, &socket, &tracker));
        let mut counts = Tracked::default();
        loop {
            socket.set_tx_deadline(Some(Instant::now() + Duration::from_millis(100)));
            match tracker.outcome() {
                Ok(outcome) => {
                    counts.outcomes += 1;
                    match outcome.result {
                        TxResult::Complete => counts.complete += 1,
                        TxResult::Missing(_) => counts.missing += 1,
                        TxResult::Refused { .. } => counts.refused += 1,
                        other => anyhow::bail!("an outcome on veth: {other:?}"),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    if sender.is_finished() && tracker.is_empty() {
                        break;
                    }
                }
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        counts.unknown = tracker.strays().unknown;
        match sender.join() {
            Ok(sent) => counts.sent = sent?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        Ok(counts)
    })
}

fn send_tracked(shared: &Shared, socket: &PacketSocket, tracker: &TxTracker<'_>) -> anyhow::Result<u64> {
    let (mut sent, mut number) = (0, 0_u32);
    while shared.sends() {
        socket.set_write_deadline(Some(Instant::now() + Duration::from_millis(100)));
        match tracker.send(&frame(number), TxKey::new(number)) {
            Ok(_) => sent += 1,
            // Outcomes wait to be taken.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                thread::yield_now();
                continue;
            }
            Err(error) => wait_for_link(&error)?,
        }
        number = number.wrapping_add(1);
    }
    Ok(sent)
}
