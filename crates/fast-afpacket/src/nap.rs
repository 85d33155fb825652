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

use crate::sys::{self, sockopt};

/// How long a nap is asked to last.
const NAP: Duration = Duration::from_millis(4);

/// By when a call that waits is promised to have noticed what ends it. Where ticks are so long that a nap may last longer,
/// no call naps.
const PROMISED: Duration = Duration::from_millis(10);

/// After so many naps a call looks first: who is behind with reading has nothing to wait for.
const IN_A_ROW: u8 = 32;

/// Whether calls on a socket may nap, and whether the next one does so at once.
pub(crate) struct Naps {
    /// The longest that a nap lasts: it must not outlast a deadline. Without a bound no call ever naps.
    longest: Option<Duration>,
    /// How many calls are still taken to have to wait. Calls on several threads may count it down together; it is a guess.
    expected: AtomicU8,
}

impl Naps {
    /// Bounds the calls that wait on this socket.
    pub(crate) fn on(socket: BorrowedFd<'_>) -> Self {
        let longest = Some(longest(NAP, sys::tick())).filter(|&longest| longest <= PROMISED);
        let longest = longest.filter(|_| sockopt::set_receive_timeout(socket, NAP).is_ok());
        Self { longest, expected: AtomicU8::new(0) }
    }

    /// Bounds them on a socket that is to take the place of the first.
    pub(crate) fn bound_too(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        match self.longest {
            Some(_) => sockopt::set_receive_timeout(socket, NAP),
            None => Ok(()),
        }
    }

    /// For how long a call that naps cannot be woken; `None` if none may.
    pub(crate) const fn longest(&self) -> Option<Duration> {
        self.longest
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

/// The kernel counts whole ticks, and the one that has begun does not count.
fn longest(nap: Duration, tick: Duration) -> Duration {
    let ticks = nap.as_nanos().div_ceil(tick.as_nanos().max(1));
    tick.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nap_lasts_whole_ticks_and_one_more() {
        let of = |micros| longest(NAP, Duration::from_micros(micros));
        assert_eq!(of(1_000), Duration::from_millis(5));
        assert_eq!(of(3_333), Duration::from_micros(9_999));
        assert_eq!(of(4_000), Duration::from_millis(8));
        assert_eq!(of(10_000), Duration::from_millis(20));
        assert!(of(1_000) <= PROMISED && of(3_333) <= PROMISED && of(4_000) <= PROMISED && of(10_000) > PROMISED);
    }

    #[test]
    fn this_kernel_has_a_tick() {
        let tick = sys::tick();
        assert!((Duration::from_micros(500)..=Duration::from_millis(10)).contains(&tick), "{tick:?}");
    }
}
