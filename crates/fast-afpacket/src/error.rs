//! The error of set-up calls: which step failed, on which interface, why, and what to do about it.

use std::fmt;
use std::io;

use crate::fanout_refusal::FanoutRefusal;
use crate::nic_refusal::NicRefusal;

/// A set-up call that failed: it knows the step, the interface, the errno and the missing capability.
///
/// It turns into an [`io::Error`] of the same kind for `?`, with itself inside. The data path (`recv`, `send` and their
/// kin) returns [`io::Error`] directly.
#[doc(alias = "errno")]
pub struct Error(Box<Inner>);

struct Inner {
    step: Step,
    interface: Box<str>,
    source: io::Error,
}

/// What was being done when a set-up call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Looking up an interface or reading one of its properties.
    Interface,
    /// Finding or entering a network namespace: `setns(2)`. `EPERM`: `CAP_SYS_ADMIN` is missing, in the user namespace that
    /// owns the network namespace, or in the thread's own. `EINVAL`: it is no network namespace.
    Netns,
    /// Checking the options before anything is opened.
    Options,
    /// `socket(2)`. `EPERM`: `CAP_NET_RAW` is missing.
    Open,
    /// Borrowing the NIC's timestamp setting: `SIOCSHWTSTAMP`. [`Error::nic_refusal`] says why it is not to be had.
    Nic,
    /// Asking for timestamps: `SO_TIMESTAMPING`.
    Timestamping,
    /// Asking for the lengths, VLAN tag and checksum state of received frames: `PACKET_AUXDATA`.
    Auxdata,
    /// `PACKET_IGNORE_OUTGOING`, Linux 4.20.
    IgnoreOutgoing,
    /// `SO_RCVBUF`.
    ReceiveBuffer,
    /// `SO_SNDBUF`.
    SendBuffer,
    /// `SO_PRIORITY`. Values above 6 need `CAP_NET_ADMIN` or, since Linux 5.17, `CAP_NET_RAW`.
    Priority,
    /// `SO_MARK`. Needs `CAP_NET_ADMIN` or, since Linux 5.17, `CAP_NET_RAW`.
    Mark,
    /// `SO_TXTIME`, Linux 4.19. `EPERM`: `CAP_NET_ADMIN` is missing.
    LaunchClock,
    /// `PACKET_VNET_HDR`.
    Offload,
    /// `PACKET_QDISC_BYPASS`, Linux 3.14.
    QdiscBypass,
    /// `SO_ATTACH_FILTER`, `SO_ATTACH_BPF`, `SO_DETACH_FILTER`. `EPERM`: the filter is locked. `ENOMEM`: the program is
    /// larger than `net.core.optmem_max` allows.
    Filter,
    /// Making a ring and mapping it: `PACKET_VERSION`, `PACKET_RX_RING`, `PACKET_TX_RING`, `mmap(2)`. `ENOMEM`: the machine has
    /// no room for it.
    Ring,
    /// `bind(2)`. `ENODEV`: the interface is gone.
    Bind,
    /// Joining a fanout group: `PACKET_FANOUT`. [`Error::fanout_refusal`] says which rule is broken.
    Fanout,
    /// Steering a fanout group: `PACKET_FANOUT_DATA`. `EPERM`: the filter of its members is locked. `EINVAL`: no eBPF
    /// program, or one of another type.
    FanoutProgram,
    /// Promiscuous mode, all multicast or a multicast address: `PACKET_ADD_MEMBERSHIP`, `PACKET_DROP_MEMBERSHIP`.
    Membership,
    /// Reading statistics: `PACKET_STATISTICS`, `PACKET_ROLLOVER_STATS`. `EINVAL`: the socket is in no group that rolls
    /// over.
    Statistics,
    /// Opening the PTP hardware clock of an interface. `EOPNOTSUPP`: it has none. `EACCES`: the device file cannot be
    /// read.
    Clock,
    /// What a wait needs: `eventfd(2)`, `epoll_create1(2)`. `EMFILE`: too many open files.
    Wait,
}

