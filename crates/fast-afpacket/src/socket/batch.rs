//! Several frames, or several stamps, in one system call.

use std::io;

use super::PacketSocket;
use super::offload::{with_what_head_says, without_head};
use super::transmit::{FrameMessage, explained};
use crate::batch::{BatchError, RecvBatch, TxReportBatch};
use crate::meta::RxMeta;
use crate::offload::HEADER_LEN;
use crate::sys::batch::{Arrived, SEND_MAX, send_batch};
use crate::tx_frame::TxFrame;
use crate::wait::Patience;

/// Batches.
impl PacketSocket {
    /// Receives as many frames as are there and as `batch` has room for, in one system call; waits only for the first.
    /// Returns how many, at least one.
    ///
    /// Much the same as [`recv`](Self::recv) frame by frame, at two thirds of the cost. A frame whose metadata cannot be trusted
    /// is left out and counted: [`Stats::malformed`](crate::Stats::malformed).
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv) but [`InvalidData`](io::ErrorKind::InvalidData). The batch is empty then.
    ///
    /// # Kernel
    ///
    /// Linux 2.6.33: recvmmsg(2).
    #[doc(alias = "recvmmsg")]
    pub fn recv_batch(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        self.recv_batch_within(Patience::Deadline, batch)
    }

    #[inline]
    pub(super) fn recv_batch_within(&self, patience: Patience, batch: &mut RecvBatch) -> io::Result<usize> {
        let (inbox, frames) = batch.parts();
        frames.clear();
        loop {
            // If it naps, then for the first.
            let flags = libc::MSG_WAITFORONE;
            let count =
                self.look_or_wait(patience, |more| inbox.receive(self.rx(), self.parts.offload, flags | more))?;
            for place in 0..count {
                let Some(arrived) = inbox.message(place) else { break };
                let described = match self.parts.offload {
                    false => self.describe(&arrived.received, arrived.address, arrived.control),
                    true => self.describe_with_head(arrived, inbox.head(place)),
                };
                match described {
                    Ok(meta) => frames.push((place, meta)),
                    Err(_) => self.counters.malformed.add(1),
                }
            }
            if !frames.is_empty() {
                return Ok(frames.len());
            }
        }
    }

    fn describe_with_head(&self, arrived: Arrived<'_>, head: [u8; HEADER_LEN]) -> io::Result<RxMeta> {
        let meta = self.describe(&without_head(arrived.received), arrived.address, arrived.control)?;
        Ok(with_what_head_says(meta, head))
    }

    /// Sends these frames in as few system calls as possible, in order, up to the first one that is refused.
    ///
    /// Three quarters of the cost of [`send`](Self::send) for each. Waits for room in the send buffer as that does.
    ///
    /// The kernel does not say why it refused a frame that is not the first of a call. Such a frame is sent once more, as
    /// the first, and only if it is refused again does the batch end with it. One that a full queue refused at first may
    /// therefore have two stamps of the stage [`Scheduled`](crate::TxStage::Scheduled).
    ///
    /// Where the kernel does not take the caller's keys (before Linux 6.13), each frame with a key has a system call of its own: of
    /// two tries nobody could tell how many numbers they have used up.
    ///
    /// # Errors
    ///
    /// [`BatchError`], with the number of frames that were sent, and the error of the one behind them as
    /// [`send_frame`](Self::send_frame) gives it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use fast_afpacket::{Interface, PacketSocket, TxFrame, TxKey};
    ///
    /// let socket = PacketSocket::bind(&Interface::by_name("eth1")?)?;
    /// let (plain, stamped) = ([0xff; 60], [0xff; 1514]);
    /// socket.send_batch(&[TxFrame::new(&plain), TxFrame::new(&stamped).key(TxKey::new(7))])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Kernel
    ///
    /// Linux 3.0: sendmmsg(2).
    #[doc(alias = "sendmmsg")]
    pub fn send_batch(&self, frames: &[TxFrame<'_>]) -> Result<(), BatchError> {
        let mut sent = 0;
        while let Some(rest @ [first, ..]) = frames.get(sent..) {
            match self.send_part(Patience::Deadline, first, rest) {
                Ok(count) => sent += count,
                Err(error) => return Err(BatchError::new(sent, error)),
            }
        }
        Ok(())
    }

    /// Sends the first of these frames and as many more as go with it.
    #[inline]
    pub(super) fn send_part(
        &self,
        patience: Patience,
        first: &TxFrame<'_>,
        frames: &[TxFrame<'_>],
    ) -> io::Result<usize> {
        if first.key.is_some() && !self.parts.stamping.has_own_keys() {
            return self.send_frame_within(patience, first).map(|_| 1);
        }
        self.send_some(patience, frames).map_err(|error| explained(error, first))
    }

    /// Sends the first of these frames and as many more as one system call takes.
    #[inline]
    fn send_some<'a>(&'a self, patience: Patience, frames: &[TxFrame<'a>]) -> io::Result<usize> {
        let one_by_one = !self.parts.stamping.has_own_keys();
        let frames = frames.iter().take(SEND_MAX).take_while(|frame| !(one_by_one && frame.key.is_some()));
        self.transmit(patience, || self.send_at_once(frames.clone()))
    }

    /// Sends as many of these as one system call takes, up to one that cannot be what it asks to be. If that is the first,
    /// that is this call's error.
    fn send_at_once<'a, 'b>(&'a self, frames: impl Iterator<Item = &'b TxFrame<'a>>) -> io::Result<usize>
    where
        'a: 'b,
    {
        let mut invalid = None;
        let complete = |frame: &TxFrame<'a>, message: &mut FrameMessage<'a>| {
            message.data = frame.bytes;
            self.address(message, frame).map_err(|error| invalid = Some(error)).is_ok()
        };
        match (send_batch(self.tx(), frames, complete)?, invalid) {
            (0, Some(error)) => Err(error),
            (count, _) => Ok(count),
        }
    }

    /// Reads as many stamps of sent frames as are there and as `batch` has room for, in one system call; waits only for the
    /// first. Returns how many, at least one.
    ///
    /// The frames themselves are not returned, whatever [`Options::tx_payload`](crate::Options::tx_payload) says.
    ///
    /// # Errors
    ///
    /// Those of [`recv_tx`](Self::recv_tx) but [`InvalidData`](io::ErrorKind::InvalidData): a report that cannot be trusted is
    /// left out and counted, [`Stats::malformed`](crate::Stats::malformed).
    ///
    /// # Kernel
    ///
    /// Linux 2.6.33: recvmmsg(2).
    #[doc(alias("recvmmsg", "MSG_ERRQUEUE"))]
    pub fn recv_tx_batch(&self, batch: &mut TxReportBatch) -> io::Result<usize> {
        self.recv_tx_batch_within(Patience::Deadline, batch)
    }

    pub(super) fn recv_tx_batch_within(&self, patience: Patience, batch: &mut TxReportBatch) -> io::Result<usize> {
        self.stamp_reader().read_batch(batch, &self.waits.tx_stamp, patience)
    }
}
