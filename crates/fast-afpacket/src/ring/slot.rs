//! A frame of a version 2 ring, one at a time.

use std::fmt;

use super::frame::{Frame, Placed};
use crate::meta::RxMeta;
use crate::sys::mmap::Lent;

/// A frame in its slot: what [`RxRing::next_frame`](crate::RxRing::next_frame) lends.
///
/// Dropping it gives the slot back to the kernel. Neither it nor the frame in it can outlive that:
///
/// ```compile_fail,E0505
/// # fn example(ring: &mut fast_afpacket::RxRing<fast_afpacket::ByFrame>) -> std::io::Result<()> {
/// let held = ring.next_frame()?;
/// let data = held.data();
/// drop(held);
/// println!("{data:?}"); // the kernel may be writing there: does not compile
/// # Ok(())
/// # }
/// ```
pub struct HeldFrame<'r>(Lent<'r>);

impl<'r> HeldFrame<'r> {
    /// The slot was found to hold a frame.
    #[inline]
    pub(super) const fn new(lent: Lent<'r>) -> Self {
        Self(lent)
    }

    #[cfg(fuzzing)]
    pub(super) fn memory(&self) -> &[u8] {
        self.0.bytes()
    }

    /// The frame in it.
    #[inline]
    pub fn frame(&self) -> Frame<'_> {
        // It is there: what was checked when the slot was lent has not changed.
        Placed::in_slot(self.0.bytes()).map_or_else(Frame::nothing, |placed| placed.frame)
    }

    /// Its bytes: [`Frame::data`].
    #[inline]
    pub fn data(&self) -> &[u8] {
        self.frame().data()
    }

    /// What the kernel says of it: [`Frame::meta`].
    #[inline]
    pub fn meta(&self) -> RxMeta {
        self.frame().meta()
    }
}

impl fmt::Debug for HeldFrame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HeldFrame").field(&self.frame()).finish()
    }
}
