//! Sends probes at their times and, between two of them, reads the stamps of those that were sent.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fast_afpacket::{PacketSocket, SystemStamp, TxReport};

use crate::frame::ProbeFrame;
use crate::pending::{Pending, STAMP_TIMEOUT, key_of};
use crate::probe::Tx;

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
                Some(report) => pending.join(report.key, report.stage, report.timestamps),
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
            Some(report) => pending.join(report.key, report.stage, report.timestamps),
            None => break,
        }
        pending.settle(&mut tell);
    }
    pending.finish(&mut tell);
    Ok(())
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
