//! Socket options of fanout groups.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::sockopt::{get, joined, set, set_program};
use super::{check, len_of};

/// The arguments of `PACKET_FANOUT` as an int, whose halves lie as those of `struct fanout_args` on either byte order.
const fn arguments(id: u16, type_and_flags: u16) -> u32 {
    ((type_and_flags as u32) << 16) | id as u32
}

/// Makes a bound socket a member of a group, and the group if there is none with this id.
pub(crate) fn join(fd: BorrowedFd<'_>, id: u16, type_and_flags: u16, max_members: Option<u32>) -> io::Result<()> {
    let first = arguments(id, type_and_flags);
    match max_members {
        Some(max) => set(fd, libc::SOL_PACKET, libc::PACKET_FANOUT, &[first, max]),
        None => set(fd, libc::SOL_PACKET, libc::PACKET_FANOUT, &first),
    }
}

/// Whether the kernel takes `max_num_members` (Linux 5.12). It looks at the length of the arguments before it reads them.
pub(crate) fn takes_max_members(fd: BorrowedFd<'_>) -> bool {
    let len = len_of::<[u32; 2]>();
    // SAFETY: null is an address that the kernel may read from nobody: it says so, and nothing else happens.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_FANOUT, ptr::null(), len) };
    check(result).is_err_and(|error| error.raw_os_error() == Some(libc::EFAULT))
}

/// The id of the group that the socket is a member of, and the upper byte of its flags.
pub(crate) fn group(fd: BorrowedFd<'_>) -> io::Result<(u16, u8)> {
    let mut value = [0];
    get(fd, libc::SOL_PACKET, libc::PACKET_FANOUT, &mut value)?;
    let [a, b, _, flags] = value[0].to_le_bytes();
    Ok((u16::from_le_bytes([a, b]), flags))
}

/// Takes a member out of its group and, once no processor is about to hand it a frame, back in: what the kernel does
/// around a change of a ring, here of the TX ring that the socket does not have.
///
/// # Errors
///
/// `EBUSY` if the socket has a ring that is mapped.
pub(crate) fn leave_and_return(fd: BorrowedFd<'_>) -> io::Result<()> {
    // `struct tpacket_req3`, of which older versions read the beginning: no blocks.
    set(fd, libc::SOL_PACKET, libc::PACKET_TX_RING, &[0_u32; 7])
}

/// Sets the classic BPF program that steers the socket's group. The kernel copies it.
pub(crate) fn steer(fd: BorrowedFd<'_>, program: &[libc::sock_filter]) -> io::Result<()> {
    set_program(fd, libc::SOL_PACKET, libc::PACKET_FANOUT_DATA, program)
}

/// Sets the eBPF program that steers the socket's group. The kernel keeps it when its descriptor is closed.
pub(crate) fn steer_by_bpf(fd: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let program: c_int = program.as_raw_fd();
    set(fd, libc::SOL_PACKET, libc::PACKET_FANOUT_DATA, &program)
}

/// `struct tpacket_rollover_stats`: all, huge, failed.
pub(crate) fn rollover_statistics(fd: BorrowedFd<'_>) -> io::Result<[u64; 3]> {
    let mut words = [0; 6];
    get(fd, libc::SOL_PACKET, libc::PACKET_ROLLOVER_STATS, &mut words)?;
    let [a, b, c, d, e, f] = words;
    Ok([[a, b], [c, d], [e, f]].map(joined))
}
