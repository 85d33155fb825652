//! Memory that is shared with the kernel: a receive ring, lent unit by unit.
//!
//! A unit (a block of a version 3 ring, a slot of a version 2 ring) belongs to the kernel or to us, as its status word
//! says. The kernel writes only to its own, and passes them to us in order. [`SharedRing`] stands at one unit, shows its
//! bytes only while it is ours, and gives it back only when nobody can look at them any more: a `&[u8]` never covers
//! memory that the kernel may write.

use std::io;
use std::os::fd::BorrowedFd;
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};

use super::mapping::{MapOutcome, Mapping, Place};

pub(crate) use super::mapping::{Layout, page_size};

/// A mapped receive ring, unmapped when dropped.
pub(crate) struct SharedRing {
    mapping: Mapping,
    /// The current unit: always a place of the mapping's layout.
    at: Place,
}

impl SharedRing {
    /// Maps the receive ring of this socket, which must have been made with the same layout.
    pub(crate) fn map(socket: BorrowedFd<'_>, layout: Layout) -> io::Result<(Self, MapOutcome)> {
        let (mapping, outcome) = Mapping::of(socket, layout)?;
        Ok((Self { mapping, at: layout.first() }, outcome))
    }

    /// The status word of the current unit.
    #[inline]
    fn status(&self) -> &AtomicU32 {
        // SAFETY: the place is of the mapping's layout. A reference that covers the word is there only while the unit is
        // ours, and then the kernel does not write it.
        unsafe { self.mapping.status(self.at) }
    }

    /// Whether the current unit is ours.
    #[inline]
    pub(crate) fn is_ready(&self) -> bool {
        // Acquire: pairs with the write barrier before the kernel's own store of the status (`__packet_set_status`,
        // `prb_flush_block`), so that all that it wrote into the unit before is seen.
        self.status().load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }

    /// The bytes of the current unit.
    ///
    /// # Safety
    ///
    /// The unit is ours: its status was found to be `TP_STATUS_USER` and has not been taken back since.
    #[inline]
    unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: the place is of the mapping's layout.
        let unit = unsafe { self.mapping.unit(self.at) };
        // SAFETY: `unit_size` bytes from here are mapped, and initialized: the kernel hands out zeroed pages. The kernel
        // does not write to a unit of ours until its status is taken back, which needs `&mut self` and thus the end of
        // this borrow.
        unsafe { slice::from_raw_parts(unit.as_ptr(), self.mapping.layout().unit_size) }
    }

    /// The bytes of the current unit, if it is ours.
    #[inline]
    pub(crate) fn peek(&self) -> Option<&[u8]> {
        if !self.is_ready() {
            return None;
        }
        // SAFETY: it was just found to be ours.
        Some(unsafe { self.bytes() })
    }

    /// Borrows the current unit, if it is ours. The unit is given back when the value is dropped; if it is forgotten
    /// instead, the same unit comes again.
    #[inline]
    pub(crate) fn lend(&mut self) -> Option<Lent<'_>> {
        // Not `then_some`: its argument would be made, and dropped, whatever the answer.
        if self.is_ready() { Some(Lent(self)) } else { None }
    }
}

/// One unit that is ours until this is dropped.
pub(crate) struct Lent<'r>(&'r mut SharedRing);

impl Lent<'_> {
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: it was ours when this value was made, and nothing but dropping this value takes the status back: it
        // holds the only reference to the ring.
        unsafe { self.0.bytes() }
    }
}

impl Drop for Lent<'_> {
    #[inline]
    fn drop(&mut self) {
        // Release: pairs with the kernel's read barrier after it has found the unit free (`__packet_get_status`,
        // `prb_dispatch_next_block`), so that all our reads come before what it writes next.
        self.0.status().store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.0.at = self.0.mapping.layout().next(self.0.at);
    }
}

/// A ring without a kernel, for tests and fuzzers: anonymous memory, and a hand that plays the kernel's part.
#[cfg(any(test, fuzzing))]
impl SharedRing {
    pub(crate) fn anonymous(layout: Layout) -> io::Result<Self> {
        Ok(Self { mapping: Mapping::anonymous(layout)?, at: layout.first() })
    }

    /// The first byte.
    #[cfg(fuzzing)]
    pub(crate) const fn base(&self) -> *const u8 {
        self.mapping.base()
    }

    /// Writes a unit as the kernel does: bytes first, the status last.
    pub(crate) fn hand_over(&mut self, at: usize, bytes: &[u8], status: u32) {
        self.mapping.write(at, bytes, status);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 4096;

    #[test]
    fn units_follow_each_other_past_slack_and_around() {
        let layout = Layout { block_size: PAGE, blocks: 2, unit_size: 1536, status_at: 8 };
        let mut ring = SharedRing::anonymous(layout).unwrap();
        assert!(ring.peek().is_none());
        for round in 0_u8..3 {
            // Two units to a block; not at multiples of the unit's size throughout.
            for (number, at) in (0..).zip([0, 1536, PAGE, PAGE + 1536]) {
                assert!(ring.lend().is_none(), "not before the kernel says so");
                ring.hand_over(at, &[round * 4 + number; 8], libc::TP_STATUS_USER);
                let lent = ring.lend().unwrap();
                assert_eq!(lent.bytes().len(), 1536);
                assert_eq!(lent.bytes()[..8], [round * 4 + number; 8]);
            }
        }
    }

    #[test]
    fn a_forgotten_unit_comes_again() {
        let layout = Layout { block_size: PAGE, blocks: 1, unit_size: PAGE, status_at: 0 };
        let mut ring = SharedRing::anonymous(layout).unwrap();
        ring.hand_over(0, &[], libc::TP_STATUS_USER);
        std::mem::forget(ring.lend().unwrap());
        assert!(ring.is_ready());
        drop(ring.lend().unwrap());
        assert!(!ring.is_ready(), "given back, and the only one");
    }
}
