//! What becomes of a socket when its interface goes down, comes up, or goes away.

use std::io;
use std::os::fd::BorrowedFd;

use crate::interface::{Interface, InterfaceFlags};
use crate::sys::{self, ioctl, sockopt};
use crate::wait::{Owed, Patience, Waiting, Waits};

/// The state of the link under a socket or a ring, and those who wait on it.
#[derive(Clone, Copy)]
pub(crate) struct Link<'a> {
    /// The descriptor that is bound to the interface; the one that receives, if there are two.
    pub(crate) socket: BorrowedFd<'a>,
    pub(crate) interface: &'a Interface,
    pub(crate) waits: &'a Waits,
    /// Whether the kernel tells this socket that the link went down: only one that receives. Others have to look.
    pub(crate) is_told: bool,
}

impl<'a> Link<'a> {
    /// Waits for what a call lacks, for as long as it has patience. `begin` makes the waiting, once.
    pub(crate) fn park(
        self,
        waiting: &mut Option<Waiting<'a>>,
        patience: Patience,
        begin: impl FnOnce() -> io::Result<Waiting<'a>>,
    ) -> io::Result<()> {
        // Who is told nothing would have to look at each call; after a wait is soon enough.
        if self.is_told || waiting.is_some() {
            self.look_after();
        }
        match waiting {
            Some(waiting) => waiting.park(patience),
            None => waiting.insert(begin()?).park(patience),
        }
    }

    /// The kernel's report that the link went down, if there is one that nobody has taken. For those whom it does not
    /// tell: whether the link is down.
    pub(crate) fn take_report(self) -> io::Result<Option<io::Error>> {
        match self.is_told {
            true => sockopt::take_error(self.socket),
            false => Ok((!self.is_up()).then(|| io::Error::from_raw_os_error(libc::ENETDOWN))),
        }
    }

    /// The kernel's one report that the link went down was read, by a TX-stamp reader or by a receiver: lets the other
    /// know, and finds out whether the interface is there at all.
    #[cold]
    pub(crate) fn down(self, error: io::Error, by_stamp_reader: bool) -> io::Error {
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
    pub(crate) fn look_after(self) {
        if !self.waits.is_link_watched() {
            return;
        }
        if self.is_gone() {
            self.waits.set_gone();
        } else if self.is_told && self.is_up() {
            self.waits.watch_link(false);
        }
    }

    /// `ENODEV` if the interface is gone, which ends all waits for good, `error` otherwise.
    #[cold]
    pub(crate) fn gone_or(self, error: io::Error) -> io::Error {
        if self.is_gone() {
            self.waits.set_gone();
            return io::Error::from_raw_os_error(libc::ENODEV);
        }
        error
    }

    /// Whether the interface was removed, or moved to another network namespace. The kernel then unbinds the socket, a
    /// moment after the interface can no longer be found.
    fn is_gone(self) -> bool {
        const UNBOUND: i32 = -1;
        let is_unbound = || sys::local_address(self.socket).is_ok_and(|address| address.sll_ifindex == UNBOUND);
        let name = ioctl::name_of(self.socket, self.interface.index());
        name.is_err_and(|error| error.raw_os_error() == Some(libc::ENODEV)) || is_unbound()
    }

    pub(crate) fn is_up(self) -> bool {
        let flags = self.interface.query_through(self.socket, ioctl::flags);
        flags.is_ok_and(|flags| InterfaceFlags::from_bits_retain(flags).contains(InterfaceFlags::UP))
    }
}
