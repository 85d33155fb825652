//! What the kernel announces of interfaces to those who listen: rtnetlink(7).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::{check, check_len, len_of, retry, sockopt};

/// A message with all its attributes takes some 1,500 bytes; ours stand behind names and statistics.
const ROOM: usize = 8192;

/// A socket to which the kernel sends a message for each interface of the calling thread's network namespace that is
/// removed or moved away: `RTM_DELLINK`. Of other messages, which may be many, it takes none.
pub(crate) fn listen_for_removals() -> io::Result<OwnedFd> {
    let socket = super::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
    // The type of the message stands at 4, in this machine's byte order; the filter reads it as the network's.
    let [load, test, all, none] =
        [(0x28, 0, 0, 4), (0x15, 0, 1, u32::from(libc::RTM_DELLINK.to_be())), (0x06, 0, 0, u32::MAX), (0x06, 0, 0, 0)]
            .map(|(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k });
    sockopt::attach_filter(socket.as_fd(), &[load, test, all, none])?;
    // All else is zero: the kernel is the peer, and chooses our address.
    let zero = std::mem::MaybeUninit::<libc::sockaddr_nl>::zeroed();
    // SAFETY: `sockaddr_nl` holds integers, for which zero is a value.
    let mut address = unsafe { zero.assume_init() };
    address.nl_family = libc::sa_family_t::try_from(libc::AF_NETLINK).unwrap_or_default();
    address.nl_groups = libc::RTMGRP_LINK.cast_unsigned();
    let pointer: *const libc::sockaddr_nl = &raw const address;
    // SAFETY: the pointer is to a live local, and the length is that of its type.
    check(unsafe { libc::bind(socket.as_raw_fd(), pointer.cast(), len_of::<libc::sockaddr_nl>()) })?;
    Ok(socket)
}

/// Reads what was announced since the last call and gives `each` message, whole or cut. `EAGAIN` when there is no more;
/// `ENOBUFS` when some were lost.
pub(crate) fn read_all(socket: BorrowedFd<'_>, mut each: impl FnMut(&[u8])) -> io::Error {
    let mut room = [0_u8; ROOM];
    loop {
        let read = retry(|| {
            // SAFETY: the kernel writes at most as many bytes as the array has, which is exclusively ours.
            check_len(unsafe {
                libc::recv(socket.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), libc::MSG_DONTWAIT)
            })
        });
        match read {
            Ok(len) => each(room.get(..len).unwrap_or_default()),
            Err(error) => return error,
        }
    }
}
