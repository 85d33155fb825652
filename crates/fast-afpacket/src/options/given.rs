//! Sockets that somebody else opened: what is asked of them before they are used, and what is undone.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::Options;
use crate::error::{Context, Error, Step};
use crate::interface::Interface;
use crate::ring::{ByFrame, RingShape, RxRing};
use crate::socket::PacketSocket;
use crate::sys::cmsg::ControlBuffer;
use crate::sys::{self, abi, sockopt};
use crate::tx_ring::TxRing;

/// Why a descriptor that was given cannot become a socket of this library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DescriptorRefusal {
    /// It is of no socket: `ENOTSOCK`.
    #[doc(alias = "ENOTSOCK")]
    NotASocket,
    /// It is a socket of another family than `AF_PACKET`: `SO_DOMAIN`.
    #[doc(alias = "SO_DOMAIN")]
    NotPacket,
    /// It is a cooked socket (`SOCK_DGRAM`) where a raw one (`SOCK_RAW`) is wanted, or the reverse: `SO_TYPE`,
    /// [`Options::cooked`].
    #[doc(alias = "SO_TYPE")]
    WrongType,
    /// It was opened for a protocol, or is bound: frames may wait in it that nobody here asked for, of other interfaces
    /// too.
    InUse,
    /// A ring was made on it.
    HasRing,
    /// Both descriptors are of one socket.
    SameSocket,
}

impl fmt::Display for DescriptorRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotASocket => "the descriptor is of no socket",
            Self::NotPacket => "the socket is of another family than AF_PACKET",
            Self::WrongType => {
                "the socket is cooked (SOCK_DGRAM) and the options are not (Options::cooked), or the reverse"
            }
            Self::InUse => {
                "the socket receives already, and frames may wait in it that nobody asked for: \
                 open it with protocol 0 and do not bind it"
            }
            Self::HasRing => "the socket has a ring already",
            Self::SameSocket => "both descriptors are of one socket, and dual mode takes two",
        })
    }
}

impl std::error::Error for DescriptorRefusal {}

impl From<DescriptorRefusal> for io::Error {
    fn from(why: DescriptorRefusal) -> Self {
        Self::new(io::ErrorKind::InvalidInput, why)
    }
}

/// Sockets that a privileged program opened.
///
/// Opening a packet socket takes `CAP_NET_RAW`; what these methods do with one takes no right. So a small helper can have the
/// right, and the program that parses what comes from the network none.
///
/// The socket has to be as `socket(AF_PACKET, SOCK_RAW, 0)` gives it, or `SOCK_DGRAM` for [`cooked`](Self::cooked):
/// protocol 0, not bound, without a ring. Then nothing has arrived before the filter is in force. What is amiss,
/// [`Error::refusal`] says: [`Refusal::Descriptor`](crate::Refusal::Descriptor). What the helper did besides stays, if these
/// options do not say otherwise: its filter (also a locked one), its buffers, mark and priority. What would change which
/// frames are read, or what is read of them, is undone: other timestamps, headers before the frame, `PACKET_IGNORE_OUTGOING`.
///
/// The descriptor is closed with the socket, and if there is an error. Whoever has another one for the same socket, as the
/// helper does until it closes its own, can receive from the same queue.
impl Options {
    /// Makes of an open socket what [`bind`](Self::bind) makes of a new one.
    ///
    /// ```no_run
    /// use std::os::fd::OwnedFd;
    ///
    /// use fast_afpacket::{Error, EtherType, Interface, PacketSocket};
    ///
    /// fn use_what_the_helper_sent(descriptor: OwnedFd) -> Result<PacketSocket, Error> {
    ///     let options = PacketSocket::options().protocol(EtherType::IPV4);
    ///     options.bind_fd(descriptor, &Interface::by_name("eth1")?)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Step::Descriptor`] with a [`DescriptorRefusal`], one of them with `ENOTSOCK`; [`Step::Options`] if the interface is
    /// of another network namespace than the socket (there is [`Interface::by_name_through`]), and with
    /// [`dual`](Self::dual), which takes two: [`bind_fds`](Self::bind_fds). Otherwise those of [`bind`](Self::bind).
    #[doc(alias("from_raw_fd", "SCM_RIGHTS", "LISTEN_FDS"))]
    pub fn bind_fd(self, socket: OwnedFd, interface: &Interface) -> Result<PacketSocket, Error> {
        if self.dual {
            let why = "dual mode takes two descriptors (Options::bind_fds)";
            return Err(Error::invalid(&interface.name(), why));
        }
        let interface = &self.interface_of_given(interface)?;
        self.bind_here(interface, Sockets::Given(vec![socket]))
    }

    /// Makes of two open sockets what [`bind`](Self::bind) makes of new ones in [`dual`](Self::dual) mode, which this
    /// implies: one that receives and one that sends.
    ///
    /// # Errors
    ///
    /// Those of [`bind_fd`](Self::bind_fd); [`DescriptorRefusal::SameSocket`].
    #[doc(alias("from_raw_fd", "SCM_RIGHTS", "LISTEN_FDS"))]
    pub fn bind_fds(self, receiver: OwnedFd, sender: OwnedFd, interface: &Interface) -> Result<PacketSocket, Error> {
        let identity = |socket: &OwnedFd| sockopt::socket_cookie(socket.as_fd()).ok();
        let receivers = identity(&receiver);
        if receivers.is_some() && receivers == identity(&sender) {
            return Err(DescriptorRefusal::SameSocket.into()).during(Step::Descriptor, &interface.name());
        }
        let interface = &self.interface_of_given(interface)?;
        self.dual(true).bind_here(interface, Sockets::Given(vec![sender, receiver]))
    }

