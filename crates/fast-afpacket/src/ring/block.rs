//! A block of a version 3 ring, which is lent.

use std::fmt;

use super::Shared;
use super::frame::Frame;
use super::walk::{Frames, Header, Tally};
use crate::sys::mmap::Lent;

/// Some frames that the kernel has handed over at once: what [`RxRing::next_block`](crate::RxRing::next_block) lends.
///
/// Dropping it gives the memory back to the kernel, at once: the more time a program spends with a block, the more
/// others the ring should have. A frame cannot outlive its block:
///
/// ```compile_fail,E0505
/// # fn example(ring: &mut fast_afpacket::RxRing) -> std::io::Result<()> {
/// let block = ring.next_block()?;
/// let first = block.iter().next();
/// drop(block);
/// println!("{first:?}"); // the kernel may be writing there: does not compile
/// # Ok(())
/// # }
/// ```
///
/// nor can its bytes:
///
/// ```compile_fail,E0597
/// # fn example(ring: &mut fast_afpacket::RxRing) -> std::io::Result<()> {
/// let mut kept: Vec<&[u8]> = Vec::new();
/// {
///     let block = ring.next_block()?;
///     kept.extend(block.iter().map(|frame| frame.data()));
/// }
/// println!("{}", kept.len());
/// # Ok(())
/// # }
/// ```
#[doc(alias = "tpacket_block_desc")]
pub struct Block<'r> {
    lent: Lent<'r>,
    header: Header,
    shared: &'r Shared,
    tally: Tally,
}

impl<'r> Block<'r> {
    #[inline]
    pub(super) fn new(lent: Lent<'r>, shared: &'r Shared) -> Self {
        let header = Header::parse(lent.bytes()).unwrap_or_default();
        let tally = Tally::new(lent.bytes(), shared.stamps);
        Self { lent, header, shared, tally }
    }

    /// How many frames the kernel says are in it: one at least.
    #[expect(clippy::len_without_is_empty, reason = "the kernel's empty blocks are not lent")]
    pub const fn len(&self) -> usize {
        self.header.frames as usize
    }

    /// Its number: the kernel counts the blocks of a ring from 1 as it fills them.
    #[doc(alias = "seq_num")]
    pub const fn sequence(&self) -> u64 {
        self.header.sequence
    }

    /// Whether it was handed over because of the block time-out, and not because it was full.
    #[doc(alias = "TP_STATUS_BLK_TMO")]
    pub const fn is_timed_out(&self) -> bool {
        self.header.status & libc::TP_STATUS_BLK_TMO != 0
    }

    #[cfg(fuzzing)]
    pub(super) fn memory(&self) -> &[u8] {
        self.lent.bytes()
    }

    /// Its frames, in the order in which they were received.
    #[inline]
    pub fn iter(&self) -> Frames<'_> {
        Frames::new(self.lent.bytes(), &self.header, &self.tally)
    }
}

impl<'b> IntoIterator for &'b Block<'_> {
    type Item = Frame<'b>;
    type IntoIter = Frames<'b>;

    #[inline]
    fn into_iter(self) -> Frames<'b> {
        self.iter()
    }
}

impl Drop for Block<'_> {
    #[inline]
    fn drop(&mut self) {
        self.tally.add_to(&self.shared.counters);
    }
}

impl fmt::Debug for Block<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("sequence", &self.sequence()).field("len", &self.len()).finish_non_exhaustive()
    }
}
