//! Where received frames go: the same work for each contender's.

use std::hint::black_box;
use std::time::{SystemTime, UNIX_EPOCH};

/// Takes received frames.
pub trait Sink {
    /// Takes a frame: its stamp in nanoseconds since 1970, the length that it had on the link, its bytes.
    fn frame(&mut self, stamp: Option<i64>, wire_len: usize, bytes: &[u8]);

    /// How many it has taken.
    fn frames(&self) -> u64;
}

/// Reads stamp, length and first bytes of each frame, and does as little as possible with them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// How many frames.
    pub frames: u64,
    /// How many of them had no stamp.
    pub unstamped: u64,
    /// Keeps the compiler from leaving out what nobody reads.
    mixed: u64,
}

impl Sink for Tally {
    #[inline]
    fn frame(&mut self, stamp: Option<i64>, wire_len: usize, bytes: &[u8]) {
        self.frames += 1;
        let stamp = stamp.unwrap_or_else(|| self.without_stamp());
        let first = bytes.first_chunk().map_or(0, |first| u64::from_ne_bytes(*first));
        self.mixed ^= stamp.cast_unsigned() ^ wire_len as u64 ^ first;
    }

    #[inline]
    fn frames(&self) -> u64 {
        self.frames
    }
}

impl Drop for Latencies {
    fn drop(&mut self) {
        black_box(self.tally.mixed);
    }
}

impl Tally {
    /// How many frames had a stamp.
    pub const fn stamped(&self) -> u64 {
        self.frames - self.unstamped
    }

    #[cold]
    fn without_stamp(&mut self) -> i64 {
        self.unstamped += 1;
        0
    }

    /// What the frames had in them, for the optimizer to believe in.
    pub fn keep(&self) {
        black_box(self.mixed);
    }
}

/// Notes also how late each frame is, by the system's clock.
#[derive(Debug)]
pub(crate) struct Latencies {
    pub(crate) tally: Tally,
    pub(crate) samples: Vec<u32>,
}

impl Latencies {
    /// For up to so many frames.
    pub(crate) fn with_capacity(frames: usize) -> Self {
        Self { tally: Tally::default(), samples: Vec::with_capacity(frames) }
    }
}

impl Sink for Latencies {
    #[inline]
    fn frame(&mut self, stamp: Option<i64>, wire_len: usize, bytes: &[u8]) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        let now = now.and_then(|now| i64::try_from(now.as_nanos()).ok());
        self.tally.frame(stamp, wire_len, bytes);
        if let (Some(now), Some(stamp)) = (now, stamp)
            && self.samples.len() < self.samples.capacity()
        {
            self.samples.push(u32::try_from(now.saturating_sub(stamp).max(0)).unwrap_or(u32::MAX));
        }
    }

    #[inline]
    fn frames(&self) -> u64 {
        self.tally.frames
    }
}
