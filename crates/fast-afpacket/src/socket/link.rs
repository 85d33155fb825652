//! What becomes of a socket when its interface goes down, comes up, or goes away.

use std::io;
use std::time::Instant;

use super::PacketSocket;
use crate::interface::InterfaceFlags;
use crate::sys::{self, ioctl};
use crate::wait::{Owed, Waiting};

/// The state of the link.
impl PacketSocket {
    /// Waits for what a call lacks, at most until `limit`. `begin` makes the waiting, once.
    pub(super) fn park<'a>(
        &'a self,
        waiting: &mut Option<Waiting<'a>>,
        limit: Option<Instant>,
        begin: impl FnOnce() -> io::Result<Waiting<'a>>,
    ) -> io::Result<()> {
        if self.waits.is_link_watched() {
            self.look_after_link();
        }
        match waiting {
            Some(waiting) => waiting.park(limit),
            None => waiting.insert(begin()?).park(limit),
        }
    }

    /// The kernel's one report that the link went down was read, by a TX-stamp reader or by a receiver: lets the other
    /// know, and finds out whether the interface is there at all.
    #[cold]
    pub(super) fn link_down(&self, error: io::Error, by_stamp_reader: bool) -> io::Error {
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
    pub(super) fn gone_or(&self, error: io::Error) -> io::Error {
        if self.is_gone() {
            self.waits.set_gone();
            return io::Error::from_raw_os_error(libc::ENODEV);
        }
        error
    }

    /// Whether the interface was removed, or moved to another network namespace. The kernel then unbinds the socket, a
    /// moment after the interface can no longer be found.
    fn is_gone(&self) -> bool {
        const UNBOUND: i32 = -1;
        let is_unbound = || sys::local_address(self.rx()).is_ok_and(|address| address.sll_ifindex == UNBOUND);
        let name = ioctl::name_of(self.rx(), self.parts.interface.index());
        name.is_err_and(|error| error.raw_os_error() == Some(libc::ENODEV)) || is_unbound()
    }

    pub(super) fn is_up(&self) -> bool {
        let flags = self.parts.interface.query_through(self.rx(), ioctl::flags);
        flags.is_ok_and(|flags| InterfaceFlags::from_bits_retain(flags).contains(InterfaceFlags::UP))
    }
}
