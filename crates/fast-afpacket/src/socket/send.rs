//! Sending frames, with stamps and without.

use std::io;
use std::sync::atomic::Ordering;

use super::PacketSocket;
use crate::addr::{EtherType, PacketAddr};
use crate::offload::Offload;
use crate::sys::{self, ioctl};
use crate::timestamp::Timestamping;
use crate::tx_keys::{Refusal, Situation};
use crate::tx_report::TxKey;
use crate::wait::{Owed, Target, Waiting};

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
        let to = self.bound_destination()?;
        match self.parts.offload {
            false => self.transmit(|| sys::send(self.tx(), frame, to)),
            true => self.send_with_head(frame, to, Offload::NONE),
        }
    }

    /// Sends to an address: on a cooked socket `bytes` is the payload of the frame and the address says destination and
    /// EtherType. On a raw socket `bytes` is the frame, which has an address already; the one given is not used.
    ///
    /// # Errors
    ///
    /// See [`send`](Self::send); [`InvalidInput`](io::ErrorKind::InvalidInput) if a cooked frame would have no EtherType.
    #[doc(alias = "WriteTo")]
    pub fn send_to(&self, bytes: &[u8], address: &PacketAddr) -> io::Result<usize> {
        if !self.parts.cooked {
            return self.send(bytes);
        }
        let to = self.cooked_destination(address)?;
        self.transmit(|| sys::send(self.tx(), bytes, Some(&to)))
    }

    /// Sends a frame and asks for its stamps, which [`recv_tx`](Self::recv_tx) will return with this key.
    ///
    /// # Errors
    ///
    /// See [`send`](Self::send). [`InvalidInput`](io::ErrorKind::InvalidInput) if no TX stamps were asked for when
    /// the socket was opened. A frame that is refused with `ENOBUFS` may still have stamps: it got as far as the queue.
    #[doc(alias = "SCM_TS_OPT_ID")]
    pub fn send_keyed(&self, frame: &[u8], key: TxKey) -> io::Result<usize> {
        self.send_stamped(frame, key, self.parts.stamping.stamps())
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
        let to = self.bound_destination()?;
        match self.parts.offload {
            false => self.transmit_keyed(frame, to, key, stamps),
            true => self.send_keyed_with_head(frame, to, Offload::NONE, key, stamps),
        }
    }

    /// [`send_to`](Self::send_to) with stamps, as [`send_keyed`](Self::send_keyed) asks for them.
    ///
    /// # Errors
    ///
    /// See both.
    pub fn send_to_keyed(&self, bytes: &[u8], address: &PacketAddr, key: TxKey) -> io::Result<usize> {
        if !self.parts.cooked {
            return self.send_keyed(bytes, key);
        }
        let to = self.cooked_destination(address)?;
        self.transmit_keyed(bytes, Some(&to), key, self.parts.stamping.stamps())
    }

    fn transmit_keyed(
        &self,
        bytes: &[u8],
        to: Option<&libc::sockaddr_ll>,
        key: TxKey,
        stamps: Timestamping,
    ) -> io::Result<usize> {
        self.parts.stamping.check(stamps)?;
        let tx = self.tx();
        self.transmit(|| {
            let send = |control: &[u8]| sys::send_with_control(tx, bytes, to, control);
            let refusal = |error: &io::Error| self.refusal(error, bytes.len());
            self.parts.stamping.send(tx, (key, stamps), send, refusal)
        })
    }

    #[inline]
    pub(super) fn bound_destination(&self) -> io::Result<Option<&libc::sockaddr_ll>> {
        if self.parts.cooked {
            let why = "a cooked socket needs an address to send to: use send_to";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Ok(self.to_interface.as_ref())
    }

    /// The EtherType goes onto the wire: that of the address or, where it says none, that of the socket.
    fn cooked_destination(&self, address: &PacketAddr) -> io::Result<libc::sockaddr_ll> {
        let unsaid = |ether_type: EtherType| ether_type == EtherType::ALL || ether_type.value() == 0;
        let candidates = [address.ether_type(), self.parts.protocol];
        let Some(ether_type) = candidates.into_iter().find(|&candidate| !unsaid(candidate)) else {
            let why = "the address has no EtherType and the socket is bound to all: the frame would have none";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        };
        Ok(address.to_raw(ether_type, self.parts.interface.index().cast_signed()))
    }

    #[inline]
    pub(super) fn transmit(&self, mut send: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
        let mut waiting = None;
        let mut was_down = false;
        loop {
            self.waits.check_open()?;
            match send() {
                Ok(len) => return Ok(len),
                Err(error) => self.send_failed(error, &mut was_down, &mut waiting)?,
            }
        }
    }

    /// A frame was not taken: waits for room, sees through an error that is not this frame's, or says why not.
    #[cold]
    fn send_failed<'a>(
        &'a self,
        error: io::Error,
        was_down: &mut bool,
        waiting: &mut Option<Waiting<'a>>,
    ) -> io::Result<()> {
        match error.raw_os_error() {
            Some(libc::EAGAIN) => {}
            Some(libc::ENETDOWN) => {
                // An earlier "down" that nobody has read yet is reported to whoever comes first, also to a sender on an
                // interface that is up again. It is a receiver's to know.
                if !*was_down && self.link().is_up() {
                    *was_down = true;
                    if self.parts.tx.is_none() {
                        self.waits.receive.owe_link_down(Owed::AnyCall);
                    }
                    return Ok(());
                }
                return Err(self.link().gone_or(error));
            }
            Some(libc::ENXIO | libc::ENODEV) => return Err(self.link().gone_or(error)),
            _ => return Err(error),
        }
        self.link().park(waiting, None, || {
            let target = Target {
                fd: self.tx(),
                events: libc::POLLOUT,
                edge_triggered: self.parts.stamping.gives_tx_stamps(),
                errors_of: None,
            };
            self.waits.send.begin(&self.waits, target)
        })
    }

    /// Whether a refused keyed send has used up one of the kernel's numbers.
    #[cold]
    pub(super) fn refusal(&self, error: &io::Error, len: usize) -> Refusal {
        let situation = Situation { max_len: self.max_len(), is_up: self.link().is_up() };
        Refusal::of(error.raw_os_error(), len, situation)
    }

    /// The longest frame that may be sent without a VLAN tag; `None` for links that we do not know, and if the MTU has
    /// changed since the last time.
    fn max_len(&self) -> Option<usize> {
        const ETHERNET_HEADER: usize = 14;
        let interface = &self.parts.interface;
        let (kind, _) = interface.query_through(self.tx(), ioctl::hardware_address).ok()?;
        let header = match kind {
            _ if self.parts.cooked => 0,
            libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => ETHERNET_HEADER,
            _ => return None,
        };
        let mtu = interface.query_through(self.tx(), ioctl::mtu).ok()?;
        if self.mtu.swap(mtu, Ordering::Relaxed) != mtu {
            return None;
        }
        usize::try_from(mtu).ok()?.checked_add(header)
    }
}
