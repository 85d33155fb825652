//! Transmit rings: memory in which frames are made, and from which the kernel sends them.

mod control;
mod error;
mod fill;
mod flush;
mod lifecycle;
mod open;
mod queue;
mod slot;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use crate::batch::TxReportBatch;
use crate::bound::Bound;
use crate::error::{Context, Error, Step};
use crate::frame_limit::FrameLimit;
use crate::granted::Granted;
use crate::interface::Interface;
use crate::link::Link;
use crate::stamp_reader::StampReader;
use crate::stamping::Stamping;
use crate::stats::{Counters, Stats};
use crate::sys::tx_slots::TxSlots;
use crate::tx_keys::Situation;
use crate::tx_report::TxReport;
use crate::wait::{Patience, Target, Waiting, Waits};
use queue::Queue;

pub use control::TxRingControl;
pub use error::{FlushError, RefusedFrame};
pub use slot::TxSlot;

/// A transmit ring: frames are made in memory that the kernel sends from, and handed over many at a time.
///
/// Made by [`Options::tx_ring`](crate::Options::tx_ring). [`next_slot`](Self::next_slot) lends room for a frame,
/// [`TxSlot::commit`] ends it, [`flush`](Self::flush) hands over all that were committed.
///
/// ```no_run
/// use fast_afpacket::{Interface, PacketSocket, RingShape};
///
/// let mut ring = PacketSocket::options().tx_ring(&Interface::by_name("eth1")?, RingShape::transmit())?;
/// for number in 0..64_u32 {
///     let mut slot = ring.next_slot()?;
///     slot[..14].copy_from_slice(&[0xff; 14]);
///     slot[14..18].copy_from_slice(&number.to_be_bytes());
///     slot[18..60].fill(0);
///     slot.commit(60)?;
/// }
/// ring.flush()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # When it is the better choice
///
/// Seldom. [`PacketSocket::send_batch`](crate::PacketSocket::send_batch) is simpler, takes the caller's keys to the kernel, and
/// is faster for frames of ordinary size. Measured side by side (the benchmark's report of 25 November 2026: Linux 6.18, veth,
/// 64 frames to a call), a frame from the ring takes 1.08 times the processor time that it takes with `send_batch` if it has 64
/// bytes, and 1.09 times if it has 1,514. With a [`flush`](Self::flush) for each frame it takes more than with
/// [`send`](crate::PacketSocket::send).
///
/// The ring spares the copy into the kernel. But the kernel builds a buffer of pages for each frame, which costs more than
/// copying 1,514 bytes does; and a frame that is received on the same machine is copied after all.
///
/// # Stamps
///
/// A frame that is committed with a key asks for stamps; [`recv_tx`](Self::recv_tx) returns them. The kernel would take one
/// key for a call, not one for each frame of it: so stamps are matched by the kernel's count of frames, as on a socket
/// before Linux 6.13. A stamp that cannot be attributed beyond doubt is counted ([`Stats::unattributed`]) and never given
/// a wrong key. As on a socket the kernel keeps 255 unread stamps at the default size of the receive buffer, and loses
/// later ones without a word.
///
/// # One slot at a time
///
/// One thread at a time fills one slot at a time, which the borrow checker sees to:
///
/// ```compile_fail,E0499
/// # fn example(ring: &mut fast_afpacket::TxRing) -> std::io::Result<()> {
/// let first = ring.next_slot()?;
/// let second = ring.next_slot()?; // the same memory: does not compile
/// first.commit(60)
/// # }
/// ```
///
/// ```compile_fail,E0499
/// # fn example(ring: &mut fast_afpacket::TxRing) -> std::io::Result<()> {
/// let slot = ring.next_slot()?;
/// ring.flush()?; // the slot is still being filled: does not compile
/// slot.commit(60)
/// # }
/// ```
///
/// Other threads end its waits, close it and read its stamps through [`control`](Self::control).
///
/// # When it is dropped
///
/// Frames that were handed over go on; those that were committed and not handed over are gone.
///
/// # When the interface goes down, or away
///
/// [`flush`](Self::flush) says `ENETDOWN` for as long as it is down. The frames stay in the ring, and can be handed over once
/// it is up again. Once it is removed, it is `ENODEV`, until the ring is [rebound](Self::rebind) to the interface that was made
/// again under that name. With [`Options::follow_name`](crate::Options::follow_name) `flush` looks for it by itself, and
/// says `ENETDOWN` until then.
#[doc(alias("PACKET_TX_RING", "PACKET_MMAP"))]
pub struct TxRing {
    // The order matters: a socket whose memory is still mapped lives on when it is closed.
    slots: TxSlots,
    queue: Queue,
    /// How many frames one call may hand over: fewer after one was refused.
    most_at_once: usize,
    shared: Arc<Shared>,
}

