//! System calls: the only `unsafe` of this crate. It knows bytes and file descriptors, nothing of frames.
//!
//! Every function takes a borrowed descriptor and gives an owned result. `EINTR` is handled here: no caller sees it.
//! Waiting is done in [`wait`](crate::wait): every transfer here carries `MSG_DONTWAIT`, but for the calls that
//! [`nap`](crate::nap) bounds.
#![expect(unsafe_code, reason = "the one place for it; every block says why it is sound")]

pub(crate) mod abi;
mod address;
pub(crate) mod batch;
pub(crate) mod cmsg;
#[cfg(feature = "tokio")]
pub(crate) mod elsewhere;
pub(crate) mod fanout;
pub(crate) mod hwtstamp;
pub(crate) mod ioctl;
pub(crate) mod layout;
mod mapping;
pub(crate) mod mmap;
pub(crate) mod netns;
pub(crate) mod poll;
pub(crate) mod ptp;
#[cfg(feature = "tokio")]
pub(crate) mod reactor;
pub(crate) mod rtnetlink;
pub(crate) mod sockopt;
pub(crate) mod timex;
pub(crate) mod tx_slots;

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::thread;
use std::time::Duration;

use abi::SOCKADDR_LL_LEN;
pub(crate) use address::{Destination, InterfaceAddress, To};
use cmsg::{ControlBuffer, Encoder};

/// Longer than a processor takes from asking the filter to queueing the frame, where there is no way to know.
const RECEIVE_PATH: Duration = Duration::from_millis(20);

/// The size of a type as socket calls want it.
#[expect(clippy::cast_possible_truncation, reason = "the types that are passed have a few dozen bytes")]
const fn len_of<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

/// The kernel's tick, in which it counts the timeouts of sockets: `clock_getres(2)` of the clock that goes by it.
pub(crate) fn tick() -> Duration {
    /// That of the slowest kernels, where it cannot be had.
    const SLOWEST: Duration = Duration::from_millis(10);
    let mut tick = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live value that is exclusively borrowed.
    match check(unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &mut tick) }) {
        Ok(_) if tick.tv_sec == 0 => u64::try_from(tick.tv_nsec).map_or(SLOWEST, Duration::from_nanos),
        _ => SLOWEST,
    }
}

/// Turns the return value of a system call that fails with -1 into a result.
#[inline]
fn check(result: c_int) -> io::Result<c_int> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

/// Like [`check`], for calls that return a length.
#[inline]
fn check_len(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Repeats a call that a signal interrupted before it did anything.
#[inline]
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
            result => return result,
        }
    }
}

/// [`retry`] of a call that receives with these flags. One that waits ends with the signal, as if its time were over:
/// signals that keep coming must not make it longer.
#[inline]
fn retry_receive<T>(flags: c_int, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    if flags & libc::MSG_DONTWAIT != 0 {
        return retry(call);
    }
    call().map_err(|error| match error.raw_os_error() {
        Some(libc::EINTR) => io::Error::from_raw_os_error(libc::EAGAIN),
        _ => error,
    })
}

/// Takes ownership of a descriptor that a system call has just returned.
fn owned(fd: c_int) -> OwnedFd {
    // SAFETY: every caller passes the result of a call that made a new descriptor, which nobody else knows yet.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// `socket(2)`, closed on exec.
fn socket(family: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) };
    check(fd).map(owned)
}

/// `socket(AF_PACKET, kind, 0)`. Protocol 0: nothing can arrive before the socket is bound with one.
pub(crate) fn packet_socket(kind: c_int) -> io::Result<OwnedFd> {
    socket(libc::AF_PACKET, kind, 0)
}

/// A socket for interface ioctls, which any family will do: `AF_UNIX` is there on every system and needs no right.
pub(crate) fn ioctl_socket() -> io::Result<OwnedFd> {
    socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0)
}

/// A UDP socket, for [`send_forbidden_broadcast`] alone.
pub(crate) fn udp_socket() -> io::Result<OwnedFd> {
    socket(libc::AF_INET, libc::SOCK_DGRAM, 0)
}

/// Asks a UDP socket to send an empty datagram to 255.255.255.255 with these control messages. The kernel sends
/// nothing, since the socket has no `SO_BROADCAST`; what it says tells whether it understood the control messages.
pub(crate) fn send_forbidden_broadcast(fd: BorrowedFd<'_>, control: &[u8]) -> io::Result<()> {
    let mut address = libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET).unwrap_or_default(),
        sin_port: 9_u16.to_be(),
        sin_addr: libc::in_addr { s_addr: libc::INADDR_BROADCAST.to_be() },
        sin_zero: [0; 8],
    };
    let address_pointer: *mut libc::sockaddr_in = &mut address;
    let mut vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
    let mut header = message_header(std::slice::from_mut(&mut vector));
    header.msg_name = address_pointer.cast();
    header.msg_namelen = len_of::<libc::sockaddr_in>();
    header.msg_control = control.as_ptr().cast_mut().cast();
    header.msg_controllen = control.len() as _;
    // SAFETY: the header points to live memory with its true lengths, and the call only reads it.
    check_len(unsafe { libc::sendmsg(fd.as_raw_fd(), &header, libc::MSG_DONTWAIT) }).map(drop)
}

