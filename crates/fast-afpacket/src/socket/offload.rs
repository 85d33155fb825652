//! Frames of which a part of the work is left to the kernel or the card.

use std::io;

use super::PacketSocket;
use crate::meta::RxMeta;
use crate::offload::{HEADER_LEN, Offload};
use crate::sys;
use crate::tx_frame::TxFrame;
use crate::tx_report::TxKey;
use crate::wait::Patience;

/// Checksums and segments left to the kernel or the card: [`Options::offload`](crate::Options::offload).
impl PacketSocket {
    /// Sends a frame and has the kernel or the card do what is left: finish a checksum, cut it into segments. Returns the
    /// length of the frame.
    ///
    /// A frame that is to be cut may be longer than the MTU. The interface cuts it, or hands it on whole if it can do so
    /// (veth can, a card does at the last moment): `ethtool -K` decides. A receiver of segments on one machine may
    /// therefore see one long frame.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send); `EINVAL` if the offload does not fit the frame;
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) on a socket without [`Options::offload`](crate::Options::offload).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use fast_afpacket::{Interface, Offload, PacketSocket};
    /// # fn sixty_thousand_bytes_of_udp() -> Vec<u8> { Vec::new() }
    /// let socket = PacketSocket::options().offload(true).bind(&Interface::by_name("eth1")?)?;
    /// let mut frame = sixty_thousand_bytes_of_udp();
    /// let offload = Offload::segments(&mut frame, 1400)?;
    /// socket.send_offloaded(&frame, &offload)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("PACKET_VNET_HDR", "GSO", "virtio_net_hdr"))]
    pub fn send_offloaded(&self, frame: &[u8], offload: &Offload) -> io::Result<usize> {
        self.send_frame(&TxFrame::new(frame).offload(*offload))
    }

    /// [`send_offloaded`](Self::send_offloaded) with stamps, as [`send_keyed`](Self::send_keyed) asks for them. A frame
    /// that is cut has the stamps of one frame.
    ///
    /// # Errors
    ///
    /// See both.
    pub fn send_offloaded_keyed(&self, frame: &[u8], offload: &Offload, key: TxKey) -> io::Result<usize> {
        self.send_frame(&TxFrame::new(frame).offload(*offload).key(key))
    }

    /// [`recv`](Self::recv) of a frame behind its offload.
    pub(super) fn recv_with_head(&self, patience: Patience, buf: &mut [u8]) -> io::Result<RxMeta> {
        let mut head = [0; HEADER_LEN];
        let meta = self.receive_by(patience, |address, control, flags| {
            sys::receive_with_head(self.rx(), &mut head, buf, address, control, flags).map(without_head)
        })?;
        Ok(with_what_head_says(meta, head))
    }
}

/// What was received, but for what stands before the frame.
pub(super) fn without_head(received: sys::Received) -> sys::Received {
    sys::Received { len: received.len.saturating_sub(HEADER_LEN), ..received }
}

/// With what stood before the frame.
pub(super) fn with_what_head_says(meta: RxMeta, head: [u8; HEADER_LEN]) -> RxMeta {
    RxMeta { offload: Some(Offload::from_bytes(head)), ..meta }
}
