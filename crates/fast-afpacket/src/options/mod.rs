//! All that is decided before a socket is bound.

mod bind;
mod given;
mod rebind;

pub(crate) use bind::buffer_size;
pub use given::DescriptorRefusal;
pub(crate) use given::Sockets;

use crate::addr::{EtherType, MacAddr};
use crate::fanout::FanoutGroup;
use crate::filter::Filter;
use crate::launch::LaunchClock;
use crate::memberships::Memberships;
use crate::netns::Netns;
use crate::nic::ConfigureNic;
use crate::timestamp::Timestamping;
#[cfg(doc)]
use crate::{Granted, NicLoan, PacketSocket, Step};

/// What a [`PacketSocket`], an [`RxRing`](crate::RxRing) or a [`TxRing`](crate::TxRing) is to be: made with
/// [`PacketSocket::options`], used up by [`Options::bind`], [`Options::rx_ring`] or [`Options::tx_ring`].
///
/// The kernel is told in this order: `socket(2)` with protocol 0, so that nothing arrives yet; timestamps, metadata,
/// buffers; the filter; then `bind(2)` with protocol and interface in one call. No frame that the filter refuses and
/// none of another interface is ever delivered.
///
/// ```no_run
/// use fast_afpacket::{EtherType, Filter, Interface, PacketSocket};
///
/// let socket = PacketSocket::options()
///     .protocol(EtherType::IPV4)
///     .filter(&Filter::udp_dst(61000).filter())
///     .dual(true)
///     .bind(&Interface::by_name("eth1")?)?;
/// # Ok::<(), fast_afpacket::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until `bind`, `rx_ring` or `tx_ring` is called"]
#[doc(alias("Config", "Listen"))]
pub struct Options {
    netns: Option<Netns>,
    pub(crate) protocol: EtherType,
    pub(crate) cooked: bool,
    dual: bool,
    pub(crate) timestamping: Timestamping,
    pub(crate) configure_nic: ConfigureNic,
    pub(crate) bind_phc: Option<u32>,
    pub(crate) tx_payload: bool,
    count_keys: bool,
    stamp_every_frame: bool,
    pub(crate) filter: Option<Filter>,
    fanout: Option<FanoutGroup>,
    ignore_outgoing: Option<bool>,
    pub(crate) memberships: Memberships,
    receive_buffer: Option<usize>,
    send_buffer: Option<usize>,
    priority: Option<u32>,
    mark: Option<u32>,
    qdisc_bypass: bool,
    pub(crate) offload: bool,
    pub(crate) launch_clock: Option<LaunchClock>,
    pub(crate) follow_name: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            netns: None,
            protocol: EtherType::ALL,
            cooked: false,
            dual: false,
            timestamping: Timestamping::default(),
            configure_nic: ConfigureNic::Never,
            bind_phc: None,
            tx_payload: false,
            count_keys: false,
            stamp_every_frame: false,
            filter: None,
            fanout: None,
            ignore_outgoing: None,
            memberships: Memberships::default(),
            receive_buffer: None,
            send_buffer: None,
            priority: None,
            mark: None,
            qdisc_bypass: false,
            offload: false,
            launch_clock: None,
            follow_name: false,
        }
    }
}

impl Options {
    /// Open in this network namespace. Default: in that of the interface, if it was looked up there
    /// ([`Netns::interface`]), otherwise in that of the calling thread.
    ///
    /// No thread of the program changes its namespace for that, not for a moment: see [`Netns::run`]. Once open, a socket or
    /// ring stays in its namespace, and works from every thread.
    ///
    /// Opening fails at [`Step::Options`] with [`Refusal::OtherNamespace`](crate::Refusal::OtherNamespace) if the interface is
    /// of another namespace, or of one that is not known (before Linux 5.14, if it was not looked up by
    /// [`Netns::interface`]).
    ///
    /// ```no_run
    /// use fast_afpacket::{Netns, PacketSocket};
    ///
    /// let blue = Netns::by_name("blue")?;
    /// let socket = PacketSocket::options().netns(&blue).bind(&blue.interface("eth0")?)?;
    /// # Ok::<(), fast_afpacket::Error>(())
    /// ```
    #[doc(alias("setns", "CLONE_NEWNET"))]
    pub fn netns(mut self, netns: &Netns) -> Self {
        self.netns = Some(netns.clone());
        self
    }

