//! When the latest packets were sent, as they say it themselves. A reply repeats it: one that says something else is damaged,
//! or was made by somebody who has not seen the packet that it claims to answer.

use std::sync::atomic::{AtomicU64, Ordering};

use super::numbers;

/// How many probes are remembered: as many as may be unfinished at one time. Replies to older ones are counted, no more.
const PROBES: usize = 1 << 15;
/// Of questions few are under way.
const QUESTIONS: usize = 64;

/// What the thread that sends lets the one that receives know.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) probes: SentTimes,
    /// Their numbers are a count of their own.
    pub(crate) questions: SentTimes,
}

impl Default for Sent {
    fn default() -> Self {
        Self { probes: SentTimes::new(PROBES), questions: SentTimes::new(QUESTIONS) }
    }
}

/// The timestamps in the latest packets, by their numbers. One thread writes.
#[derive(Debug)]
pub(crate) struct SentTimes {
    newest: AtomicU64,
    times: Box<[AtomicU64]>,
}

impl SentTimes {
    fn new(capacity: usize) -> Self {
        Self { newest: AtomicU64::new(0), times: (0..capacity).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The newest packet that was begun to be sent.
    pub(crate) fn newest(&self) -> u64 {
        self.newest.load(Ordering::Acquire)
    }

    /// Remembers the timestamp in a packet that is about to be sent.
    pub(crate) fn note(&self, number: u64, timestamp: u64) {
        // In this order: whoever finds a new time in an old packet's place finds the new number, too.
        self.newest.store(number, Ordering::Release);
        if let Some(place) = self.place(number) {
            place.store(timestamp, Ordering::Release);
        }
    }

    /// Whether the packet with these lower 32 bits of its number has this timestamp. `None`: it was not sent, or so long ago
    /// that nobody remembers.
    pub(crate) fn has(&self, number: u32, timestamp: u64) -> Option<bool> {
        let number = numbers::unwrap(number, self.newest())?;
        let noted = self.place(number)?.load(Ordering::Acquire);
        let age = usize::try_from(self.newest().checked_sub(number)?).ok()?;
        (age < self.times.len()).then_some(noted == timestamp)
    }

    fn place(&self, number: u64) -> Option<&AtomicU64> {
        let capacity = u64::try_from(self.times.len()).ok()?;
        self.times.get(usize::try_from(number % capacity).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn the_latest_are_remembered() {
        const WRAP: u64 = 1 << 32;
        let sent = SentTimes::new(4);
        for number in WRAP - 2..WRAP + 3 {
            sent.note(number, 10 * number);
        }
        assert_eq!(sent.newest(), WRAP + 2);
        for number in WRAP - 1..WRAP + 3 {
            let lower = numbers::lower_half(number);
            assert_eq!((sent.has(lower, 10 * number), sent.has(lower, 10 * number + 1)), (Some(true), Some(false)));
        }
        assert_eq!(sent.has(u32::MAX - 1, 10 * (WRAP - 2)), None, "too long ago");
        assert_eq!(sent.has(3, 0), None, "not sent");
        assert_eq!(SentTimes::new(4).has(u32::MAX, 0), None, "before the first");
        assert_eq!(SentTimes::new(4).has(0, 1), Some(false), "not yet sent, and its time not known to anybody");
    }

    #[test]
    fn a_time_is_never_taken_for_that_of_another_packet() {
        const NUMBERS: u64 = 200_000;
        let sent = &SentTimes::new(8);
        thread::scope(|scope| {
            scope.spawn(|| (0..=NUMBERS).for_each(|number| sent.note(number, number + 1)));
            scope.spawn(|| {
                loop {
                    let newest = sent.newest();
                    for number in newest.saturating_sub(9)..newest {
                        // It may be overwritten at this moment: then it is gone, and not another's.
                        assert_ne!(sent.has(numbers::lower_half(number), number + 1), Some(false), "{number}");
                    }
                    if newest == NUMBERS {
                        break;
                    }
                }
            });
        });
        assert_eq!(sent.has(numbers::lower_half(NUMBERS), NUMBERS + 1), Some(true));
    }
}
