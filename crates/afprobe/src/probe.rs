//! What is told of a probe: by the threads that send and receive, to the session that counts and the report that prints.

use fast_afpacket::{HardwareStamp, SystemStamp};

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
    /// Read in user space right before the send.
    pub(crate) userspace: SystemStamp,
    pub(crate) scheduled: Option<SystemStamp>,
    pub(crate) software: Option<SystemStamp>,
    pub(crate) hardware: Option<HardwareStamp>,
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was sent, and the software stamp that says when has come.
    Stamped,
    /// The kernel took it, and no such stamp came in time.
    Missing,
    /// The kernel did not take it.
    Refused,
}

impl Outcome {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stamped => "stamped",
            Self::Missing => "missing",
            Self::Refused => "refused",
        }
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