/// What a ring's sender and those who control it have in common.
struct Shared {
    socket: OwnedFd,
    stamping: Stamping,
    frame_limit: FrameLimit,
    waits: Waits,
    counters: Counters,
    /// Last, as a NIC is given back last.
    bound: Bound,
}

impl Shared {
    fn link(&self) -> Link<'_> {
        Link { owner: self, waits: &self.waits }
    }

    /// Waits until the kernel has let go of a frame.
    #[cold]
    fn wait_for_room<'a>(&'a self, waiting: &mut Option<Waiting<'a>>) -> io::Result<()> {
        self.link().park(waiting, Patience::Deadline, || {
            // Edges: the kernel takes the socket for writable if it has room in the send buffer or if the slot that it
            // looks at is free, neither of which need be what is waited for.
            let target =
                Target { fd: self.socket.as_fd(), events: libc::POLLOUT, edge_triggered: true, errors_of: None };
            self.waits.send.begin(&self.waits, Patience::Deadline, target)
        })
    }

    /// An error that may say that the interface is gone.
    #[cold]
    fn concerning_link(&self, error: io::Error) -> io::Error {
        match error.raw_os_error() {
            Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV) => self.link().gone_or(error),
            _ => error,
        }
    }

    #[cold]
    fn situation(&self) -> Situation {
        let max_len = self.frame_limit.max_len(self.socket.as_fd(), &self.bound);
        Situation { max_len, is_up: self.link().is_up() }
    }

    fn stamp_reader(&self) -> StampReader<'_> {
        let Self { stamping, counters, .. } = self;
        StampReader { tx: self.socket.as_fd(), errors_of: None, link: self.link(), stamping, counters }
    }

    fn recv_tx(&self, buf: &mut [u8]) -> io::Result<TxReport> {
        loop {
            if let Some(report) = self.stamp_reader().read(buf, &self.waits.tx_stamp, Patience::Deadline)? {
                return Ok(report);
            }
        }
    }

    fn recv_tx_batch(&self, batch: &mut TxReportBatch) -> io::Result<usize> {
        self.stamp_reader().read_batch(batch, &self.waits.tx_stamp, Patience::Deadline)
    }

    fn stats(&self) -> Result<Stats, Error> {
        self.counters.read(self.socket.as_fd()).during(Step::Statistics, &self.bound.name())
    }
}

