//! Memory that is shared with the kernel: a receive ring, lent unit by unit.
//!
//! A unit (a block of a version 3 ring, a slot of a version 2 ring) belongs to the kernel or to us, as its status word
//! says. The kernel writes only to its own, and passes them to us in order. [`SharedRing`] stands at one unit, shows its
//! bytes only while it is ours, and gives it back only when nobody can look at them any more: a `&[u8]` never covers
//! memory that the kernel may write.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the units lie: as many as fit side by side at the start of each block, with slack at its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) block_size: usize,
    pub(crate) blocks: usize,
    pub(crate) unit_size: usize,
    /// Where in a unit its status word stands.
    pub(crate) status_at: usize,
}

impl Layout {
    /// The length of the whole ring, if the units are such that none reaches beyond its block and each status word lies
    /// aligned within its unit.
    fn checked_len(self) -> Option<usize> {
        const WORD: usize = size_of::<u32>();
        let Self { block_size, blocks, unit_size, status_at } = self;
        let fits = unit_size <= block_size && status_at.checked_add(WORD)? <= unit_size;
        let aligned = [block_size, unit_size, status_at].iter().all(|offset| offset % WORD == 0);
        let len = block_size.checked_mul(blocks)?;
        (fits && aligned && len > 0 && len <= isize::MAX.cast_unsigned()).then_some(len)
    }
}

/// What came of the wishes of [`SharedRing::map`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapOutcome {
    pub(crate) locked: bool,
    pub(crate) populated: bool,
}

/// A mapped ring, unmapped when dropped.
pub(crate) struct SharedRing {
    /// `len` bytes that are mapped, readable and writable, for as long as this value lives.
    base: NonNull<u8>,
    len: usize,
    layout: Layout,
    /// Where the current unit's block begins, and the unit in it. Together with the unit's size never beyond `len`.
    block_at: usize,
    unit_at: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread. What changes through `&self` is nothing; the kernel
// changes status words only, which are read as atomics.
unsafe impl Send for SharedRing {}
// SAFETY: as above. Units are given back through `&mut self` alone.
unsafe impl Sync for SharedRing {}

impl SharedRing {
    /// Maps the receive ring of this socket, which must have been made with the same layout.
    ///
    /// The kernel's ring is never swapped out. Locking and populating make sure that the page tables are there too;
    /// both are left out if the system refuses.
    pub(crate) fn map(socket: BorrowedFd<'_>, layout: Layout) -> io::Result<(Self, MapOutcome)> {
        let locked = libc::MAP_LOCKED | libc::MAP_POPULATE;
        let attempts = [(true, true, locked), (false, true, libc::MAP_POPULATE), (false, false, 0)];
        let mut refused = io::Error::from_raw_os_error(libc::EINVAL);
        for (locked, populated, flags) in attempts {
            match Self::map_with(socket.as_raw_fd(), layout, libc::MAP_SHARED | flags) {
                Ok(ring) => return Ok((ring, MapOutcome { locked, populated })),
                // EAGAIN: more than RLIMIT_MEMLOCK.
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn map_with(fd: libc::c_int, layout: Layout, flags: libc::c_int) -> io::Result<Self> {
        let len = layout.checked_len().ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that exists.
        let address = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, fd, 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(address.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        // A child that keeps the mapping would keep the socket receiving. Refused or not, the ring works.
        // SAFETY: the range is the mapping just made; the advice concerns later forks only.
        unsafe { libc::madvise(address, len, libc::MADV_DONTFORK) };
        Ok(Self { base, len, layout, block_at: 0, unit_at: 0 })
    }

    /// The first byte of the current unit.
    #[inline]
    fn unit(&self) -> NonNull<u8> {
        // SAFETY: both offsets plus the unit's size are at most `len`: they begin at zero and `advance` keeps it so.
        unsafe { self.base.add(self.block_at + self.unit_at) }
    }

    /// The status word of the current unit.
    #[inline]
    fn status(&self) -> &AtomicU32 {
        // SAFETY: `checked_len` made sure that the word lies within the unit.
        let word = unsafe { self.unit().add(self.layout.status_at) };
        // SAFETY: the word is mapped for as long as `self` lives and aligned: the mapping is, by pages, and all offsets
        // are multiples of four. The kernel writes it with single stores; no reference covers it while that can happen.
        unsafe { AtomicU32::from_ptr(word.cast().as_ptr()) }
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
        // SAFETY: `unit_size` bytes from here are mapped, and initialized: the kernel hands out zeroed pages. The kernel
        // does not write to a unit of ours until its status is taken back, which needs `&mut self` and thus the end of
        // this borrow.
        unsafe { slice::from_raw_parts(self.unit().as_ptr(), self.layout.unit_size) }
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

    /// Goes to the next unit: in the same block if one more fits, at the start of the next or the first block otherwise.
    #[inline]
    fn advance(&mut self) {
        let Layout { block_size, unit_size, .. } = self.layout;
        self.unit_at += unit_size;
        if block_size - self.unit_at < unit_size {
            self.unit_at = 0;
            self.block_at += block_size;
            if self.block_at == self.len {
                self.block_at = 0;
            }
        }
    }
}

impl Drop for SharedRing {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this address and length and is unmapped once. Nobody holds a reference into
        // it: each borrows `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
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
        self.0.advance();
    }
}

/// The size of a page, in bytes.
pub(crate) fn page_size() -> usize {
    // SAFETY: no memory is passed.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// A ring without a kernel, for tests and fuzzers: anonymous memory, and a hand that plays the kernel's part.
#[cfg(any(test, fuzzing))]
impl SharedRing {
    pub(crate) fn anonymous(layout: Layout) -> io::Result<Self> {
        Self::map_with(-1, layout, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS)
    }

    /// The first byte.
    #[cfg(fuzzing)]
    pub(crate) const fn base(&self) -> *const u8 {
        self.base.as_ptr()
    }

    /// Writes a unit as the kernel does: bytes first, the status last.
    pub(crate) fn hand_over(&mut self, at: usize, bytes: &[u8], status: u32) {
        let Layout { unit_size, status_at, .. } = self.layout;
        assert!(bytes.len() <= unit_size && at + unit_size <= self.len && at.is_multiple_of(4));
        // SAFETY: the range was just checked; `&mut self` excludes all borrows.
        let to = unsafe { self.base.add(at) };
        // SAFETY: as above; the source is another object.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to.as_ptr(), bytes.len()) };
        // SAFETY: as above; the word lies within the unit.
        let word = unsafe { to.add(status_at) };
        // SAFETY: as above, and aligned.
        unsafe { AtomicU32::from_ptr(word.cast().as_ptr()) }.store(status, Ordering::Release);
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

    #[test]
    fn layouts_that_do_not_fit_are_refused() {
        let good = Layout { block_size: PAGE, blocks: 2, unit_size: 2048, status_at: 8 };
        assert_eq!(good.checked_len(), Some(2 * PAGE));
        let bad = [
            Layout { unit_size: PAGE + 4, ..good },
            Layout { unit_size: 8, ..good },
            Layout { unit_size: 2046, ..good },
            Layout { status_at: 2046, ..good },
            Layout { status_at: usize::MAX - 3, ..good },
            Layout { blocks: 0, ..good },
            Layout { blocks: usize::MAX, ..good },
            Layout { blocks: isize::MAX.cast_unsigned() / PAGE + 1, ..good },
        ];
        for layout in bad {
            assert_eq!(layout.checked_len(), None, "{layout:?}");
            assert!(SharedRing::anonymous(layout).is_err());
        }
    }
}
