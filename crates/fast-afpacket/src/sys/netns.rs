//! Which network namespace a socket is in, and moving a thread into one.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::sockopt::long_option;
use super::{check, owned};

/// What is never the same for two network namespaces, since Linux 5.14.
pub(crate) fn cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    long_option(socket, libc::SO_NETNS_COOKIE)
}

/// Moves the calling thread into a network namespace. `EINVAL` if the descriptor is of something else.
pub(crate) fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// Keeps signals away from the calling thread: their handlers run on the program's own threads.
pub(crate) fn leave_signals_to_others() -> io::Result<()> {
    let mut all = MaybeUninit::uninit();
    // SAFETY: the pointer is to memory for one set, which the call fills.
    check(unsafe { libc::sigfillset(all.as_mut_ptr()) })?;
    // SAFETY: the set was filled just now; null says that the old one is not wanted.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), ptr::null_mut()) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// `NS_GET_USERNS` of linux/nsfs.h.
const NS_GET_USERNS: libc::Ioctl = 0xb701;

/// Whether the calling thread's capabilities count in its network namespace: the user namespace that owns that is the
/// thread's own, or below it. The kernel tells the owner to nobody else.
pub(crate) fn is_within_rights() -> bool {
    let Ok(namespace) = File::open("/proc/thread-self/ns/net") else {
        return false;
    };
    // SAFETY: this operation takes no argument and gives a new descriptor.
    let owner = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS) };
    check(owner).map(owned).is_ok()
}
