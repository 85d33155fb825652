//! The socket: its life and its data path. What can be changed on a live one is in [`control`].

mod control;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::addr::{EtherType, PacketAddr};
use crate::error::Error;
use crate::interface::{Interface, InterfaceFlags};
use crate::meta::{Ancillary, RxMeta};
use crate::options::{Granted, Options};
use crate::stamping::{self, Stamp, Stamping};
use crate::stats::Counters;
use crate::sys::cmsg::ControlBuffer;
use crate::sys::{self, abi, ioctl, sockopt};
use crate::timestamp::{Timestamping, Timestamps, TxKey, TxReport};
use crate::tx_keys::{Refusal, Situation};
use crate::wait::{Owed, Target, Waiting, Waits};
use control::Memberships;

/// A socket that sends and receives frames on one interface, with their timestamps: `AF_PACKET`, packet(7).
///
/// Its methods take `&self`; any number of threads may use it at once. A thread that waits for a frame never delays one
/// that waits for a TX stamp, nor the reverse.
///
/// Every wait ends at its deadline ([`set_read_deadline`](Self::set_read_deadline) and its kin), with
/// [`close`](Self::close), or when the interface goes away. Dropping the socket frees all of it.
///
/// # Unread TX stamps
///
/// The kernel keeps unread TX stamps in the receive buffer of the sending socket, 255 at the default size, and loses
/// later ones without a word. In dual mode ([`Options::dual`]) they leave the received frames alone. With one socket they
/// share the buffer: stamps left unread make the kernel drop frames, and frames left unread make it lose stamps.
///
/// # When the interface goes down, or away
///
/// One call that receives or waits for a TX stamp fails with `ENETDOWN`; frames that were received before remain
/// readable. Once the interface is up again the same socket goes on. When it is removed, or moved to another network
/// namespace, every call fails with `ENODEV` as soon as the received frames are read; the socket must be opened anew.
///
/// # Examples
///
/// ```no_run
/// use fast_afpacket::{Interface, PacketSocket, TxKey};
///
/// let socket = PacketSocket::bind(&Interface::by_name("eth1")?)?;
/// let frame = [0xff; 60];
/// socket.send_keyed(&frame, TxKey::new(1))?;
/// let report = socket.recv_tx(&mut [])?;
/// println!("{:?} {:?} {:?}", report.key, report.stage, report.timestamps.software);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias("Conn", "AF_PACKET", "packet"))]
pub struct PacketSocket {
    parts: Parts,
    /// Where a raw frame goes from a socket that is bound to a protocol: its own interface, protocol unsaid.
    to_interface: Option<libc::sockaddr_ll>,
    waits: Waits,
    counters: Counters,
    memberships: Mutex<Memberships>,
    /// Held while the filter is changed, which takes several steps.
    filter_change: Mutex<()>,
    /// The MTU at the last refusal that depended on it, to notice a change.
    mtu: AtomicU32,
}

/// What [`Options::bind`] makes a socket of.
pub(crate) struct Parts {
    pub(crate) rx: OwnedFd,
    pub(crate) tx: Option<OwnedFd>,
    pub(crate) interface: Interface,
    pub(crate) protocol: EtherType,
    pub(crate) cooked: bool,
    pub(crate) stamping: Stamping,
    pub(crate) granted: Granted,
}

impl PacketSocket {
    /// Opens a raw socket for all frames of this interface, with default options.
    ///
    /// # Errors
    ///
    /// See [`Options::bind`].
    pub fn bind(interface: &Interface) -> Result<Self, Error> {
        Self::options().bind(interface)
    }

    /// Options for a socket, to be changed before it is bound.
    pub fn options() -> Options {
        Options::default()
    }

    pub(crate) fn from_parts(parts: Parts) -> Self {
        // Bound to a protocol, the kernel would take that for every frame's. Protocol 0 makes it look into the frame.
        let to_interface =
            (!parts.cooked && parts.tx.is_none()).then(|| abi::link_address(0, parts.interface.index().cast_signed()));
        let mtu = parts.interface.query_through(parts.rx.as_fd(), ioctl::mtu);
        Self {
            parts,
            to_interface,
            waits: Waits::default(),
            counters: Counters::default(),
            memberships: Mutex::default(),
            filter_change: Mutex::default(),
            mtu: AtomicU32::new(mtu.unwrap_or(0)),
        }
    }