    /// Receive frames of this type only. Default: [`EtherType::ALL`].
    ///
    /// A socket for one type sees incoming frames only, after bridges and the like took theirs, and never the VLAN tag
    /// that the kernel took out. One for all types sees what the wire sees, in both directions.
    #[doc(alias("sll_protocol", "socketProtocol"))]
    pub fn protocol(mut self, protocol: EtherType) -> Self {
        self.protocol = protocol;
        self
    }

    /// Leave the link-layer header to the kernel: `SOCK_DGRAM`. Default: no, frames are whole (`SOCK_RAW`).
    ///
    /// A cooked socket receives what follows the header and sends with
    /// [`send_to`](PacketSocket::send_to), whose address says destination and EtherType.
    #[doc(alias("SOCK_DGRAM", "SOCK_RAW", "socketType"))]
    pub fn cooked(mut self, cooked: bool) -> Self {
        self.cooked = cooked;
        self
    }

    /// Send through a second socket, which receives nothing. Default: no.
    ///
    /// The kernel keeps unread TX stamps and unread frames of one socket in one budget: with a second socket neither
    /// takes room from the other. All methods use the right one. Recommended wherever frames are both received
    /// and sent with a key.
    #[doc(alias = "DualConn")]
    pub fn dual(mut self, dual: bool) -> Self {
        self.dual = dual;
        self
    }

    /// Which timestamps to ask for. Default: all but [`Timestamping::TX_HARDWARE`].
    #[doc(alias = "SO_TIMESTAMPING")]
    pub fn timestamping(mut self, timestamping: Timestamping) -> Self {
        self.timestamping = timestamping;
        self
    }

    /// Switch on the NIC's hardware stamps for as long as the socket lives, if need be. Default:
    /// [`ConfigureNic::Never`], hardware stamps are those that others have switched on.
    ///
    /// The setting is borrowed: see [`NicLoan`]. It is given back when the socket is dropped, also when a thread panics; a
    /// process that is killed leaves a record, from which `afprobe nic restore` mends it.
    ///
    /// ```no_run
    /// use fast_afpacket::{ConfigureNic, Hwtstamp, Interface, PacketSocket, RxFilter, Timestamping, TxMode};
    ///
    /// let needs = Hwtstamp::new(TxMode::ON, RxFilter::PTP_V2_EVENT);
    /// let socket = PacketSocket::options()
    ///     .timestamping(Timestamping::all())
    ///     .configure_nic(ConfigureNic::Preferred(needs))
    ///     .bind(&Interface::by_name("eth1")?)?;
    /// println!("{:?}", socket.granted().nic);
    /// # Ok::<(), fast_afpacket::Error>(())
    /// ```
    #[doc(alias("SIOCSHWTSTAMP", "hwstamp_ctl"))]
    pub fn configure_nic(mut self, configure_nic: ConfigureNic) -> Self {
        self.configure_nic = configure_nic;
        self
    }

    /// Report hardware stamps as times of the virtual clock `/dev/ptpN` of this number, which must be one of the NIC's.
    /// Default: times of the NIC's own clock.
    ///
    /// Virtual clocks run on top of a free-running clock of a card, one for each PTP domain; they are made by writing how
    /// many into `/sys/class/ptp/ptpN/n_vclocks`. The socket is bound to the interface by `SO_BINDTOIFINDEX` too, which the
    /// kernel demands.
    ///
    /// # Kernel
    ///
    /// Linux 5.14. [`Options::bind`] fails at [`Step::Timestamping`] with `EINVAL` if the interface has no such virtual
    /// clock, with `EOPNOTSUPP` if it has none at all.
    #[doc(alias("SOF_TIMESTAMPING_BIND_PHC", "vclock"))]
    pub fn bind_phc(mut self, phc: u32) -> Self {
        self.bind_phc = Some(phc);
        self
    }

    /// Return the sent frame with each of its TX stamps. Default: no.
    ///
    /// The frame then comes with its link-layer header, also on a cooked socket, and takes room in the receive
    /// buffer. Where `net.core.tstamp_allow_data` is 0, a process without `CAP_NET_RAW` in the initial user namespace
    /// gets no stamps at all this way.
    #[doc(alias = "SOF_TIMESTAMPING_OPT_TSONLY")]
    pub fn tx_payload(mut self, tx_payload: bool) -> Self {
        self.tx_payload = tx_payload;
        self
    }

