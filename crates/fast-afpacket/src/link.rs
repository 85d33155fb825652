//! What becomes of a socket when its interface goes down, comes up, goes away, or is made again.

use std::io;
use std::os::fd::BorrowedFd;

use crate::addr::MacAddr;
use crate::bound::{Belongings, Bound};
use crate::error::{Context, Error, Step};
use crate::fanout_refusal::FanoutRefusal;
use crate::interface::{Interface, InterfaceFlags};
use crate::link_state::LinkState;
use crate::sys::{self, ioctl, sockopt};
use crate::wait::{Owed, Patience, Waiting, Waits};

/// The state of the link under a socket or a ring, and those who wait on it.
#[derive(Clone, Copy)]
pub(crate) struct Link<'a> {
    /// All but the waits is asked for where there is time.
    pub(crate) owner: &'a dyn Linked,
    pub(crate) waits: &'a Waits,
}

/// A socket or ring, with its link.
pub(crate) trait Linked: Sync {
    /// The descriptor that is bound to the interface; the one that receives, if there are two.
    fn bound_socket(&self) -> BorrowedFd<'_>;

    fn bound(&self) -> &Bound;

    /// Whether the kernel tells this socket that the link went down: only one that receives. Others have to look.
    fn is_told(&self) -> bool;

    /// Takes of this interface what was held of one that is gone, and binds to it; then [`Bound::set`]. If it fails, it can
    /// be called again.
    fn rebind_to(&self, belongings: &mut Belongings, interface: &Interface) -> Result<(), Error>;

    /// Whether that may be done now without losing anything.
    fn is_ready(&self) -> bool {
        true
    }
}

/// Takes up on this interface the memberships that were held on another.
pub(crate) fn renew_memberships(
    socket: BorrowedFd<'_>,
    interface: &Interface,
    memberships: impl Iterator<Item = (i32, MacAddr)>,
) -> Result<(), Error> {
    let index = interface.index().cast_signed();
    for (kind, mac) in memberships {
        // The kernel counts; an earlier attempt may have got as far as here.
        let change = |add| sockopt::membership(socket, add, index, kind, mac.octets());
        let _ = change(false);
        change(true).during(Step::Membership, &interface.name())?;
    }
    Ok(())
}

