//! Memory that is shared with the kernel: a transmit ring of version 2, slot by slot.
//!
//! A slot is ours or the kernel's, as its status word says. We fill one that is ours and ask for it to be sent; during
//! a call that hands frames over, and from then on until the frame's last user has let go of it, the kernel reads the
//! slot, and writes to its header. It never writes to the bytes of a frame. [`TxSlots`] lends those bytes only while the
//! slot is ours, so that nobody writes what the kernel may be reading.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};

use super::mapping::{Layout, MapOutcome, Mapping, Place};

/// Where the frame begins in its slot: behind `struct tpacket2_hdr`, aligned. On transmit there is no address in between.
const DATA: usize = size_of::<libc::tpacket2_hdr>();
const _: () = assert!(DATA == 32);

/// Where the header has the length of the frame: `tp_len`.
const LENGTH_AT: usize = 4;

/// Whose a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotState {
    /// Ours. Whatever was in it: that it is free says nothing about whether that was sent.
    Free,
    /// To be sent by the next call that hands frames over.
    Requested,
    /// The kernel's.
    Taken,
    /// The kernel has refused what is in it, and will go no further before that has changed.
    Refused,
}

#[inline]
fn state_in(word: &AtomicU32) -> SlotState {
    // Acquire: pairs with the write barrier before the kernel's store of the status (`tpacket_destruct_skb`,
    // `__packet_set_status`), so that its last reads of the frame come before what we write next.
    let status = word.load(Ordering::Acquire);
    // The kernel may add where a time in the header is from.
    match status & (libc::TP_STATUS_SEND_REQUEST | libc::TP_STATUS_SENDING | libc::TP_STATUS_WRONG_FORMAT) {
        libc::TP_STATUS_AVAILABLE => SlotState::Free,
        libc::TP_STATUS_SEND_REQUEST => SlotState::Requested,
        libc::TP_STATUS_WRONG_FORMAT => SlotState::Refused,
        _ => SlotState::Taken,
    }
}

/// A slot of a [`TxSlots`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(Place);

/// A mapped transmit ring, unmapped when dropped.
pub(crate) struct TxSlots(Mapping);

impl TxSlots {
    /// Maps the transmit ring of this socket, which must have been made with the same layout, with the status at 0.
    ///
    /// Slots without room for a header are `EINVAL`.
    pub(crate) fn map(socket: BorrowedFd<'_>, layout: Layout) -> io::Result<(Self, MapOutcome)> {
        let (mapping, outcome) = Mapping::of(socket, layout)?;
        Ok((Self::of(mapping)?, outcome))
    }

