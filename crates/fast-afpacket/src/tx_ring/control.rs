//! What other threads may do with a ring while its sender holds it.

use std::fmt;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::Shared;
use crate::batch::TxReportBatch;
use crate::error::{Error, Step};
use crate::interface::Interface;
use crate::stats::Stats;
use crate::tx_report::TxReport;

/// A handle to a [`TxRing`](crate::TxRing) for other threads: to read its stamps, to end its waits, to close it.
///
/// It does not keep the ring open. Once the ring is dropped, what can fail does, with `ECONNABORTED`; a call that waits ends
/// then, too.
///
/// ```no_run
/// use fast_afpacket::{Interface, PacketSocket, RingShape, TxKey};
///
/// let mut ring = PacketSocket::options().tx_ring(&Interface::by_name("eth1")?, RingShape::transmit())?;
/// let control = ring.control();
/// let reader = std::thread::spawn(move || {
///     while let Ok(report) = control.recv_tx(&mut []) {
///         println!("{:?} {:?} {:?}", report.key, report.stage, report.timestamps.software);
///     }
/// });
/// for number in 0..1_000 {
///     ring.push_keyed(&[0xff; 60], TxKey::new(number))?;
///     ring.flush()?;
/// }
/// drop(ring);
/// # let _ = reader.join();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TxRingControl {
    shared: Weak<Shared>,
    interface: Interface,
}

impl TxRingControl {
    pub(super) const fn new(shared: Weak<Shared>, interface: Interface) -> Self {
        Self { shared, interface }
    }

    fn shared(&self) -> io::Result<Arc<Shared>> {
        self.shared.upgrade().ok_or_else(|| io::Error::from_raw_os_error(libc::ECONNABORTED))
    }

    /// Ends all waiting calls, within milliseconds, and makes every later one fail: with `ECONNABORTED`.
    pub fn close(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.waits.close();
        }
    }

    /// Sets until when the sender waits; `None` is for ever. One that waits already goes by it at once.
    pub fn set_write_deadline(&self, deadline: Option<Instant>) {
        if let Some(shared) = self.shared.upgrade() {
            shared.waits.send.set_deadline(deadline);
        }
    }

    /// Sets until when [`recv_tx`](Self::recv_tx) waits; `None` is for ever. One that waits already goes by it at once.
    pub fn set_tx_deadline(&self, deadline: Option<Instant>) {
        if let Some(shared) = self.shared.upgrade() {
            shared.waits.tx_stamp.set_deadline(deadline);
        }
    }

    /// Returns a stamp of a frame that was committed with a key: [`TxRing::recv_tx`](crate::TxRing::recv_tx).
    ///
    /// # Errors
    ///
    /// Those of [`TxRing::recv_tx`](crate::TxRing::recv_tx).
    pub fn recv_tx(&self, buf: &mut [u8]) -> io::Result<TxReport> {
        self.shared()?.recv_tx(buf)
    }

    /// Reads as many stamps as are there: [`TxRing::recv_tx_batch`](crate::TxRing::recv_tx_batch).
    ///
    /// # Errors
    ///
    /// Those of [`TxRing::recv_tx_batch`](crate::TxRing::recv_tx_batch).
    pub fn recv_tx_batch(&self, batch: &mut TxReportBatch) -> io::Result<usize> {
        self.shared()?.recv_tx_batch(batch)
    }

    /// Whether there is no room for one more unread stamp: [`TxRing::is_tx_queue_full`](crate::TxRing::is_tx_queue_full).
    ///
    /// # Errors
    ///
    /// `ECONNABORTED` when the ring was dropped.
    pub fn is_tx_queue_full(&self) -> io::Result<bool> {
        self.shared()?.stamp_reader().is_queue_full()
    }

    /// What was counted since the ring was opened: [`TxRing::stats`](crate::TxRing::stats).
    ///
    /// # Errors
    ///
    /// `ECONNABORTED` when the ring was dropped.
    pub fn stats(&self) -> Result<Stats, Error> {
        let shared = self.shared().map_err(|error| Error::new(Step::Statistics, &self.interface.name(), error))?;
        shared.stats()
    }
}

impl fmt::Debug for TxRingControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxRingControl").field("interface", &self.interface).finish_non_exhaustive()
    }
}
