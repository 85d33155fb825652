//! The calls of those who wait elsewhere.

use std::io;

use super::PacketSocket;
use crate::addr::PacketAddr;
use crate::batch::{RecvBatch, TxReportBatch};
use crate::meta::RxMeta;
use crate::tx_frame::TxFrame;
use crate::tx_report::{TxKey, TxReport};
use crate::wait::Patience;

/// Without waiting, whatever deadlines and [`set_nonblocking`](Self::set_nonblocking) say: for a poller of your own, or an
/// asynchronous runtime other than tokio.
///
/// Poll [`as_fd`](std::os::fd::AsFd::as_fd) for input (`EPOLLIN`) and errors (`EPOLLERR`: the link went down), and
/// [`tx_fd`](Self::tx_fd) for errors (a TX stamp has come) and, after a send that said `WouldBlock`, for output
/// (`EPOLLOUT`). Poll edge-triggered, and on each edge call until it says [`WouldBlock`](io::ErrorKind::WouldBlock): an unread
/// stamp is an error condition that stays set, and a level-triggered poll for anything else returns at once because of it.
/// With one socket (not [dual](crate::Options::dual)) the two descriptors are one, and an error may be either's.
///
/// [`close`](Self::close) wakes nobody who polls, and of an interface that went down the kernel does not say when it is
/// removed: look now and then. The example `epoll` has all of it.
///
/// A try that fails with [`WouldBlock`](io::ErrorKind::WouldBlock) has done nothing. The other errors are those of the call that
/// waits.
impl PacketSocket {
    /// [`recv`](Self::recv) without waiting.
    ///
    /// # Errors
    ///
    /// `EAGAIN` when no frame is there; otherwise see [`recv`](Self::recv).
    #[doc(alias = "MSG_DONTWAIT")]
    pub fn try_recv(&self, buf: &mut [u8]) -> io::Result<RxMeta> {
        self.recv_within(Patience::None, buf)
    }

    /// [`recv_from`](Self::recv_from) without waiting.
    ///
    /// # Errors
    ///
    /// See [`try_recv`](Self::try_recv).
    pub fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, PacketAddr)> {
        let meta = self.try_recv(buf)?;
        Ok((meta.len, meta.from))
    }

    /// [`recv_batch`](Self::recv_batch) without waiting.
    ///
    /// # Errors
    ///
    /// `EAGAIN` when no frame is there; otherwise see [`recv_batch`](Self::recv_batch).
    pub fn try_recv_batch(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        self.recv_batch_within(Patience::None, batch)
    }

    /// [`send`](Self::send) without waiting.
    ///
    /// # Errors
    ///
    /// `EAGAIN` when the send buffer has no room; otherwise see [`send`](Self::send).
    pub fn try_send(&self, frame: &[u8]) -> io::Result<usize> {
        self.send_within(Patience::None, frame)
    }

    /// [`send_to`](Self::send_to) without waiting.
    ///
    /// # Errors
    ///
    /// See [`try_send_frame`](Self::try_send_frame).
    pub fn try_send_to(&self, bytes: &[u8], address: &PacketAddr) -> io::Result<usize> {
        self.try_send_frame(&TxFrame::new(bytes).to(*address))
    }

    /// [`send_keyed`](Self::send_keyed) without waiting.
    ///
    /// # Errors
    ///
    /// See [`try_send_frame`](Self::try_send_frame).
    pub fn try_send_keyed(&self, frame: &[u8], key: TxKey) -> io::Result<usize> {
        self.try_send_frame(&TxFrame::new(frame).key(key))
    }

    /// [`send_frame`](Self::send_frame) without waiting.
    ///
    /// # Errors
    ///
    /// `EAGAIN` when the send buffer has no room; otherwise see [`send_frame`](Self::send_frame).
    pub fn try_send_frame(&self, frame: &TxFrame<'_>) -> io::Result<usize> {
        self.send_frame_within(Patience::None, frame)
    }

    /// Sends the first of these frames and as many more as one system call takes, without waiting. Returns how many: 0 only
    /// of none.
    ///
    /// # Errors
    ///
    /// That of the first frame, as [`try_send_frame`](Self::try_send_frame) gives it. A frame further back that is refused
    /// ends the call before it, and is the first of the next.
    #[doc(alias = "sendmmsg")]
    pub fn try_send_batch(&self, frames: &[TxFrame<'_>]) -> io::Result<usize> {
        match frames {
            [] => Ok(0),
            [first, ..] => self.send_part(Patience::None, first, frames),
        }
    }

    /// [`recv_tx`](Self::recv_tx) without waiting. When no stamp is there, the error condition may be that of the link: it
    /// is read, and told to a call that receives too.
    ///
    /// # Errors
    ///
    /// `EAGAIN` when no stamp is there; otherwise see [`recv_tx`](Self::recv_tx).
    #[doc(alias = "MSG_ERRQUEUE")]
    pub fn try_recv_tx(&self, buf: &mut [u8]) -> io::Result<TxReport> {
        self.recv_tx_within(Patience::None, buf)
    }

    /// [`recv_tx_batch`](Self::recv_tx_batch) without waiting; see [`try_recv_tx`](Self::try_recv_tx).
    ///
    /// # Errors
    ///
    /// `EAGAIN` when no stamp is there; otherwise see [`recv_tx_batch`](Self::recv_tx_batch).
    pub fn try_recv_tx_batch(&self, batch: &mut TxReportBatch) -> io::Result<usize> {
        self.recv_tx_batch_within(Patience::None, batch)
    }
}

/// What a socket of tasks needs of it.
#[cfg(feature = "tokio")]
impl PacketSocket {
    pub(crate) const fn waits(&self) -> &crate::wait::Waits {
        &self.waits
    }

    /// Whether it sends through a descriptor of its own.
    pub(crate) const fn is_dual(&self) -> bool {
        self.parts.tx.is_some()
    }

    /// Gives a borrowed setting back, before the socket is dropped.
    pub(crate) fn give_nic_back(&mut self) {
        self.parts.bound.belongings().nic_loan = None;
    }
}
