//! Why a socket may not join a fanout group: the rule that was broken, in words.

use std::fmt;
use std::io;

/// Why a socket may not join a fanout group, or a group not be steered. The first ones are the kernel's, by its errno;
/// the others are found before the kernel is asked, which would say `EINVAL` to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FanoutRefusal {
    /// In this network namespace the id belongs to a group with another mode, other flags or another greatest number
    /// of members, or to one on another interface or for another protocol: `EINVAL`.
    #[doc(alias = "EINVAL")]
    IdTaken,
    /// The group has as many members as it may: `ENOSPC`.
    #[doc(alias = "ENOSPC")]
    Full,
    /// The socket is a member of a group already: `EALREADY`.
    #[doc(alias = "EALREADY")]
    AlreadyMember,
    /// No memory, or all 65,536 ids are in use: `ENOMEM`.
    #[doc(alias = "ENOMEM")]
    NoMemory,
    /// A group has 1 to 65,536 members.
    MaxMembers,
    /// [`FanoutMode::Rollover`](crate::FanoutMode::Rollover) rolls over by itself; the flag is for the other modes.
    RolloverTwice,
    /// All members are on one interface; the group has members on another.
    OtherInterface,
    /// All members are for one protocol; the group has members for another.
    OtherProtocol,
    /// A group is of one network namespace; this one has members in another.
    OtherNamespace,
    /// Whether outgoing frames are received is decided for the whole group, and the socket's options say otherwise.
    Outgoing,
    /// The group's mode takes no program of this kind: classic ones steer
    /// [`FanoutMode::Program`](crate::FanoutMode::Program), extended ones [`FanoutMode::Ebpf`](crate::FanoutMode::Ebpf).
    NotSteered,
    /// The interface is down: before Linux 6.13 only a socket on one that is up can join.
    InterfaceDown,
    /// The kernel is too old for the mode, for an id of its choice (Linux 4.12) or for a greatest number of members
    /// (5.12).
    Unsupported,
    /// Another errno; 0 if it came without one.
    Other(i32),
}

impl FanoutRefusal {
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EINVAL) => Self::IdTaken,
            Some(libc::ENOSPC) => Self::Full,
            Some(libc::EALREADY) => Self::AlreadyMember,
            Some(libc::ENOMEM) => Self::NoMemory,
            Some(errno) => Self::Other(errno),
            None => error.get_ref().and_then(|inner| inner.downcast_ref()).copied().unwrap_or(Self::Other(0)),
        }
    }

    /// The refusals that this library finds itself, on their way into an [`Error`](crate::Error).
    pub(crate) fn into_io(self) -> io::Error {
        let kind = match self {
            Self::Unsupported => io::ErrorKind::Unsupported,
            Self::InterfaceDown => io::ErrorKind::NetworkDown,
            _ => io::ErrorKind::InvalidInput,
        };
        io::Error::new(kind, self)
    }

    /// The rule, where the text of the errno does not say it.
    pub(crate) const fn rule(self) -> Option<&'static str> {
        match self {
            Self::IdTaken => Some(
                "the id is that of a group with another mode, other flags or another greatest number of members, \
                 or on another interface or for another protocol",
            ),
            Self::Full => Some("the group has as many members as it may"),
            Self::AlreadyMember => {
                Some("the socket is a member of a group already, and leaves it only by being closed")
            }
            Self::NoMemory => Some("no memory is left, or no id"),
            _ => None,
        }
    }
}

impl fmt::Display for FanoutRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MaxMembers => "a group has 1 to 65536 members",
            Self::RolloverTwice => "a group of mode Rollover rolls over by itself; the flag is for the other modes",
            Self::OtherInterface => "all members are on one interface, and the group has members on another",
            Self::OtherProtocol => "all members are for one protocol, and the group has members for another",
            Self::OtherNamespace => "a group is of one network namespace, and this one has members in another",
            Self::Outgoing => {
                "whether outgoing frames are received is decided for the whole group (FanoutGroup::ignore_outgoing), \
                 and the socket's options, dual mode among them, say otherwise"
            }
            Self::NotSteered => {
                "classic programs steer groups of mode Program, extended ones groups of mode Ebpf, and no others"
            }
            Self::InterfaceDown => "before Linux 6.13 the interface has to be up",
            Self::Unsupported => "this kernel is too old for the group's mode, id or greatest number of members",
            Self::Other(0) => "it is not possible",
            Self::Other(errno) => return io::Error::from_raw_os_error(*errno).fmt(f),
            Self::IdTaken | Self::Full | Self::AlreadyMember | Self::NoMemory => self.rule().unwrap_or_default(),
        })
    }
}

impl std::error::Error for FanoutRefusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_errno_has_its_rule() {
        for (errno, refusal) in [
            (libc::EINVAL, FanoutRefusal::IdTaken),
            (libc::ENOSPC, FanoutRefusal::Full),
            (libc::EALREADY, FanoutRefusal::AlreadyMember),
            (libc::ENOMEM, FanoutRefusal::NoMemory),
        ] {
            assert_eq!(FanoutRefusal::of(&io::Error::from_raw_os_error(errno)), refusal);
            assert_eq!(Some(refusal.to_string().as_str()), refusal.rule());
        }
        let other = FanoutRefusal::of(&io::Error::from_raw_os_error(libc::EPERM));
        assert_eq!(other, FanoutRefusal::Other(libc::EPERM));
        assert_eq!(FanoutRefusal::of(&FanoutRefusal::MaxMembers.into_io()), FanoutRefusal::MaxMembers);
    }
}
