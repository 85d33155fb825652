//! Memory that is shared with the kernel: mapping it, and how it is divided into units.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU32;
#[cfg(any(test, fuzzing))]
use std::sync::atomic::Ordering;

/// Where the units lie: as many as fit side by side at the start of each block, with slack at its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) block_size: usize,
    pub(crate) blocks: usize,
    pub(crate) unit_size: usize,
    /// Where in a unit its status word stands.
    pub(crate) status_at: usize,
}

/// Where a unit begins. Only a [`Layout`] makes one, so that no unit of that layout lies outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    block_at: usize,
    unit_at: usize,
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

    /// How many units there are.
    pub(crate) const fn units(self) -> usize {
        self.block_size / self.unit_size * self.blocks
    }

    /// The first unit.
    pub(super) const fn first(self) -> Place {
        Place { block_at: 0, unit_at: 0 }
    }

    /// The unit behind this one: in the same block if one more fits, at the start of the next or the first block otherwise.
    #[inline]
    pub(super) const fn next(self, Place { mut block_at, mut unit_at }: Place) -> Place {
        unit_at += self.unit_size;
        if self.block_size - unit_at < self.unit_size {
            unit_at = 0;
            block_at += self.block_size;
            if block_at == self.block_size * self.blocks {
                block_at = 0;
            }
        }
        Place { block_at, unit_at }
    }
}

/// What came of the wishes of [`Mapping::of`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapOutcome {
    pub(crate) locked: bool,
    pub(crate) populated: bool,
}

/// A mapped ring, unmapped when dropped.
pub(super) struct Mapping {
    /// `len` bytes that are mapped, readable and writable, for as long as this value lives.
    base: NonNull<u8>,
    len: usize,
    layout: Layout,
    /// Where a unit can begin at most: its size before the end.
    last: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread. What is read and written in it is up to those who hold it.
unsafe impl Send for Mapping {}
// SAFETY: as above: through `&self` it gives away raw pointers, and status words as atomics.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the ring of this socket, which must have been made with the same layout, and be the only one.
    ///
    /// The kernel's ring is never swapped out. Locking and populating make sure that the page tables are there too;
    /// both are left out if the system refuses.
    pub(super) fn of(socket: BorrowedFd<'_>, layout: Layout) -> io::Result<(Self, MapOutcome)> {
        let locked = libc::MAP_LOCKED | libc::MAP_POPULATE;
        let attempts = [(true, true, locked), (false, true, libc::MAP_POPULATE), (false, false, 0)];
        let mut refused = io::Error::from_raw_os_error(libc::EINVAL);
        for (locked, populated, flags) in attempts {
            match Self::with(socket.as_raw_fd(), layout, libc::MAP_SHARED | flags) {
                Ok(mapping) => return Ok((mapping, MapOutcome { locked, populated })),
                // EAGAIN: more than RLIMIT_MEMLOCK.
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn with(fd: libc::c_int, layout: Layout, flags: libc::c_int) -> io::Result<Self> {
        let len = layout.checked_len().ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that exists.
        let address = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, fd, 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(address.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        // A child that keeps the mapping would keep the socket alive. Refused or not, the ring works.
        // SAFETY: the range is the mapping just made; the advice concerns later forks only.
        unsafe { libc::madvise(address, len, libc::MADV_DONTFORK) };
        Ok(Self { base, len, layout, last: len - layout.unit_size })
    }

    /// Memory that no kernel looks at, for tests and fuzzers.
    #[cfg(any(test, fuzzing))]
    pub(super) fn anonymous(layout: Layout) -> io::Result<Self> {
        Self::with(-1, layout, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS)
    }

    /// The first byte.
    #[cfg(fuzzing)]
    pub(super) const fn base(&self) -> *const u8 {
        self.base.as_ptr()
    }

    /// Writes a unit as the kernel does: bytes first, the status last.
    #[cfg(any(test, fuzzing))]
    pub(super) fn write(&mut self, at: usize, bytes: &[u8], status: u32) {
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

    #[inline]
    pub(super) const fn layout(&self) -> Layout {
        self.layout
    }

    /// Whether a unit that begins there lies within the mapping. Those of its own layout do.
    #[inline]
    pub(super) const fn has(&self, Place { block_at, unit_at }: Place) -> bool {
        block_at + unit_at <= self.last
    }

    /// The first byte of a unit.
    ///
    /// # Safety
    ///
    /// The place is of this mapping's layout, or the mapping [has](Self::has) it.
    #[inline]
    pub(super) unsafe fn unit(&self, Place { block_at, unit_at }: Place) -> NonNull<u8> {
        // SAFETY: both offsets plus the unit's size are at most `len`: the layout makes no others, `has` lets no others pass.
        unsafe { self.base.add(block_at + unit_at) }
    }

    /// The status word of a unit.
    ///
    /// # Safety
    ///
    /// As for [`unit`](Self::unit); and while the result is used there is no reference to the unit that covers the word and
    /// the kernel may write it.
    #[inline]
    pub(super) unsafe fn status(&self, place: Place) -> &AtomicU32 {
        // SAFETY: the caller vouches for the place.
        let unit = unsafe { self.unit(place) };
        // SAFETY: `checked_len` made sure that the word lies within the unit.
        let word = unsafe { unit.add(self.layout.status_at) };
        // SAFETY: the word is mapped for as long as `self` lives and aligned: the mapping is, by pages, and all offsets
        // are multiples of four. The kernel writes it with single stores.
        unsafe { AtomicU32::from_ptr(word.cast().as_ptr()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this address and length and is unmapped once. Nobody holds a reference into
        // it: each borrows the value that owns `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// The size of a page, in bytes.
pub(crate) fn page_size() -> usize {
    // SAFETY: no memory is passed.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 4096;

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
            assert!(Mapping::anonymous(layout).is_err());
        }
    }

    #[test]
    fn places_lie_side_by_side_in_each_block() {
        for (unit_size, per_block) in [(1536, 2), (2048, 2), (PAGE, 1), (1376, 2), (64, 64)] {
            let layout = Layout { block_size: PAGE, blocks: 3, unit_size, status_at: 0 };
            assert_eq!(layout.units(), 3 * per_block);
            let mut at = layout.first();
            for number in 0..layout.units() {
                let expected = (number / per_block * PAGE, number % per_block * unit_size);
                assert_eq!((at.block_at, at.unit_at), expected);
                at = layout.next(at);
            }
            assert_eq!(at, layout.first(), "around");
        }
        let small = Layout { block_size: PAGE, blocks: 2, unit_size: 2048, status_at: 0 };
        let mapping = Mapping::anonymous(small).unwrap();
        for (block_at, unit_at, has) in [(PAGE, 2048, true), (PAGE, 2112, false), (2 * PAGE, 0, false)] {
            assert_eq!(mapping.has(Place { block_at, unit_at }), has);
        }
    }
}
