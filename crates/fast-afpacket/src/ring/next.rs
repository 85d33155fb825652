//! The next block or frame: looking for it, waiting for it, lending it.

use std::io;
#[cfg(doc)]
use std::os::fd::AsFd;

use super::frame::Placed;
use super::walk::Header;
use super::{Block, ByBlock, ByFrame, HeldFrame, RxRing, Shared};
use crate::sys::mmap::SharedRing;
use crate::timestamp::Timestamping;
use crate::wait::Patience;

/// How many polls that find nothing go by before the kernel is asked for the state of the link.
const TRIES_PER_LOOK: u32 = 4096;

impl RxRing<ByBlock> {
    /// Lends the next block, once the kernel has handed it over: full, or after the block time-out.
    ///
    /// Without a system call if a block is there. The block before has been given back, as it must have been dropped.
    ///
    /// # Errors
    ///
    /// Those of [`PacketSocket::recv`](crate::PacketSocket::recv): `ETIMEDOUT`, `EAGAIN`, `ENETDOWN`, `ENODEV`,
    /// `ECONNABORTED`. A block is never lost by one.
    #[inline]
    pub fn next_block(&mut self) -> io::Result<Block<'_>> {
        look_for_block(&mut self.ring, &self.shared, Patience::Deadline)?;
        self.lend_block()
    }

    /// Lends the next block if it is there: for a poller of your own, which polls [`as_fd`](AsFd::as_fd) for input and errors
    /// while no block is held.
    ///
    /// Without a system call if a block is there; otherwise the kernel is asked for the state of the link. Deadlines do not
    /// count.
    ///
    /// # Errors
    ///
    /// Those of [`next_block`](Self::next_block) but `ETIMEDOUT` and `EAGAIN`.
    pub fn try_next_block(&mut self) -> io::Result<Option<Block<'_>>> {
        match look_for_block(&mut self.ring, &self.shared, Patience::None) {
            Ok(()) => self.lend_block().map(Some),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lends a block that was found.
    #[inline]
    pub(super) fn lend_block(&mut self) -> io::Result<Block<'_>> {
        let lent = self.ring.lend().ok_or(io::ErrorKind::WouldBlock)?;
        Ok(Block::new(lent, &self.shared))
    }
}

/// Looks for a block with frames, and waits for one.
#[inline]
pub(super) fn look_for_block(ring: &mut SharedRing, shared: &Shared, patience: Patience) -> io::Result<()> {
    shared.waits.check_open()?;
    match holds_frames(ring) {
        true => Ok(()),
        false => find_block(ring, shared, patience),
    }
}

/// Whether the next block is ours and not empty.
#[inline]
fn holds_frames(ring: &SharedRing) -> bool {
    ring.peek().is_some_and(has_frames)
}

#[inline]
fn has_frames(block: &[u8]) -> bool {
    Header::parse(block).is_some_and(|header| header.frames > 0)
}

/// Waits for a block with frames.
#[cold]
fn find_block(ring: &mut SharedRing, shared: &Shared, patience: Patience) -> io::Result<()> {
    let mut waiting = None;
    shared.change_ring(ring);
    loop {
        // Looked at once: between two looks the kernel may hand it over.
        match ring.peek().map(has_frames) {
            Some(true) => return Ok(()),
            // When a frame is so long that it needs a block of its own, the kernel hands over the one before as it is,
            // perhaps empty: dropping it gives it back.
            Some(false) => drop(ring.lend()),
            None => {
                shared.wait(patience, &mut waiting)?;
                shared.change_ring(ring);
            }
        }
        shared.waits.check_open()?;
    }
}

impl RxRing<ByFrame> {
    /// Lends the next frame, once there is one.
    ///
    /// Without a system call if a frame is there.
    ///
    /// # Errors
    ///
    /// Those of [`PacketSocket::recv`](crate::PacketSocket::recv): `ETIMEDOUT`, `EAGAIN`, `ENETDOWN`, `ENODEV`,
    /// `ECONNABORTED`. A frame is never lost by one.
    #[inline]
    pub fn next_frame(&mut self) -> io::Result<HeldFrame<'_>> {
        look_for_frame(&mut self.ring, &self.shared, Patience::Deadline)?;
        self.lend_frame()
    }

    /// Lends a frame that was found.
    #[inline]
    pub(super) fn lend_frame(&mut self) -> io::Result<HeldFrame<'_>> {
        self.ring.lend().map(HeldFrame::new).ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    /// Lends the next frame if it is there: for a thread that does nothing but look.
    ///
    /// This is the shortest way from the kernel to a program, at the cost of a processor: looking is reading one word of
    /// memory. Once in 4,096 looks in a row that find nothing, the kernel is asked for the state of the link. Deadlines do
    /// not count.
    ///
    /// ```no_run
    /// # use fast_afpacket::{ByFrame, RxRing};
    /// # fn example(mut ring: RxRing<ByFrame>) -> std::io::Result<()> {
    /// loop {
    ///     match ring.try_next_frame()? {
    ///         Some(frame) => println!("{} bytes", frame.data().len()),
    ///         None => std::hint::spin_loop(),
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`next_frame`](Self::next_frame) but `ETIMEDOUT` and `EAGAIN`.
    #[inline]
    pub fn try_next_frame(&mut self) -> io::Result<Option<HeldFrame<'_>>> {
        let Self { ring, shared, empty_tries, .. } = self;
        shared.waits.check_open()?;
        if !find_frame(ring, shared) {
            *empty_tries += 1;
            if *empty_tries == TRIES_PER_LOOK {
                *empty_tries = 0;
                shared.look_after_link()?;
                shared.change_ring(ring);
            }
            return Ok(None);
        }
        *empty_tries = 0;
        Ok(ring.lend().map(HeldFrame::new))
    }
}

/// Looks for a frame, and waits for one.
#[inline]
pub(super) fn look_for_frame(ring: &mut SharedRing, shared: &Shared, patience: Patience) -> io::Result<()> {
    shared.waits.check_open()?;
    match find_frame(ring, shared) {
        true => Ok(()),
        false => wait_for_frame(ring, shared, patience),
    }
}

/// Whether the current slot holds a frame. Slots that hold none although the kernel says so are counted and given back.
#[inline]
fn find_frame(ring: &mut SharedRing, shared: &Shared) -> bool {
    while let Some(slot) = ring.peek() {
        if let Some(Placed { frame, end }) = Placed::in_slot(slot) {
            if frame.is_truncated() && end >= slot.len() {
                shared.counters.truncated.add(1);
            }
            if !frame.has_stamp() && shared.stamps.intersects(Timestamping::RX) {
                shared.counters.unstamped.add(1);
            }
            return true;
        }
        shared.counters.malformed.add(1);
        drop(ring.lend());
    }
    false
}

/// Waits for a slot with a frame.
#[cold]
fn wait_for_frame(ring: &mut SharedRing, shared: &Shared, patience: Patience) -> io::Result<()> {
    let mut waiting = None;
    shared.change_ring(ring);
    while !find_frame(ring, shared) {
        shared.wait(patience, &mut waiting)?;
        shared.change_ring(ring);
        shared.waits.check_open()?;
    }
    Ok(())
}
