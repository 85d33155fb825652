//! What a socket or ring is bound to, which may change, and what has to be renewed then.

use std::borrow::Cow;
use std::ffi::{CStr, c_int};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::departure::Witness;
use crate::error::{Context, Error, Step};
use crate::fanout::FanoutMember;
use crate::granted::Granted;
use crate::interface::{self, Interface};
use crate::link_state::LinkChanges;
use crate::nic::NicLoan;
use crate::options::Options;
use crate::stats::Counter;
use crate::sys::InterfaceAddress;

/// The interface that a socket or ring is bound to.
pub(crate) struct Bound {
    /// As it was when the socket was opened. Its name is the one that is followed.
    opened_on: Interface,
    /// The index that it has now, where frames are sent.
    address: InterfaceAddress,
    /// A new socket took the place of one whose interface was removed, and is not what the old one was yet.
    is_incomplete: AtomicBool,
    pub(crate) downs: Counter,
    pub(crate) returns: Counter,
    /// Listens while the link is down.
    pub(crate) witness: Witness,
    belongings: Mutex<Belongings>,
}

/// What a socket holds of its interface, and what it takes to get the same of another.
pub(crate) struct Belongings {
    pub(crate) options: Options,
    pub(crate) granted: Granted,
    /// Left with the socket.
    pub(crate) fanout: Option<FanoutMember>,
    /// Given back with the socket.
    pub(crate) nic_loan: Option<NicLoan>,
}

impl Bound {
    pub(crate) fn new(interface: Interface, belongings: Belongings) -> Self {
        Self {
            address: InterfaceAddress::new(interface.index().cast_signed()),
            opened_on: interface,
            is_incomplete: AtomicBool::new(false),
            downs: Counter::default(),
            returns: Counter::default(),
            witness: Witness::default(),
            belongings: Mutex::new(belongings),
        }
    }

    pub(crate) const fn opened_on(&self) -> &Interface {
        &self.opened_on
    }

    /// The name that the interface had when the socket was opened.
    pub(crate) fn name(&self) -> Cow<'_, str> {
        self.opened_on.name()
    }

    pub(crate) fn index(&self) -> c_int {
        self.address.index()
    }

    /// The interface as an address to send to.
    #[inline]
    pub(crate) const fn address(&self) -> &InterfaceAddress {
        &self.address
    }

    /// The socket is bound to this interface from now on.
    pub(crate) fn set(&self, interface: &Interface) {
        self.address.set_index(interface.index().cast_signed());
        self.set_incomplete(false);
    }

    pub(crate) fn set_incomplete(&self, incomplete: bool) {
        self.is_incomplete.store(incomplete, Ordering::SeqCst);
    }

    pub(crate) fn is_incomplete(&self) -> bool {
        self.is_incomplete.load(Ordering::SeqCst)
    }

    /// Asks for a property in the network namespace of this socket, by the name that the interface has now.
    pub(crate) fn query<T>(
        &self,
        socket: BorrowedFd<'_>,
        ask: impl Fn(BorrowedFd<'_>, &CStr) -> io::Result<T>,
    ) -> io::Result<T> {
        interface::query_index(socket, self.index().cast_unsigned(), ask)
    }

    /// The interface with the index and name that it has now.
    pub(crate) fn current(&self, socket: BorrowedFd<'_>) -> Result<Interface, Error> {
        let found = self.opened_on.sibling(socket, self.index().cast_unsigned());
        found.during(Step::Interface, &self.name())
    }

    pub(crate) fn belongings(&self) -> MutexGuard<'_, Belongings> {
        // A renewal that panicked is begun anew: the socket is still without an interface.
        self.belongings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn changes(&self) -> LinkChanges {
        LinkChanges { downs: self.downs.get(), returns: self.returns.get() }
    }
}