impl Step {
    const fn verb(self) -> &'static str {
        match self {
            Self::Interface => "look up",
            Self::Netns => "enter",
            Self::Options => "use these options for",
            Self::Open => "open a packet socket for",
            Self::Nic => "borrow the timestamp setting of",
            Self::Timestamping => "ask for timestamps on",
            Self::Auxdata => "ask for frame metadata on",
            Self::IgnoreOutgoing => "ignore outgoing frames on",
            Self::ReceiveBuffer => "set the receive buffer for",
            Self::SendBuffer => "set the send buffer for",
            Self::Priority => "set the priority for",
            Self::Mark => "set the mark for",
            Self::LaunchClock => "set the clock of launch times on",
            Self::Offload => "offload work to",
            Self::QdiscBypass => "bypass the queueing discipline of",
            Self::Filter => "change the filter for",
            Self::Ring => "make a ring for",
            Self::Bind => "bind to",
            Self::Fanout => "join a fanout group on",
            Self::FanoutProgram => "steer the fanout group on",
            Self::Membership => "change memberships of",
            Self::Statistics => "read statistics of",
            Self::Clock => "read the clock of",
            Self::Wait => "prepare waiting on",
        }
    }

    /// The capability whose absence the kernel reports with `EPERM` at this step.
    const fn capability(self) -> Option<&'static str> {
        match self {
            Self::Open => Some("CAP_NET_RAW"),
            Self::Netns => Some("CAP_SYS_ADMIN"),
            Self::Nic | Self::LaunchClock | Self::Priority | Self::Mark => Some("CAP_NET_ADMIN"),
            _ => None,
        }
    }
}

impl Error {
    #[cold]
    #[inline(never)]
    pub(crate) fn new(step: Step, interface: &str, source: io::Error) -> Self {
        Self(Box::new(Inner { step, interface: interface.into(), source }))
    }

    /// An error that this library found before it asked the kernel.
    pub(crate) fn invalid(interface: &str, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(Step::Options, interface, io::Error::new(io::ErrorKind::InvalidInput, why))
    }

    /// What was being done.
    pub fn step(&self) -> Step {
        self.0.step
    }

    /// The name of the interface, or its index in words if no name was known; for [`Step::Netns`], the namespace.
    pub fn interface(&self) -> &str {
        &self.0.interface
    }

    /// The kind of the underlying error.
    pub fn kind(&self) -> io::ErrorKind {
        self.0.source.kind()
    }

    /// The errno, if the kernel refused; `None` if this library did.
    #[doc(alias = "errno")]
    pub fn raw_os_error(&self) -> Option<i32> {
        self.0.source.raw_os_error()
    }