    fn of(mapping: Mapping) -> io::Result<Self> {
        let layout = mapping.layout();
        if layout.status_at != 0 || layout.unit_size <= DATA {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        Ok(Self(mapping))
    }

    /// How many slots there are.
    pub(crate) const fn count(&self) -> usize {
        self.0.layout().units()
    }

    /// How many bytes a frame may have.
    #[inline]
    pub(crate) const fn capacity(&self) -> usize {
        self.0.layout().unit_size - DATA
    }

    /// The slot that the kernel looks at first.
    pub(crate) const fn first(&self) -> Slot {
        Slot(self.0.layout().first())
    }

    /// The slot that the kernel looks at after this one.
    #[inline]
    pub(crate) const fn after(&self, slot: Slot) -> Slot {
        Slot(self.0.layout().next(slot.0))
    }

    /// The status word of a slot; `None` for a slot of another ring that would lie outside of this one.
    #[inline]
    fn word(&self, Slot(place): Slot) -> Option<&AtomicU32> {
        if !self.0.has(place) {
            return None;
        }
        // SAFETY: the unit lies within the mapping: this was just checked. No reference ever covers the header.
        Some(unsafe { self.0.status(place) })
    }

    /// Whose the slot is.
    #[inline]
    pub(crate) fn state(&self, slot: Slot) -> SlotState {
        self.word(slot).map_or(SlotState::Taken, state_in)
    }

    /// The first byte of a slot and its status word, if it is ours, and thus one of this ring.
    #[inline]
    fn free(&self, slot: Slot) -> Option<(NonNull<u8>, &AtomicU32)> {
        let word = self.word(slot).filter(|word| state_in(word) == SlotState::Free)?;
        // SAFETY: the unit lies within the mapping: it has a word.
        Some((unsafe { self.0.unit(slot.0) }, word))
    }

    /// The bytes for a frame, if the slot is ours: what an earlier frame has left there.
    #[inline]
    pub(crate) fn bytes_mut(&mut self, slot: Slot) -> Option<&mut [u8]> {
        let ((unit, _), len) = (self.free(slot)?, self.capacity());
        // SAFETY: `of` made sure that a unit is longer than this.
        let frame = unsafe { unit.add(DATA) };
        // SAFETY: `len` bytes from here are the rest of the unit, mapped and initialized: the kernel hands out zeroed
        // pages. `&mut self` is borrowed for as long as the slice lives, so there is no other reference to them here.
        // The kernel writes to headers only, and reads a slot only once it was asked for, which takes `&mut self` too.
        Some(unsafe { slice::from_raw_parts_mut(frame.as_ptr(), len) })
    }

    /// Copies the first `len` bytes of a frame from one slot to another; `false`, and nothing, unless both are ours.
    pub(crate) fn copy(&mut self, from: Slot, to: Slot, len: usize) -> bool {
        let (Some((from, _)), Some((to, _))) = (self.free(from), self.free(to)) else {
            return false;
        };
        let len = len.min(self.capacity());
        // SAFETY: `of` made sure that a unit is longer than this.
        let from = unsafe { from.add(DATA) };
        // SAFETY: likewise.
        let to = unsafe { to.add(DATA) };
        // SAFETY: both ranges lie in their units, mapped and initialized; `&mut self` excludes references to either, and
        // the kernel writes to neither. Should they overlap: `copy` is right for that.
        unsafe { ptr::copy(from.as_ptr(), to.as_ptr(), len) };
        true
    }

    /// Asks for the first `len` bytes in a slot to be sent as a frame; `false`, and nothing, if the slot is not ours or has
    /// not so many bytes.
    #[inline]
    pub(crate) fn request(&mut self, slot: Slot, len: usize) -> bool {
        let (Some((unit, word)), Ok(length)) = (self.free(slot), u32::try_from(len)) else {
            return false;
        };
        if len > self.capacity() {
            return false;
        }
        // SAFETY: the header lies within the unit: `of` made sure of it.
        let field = unsafe { unit.add(LENGTH_AT) }.cast::<u32>();
        // SAFETY: mapped and aligned, as the unit is; no reference ever covers the header, and the kernel leaves alone a
        // slot that is ours.
        unsafe { field.write(length) };
        // Release: pairs with the kernel's read barrier after it has found the request (`__packet_get_status`), so that
        // it sees the frame and its length.
        word.store(libc::TP_STATUS_SEND_REQUEST, Ordering::Release);
        true
    }

    /// Makes a slot ours again whose frame the kernel has refused or not looked at; leaves alone one that it has taken.
    pub(crate) fn withdraw(&mut self, slot: Slot) {
        let Some(word) = self.word(slot) else {
            return;
        };
        for status in [libc::TP_STATUS_SEND_REQUEST, libc::TP_STATUS_WRONG_FORMAT] {
            // Acquire: as when a status is read; there is nothing to publish. An exchange, should somebody else have made
            // the kernel take the frame meanwhile.
            let _ = word.compare_exchange(status, libc::TP_STATUS_AVAILABLE, Ordering::Acquire, Ordering::Acquire);
        }
    }
}

/// A ring without a kernel, for tests: anonymous memory, and a hand that plays the kernel's part.
#[cfg(test)]
impl TxSlots {
    pub(crate) fn anonymous(layout: Layout) -> io::Result<Self> {
        Self::of(Mapping::anonymous(layout)?)
    }

    /// All slots, in the kernel's order.
    pub(crate) fn all(&self) -> Vec<Slot> {
        std::iter::successors(Some(self.first()), |&slot| Some(self.after(slot))).take(self.count()).collect()
    }

    /// What the kernel would send from a slot.
    pub(crate) fn sent_from(&self, slot: Slot) -> Vec<u8> {
        assert!(self.0.has(slot.0));
        // SAFETY: the unit lies within the mapping: this was just checked.
        let unit = unsafe { self.0.unit(slot.0) };
        // SAFETY: `unit_size` bytes are mapped and initialized; `&self` excludes exclusive references.
        let unit = unsafe { slice::from_raw_parts(unit.as_ptr(), self.0.layout().unit_size) };
        let len = u32::from_ne_bytes(unit[LENGTH_AT..DATA].first_chunk().copied().unwrap());
        unit[DATA..][..usize::try_from(len).unwrap()].to_vec()
    }

