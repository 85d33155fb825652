//! What became of a sent frame, as the caller gets it.

use std::fmt;
use std::io;

use crate::timestamp::{HardwareStamp, SystemStamp, Timestamping};
use crate::tx_report::TxKey;

/// What became of one sent frame: up to five stamps of its way out, and whether that is all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TxOutcome {
    /// The key that it was sent with.
    pub key: TxKey,
    /// The stamps that were expected of it.
    pub expected: Timestamping,
    /// User space, before the send.
    pub before: SystemStamp,
    /// The kernel, as the frame entered the queueing discipline.
    pub scheduled: Option<SystemStamp>,
    /// The driver, as it passed the frame to the device.
    pub software: Option<SystemStamp>,
    /// The NIC, as it put the frame on the wire.
    pub hardware: Option<HardwareStamp>,
    /// User space, after the send. It may well be later than the driver's stamp. `None` if the send failed.
    pub after: Option<SystemStamp>,
    /// Whether these are all stamps, and if not, why.
    pub result: TxResult,
}

impl TxOutcome {
    pub(super) const fn new(key: TxKey, before: SystemStamp, after: Option<SystemStamp>, result: TxResult) -> Self {
        let expected = Timestamping::empty();
        Self { key, expected, before, scheduled: None, software: None, hardware: None, after, result }
    }

    /// The stamps that have come.
    pub fn stamped(&self) -> Timestamping {
        let mut stamped = Timestamping::empty();
        stamped.set(Timestamping::TX_SCHEDULED, self.scheduled.is_some());
        stamped.set(Timestamping::TX_SOFTWARE, self.software.is_some());
        stamped.set(Timestamping::TX_HARDWARE, self.hardware.is_some());
        stamped
    }
}

/// Whether a sent frame has all stamps that were expected. [`TxJoiner`](crate::TxJoiner) has a table of all cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TxResult {
    /// All that were expected are there.
    Complete,
    /// The driver stamped the frame, the NIC did not, and nothing is known to have been lost: the card had no room for
    /// one more stamp (igb has room for one), or nobody told it to take any.
    #[doc(alias = "tx_hwtstamp_skipped")]
    HardwareSkipped,
    /// A stamp did not come. Those that did are there; whether the frame left is not known unless one of them says so.
    Missing(MissingReason),
    /// The send failed.
    Refused {
        /// The kind of the error.
        kind: io::ErrorKind,
        /// The error of the system call, unless it was refused without one.
        errno: Option<i32>,
    },
}

/// Why a stamp of a sent frame is missing, as far as can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MissingReason {
    /// It did not come in time. The frame may have been dropped in a queue, or its device takes no such stamps.
    DeadlinePassed,
    /// It did not come in time, and the error queue was full meanwhile.
    QueueOverflowed,
    /// It did not come in time, and the link went down meanwhile.
    LinkDown,
    /// A stamp came that may also be that of an older frame with the same key: it is nobody's.
    Ambiguous,
    /// The caller did not wait for it: [`TxJoiner::finish`](crate::TxJoiner::finish).
    Finished,
}

/// A frame that [`TxJoiner`](crate::TxJoiner) has no place for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rejected {
    /// As many frames as the capacity allows are under way: take outcomes first.
    Full,
    /// A frame with this key is under way, or its outcome was not taken yet.
    KeyInUse,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "no room for one more frame whose stamps are under way: take outcomes first",
            Self::KeyInUse => "a frame with this key has an outcome that was not taken yet",
        })
    }
}

impl std::error::Error for Rejected {}

/// Counts of stamps that were reported and are in no [`TxOutcome`], by the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StrayStamps {
    /// They came after the outcome of their frame was taken; those of an older frame whose key was used again included.
    pub late: u64,
    /// Their frame had a stamp of this stage already: stacked devices repeat the scheduler's.
    pub duplicate: u64,
    /// They may be of either of two frames with the same key.
    pub ambiguous: u64,
    /// They were not expected of their frame.
    pub unexpected: u64,
    /// No frame with their key is known: never sent, or too long ago.
    pub unknown: u64,
    /// Reports of a stage that Ethernet frames do not have, or without a stamp.
    pub ignored: u64,
}
