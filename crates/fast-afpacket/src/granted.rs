//! What came of what was asked for.

use crate::hwtstamp::{RxFilter, TxMode};
use crate::nic::NicGrant;
use crate::timestamp::Timestamping;

/// What the kernel agreed to when a socket was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Granted {
    /// The stamps that the kernel agreed to report. Whether the NIC takes hardware stamps is its own setting: those that
    /// [`Options::configure_nic`](crate::Options::configure_nic) asked for in vain are not here.
    pub timestamping: Timestamping,
    /// What became of [`Options::configure_nic`](crate::Options::configure_nic).
    #[doc(alias = "hwtstamp_config")]
    pub nic: NicGrant,
    /// The clock of hardware stamps: the number of `/dev/ptpN`, or `None` if the NIC has none.
    #[doc(alias("phc_index", "PHC"))]
    pub phc: Option<u32>,
    /// Whether the kernel carries the caller's keys (`SCM_TS_OPT_ID`, Linux 6.13). Otherwise this library matches
    /// stamps to keys by the kernel's count of frames.
    #[doc(alias = "SCM_TS_OPT_ID")]
    pub own_keys: bool,
    /// Bytes for received frames and unread TX stamps, in the unit of [`Options::receive_buffer`](crate::Options::receive_buffer).
    /// 0 with a receive ring, which does not use it; with a transmit ring, the room for unread TX stamps.
    pub receive_buffer: usize,
    /// Bytes for frames that wait to be sent. 0 with a receive ring, which sends none.
    pub send_buffer: usize,
    /// The memory of a ring. That of a receive ring takes the place of the receive buffer.
    pub ring: Option<RingMemory>,
}

/// The memory of a ring and how it was mapped.
///
/// The kernel never swaps a ring out. Both flags concern the page tables of this process: without them, the first access
/// to each page costs a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RingMemory {
    /// All blocks together.
    pub bytes: usize,
    /// Whether the mapping is locked; not if it is larger than `RLIMIT_MEMLOCK` and `CAP_IPC_LOCK` is missing.
    #[doc(alias = "MAP_LOCKED")]
    pub locked: bool,
    /// Whether all pages were mapped beforehand.
    #[doc(alias = "MAP_POPULATE")]
    pub populated: bool,
}

/// The hardware stamps that a NIC does not take although it was to be set to.
pub(crate) fn withheld_by(nic: NicGrant) -> Timestamping {
    let NicGrant::Refused { now, .. } = nic else {
        return Timestamping::empty();
    };
    let mut withheld = Timestamping::empty();
    withheld.set(Timestamping::TX_HARDWARE, now.is_none_or(|now| now.tx() == TxMode::OFF));
    withheld.set(Timestamping::RX_HARDWARE, now.is_none_or(|now| now.rx() == RxFilter::NONE));
    withheld
}
