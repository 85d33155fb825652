//! Sends probes at their times and, between two of them, takes the outcomes of those that were sent.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fast_afpacket::{PacketSocket, Timestamping, TxOutcome, TxTracker};

use crate::frame::ProbeFrame;
use crate::in_order::{InOrder, key_of};
use crate::probe::Tx;

/// When to send, how often, and with which stamps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) interval: Duration,
    pub(crate) count: Option<u64>,
    pub(crate) duration: Option<Duration>,
    /// Ask for a hardware stamp of one probe in so many.
    pub(crate) hardware_every: u64,
    /// How long a stamp may take.
    pub(crate) stamp_timeout: Duration,
}

/// Sends probes until the schedule or `stop` ends it, and tells of each, in order.
pub(crate) fn run(
    socket: &PacketSocket,
    frame: &mut ProbeFrame,
    schedule: &Schedule,
    stop: &AtomicBool,
    mut tell: impl FnMut(Tx),
) -> Result<()> {
    let tracker = TxTracker::new(socket)?.timeout(schedule.stamp_timeout);
    let mut in_order = InOrder::from(1);
    let mut settle = |in_order: &mut InOrder, outcome: TxOutcome| {
        in_order.put(outcome, |probe, outcome| tell(Tx { probe, outcome }));
    };
    let start = Instant::now();
    let end = schedule.duration.map(|duration| start + duration);
    let mut due = start;
    for id in 1..=schedule.count.unwrap_or(u64::MAX) {
        // A stop is looked for after the deadline is set: whoever stops us first says so and then moves the deadline.
        loop {
            socket.set_tx_deadline(Some(due));
            if stop.load(Ordering::SeqCst) {
                break;
            }
            match outcome(&tracker)? {
                Some(outcome) => settle(&mut in_order, outcome),
                None if Instant::now() >= due => break,
                None => {}
            }
        }
        if stop.load(Ordering::SeqCst) || end.is_some_and(|end| due.max(Instant::now()) >= end) {
            break;
        }
        let stamps = match id % schedule.hardware_every {
            0 => tracker.expected(),
            _ => tracker.expected() - Timestamping::TX_HARDWARE,
        };
        let bytes = frame.probe(id)?;
        loop {
            match tracker.send_stamped(bytes, key_of(id), stamps) {
                // So many are under way that one has to be settled first.
                Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                    socket.set_tx_deadline(Some(Instant::now() + schedule.stamp_timeout));
                    if let Some(outcome) = outcome(&tracker)? {
                        settle(&mut in_order, outcome);
                    }
                    continue;
                }
                Err(error) => refused(error)?,
                Ok(_) => {}
            }
            break;
        }
        in_order.expect();
        due += schedule.interval;
    }
    // The last outcomes.
    socket.set_tx_deadline(Some(Instant::now() + schedule.stamp_timeout));
    while !tracker.is_empty() {
        match outcome(&tracker)? {
            Some(outcome) => settle(&mut in_order, outcome),
            None => tracker.finish()?,
        }
    }
    Ok(())
}

/// An outcome, or `None` when the time is up.
fn outcome(tracker: &TxTracker<'_>) -> Result<Option<TxOutcome>> {
    match tracker.outcome() {
        Ok(outcome) => Ok(Some(outcome)),
        Err(error) if error.kind() == ErrorKind::TimedOut => Ok(None),
        Err(error) => Err(error).context("cannot read TX stamps"),
    }
}

/// A link that is down, or a queue that is full, may be better at the next probe. Anything else ends the job.
pub(crate) fn refused(error: io::Error) -> Result<()> {
    const ENOBUFS: i32 = 105;
    match error.kind() {
        ErrorKind::NetworkDown | ErrorKind::TimedOut => Ok(()),
        _ if error.raw_os_error() == Some(ENOBUFS) => Ok(()),
        _ => Err(error).context("cannot send a probe"),
    }
}