    /// Ends all waiting calls, within milliseconds, and makes every later one fail: with `ECONNABORTED`
    /// ([`io::ErrorKind::ConnectionAborted`]).
    ///
    /// The descriptors are freed when the socket is dropped.
    #[doc(alias = "Close")]
    pub fn close(&self) {
        self.waits.close();
    }
}

/// Receiving.
impl PacketSocket {
    /// Receives a frame into `buf`, with all that the kernel says of it.
    ///
    /// One system call when a frame is waiting. `buf` should have room for the MTU and 18 bytes; a frame that does not
    /// fit is cut and says so ([`RxMeta::is_truncated`]). Cards and virtual links that merge segments deliver frames of up
    /// to 64 KiB.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` ([`TimedOut`](io::ErrorKind::TimedOut)) when the read deadline has passed, `EAGAIN`
    /// ([`WouldBlock`](io::ErrorKind::WouldBlock)) when nothing is there and the socket is non-blocking, `ENETDOWN`
    /// once when the interface goes down, `ENODEV` when it is gone, `ECONNABORTED` after [`close`](Self::close),
    /// [`InvalidData`](io::ErrorKind::InvalidData) for metadata that cannot be trusted: that frame is lost.
    #[doc(alias("RecvRxTimestamps", "recvmsg"))]
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<RxMeta> {
        let mut address = abi::link_address(0, 0);
        let mut control = ControlBuffer::<256>::new();
        let mut waiting = None;
        loop {
            self.waits.check_open()?;
            match sys::receive(self.rx(), buf, &mut address, &mut control, 0) {
                Ok(received) => return self.describe(&received, &address, &control),
                Err(error) => self.receive_failed(error, &mut waiting)?,
            }
        }
    }

