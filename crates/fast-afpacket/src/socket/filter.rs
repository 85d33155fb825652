//! The filter of a live socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{MutexGuard, PoisonError};

use super::PacketSocket;
use crate::error::{Context, Error, Step};
use crate::filter::Filter;
use crate::offload::HEADER_LEN;
use crate::sys::cmsg::ControlBuffer;
use crate::sys::{self, abi, sockopt};

/// The filter as it is now, for a socket that is to have the same.
pub(super) struct InForce {
    program: Program,
    is_locked: bool,
}

enum Program {
    None,
    Classic(Filter),
    /// By a descriptor of our own.
    Extended(OwnedFd),
}

impl InForce {
    pub(super) fn new(filter: Option<Filter>) -> Self {
        Self { program: filter.map_or(Program::None, Program::Classic), is_locked: false }
    }

    /// Puts the same into force on another socket.
    pub(super) fn put_on(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        match &self.program {
            Program::None => detach(socket),
            Program::Classic(filter) => sockopt::attach_filter(socket, &filter.to_raw()),
            Program::Extended(program) => sockopt::attach_bpf(socket, program.as_fd()),
        }?;
        match self.is_locked {
            true => sockopt::set_socket(socket, libc::SO_LOCK_FILTER, 1),
            false => Ok(()),
        }
    }
}

/// That there was none is no error.
fn detach(socket: BorrowedFd<'_>) -> io::Result<()> {
    match sockopt::detach_filter(socket) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}

/// Filters.
impl PacketSocket {
    /// Replaces the filter. When this returns, no frame that only the old one let in will be received any more.
    ///
    /// Frames that wait to be read are thrown away, whichever filter let them in, and counted
    /// ([`Stats::discarded`](crate::Stats::discarded)). Takes some milliseconds, since another processor may be about to queue a frame that the old
    /// filter let in; replacing a filter by `setsockopt` alone, with or without emptying the queue, does not wait for it.
    ///
    /// # Errors
    ///
    /// `EPERM` after [`lock_filter`](Self::lock_filter), `ENOMEM` if the program is larger than `net.core.optmem_max`
    /// allows. The old filter is in force then. Should the kernel refuse a later one of the steps that this takes, for want
    /// of memory, either the new filter is in force with frames unread that the old one let in, or nothing at all is
    /// received: set it once more.
    #[doc(alias("SO_ATTACH_FILTER", "SetBPF"))]
    pub fn set_filter(&self, filter: &Filter) -> Result<(), Error> {
        let program = filter.to_raw();
        self.replace_filter(|| Ok(Program::Classic(filter.clone())), |socket| sockopt::attach_filter(socket, &program))
    }

    /// Replaces the filter by an eBPF program of type `BPF_PROG_TYPE_SOCKET_FILTER`, as
    /// [`set_filter`](Self::set_filter) does. The kernel keeps the program when its descriptor is closed.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a program of another type, `EBADF` if the descriptor is not one of a program, `EPERM` after
    /// [`lock_filter`](Self::lock_filter).
    #[doc(alias = "SO_ATTACH_BPF")]
    pub fn attach_bpf(&self, program: BorrowedFd<'_>) -> Result<(), Error> {
        let keep = || Ok(Program::Extended(program.try_clone_to_owned()?));
        self.replace_filter(keep, |socket| sockopt::attach_bpf(socket, program))
    }

    /// Removes the filter, if there is one: everything is received.
    ///
    /// # Errors
    ///
    /// `EPERM` after [`lock_filter`](Self::lock_filter).
    #[doc(alias = "SO_DETACH_FILTER")]
    pub fn clear_filter(&self) -> Result<(), Error> {
        let mut in_force = self.filter();
        detach(self.rx()).map_err(|why| self.filter_error(why))?;
        in_force.program = Program::None;
        Ok(())
    }

    /// Forbids every later change of the filter, for good; before a descriptor is handed to somebody less trusted.
    ///
    /// # Errors
    ///
    /// None are known.
    #[doc(alias = "SO_LOCK_FILTER")]
    pub fn lock_filter(&self) -> Result<(), Error> {
        let mut in_force = self.filter();
        let locked = sockopt::set_socket(self.rx(), libc::SO_LOCK_FILTER, 1);
        locked.during(Step::Filter, &self.parts.bound.name())?;
        in_force.is_locked = true;
        Ok(())
    }

    /// `keep` gives the program as it is to be remembered.
    fn replace_filter(
        &self,
        keep: impl FnOnce() -> io::Result<Program>,
        attach: impl Fn(BorrowedFd<'_>) -> io::Result<()>,
    ) -> Result<(), Error> {
        let mut in_force = self.filter();
        let replace = || {
            let program = keep()?;
            // First the new one as it is: if the kernel refuses it, the old one has not been touched.
            attach(self.rx())?;
            // Then nothing more is let in, what is on its way into the queue gets there, and the queue is emptied.
            sockopt::attach_filter(self.rx(), &Filter::nothing().to_raw())?;
            sys::wait_for_receive_path();
            self.discard_received()?;
            attach(self.rx())?;
            in_force.program = program;
            Ok(())
        };
        replace().map_err(|why| self.filter_error(why))
    }

    fn filter_error(&self, why: io::Error) -> Error {
        Error::of_filter(self.rx(), &self.parts.bound.name(), why)
    }

    pub(super) fn filter(&self) -> MutexGuard<'_, InForce> {
        self.filter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Empties the receive queue, into which nothing more comes.
    pub(super) fn discard_received(&self) -> io::Result<()> {
        let mut address = abi::link_address(0, 0);
        let mut control = ControlBuffer::<0>::new();
        // A buffer without room for what stands before a frame would be an error, for each frame.
        let mut head = [0; HEADER_LEN];
        loop {
            match sys::receive(self.rx(), &mut head, &mut address, &mut control, libc::MSG_DONTWAIT) {
                Ok(_) => self.counters.discarded.add(1),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(()),
                    // Not ours to swallow: the next call will say so. Frames may stand behind it.
                    Some(libc::ENETDOWN) => drop(self.link().down(error, true)),
                    _ => return Err(error),
                },
            }
        }
    }
}
