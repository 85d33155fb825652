//! Reading the stamps of sent frames.

use std::io;

use super::PacketSocket;
use crate::stamping::{self, Stamp};
use crate::sys::cmsg::ControlBuffer;
use crate::sys::{self, abi, sockopt};
use crate::tx_report::TxReport;
use crate::wait::{Target, Waiting};

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
        if !self.parts.stamping.gives_tx_stamps() {
            return Err(stamping::not_asked_for());
        }
        let mut unused = abi::link_address(0, 0);
        let mut control = ControlBuffer::<256>::new();
        let mut waiting = None;
        loop {
            self.waits.check_open()?;
            match sys::receive(self.tx(), buf, &mut unused, &mut control, libc::MSG_ERRQUEUE) {
                Ok(received) => {
                    if let Some(report) = self.report(&received, &control)? {
                        return Ok(report);
                    }
                }
                Err(error) => self.no_stamp(error, &mut waiting)?,
            }
        }
    }

    #[inline]
    fn report(&self, received: &sys::Received, control: &ControlBuffer<256>) -> io::Result<Option<TxReport>> {
        if received.flags & libc::MSG_CTRUNC != 0 {
            return Err(stamping::control_was_cut());
        }
        let Some(stamp) = Stamp::parse(control.written(received.control_len))? else {
            return Ok(None);
        };
        let Some(key) = self.parts.stamping.key_of(&stamp) else {
            self.counters.unattributed.add(1);
            return Ok(None);
        };
        Ok(Some(TxReport { key, stage: stamp.stage, timestamps: stamp.timestamps, len: received.len }))
    }

    /// The error queue is empty: waits, or says why not.
    #[cold]
    fn no_stamp<'a>(&'a self, error: io::Error, waiting: &mut Option<Waiting<'a>>) -> io::Result<()> {
        if error.raw_os_error() != Some(libc::EAGAIN) {
            return Err(error);
        }
        if waiting.is_some() {
            // Woken, and no stamp: the error condition may be that of the link, which stays set until it is read.
            if let Some(error) = sockopt::take_error(self.rx())? {
                return Err(self.link_down(error, true));
            }
        }
        self.park(waiting, || {
            let target = Target {
                fd: self.tx(),
                events: 0,
                edge_triggered: false,
                errors_of: self.parts.tx.as_ref().map(|_| self.rx()),
            };
            self.waits.tx_stamp.begin(&self.waits, target)
        })
    }
}
