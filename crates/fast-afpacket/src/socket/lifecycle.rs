//! Staying with an interface that goes down, is renamed, or is removed and made again.

use std::os::fd::{AsFd, BorrowedFd};

use super::PacketSocket;
use crate::addr::EtherType;
use crate::bound::{Belongings, Bound};
use crate::error::{Context, Error, Step};
use crate::interface::Interface;
use crate::link::{Linked, renew_memberships};
use crate::link_state::{LinkChanges, LinkState};
use crate::options::Options;
use crate::sys::{self, sockopt};

/// When the interface changes.
impl PacketSocket {
    /// The interface that the socket is bound to now, by the name that it has now: it may have been renamed, or made again.
    ///
    /// # Errors
    ///
    /// `ENODEV` if it is gone.
    #[doc(alias = "SIOCGIFNAME")]
    pub fn current_interface(&self) -> Result<Interface, Error> {
        self.parts.bound.current(self.rx())
    }

    /// Asks whether the interface is up, down or gone: after an `ENETDOWN`, or at any time.
    #[doc(alias("SIOCGIFFLAGS", "IFF_UP"))]
    pub fn link_state(&self) -> LinkState {
        self.link().state()
    }

    /// How often the interface went down, and was made again, since the socket was opened.
    pub fn link_changes(&self) -> LinkChanges {
        self.parts.bound.changes()
    }

    /// Binds to the interface that has the name now, if the one that the socket was bound to was removed or moved away. Gives
    /// the one that it is bound to. If that is there, also under another name, nothing is done.
    ///
    /// With [`Options::follow_name`](crate::Options::follow_name) calls do this by themselves. The name is the one of
    /// [`interface`](Self::interface), with which the socket was opened.
    ///
    /// All that was asked of the interface is asked of the new one: memberships, those of now, and hardware stamps
    /// ([`Options::configure_nic`](crate::Options::configure_nic), of which [`granted`](Self::granted) says what came of it).
    /// The filter, what was not read yet and all settings stay. Stamps of frames that were under way are lost; later frames
    /// have theirs, with the right keys.
    ///
    /// # Members of a fanout group
    ///
    /// The kernel binds a member of a group ([`Options::fanout`](crate::Options::fanout)) only once. So another socket takes
    /// its place, under the same descriptor, and joins the group as it is made anew on the new interface; each member has to.
    /// The old socket's unread frames are thrown away and counted ([`Stats::discarded`](crate::Stats::discarded)), its unread
    /// stamps, if it sends too, are lost. What waits for the descriptor in a poller of your own has to be told: epoll(7)
    /// forgets a socket that is closed. With [`FanoutGroup::with_id`](crate::FanoutGroup::with_id) the id is free only when all
    /// members have left it: the first ones fail until then.
    ///
    /// # Errors
    ///
    /// `ENODEV` at [`Step::Interface`] if there is no interface of that name, and whatever [`Options::bind`](crate::Options::bind)
    /// says. The socket can be rebound later.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use fast_afpacket::{Interface, PacketSocket};
    ///
    /// let socket = PacketSocket::bind(&Interface::by_name("eth1")?)?;
    /// let mut buf = [0; 2048];
    /// loop {
    ///     match socket.recv(&mut buf) {
    ///         Ok(meta) => println!("{} bytes", meta.len),
    ///         Err(error) if error.raw_os_error() == Some(19) => {
    ///             // ENODEV: when it is there again, by whatever tells, go on.
    ///             println!("now on {:?}", socket.rebind()?);
    ///         }
    ///         Err(error) => eprintln!("{error}"),
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "bind")]
    pub fn rebind(&self) -> Result<Interface, Error> {
        self.link().rebind()
    }
}

impl Linked for PacketSocket {
    fn bound_socket(&self) -> BorrowedFd<'_> {
        self.rx()
    }

    fn bound(&self) -> &Bound {
        &self.parts.bound
    }

    fn is_told(&self) -> bool {
        true
    }

    fn rebind_to(&self, belongings: &mut Belongings, interface: &Interface) -> Result<(), Error> {
        if belongings.options.fanout_group().is_some() {
            self.put_successor(belongings, interface)?;
        }
        belongings.renew_nic(self.rx(), interface, self.parts.asked)?;
        let options = &belongings.options;
        // Nothing is received before the socket is bound; until then the whole can be tried again.
        let held = self.memberships();
        renew_memberships(self.rx(), interface, held.all())?;
        if options.bind_phc.is_some() {
            self.renew_clock(options, interface)?;
        }
        if let Some(tx) = &self.parts.tx {
            options.bind_to(tx.as_fd(), EtherType::new(0), interface)?;
        }
        let filter = self.filter();
        belongings.fanout = options.bind_and_join(self.rx(), interface, |socket| filter.put_on(socket))?;
        self.parts.bound.set(interface);
        Ok(())
    }
}

impl PacketSocket {
    /// Has hardware stamps reported as times of the virtual clock of this interface.
    fn renew_clock(&self, options: &Options, interface: &Interface) -> Result<(), Error> {
        let name = &*interface.name();
        for socket in [Some(self.rx()), self.parts.tx.as_ref().map(AsFd::as_fd)].into_iter().flatten() {
            options.tie_to(socket, interface).during(Step::Timestamping, name)?;
        }
        if self.parts.tx.is_some() {
            options.ask_for_rx_stamps(self.rx(), name)?;
        }
        self.parts.stamping.renew(self.tx()).during(Step::Timestamping, name)
    }

    /// Another socket takes the place of the one that receives, which leaves its group.
    fn put_successor(&self, belongings: &mut Belongings, interface: &Interface) -> Result<(), Error> {
        let (name, options) = (&*interface.name(), &belongings.options);
        self.waits.check_replaceable().during(Step::Fanout, name)?;
        let successor = options.open_successor(self.rx(), interface, |socket| {
            match &self.parts.tx {
                Some(_) => options.ask_for_rx_stamps(socket, name).map(drop)?,
                None => {
                    self.parts.stamping.renew(socket).during(Step::Timestamping, name)?;
                    options.set_up_sending(socket, &self.parts.stamping, name)?;
                }
            }
            self.naps.bound_too(socket).during(Step::Open, name)?;
            sockopt::set_packet(socket, libc::PACKET_AUXDATA, 1).during(Step::Auxdata, name)
        })?;
        self.discard_received().during(Step::Filter, name)?;
        self.counters.read(self.rx()).during(Step::Statistics, name)?;
        self.parts.bound.set_incomplete(true);
        let replace = || sys::replace(self.rx(), successor);
        match &self.parts.tx {
            Some(_) => replace(),
            None => self.parts.stamping.change_socket(replace),
        }
        .during(Step::Open, name)?;
        belongings.fanout = None;
        self.waits.set_replaced();
        Ok(())
    }
}
