//! The ways in which frames can be moved: what is compared with what.

use serde::{Deserialize, Serialize};

/// What a contender does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sends frames.
    Send,
    /// Receives frames.
    Receive,
    /// Sends frames and reads back when they were sent.
    Stamp,
}

/// How a contender does it. Contenders are compared with the bare system calls that go the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// One system call for each frame.
    Send,
    /// The same, past the queueing discipline.
    SendBypass,
    /// `sendmmsg` of 64 frames.
    SendBatch,
    /// The same, past the queueing discipline.
    SendBatchBypass,
    /// A `TPACKET_V2` ring, 64 slots for each system call.
    TxRing,
    /// The same, past the queueing discipline.
    TxRingBypass,
    /// Large frames that the kernel cuts into UDP datagrams.
    Segments,
    /// One system call for each frame, with stamp and all other metadata.
    Recv,
    /// The same with the stamp alone.
    RecvStampOnly,
    /// The same as [`Way::Recv`] on a socket that does not block, so that a wait can be ended by others.
    RecvPolled,
    /// The same as [`Way::Recv`], by a task on an asynchronous runtime of one thread.
    RecvAsync,
    /// `recvmmsg` of up to 64 frames, with stamps and all other metadata.
    RecvBatch,
    /// The same with the stamps alone.
    RecvBatchStampOnly,
    /// A `TPACKET_V3` ring.
    RingByBlock,
    /// A `TPACKET_V2` ring, waiting with `poll`.
    RingByFrame,
    /// A `TPACKET_V2` ring, looked at without end.
    RingSpinning,
    /// The same, without stamps: a frame has the time at which the kernel copied it into the ring.
    RingSpinningUnstamped,
    /// One frame is sent with a key, its stamp read, and so on.
    StampEach,
    /// The same without a key: the stamp comes with the kernel's count of frames.
    StampEachCounted,
    /// 64 frames are sent with keys, 64 stamps read, and so on.
    StampBatch,
    /// The same without keys.
    StampBatchCounted,
    /// The same as [`Way::StampBatch`], past the queueing discipline.
    StampBatchBypass,
}

impl Way {
    /// What a reader of the report sees.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::SendBypass => "send, qdisc bypass",
            Self::SendBatch => "batches of 64",
            Self::SendBatchBypass => "batches of 64, qdisc bypass",
            Self::TxRing => "TX ring",
            Self::TxRingBypass => "TX ring, qdisc bypass",
            Self::Segments => "GSO, cut by the kernel",
            Self::Recv => "recv",
            Self::RecvStampOnly => "recv, stamp only",
            Self::RecvPolled => "recv, non-blocking and poll",
            Self::RecvAsync => "recv, async",
            Self::RecvBatch => "batches of up to 64",
            Self::RecvBatchStampOnly => "batches of up to 64, stamps only",
            Self::RingByBlock => "V3 ring",
            Self::RingByFrame => "V2 ring",
            Self::RingSpinning => "V2 ring, busy-polling",
            Self::RingSpinningUnstamped => "V2 ring, busy-polling, from the copy",
            Self::StampEach => "one by one",
            Self::StampEachCounted => "one by one, counted",
            Self::StampBatch => "batches of 64",
            Self::StampBatchCounted => "batches of 64, counted",
            Self::StampBatchBypass => "batches of 64, qdisc bypass",
        }
    }

    /// What a contender does that goes this way.
    pub const fn role(self) -> Role {
        match self {
            Self::Send
            | Self::SendBypass
            | Self::SendBatch
            | Self::SendBatchBypass
            | Self::TxRing
            | Self::TxRingBypass
            | Self::Segments => Role::Send,
            Self::Recv
            | Self::RecvStampOnly
            | Self::RecvPolled
            | Self::RecvAsync
            | Self::RecvBatch
            | Self::RecvBatchStampOnly
            | Self::RingByBlock
            | Self::RingByFrame
            | Self::RingSpinning
            | Self::RingSpinningUnstamped => Role::Receive,
            Self::StampEach
            | Self::StampEachCounted
            | Self::StampBatch
            | Self::StampBatchCounted
            | Self::StampBatchBypass => Role::Stamp,
        }
    }

    /// Whether frames are received through memory that the kernel shares.
    pub const fn is_receive_ring(self) -> bool {
        matches!(self, Self::RingByBlock | Self::RingByFrame) || self.spins()
    }

    /// Whether a processor is kept busy with waiting.
    pub const fn spins(self) -> bool {
        matches!(self, Self::RingSpinning | Self::RingSpinningUnstamped)
    }

    /// The way of the bare system calls that this one is compared with.
    pub const fn reference(self) -> Self {
        match self {
            Self::RecvStampOnly | Self::RecvPolled | Self::RecvAsync => Self::Recv,
            Self::RecvBatchStampOnly => Self::RecvBatch,
            Self::StampBatchCounted => Self::StampBatch,
            other => other,
        }
    }
}
