//! Short waits inside of the receiving call itself.
//!
//! A receiver that keeps up with its frames waits for nearly each of them. To try, to poll and to try again would be three
//! system calls a frame; a call that waits in the kernel is one. But nothing wakes such a call except a frame. So it
//! gives up by itself after some milliseconds, and the wait goes on where it can be ended at any moment:
//! [`wait`](crate::wait).

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::sys::sockopt;

/// How long a nap is asked to last. The kernel counts in ticks, of 10 ms at most, and may take one more.
const NAP: Duration = Duration::from_millis(4);

/// The longest that a nap lasts: it must not outlast a deadline.
pub(crate) const LONGEST: Duration = Duration::from_millis(20);

/// After so many naps a call looks first: who is behind with reading has nothing to wait for.
const IN_A_ROW: u8 = 32;

/// Whether calls on a socket may nap, and whether the next one does so at once.
pub(crate) struct Naps {
    are_bounded: bool,
    /// How many calls are still taken to have to wait. Calls on several threads may count it down together; it is a guess.
    expected: AtomicU8,
}

impl Naps {
    /// Bounds the calls that wait on this socket.
    pub(crate) fn on(socket: BorrowedFd<'_>) -> Self {
        // Where that is refused, no call ever waits in the kernel.
        let are_bounded = sockopt::set_receive_timeout(socket, NAP).is_ok();
        Self { are_bounded, expected: AtomicU8::new(0) }
    }

    /// Bounds them on a socket that is to take the place of the first.
    pub(crate) fn bound_too(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        match self.are_bounded {
            true => sockopt::set_receive_timeout(socket, NAP),
            false => Ok(()),
        }
    }

    pub(crate) const fn are_bounded(&self) -> bool {
        self.are_bounded
    }

    /// Whether the next call will have to wait, as those before it had.
    #[inline]
    pub(crate) fn are_expected(&self) -> bool {
        self.expected.load(Ordering::Relaxed) != 0
    }

    /// A call looked, and found nothing.
    pub(crate) fn expect(&self) {
        self.expected.store(IN_A_ROW, Ordering::Relaxed);
    }

    /// A call naps without having looked.
    pub(crate) fn count(&self) {
        let left = self.expected.load(Ordering::Relaxed);
        self.expected.store(left.saturating_sub(1), Ordering::Relaxed);
    }
}