    /// Receives a frame into `buf` and says how long it is and where it came from.
    ///
    /// # Errors
    ///
    /// See [`recv`](Self::recv).
    #[doc(alias("ReadFrom", "recvfrom"))]
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, PacketAddr)> {
        let meta = self.recv(buf)?;
        Ok((meta.len, meta.from))
    }

    #[inline]
    fn describe(
        &self,
        received: &sys::Received,
        address: &libc::sockaddr_ll,
        control: &ControlBuffer<256>,
    ) -> io::Result<RxMeta> {
        if received.flags & libc::MSG_CTRUNC != 0 {
            return Err(stamping::control_was_cut());
        }
        let ancillary = Ancillary::parse(control.written(received.control_len))?;
        let asked = self.parts.granted.timestamping;
        let found = ancillary.timestamps;
        // Before Linux 6.12 a socket that asked for stamps of sent frames gets those of received ones too.
        let timestamps = Timestamps {
            software: found.software.filter(|_| asked.contains(Timestamping::RX_SOFTWARE)),
            hardware: found.hardware.filter(|_| asked.contains(Timestamping::RX_HARDWARE)),
        };
        let meta = RxMeta {
            len: received.len,
            wire_len: ancillary.wire_len.unwrap_or(received.len),
            from: PacketAddr::from_raw(address),
            timestamps,
            vlan: ancillary.vlan,
            checksum: ancillary.checksum,
        };
        if timestamps == Timestamps::NONE && asked.intersects(Timestamping::RX) {
            self.counters.unstamped.add(1);
        }
        if received.flags & libc::MSG_TRUNC != 0 {
            self.counters.truncated.add(1);
        }
        Ok(meta)
    }

    /// Nothing was received: waits, or says why not.
    #[cold]
    fn receive_failed<'a>(&'a self, error: io::Error, waiting: &mut Option<Waiting<'a>>) -> io::Result<()> {
        match error.raw_os_error() {
            Some(libc::EAGAIN) => {}
            Some(libc::ENETDOWN) => return Err(self.link_down(error, false)),
            _ => return Err(error),
        }
        self.park(waiting, || {
            let target = Target {
                fd: self.rx(),
                events: libc::POLLIN,
                // With one socket, unread TX stamps are an error condition that is none of this call's.
                edge_triggered: self.parts.tx.is_none() && self.parts.stamping.gives_tx_stamps(),
                errors_of: None,
            };
            self.waits.receive.begin(&self.waits, target)
        })
    }
}

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
        self.transmit(|| sys::send(self.tx(), frame, to))
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
        let to = self.bound_destination()?;
        self.transmit_keyed(frame, to, key)
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
        self.transmit_keyed(bytes, Some(&to), key)
    }

    fn transmit_keyed(&self, bytes: &[u8], to: Option<&libc::sockaddr_ll>, key: TxKey) -> io::Result<usize> {
        let tx = self.tx();
        self.transmit(|| {
            let send = |control: &[u8]| sys::send_with_control(tx, bytes, to, control);
            let refusal = |error: &io::Error| self.refusal(error, bytes.len());
            self.parts.stamping.send(tx, key, send, refusal)
        })
    }

    #[inline]
    fn bound_destination(&self) -> io::Result<Option<&libc::sockaddr_ll>> {
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
    fn transmit(&self, mut send: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
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
                if !*was_down && self.is_up() {
                    *was_down = true;
                    if self.parts.tx.is_none() {
                        self.waits.receive.owe_link_down(Owed::AnyCall);
                    }
                    return Ok(());
                }
                return Err(self.gone_or(error));
            }
            Some(libc::ENXIO | libc::ENODEV) => return Err(self.gone_or(error)),
            _ => return Err(error),
        }
        self.park(waiting, || {
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
    fn refusal(&self, error: &io::Error, len: usize) -> Refusal {
        let situation = Situation { max_len: self.max_len(), is_up: self.is_up() };
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

/// The stamps of sent frames.
impl PacketSocket {
    /// Returns a stamp of a frame that was sent with a key.
    ///
    /// Each stage of a frame that was asked for gives a report of its own. Whether and when one comes is up to
    /// driver and NIC: wait with a deadline. `buf` receives the frame itself only with
    /// [`Options::tx_payload`]; otherwise an empty one will do.
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

/// The state of the link.
impl PacketSocket {
    /// Waits for what a call lacks. `begin` makes the waiting, once.
    fn park<'a>(
        &'a self,
        waiting: &mut Option<Waiting<'a>>,
        begin: impl FnOnce() -> io::Result<Waiting<'a>>,
    ) -> io::Result<()> {
        if self.waits.is_link_watched() {
            self.look_after_link();
        }
        match waiting {
            Some(waiting) => waiting.park(),
            None => waiting.insert(begin()?).park(),
        }
    }

    /// The kernel's one report that the link went down was read, by a TX-stamp reader or by a receiver: lets the other
    /// know, and finds out whether the interface is there at all.
    #[cold]
    fn link_down(&self, error: io::Error, by_stamp_reader: bool) -> io::Error {
        // If it is removed later, or is just being removed, the kernel will say no more: waits have to look.
        self.waits.watch_link(true);
        if by_stamp_reader {
            self.waits.receive.owe_link_down(Owed::AnyCall);
        } else {
            self.waits.tx_stamp.owe_link_down(Owed::WaitingCall);
        }
        self.gone_or(error)
    }

    /// After a link went down: is it gone, or up again?
    #[cold]
    fn look_after_link(&self) {
        if self.is_gone() {
            self.waits.set_gone();
        } else if self.is_up() {
            self.waits.watch_link(false);
        }
    }

    /// `ENODEV` if the interface is gone, which ends all waits for good, `error` otherwise.
    #[cold]
    fn gone_or(&self, error: io::Error) -> io::Error {
        if self.is_gone() {
            self.waits.set_gone();
            return io::Error::from_raw_os_error(libc::ENODEV);
        }
        error
    }

    /// The kernel unbinds a socket from an interface that was removed, or moved to another network namespace.
    fn is_gone(&self) -> bool {
        const UNBOUND: i32 = -1;
        sys::local_address(self.rx()).is_ok_and(|address| address.sll_ifindex == UNBOUND)
    }

    fn is_up(&self) -> bool {
        let flags = self.parts.interface.query_through(self.rx(), ioctl::flags);
        flags.is_ok_and(|flags| InterfaceFlags::from_bits_retain(flags).contains(InterfaceFlags::UP))
    }
}

/// Deadlines. A call that waits already goes by a new deadline at once, whichever thread sets it.
///
/// What is there already is returned also after the deadline: it bounds waiting, not reading.
impl PacketSocket {
    /// Sets all three deadlines.
    #[doc(alias = "SetDeadline")]
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        self.set_read_deadline(deadline);
        self.set_write_deadline(deadline);
        self.set_tx_deadline(deadline);
    }

    /// Sets until when [`recv`](Self::recv) waits; `None` is for ever.
    #[doc(alias("SetReadDeadline", "SO_RCVTIMEO"))]
    pub fn set_read_deadline(&self, deadline: Option<Instant>) {
        self.waits.receive.set_deadline(deadline);
    }

    /// Sets until when [`send`](Self::send) waits for room in the send buffer; `None` is for ever.
    #[doc(alias("SetWriteDeadline", "SO_SNDTIMEO"))]
    pub fn set_write_deadline(&self, deadline: Option<Instant>) {
        self.waits.send.set_deadline(deadline);
    }

    /// Sets until when [`recv_tx`](Self::recv_tx) waits; `None` is for ever.
    pub fn set_tx_deadline(&self, deadline: Option<Instant>) {
        self.waits.tx_stamp.set_deadline(deadline);
    }

    /// Makes calls fail with `EAGAIN` instead of waiting, or wait again. Deadlines do not count meanwhile.
    ///
    /// To wait with a poller of your own, poll [`as_fd`](AsFd::as_fd) for frames and [`tx_fd`](Self::tx_fd) for
    /// stamps, which the kernel signals as an error condition (`POLLERR`, `EPOLLERR`).
    #[doc(alias = "O_NONBLOCK")]
    pub fn set_nonblocking(&self, nonblocking: bool) {
        self.waits.set_nonblocking(nonblocking);
    }
}

/// What it is.
impl PacketSocket {
    /// The interface that the socket was bound to, with the name that it had then.
    pub const fn interface(&self) -> &Interface {
        &self.parts.interface
    }

    /// What the kernel agreed to.
    pub const fn granted(&self) -> Granted {
        self.parts.granted
    }

    /// The address of the socket: the interface's MAC address and index, and the protocol.
    ///
    /// # Errors
    ///
    /// `ENODEV` when the interface is gone.
    #[doc(alias("LocalAddr", "getsockname"))]
    pub fn local_addr(&self) -> io::Result<PacketAddr> {
        let address = sys::local_address(self.rx())?;
        if address.sll_ifindex < 0 {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        Ok(PacketAddr::from_raw(&address))
    }

    /// The descriptor that frames are sent through and that TX stamps come from: in dual mode another one than
    /// [`as_fd`](AsFd::as_fd).
    pub fn tx_fd(&self) -> BorrowedFd<'_> {
        self.tx()
    }

    #[inline]
    fn rx(&self) -> BorrowedFd<'_> {
        self.parts.rx.as_fd()
    }

    #[inline]
    fn tx(&self) -> BorrowedFd<'_> {
        self.parts.tx.as_ref().unwrap_or(&self.parts.rx).as_fd()
    }
}

/// The descriptor that frames are received from.
impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.rx()
    }
}

impl fmt::Debug for PacketSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketSocket")
            .field("interface", &self.parts.interface)
            .field("protocol", &self.parts.protocol)
            .field("cooked", &self.parts.cooked)
            .field("rx", &self.parts.rx)
            .field("tx", &self.parts.tx)
            .finish_non_exhaustive()
    }
}
