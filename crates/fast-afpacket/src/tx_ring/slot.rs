//! A slot that is being filled.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};

use super::queue::Queue;
use crate::stamping::Stamping;
use crate::sys::tx_slots::Slot;
use crate::timestamp::Timestamping;
use crate::tx_report::TxKey;

/// Room for one frame in a [`TxRing`](crate::TxRing): what [`TxRing::next_slot`](crate::TxRing::next_slot) lends.
///
/// It is a `[u8]` to write the frame into, from its link-layer header on; it begins with whatever an earlier frame has
/// left there. [`commit`](Self::commit) says how long the frame is. A slot that is dropped instead is as if it had never
/// been taken: the next call gives it again.
///
/// It does not outlive its ring:
///
/// ```compile_fail,E0505
/// # fn example(mut ring: fast_afpacket::TxRing) -> std::io::Result<()> {
/// let slot = ring.next_slot()?;
/// drop(ring);
/// slot.commit(60)?; // the memory is gone: does not compile
/// # Ok(())
/// # }
/// ```
///
/// and it is used up by being committed, before the kernel can see it:
///
/// ```compile_fail,E0382
/// # fn example(ring: &mut fast_afpacket::TxRing) -> std::io::Result<()> {
/// let mut slot = ring.next_slot()?;
/// slot.commit(60)?;
/// slot[0] = 0xff; // the frame may be on its way: does not compile
/// # Ok(())
/// # }
/// ```
#[doc(alias = "tpacket2_hdr")]
pub struct TxSlot<'r> {
    bytes: &'r mut [u8],
    queue: &'r mut Queue,
    stamping: &'r Stamping,
    slot: Slot,
}

impl<'r> TxSlot<'r> {
    /// The queue has said that this slot is where the next frame goes.
    #[inline]
    pub(super) const fn new(bytes: &'r mut [u8], queue: &'r mut Queue, stamping: &'r Stamping, slot: Slot) -> Self {
        Self { bytes, queue, stamping, slot }
    }

    /// Commits the first `len` bytes as a frame, to be handed over by the next [`flush`](crate::TxRing::flush). No stamp
    /// is taken.
    ///
    /// # Errors
    ///
    /// `EMSGSIZE` if the slot is not so long; then nothing is committed. Whether the link takes the frame is found out
    /// when it is handed over.
    #[inline]
    #[doc(alias = "TP_STATUS_SEND_REQUEST")]
    pub fn commit(self, len: usize) -> io::Result<()> {
        self.push(len, None)
    }

    /// [`commit`](Self::commit), and asks for the stamps of the frame, which [`recv_tx`](crate::TxRing::recv_tx) will
    /// return with this key.
    ///
    /// # Errors
    ///
    /// Those of [`commit`](Self::commit); [`InvalidInput`](io::ErrorKind::InvalidInput) if no TX stamps were asked for
    /// when the ring was opened.
    #[inline]
    pub fn commit_keyed(self, len: usize, key: TxKey) -> io::Result<()> {
        let stamps = self.stamping.stamps();
        self.commit_stamped(len, key, stamps)
    }

    /// [`commit_keyed`](Self::commit_keyed) with only these of the stamps that the ring asks for.
    ///
    /// # Errors
    ///
    /// Those of [`commit_keyed`](Self::commit_keyed), also for stamps that were not asked for when the ring was opened,
    /// and for none.
    #[inline]
    pub fn commit_stamped(self, len: usize, key: TxKey, stamps: Timestamping) -> io::Result<()> {
        self.stamping.check(stamps)?;
        self.push(len, Some((key, stamps)))
    }

    #[inline]
    fn push(self, len: usize, stamped: Option<(TxKey, Timestamping)>) -> io::Result<()> {
        if len > self.bytes.len() {
            return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
        }
        self.queue.push(self.slot, len, stamped);
        Ok(())
    }
}

impl Deref for TxSlot<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

impl DerefMut for TxSlot<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes
    }
}

impl fmt::Debug for TxSlot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxSlot").field("len", &self.bytes.len()).finish_non_exhaustive()
    }
}