    pub(crate) fn set_status(&mut self, slot: Slot, status: u32) {
        self.word(slot).unwrap().store(status, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 4096;
    const LAYOUT: Layout = Layout { block_size: PAGE, blocks: 2, unit_size: 1536, status_at: 0 };

    fn four() -> (TxSlots, [Slot; 4]) {
        let slots = TxSlots::anonymous(LAYOUT).unwrap();
        let all = slots.all().try_into().unwrap();
        (slots, all)
    }

    #[test]
    fn slots_lie_side_by_side_with_slack_behind_them() {
        let (mut slots, all) = four();
        assert_eq!((slots.count(), slots.capacity()), (4, 1504));
        let addresses = all.map(|slot| slots.bytes_mut(slot).unwrap().as_ptr().addr());
        let offsets = addresses.map(|address| address - addresses[0]);
        assert_eq!(offsets, [0, 1536, PAGE, PAGE + 1536], "not at multiples of the slot's size");
        for (slot, byte) in all.into_iter().zip(1..) {
            slots.bytes_mut(slot).unwrap().fill(byte);
        }
        for (slot, byte) in all.into_iter().zip(1..) {
            assert!(slots.request(slot, 1504));
            assert_eq!(slots.sent_from(slot), [byte; 1504]);
        }
        assert_eq!(slots.after(all[3]), all[0], "around");
    }

    #[test]
    fn slots_of_another_ring_are_not_touched() {
        let (mut slots, [first, ..]) = four();
        let larger = TxSlots::anonymous(Layout { blocks: 3, unit_size: 64, ..LAYOUT }).unwrap();
        for outside in [larger.all()[105], larger.all()[128], larger.all()[191]] {
            assert_eq!(slots.state(outside), SlotState::Taken);
            assert!(slots.bytes_mut(outside).is_none() && !slots.request(outside, 1) && !slots.copy(first, outside, 1));
            slots.withdraw(outside);
        }
    }

    #[test]
    fn what_is_not_ours_is_not_touched() {
        let (mut slots, [other, slot, ..]) = four();
        let states = [
            (1, SlotState::Requested),
            (2, SlotState::Taken),
            (2 | 1 << 31, SlotState::Taken),
            (4, SlotState::Refused),
            (6, SlotState::Taken),
            (7, SlotState::Taken),
        ];
        for (status, state) in states {
            slots.set_status(slot, status);
            assert_eq!(slots.state(slot), state);
            assert!(slots.bytes_mut(slot).is_none());
            assert!(!slots.request(slot, 60));
            assert!(!slots.copy(other, slot, 60) && !slots.copy(slot, other, 60));
        }
        // A frame that was sent, with the time when; nothing else can be told apart from a free slot.
        for status in [0, 1 << 29, 1 << 31] {
            slots.set_status(slot, status);
            assert_eq!(slots.state(slot), SlotState::Free);
            assert!(slots.bytes_mut(slot).is_some());
        }
    }

    #[test]
    fn requests_can_be_withdrawn_until_they_are_taken() {
        let (mut slots, [.., slot]) = four();
        for (status, after) in [(1, SlotState::Free), (4, SlotState::Free), (2, SlotState::Taken), (0, SlotState::Free)]
        {
            slots.set_status(slot, status);
            slots.withdraw(slot);
            assert_eq!(slots.state(slot), after, "from {status}");
        }
    }

    #[test]
    fn lengths_are_held_against_the_slot() {
        let (mut slots, [first, .., last]) = four();
        for len in [1505, usize::MAX, u32::MAX as usize] {
            assert!(!slots.request(first, len));
            assert_eq!(slots.state(first), SlotState::Free);
        }
        slots.bytes_mut(first).unwrap().fill(7);
        assert!(slots.copy(first, last, usize::MAX), "cut to the slot");
        assert!(slots.copy(last, last, 60), "to itself");
        assert!(slots.request(last, 1504));
        assert_eq!(slots.sent_from(last), [7; 1504]);
        assert!(TxSlots::anonymous(Layout { unit_size: 32, ..LAYOUT }).is_err(), "no room for a byte");
        assert!(TxSlots::anonymous(Layout { status_at: 8, ..LAYOUT }).is_err());
    }
}
