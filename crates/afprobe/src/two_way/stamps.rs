//! What is told of a probe that goes there and back: the stamps of the four points of its way, as they become known.
//!
//! ```text
//!              sender                                    reflector
//!   T1  user → scheduled → software → hardware  ═══════▶  hardware → software → user  T2
//!   T4  user ← software ← hardware  ◀═══════  hardware ← software ← scheduled ← user  T3
//! ```
//!
//! None of it comes in order. The stamps of T1 exist after the probe has left, and its reply may be here before them. Those
//! of T3 exist after the reply has left, and travel in a later one. [`Joiner`](super::join::Joiner) makes a [`Probe`] of it.

use std::time::Duration;

use fast_afpacket::{HardwareStamp, SystemStamp, Timestamping, TxOutcome, TxResult};

/// The stamps of one frame at one point of its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamps {
    /// T1 and T3: read right before the send. T2 and T4: right after the receive.
    pub(crate) userspace: Option<SystemStamp>,
    /// T1 and T3 only.
    pub(crate) scheduled: Option<SystemStamp>,
    pub(crate) software: Option<SystemStamp>,
    pub(crate) hardware: Option<HardwareStamp>,
    /// What the system clock of the same host showed at the hardware stamp, if that is known.
    pub(crate) hardware_in_system: Option<InSystem>,
}

/// A stamp of another clock on the system clock, and how far it may be off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InSystem {
    pub(crate) stamp: SystemStamp,
    pub(crate) bound: Duration,
}

impl Stamps {
    pub(crate) const NONE: Self =
        Self { userspace: None, scheduled: None, software: None, hardware: None, hardware_in_system: None };

    /// These, and where there is none, the other's.
    #[must_use]
    pub(crate) fn or(self, other: Self) -> Self {
        // The conversion belongs to the hardware stamp that is kept.
        let hardware = if self.hardware.is_some() { self } else { other };
        Self {
            userspace: self.userspace.or(other.userspace),
            scheduled: self.scheduled.or(other.scheduled),
            software: self.software.or(other.software),
            hardware: hardware.hardware,
            hardware_in_system: self.hardware_in_system.or(hardware.hardware_in_system),
        }
    }
}

impl From<&TxOutcome> for Stamps {
    /// T1 or T3 of a frame that was sent. Its hardware stamp is not converted.
    fn from(outcome: &TxOutcome) -> Self {
        Self {
            userspace: Some(outcome.before),
            scheduled: outcome.scheduled,
            software: outcome.software,
            hardware: outcome.hardware,
            hardware_in_system: None,
        }
    }
}

/// What the IP header of a frame said when it arrived, as far as its receiver tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// Time to live, or hop limit.
    pub(crate) ttl: Option<u8>,
    pub(crate) dscp: Option<u8>,
    pub(crate) ecn: Option<u8>,
}

/// One thing that became known. They may come in any order, more than once, and of probes that were never sent.
///
/// The sender counts its probes in 64 bits. Numbers on the wire have 32: the joiner finds out which probe is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observation {
    /// What became of a probe on its way out. Once for each probe, also for one that the kernel refused.
    Sent {
        seq: u64,
        t1: Stamps,
        /// The kernel stamps that were expected of it.
        expected: Timestamping,
        result: TxResult,
        /// When it should have been sent, on the clock of `t1.userspace`.
        due: Option<SystemStamp>,
    },
    /// A reply was received.
    Reply(Reply),
    /// The reflector says later what it could not know when it sent a reply.
    FollowUp { seq: u32, reflected_as: Option<u32>, t3: Stamps },
    /// The reflector's counts of this session.
    Counts(ReflectorCounts),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The probe that it answers.
    pub(crate) seq: u32,
    /// The last probe that the sender had begun to send when the reply was received: none that is newer can be meant.
    pub(crate) newest: u64,
    /// The reflector's own number of this reply. `None` if it does not count: then it says the probe's.
    pub(crate) reflected_as: Option<u32>,
    pub(crate) t2: Stamps,
    /// What the reply itself says; the rest may follow.
    pub(crate) t3: Stamps,
    pub(crate) t4: Stamps,
    /// Whether more of T3 is to be expected, in a later reply.
    pub(crate) follow_up: bool,
    /// The probe as it arrived at the reflector.
    pub(crate) forward: Header,
    /// The reply as it arrived here.
    pub(crate) backward: Header,
}

/// What the reflector has counted of this session; each number only if it tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReflectorCounts {
    /// When this was counted: as this reply was sent. `None` if it was asked for at the end, when no probe was under way
    /// any more; only then is the difference between sent and received a loss for certain.
    pub(crate) as_of: Option<u32>,
    /// Probes, duplicates included.
    pub(crate) received: Option<u64>,
    /// Probes, each counted once.
    pub(crate) unique: Option<u64>,
    /// Probes that came again: `received` − `unique`.
    pub(crate) duplicates: Option<u64>,
    /// Probes, each counted once, with a lower number than one before (RFC 4737, 4.1).
    pub(crate) reordered: Option<u64>,
    /// Replies.
    pub(crate) sent: Option<u64>,
}

/// A probe of which all is known that will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// Its number, counted in 64 bits.
    pub(crate) seq: u64,
    pub(crate) fate: Fate,
    /// The stamps of T1 that were expected.
    pub(crate) expected: Timestamping,
    pub(crate) result: TxResult,
    pub(crate) due: Option<SystemStamp>,
    pub(crate) t1: Stamps,
    pub(crate) t2: Option<Stamps>,
    /// Also without a reply, if the reflector said later that it had sent one.
    pub(crate) t3: Option<Stamps>,
    pub(crate) t4: Option<Stamps>,
    /// The probe as it arrived at the reflector.
    pub(crate) forward: Header,
    /// Its reply as it arrived here.
    pub(crate) backward: Header,
}

#[cfg(test)]
impl Probe {
    /// One that was answered, with these stamps.
    pub(super) fn answered([t1, t2, t3, t4]: [Stamps; 4]) -> Self {
        Self {
            seq: 1,
            fate: Fate::Answered,
            expected: Timestamping::empty(),
            result: TxResult::Complete,
            due: None,
            t1,
            t2: Some(t2),
            t3: Some(t3),
            t4: Some(t4),
            forward: Header::default(),
            backward: Header::default(),
        }
    }
}

/// What became of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Answered,
    /// Answered, after its time was up. A reply that comes when the probe has been told of as lost is counted as late, too.
    Late,
    /// Not answered, and nothing is known of where it was lost.
    Lost,
    /// The reflector answered it; the reply was lost.
    LostBackward,
    /// The kernel did not take it.
    Refused,
}

impl Fate {
    /// In a word of the output.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Late => "late",
            Self::Lost => "lost",
            Self::LostBackward => "lost_backward",
            Self::Refused => "refused",
        }
    }
}