    /// Makes of an open socket what [`rx_ring`](Self::rx_ring) makes of a new one.
    ///
    /// # Errors
    ///
    /// Those of [`bind_fd`](Self::bind_fd) and of [`rx_ring`](Self::rx_ring).
    pub fn rx_ring_fd<K>(
        self,
        socket: OwnedFd,
        interface: &Interface,
        shape: RingShape<K>,
    ) -> Result<RxRing<K>, Error> {
        let interface = &self.interface_of_given(interface)?;
        self.rx_ring_here(interface, shape, Sockets::Given(vec![socket]))
    }

    /// Makes of an open socket what [`tx_ring`](Self::tx_ring) makes of a new one.
    ///
    /// # Errors
    ///
    /// Those of [`bind_fd`](Self::bind_fd) and of [`tx_ring`](Self::tx_ring).
    pub fn tx_ring_fd(
        self,
        socket: OwnedFd,
        interface: &Interface,
        shape: RingShape<ByFrame>,
    ) -> Result<TxRing, Error> {
        let interface = &self.interface_of_given(interface)?;
        self.tx_ring_here(interface, shape, Sockets::Given(vec![socket]))
    }

    /// The interface, in the namespace of the options. The socket is there, or will be refused: nobody has to go there.
    fn interface_of_given(&self, interface: &Interface) -> Result<Interface, Error> {
        match &self.netns {
            Some(netns) => interface.within(netns).during(Step::Options, &interface.name()),
            None => Ok(interface.clone()),
        }
    }
}

/// Where an opening gets its sockets from.
pub(crate) enum Sockets {
    /// From the kernel.
    New,
    /// From somebody else: taken from the end, the receiving one first.
    Given(Vec<OwnedFd>),
}

impl Sockets {
    /// A socket of this type that receives nothing yet.
    pub(super) fn take(&mut self, kind: i32, name: &str) -> Result<OwnedFd, Error> {
        match self {
            Self::New => sys::packet_socket(kind).during(Step::Open, name),
            Self::Given(sockets) => {
                let socket = sockets.pop().ok_or(DescriptorRefusal::SameSocket.into());
                let checked = socket.and_then(|socket| {
                    check(socket.as_fd(), kind)?;
                    undo_what_confuses(socket.as_fd())?;
                    Ok(socket)
                });
                checked.during(Step::Descriptor, name)
            }
        }
    }
}

fn check(socket: BorrowedFd<'_>, kind: i32) -> io::Result<()> {
    if sockopt::socket_option(socket, libc::SO_DOMAIN)? != libc::AF_PACKET {
        return Err(DescriptorRefusal::NotPacket.into());
    }
    if sockopt::socket_option(socket, libc::SO_TYPE)? != kind {
        return Err(DescriptorRefusal::WrongType.into());
    }
    // SO_PROTOCOL is 0 for every packet socket.
    let address = sys::local_address(socket)?;
    if (address.sll_protocol, address.sll_ifindex) != (0, 0) {
        return Err(DescriptorRefusal::InUse.into());
    }
    match sockopt::set_packet(socket, libc::PACKET_VERSION, abi::TPACKET_V1) {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Err(DescriptorRefusal::HasRing.into()),
        result => result,
    }
}

/// Makes it a socket like a new one in all that decides what is read from it.
fn undo_what_confuses(socket: BorrowedFd<'_>) -> io::Result<()> {
    // Before it is asked for again: only then does the kernel count sent frames from 0.
    sockopt::set_timestamping(socket, 0)?;
    // A time of the call where there is no stamp, and control messages that nobody reads.
    sockopt::set_socket(socket, libc::SO_TIMESTAMPNS, 0)?;
    sockopt::set_socket(socket, libc::SO_RXQ_OVFL, 0)?;
    for option in [
        libc::PACKET_VNET_HDR,
        libc::PACKET_ORIGDEV,
        libc::PACKET_TIMESTAMP,
        libc::PACKET_RESERVE,
        libc::PACKET_LOSS,
        libc::PACKET_TX_HAS_OFF,
        libc::PACKET_QDISC_BYPASS,
        libc::PACKET_IGNORE_OUTGOING,
        libc::PACKET_COPY_THRESH,
    ] {
        match sockopt::set_packet(socket, option, 0) {
            // What the kernel does not know, or a cooked socket does not have, nobody has switched on.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOPROTOOPT | libc::EINVAL)) => {}
            result => result?,
        }
    }
    // Stamps of frames that somebody else sent: a socket has room for some hundred.
    let mut control = ControlBuffer::<0>::new();
    let _ = (0..1 << 16).find(|_| sys::receive_error(socket, &mut [], &mut control).is_err());
    Ok(())
}
