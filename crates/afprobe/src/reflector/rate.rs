//! How many replies a sender may have.

use std::time::{Duration, Instant};

/// Replies for each sender's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// In the long run. 0: none at all.
    pub(crate) per_second: u32,
    /// At once, after a pause. At least 1.
    pub(crate) burst: u32,
}

/// A bucket of tokens, kept as the moment when it will be full again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    full_at: Instant,
}

impl Bucket {
    pub(crate) const fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let Some(each) = Duration::from_secs(1).checked_div(rate.per_second) else {
            return false;
        };
        let full_at = self.full_at.max(now) + each;
        let has_one = full_at.duration_since(now) <= each * rate.burst.max(1);
        if has_one {
            self.full_at = full_at;
        }
        has_one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_at_the_rate() {
        let rate = Rate { per_second: 100, burst: 5 };
        let start = Instant::now();
        let mut bucket = Bucket::full(start);
        let mut taken = |millis| bucket.take(rate, start + Duration::from_millis(millis));
        assert_eq!((0..8).filter(|_| taken(0)).count(), 5);
        assert!(!taken(9));
        assert!(taken(10), "a hundredth of a second later");
        assert!(!taken(19));
        assert_eq!((20..1020).filter(|&millis| taken(millis)).count(), 100, "in a second");
        assert_eq!((0..8).filter(|_| taken(60_000)).count(), 5, "no more than a burst is saved up");
        assert!(taken(61_000));
        assert!(!taken(60_500), "a time before gives nothing");
    }

    #[test]
    fn the_ends() {
        let now = Instant::now();
        let take = |per_second, burst, times| {
            let mut bucket = Bucket::full(now);
            (0..times).filter(|_| bucket.take(Rate { per_second, burst }, now)).count()
        };
        assert_eq!(take(0, 10, 10), 0);
        assert_eq!(take(1, 0, 10), 1);
        assert_eq!(take(u32::MAX, 1, 1), 1);
        assert_eq!(take(1, u32::MAX, 1000), 1000);
    }
}
