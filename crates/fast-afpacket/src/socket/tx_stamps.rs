//! Reading the stamps of sent frames.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::PacketSocket;
use crate::stamping::{self, ErrorReport, Stamp};
use crate::sys::cmsg::ControlBuffer;
use crate::sys::{self, abi, sockopt};
use crate::timestamp::Timestamping;
use crate::tx_report::TxReport;
use crate::wait::{Target, Wait, Waiting};

/// Room for the control messages of a stamp: 96 bytes; the rest is for what others switch on, on a descriptor that they
/// share.
const CONTROL_LEN: usize = 192;

/// What an unread stamp without its frame takes of the receive buffer: 832 bytes on x86-64, with some to spare.
const TX_STAMP_MEMORY: u32 = 1024;

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
        loop {
            if let Some(report) = self.recv_tx_until(buf, None)? {
                return Ok(report);
            }
        }
    }

    /// [`recv_tx`](Self::recv_tx), or `None` if there is no stamp at `limit`, which may have passed before the call.
    /// Without a limit it waits until the deadline.
    #[inline]
    pub(crate) fn recv_tx_until(&self, buf: &mut [u8], limit: Option<Instant>) -> io::Result<Option<TxReport>> {
        self.read_stamp(buf, &self.waits.tx_stamp, limit)
    }

    /// For a sender that waits for the stamps of earlier frames: the write deadline counts.
    pub(crate) fn recv_tx_for_sender(&self, limit: Instant) -> io::Result<Option<TxReport>> {
        self.read_stamp(&mut [], &self.waits.pacing, Some(limit))
    }

    #[inline]
    fn read_stamp<'a>(
        &'a self,
        buf: &mut [u8],
        wait: &'a Wait,
        limit: Option<Instant>,
    ) -> io::Result<Option<TxReport>> {
        let mut unused = abi::link_address(0, 0);
        let mut control = ControlBuffer::<CONTROL_LEN>::new();
        self.wait_for_stamps(wait, limit, || {
            let received = sys::receive(self.tx(), buf, &mut unused, &mut control, libc::MSG_ERRQUEUE)?;
            self.report(&received, control.written(received.control_len))
        })
    }

    /// Calls `read` until it finds what it looks for, or until there is nothing to find at `limit`, if there is one. `read`
    /// takes something from the error queue or says `EAGAIN`.
    #[inline]
    pub(super) fn wait_for_stamps<'a, T>(
        &'a self,
        wait: &'a Wait,
        limit: Option<Instant>,
        mut read: impl FnMut() -> io::Result<Option<T>>,
    ) -> io::Result<Option<T>> {
        if !self.parts.stamping.gives_tx_stamps() {
            return Err(stamping::not_asked_for());
        }
        let mut waiting = None;
        loop {
            self.waits.check_open()?;
            match read() {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(error) => {
                    let is_over = limit.is_some_and(|limit| Instant::now() >= limit);
                    if is_over && error.raw_os_error() == Some(libc::EAGAIN) {
                        return Ok(None);
                    }
                    self.no_stamp(error, wait, &mut waiting, limit)?;
                }
            }
        }
    }

    /// Whether a frame may ask for these stamps.
    pub(crate) fn check_stamps(&self, stamps: Timestamping) -> io::Result<()> {
        self.parts.stamping.check(stamps)
    }

    /// What an unread stamp takes of the receive buffer at most, in bytes.
    pub(crate) fn tx_stamp_memory(&self) -> u32 {
        let frame = if self.parts.stamping.returns_payload() { self.mtu.load(Ordering::Relaxed) } else { 0 };
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
        let [allocated, limit] = sockopt::receive_memory(self.tx())?;
        Ok(allocated.saturating_add(TX_STAMP_MEMORY) >= limit)
    }

    /// What was read from the error queue, if it is a stamp of a frame that is known.
    #[inline]
    pub(super) fn report(&self, received: &sys::Received, control: &[u8]) -> io::Result<Option<TxReport>> {
        if received.flags & libc::MSG_CTRUNC != 0 {
            return Err(stamping::control_was_cut());
        }
        let stamp = match Stamp::parse(control)? {
            ErrorReport::Stamp(stamp) => stamp,
            ErrorReport::LaunchMissed => {
                self.counters.launches_missed.add(1);
                return Ok(None);
            }
            ErrorReport::Other => return Ok(None),
        };
        let Some(key) = self.parts.stamping.key_of(&stamp) else {
            self.counters.unattributed.add(1);
            return Ok(None);
        };
        Ok(Some(TxReport { key, stage: stamp.stage, timestamps: stamp.timestamps, len: received.len }))
    }

    /// The error queue is empty: waits, or says why not.
    #[cold]
    fn no_stamp<'a>(
        &'a self,
        error: io::Error,
        wait: &'a Wait,
        waiting: &mut Option<Waiting<'a>>,
        limit: Option<Instant>,
    ) -> io::Result<()> {
        if error.raw_os_error() != Some(libc::EAGAIN) {
            return Err(error);
        }
        if waiting.is_some() {
            // Woken, and no stamp: the error condition may be that of the link, which stays set until it is read.
            if let Some(error) = sockopt::take_error(self.rx())? {
                return Err(self.link().down(error, true));
            }
        }
        self.link().park(waiting, limit, || {
            let target = Target {
                fd: self.tx(),
                events: 0,
                edge_triggered: false,
                errors_of: self.parts.tx.as_ref().map(|_| self.rx()),
            };
            wait.begin(&self.waits, target)
        })
    }
}