/// The stamps of sent frames.
impl TxRing {
    /// Returns a stamp of a frame that was committed with a key: [`PacketSocket::recv_tx`](crate::PacketSocket::recv_tx).
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` when the TX-stamp deadline has passed, `EAGAIN` when no stamp is there and the ring is non-blocking,
    /// `ENETDOWN` when it waits while the interface is down, `ENODEV` when it is gone, `ECONNABORTED` after
    /// [`close`](Self::close), [`InvalidInput`](io::ErrorKind::InvalidInput) if no TX stamps were asked for,
    /// [`InvalidData`](io::ErrorKind::InvalidData) for a report that cannot be trusted: that one is lost.
    #[doc(alias("RecvTxTimestamps", "MSG_ERRQUEUE"))]
    pub fn recv_tx(&self, buf: &mut [u8]) -> io::Result<TxReport> {
        self.shared.recv_tx(buf)
    }

    /// Reads as many stamps as are there and as `batch` has room for, in one system call; waits only for the first:
    /// [`PacketSocket::recv_tx_batch`](crate::PacketSocket::recv_tx_batch). Returns how many, at least one.
    ///
    /// # Errors
    ///
    /// Those of [`recv_tx`](Self::recv_tx) but [`InvalidData`](io::ErrorKind::InvalidData): a report that cannot be trusted is
    /// left out and counted, [`Stats::malformed`].
    #[doc(alias("recvmmsg", "MSG_ERRQUEUE"))]
    pub fn recv_tx_batch(&self, batch: &mut TxReportBatch) -> io::Result<usize> {
        self.shared.recv_tx_batch(batch)
    }

    /// Whether there is no room for one more unread stamp. The kernel loses those that come then, and does not say so.
    ///
    /// # Errors
    ///
    /// None are known.
    #[doc(alias = "SO_MEMINFO")]
    pub fn is_tx_queue_full(&self) -> io::Result<bool> {
        self.shared.stamp_reader().is_queue_full()
    }
}

/// Its life and its deadlines.
impl TxRing {
    /// A handle for other threads.
    pub fn control(&self) -> TxRingControl {
        TxRingControl::new(Arc::downgrade(&self.shared), self.interface().clone())
    }

    /// Makes every later call fail with `ECONNABORTED`; for one that waits, use [`control`](Self::control).
    #[doc(alias = "Close")]
    pub fn close(&self) {
        self.shared.waits.close();
    }

    /// Sets until when [`next_slot`](Self::next_slot) and [`flush`](Self::flush) wait; `None` is for ever.
    #[doc(alias("SetWriteDeadline", "SO_SNDTIMEO"))]
    pub fn set_write_deadline(&self, deadline: Option<Instant>) {
        self.shared.waits.send.set_deadline(deadline);
    }

    /// Sets until when [`recv_tx`](Self::recv_tx) waits; `None` is for ever.
    pub fn set_tx_deadline(&self, deadline: Option<Instant>) {
        self.shared.waits.tx_stamp.set_deadline(deadline);
    }

    /// Makes calls fail with `EAGAIN` instead of waiting, or wait again. Deadlines do not count meanwhile.
    #[doc(alias = "O_NONBLOCK")]
    pub fn set_nonblocking(&self, nonblocking: bool) {
        self.shared.waits.set_nonblocking(nonblocking);
    }

    /// What was counted since the ring was opened: of [`Stats`], that is what concerns the stamps of sent frames.
    ///
    /// # Errors
    ///
    /// None are known.
    pub fn stats(&self) -> Result<Stats, Error> {
        self.shared.stats()
    }

    /// What the kernel agreed to: when the ring was opened, or when it was last [rebound](Self::rebind).
    pub fn granted(&self) -> Granted {
        self.shared.bound.belongings().granted
    }

    /// The interface that the ring was opened on, with the name that it had then.
    pub fn interface(&self) -> &Interface {
        self.shared.bound.opened_on()
    }

    /// How many slots the ring has.
    #[doc(alias = "tp_frame_nr")]
    pub const fn slots(&self) -> usize {
        self.slots.count()
    }

    /// How many bytes a frame may have to fit into a slot. The link may take fewer.
    #[doc(alias = "tp_frame_size")]
    pub const fn slot_len(&self) -> usize {
        self.slots.capacity()
    }
}

/// Those who wait through a [`TxRingControl`] hold the socket until they are woken.
impl Drop for TxRing {
    fn drop(&mut self) {
        self.shared.waits.close();
    }
}

/// The descriptor of the ring's socket, to poll: its error condition says that there are stamps. Do not send through it:
/// that would send the ring's frames.
impl AsFd for TxRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.socket.as_fd()
    }
}

impl fmt::Debug for TxRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxRing")
            .field("interface", self.interface())
            .field("socket", &self.shared.socket)
            .field("slots", &self.slots.count())
            .field("committed", &self.queue.len())
            .finish_non_exhaustive()
    }
}
