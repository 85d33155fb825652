//! The calls that do not wait, of a socket of tasks.

use std::io;

use super::AsyncPacketSocket;
use crate::addr::PacketAddr;
use crate::batch::{RecvBatch, TxReportBatch};
use crate::meta::RxMeta;
use crate::tx_frame::TxFrame;
use crate::tx_report::{TxKey, TxReport};

/// Without waiting. Those of [`PacketSocket`](crate::PacketSocket) of the same name, which say the rest.
impl AsyncPacketSocket {
    /// [`recv`](Self::recv), or `EAGAIN` when no frame is there.
    ///
    /// # Errors
    ///
    /// See [`PacketSocket::try_recv`](crate::PacketSocket::try_recv).
    pub fn try_recv(&self, buf: &mut [u8]) -> io::Result<RxMeta> {
        self.get_ref().try_recv(buf)
    }

    /// [`recv_from`](Self::recv_from), or `EAGAIN` when no frame is there.
    ///
    /// # Errors
    ///
    /// See [`PacketSocket::try_recv_from`](crate::PacketSocket::try_recv_from).
    pub fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, PacketAddr)> {
        self.get_ref().try_recv_from(buf)
    }

    /// [`recv_batch`](Self::recv_batch), or `EAGAIN` when no frame is there.
    ///
    /// # Errors
    ///
    /// See [`PacketSocket::try_recv_batch`](crate::PacketSocket::try_recv_batch).
    pub fn try_recv_batch(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        self.get_ref().try_recv_batch(batch)
    }

    /// [`send`](Self::send), or `EAGAIN` when the send buffer has no room.
    ///
    /// # Errors
    ///
    /// See [`PacketSocket::try_send`](crate::PacketSocket::try_send).
    pub fn try_send(&self, frame: &[u8]) -> io::Result<usize> {
        self.get_ref().try_send(frame)
    }

    /// [`send_to`](Self::send_to), or `EAGAIN` when the send buffer has no room.
    ///
    /// # Errors
    ///
    /// See [`PacketSocket::try_send_to`](crate::PacketSocket::try_send_to).
    pub fn try_send_to(&self, bytes: &[u8], address: &PacketAddr) -> io::Result<usize> {
        self.get_ref().try_send_to(bytes, address)
    }

    /// [`send_keyed`](Self::send_keyed), or `EAGAIN` when the send buffer has no room.
    ///
    /// # Errors
    ///
    /// See [`PacketSocket::try_send_keyed`](crate::PacketSocket::try_send_keyed).
    pub fn try_send_keyed(&self, frame: &[u8], key: TxKey) -> io::Result<usize> {
        self.get_ref().try_send_keyed(frame, key)
    }

    /// [`send_frame`](Self::send_frame), or `EAGAIN` when the send buffer has no room.
    ///
    /// # Errors
    ///
    /// See [`PacketSocket::try_send_frame`](crate::PacketSocket::try_send_frame).
    pub fn try_send_frame(&self, frame: &TxFrame<'_>) -> io::Result<usize> {
        self.get_ref().try_send_frame(frame)
    }

    /// [`send_batch`](Self::send_batch), or `EAGAIN` when the send buffer has no room for the first.
    ///
    /// # Errors
    ///
    /// See [`PacketSocket::try_send_batch`](crate::PacketSocket::try_send_batch).
    pub fn try_send_batch(&self, frames: &[TxFrame<'_>]) -> io::Result<usize> {
        self.get_ref().try_send_batch(frames)
    }

    /// [`recv_tx`](Self::recv_tx), or `EAGAIN` when no stamp is there.
    ///
    /// # Errors
    ///
    /// See [`PacketSocket::try_recv_tx`](crate::PacketSocket::try_recv_tx).
    pub fn try_recv_tx(&self, buf: &mut [u8]) -> io::Result<TxReport> {
        self.get_ref().try_recv_tx(buf)
    }

    /// [`recv_tx_batch`](Self::recv_tx_batch), or `EAGAIN` when no stamp is there.
    ///
    /// # Errors
    ///
    /// See [`PacketSocket::try_recv_tx_batch`](crate::PacketSocket::try_recv_tx_batch).
    pub fn try_recv_tx_batch(&self, batch: &mut TxReportBatch) -> io::Result<usize> {
        self.get_ref().try_recv_tx_batch(batch)
    }
}
