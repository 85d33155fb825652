//! Sending frames, with stamps and without.

use std::io;

use super::PacketSocket;
use super::transmit::{FrameMessage, explained};
use crate::addr::PacketAddr;
use crate::sys::{self, Destination};
use crate::timestamp::Timestamping;
use crate::tx_frame::TxFrame;
use crate::tx_report::TxKey;
use crate::wait::Patience;

/// Sending.
impl PacketSocket {
    /// Sends a frame, whole, from its link-layer header on. No stamp is taken.
    ///
    /// A return without error says that the kernel took the frame, not that it left: about a second after a link has
    /// lost its carrier the kernel accepts frames and throws them away.
    ///
    /// # Errors
    ///
    /// `EMSGSIZE` if it is longer than the link allows, `EINVAL` if it is shorter than a link-layer header,
    /// `ENOBUFS` if a queue refused it, `ENETDOWN` while the interface is down, `ENODEV` when it is gone, `ETIMEDOUT`
    /// and `EAGAIN` as for [`recv`](Self::recv) when the send buffer is full, `ECONNABORTED` after
    /// [`close`](Self::close), [`InvalidInput`](io::ErrorKind::InvalidInput) on a cooked socket, which needs an address.
    #[doc(alias = "sendto")]
    pub fn send(&self, frame: &[u8]) -> io::Result<usize> {
        self.send_within(Patience::Deadline, frame)
    }

    #[inline(always)]
    pub(super) fn send_within(&self, patience: Patience, frame: &[u8]) -> io::Result<usize> {
        if !self.sends_plainly {
            return self.send_frame_within(patience, &TxFrame::new(frame));
        }
        self.transmit(patience, || sys::send(self.tx(), frame, Destination::interface(self.own_interface())))
    }

    /// Sends to an address: on a cooked socket `bytes` is the payload of the frame and the address says destination and
    /// EtherType. On a raw socket `bytes` is the frame, which has an address already; the one given is not used.
    ///
    /// # Errors
    ///
    /// See [`send`](Self::send); [`InvalidInput`](io::ErrorKind::InvalidInput) if a cooked frame would have no EtherType.
    #[doc(alias = "WriteTo")]
    pub fn send_to(&self, bytes: &[u8], address: &PacketAddr) -> io::Result<usize> {
        self.send_frame(&TxFrame::new(bytes).to(*address))
    }

    /// Sends a frame and asks for its stamps, which [`recv_tx`](Self::recv_tx) will return with this key.
    ///
    /// # Errors
    ///
    /// See [`send`](Self::send). [`InvalidInput`](io::ErrorKind::InvalidInput) if no TX stamps were asked for when
    /// the socket was opened. A frame that is refused with `ENOBUFS` may still have stamps: it got as far as the queue.
    #[doc(alias = "SCM_TS_OPT_ID")]
    pub fn send_keyed(&self, frame: &[u8], key: TxKey) -> io::Result<usize> {
        self.send_frame_within(Patience::Deadline, &TxFrame::new(frame).key(key))
    }

    /// [`send_keyed`](Self::send_keyed) with only these of the stamps that the socket asks for.
    ///
    /// A busy sender takes software stamps of every frame and a hardware stamp of one in some: the card's few places
    /// for stamps are then left to others, a PTP daemon above all.
    ///
    /// # Errors
    ///
    /// See [`send_keyed`](Self::send_keyed). [`InvalidInput`](io::ErrorKind::InvalidInput) for stamps that were not asked
    /// for when the socket was opened, and for none.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use fast_afpacket::{Interface, PacketSocket, Timestamping, TxKey};
    ///
    /// let socket = PacketSocket::options().timestamping(Timestamping::all()).bind(&Interface::by_name("eth1")?)?;
    /// let software = Timestamping::TX_SCHEDULED | Timestamping::TX_SOFTWARE;
    /// for number in 0..1_000 {
    ///     let stamps = if number % 100 == 0 { Timestamping::TX } else { software };
    ///     socket.send_stamped(&[0xff; 60], TxKey::new(number), stamps)?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Kernel
    ///
    /// Linux 4.8: a control message `SO_TIMESTAMPING` for one frame.
    #[doc(alias = "SO_TIMESTAMPING")]
    pub fn send_stamped(&self, frame: &[u8], key: TxKey, stamps: Timestamping) -> io::Result<usize> {
        self.send_frame(&TxFrame::new(frame).key(key).stamps(stamps))
    }

    /// [`send_to`](Self::send_to) with stamps, as [`send_keyed`](Self::send_keyed) asks for them.
    ///
    /// # Errors
    ///
    /// See both.
    pub fn send_to_keyed(&self, bytes: &[u8], address: &PacketAddr, key: TxKey) -> io::Result<usize> {
        self.send_frame(&TxFrame::new(bytes).to(*address).key(key))
    }

    /// Sends a frame with all that is asked for it: any combination of what the other methods of this kind do, and a
    /// priority. Returns the length of the frame.
    ///
    /// ```no_run
    /// use fast_afpacket::{Interface, PacketSocket, TxFrame, TxKey};
    ///
    /// let socket = PacketSocket::bind(&Interface::by_name("eth1")?)?;
    /// socket.send_frame(&TxFrame::new(&[0xff; 60]).key(TxKey::new(7)).priority(6))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`send`](Self::send) and the method for each thing that is asked. `EPERM` for a priority above 6 without
    /// `CAP_NET_RAW` or `CAP_NET_ADMIN`; [`Unsupported`](io::ErrorKind::Unsupported) for one before Linux 6.14.
    #[doc(alias = "sendmsg")]
    pub fn send_frame(&self, frame: &TxFrame<'_>) -> io::Result<usize> {
        self.send_frame_within(Patience::Deadline, frame)
    }

    /// [`send_frame`](Self::send_frame), without the questions whose answers the caller knows.
    #[inline(always)]
    pub(super) fn send_frame_within(&self, patience: Patience, frame: &TxFrame<'_>) -> io::Result<usize> {
        let mut message = FrameMessage::new(frame.bytes);
        self.address(&mut message, frame)?;
        // As `transmit` does it, but for the first attempt, which is part of this function: worth a third of `send_keyed`.
        self.waits.check_open()?;
        let sent = match self.send_once(&message, frame) {
            Ok(len) => Ok(len),
            Err(error) => self.transmit_again(error, patience, || self.send_once(&message, frame)),
        };
        match sent {
            Ok(len) => Ok(len.saturating_sub(message.head_len())),
            Err(error) => Err(explained(error, frame)),
        }
    }

    /// One system call, and an entry in the ledger where the kernel counts the frames with keys.
    #[inline(always)]
    fn send_once(&self, message: &FrameMessage<'_>, frame: &TxFrame<'_>) -> io::Result<usize> {
        match frame.key {
            Some(key) if !self.parts.stamping.has_own_keys() => self.send_counted(message, frame, key),
            _ => sys::send_message(self.tx(), message),
        }
    }

    #[inline(never)]
    fn send_counted(&self, message: &FrameMessage<'_>, frame: &TxFrame<'_>, key: TxKey) -> io::Result<usize> {
        let stamps = self.stamps_of(frame);
        self.parts.stamping.send_counted(self.tx(), |ledger| {
            let result = sys::send_message(self.tx(), message);
            match &result {
                Ok(_) => ledger.sent(key, stamps),
                Err(error) => ledger.refused(key, stamps, self.refusal(error, frame)),
            }
            result
        })?
    }
}
