//! Sends probes at their times and, between two of them, reads the stamps of those that were sent.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fast_afpacket::{PacketSocket, SystemStamp, TxKey, TxReport, TxStage};

use crate::frame::ProbeFrame;
use crate::probe::{Outcome, Tx};

/// How long a stamp may take. Drivers were seen to need half a second.
const STAMP_TIMEOUT: Duration = Duration::from_secs(1);

/// When to send, and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) interval: Duration,
    pub(crate) count: Option<u64>,
    pub(crate) duration: Option<Duration>,
}

/// Sends probes until the schedule or `stop` ends it, and tells of each, in order.
pub(crate) fn run(
    socket: &PacketSocket,
    frame: &mut ProbeFrame,
    schedule: &Schedule,
    stop: &AtomicBool,
    mut tell: impl FnMut(Tx),
) -> Result<()> {
    let mut pending = Pending::default();
    let start = Instant::now();
    let end = schedule.duration.map(|duration| start + duration);
    let mut due = start;
    for id in 1..=schedule.count.unwrap_or(u64::MAX) {
        // Stamps are read until the next probe is due. A stop is looked for after the deadline is set: whoever stops us
        // first says so and then moves the deadline.
        loop {
            socket.set_tx_deadline(Some(due));
            if stop.load(Ordering::SeqCst) {
                break;
            }
            match read_stamp(socket)? {
                Some(report) => pending.join(&report),
                None if Instant::now() >= due => break,
                None => {}
            }
            pending.settle(&mut tell);
        }
        if stop.load(Ordering::SeqCst) || end.is_some_and(|end| due.max(Instant::now()) >= end) {
            break;
        }
        let bytes = frame.probe(id)?;
        let userspace = SystemStamp::now();
        let sent = socket.send_keyed(bytes, key_of(id));
        pending.push(id, userspace, sent.is_ok());
        if let Err(error) = sent {
            refused(error)?;
        }
        pending.settle(&mut tell);
        due += schedule.interval;
    }
    // The last stamps.
    socket.set_tx_deadline(Some(Instant::now() + STAMP_TIMEOUT));
    while !pending.is_empty() {
        match read_stamp(socket)? {
            Some(report) => pending.join(&report),
            None => break,
        }
        pending.settle(&mut tell);
    }
    pending.finish(&mut tell);
    Ok(())
}

/// The kernel carries 32 bits of the id; what is under way at one time is far fewer.
#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
const fn key_of(id: u64) -> TxKey {
    TxKey::new(id as u32)
}

/// A stamp, or `None` when the time is up or the link went down, after which stamps may come again.
fn read_stamp(socket: &PacketSocket) -> Result<Option<TxReport>> {
    match socket.recv_tx(&mut []) {
        Ok(report) => Ok(Some(report)),
        Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::NetworkDown) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read TX stamps on {}", socket.interface())),
    }
}

/// A link that is down, or a queue that is full, may be better at the next probe. Anything else ends the job.
fn refused(error: std::io::Error) -> Result<()> {
    const ENOBUFS: i32 = 105;
    match error.kind() {
        ErrorKind::NetworkDown | ErrorKind::TimedOut => Ok(()),
        _ if error.raw_os_error() == Some(ENOBUFS) => Ok(()),
        _ => Err(error).context("cannot send a probe"),
    }
}

/// Probes that were sent and whose stamps are not complete, in order.
#[derive(Debug, Default)]
struct Pending {
    probes: VecDeque<(Tx, Instant)>,
    /// Whether the NIC has ever stamped one: then the next are waited for as well.
    hardware_seen: bool,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.probes.is_empty()
    }

    fn push(&mut self, probe: u64, userspace: SystemStamp, accepted: bool) {
        let outcome = if accepted { Outcome::Missing } else { Outcome::Refused };
        let tx = Tx { probe, userspace, scheduled: None, software: None, hardware: None, outcome };
        self.probes.push_back((tx, Instant::now() + STAMP_TIMEOUT));
    }

    /// Puts a stamp where it belongs. One whose probe was given up is nobody's.
    fn join(&mut self, report: &TxReport) {
        let Some((first, _)) = self.probes.front() else {
            return;
        };
        // Keys are consecutive, modulo 2^32.
        let offset = report.key.value().wrapping_sub(key_of(first.probe).value());
        let Some((tx, _)) = usize::try_from(offset).ok().and_then(|offset| self.probes.get_mut(offset)) else {
            return;
        };
        match report.stage {
            // A device on top of another reports this twice; the first is the queue that the probe entered.
            TxStage::Scheduled => tx.scheduled = tx.scheduled.or(report.timestamps.software),
            TxStage::Sent => {
                tx.software = tx.software.or(report.timestamps.software);
                tx.hardware = tx.hardware.or(report.timestamps.hardware);
                self.hardware_seen |= tx.hardware.is_some();
            }
            _ => {}
        }
        // A frame that a queue refused may have been stamped before: it did not leave for all that.
        if tx.outcome == Outcome::Missing && tx.software.is_some() {
            tx.outcome = Outcome::Stamped;
        }
    }

    /// Tells of the probes at the front that are complete or have waited long enough.
    fn settle(&mut self, tell: &mut impl FnMut(Tx)) {
        while let Some((tx, give_up)) = self.probes.front() {
            let complete = match tx.outcome {
                Outcome::Stamped => tx.hardware.is_some() || !self.hardware_seen,
                Outcome::Missing => false,
                Outcome::Refused => true,
            };
            if !complete && Instant::now() < *give_up {
                return;
            }
            tell(*tx);
            self.probes.pop_front();
        }
    }

    fn finish(&mut self, tell: &mut impl FnMut(Tx)) {
        self.probes.drain(..).for_each(|(tx, _)| tell(tx));
    }
}
