//! Staying with an interface that goes down, is renamed, or is removed and made again.

use std::os::fd::{AsFd, BorrowedFd};

use super::{Shared, TxRing};
use crate::addr::EtherType;
use crate::bound::{Belongings, Bound};
use crate::error::{Context, Error, Step};
use crate::interface::Interface;
use crate::link::Linked;
use crate::link_state::{LinkChanges, LinkState};
use crate::timestamp::Timestamping;

impl Linked for Shared {
    fn bound_socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn bound(&self) -> &Bound {
        &self.bound
    }

    fn is_told(&self) -> bool {
        // The socket receives nothing.
        false
    }

    fn rebind_to(&self, belongings: &mut Belongings, interface: &Interface) -> Result<(), Error> {
        let stamps = belongings.options.timestamping.intersection(Timestamping::TX);
        belongings.renew_nic(self.socket.as_fd(), interface, stamps)?;
        let (socket, options, name) = (self.socket.as_fd(), &belongings.options, &*interface.name());
        if options.bind_phc.is_some() {
            options.tie_to(socket, interface).during(Step::Timestamping, name)?;
            self.stamping.renew(socket).during(Step::Timestamping, name)?;
        }
        options.bind_to(socket, EtherType::new(0), interface)?;
        self.bound.set(interface);
        Ok(())
    }
}

/// When the interface changes.
impl TxRing {
    /// The interface that the ring's socket is bound to now, by the name that it has now:
    /// [`PacketSocket::current_interface`](crate::PacketSocket::current_interface).
    ///
    /// # Errors
    ///
    /// `ENODEV` if it is gone.
    #[doc(alias = "SIOCGIFNAME")]
    pub fn current_interface(&self) -> Result<Interface, Error> {
        self.shared.bound.current(self.shared.socket.as_fd())
    }

    /// Asks whether the interface is up, down or gone.
    #[doc(alias("SIOCGIFFLAGS", "IFF_UP"))]
    pub fn link_state(&self) -> LinkState {
        self.shared.link().state()
    }

    /// How often the interface was made again, since the ring was opened. That it went down the kernel does not tell.
    pub fn link_changes(&self) -> LinkChanges {
        self.shared.bound.changes()
    }

    /// Binds to the interface that has the name now, if the one before was removed or moved away:
    /// [`PacketSocket::rebind`](crate::PacketSocket::rebind). Frames that are committed stay so.
    ///
    /// # Errors
    ///
    /// Those of [`PacketSocket::rebind`](crate::PacketSocket::rebind).
    #[doc(alias = "bind")]
    pub fn rebind(&mut self) -> Result<Interface, Error> {
        self.shared.link().rebind()
    }
}
