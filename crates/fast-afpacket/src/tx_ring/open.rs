//! Opening a ring: the order in which the kernel is told.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::queue::Queue;
use super::{Shared, TxRing, flush};
use crate::addr::EtherType;
use crate::bound::{Belongings, Bound};
use crate::error::{Context, Error, Step};
use crate::frame_limit::FrameLimit;
use crate::granted::{Granted, RingMemory};
use crate::interface::Interface;
use crate::nic::NicLoan;
use crate::options::{Options, Sockets, buffer_size};
use crate::ring::{ByFrame, Request, RingShape, Way};
use crate::stamping::{Manner, Stamping};
use crate::stats::Counters;
use crate::sys::tx_slots::TxSlots;
use crate::sys::{abi, mmap, sockopt};
use crate::timestamp::Timestamping;
use crate::wait::Waits;

impl Options {
    /// Opens a transmit ring on this interface: a socket that sends from memory which it shares with the kernel. See
    /// [`TxRing`] for when that is the better choice; as a rule it is not.
    ///
    /// What concerns receiving alone does not count ([`protocol`](Self::protocol), [`filter`](Self::filter),
    /// [`fanout`](Self::fanout), memberships, stamps of received frames and so on): the socket receives nothing. Beside a
    /// [`PacketSocket`](crate::PacketSocket) or an [`RxRing`](crate::RxRing) that receives it can be the sending half; the
    /// other half then wants [`ignore_outgoing`](Self::ignore_outgoing), since the kernel takes the ring for another sender.
    ///
    /// Keys are always counted, as with [`count_keys`](Self::count_keys). [`receive_buffer`](Self::receive_buffer) is the
    /// room for unread TX stamps. What [`tx_payload`](Self::tx_payload) returns may, before Linux 6.4, be what was written into
    /// the slot since.
    ///
    /// ```no_run
    /// use fast_afpacket::{Interface, PacketSocket, RingShape};
    ///
    /// let mut ring = PacketSocket::options()
    ///     .qdisc_bypass(true)
    ///     .tx_ring(&Interface::by_name("eth1")?, RingShape::transmit().frame_size(9216).blocks(40))?;
    /// ring.push(&[0xff; 60])?;
    /// ring.flush()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Step::Options`] with the rule that was broken and the nearest valid value, if the shape breaks one, and for what a
    /// transmit ring does not have: [`cooked`](Self::cooked), [`offload`](Self::offload),
    /// [`launch_clock`](Self::launch_clock). [`Step::Ring`] with `ENOMEM` if the machine has no room for the ring.
    /// Otherwise those of [`bind`](Self::bind).
    ///
    /// # Kernel
    ///
    /// Linux 2.6.31; see packet_mmap.rst of the kernel's documentation.
    #[doc(alias("PACKET_TX_RING", "PACKET_MMAP", "TPACKET_V2"))]
    pub fn tx_ring(self, interface: &Interface, shape: RingShape<ByFrame>) -> Result<TxRing, Error> {
        self.in_netns(interface, |options, interface| options.tx_ring_here(interface, shape, Sockets::New))
    }

    pub(crate) fn tx_ring_here(
        self,
        interface: &Interface,
        shape: RingShape<ByFrame>,
        mut sockets: Sockets,
    ) -> Result<TxRing, Error> {
        let name = &*interface.name();
        self.check_for_tx_ring(name)?;
        let (request, layout) = shape.check(mmap::page_size(), Way::Send).map_err(|why| Error::invalid(name, why))?;
        let Request::Frames(request) = request else {
            return Err(Error::invalid(name, "a transmit ring is made of frames, not of blocks"));
        };
        let (nic_loan, nic) = NicLoan::take_as(interface, self.configure_nic)?;
        let socket = self.open(name, interface, &mut sockets)?;
        let fd = socket.as_fd();
        sockopt::set_packet(fd, libc::PACKET_VERSION, abi::TPACKET_V2).during(Step::Ring, name)?;
        let stamps = self.timestamping.intersection(Timestamping::TX);
        // One call hands over many frames, with one set of control messages: a key of the caller's would be that of all.
        let count_keys = true;
        // Frames without a key have none: stamps are asked for call by call.
        let manner = Manner { phc: self.bind_phc, payload: self.tx_payload, every_frame: false };
        let stamping = Stamping::set_up(fd, stamps, manner, count_keys).during(Step::Timestamping, name)?;
        self.bypass_queue(fd, name)?;
        sockopt::tx_ring_of_frames(fd, request).during(Step::Ring, name)?;
        let (slots, mapped) = TxSlots::map(fd, layout).during(Step::Ring, name)?;
        // Protocol 0: it receives nothing, and the kernel finds each frame's own protocol when it sends.
        self.bind_to(fd, EtherType::new(0), interface)?;
        let memory =
            RingMemory { bytes: shape.memory().unwrap_or(0), locked: mapped.locked, populated: mapped.populated };
        let granted = Granted {
            timestamping: self.stamps_to_come(stamps, nic),
            nic,
            phc: self.phc_of(interface, fd),
            own_keys: stamping.has_own_keys(),
            receive_buffer: buffer_size(fd, libc::SO_RCVBUF).during(Step::ReceiveBuffer, name)?,
            send_buffer: buffer_size(fd, libc::SO_SNDBUF).during(Step::SendBuffer, name)?,
            ring: Some(memory),
        };
        let waits = Waits::new(self.follow_name);
        // The kernel tells a socket that receives nothing of no link that goes down, and of none that goes away.
        waits.watch_link(true);
        let bound = Bound::new(interface.clone(), Belongings { options: self, granted, fanout: None, nic_loan });
        let shared = Shared {
            frame_limit: FrameLimit::new(fd, &bound, false),
            bound,
            stamping,
            waits,
            counters: Counters::default(),
            socket,
        };
        let queue = Queue::new(&slots);
        Ok(TxRing { slots, queue, most_at_once: flush::ALL, shared: Arc::new(shared) })
    }

    /// Refuses what a transmit ring does not have.
    fn check_for_tx_ring(&self, name: &str) -> Result<(), Error> {
        let wanting = [
            (self.cooked, "a transmit ring has no address for a cooked frame (Options::cooked)"),
            (self.offload, "a transmit ring leaves nothing to be done (Options::offload)"),
            (
                self.launch_clock.is_some(),
                "a transmit ring hands over many frames at once, which would have one launch time (Options::launch_clock)",
            ),
        ];
        match wanting.into_iter().find(|(wanted, _)| *wanted) {
            Some((_, why)) => Err(Error::invalid(name, why)),
            None => Ok(()),
        }
    }
}
