//! Why a NIC does not take what it is told.

use std::fmt;
use std::io;

/// Why a NIC does not take the stamps that were asked for: the errno of `SIOCSHWTSTAMP`, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NicRefusal {
    /// The driver takes no hardware stamps, or does not tell its setting, so that it could not be given back:
    /// `EOPNOTSUPP`.
    Unsupported,
    /// This process may not change it, for want of `CAP_NET_ADMIN` (`EPERM`), or may not keep a record of the former
    /// setting (`EACCES`).
    NotPermitted,
    /// Another user of the card excludes it: `EBUSY`.
    Busy,
    /// The card has no such mode, or none that also does what it is set to do now: `ERANGE`.
    OutOfRange,
    /// Another errno; 0 if it came without one.
    Other(i32),
}

impl NicRefusal {
    pub(crate) fn of(error: &io::Error) -> Self {
        match (error.raw_os_error(), error.kind()) {
            (Some(libc::EOPNOTSUPP | libc::ENOTTY), _) => Self::Unsupported,
            (Some(libc::ERANGE), _) => Self::OutOfRange,
            (_, io::ErrorKind::PermissionDenied) => Self::NotPermitted,
            (_, io::ErrorKind::ResourceBusy | io::ErrorKind::WouldBlock) => Self::Busy,
            (errno, _) => Self::Other(errno.unwrap_or(0)),
        }
    }

    /// What its errno does not say.
    pub(crate) const fn remedy(self) -> Option<&'static str> {
        match self {
            Self::Unsupported => Some("its driver takes no hardware timestamps"),
            Self::OutOfRange => Some("the card has no mode that takes these stamps and keeps those that it takes now"),
            Self::Busy => Some("another program uses the card's timestamps in a way that excludes this"),
            _ => None,
        }
    }
}

impl fmt::Display for NicRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported => f.write_str("the driver takes no hardware timestamps, or does not tell its setting"),
            Self::NotPermitted => {
                f.write_str("CAP_NET_ADMIN is missing, or the right to keep a record of the former setting")
            }
            Self::Busy => f.write_str("another user of the card excludes it"),
            Self::OutOfRange => f.write_str("the card has no such mode, or none that keeps what it is set to now"),
            Self::Other(0) => f.write_str("it cannot be set"),
            Self::Other(errno) => io::Error::from_raw_os_error(*errno).fmt(f),
        }
    }
}
