//! The stamps of sent frames, as the caller gets them.

use crate::sys::abi;
use crate::timestamp::Timestamps;

/// The caller's own name for a sent frame: its TX stamps come back with it.
///
/// The kernel carries 32 bits, so keys may wrap; what two frames under way with the same key mean is up to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[doc(alias("SCM_TS_OPT_ID", "SOF_TIMESTAMPING_OPT_ID", "ee_data"))]
pub struct TxKey(u32);

impl TxKey {
    /// A key with this value.
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The value that the key was made with.
    pub const fn value(self) -> u32 {
        self.0
    }
}

impl From<u32> for TxKey {
    fn from(value: u32) -> Self {
        Self(value)
    }
}

/// Where on its way out a frame was stamped: `ee_info` of the error-queue message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[doc(alias = "SCM_TSTAMP")]
pub enum TxStage {
    /// It entered the queueing discipline. On stacked devices (bridge, macvlan, VLAN) each one that queues reports this.
    #[doc(alias = "SCM_TSTAMP_SCHED")]
    Scheduled,
    /// It left: passed to the device (software stamp), or put on the wire by it (hardware stamp). With both asked for
    /// these are two reports.
    #[doc(alias = "SCM_TSTAMP_SND")]
    Sent,
    /// The peer acknowledged it. Only stream protocols report this; it is here because the kernel may.
    #[doc(alias = "SCM_TSTAMP_ACK")]
    Acknowledged,
    /// The device said that it is done with it. Linux 6.15; no Ethernet driver of 6.18 does.
    #[doc(alias = "SCM_TSTAMP_COMPLETION")]
    Completed,
    /// A stage that this library does not know.
    Other(u32),
}

impl TxStage {
    pub(crate) const fn from_raw(info: u32) -> Self {
        match info {
            abi::SCM_TSTAMP_SND => Self::Sent,
            abi::SCM_TSTAMP_SCHED => Self::Scheduled,
            abi::SCM_TSTAMP_ACK => Self::Acknowledged,
            abi::SCM_TSTAMP_COMPLETION => Self::Completed,
            other => Self::Other(other),
        }
    }
}

/// One TX stamp, as it came from the error queue of the sending socket.
///
/// A frame gives several: one for each stage that was asked for, in no promised order, some perhaps never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TxReport {
    /// The key that the frame was sent with.
    pub key: TxKey,
    /// Where the stamp was taken.
    pub stage: TxStage,
    /// The stamp: software or hardware, never both in one report.
    pub timestamps: Timestamps,
    /// How many bytes of the frame were put into the caller's buffer: 0 unless the payload was asked for with
    /// [`Options::tx_payload`](crate::Options::tx_payload).
    pub len: usize,
}

impl TxReport {
    /// A report without payload: for tests of what handles reports.
    pub const fn new(key: TxKey, stage: TxStage, timestamps: Timestamps) -> Self {
        Self { key, stage, timestamps, len: 0 }
    }
}
