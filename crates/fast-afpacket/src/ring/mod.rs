//! Receive rings: memory that the kernel fills with frames and lends, in blocks or one by one.

mod block;
mod control;
mod frame;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod lifecycle;
#[cfg(test)]
mod made;
mod next;
mod open;
mod shape;
mod slot;
#[cfg(feature = "tokio")]
mod task;
mod walk;

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use crate::bound::Bound;
use crate::error::{Context, Error, Step};
use crate::granted::Granted;
use crate::interface::Interface;
use crate::link::Link;
use crate::stats::{Counters, Stats};
use crate::sys::mmap::SharedRing;
use crate::sys::sockopt;
use crate::timestamp::Timestamping;
use crate::wait::{Patience, Target, Waiting, Waits};
use lifecycle::Remake;

pub use block::Block;
pub use control::RingControl;
pub use frame::Frame;
pub use shape::{ByBlock, ByFrame, RingShape};
pub(crate) use shape::{Request, Way};
pub use slot::HeldFrame;
pub use walk::Frames;

/// A receive ring: frames are read where the kernel put them, with no system call and no copy for each.
///
/// Made by [`Options::rx_ring`](crate::Options::rx_ring), in one of two kinds: by block for throughput
/// ([`next_block`](Self::next_block)), by frame for latency ([`next_frame`](Self::next_frame)).
///
/// One reader at a time holds one block or frame at a time, which the borrow checker sees to:
///
/// ```compile_fail,E0499
/// # fn example(ring: &mut fast_afpacket::RxRing) -> std::io::Result<()> {
/// let first = ring.next_block()?;
/// let second = ring.next_block()?; // the first is still held: does not compile
/// println!("{first:?}");
/// # Ok(())
/// # }
/// ```
///
/// and what is held does not outlive the ring:
///
/// ```compile_fail,E0505
/// # fn example(mut ring: fast_afpacket::RxRing) -> std::io::Result<()> {
/// let block = ring.next_block()?;
/// drop(ring);
/// println!("{block:?}"); // the memory is gone: does not compile
/// # Ok(())
/// # }
/// ```
///
/// ```compile_fail,E0505
/// # fn example(mut ring: fast_afpacket::RxRing<fast_afpacket::ByFrame>) -> std::io::Result<()> {
/// let frame = ring.next_frame()?;
/// drop(ring);
/// println!("{frame:?}"); // likewise
/// # Ok(())
/// # }
/// ```
///
/// A ring of blocks has no single frames to give:
///
/// ```compile_fail,E0599
/// # fn example(ring: &mut fast_afpacket::RxRing) {
/// let frame = ring.next_frame();
/// # }
/// ```
///
/// Other threads end its waits, close it and read its counts through [`control`](Self::control).
///
/// # When it is full
///
/// The kernel drops what does not fit and counts it, [`Stats::dropped`]; frames in the ring stay. A ring of blocks that
/// is full stops until a block is given back, [`Stats::freezes`].
///
/// # When the interface goes down, or away
///
/// As with a [`PacketSocket`](crate::PacketSocket): what was received can be read; then one call fails with `ENETDOWN`,
/// and the ring goes on when the interface is up again ([`link_state`](Self::link_state)). Once it is removed, every call
/// fails with `ENODEV`, until the ring is [rebound](Self::rebind) to the interface that was made again under that name. A ring
/// that [follows the name](crate::Options::follow_name) waits for it, and goes on by itself.
#[doc(alias("PACKET_RX_RING", "PACKET_MMAP"))]
pub struct RxRing<K = ByBlock> {
    // The order matters: a socket whose memory is still mapped lives on when it is closed.
    ring: SharedRing,
    shared: Arc<Shared>,
    /// Calls in a row that found nothing.
    empty_tries: u32,
    _kind: PhantomData<fn() -> K>,
}

/// What a ring's reader and those that control it have in common.
struct Shared {
    socket: OwnedFd,
    /// The stamps that were granted when the ring was opened.
    stamps: Timestamping,
    waits: Waits,
    counters: Counters,
    /// Whether the socket is a member of a fanout group.
    is_member: bool,
    remake: Remake,
    /// Last, as a NIC is given back last.
    bound: Bound,
}

