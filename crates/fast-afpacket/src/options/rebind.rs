//! What is asked again of an interface that has come back, of the same socket or of one that takes its place.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::{Options, Sockets};
use crate::bound::Belongings;
use crate::error::{Context, Error, Step};
use crate::fanout::FanoutGroup;
use crate::fanout_refusal::FanoutRefusal;
use crate::interface::{Interface, InterfaceFlags};
use crate::nic::NicLoan;
use crate::stamping::{self, Manner, Stamping};
use crate::sys::{abi, ioctl, sockopt};
use crate::timestamp::Timestamping;

impl Belongings {
    /// Gives the card that is gone back and borrows the one that is there. `stamps`: those that the socket asks for.
    pub(crate) fn renew_nic(
        &mut self,
        socket: BorrowedFd<'_>,
        interface: &Interface,
        stamps: Timestamping,
    ) -> Result<(), Error> {
        let Self { options, granted, nic_loan, .. } = self;
        *nic_loan = None;
        let (loan, nic) = NicLoan::take_as(interface, options.configure_nic)?;
        *nic_loan = loan;
        granted.nic = nic;
        granted.timestamping = options.stamps_to_come(stamps, nic);
        granted.phc = options.phc_of(interface, socket);
        Ok(())
    }
}

impl Options {
    pub(crate) const fn fanout_group(&self) -> Option<&FanoutGroup> {
        self.fanout.as_ref()
    }

    /// What concerns the second socket of two, or the only one.
    pub(crate) fn set_up_sending(&self, sending: BorrowedFd<'_>, stamping: &Stamping, name: &str) -> Result<(), Error> {
        if let Some(clock) = self.launch_clock {
            // Reports are for those who read stamps.
            let set = sockopt::set_txtime(sending, clock.id(), stamping.gives_tx_stamps());
            set.during(Step::LaunchClock, name)?;
        }
        self.bypass_queue(sending, name)
    }

    /// Asks for the stamps of received frames, on a socket that does nothing else.
    pub(crate) fn ask_for_rx_stamps(&self, socket: BorrowedFd<'_>, name: &str) -> Result<stamping::Request, Error> {
        let stamps = self.timestamping.intersection(Timestamping::RX);
        let manner = Manner { phc: self.bind_phc, ..Manner::default() };
        stamping::ask(socket, stamps, manner).during(Step::Timestamping, name)
    }

    /// A virtual clock is looked for on the interface that the socket is tied to by an option of its own.
    pub(crate) fn tie_to(&self, socket: BorrowedFd<'_>, interface: &Interface) -> io::Result<()> {
        match self.bind_phc {
            Some(_) => sockopt::set_socket(socket, abi::SO_BINDTOIFINDEX, interface.index().cast_signed()),
            None => Ok(()),
        }
    }

    /// A member of a group is bound for life: another socket has to take its place. Not before it can join, for it costs
    /// milliseconds: before Linux 6.13 that takes an interface that is up.
    ///
    /// Gives a socket that is set up like the first one up to where that was bound.
    pub(crate) fn open_successor(
        &self,
        former: BorrowedFd<'_>,
        interface: &Interface,
        dress: impl FnOnce(BorrowedFd<'_>) -> Result<(), Error>,
    ) -> Result<OwnedFd, Error> {
        let name = &*interface.name();
        let flags = interface.query_through(former, ioctl::flags).during(Step::Interface, name)?;
        if !InterfaceFlags::from_bits_retain(flags).contains(InterfaceFlags::UP) {
            return Err(Error::new(Step::Fanout, name, FanoutRefusal::InterfaceDown.into_io()));
        }
        let successor = self.open(name, interface, &mut Sockets::New)?;
        dress(successor.as_fd())?;
        Ok(successor)
    }
}
