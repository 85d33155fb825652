//! What an error of a set-up call comes down to, and what can be done about it: one row for each.

use std::fs;
use std::io;

use crate::error::Step;
use crate::fanout_refusal::FanoutRefusal;
use crate::netns::OtherNamespace;
use crate::nic_refusal::NicRefusal;
use crate::options::DescriptorRefusal;
use crate::sys;

/// Why a set-up call failed: what has to be different for it to succeed. [`Error::refusal`](crate::Error::refusal).
///
/// The errno alone does not say it: `EPERM` of `socket(2)` is a missing capability, or a seccomp filter; `EINVAL` is a
/// different rule at each step. See the [table](crate::privileges).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The thread lacks this capability in the user namespace that owns the network namespace: `EPERM`. By its name:
    /// `"CAP_NET_RAW"`, `"CAP_NET_ADMIN"`, `"CAP_SYS_ADMIN"`.
    #[doc(alias("EPERM", "capabilities"))]
    CapabilityMissing(&'static str),
    /// A seccomp filter (of a container, a service, a sandbox) or a security module (SELinux, AppArmor) refuses it: `EPERM`
    /// although the thread has the capability or none is needed, or `EACCES`.
    #[doc(alias("EPERM", "EACCES", "seccomp", "SELinux", "AppArmor"))]
    SecurityPolicy,
    /// A file cannot be opened, that of a clock (`/dev/ptpN`) or of a namespace: `EACCES`, `EPERM`.
    #[doc(alias("EACCES", "CAP_SYS_PTRACE"))]
    FilePermission,
    /// There is no such interface, or there is none any more: `ENODEV`.
    #[doc(alias = "ENODEV")]
    NoSuchInterface,
    /// No interface can have this name: `ENODEV`, said without asking the kernel.
    #[doc(alias = "IFNAMSIZ")]
    InvalidName,
    /// The kind of link does not have this: a multicast address where addresses are not 6 bytes long. `EINVAL` of a
    /// membership.
    #[doc(alias("EINVAL", "ARPHRD"))]
    WrongLinkType,
    /// No network namespace has this name, or there is no such process: `ENOENT`.
    NoSuchNamespace,
    /// It is something else than a network namespace: `EINVAL` of `setns(2)`.
    NotANamespace,
    /// The interface was looked up in another network namespace, where its index is that of another interface.
    OtherNamespace,
    /// The descriptor that was given is not fit, for this reason.
    Descriptor(DescriptorRefusal),
    /// Options that contradict each other, or a value that cannot be: found before the kernel is asked.
    InvalidOptions,
    /// The kernel takes no such program: `EINVAL`, for eBPF of another type. A classic one is checked when it is made
    /// ([`FilterError`](crate::FilterError)).
    #[doc(alias = "EINVAL")]
    InvalidFilter,
    /// The program is larger than `net.core.optmem_max` allows: `ENOMEM`.
    #[doc(alias("ENOMEM", "optmem_max"))]
    FilterTooLarge,
    /// The filter is locked, by this program or by whoever opened the socket: `EPERM`.
    #[doc(alias = "SO_LOCK_FILTER")]
    FilterLocked,
    /// The machine, or this process, has no room for a ring of this size: `ENOMEM`.
    #[doc(alias = "ENOMEM")]
    RingTooLarge,
    /// The fanout group cannot be joined, or steered, for this reason.
    Fanout(FanoutRefusal),
    /// The NIC's timestamp setting cannot be borrowed, for this reason.
    Nic(NicRefusal),
    /// The interface has no PTP hardware clock, or there is no such device: `EOPNOTSUPP`, `ENOENT`.
    NoClock,
    /// The kernel is older than this version, from which on it has the feature, or was built without it: `ENOPROTOOPT`,
    /// `EAFNOSUPPORT`.
    #[doc(alias("ENOPROTOOPT", "EAFNOSUPPORT"))]
    KernelLacks {
        /// The version, such as `"4.20"`.
        since: &'static str,
    },
    /// This process, or the machine, has as many files open as it may: `EMFILE`, `ENFILE`.
    #[doc(alias("EMFILE", "RLIMIT_NOFILE"))]
    TooManyFiles,
    /// Something else: [`Error::raw_os_error`](crate::Error::raw_os_error).
    Other,
}