impl<'a> Link<'a> {
    fn socket(self) -> BorrowedFd<'a> {
        self.owner.bound_socket()
    }

    fn bound(self) -> &'a Bound {
        self.owner.bound()
    }

    fn is_told(self) -> bool {
        self.owner.is_told()
    }

    /// Waits for what a call lacks, for as long as it has patience. `begin` makes the waiting, once.
    pub(crate) fn park(
        self,
        waiting: &mut Option<Waiting<'a>>,
        patience: Patience,
        begin: impl FnOnce() -> io::Result<Waiting<'a>>,
    ) -> io::Result<()> {
        // Who is told nothing would have to look at each call; after a wait is soon enough.
        if self.is_told() || waiting.is_some() {
            self.look_after()?;
        }
        match waiting {
            Some(waiting) => waiting.park(patience),
            None => waiting.insert(begin()?).park(patience),
        }
    }

    /// The kernel's report that the link went down, if there is one that nobody has taken. For those whom it does not
    /// tell: whether the link is down.
    pub(crate) fn take_report(self) -> io::Result<Option<io::Error>> {
        match self.is_told() {
            true => sockopt::take_error(self.socket()),
            false => Ok((!self.is_up()).then(|| io::Error::from_raw_os_error(libc::ENETDOWN))),
        }
    }

    /// The kernel's one report that the link went down was read, by a TX-stamp reader or by a receiver: lets the other
    /// know, and finds out whether the interface is there at all.
    #[cold]
    pub(crate) fn down(self, error: io::Error, by_stamp_reader: bool) -> io::Error {
        if self.is_told() {
            self.bound().witness.listen(self.socket());
            self.bound().downs.add(1);
        }
        // If it is removed later, or is just being removed, the kernel will say no more: waits have to look.
        self.waits.watch_link(true);
        if by_stamp_reader {
            self.waits.receive.owe_link_down(Owed::AnyCall);
        } else {
            self.waits.tx_stamp.owe_link_down(Owed::WaitingCall);
        }
        self.gone_or(error)
    }

    /// The report was read by somebody whom it does not concern: a receiver will say it.
    pub(crate) fn pass_on_report(self) {
        self.bound().downs.add(1);
        self.waits.receive.owe_link_down(Owed::AnyCall);
    }

    /// After a link went down: is it gone, or up again? Follows the name of one that is gone, if that is wanted.
    ///
    /// # Errors
    ///
    /// The interface is there again, and something of what the socket had cannot be had of it.
    pub(crate) fn look_after(self) -> io::Result<()> {
        if !self.waits.is_link_watched() {
            return Ok(());
        }
        if !self.is_back()? {
            self.say_gone();
        } else if self.is_told() && self.is_up() {
            self.bound().witness.forget();
            self.waits.watch_link(false);
        }
        Ok(())
    }

    /// For an error that may be due to it: `ENODEV` if the interface is gone, which ends all waits until it is back, and
    /// `ENETDOWN` if its name is followed; `error` otherwise.
    #[cold]
    pub(crate) fn gone_or(self, error: io::Error) -> io::Error {
        match self.is_gone() {
            true => self.say_gone(),
            false => error,
        }
    }

    fn say_gone(self) -> io::Error {
        // Before another index can come to mean another interface.
        self.bound().witness.departure_of(self.bound().index());
        if self.waits.follows_name() {
            if !self.waits.is_link_watched() {
                self.waits.watch_link(true);
            }
            return io::Error::from_raw_os_error(libc::ENETDOWN);
        }
        self.waits.set_gone();
        io::Error::from_raw_os_error(libc::ENODEV)
    }

    /// Whether the interface was removed, or moved to another network namespace. The kernel then unbinds the socket, a
    /// moment after the interface can no longer be found.
    fn is_gone(self) -> bool {
        let name = ioctl::name_of(self.socket(), self.bound().index().cast_unsigned());
        let is_unknown = name.is_err_and(|error| error.raw_os_error() == Some(libc::ENODEV));
        is_unknown || sys::is_unbound(self.socket()) || self.bound().is_incomplete()
    }

    /// Whether the interface is there. One whose name is followed may have to be bound to first.
    pub(crate) fn is_back(self) -> io::Result<bool> {
        if !self.is_gone() {
            return Ok(true);
        }
        if !self.waits.follows_name() || !self.owner.is_ready() {
            return Ok(false);
        }
        match self.rebind() {
            Ok(_) => Ok(true),
            Err(error) if self.may_pass(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Binds to the interface that has the name now, if the one before is gone. Gives the one that is there.
    pub(crate) fn rebind(self) -> Result<Interface, Error> {
        let (socket, bound) = (self.socket(), self.bound());
        let mut belongings = bound.belongings();
        if !self.is_gone() {
            return bound.current(socket);
        }
        let name = &*bound.name();
        let interface = bound.opened_on().namesake(socket).during(Step::Interface, name)?;
        if self.is_told() && sockopt::take_error(socket).during(Step::Interface, name)?.is_some() {
            self.pass_on_report();
        }
        let belongings = &mut *belongings;
        let mut renew = || self.owner.rebind_to(belongings, &interface);
        match bound.opened_on().netns() {
            Some(netns) => netns.run(renew)?,
            None => renew(),
        }?;
        if self.is_told() {
            // One that is not up yet is reported to be down, which was said when the one before went away.
            let _ = sockopt::take_error(socket);
        }
        bound.witness.forget();
        bound.returns.add(1);
        self.waits.set_back();
        Ok(interface)
    }

    /// Whether an attempt to bind to an interface that has come back may succeed a little later.
    fn may_pass(self, error: &Error) -> bool {
        match (error.raw_os_error(), error.fanout_refusal()) {
            (Some(libc::ENODEV | libc::EAGAIN), _) | (_, Some(FanoutRefusal::InterfaceDown)) => true,
            // The id belongs to the group on the interface that is gone until the last of its members has left it.
            (_, Some(FanoutRefusal::IdTaken)) => {
                let belongings = self.bound().belongings();
                belongings.options.fanout_group().is_some_and(|group| group.has_stranded_members())
            }
            _ => false,
        }
    }

    fn flags(self) -> InterfaceFlags {
        let flags = self.bound().query(self.socket(), ioctl::flags);
        flags.map_or(InterfaceFlags::empty(), InterfaceFlags::from_bits_retain)
    }

    pub(crate) fn is_up(self) -> bool {
        self.flags().contains(InterfaceFlags::UP)
    }

    pub(crate) fn state(self) -> LinkState {
        if self.is_gone() {
            return LinkState::Gone(self.bound().witness.departure_of(self.bound().index()));
        }
        let flags = self.flags();
        match (flags.contains(InterfaceFlags::UP), flags.contains(InterfaceFlags::RUNNING)) {
            (true, true) => LinkState::Up,
            (true, false) => LinkState::NoCarrier,
            (false, _) => LinkState::Down,
        }
    }
}
