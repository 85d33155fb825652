//! Socket options, each as a function with the types that the kernel wants.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use super::{abi, check, len_of};

/// `setsockopt(2)` with any value. Not public within the crate: the functions of this module fix which type goes with
/// which option.
pub(super) fn set<T: Copy>(fd: BorrowedFd<'_>, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    let pointer: *const T = value;
    let len = len_of::<T>();
    // SAFETY: the pointer comes from a live reference and the length is that of its type. The options that hold
    // pointers themselves have functions of their own that keep what they point to alive.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, pointer.cast(), len) };
    check(result).map(drop)
}

/// `getsockopt(2)` into `N` words; gives how many bytes the kernel wrote.
pub(super) fn get<const N: usize>(
    fd: BorrowedFd<'_>,
    level: c_int,
    option: c_int,
    value: &mut [u32; N],
) -> io::Result<usize> {
    let mut len = len_of::<[u32; N]>();
    let pointer = value.as_mut_ptr();
    // SAFETY: the kernel writes at most `len` bytes, the size of the exclusively borrowed array; every bit pattern is a
    // valid u32.
    let result = unsafe { libc::getsockopt(fd.as_raw_fd(), level, option, pointer.cast(), &mut len) };
    check(result)?;
    Ok(len as usize)
}

/// Sets an option of `SOL_SOCKET` that is an int.
pub(crate) fn set_socket(fd: BorrowedFd<'_>, option: c_int, value: c_int) -> io::Result<()> {
    set(fd, libc::SOL_SOCKET, option, &value)
}

/// Sets after what time a call that receives without `MSG_DONTWAIT` fails with `EAGAIN`.
pub(crate) fn set_receive_timeout(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
    let timeout = libc::timeval {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_usec: libc::suseconds_t::from(timeout.subsec_micros().cast_signed()),
    };
    set(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &timeout)
}

/// Sets an option of `SOL_PACKET` that is an int.
pub(crate) fn set_packet(fd: BorrowedFd<'_>, option: c_int, value: c_int) -> io::Result<()> {
    set(fd, libc::SOL_PACKET, option, &value)
}

/// Reads an option of `SOL_SOCKET` that is an int.
pub(crate) fn socket_option(fd: BorrowedFd<'_>, option: c_int) -> io::Result<c_int> {
    let mut value = [0];
    get(fd, libc::SOL_SOCKET, option, &mut value)?;
    Ok(value[0].cast_signed())
}

/// What is never the same for two sockets. Linux 4.12.
pub(crate) fn socket_cookie(fd: BorrowedFd<'_>) -> io::Result<u64> {
    long_option(fd, libc::SO_COOKIE)
}

/// Reads an option of `SOL_SOCKET` that has 64 bits.
pub(super) fn long_option(fd: BorrowedFd<'_>, option: c_int) -> io::Result<u64> {
    let mut halves = [0; 2];
    get(fd, libc::SOL_SOCKET, option, &mut halves)?;
    Ok(joined(halves))
}

/// The number whose halves lie in this order in memory.
pub(super) const fn joined([first, second]: [u32; 2]) -> u64 {
    let (high, low) = if cfg!(target_endian = "big") { (first, second) } else { (second, first) };
    ((high as u64) << 32) | low as u64
}

/// What the receive queue and the error queue take together, and the limit at which more is thrown away, in bytes.
pub(crate) fn receive_memory(fd: BorrowedFd<'_>) -> io::Result<[u32; 2]> {
    // SK_MEMINFO_RMEM_ALLOC, SK_MEMINFO_RCVBUF, and what else there is.
    let mut words = [0; 16];
    get(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, &mut words)?;
    let [allocated, limit, ..] = words;
    Ok([allocated, limit])
}

/// Takes the pending error of the socket (`SO_ERROR`), which the kernel reports only once.
pub(crate) fn take_error(fd: BorrowedFd<'_>) -> io::Result<Option<io::Error>> {
    let errno = socket_option(fd, libc::SO_ERROR)?;
    Ok((errno != 0).then(|| io::Error::from_raw_os_error(errno)))
}

/// `SO_TIMESTAMPING` flags.
pub(crate) fn set_timestamping(fd: BorrowedFd<'_>, flags: u32) -> io::Result<()> {
    set(fd, libc::SOL_SOCKET, abi::SO_TIMESTAMPING, &flags)
}

/// `SO_TIMESTAMPING` flags, with the clock that hardware stamps are to be of.
pub(crate) fn set_timestamping_of(fd: BorrowedFd<'_>, flags: u32, phc: u32) -> io::Result<()> {
    let value = abi::SoTimestamping { flags: flags | libc::SOF_TIMESTAMPING_BIND_PHC, bind_phc: phc };
    set(fd, libc::SOL_SOCKET, abi::SO_TIMESTAMPING, &value)
}