/// A refusal and what its reader can do about it.
pub(crate) type Judgement = (Refusal, Option<&'static str>);

pub(crate) const SECCOMP: Judgement = (
    Refusal::SecurityPolicy,
    Some(
        "a seccomp filter or security module refuses it, not the kernel's own rules: \
         see the settings of the container or service (SystemCallFilter= of systemd), and the audit log",
    ),
);

/// What an error at this step is. To be asked by the thread that met it, for its capabilities.
pub(crate) fn judge(step: Step, error: &io::Error) -> Judgement {
    let Some(errno) = error.raw_os_error() else {
        return judge_own(step, error);
    };
    match (step, errno) {
        (_, libc::EMFILE | libc::ENFILE) => {
            (Refusal::TooManyFiles, Some("close some, or raise the limit (`ulimit -n`, LimitNOFILE= of systemd)"))
        }
        (Step::Open, libc::EAFNOSUPPORT) => (
            Refusal::KernelLacks { since: "2.2" },
            Some(
                "this kernel has no packet sockets (CONFIG_PACKET), or a service manager forbids them \
                 (RestrictAddressFamilies= of systemd)",
            ),
        ),
        (Step::Clock, libc::EOPNOTSUPP) => (Refusal::NoClock, Some("the interface has no PTP hardware clock")),
        (Step::Clock, libc::ENOENT) => {
            (Refusal::NoClock, Some("there is no such device file, or a container hides it"))
        }
        (Step::Clock, libc::EACCES | libc::EPERM) => {
            (Refusal::FilePermission, Some("its device file, /dev/ptpN, needs read permission"))
        }
        (Step::Netns, libc::ENOENT) => {
            (Refusal::NoSuchNamespace, Some("`ip netns list` has the names, and /proc the processes"))
        }
        (Step::Netns, libc::EACCES) => (
            Refusal::FilePermission,
            Some("another user's process takes CAP_SYS_PTRACE, and a file the right to read it"),
        ),
        (Step::Netns, libc::EINVAL) => (
            Refusal::NotANamespace,
            Some("it is no network namespace, or a name that was given in another mount namespace"),
        ),
        (Step::Descriptor, libc::ENOTSOCK) => (Refusal::Descriptor(DescriptorRefusal::NotASocket), None),
        (Step::Filter, libc::EINVAL) => {
            (Refusal::InvalidFilter, Some("the program is none of type BPF_PROG_TYPE_SOCKET_FILTER"))
        }
        (Step::Filter, libc::ENOMEM) => {
            (Refusal::FilterTooLarge, Some("raise net.core.optmem_max or shorten the program"))
        }
        (Step::Filter, libc::EPERM) => (Refusal::FilterLocked, Some("the filter is locked")),
        (Step::FanoutProgram, libc::EPERM) => (Refusal::FilterLocked, Some("the filter of its members is locked")),
        (Step::FanoutProgram, libc::EINVAL) => {
            (Refusal::InvalidFilter, Some("the program is none of type BPF_PROG_TYPE_SOCKET_FILTER"))
        }
        (Step::Ring, libc::ENOMEM) => (Refusal::RingTooLarge, Some("ask for fewer or smaller blocks")),
        (Step::Membership, libc::EINVAL) => {
            (Refusal::WrongLinkType, Some("addresses of this kind of link are not 6 bytes long"))
        }
        (_, libc::EPERM) => step.capability().map_or(SECCOMP, judge_rights),
        (_, libc::EACCES) => SECCOMP,
        (_, libc::ENOPROTOOPT) => judge_age(step),
        (Step::Fanout, _) => {
            let refusal = FanoutRefusal::of(error);
            (Refusal::Fanout(refusal), refusal.rule())
        }
        (Step::Bind, libc::ENODEV) => (Refusal::NoSuchInterface, Some("the interface is gone")),
        (_, libc::ENODEV) => (Refusal::NoSuchInterface, None),
        (Step::Nic, _) => {
            let refusal = NicRefusal::of(error);
            (Refusal::Nic(refusal), refusal.remedy())
        }
        (Step::Statistics, libc::EINVAL) => (Refusal::Other, Some("the socket is in no fanout group that rolls over")),
        _ => (Refusal::Other, None),
    }
}

/// What this library refused itself. The text of such an error says what to do.
fn judge_own(step: Step, error: &io::Error) -> Judgement {
    let descriptor = error.get_ref().and_then(|inner| inner.downcast_ref::<DescriptorRefusal>()).copied();
    let refusal = match step {
        _ if error.get_ref().is_some_and(|inner| inner.is::<OtherNamespace>()) => Refusal::OtherNamespace,
        Step::Options => Refusal::InvalidOptions,
        Step::Descriptor => descriptor.map_or(Refusal::Other, Refusal::Descriptor),
        Step::Fanout | Step::FanoutProgram => Refusal::Fanout(FanoutRefusal::of(error)),
        Step::Nic => Refusal::Nic(NicRefusal::of(error)),
        _ => Refusal::Other,
    };
    (refusal, None)
}

/// `EPERM` where this capability gives the right: is it missing, is it one over other networks, or was it somebody else?
fn judge_rights((number, name): (u32, &'static str)) -> Judgement {
    let has = has_capability(number).unwrap_or(false);
    let remedy = match (number, has) {
        (CAP_SYS_ADMIN, _) => {
            "it takes the capability in the user namespace that owns this network namespace, and in one's own"
        }
        (_, true) if sys::netns::is_within_rights() => return SECCOMP,
        (_, true) => {
            "this user namespace does not own the network namespace: make one in it \
             (`unshare --user --map-root-user --net`), or be given the capability outside"
        }
        (CAP_NET_RAW, false) => {
            "run as root, in a user namespace of your own, or give the program the capability: \
             `setcap cap_net_raw+ep PROGRAM` (AmbientCapabilities= of systemd)"
        }
        (_, false) => "run as root, or give the program both: `setcap cap_net_raw,cap_net_admin+ep PROGRAM`",
    };
    (Refusal::CapabilityMissing(name), Some(remedy))
}

/// `ENOPROTOOPT`: the kernel knows no such option.
const fn judge_age(step: Step) -> Judgement {
    let (since, remedy) = match step {
        Step::IgnoreOutgoing => ("4.20", "it takes Linux 4.20; Options::ignore_outgoing(false) does without"),
        Step::LaunchClock => ("4.19", "it takes Linux 4.19"),
        Step::QdiscBypass => ("3.14", "it takes Linux 3.14"),
        Step::Fanout => ("3.1", "it takes Linux 3.1"),
        Step::FanoutProgram => ("4.3", "it takes Linux 4.3"),
        Step::Ring => ("3.2", "it takes Linux 3.2"),
        Step::Timestamping => ("2.6.30", "it takes Linux 2.6.30"),
        Step::Offload => ("2.6.27", "it takes Linux 2.6.27"),
        Step::Auxdata => ("2.6.21", "it takes Linux 2.6.21"),
        _ => return (Refusal::Other, None),
    };
    (Refusal::KernelLacks { since }, Some(remedy))
}

/// linux/capability.h
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_SYS_ADMIN: u32 = 21;

impl Step {
    /// The capability whose absence the kernel reports with `EPERM` at this step.
    const fn capability(self) -> Option<(u32, &'static str)> {
        match self {
            Self::Open => Some((CAP_NET_RAW, "CAP_NET_RAW")),
            Self::Netns => Some((CAP_SYS_ADMIN, "CAP_SYS_ADMIN")),
            Self::Nic | Self::LaunchClock | Self::Priority | Self::Mark => Some((CAP_NET_ADMIN, "CAP_NET_ADMIN")),
            _ => None,
        }
    }
}

/// Whether the calling thread may change the setting of cards, as far as its own user namespace goes.
pub(crate) fn can_administer_network() -> io::Result<bool> {
    has_capability(CAP_NET_ADMIN)
}

/// Whether the calling thread has this capability in force.
fn has_capability(number: u32) -> io::Result<bool> {
    let status = fs::read_to_string("/proc/thread-self/status")?;
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    Ok(mask.is_some_and(|mask| mask & 1 << number != 0))
}
