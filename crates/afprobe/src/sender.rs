//! Sends probes at their times and, between two of them, takes the outcomes of those that were sent.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fast_afpacket::{PacketSocket, Timestamping, TxKey, TxOutcome, TxTracker};

use crate::crew::Stop;
use crate::schedule::{Pattern, Timetable};

/// Whoever interrupts a job wants to see the summary.
pub(crate) const PATIENCE_AFTER_STOP: Duration = Duration::from_millis(200);

/// When to send, how often, and with which stamps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) pattern: Pattern,
    pub(crate) interval: Duration,
    pub(crate) count: Option<u64>,
    pub(crate) duration: Option<Duration>,
    /// Ask for a hardware stamp of one probe in so many.
    pub(crate) hardware_every: u64,
    /// How long a stamp may take.
    pub(crate) stamp_timeout: Duration,
    /// How long before its time to stop sleeping.
    pub(crate) spin: Duration,
}

/// Makes the frames of probes.
pub(crate) trait Frames {
    /// The frame of the probe with this id, to be sent at once.
    fn frame(&mut self, id: u64) -> Result<&[u8]>;
}

/// A probe whose stamps have come, or will not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settled {
    pub(crate) id: u64,
    /// How long after its time it was sent, if it had one.
    pub(crate) late: Option<Duration>,
    pub(crate) outcome: TxOutcome,
}

/// Sends on a socket and keeps track of what was sent.
pub(crate) struct Sender<'a, T> {
    socket: &'a PacketSocket,
    tracker: TxTracker<'a>,
    stop: &'a Stop,
    stamp_timeout: Duration,
    /// The latest probe that was sent.
    latest: u64,
    /// How late those were that are under way.
    late: HashMap<u64, Duration>,
    /// Is told of each probe when it is settled.
    tell: T,
}

impl<'a, T: FnMut(Settled)> Sender<'a, T> {
    pub(crate) fn new(socket: &'a PacketSocket, stamp_timeout: Duration, stop: &'a Stop, tell: T) -> Result<Self> {
        let tracker = TxTracker::new(socket)?.timeout(stamp_timeout);
        Ok(Self { socket, tracker, stop, stamp_timeout, latest: 0, late: HashMap::new(), tell })
    }

    /// Sends the probes from this id on, until the schedule or a stop ends it.
    pub(crate) fn run(&mut self, first: u64, frames: &mut impl Frames, schedule: &Schedule) -> Result<()> {
        let start = Instant::now();
        let mut timetable = Timetable::new(schedule.pattern, schedule.interval);
        for id in first..first.saturating_add(schedule.count.unwrap_or(u64::MAX)) {
            let due = timetable.due();
            // What is due later than the clock can tell is never due.
            let Some(at) = start.checked_add(due.after) else {
                break;
            };
            let is_over = |limit| due.after.max(start.elapsed()) >= limit;
            if !self.wait_until(at, schedule.spin)? || schedule.duration.is_some_and(is_over) {
                break;
            }
            let stamps = match id % schedule.hardware_every {
                0 => self.tracker.expected(),
                _ => self.tracker.expected() - Timestamping::TX_HARDWARE,
            };
            self.send(id, due.is_timed.then_some(at), frames, stamps)?;
        }
        Ok(())
    }

    /// Takes outcomes until a time. `false`: a stop came first.
    pub(crate) fn wait_until(&mut self, due: Instant, spin: Duration) -> Result<bool> {
        let wake = due.checked_sub(spin).unwrap_or(due);
        // A stop is looked for after the deadline is set: whoever stops us first says so and then moves the deadline.
        loop {
            self.socket.set_tx_deadline(Some(wake));
            if self.stop.is_set() {
                return Ok(false);
            }
            if !self.take_outcome()? && Instant::now() >= wake {
                break;
            }
        }
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        Ok(true)
    }

    /// Sends a probe, unless a stop comes first.
    fn send(&mut self, id: u64, due: Option<Instant>, frames: &mut impl Frames, stamps: Timestamping) -> Result<()> {
        self.latest = id;
        while !self.stop.is_set() {
            let frame = frames.frame(id)?;
            let now = Instant::now();
            let sent = self.tracker.send_stamped(frame, key_of(id), stamps);
            match sent {
                // So many are under way that one has to be settled first.
                Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                    self.socket.set_tx_deadline(now.checked_add(self.stamp_timeout));
                    self.take_outcome()?;
                    continue;
                }
                Err(error) => refused(error)?,
                Ok(_) => {}
            }
            if let Some(due) = due {
                self.late.insert(id, now.saturating_duration_since(due));
            }
            break;
        }
        Ok(())
    }

    /// Waits for the last outcomes, no longer than stamps may take.
    pub(crate) fn settle(&mut self) -> Result<()> {
        let patience =
            if self.stop.is_set() { self.stamp_timeout.min(PATIENCE_AFTER_STOP) } else { self.stamp_timeout };
        self.socket.set_tx_deadline(Instant::now().checked_add(patience));
        while !self.tracker.is_empty() {
            if !self.take_outcome()? {
                self.tracker.finish()?;
            }
        }
        Ok(())
    }

    /// Takes an outcome and tells of it. `false`: the time is up.
    fn take_outcome(&mut self) -> Result<bool> {
        match self.tracker.outcome() {
            Ok(outcome) => {
                let id = id_of(outcome.key, self.latest);
                let late = self.late.remove(&id);
                (self.tell)(Settled { id, late, outcome });
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => Ok(false),
            Err(error) => Err(error).context("cannot read TX stamps"),
        }
    }
}

/// The kernel carries 32 bits of the id; what is under way at one time is far fewer.
#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
const fn key_of(id: u64) -> TxKey {
    TxKey::new(id as u32)
}

/// The id of a probe that was sent when the latest had the id `latest`.
fn id_of(key: TxKey, latest: u64) -> u64 {
    latest.saturating_sub(key_of(latest).value().wrapping_sub(key.value()).into())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_by_their_keys() {
        let end = u64::from(u32::MAX);
        for latest in [7, end, end + 1, end + 7, u64::MAX] {
            for back in 0..=7 {
                assert_eq!(id_of(key_of(latest - back), latest), latest - back);
            }
        }
    }
}