pub(crate) fn bind(fd: BorrowedFd<'_>, address: &libc::sockaddr_ll) -> io::Result<()> {
    let address: *const libc::sockaddr_ll = address;
    // SAFETY: the pointer comes from a reference that outlives the call, and the length is that of its type.
    let result = unsafe { libc::bind(fd.as_raw_fd(), address.cast(), SOCKADDR_LL_LEN) };
    check(result).map(drop)
}

/// `getsockname(2)`. The kernel writes only as many bytes of the address as the link's addresses have.
pub(crate) fn local_address(fd: BorrowedFd<'_>) -> io::Result<libc::sockaddr_ll> {
    let mut address = abi::link_address(0, 0);
    let pointer: *mut libc::sockaddr_ll = &mut address;
    let mut len = SOCKADDR_LL_LEN;
    // SAFETY: the kernel writes at most `len` bytes, the size of what the pointer points to.
    let result = unsafe { libc::getsockname(fd.as_raw_fd(), pointer.cast(), &mut len) };
    check(result)?;
    Ok(address)
}

/// `dup3(2)`: puts the socket `new` in the place of `old`, whose number it gets; `old` is closed, if nobody holds another
/// descriptor of it. Calls that have begun on the old socket end on it.
pub(crate) fn replace(old: BorrowedFd<'_>, new: OwnedFd) -> io::Result<()> {
    // SAFETY: no memory is passed. The number stays open, owned by who owns it; only what it stands for changes.
    retry(|| check(unsafe { libc::dup3(new.as_raw_fd(), old.as_raw_fd(), libc::O_CLOEXEC) })).map(drop)
}

/// Whether the interface of a packet socket is gone: the kernel has unbound it.
pub(crate) fn is_unbound(fd: BorrowedFd<'_>) -> bool {
    local_address(fd).is_ok_and(|address| address.sll_ifindex < 0)
}

/// Waits until every processor has left the kernel's receive path at least once (`membarrier(2)`, which waits for an RCU
/// grace period): what was being received when this was called has been queued or dropped when it returns. Takes
/// milliseconds.
///
/// Some kernels cannot do it: those with processors set aside (`nohz_full`), and before 4.3. There it waits longer than
/// any processor takes.
pub(crate) fn wait_for_receive_path() {
    // SAFETY: no memory is passed.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result == -1 {
        thread::sleep(RECEIVE_PATH);
    }
}

/// What `recvmsg(2)` says beside the data.
pub(crate) struct Received {
    /// Bytes of data; with `MSG_TRUNC` asked for, of the whole datagram, also where the buffer was shorter.
    pub(crate) len: usize,
    /// `msg_flags`: `MSG_TRUNC`, `MSG_CTRUNC`, `MSG_ERRQUEUE`.
    pub(crate) flags: c_int,
    /// Bytes of control messages.
    pub(crate) control_len: usize,
}

/// One `recvmsg(2)` with `flags`. A packet socket refuses all other flags than `MSG_DONTWAIT`, `MSG_PEEK`, `MSG_TRUNC`
/// and `MSG_ERRQUEUE` with `EINVAL`.
#[inline]
pub(crate) fn receive<const N: usize>(
    fd: BorrowedFd<'_>,
    data: &mut [u8],
    address: &mut libc::sockaddr_ll,
    control: &mut ControlBuffer<N>,
    flags: c_int,
) -> io::Result<Received> {
    let vector = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    receive_into(fd, &mut [vector], Some(address), control, flags)
}

/// [`receive`] from the error queue, whose messages have no address.
#[inline]
pub(crate) fn receive_error<const N: usize>(
    fd: BorrowedFd<'_>,
    data: &mut [u8],
    control: &mut ControlBuffer<N>,
) -> io::Result<Received> {
    let vector = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    receive_into(fd, &mut [vector], None, control, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT)
}

/// [`receive`], with what stands before the frame in a buffer of its own.
pub(crate) fn receive_with_head<const N: usize>(
    fd: BorrowedFd<'_>,
    head: &mut [u8],
    data: &mut [u8],
    address: &mut libc::sockaddr_ll,
    control: &mut ControlBuffer<N>,
    flags: c_int,
) -> io::Result<Received> {
    let head = libc::iovec { iov_base: head.as_mut_ptr().cast(), iov_len: head.len() };
    let data = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    receive_into(fd, &mut [head, data], Some(address), control, flags)
}

