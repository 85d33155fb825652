//! Counts of what a socket received, lost and could not stamp.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::sys::{self, sockopt};

/// What happened on a socket, in frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[doc(alias("tpacket_stats", "PACKET_STATISTICS"))]
pub struct Stats {
    /// Frames that the filter let in and that found room: readable, read or discarded. Unlike `tp_packets` of the
    /// kernel this does not include those that were dropped.
    pub received: u64,
    /// Frames that the filter let in and for which there was no room.
    pub dropped: u64,
    /// How often a receive ring was full and stopped. Always 0 without a ring.
    #[doc(alias = "FreezeQueueCount")]
    pub freezes: u64,
    /// Frames that were read and had no stamp although stamps were asked for. Some are expected right after opening.
    pub unstamped: u64,
    /// Frames that were read into a buffer too small for them, or that did not fit into the slot or block of a ring.
    pub truncated: u64,
    /// Frames that were received before the filter was changed, or before a member of a fanout group was
    /// [rebound](crate::PacketSocket::rebind), and thrown away for that reason.
    pub discarded: u64,
    /// TX stamps that could not be attributed to a key beyond doubt and were thrown away. 0 where the kernel
    /// takes the caller's keys.
    pub unattributed: u64,
    /// Frames that were not sent because their launch time was missed or refused by the queueing discipline. Counted
    /// by [`recv_tx`](crate::PacketSocket::recv_tx) and its kin, as they come upon the reports.
    pub launches_missed: u64,
    /// Frames in a receive ring whose lengths cannot be true, and frames and stamps of a batch whose metadata cannot be
    /// trusted: they were left out. No kernel is known to write such.
    pub malformed: u64,
}

impl Stats {
    /// What came on top of `earlier`.
    #[must_use]
    pub const fn since(self, earlier: &Self) -> Self {
        Self {
            received: self.received.wrapping_sub(earlier.received),
            dropped: self.dropped.wrapping_sub(earlier.dropped),
            freezes: self.freezes.wrapping_sub(earlier.freezes),
            unstamped: self.unstamped.wrapping_sub(earlier.unstamped),
            truncated: self.truncated.wrapping_sub(earlier.truncated),
            discarded: self.discarded.wrapping_sub(earlier.discarded),
            unattributed: self.unattributed.wrapping_sub(earlier.unattributed),
            launches_missed: self.launches_missed.wrapping_sub(earlier.launches_missed),
            malformed: self.malformed.wrapping_sub(earlier.malformed),
        }
    }
}

/// How often a member of a fanout group had no room and another was asked, in frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[doc(alias("tpacket_rollover_stats", "PACKET_ROLLOVER_STATS"))]
pub struct RolloverStats {
    /// Frames that went to another member, because this one had little room or none. In
    /// [`FanoutMode::Rollover`](crate::FanoutMode::Rollover) member 0 counts all frames that found a member with room,
    /// itself included, and the other members count none.
    #[doc(alias = "tp_all")]
    pub rolled: u64,
    /// Those of them that belonged to a flow which made up much of the traffic, for which it was enough that this member had
    /// little room.
    #[doc(alias = "tp_huge")]
    pub huge: u64,
    /// Frames for which no member had room to spare: they stayed with this one, which may have dropped them.
    #[doc(alias = "tp_failed")]
    pub failed: u64,
}

impl RolloverStats {
    pub(crate) fn read(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let [rolled, huge, failed] = sys::fanout::rollover_statistics(socket)?;
        Ok(Self { rolled, huge, failed })
    }
}

/// Sums up the kernel's counts, which it resets at each reading, and our own.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) unstamped: Counter,
    pub(crate) truncated: Counter,
    pub(crate) discarded: Counter,
    pub(crate) unattributed: Counter,
    pub(crate) launches_missed: Counter,
    pub(crate) malformed: Counter,
    totals: Mutex<Totals>,
}

#[derive(Default)]
struct Totals {
    /// What the kernel said so far.
    kernel: Stats,
    /// What [`Counters::take`] gave last.
    taken: Stats,
}

impl Counters {
    /// Truncated, unstamped, malformed: what needs no kernel.
    #[cfg(fuzzing)]
    pub(crate) fn found(&self) -> [u64; 3] {
        [&self.truncated, &self.unstamped, &self.malformed].map(Counter::get)
    }

    pub(crate) fn read(&self, socket: BorrowedFd<'_>) -> io::Result<Stats> {
        self.update(socket, |_, now| now)
    }

    pub(crate) fn take(&self, socket: BorrowedFd<'_>) -> io::Result<Stats> {
        self.update(socket, |taken, now| now.since(&std::mem::replace(taken, now)))
    }

    /// The kernel is asked under the lock: of two threads that ask at once, neither takes the other's counts away.
    fn update(&self, socket: BorrowedFd<'_>, answer: impl FnOnce(&mut Stats, Stats) -> Stats) -> io::Result<Stats> {
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        let Totals { kernel, taken } = &mut *totals;
        let [packets, drops, freezes] = sockopt::take_statistics(socket)?;
        kernel.received += u64::from(packets.wrapping_sub(drops));
        kernel.dropped += u64::from(drops);
        kernel.freezes += u64::from(freezes);
        let now = Stats {
            unstamped: self.unstamped.get(),
            truncated: self.truncated.get(),
            discarded: self.discarded.get(),
            unattributed: self.unattributed.get(),
            launches_missed: self.launches_missed.get(),
            malformed: self.malformed.get(),
            ..*kernel
        };
        Ok(answer(taken, now))
    }
}

/// A count that any thread adds to and that orders nothing.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
