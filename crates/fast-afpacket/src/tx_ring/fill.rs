//! Filling slots: finding the next one, waiting for it, lending it.

use std::io;

use super::queue::Vacancy;
use super::{TxRing, TxSlot};
use crate::sys::tx_slots::Slot;
use crate::tx_report::TxKey;

/// Filling.
impl TxRing {
    /// Lends the next slot, once the kernel is done with what was in it before.
    ///
    /// Without a system call if the slot is free.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if all slots hold committed frames: then it takes a [`flush`](Self::flush), not a wait. `ETIMEDOUT` when the
    /// write deadline has passed, `EAGAIN` when the ring is non-blocking, `ECONNABORTED` after [`close`](Self::close). No
    /// frame is lost by one.
    #[inline]
    pub fn next_slot(&mut self) -> io::Result<TxSlot<'_>> {
        self.shared.waits.check_open()?;
        let slot = match self.queue.vacancy(&self.slots) {
            Vacancy::Slot(slot) => slot,
            _ => self.wait_for_slot()?,
        };
        self.lend(slot).ok_or_else(not_free_after_all)
    }

    /// Lends the next slot if it is free. Deadlines do not count.
    ///
    /// # Errors
    ///
    /// Those of [`next_slot`](Self::next_slot) but `ETIMEDOUT` and `EAGAIN`.
    #[inline]
    pub fn try_next_slot(&mut self) -> io::Result<Option<TxSlot<'_>>> {
        self.shared.waits.check_open()?;
        match self.queue.vacancy(&self.slots) {
            Vacancy::Slot(slot) => Ok(self.lend(slot)),
            Vacancy::Kernels => Ok(None),
            Vacancy::Full => Err(nothing_but_committed()),
        }
    }

    /// Copies a frame into the next slot and commits it: [`next_slot`](Self::next_slot), [`TxSlot::commit`].
    ///
    /// # Errors
    ///
    /// Those of both.
    pub fn push(&mut self, frame: &[u8]) -> io::Result<()> {
        self.filled(frame)?.commit(frame.len())
    }

    /// Copies a frame into the next slot and commits it with a key: [`next_slot`](Self::next_slot),
    /// [`TxSlot::commit_keyed`].
    ///
    /// # Errors
    ///
    /// Those of both.
    pub fn push_keyed(&mut self, frame: &[u8], key: TxKey) -> io::Result<()> {
        self.filled(frame)?.commit_keyed(frame.len(), key)
    }

    /// How many frames are committed and not handed over.
    pub fn committed(&self) -> usize {
        self.queue.len()
    }

    /// Takes all committed frames out of the ring, unsent. Gives how many.
    pub fn discard(&mut self) -> usize {
        let count = self.queue.len();
        self.queue.clear();
        count
    }

    #[cold]
    fn wait_for_slot(&mut self) -> io::Result<Slot> {
        let mut waiting = None;
        loop {
            self.shared.waits.check_open()?;
            match self.queue.vacancy(&self.slots) {
                Vacancy::Slot(slot) => return Ok(slot),
                Vacancy::Kernels => self.shared.wait_for_room(&mut waiting)?,
                Vacancy::Full => return Err(nothing_but_committed()),
            }
        }
    }

    #[inline]
    fn lend(&mut self, slot: Slot) -> Option<TxSlot<'_>> {
        let Self { slots, queue, shared, .. } = self;
        Some(TxSlot::new(slots.bytes_mut(slot)?, queue, &shared.stamping, slot))
    }

    /// The next slot, with a frame copied into it as far as there is room.
    #[inline]
    fn filled(&mut self, frame: &[u8]) -> io::Result<TxSlot<'_>> {
        let mut slot = self.next_slot()?;
        if let Some(room) = slot.get_mut(..frame.len()) {
            room.copy_from_slice(frame);
        }
        Ok(slot)
    }
}

/// For a slot that was found free a moment ago.
#[cold]
fn not_free_after_all() -> io::Error {
    io::ErrorKind::WouldBlock.into()
}

#[cold]
fn nothing_but_committed() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}
