//! Opening a ring: the order in which the kernel is told.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::lifecycle::Remake;
use super::shape::{Request, RingShape, Way};
use super::{RxRing, Shared};
use crate::bound::{Belongings, Bound};
use crate::error::{Context, Error, Step};
use crate::granted::{Granted, RingMemory};
use crate::interface::Interface;
use crate::link::renew_memberships;
use crate::nic::NicLoan;
use crate::options::{Options, Sockets};
use crate::stamping::{self, Manner};
use crate::stats::Counters;
use crate::sys::mmap::{self, SharedRing};
use crate::sys::{abi, sockopt};
use crate::timestamp::Timestamping;
use crate::wait::Waits;

impl Options {
    /// Opens a receive ring on this interface: a socket that receives into memory which it shares with the kernel.
    ///
    /// The order is that of [`bind`](Self::bind): the filter and the ring are there before the first frame can arrive.
    /// What concerns sending alone ([`dual`](Self::dual), [`priority`](Self::priority), stamps of sent frames and so on)
    /// does not count; nor does [`receive_buffer`](Self::receive_buffer), since the ring is the buffer.
    ///
    /// Opening and dropping a ring takes milliseconds each: the kernel waits for all processors.
    ///
    /// ```no_run
    /// use fast_afpacket::{Filter, Interface, PacketSocket, RingShape};
    ///
    /// let mut ring = PacketSocket::options()
    ///     .filter(&Filter::udp_dst(61000).filter())
    ///     .rx_ring(&Interface::by_name("eth1")?, RingShape::throughput())?;
    /// loop {
    ///     let block = ring.next_block()?;
    ///     for frame in &block {
    ///         println!("{} bytes at {:?}", frame.wire_len(), frame.timestamps().software);
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`bind`](Self::bind). [`Step::Options`] with the rule that was broken and the nearest valid value, if the
    /// shape breaks one, and for [`bind_phc`](Self::bind_phc) and [`offload`](Self::offload), which a ring does not have.
    /// [`Step::Ring`] with `ENOMEM` if the machine has no room for the ring.
    ///
    /// # Kernel
    ///
    /// Linux 3.2; see packet_mmap.rst of the kernel's documentation.
    #[doc(alias("PACKET_RX_RING", "PACKET_MMAP", "TPACKET_V3", "TPACKET_V2"))]
    pub fn rx_ring<K>(self, interface: &Interface, shape: RingShape<K>) -> Result<RxRing<K>, Error> {
        self.in_netns(interface, |options, interface| options.rx_ring_here(interface, shape, Sockets::New))
    }

    pub(crate) fn rx_ring_here<K>(
        self,
        interface: &Interface,
        shape: RingShape<K>,
        mut sockets: Sockets,
    ) -> Result<RxRing<K>, Error> {
        let name = &*interface.name();
        self.check(name)?;
        let (request, layout) =
            shape.check(mmap::page_size(), Way::Receive).map_err(|why| Error::invalid(name, why))?;
        if self.bind_phc.is_some() {
            // The kernel copies the NIC's time into the ring without converting it.
            return Err(Error::invalid(name, "a ring gives no times of a virtual clock (Options::bind_phc)"));
        }
        if self.offload {
            return Err(Error::invalid(name, "a ring does not tell what was left undone (Options::offload)"));
        }
        let (nic_loan, nic) = NicLoan::take_as(interface, self.configure_nic)?;
        // Protocol 0: nothing arrives before the socket is bound.
        let socket = self.open(name, interface, &mut sockets)?;
        let fd = socket.as_fd();
        self.prepare_ring(fd, &request, name)?;
        // A group takes no ring that is mapped already. What arrives before it is mapped is in it all the same.
        let fanout = self.bind_and_join(fd, interface, |socket| self.attach_filter(socket))?;
        let (ring, mapped) = SharedRing::map(fd, layout).during(Step::Ring, name)?;
        let memory =
            RingMemory { bytes: shape.memory().unwrap_or(0), locked: mapped.locked, populated: mapped.populated };
        let granted = Granted {
            timestamping: self.stamps_to_come(self.timestamping.intersection(Timestamping::RX), nic),
            nic,
            phc: self.phc_of(interface, fd),
            own_keys: false,
            receive_buffer: 0,
            send_buffer: 0,
            ring: Some(memory),
        };
        renew_memberships(fd, interface, self.memberships.all())?;
        let shared = Shared {
            socket,
            stamps: granted.timestamping,
            waits: Waits::new(self.follow_name),
            counters: Counters::default(),
            is_member: fanout.is_some(),
            remake: Remake::new(request, layout),
            bound: Bound::new(interface.clone(), Belongings { options: self, granted, fanout, nic_loan }),
        };
        Ok(RxRing::new(ring, Arc::new(shared)))
    }

    /// All that there is to be before the socket is bound: stamps, filter, the ring.
    pub(super) fn prepare_ring(&self, socket: BorrowedFd<'_>, request: &Request, name: &str) -> Result<(), Error> {
        let version = match request {
            Request::Frames(_) => abi::TPACKET_V2,
            Request::Blocks(_) => abi::TPACKET_V3,
        };
        sockopt::set_packet(socket, libc::PACKET_VERSION, version).during(Step::Ring, name)?;
        let stamps = self.timestamping.intersection(Timestamping::RX);
        stamping::ask(socket, stamps, Manner::default()).during(Step::Timestamping, name)?;
        if stamps.contains(Timestamping::RX_HARDWARE) {
            let source = libc::SOF_TIMESTAMPING_RAW_HARDWARE.cast_signed();
            sockopt::set_packet(socket, libc::PACKET_TIMESTAMP, source).during(Step::Timestamping, name)?;
        }
        self.limit_reception(socket, name)?;
        match request {
            Request::Frames(request) => sockopt::rx_ring_of_frames(socket, *request),
            Request::Blocks(request) => sockopt::rx_ring_of_blocks(socket, *request),
        }
        .during(Step::Ring, name)
    }
}