    /// Count sent frames to match their stamps, even where the kernel takes the caller's keys. Default: no.
    ///
    /// This is what happens by itself before Linux 6.13; it is an option to compare the two and to test the older way.
    #[doc(alias = "SCM_TS_OPT_ID")]
    pub fn count_keys(mut self, count_keys: bool) -> Self {
        self.count_keys = count_keys;
        self
    }

    /// Have the kernel stamp every frame that is sent, so that it need not be asked frame by frame. Default: no, frames with a
    /// key are stamped and others are not.
    ///
    /// For those who stamp every frame anyway: a keyed send is about a tenth cheaper. A frame without a key is refused,
    /// since its stamps could not be told from those of others.
    #[doc(alias = "SO_TIMESTAMPING")]
    pub fn stamp_every_frame(mut self, stamp_every_frame: bool) -> Self {
        self.stamp_every_frame = stamp_every_frame;
        self
    }

    /// Receive only what this filter lets in. It is in force before the first frame can arrive.
    #[doc(alias("SO_ATTACH_FILTER", "SetBPF"))]
    pub fn filter(mut self, filter: &Filter) -> Self {
        self.filter = Some(filter.clone());
        self
    }

    /// Join this group, which shares the frames among its members; in dual mode the socket that receives joins.
    ///
    /// Nothing is received that came before the socket was a member. [`Options::bind`] takes some milliseconds longer. A
    /// member needs one more descriptor.
    ///
    /// ```no_run
    /// use fast_afpacket::{FanoutGroup, FanoutMode, Interface, PacketSocket};
    ///
    /// let interface = Interface::by_name("eth1")?;
    /// let group = FanoutGroup::new(FanoutMode::RoundRobin);
    /// let first = PacketSocket::options().fanout(&group).bind(&interface)?;
    /// let second = PacketSocket::options().fanout(&group).bind(&interface)?;
    /// # Ok::<(), fast_afpacket::Error>(())
    /// ```
    #[doc(alias = "PACKET_FANOUT")]
    pub fn fanout(mut self, group: &FanoutGroup) -> Self {
        self.fanout = Some(group.clone());
        self
    }

    /// Do not receive what this host sends. Default: yes with [`dual`](Self::dual), no otherwise.
    ///
    /// A socket never receives what it sent itself. The second socket of dual mode is another one to the kernel: without
    /// this option, a dual socket for [`EtherType::ALL`] receives its own frames.
    ///
    /// # Kernel
    ///
    /// Linux 4.20. Sockets for one protocol never see outgoing frames.
    #[doc(alias = "PACKET_IGNORE_OUTGOING")]
    pub fn ignore_outgoing(mut self, ignore_outgoing: bool) -> Self {
        self.ignore_outgoing = Some(ignore_outgoing);
        self
    }

    /// Receive frames for other hosts too, by a membership that ends with the socket. Default: no.
    #[doc(alias = "PACKET_MR_PROMISC")]
    pub fn promiscuous(mut self, promiscuous: bool) -> Self {
        self.memberships.promiscuous = promiscuous;
        self
    }

    /// Receive all multicast frames, by a membership that ends with the socket. Default: no.
    #[doc(alias = "PACKET_MR_ALLMULTI")]
    pub fn all_multicast(mut self, all_multicast: bool) -> Self {
        self.memberships.all_multicast = all_multicast;
        self
    }

    /// Receive frames for this multicast address, by a membership that ends with the socket. May be called repeatedly.
    #[doc(alias = "PACKET_MR_MULTICAST")]
    pub fn multicast(mut self, group: MacAddr) -> Self {
        self.memberships.groups.push(group);
        self
    }

