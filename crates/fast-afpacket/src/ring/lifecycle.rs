//! Staying with an interface that goes down, is renamed, or is removed and made again.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Request, RxRing, Shared};
use crate::bound::{Belongings, Bound};
use crate::error::{Context, Error, Step};
use crate::granted::RingMemory;
use crate::interface::Interface;
use crate::link::{Linked, renew_memberships};
use crate::link_state::{LinkChanges, LinkState};
use crate::sys;
use crate::sys::mmap::{Layout, SharedRing};
use crate::timestamp::Timestamping;

/// What it takes to make the ring once more.
pub(super) struct Remake {
    request: Request,
    layout: Layout,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The ring of the socket that has taken the place of the one before, until the reader has come upon it.
    successor: Option<SharedRing>,
    /// When a reader first found that the interface is gone.
    gone_since: Option<Instant>,
}

impl Remake {
    pub(super) fn new(request: Request, layout: Layout) -> Self {
        Self { request, layout, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long after the last frame the kernel has handed it over for certain.
    fn time_to_hand_over(&self) -> Duration {
        match &self.request {
            Request::Frames(_) => Duration::ZERO,
            // The time-out may be the kernel's choice, of a few milliseconds.
            Request::Blocks(request) => {
                Duration::from_millis(u64::from(request.tp_retire_blk_tov).saturating_mul(2).saturating_add(50))
            }
        }
    }
}

impl Shared {
    /// Lets the reader go on in the ring of the socket that has taken the place of the one before.
    #[cold]
    pub(super) fn change_ring(&self, ring: &mut SharedRing) {
        if let Some(successor) = self.remake.lock().successor.take() {
            *ring = successor;
        }
    }

    /// Another socket takes the place of the one that there is, which leaves its group; with a ring of its own.
    fn put_successor(&self, belongings: &mut Belongings, interface: &Interface) -> Result<(), Error> {
        let (name, options) = (&*interface.name(), &belongings.options);
        self.waits.check_replaceable().during(Step::Fanout, name)?;
        let Remake { request, layout, .. } = &self.remake;
        let socket = self.socket.as_fd();
        let successor =
            options.open_successor(socket, interface, |successor| options.prepare_ring(successor, request, name))?;
        let (ring, mapped) = SharedRing::map(successor.as_fd(), *layout).during(Step::Ring, name)?;
        self.counters.read(socket).during(Step::Statistics, name)?;
        self.bound.set_incomplete(true);
        sys::replace(socket, successor).during(Step::Open, name)?;
        self.remake.lock().successor = Some(ring);
        if let Some(memory) = &mut belongings.granted.ring {
            *memory = RingMemory { locked: mapped.locked, populated: mapped.populated, ..*memory };
        }
        belongings.fanout = None;
        self.waits.set_replaced();
        Ok(())
    }
}

impl Linked for Shared {
    fn bound_socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn bound(&self) -> &Bound {
        &self.bound
    }

    fn is_told(&self) -> bool {
        true
    }

    /// The ring of a member of a group is made anew: not before the last frame of the one before was handed over.
    fn is_ready(&self) -> bool {
        let mut state = self.remake.lock();
        let gone_since = *state.gone_since.get_or_insert_with(Instant::now);
        !self.is_member || gone_since.elapsed() >= self.remake.time_to_hand_over()
    }

    fn rebind_to(&self, belongings: &mut Belongings, interface: &Interface) -> Result<(), Error> {
        if self.is_member {
            self.put_successor(belongings, interface)?;
        }
        let stamps = belongings.options.timestamping.intersection(Timestamping::RX);
        belongings.renew_nic(self.socket.as_fd(), interface, stamps)?;
        let (socket, options) = (self.socket.as_fd(), &belongings.options);
        renew_memberships(socket, interface, options.memberships.all())?;
        belongings.fanout = options.bind_and_join(socket, interface, |socket| options.attach_filter(socket))?;
        self.bound.set(interface);
        self.remake.lock().gone_since = None;
        Ok(())
    }
}

/// When the interface changes.
impl<K> RxRing<K> {
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

    /// How often the interface went down, and was made again, since the ring was opened.
    pub fn link_changes(&self) -> LinkChanges {
        self.shared.bound.changes()
    }

    /// Binds to the interface that has the name now, if the one before was removed or moved away:
    /// [`PacketSocket::rebind`](crate::PacketSocket::rebind). What is in the ring stays there.
    ///
    /// The ring of a member of a fanout group is made anew, with its socket: frames that were not read are lost with the old
    /// one. With [`Options::follow_name`](crate::Options::follow_name) they are read first.
    ///
    /// # Errors
    ///
    /// Those of [`PacketSocket::rebind`](crate::PacketSocket::rebind).
    #[doc(alias = "bind")]
    pub fn rebind(&mut self) -> Result<Interface, Error> {
        let bound = self.shared.link().rebind();
        // Also if it failed half-way: the old ring keeps the old socket open.
        self.shared.change_ring(&mut self.ring);
        bound
    }
}