/// The vectors are of memory that the caller has borrowed exclusively for this call.
#[inline]
fn receive_into<const N: usize>(
    fd: BorrowedFd<'_>,
    vectors: &mut [libc::iovec],
    address: Option<&mut libc::sockaddr_ll>,
    control: &mut ControlBuffer<N>,
    flags: c_int,
) -> io::Result<Received> {
    let mut header = message_header(vectors);
    if let Some(address) = address {
        let address: *mut libc::sockaddr_ll = address;
        header.msg_name = address.cast();
        header.msg_namelen = SOCKADDR_LL_LEN;
    }
    header.msg_control = control.0.as_mut_ptr().cast();
    // The type of this field differs between C libraries.
    header.msg_controllen = N as _;
    let len = retry_receive(flags, || {
        // SAFETY: the header points to the vectors, the address and the control buffer, with their true lengths; all
        // are exclusively borrowed by this function or its callers above for the duration of the call.
        check_len(unsafe { libc::recvmsg(fd.as_raw_fd(), &mut header, flags) })
    })?;
    Ok(Received { len, flags: header.msg_flags, control_len: header.msg_controllen as _ })
}

/// One `sendto(2)` with `MSG_DONTWAIT`.
#[inline]
pub(crate) fn send(fd: BorrowedFd<'_>, data: &[u8], to: Destination<'_>) -> io::Result<usize> {
    let Destination { address, len, .. } = to;
    retry(|| {
        // SAFETY: `data` is borrowed for the call; the address is null or points to that many bytes, borrowed likewise.
        // Of these another thread may change the index meanwhile, an atomic, which the kernel copies.
        check_len(unsafe {
            libc::sendto(fd.as_raw_fd(), data.as_ptr().cast(), data.len(), libc::MSG_DONTWAIT, address.cast(), len)
        })
    })
}

/// What one `sendmsg(2)` passes: data, what stands before it, where it goes, control messages.
pub(crate) struct Message<'a, const N: usize> {
    pub(crate) head: Option<[u8; abi::VNET_HEADER_LEN]>,
    pub(crate) data: &'a [u8],
    pub(crate) to: To<'a>,
    pub(crate) control: Encoder<N>,
}

impl<'a, const N: usize> Message<'a, N> {
    #[inline]
    pub(crate) const fn new(data: &'a [u8]) -> Self {
        Self { head: None, data, to: To::Bound, control: Encoder::new() }
    }

    /// How many bytes stand before the data.
    #[inline]
    pub(crate) fn head_len(&self) -> usize {
        self.head.map_or(0, |head| head.len())
    }

    /// The two parts of the message, of which the first may be empty.
    #[inline]
    fn vectors(&self) -> [libc::iovec; 2] {
        let of = |bytes: &[u8]| libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        [of(self.head.as_ref().map_or(&[], |head| head)), of(self.data)]
    }

    /// A header that points to this message and to these vectors of it, for as long as both stay where they are.
    #[inline]
    fn header(&self, vectors: &mut [libc::iovec; 2]) -> libc::msghdr {
        let mut header = message_header(vectors);
        if self.head.is_none() {
            let [_, data] = vectors;
            header.msg_iov = data;
            header.msg_iovlen = 1;
        }
        let Destination { address, len, .. } = self.to.destination();
        header.msg_name = address.cast_mut().cast();
        header.msg_namelen = len;
        let control = self.control.as_bytes();
        header.msg_control = control.as_ptr().cast_mut().cast();
        header.msg_controllen = control.len() as _;
        header
    }
}

/// Apart from [`send_message`], whose way it would make longer.
#[inline(never)]
fn send_data<const N: usize>(fd: BorrowedFd<'_>, message: &Message<'_, N>) -> io::Result<usize> {
    send(fd, message.data, message.to.destination())
}

/// Sends a message with `MSG_DONTWAIT`: by `sendmsg(2)`, or `sendto(2)`, which is cheaper, if the data are all of it.
#[inline(always)] // worth a tenth of `send_keyed`
pub(crate) fn send_message<const N: usize>(fd: BorrowedFd<'_>, message: &Message<'_, N>) -> io::Result<usize> {
    if message.head.is_none() && message.control.as_bytes().is_empty() {
        return send_data(fd, message);
    }
    let mut vectors = message.vectors();
    let header = message.header(&mut vectors);
    retry(|| {
        // SAFETY: the header points to live memory with its true lengths; sendmsg reads it and writes nothing, so the
        // pointers made from shared references are not written through.
        check_len(unsafe { libc::sendmsg(fd.as_raw_fd(), &header, libc::MSG_DONTWAIT) })
    })
}

#[inline]
fn message_header(vectors: &mut [libc::iovec]) -> libc::msghdr {
    let header = MaybeUninit::<libc::msghdr>::zeroed();
    // SAFETY: `msghdr` holds integers and pointers, for which zero is a value. Some C libraries give it private padding.
    let mut header = unsafe { header.assume_init() };
    header.msg_iov = vectors.as_mut_ptr();
    header.msg_iovlen = vectors.len() as _;
    header
}