    /// Room for received frames and for unread TX stamps, in bytes of kernel memory; in dual mode for each of the two.
    ///
    /// A frame of 60 bytes takes about 800. Default: `net.core.rmem_default`, as a rule 212,992 bytes: 256 small frames,
    /// 93 of full size, 255 TX stamps. With `CAP_NET_ADMIN` in the initial user namespace any size is granted, otherwise
    /// up to `net.core.rmem_max`; [`Granted::receive_buffer`] says how much it was.
    #[doc(alias("SO_RCVBUF", "SO_RCVBUFFORCE"))]
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Room for frames that wait to be sent, in bytes of kernel memory. Limits as for
    /// [`receive_buffer`](Self::receive_buffer), with `net.core.wmem_max`.
    #[doc(alias("SO_SNDBUF", "SO_SNDBUFFORCE"))]
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.send_buffer = Some(bytes);
        self
    }

    /// The priority of sent frames, by which queueing disciplines order them: 0 to 6 for everybody, more since Linux 5.17
    /// with `CAP_NET_RAW`, before with `CAP_NET_ADMIN`.
    #[doc(alias = "SO_PRIORITY")]
    pub fn priority(mut self, priority: u32) -> Self {
        self.priority = Some(priority);
        self
    }

    /// The mark of sent frames, for traffic control. Needs `CAP_NET_ADMIN` or, since Linux 5.17, `CAP_NET_RAW`.
    #[doc(alias = "SO_MARK")]
    pub fn mark(mut self, mark: u32) -> Self {
        self.mark = Some(mark);
        self
    }

    /// Hand frames to the driver without the queueing discipline. Default: no.
    ///
    /// Cheaper for each frame; nothing is queued, shaped or seen by `tc`, so a driver that has no room refuses a frame
    /// with `ENOBUFS`. There are no stamps of the stage [`Timestamping::TX_SCHEDULED`], which is left out of
    /// [`Granted::timestamping`].
    ///
    /// # Kernel
    ///
    /// Linux 3.14.
    #[doc(alias = "PACKET_QDISC_BYPASS")]
    pub fn qdisc_bypass(mut self, qdisc_bypass: bool) -> Self {
        self.qdisc_bypass = qdisc_bypass;
        self
    }

    /// Tell what was left undone to received frames, and allow it for sent ones: checksums, cutting into segments. Default:
    /// no. Only for raw sockets.
    ///
    /// With it, [`RxMeta::offload`](crate::RxMeta::offload) is there, and [`PacketSocket::send_offloaded`] works. Whether
    /// or not: a received frame may be longer than the MTU, where the sender's or this host's kernel has merged several.
    ///
    /// # Kernel
    ///
    /// Linux 2.6.27; UDP segments since 6.2.
    #[doc(alias = "PACKET_VNET_HDR")]
    pub fn offload(mut self, offload: bool) -> Self {
        self.offload = offload;
        self
    }

    /// Go on with the interface that is made again under the same name, when this one is removed or moved away. Default: no,
    /// every call fails with `ENODEV` then, until [`PacketSocket::rebind`].
    ///
    /// An interface that is gone is then one that is down: one call says `ENETDOWN`, sending says so as long as it is gone,
    /// and waits go on, looking for the name every 50 ms. As soon as it is there, the socket is bound to it, with all that it
    /// had: filter, memberships, timestamps, ring, fanout group, the loan of the NIC. Calls that do not wait look too, each
    /// time that they find nothing.
    ///
    /// If something cannot be had of the new interface (a card that does not lend its setting:
    /// [`ConfigureNic::Required`]), the call that finds out fails with an [`io::Error`](std::io::Error) that holds an
    /// [`Error`](crate::Error), which names the step; the next call tries again.
    ///
    /// What [`PacketSocket::rebind`] says of the keys of sent frames and of fanout groups goes for this too.
    ///
    /// ```no_run
    /// use fast_afpacket::{Interface, PacketSocket};
    ///
    /// let socket = PacketSocket::options().follow_name(true).bind(&Interface::by_name("tap0")?)?;
    /// let mut buf = [0; 2048];
    /// loop {
    ///     match socket.recv(&mut buf) {
    ///         Ok(meta) => println!("{} bytes", meta.len),
    ///         Err(error) if error.kind() == std::io::ErrorKind::NetworkDown => eprintln!("{:?}", socket.link_state()),
    ///         Err(error) => return Err(error.into()),
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn follow_name(mut self, follow_name: bool) -> Self {
        self.follow_name = follow_name;
        self
    }

    /// Allow launch times on this clock: [`PacketSocket::send_at`]. Default: no.
    ///
    /// It takes a queueing discipline that keeps them (`etf`, `fq`), with the same clock. Without one the kernel sends at
    /// once and says nothing. `CLOCK_REALTIME` is not offered: on it a frame that stays on this machine would be
    /// received with its launch time for a stamp.
    ///
    /// # Kernel
    ///
    /// Linux 4.19.
    #[doc(alias("SO_TXTIME", "etf"))]
    pub fn launch_clock(mut self, clock: LaunchClock) -> Self {
        self.launch_clock = Some(clock);
        self
    }
}
