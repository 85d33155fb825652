//! When a frame is to leave: launch times, for queueing disciplines that keep them.

use std::io;
use std::time::Duration;

use crate::clock::TaiStamp;
use crate::sys::ptp;

/// The clock of a socket's launch times. It must be that of the queueing discipline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LaunchClock {
    /// `CLOCK_TAI`, which the `etf` qdisc and cards with launch times use. Needs `CAP_NET_ADMIN`.
    Tai,
    /// `CLOCK_MONOTONIC`, which the `fq` qdisc uses.
    Monotonic,
}

impl LaunchClock {
    pub(crate) const fn id(self) -> libc::clockid_t {
        match self {
            Self::Tai => libc::CLOCK_TAI,
            Self::Monotonic => libc::CLOCK_MONOTONIC,
        }
    }
}

/// When a frame is to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LaunchTime {
    /// At this time. On a socket with [`LaunchClock::Tai`].
    At(TaiStamp),
    /// So long from now, on whichever clock the socket has.
    In(Duration),
}

impl LaunchTime {
    /// Nanoseconds of the socket's clock.
    pub(crate) fn on(self, clock: LaunchClock) -> io::Result<u64> {
        let invalid = |why| io::Error::new(io::ErrorKind::InvalidInput, why);
        let nanos = match (self, clock) {
            (Self::At(at), LaunchClock::Tai) => at.as_nanos(),
            (Self::At(_), LaunchClock::Monotonic) => {
                return Err(invalid("this socket's launch times are of CLOCK_MONOTONIC: use LaunchTime::In"));
            }
            (Self::In(delay), clock) => {
                let delay = i64::try_from(delay.as_nanos()).unwrap_or(i64::MAX);
                ptp::clock_time(clock.id())?.saturating_add(delay)
            }
        };
        u64::try_from(nanos).map_err(|_| invalid("a launch time before 1970"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_of_the_sockets_clock() {
        let at = LaunchTime::At(TaiStamp::from_nanos(37));
        assert_eq!(at.on(LaunchClock::Tai).unwrap(), 37);
        assert_eq!(at.on(LaunchClock::Monotonic).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let before = LaunchTime::At(TaiStamp::from_nanos(-1));
        assert_eq!(before.on(LaunchClock::Tai).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        for clock in [LaunchClock::Tai, LaunchClock::Monotonic] {
            let [now, later] = [0, 60].map(|secs| LaunchTime::In(Duration::from_secs(secs)).on(clock).unwrap());
            assert!(later - now >= 60_000_000_000 && now > 0);
            assert!(LaunchTime::In(Duration::MAX).on(clock).unwrap() >= later);
        }
    }
}
