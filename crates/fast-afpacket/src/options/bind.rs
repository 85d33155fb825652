//! The order in which the kernel is told the options, and what is refused before it is asked.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::{Options, Sockets};
use crate::addr::EtherType;
use crate::bound::{Belongings, Bound};
use crate::error::{Context, Error, Step};
use crate::fanout::FanoutMember;
use crate::fanout_refusal::FanoutRefusal;
use crate::filter::Filter;
use crate::granted::{Granted, withheld_by};
use crate::interface::Interface;
use crate::nic::{NicGrant, NicLoan};
use crate::socket::{PacketSocket, Parts};
use crate::stamping::{Manner, Stamping};
use crate::sys::{self, abi, sockopt};
use crate::timestamp::Timestamping;

impl Options {
    /// Opens the socket on this interface.
    ///
    /// An interface that is down is no error here: the first `recv` says `ENETDOWN`, and once the interface is up the
    /// socket works.
    ///
    /// # Errors
    ///
    /// An [`Error`] that names the step: `EPERM` at [`Step::Open`] if `CAP_NET_RAW` is missing, `ENODEV` at
    /// [`Step::Bind`] if the interface is gone, and so on. [`Step::Options`] for what is refused before the kernel is
    /// asked: protocol 0, a multicast address that is none. [`Step::Fanout`] if the group cannot be joined:
    /// [`Error::fanout_refusal`] says why.
    #[doc(alias = "Listen")]
    pub fn bind(self, interface: &Interface) -> Result<PacketSocket, Error> {
        self.in_netns(interface, |options, interface| options.bind_here(interface, Sockets::New))
    }

    /// Does what takes a thread in the right network namespace.
    pub(crate) fn in_netns<T: Send>(
        self,
        interface: &Interface,
        open: impl FnOnce(Self, &Interface) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        let Some(netns) = self.netns.as_ref().or(interface.netns()).cloned() else {
            return open(self, interface);
        };
        let interface = interface.within(&netns).during(Step::Options, &interface.name())?;
        netns.run(|| open(self, &interface))?
    }

    pub(super) fn bind_here(self, interface: &Interface, mut sockets: Sockets) -> Result<PacketSocket, Error> {
        let name = &*interface.name();
        self.check(name)?;
        let (nic_loan, nic) = NicLoan::take_as(interface, self.configure_nic)?;
        let rx = self.open(name, interface, &mut sockets)?;
        let tx = self.dual.then(|| self.open(name, interface, &mut sockets)).transpose()?;
        let mut asked_of_receiver = None;
        if let Some(tx) = &tx {
            // Protocol 0: it receives nothing, and the kernel finds each frame's own protocol when it sends.
            self.bind_to(tx.as_fd(), EtherType::new(0), interface)?;
            asked_of_receiver = Some(self.ask_for_rx_stamps(rx.as_fd(), name)?);
        }
        let sending = tx.as_ref().unwrap_or(&rx).as_fd();
        let sending_stamps = match &tx {
            Some(_) => self.timestamping.intersection(Timestamping::TX),
            None => self.timestamping,
        };
        let manner = Manner { phc: self.bind_phc, payload: self.tx_payload, every_frame: self.stamp_every_frame };
        let stamping =
            Stamping::set_up(sending, sending_stamps, manner, self.count_keys).during(Step::Timestamping, name)?;
        let sorts_stamps = !asked_of_receiver.unwrap_or(stamping.request()).is_answered_strictly();
        sockopt::set_packet(rx.as_fd(), libc::PACKET_AUXDATA, 1).during(Step::Auxdata, name)?;
        self.limit_reception(rx.as_fd(), name)?;
        self.set_up_sending(sending, &stamping, name)?;
        let granted = Granted {
            timestamping: self.stamps_to_come(self.timestamping, nic),
            nic,
            phc: self.phc_of(interface, rx.as_fd()),
            own_keys: stamping.has_own_keys(),
            receive_buffer: buffer_size(rx.as_fd(), libc::SO_RCVBUF).during(Step::ReceiveBuffer, name)?,
            send_buffer: buffer_size(sending, libc::SO_SNDBUF).during(Step::SendBuffer, name)?,
            ring: None,
        };
        let fanout = self.bind_and_join(rx.as_fd(), interface, |socket| self.attach_filter(socket))?;
        let memberships = self.memberships.clone();
        let parts = Parts {
            rx,
            tx,
            protocol: self.protocol,
            cooked: self.cooked,
            offload: self.offload,
            stamps_every_frame: self.stamp_every_frame,
            launch_clock: self.launch_clock,
            stamping,
            asked: self.timestamping,
            sorts_stamps,
            bound: Bound::new(interface.clone(), Belongings { options: self, granted, fanout, nic_loan }),
        };
        let socket = PacketSocket::from_parts(parts);
        for membership in memberships.all() {
            socket.begin_membership(membership)?;
        }
        Ok(socket)
    }

    /// Refuses what the kernel would take and what could not work.
    pub(crate) fn check(&self, name: &str) -> Result<(), Error> {
        if let Some(group) = self.memberships.groups.iter().find(|group| !group.is_multicast()) {
            return Err(Error::invalid(name, format!("{group} is not a multicast address")));
        }
        if self.protocol.value() == 0 {
            // The kernel tells such a socket nothing, not even that its interface is gone.
            return Err(Error::invalid(name, "protocol 0 receives nothing; to send only, use Filter::nothing()"));
        }
        if self.offload && self.cooked {
            return Err(Error::invalid(name, "offload is for raw sockets: a cooked frame has no header to work on"));
        }
        if self.stamp_every_frame && !self.timestamping.intersects(Timestamping::TX) {
            let why = "every frame is to be stamped, and no TX timestamps are asked for (Options::timestamping)";
            return Err(Error::invalid(name, why));
        }
        if let Some(group) = &self.fanout {
            let ignores_outgoing = self.ignore_outgoing.or(self.dual.then_some(true));
            let checked = group.check(self.protocol, ignores_outgoing).map_err(FanoutRefusal::into_io);
            checked.during(Step::Fanout, name)?;
        }
        Ok(())
    }

