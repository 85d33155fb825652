//! What other threads may do with a ring while its reader holds it.

use std::fmt;
use std::io;
use std::sync::Weak;
use std::time::Instant;

use super::Shared;
use crate::error::{Error, Step};
use crate::interface::Interface;
use crate::stats::Stats;

/// A handle to an [`RxRing`](crate::RxRing) for other threads: to end its waits, to close it, to read its counts.
///
/// It does not keep the ring open. Once the ring is dropped, [`stats`](Self::stats) fails and the rest does nothing.
///
/// ```no_run
/// use fast_afpacket::{Interface, PacketSocket, RingShape};
///
/// let interface = Interface::by_name("eth1")?;
/// let mut ring = PacketSocket::options().rx_ring(&interface, RingShape::throughput())?;
/// let control = ring.control();
/// std::thread::spawn(move || {
///     std::thread::sleep(std::time::Duration::from_secs(10));
///     control.close();
/// });
/// while let Ok(block) = ring.next_block() {
///     println!("{} frames", block.len());
/// }
/// # Ok::<(), fast_afpacket::Error>(())
/// ```
#[derive(Clone)]
pub struct RingControl {
    shared: Weak<Shared>,
    interface: Interface,
}

impl RingControl {
    pub(super) const fn new(shared: Weak<Shared>, interface: Interface) -> Self {
        Self { shared, interface }
    }

    /// Ends a waiting call, within milliseconds, and makes every later one fail: with `ECONNABORTED`.
    pub fn close(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.waits.close();
        }
    }

    /// Sets until when the reader waits; `None` is for ever. One that waits already goes by it at once.
    pub fn set_read_deadline(&self, deadline: Option<Instant>) {
        if let Some(shared) = self.shared.upgrade() {
            shared.waits.receive.set_deadline(deadline);
        }
    }

    /// What was received, dropped and so on since the ring was opened.
    ///
    /// # Errors
    ///
    /// `ECONNABORTED` when the ring was dropped.
    #[doc(alias = "PACKET_STATISTICS")]
    pub fn stats(&self) -> Result<Stats, Error> {
        let dropped = || io::Error::from_raw_os_error(libc::ECONNABORTED);
        let Some(shared) = self.shared.upgrade() else {
            return Err(Error::new(Step::Statistics, &self.interface.name(), dropped()));
        };
        shared.stats()
    }
}

impl fmt::Debug for RingControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingControl").field("interface", &self.interface).finish_non_exhaustive()
    }
}