/// Allows launch times, on this clock.
pub(crate) fn set_txtime(fd: BorrowedFd<'_>, clock: libc::clockid_t, report_errors: bool) -> io::Result<()> {
    let flags = if report_errors { abi::SOF_TXTIME_REPORT_ERRORS } else { 0 };
    set(fd, libc::SOL_SOCKET, abi::SO_TXTIME, &abi::SockTxtime { clock, flags })
}

/// Packets (with those that were dropped), drops and freezes since the last call: reading resets the kernel's counts.
pub(crate) fn take_statistics(fd: BorrowedFd<'_>) -> io::Result<[u32; 3]> {
    // Two words without a version 3 ring, three with one.
    let mut words = [0; 3];
    get(fd, libc::SOL_PACKET, libc::PACKET_STATISTICS, &mut words)?;
    Ok(words)
}

/// Makes a receive ring of version 2 on a socket of that version.
pub(crate) fn rx_ring_of_frames(fd: BorrowedFd<'_>, request: libc::tpacket_req) -> io::Result<()> {
    set(fd, libc::SOL_PACKET, libc::PACKET_RX_RING, &request)
}

/// Makes a receive ring of version 3 on a socket of that version.
pub(crate) fn rx_ring_of_blocks(fd: BorrowedFd<'_>, request: libc::tpacket_req3) -> io::Result<()> {
    set(fd, libc::SOL_PACKET, libc::PACKET_RX_RING, &request)
}

/// Makes a transmit ring of version 2 on a socket of that version.
pub(crate) fn tx_ring_of_frames(fd: BorrowedFd<'_>, request: libc::tpacket_req) -> io::Result<()> {
    set(fd, libc::SOL_PACKET, libc::PACKET_TX_RING, &request)
}

/// Attaches a classic BPF program. The kernel copies it.
pub(crate) fn attach_filter(fd: BorrowedFd<'_>, program: &[libc::sock_filter]) -> io::Result<()> {
    set_program(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, program)
}

/// Sets an option that is a classic BPF program.
pub(super) fn set_program(
    fd: BorrowedFd<'_>,
    level: c_int,
    option: c_int,
    program: &[libc::sock_filter],
) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    let pointer: *const libc::sock_fprog = &program;
    let size = len_of::<libc::sock_fprog>();
    // SAFETY: the pointer is to a live local that holds pointer and length of a slice which is borrowed for the call;
    // the kernel reads it and writes nothing.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, pointer.cast(), size) };
    check(result).map(drop)
}

/// Removes the filter, of either kind. Without one: `ENOENT`.
pub(crate) fn detach_filter(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_socket(fd, libc::SO_DETACH_FILTER, 0)
}

/// Attaches an eBPF program of type `BPF_PROG_TYPE_SOCKET_FILTER`. The kernel keeps it when its descriptor is closed.
pub(crate) fn attach_bpf(fd: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    set_socket(fd, libc::SO_ATTACH_BPF, program.as_raw_fd())
}

/// A membership of interface `index`: promiscuous mode, all multicast, or a multicast address.
pub(crate) fn membership(fd: BorrowedFd<'_>, add: bool, index: c_int, kind: c_int, mac: [u8; 6]) -> io::Result<()> {
    let option = if add { libc::PACKET_ADD_MEMBERSHIP } else { libc::PACKET_DROP_MEMBERSHIP };
    let [a, b, c, d, e, f] = mac;
    // The kernel compares the length with that of the link's addresses also where there is none.
    let len = if kind == libc::PACKET_MR_MULTICAST { 6 } else { 0 };
    let request = libc::packet_mreq {
        mr_ifindex: index,
        mr_type: u16::try_from(kind).unwrap_or(u16::MAX),
        mr_alen: len,
        mr_address: [a, b, c, d, e, f, 0, 0],
    };
    set(fd, libc::SOL_PACKET, option, &request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_program_that_is_too_long_is_refused_not_cut() {
        let socket = super::super::ioctl_socket().unwrap();
        let ret = libc::sock_filter { code: 6, jt: 0, jf: 0, k: 0 };
        let error = attach_filter(socket.as_fd(), &vec![ret; 65_537]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn numbers_are_put_together_as_they_lie_in_memory() {
        let number = 0x0123_4567_89ab_cdef_u64;
        let [a, b, c, d, e, f, g, h] = number.to_ne_bytes();
        let halves = [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])];
        assert_eq!(joined(halves), number);
    }
}