    /// The capability that this process lacks, if that is why the kernel refused.
    #[doc(alias("EPERM", "capabilities"))]
    pub fn missing_capability(&self) -> Option<&'static str> {
        match self.raw_os_error() {
            // The file of the namespace cannot be opened.
            Some(libc::EACCES) if self.0.step == Step::Netns => None,
            Some(libc::EPERM | libc::EACCES) => self.0.step.capability(),
            _ => None,
        }
    }

    /// Why the NIC's timestamp setting could not be borrowed, if that is what failed.
    #[doc(alias("SIOCSHWTSTAMP", "EOPNOTSUPP", "ERANGE"))]
    pub fn nic_refusal(&self) -> Option<NicRefusal> {
        (self.0.step == Step::Nic).then(|| NicRefusal::of(&self.0.source))
    }

    /// Which rule of fanout groups was broken, if joining or steering one is what failed.
    #[doc(alias("PACKET_FANOUT", "EINVAL", "EALREADY", "ENOSPC"))]
    pub fn fanout_refusal(&self) -> Option<FanoutRefusal> {
        match (self.0.step, self.raw_os_error()) {
            (Step::Fanout, _) | (Step::FanoutProgram, None) => Some(FanoutRefusal::of(&self.0.source)),
            (Step::FanoutProgram, Some(errno)) => Some(FanoutRefusal::Other(errno)),
            _ => None,
        }
    }

    /// What the reader of the message can do about it.
    fn advice(&self) -> Option<&'static str> {
        match (self.0.step, self.raw_os_error()?) {
            (Step::Open, libc::EPERM | libc::EACCES) => {
                Some("run as root, in a user namespace of your own, or give the program the capability with setcap(8)")
            }
            (Step::Netns, libc::ENOENT) => Some("`ip netns list` has the names, and /proc the processes"),
            (Step::Netns, libc::EPERM) => {
                Some("it takes the capability in the user namespace that owns this network namespace, and in one's own")
            }
            (Step::Netns, libc::EACCES) => {
                Some("another user's process takes CAP_SYS_PTRACE, and a file the right to read it")
            }
            (Step::Netns, libc::EINVAL) => {
                Some("it is no network namespace, or a name that was given in another mount namespace")
            }
            (Step::Nic, libc::EOPNOTSUPP) => Some("its driver takes no hardware timestamps"),
            (Step::Nic, libc::ERANGE) => {
                Some("the card has no mode that takes these stamps and keeps those that it takes now")
            }
            (Step::Nic, libc::EBUSY) => Some("another program uses the card's timestamps in a way that excludes this"),
            (Step::Open, libc::EAFNOSUPPORT) => Some("this kernel has no packet sockets (CONFIG_PACKET)"),
            (Step::Filter, libc::EPERM) => Some("the filter is locked"),
            (Step::Filter, libc::ENOMEM) => Some("raise net.core.optmem_max or shorten the program"),
            (Step::Clock, libc::EOPNOTSUPP) => Some("the interface has no PTP hardware clock"),
            (Step::Clock, libc::EACCES | libc::EPERM) => Some("its device file, /dev/ptpN, needs read permission"),
            (Step::Clock, libc::ENOENT) => Some("there is no such device file, or a container hides it"),
            (Step::Fanout, _) => FanoutRefusal::of(&self.0.source).rule(),
            (Step::FanoutProgram, libc::EPERM) => Some("the filter of its members is locked"),
            (Step::FanoutProgram, libc::EINVAL) => Some("the program is none of type BPF_PROG_TYPE_SOCKET_FILTER"),
            (Step::Statistics, libc::EINVAL) => Some("the socket is in no fanout group that rolls over"),
            (Step::Ring, libc::ENOMEM) => Some("ask for fewer or smaller blocks"),
            (Step::Bind, libc::ENODEV) => Some("the interface is gone"),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { step, interface, source } = &*self.0;
        write!(f, "cannot {} {interface}: ", step.verb())?;
        match self.missing_capability() {
            Some(capability) => write!(f, "{capability} is missing ({source})")?,
            None => write!(f, "{source}")?,
        }
        match self.advice() {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("step", &self.0.step)
            .field("interface", &self.0.interface)
            .field("source", &self.0.source)
            .finish()
    }
}

/// The message names its cause already, so there is no further source to print.
impl std::error::Error for Error {}

/// Keeps the kind; the errno is found in the [`Error`] inside.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(error.kind(), error)
    }
}

/// Names the step and the interface of an error on its way up.
pub(crate) trait Context<T> {
    fn during(self, step: Step, interface: &str) -> Result<T, Error>;
}

impl<T> Context<T> for io::Result<T> {
    fn during(self, step: Step, interface: &str) -> Result<T, Error> {
        self.map_err(|source| Error::new(step, interface, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_names_step_interface_capability_and_cure() {
        let error = Error::new(Step::Open, "veth0", io::Error::from_raw_os_error(libc::EPERM));
        let text = error.to_string();
        for part in ["open a packet socket", "veth0", "CAP_NET_RAW is missing", "os error 1", "setcap"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(error.missing_capability(), Some("CAP_NET_RAW"));
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        let io = io::Error::from(error);
        assert_eq!(io.kind(), io::ErrorKind::PermissionDenied);
        let inner = io.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).unwrap();
        assert_eq!(inner.step(), Step::Open);
    }

    #[test]
    fn a_locked_filter_is_not_a_missing_capability() {
        let error = Error::new(Step::Filter, "veth0", io::Error::from_raw_os_error(libc::EPERM));
        assert_eq!(error.missing_capability(), None);
        assert!(error.to_string().ends_with("the filter is locked"));
    }

    #[test]
    fn one_word_wide() {
        assert_eq!(size_of::<Result<(), Error>>(), size_of::<usize>());
    }
}
