//! What can be asked of the link under a socket or a ring.

#[cfg(doc)]
use crate::{Options, PacketSocket, TxRing};

/// The state of the interface that a socket or ring is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[doc(alias("IFF_UP", "IFF_RUNNING"))]
pub enum LinkState {
    /// Up, with a carrier.
    Up,
    /// Up, without a carrier. No call fails for that: the kernel accepts frames and throws them away. It notices a carrier
    /// that comes or goes up to a second late.
    NoCarrier,
    /// Set down. Sending fails with `ENETDOWN`; frames are received again as soon as it is up.
    Down,
    /// Removed, or moved to another network namespace. The socket is bound to nothing, until it is
    /// [rebound](PacketSocket::rebind).
    #[doc(alias = "RTM_DELLINK")]
    Gone(Departure),
}

impl LinkState {
    /// Whether there is no interface any more.
    pub const fn is_gone(self) -> bool {
        matches!(self, Self::Gone(_))
    }
}

/// Where an interface went that is gone.
///
/// A socket cannot tell: to it, both are the same. The kernel announces which it is at that moment, to those who listen
/// (rtnetlink(7)), and a socket listens while its link is down: from the call on that says `ENETDOWN`. So it is known of an
/// interface that was down before, and as a rule of one that goes away while a call waits to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Departure {
    /// Removed.
    Removed,
    /// Moved to another network namespace, where it has perhaps another index and name.
    #[doc(alias("IFLA_NEW_NETNSID", "IFLA_NET_NS_FD"))]
    Moved,
    /// Nobody was listening: no call had read that it went down, or the one that did was late, or came from a thread in
    /// another network namespace. Always for a [`TxRing`], and before Linux 5.14.
    Unknown,
}

/// How often the link under a socket or ring has changed since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkChanges {
    /// How often the kernel has reported that the link went down, and a call has read it. If it goes down again before
    /// anybody has read that it did, that is one report. Always 0 for a [`TxRing`], whom the kernel tells nothing.
    pub downs: u64,
    /// How often the socket was bound to an interface that was made again under the same name: by
    /// [`rebind`](PacketSocket::rebind), or by itself ([`Options::follow_name`]).
    pub returns: u64,
}
