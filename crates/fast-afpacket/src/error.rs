//! The error of set-up calls: which step failed, on which interface, why, and what to do about it.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use crate::fanout_refusal::FanoutRefusal;
use crate::nic_refusal::NicRefusal;
use crate::refusal::{self, Judgement, Refusal};
use crate::sys::sockopt;

/// A set-up call that failed: it knows the step, the interface, the errno, and what it comes down to
/// ([`Error::refusal`]). Its message says all that, and what to do about it.
///
/// It turns into an [`io::Error`] of the same kind for `?`, with itself inside. The data path (`recv`, `send` and their
/// kin) returns [`io::Error`] directly.
#[doc(alias = "errno")]
pub struct Error(Box<Inner>);

struct Inner {
    step: Step,
    interface: Box<str>,
    source: io::Error,
    refusal: Refusal,
    remedy: Option<&'static str>,
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
    /// Looking at a descriptor that was given: [`Options::bind_fd`](crate::Options::bind_fd).
    Descriptor,
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
            Self::Descriptor => "use this descriptor for",
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
}

impl Error {
    #[cold]
    #[inline(never)]
    pub(crate) fn new(step: Step, interface: &str, source: io::Error) -> Self {
        let judgement = refusal::judge(step, &source);
        Self::judged(step, interface, source, judgement)
    }

    /// An error of which more is known than the step and the errno tell.
    #[cold]
    pub(crate) fn judged(step: Step, interface: &str, source: io::Error, (refusal, remedy): Judgement) -> Self {
        Self(Box::new(Inner { step, interface: interface.into(), source, refusal, remedy }))
    }

    /// A filter of this socket that cannot be changed: it is locked, or somebody else refuses.
    pub(crate) fn of_filter(socket: BorrowedFd<'_>, interface: &str, source: io::Error) -> Self {
        let is_open = || sockopt::socket_option(socket, libc::SO_LOCK_FILTER).is_ok_and(|locked| locked == 0);
        if source.raw_os_error() == Some(libc::EPERM) && is_open() {
            return Self::judged(Step::Filter, interface, source, refusal::SECCOMP);
        }
        Self::new(Step::Filter, interface, source)
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

    /// Why it failed, to be matched on.
    ///
    /// ```
    /// use fast_afpacket::{Interface, Refusal};
    ///
    /// let error = Interface::by_name("a-name-that-is-far-too-long").unwrap_err();
    /// assert_eq!(error.refusal(), Refusal::InvalidName);
    /// ```
    #[doc(alias("errno", "cause", "reason"))]
    pub fn refusal(&self) -> Refusal {
        self.0.refusal
    }

    /// The capability that the thread lacked, if that is why the kernel refused.
    #[doc(alias("EPERM", "capabilities"))]
    pub fn missing_capability(&self) -> Option<&'static str> {
        match self.0.refusal {
            Refusal::CapabilityMissing(capability) => Some(capability),
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
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { step, interface, source, remedy, .. } = &*self.0;
        write!(f, "cannot {} {interface}: ", step.verb())?;
        match self.missing_capability() {
            Some(capability) => write!(f, "{capability} is missing ({source})")?,
            None => write!(f, "{source}")?,
        }
        match remedy {
            Some(remedy) => write!(f, "; {remedy}"),
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
            .field("refusal", &self.0.refusal)
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
        // What is missing depends on who runs the test; the network tests drop it.
        let judgement = (Refusal::CapabilityMissing("CAP_NET_RAW"), Some("setcap"));
        let error = Error::judged(Step::Open, "veth0", io::Error::from_raw_os_error(libc::EPERM), judgement);
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
