//! What is told of a probe: by the threads that send and receive, to the session that counts and the report that prints.

use fast_afpacket::{HardwareStamp, MissingReason, SystemStamp, TxOutcome, TxResult};

/// Something that happened to a host.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A probe was sent, or refused, and its stamps have come, or not.
    Tx(Tx),
    /// A probe was received.
    Rx(Rx),
    /// A frame passed the filter that is no probe.
    Foreign,
    /// The host has sent its last probe and waits for no more stamps.
    SenderDone,
}

/// A probe on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tx {
    pub(crate) probe: u64,
    pub(crate) outcome: TxOutcome,
}

impl Tx {
    /// What became of it, in a word of the output.
    pub(crate) const fn outcome_name(&self) -> &'static str {
        outcome_name(self.outcome.result)
    }

    /// Why a stamp is missing, likewise.
    pub(crate) const fn reason_name(&self) -> Option<&'static str> {
        reason_name(self.outcome.result)
    }
}

/// What became of a probe on its way out, in a word of the output.
pub(crate) const fn outcome_name(result: TxResult) -> &'static str {
    match result {
        TxResult::Complete => "stamped",
        TxResult::HardwareSkipped => "hardware_skipped",
        TxResult::Refused { .. } => "refused",
        _ => "missing",
    }
}

/// Why a stamp of it is missing, likewise.
pub(crate) const fn reason_name(result: TxResult) -> Option<&'static str> {
    match result {
        TxResult::Missing(MissingReason::DeadlinePassed) => Some("deadline_passed"),
        TxResult::Missing(MissingReason::QueueOverflowed) => Some("queue_overflowed"),
        TxResult::Missing(MissingReason::LinkDown) => Some("link_down"),
        TxResult::Missing(MissingReason::Ambiguous) => Some("ambiguous"),
        TxResult::Missing(MissingReason::Finished) => Some("finished"),
        _ => None,
    }
}

/// A probe that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rx {
    pub(crate) probe: u64,
    pub(crate) software: Option<SystemStamp>,
    pub(crate) hardware: Option<HardwareStamp>,
    /// Read in user space right after the receive.
    pub(crate) userspace: SystemStamp,
}

impl Rx {
    /// How long the probe took from the kernel's stamp to user space, in nanoseconds.
    pub(crate) fn delay_nanos(&self) -> Option<i64> {
        self.software.map(|software| self.userspace.nanos_since(software))
    }
}