impl Shared {
    fn link(&self) -> Link<'_> {
        Link { owner: self, waits: &self.waits }
    }

    /// Takes the kernel's report that the link went down, if there is one.
    fn take_link_report(&self) -> io::Result<()> {
        match sockopt::take_error(self.socket.as_fd())? {
            None => Ok(()),
            Some(error) if error.raw_os_error() == Some(libc::ENETDOWN) => Err(self.link().down(error, false)),
            Some(error) => Err(error),
        }
    }

    /// Nothing is there: waits, or says why not.
    #[cold]
    fn wait<'a>(&'a self, patience: Patience, waiting: &mut Option<Waiting<'a>>) -> io::Result<()> {
        // A report of the kernel ends a wait, also if it was there before: there is time enough to ask for it then.
        if waiting.is_some() {
            self.take_link_report()?;
        }
        let parked = self.link().park(waiting, patience, || {
            // All units that were read have been given back, in order: the kernel's own look at the ring is right.
            let target =
                Target { fd: self.socket.as_fd(), events: libc::POLLIN, edge_triggered: false, errors_of: None };
            self.waits.receive.begin(&self.waits, patience, target)
        });
        let errno = parked.as_ref().err().and_then(io::Error::raw_os_error);
        if matches!(errno, Some(libc::EAGAIN | libc::ETIMEDOUT)) {
            // It has not waited, or not again.
            self.take_link_report()?;
        }
        parked
    }

    /// Nothing was there for a reader that does not wait: is there ever to be?
    #[cold]
    fn look_after_link(&self) -> io::Result<()> {
        self.take_link_report()?;
        self.link().look_after()?;
        self.waits.check_may_wait()
    }

    fn stats(&self) -> Result<Stats, Error> {
        self.counters.read(self.socket.as_fd()).during(Step::Statistics, &self.bound.name())
    }
}

/// What both kinds have.
impl<K> RxRing<K> {
    fn new(ring: SharedRing, shared: Arc<Shared>) -> Self {
        Self { ring, shared, empty_tries: 0, _kind: PhantomData }
    }

    /// A handle for other threads.
    pub fn control(&self) -> RingControl {
        RingControl::new(Arc::downgrade(&self.shared), self.interface().clone())
    }

    /// Makes every later call fail with `ECONNABORTED`; for one that waits, use [`control`](Self::control).
    #[doc(alias = "Close")]
    pub fn close(&self) {
        self.shared.waits.close();
    }

    /// Sets until when calls wait; `None` is for ever. What is there already is returned also later.
    #[doc(alias("SetReadDeadline", "SO_RCVTIMEO"))]
    pub fn set_read_deadline(&self, deadline: Option<Instant>) {
        self.shared.waits.receive.set_deadline(deadline);
    }

    /// Makes calls fail with `EAGAIN` instead of waiting, or wait again. Deadlines do not count meanwhile.
    ///
    /// To wait with a poller of your own, poll [`as_fd`](AsFd::as_fd) for input and errors after a call has said `EAGAIN`, while
    /// nothing of the ring is held.
    #[doc(alias = "O_NONBLOCK")]
    pub fn set_nonblocking(&self, nonblocking: bool) {
        self.shared.waits.set_nonblocking(nonblocking);
    }

    /// What was received, dropped and so on since the ring was opened.
    ///
    /// [`Stats::received`] includes frames in blocks that have not been read yet. What is found while reading
    /// (unstamped, truncated, malformed frames) is counted when a block is given back.
    ///
    /// # Errors
    ///
    /// None are known.
    #[doc(alias("Stats", "PACKET_STATISTICS", "tpacket_stats_v3"))]
    pub fn stats(&self) -> Result<Stats, Error> {
        self.shared.stats()
    }

    /// What was received, dropped and so on since the last call of this method.
    ///
    /// # Errors
    ///
    /// None are known.
    pub fn take_stats(&self) -> Result<Stats, Error> {
        let Shared { socket, bound, counters, .. } = &*self.shared;
        counters.take(socket.as_fd()).during(Step::Statistics, &bound.name())
    }

    /// What the kernel agreed to: when the ring was opened, or when it was last [rebound](Self::rebind).
    pub fn granted(&self) -> Granted {
        self.shared.bound.belongings().granted
    }

    /// The interface that the ring was opened on, with the name that it had then.
    pub fn interface(&self) -> &Interface {
        self.shared.bound.opened_on()
    }
}

/// The descriptor of the ring's socket, to poll.
impl<K> AsFd for RxRing<K> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.socket.as_fd()
    }
}

impl<K> fmt::Debug for RxRing<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RxRing")
            .field("interface", self.interface())
            .field("socket", &self.shared.socket)
            .field("memory", &self.granted().ring)
            .finish_non_exhaustive()
    }
}
