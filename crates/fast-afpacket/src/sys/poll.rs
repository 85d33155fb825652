//! Waiting: `ppoll(2)`, an event to interrupt it, and an edge-triggered view of a socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

use super::{check, owned, retry};

/// What one descriptor is waited for, and what was found. `POLLERR` is always found, asked for or not.
#[repr(transparent)]
pub(crate) struct PollFd(libc::pollfd);

impl PollFd {
    pub(crate) fn new(fd: BorrowedFd<'_>, events: i16) -> Self {
        Self(libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 })
    }

    /// An entry that the kernel skips.
    pub(crate) const fn none() -> Self {
        const SKIP: RawFd = -1;
        Self(libc::pollfd { fd: SKIP, events: 0, revents: 0 })
    }

    pub(crate) const fn is_ready(&self) -> bool {
        self.0.revents != 0
    }
}

/// `ppoll(2)`: waits until a descriptor is ready, for `timeout` at most. A signal ends the wait early, as if nothing
/// were ready: the caller computes the time that is left anew.
pub(crate) fn poll<const N: usize>(fds: &mut [PollFd; N], timeout: Option<Duration>) -> io::Result<()> {
    let timeout = timeout.map(timespec);
    let timeout: *const libc::timespec = timeout.as_ref().map_or(ptr::null(), |timeout| timeout);
    let count = N as libc::nfds_t;
    // SAFETY: `PollFd` is transparent over `pollfd`, the array has `count` of them and is exclusively borrowed; the
    // timeout is null or points to a live value; the signal mask is null. A descriptor that is no longer open would
    // be reported as such, and none is: the callers hold what they poll.
    let result = unsafe { libc::ppoll(fds.as_mut_ptr().cast(), count, timeout, ptr::null()) };
    match check(result) {
        Err(error) if error.raw_os_error() == Some(libc::EINTR) => Ok(()),
        result => result.map(drop),
    }
}

fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(duration.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: duration.subsec_nanos().cast_signed().into(),
    }
}

/// An `eventfd(2)` that one waiter polls and any thread can set.
pub(crate) struct Event(OwnedFd);

impl Event {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no memory is passed.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        check(fd).map(owned).map(Self)
    }

    /// Makes the event readable until [`Event::clear`].
    pub(crate) fn set(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: eight bytes are read from a live array. The one possible failure, a counter at its maximum, means
        // that the event is set already.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    pub(crate) fn clear(&self) {
        take_count(self.0.as_fd());
    }
}

/// Takes what an event or a timer has counted, so that it is no longer readable.
pub(crate) fn take_count(fd: BorrowedFd<'_>) {
    let mut count = [0_u8; 8];
    // SAFETY: eight bytes are written to a live array. The one possible failure means that the count was 0.
    unsafe { libc::read(fd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// An `epoll(7)` instance that watches one socket, edge-triggered.
///
/// A socket with unread TX stamps has `POLLERR` set for as long as they stay unread, and `POLLERR` cannot be masked: a
/// plain poll for anything else on it returns at once, for ever. Edge-triggered, each new stamp wakes once.
pub(crate) struct Edges(OwnedFd);

impl Edges {
    pub(crate) fn of(socket: BorrowedFd<'_>, events: i16) -> io::Result<Self> {
        // SAFETY: no memory is passed.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        let edges = Self(owned(check(fd)?));
        edges.watch(socket, events)?;
        Ok(edges)
    }

    /// Watches another socket too: the one that has taken the place of the first. If it is the first still, all is well.
    pub(crate) fn watch(&self, socket: BorrowedFd<'_>, events: i16) -> io::Result<()> {
        let mut event = libc::epoll_event {
            // The poll and epoll bits for IN and OUT are the same numbers; edge-triggered is the sign bit of an int.
            events: u32::from(events.unsigned_abs()) | libc::EPOLLET.cast_unsigned(),
            u64: 0,
        };
        let epoll = self.0.as_raw_fd();
        // SAFETY: the event is a live local. The socket outlives this instance: both are owned by the same value. If it did
        // not, the kernel would drop it from the instance.
        let result = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &mut event) };
        match check(result) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Takes the edge that made this instance readable, so that only a new one makes it so again.
    pub(crate) fn take(&self) -> io::Result<()> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        retry(|| {
            // SAFETY: room for one event is passed, and the count says one.
            check(unsafe { libc::epoll_wait(self.0.as_raw_fd(), &mut event, 1, 0) })
        })
        .map(drop)
    }
}

impl AsFd for Edges {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(feature = "tokio")]
impl From<Edges> for OwnedFd {
    fn from(edges: Edges) -> Self {
        edges.0
    }
}

/// A `timerfd` that becomes readable again and again, `interval` apart.
#[cfg(feature = "tokio")]
pub(crate) fn ticking(interval: Duration) -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) };
    let timer = owned(check(fd)?);
    let interval = timespec(interval);
    let times = libc::itimerspec { it_interval: interval, it_value: interval };
    // SAFETY: the new times are a live local, and null says that nobody wants the old ones.
    check(unsafe { libc::timerfd_settime(timer.as_raw_fd(), 0, &times, ptr::null_mut()) })?;
    Ok(timer)
}