    /// Settles what a socket is not to receive, before it can receive anything.
    pub(crate) fn limit_reception(&self, socket: BorrowedFd<'_>, name: &str) -> Result<(), Error> {
        // On a member of a group it would do nothing: that is the group's.
        if self.fanout.is_none() && self.ignore_outgoing.unwrap_or(self.dual) {
            sockopt::set_packet(socket, libc::PACKET_IGNORE_OUTGOING, 1).during(Step::IgnoreOutgoing, name)?;
        }
        if self.filter.is_some() {
            self.attach_filter(socket).map_err(|why| Error::of_filter(socket, name, why))?;
        }
        Ok(())
    }

    /// Puts the filter into force, or none.
    pub(crate) fn attach_filter(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        match &self.filter {
            Some(filter) => sockopt::attach_filter(socket, &filter.to_raw()),
            None => sockopt::detach_filter(socket),
        }
    }

    /// A socket with all that both halves of a dual one need.
    pub(crate) fn open(&self, name: &str, interface: &Interface, sockets: &mut Sockets) -> Result<OwnedFd, Error> {
        let kind = if self.cooked { libc::SOCK_DGRAM } else { libc::SOCK_RAW };
        let fd = sockets.take(kind, name)?;
        let socket = fd.as_fd();
        interface.check_namespace(socket).during(Step::Options, name)?;
        if self.offload {
            sockopt::set_packet(socket, libc::PACKET_VNET_HDR, 1).during(Step::Offload, name)?;
        }
        self.tie_to(socket, interface).during(Step::Timestamping, name)?;
        if let Some(bytes) = self.receive_buffer {
            set_buffer(socket, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, bytes).during(Step::ReceiveBuffer, name)?;
        }
        if let Some(bytes) = self.send_buffer {
            set_buffer(socket, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, bytes).during(Step::SendBuffer, name)?;
        }
        if let Some(priority) = self.priority {
            sockopt::set_socket(socket, libc::SO_PRIORITY, priority.cast_signed()).during(Step::Priority, name)?;
        }
        if let Some(mark) = self.mark {
            sockopt::set_socket(socket, libc::SO_MARK, mark.cast_signed()).during(Step::Mark, name)?;
        }
        Ok(fd)
    }

    /// Binds the receiving socket, whose filter is in force, and makes it a member of its group, if it has one. For that
    /// the filter is put out of force; `let_in` puts it into force again.
    pub(crate) fn bind_and_join(
        &self,
        socket: BorrowedFd<'_>,
        interface: &Interface,
        let_in: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
    ) -> Result<Option<FanoutMember>, Error> {
        let Some(group) = &self.fanout else {
            return self.bind_to(socket, self.protocol, interface).map(|()| None);
        };
        let name = &*interface.name();
        // Only a bound socket can join, and one that is bound receives what the group's members receive too.
        let refused = |why| Error::of_filter(socket, name, why);
        sockopt::attach_filter(socket, &Filter::nothing().to_raw()).map_err(refused)?;
        self.bind_to(socket, self.protocol, interface)?;
        let member = group.join(socket, interface, self.protocol)?;
        let_in(socket).map_err(refused)?;
        Ok(Some(member))
    }

    /// Leaves out the queueing discipline, if that was asked for.
    pub(crate) fn bypass_queue(&self, sending: BorrowedFd<'_>, name: &str) -> Result<(), Error> {
        match self.qdisc_bypass {
            true => sockopt::set_packet(sending, libc::PACKET_QDISC_BYPASS, 1).during(Step::QdiscBypass, name),
            false => Ok(()),
        }
    }

    /// Of these stamps those that can come: not what the NIC withholds, nor what there is not without the queueing discipline.
    pub(crate) fn stamps_to_come(&self, stamps: Timestamping, nic: NicGrant) -> Timestamping {
        let without_queue = if self.qdisc_bypass { Timestamping::TX_SCHEDULED } else { Timestamping::empty() };
        stamps - withheld_by(nic) - without_queue
    }

    /// The clock of hardware stamps, asked in the network namespace of this socket.
    pub(crate) fn phc_of(&self, interface: &Interface, socket: BorrowedFd<'_>) -> Option<u32> {
        self.bind_phc.or_else(|| interface.phc_through(socket))
    }

    pub(crate) fn bind_to(
        &self,
        socket: BorrowedFd<'_>,
        protocol: EtherType,
        interface: &Interface,
    ) -> Result<(), Error> {
        let address = abi::link_address(protocol.value(), interface.index().cast_signed());
        sys::bind(socket, &address).during(Step::Bind, &interface.name())
    }
}

/// Sets a buffer's size beyond the system's limit if this process may, within it otherwise.
fn set_buffer(socket: BorrowedFd<'_>, force: i32, plain: i32, bytes: usize) -> io::Result<()> {
    // The kernel doubles the value, in an int.
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX).min(i32::MAX / 2);
    sockopt::set_socket(socket, force, bytes).or_else(|_| sockopt::set_socket(socket, plain, bytes))
}

/// The size in the unit in which it was asked for: the kernel doubles it, to have room for its own bookkeeping.
pub(crate) fn buffer_size(socket: BorrowedFd<'_>, option: i32) -> io::Result<usize> {
    let doubled = sockopt::socket_option(socket, option)?;
    Ok(usize::try_from(doubled).unwrap_or(0) / 2)
}
