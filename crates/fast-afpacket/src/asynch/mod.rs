//! The same sockets and receive rings for tasks of tokio: feature `tokio`.
//!
//! # How a task waits
//!
//! A call tries first and waits only when the kernel has nothing for it. All that it does is an *attempt*, one of the
//! `try_` calls, which never waits; between two attempts nothing is under way. That is why a future can be dropped at any
//! point: either it was never polled to its end and has taken nothing, or it has returned what it took.
//!
//! What it waits with are descriptors of our own, one for each direction, made when somebody waits for the first time:
//!
//! * For frames, a duplicate of the receiving descriptor, registered for readability *and* errors. An interface that goes
//!   down is an error condition without anything to read, which does not make a descriptor "readable" to tokio.
//! * For room to send and for TX stamps, a private epoll instance each, edge-triggered, that watches the socket for
//!   just that; the instance is what tokio watches, for readability. Watched directly, a socket with one unread TX stamp
//!   would be "closed for writing" to tokio from then on, which is ready and cannot be cleared: a sender that waits for room
//!   tries again without end.
//!
//! No edge is ever taken out of such an instance: it stays in its list, and each later event of the socket wakes whoever
//! watches the instance anew. To take it would be to take it from another task that waits for the same thing.
//!
//! What other calls of the same socket have to say, [`wait::tasks`](crate::wait) passes on: that it was closed, that the
//! interface is gone, or that another call has read the kernel's one report that the link went down.
//!
//! # How it is closed
//!
//! Closing a packet socket waits for all processors to leave the kernel's receive path: milliseconds. A thread that is made for
//! it does that ([`Elsewhere`](crate::sys::elsewhere)), which also works without a runtime or while one ends. The descriptors
//! above are closed first: who closes the last one of a socket waits.

mod attempt;
mod ring;
mod socket;
mod source;

use std::io;

use tokio::runtime::Handle;

pub use ring::AsyncRxRing;
pub use socket::AsyncPacketSocket;

/// The runtime that this is called in.
fn runtime() -> io::Result<Handle> {
    Handle::try_current().map_err(io::Error::other)
}
