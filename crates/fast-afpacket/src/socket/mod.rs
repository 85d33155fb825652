//! The socket: what it is made of, its life and its deadlines. What it does stands beside it, one file for each.

mod attempt;
mod batch;
mod counts;
mod filter;
mod launch;
mod lifecycle;
mod memberships;
mod offload;
mod receive;
mod send;
mod transmit;
mod tx_stamps;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::time::Instant;

use crate::addr::{EtherType, PacketAddr};
use crate::bound::Bound;
use crate::error::Error;
use crate::frame_limit::FrameLimit;
use crate::granted::Granted;
use crate::interface::Interface;
use crate::launch::LaunchClock;
use crate::link::Link;
use crate::memberships::Memberships;
use crate::nap::Naps;
use crate::options::Options;
use crate::stamping::Stamping;
use crate::stats::Counters;
use crate::sys;
use crate::timestamp::Timestamping;
use crate::wait::Waits;
use filter::InForce;

pub(crate) use receive::CONTROL_LEN;

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
/// Each time that it goes down, one call that receives or waits for a TX stamp fails with `ENETDOWN`; frames that were
/// received before remain readable. Once the interface is up again the same socket goes on, from the first frame.
/// [`link_state`](Self::link_state) says at any time whether it is, and [`link_changes`](Self::link_changes) how often it was
/// not.
///
/// When it is removed, or moved to another network namespace, every call fails with `ENODEV` as soon as the received frames
/// are read; which of the two it was, [`link_state`](Self::link_state) says as far as it is known. When it is made again under
/// its name, [`rebind`](Self::rebind) goes on with that. With [`Options::follow_name`] there is no `ENODEV`: calls wait for
/// the name, and go on by themselves.
///
/// When it is renamed, nothing happens: [`current_interface`](Self::current_interface) has its new name.
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
    /// Whether the bytes of a frame without a key are all that the kernel is to be given.
    sends_plainly: bool,
    /// Whether a raw frame goes to the socket's own interface by an address: from one that is bound to a protocol.
    names_interface: bool,
    waits: Waits,
    naps: Naps,
    counters: Counters,
    memberships: Mutex<Memberships>,
    /// Held while the filter is changed, which takes several steps.
    filter: Mutex<InForce>,
    frame_limit: FrameLimit,
}

/// What [`Options::bind`] makes a socket of.
pub(crate) struct Parts {
    pub(crate) rx: OwnedFd,
    pub(crate) tx: Option<OwnedFd>,
    pub(crate) protocol: EtherType,
    pub(crate) cooked: bool,
    /// Whether an [`Offload`](crate::Offload) stands before each frame.
    pub(crate) offload: bool,
    /// Whether a frame without a key would be stamped.
    pub(crate) stamps_every_frame: bool,
    pub(crate) launch_clock: Option<LaunchClock>,
    pub(crate) stamping: Stamping,
    /// The stamps that were asked for, also those that are not granted now: a card may be set to take them later.
    pub(crate) asked: Timestamping,
    /// Whether the kernel reports stamps of received frames that were not asked for.
    pub(crate) sorts_stamps: bool,
    /// Last, as a NIC is given back last.
    pub(crate) bound: Bound,
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
        let names_interface = !parts.cooked && parts.tx.is_none();
        let frame_limit = FrameLimit::new(parts.rx.as_fd(), &parts.bound, parts.cooked);
        let naps = Naps::on(parts.rx.as_fd());
        let sends_plainly = !(parts.cooked || parts.offload || parts.stamps_every_frame);
        let (waits, filter) = {
            let options = &parts.bound.belongings().options;
            (Waits::new(options.follow_name), InForce::new(options.filter.clone()))
        };
        Self {
            waits,
            filter: Mutex::new(filter),
            parts,
            sends_plainly,
            names_interface,
            naps,
            counters: Counters::default(),
            memberships: Mutex::default(),
            frame_limit,
        }
    }

    /// Ends all waiting calls, within 10 ms, and makes every later one fail: with `ECONNABORTED`
    /// ([`io::ErrorKind::ConnectionAborted`]).
    ///
    /// The descriptors are freed when the socket is dropped.
    #[doc(alias = "Close")]
    pub fn close(&self) {
        self.waits.close();
    }
}

/// Deadlines. A call that waits already goes by a new deadline within 10 ms, whichever thread sets it.
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
    ///
    /// With a deadline each wait reads the clock, which a receiver that waits for nearly every frame can tell. Such a one is
    /// better ended by another thread, which sets a deadline that has passed, or [closes](Self::close) the socket.
    #[doc(alias("SetReadDeadline", "SO_RCVTIMEO"))]
    pub fn set_read_deadline(&self, deadline: Option<Instant>) {
        self.waits.receive.set_deadline(deadline);
    }

    /// Sets until when [`send`](Self::send) waits for room in the send buffer; `None` is for ever.
    #[doc(alias("SetWriteDeadline", "SO_SNDTIMEO"))]
    pub fn set_write_deadline(&self, deadline: Option<Instant>) {
        self.waits.send.set_deadline(deadline);
        self.waits.pacing.set_deadline(deadline);
    }

    /// Sets until when [`recv_tx`](Self::recv_tx) waits; `None` is for ever.
    pub fn set_tx_deadline(&self, deadline: Option<Instant>) {
        self.waits.tx_stamp.set_deadline(deadline);
    }

    /// Makes calls fail with `EAGAIN` instead of waiting, or wait again. Deadlines do not count meanwhile.
    ///
    /// Who waits with a poller of their own calls the `try_` methods, [`try_recv`](Self::try_recv) and its kin, which say what
    /// to poll for. The descriptors themselves stay blocking, with a receive timeout of 4 ms. That
    /// the interface is made again under its name ([`Options::follow_name`]) wakes nobody who polls: from an `ENETDOWN` on
    /// until [`link_state`](Self::link_state) is no longer [gone](crate::LinkState::Gone), call now and then.
    #[doc(alias = "O_NONBLOCK")]
    pub fn set_nonblocking(&self, nonblocking: bool) {
        self.waits.set_nonblocking(nonblocking);
    }
}

/// What it is.
impl PacketSocket {
    /// The interface that the socket was opened on, with the name that it had then. The one that it is bound to now, by its
    /// name of now, is [`current_interface`](Self::current_interface).
    pub const fn interface(&self) -> &Interface {
        self.parts.bound.opened_on()
    }

    /// What the kernel agreed to: when the socket was opened, or when it was last [rebound](Self::rebind).
    pub fn granted(&self) -> Granted {
        self.parts.bound.belongings().granted
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

    pub(crate) fn link(&self) -> Link<'_> {
        Link { owner: self, waits: &self.waits }
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
            .field("interface", self.interface())
            .field("protocol", &self.parts.protocol)
            .field("cooked", &self.parts.cooked)
            .field("rx", &self.parts.rx)
            .field("tx", &self.parts.tx)
            .finish_non_exhaustive()
    }
}
