//! Reading the stamps of sent frames.

use std::io;
use std::time::Instant;

use super::PacketSocket;
use crate::stamp_reader::{StampReader, TX_STAMP_MEMORY};
use crate::timestamp::Timestamping;
use crate::tx_report::TxReport;
use crate::wait::Patience;

/// The stamps of sent frames.
impl PacketSocket {
    /// Returns a stamp of a frame that was sent with a key.
    ///
    /// Each stage of a frame that was asked for gives a report of its own. Whether and when one comes is up to
    /// driver and NIC: wait with a deadline. `buf` receives the frame itself only with
    /// [`Options::tx_payload`](crate::Options::tx_payload); otherwise an empty one will do.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` when the TX-stamp deadline has passed, `EAGAIN` when no stamp is there and the socket is non-blocking,
    /// `ENETDOWN` when the interface goes down during the wait, `ENODEV` when it is gone, `ECONNABORTED` after
    /// [`close`](Self::close), [`InvalidInput`](io::ErrorKind::InvalidInput) if no TX stamps were asked for,
    /// [`InvalidData`](io::ErrorKind::InvalidData) for a report that cannot be trusted: that one is lost.
    #[doc(alias("RecvTxTimestamps", "MSG_ERRQUEUE", "MsgErrQueue"))]
    pub fn recv_tx(&self, buf: &mut [u8]) -> io::Result<TxReport> {
        self.recv_tx_within(Patience::Deadline, buf)
    }

    #[inline(always)]
    pub(super) fn recv_tx_within(&self, patience: Patience, buf: &mut [u8]) -> io::Result<TxReport> {
        loop {
            if let Some(report) = self.stamp_reader().read(buf, &self.waits.tx_stamp, patience)? {
                return Ok(report);
            }
        }
    }

    /// [`recv_tx`](Self::recv_tx), or `None` if there is no stamp at `limit`, which may have passed before the call.
    #[inline(always)]
    pub(crate) fn recv_tx_until(&self, buf: &mut [u8], limit: Instant) -> io::Result<Option<TxReport>> {
        self.stamp_reader().read(buf, &self.waits.tx_stamp, Patience::Until(limit))
    }

    /// For a sender that waits for the stamps of earlier frames: the write deadline counts.
    pub(crate) fn recv_tx_for_sender(&self, limit: Instant) -> io::Result<Option<TxReport>> {
        self.stamp_reader().read(&mut [], &self.waits.pacing, Patience::Until(limit))
    }

    #[inline]
    pub(super) fn stamp_reader(&self) -> StampReader<'_> {
        StampReader {
            tx: self.tx(),
            errors_of: self.parts.tx.as_ref().map(|_| self.rx()),
            link: self.link(),
            stamping: &self.parts.stamping,
            counters: &self.counters,
        }
    }

    /// Whether a frame may ask for these stamps.
    pub(crate) fn check_stamps(&self, stamps: Timestamping) -> io::Result<()> {
        self.parts.stamping.check(stamps)
    }

    /// What an unread stamp takes of the receive buffer at most, in bytes.
    pub(crate) fn tx_stamp_memory(&self) -> u32 {
        let frame = if self.parts.stamping.returns_payload() { self.frame_limit.mtu() } else { 0 };
        TX_STAMP_MEMORY.saturating_add(frame.saturating_mul(2))
    }

    /// Whether there is no room for one more unread stamp. The kernel loses those that come then, and does not say so.
    ///
    /// # Errors
    ///
    /// None are known.
    ///
    /// # Kernel
    ///
    /// Linux 4.12: `SO_MEMINFO`.
    #[doc(alias = "SO_MEMINFO")]
    pub fn is_tx_queue_full(&self) -> io::Result<bool> {
        self.stamp_reader().is_queue_full()
    }
}
