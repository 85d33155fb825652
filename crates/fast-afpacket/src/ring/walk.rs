//! The walk over the frames of a block, on the bytes that the kernel wrote.

use std::fmt;
use std::hint::cold_path;
use std::iter::FusedIterator;
use std::sync::atomic::{AtomicU32, Ordering};

use super::frame::{self, Frame, Placed, V3_HEADER};
use crate::stats::Counters;
use crate::timestamp::Timestamping;

/// `struct tpacket_block_desc`: version, offset_to_priv, block_status, num_pkts, offset_to_first_pkt, blk_len (u32 each),
/// seq_num (u64), two times.
const HEADER: usize = 48;

/// What the header of a block says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Header {
    pub(super) status: u32,
    pub(super) frames: u32,
    /// Where the first frame begins.
    first: usize,
    /// Where the last frame ends.
    len: usize,
    pub(super) sequence: u64,
}

impl Header {
    /// `None` for a block too short for a header. The offsets are still to be checked.
    #[inline]
    pub(super) fn parse(block: &[u8]) -> Option<Self> {
        let words: &[u8; HEADER] = block.first_chunk()?;
        let [_, _, _, _, _, _, _, _, s0, s1, s2, s3, n0, n1, n2, n3, f0, f1, f2, f3, l0, l1, l2, l3, rest @ ..] = words;
        Some(Self {
            status: u32::from_ne_bytes([*s0, *s1, *s2, *s3]),
            frames: u32::from_ne_bytes([*n0, *n1, *n2, *n3]),
            first: usize::try_from(u32::from_ne_bytes([*f0, *f1, *f2, *f3])).ok()?,
            len: usize::try_from(u32::from_ne_bytes([*l0, *l1, *l2, *l3])).ok()?,
            sequence: u64::from_ne_bytes(*rest.first_chunk()?),
        })
    }

    /// The bytes from the first frame to the end of the last; empty if they do not lie behind the header and within the
    /// block.
    #[inline]
    fn frames_in(self, block: &[u8]) -> &[u8] {
        block.get(self.first..self.len).filter(|_| self.first >= HEADER).unwrap_or(&[])
    }
}

/// What the walks over one block have in common: what they go by, and what they have found. Walking it once more finds the
/// same and counts nothing twice.
#[derive(Debug)]
pub(super) struct Tally {
    /// Bits of the status of which a frame has one that does not lack a stamp. Where none was asked for, no frame lacks one:
    /// there are all bits in this, and each frame has `TP_STATUS_USER`.
    stamped: u32,
    /// Frames that fill the block up to here and say that they are longer were cut by it.
    capacity: usize,
    truncated: AtomicU32,
    unstamped: AtomicU32,
    malformed: AtomicU32,
}

impl Tally {
    #[inline]
    pub(super) fn new(block: &[u8], asked: Timestamping) -> Self {
        Self {
            stamped: if asked.intersects(Timestamping::RX) { frame::STAMPED } else { u32::MAX },
            capacity: block.len().saturating_sub(HEADER),
            truncated: AtomicU32::new(0),
            unstamped: AtomicU32::new(0),
            malformed: AtomicU32::new(0),
        }
    }

    /// Truncated, unstamped, malformed.
    #[inline]
    pub(super) fn counts(&self) -> [u32; 3] {
        // Relaxed: counts that order nothing; whoever walked the block did so before it was dropped.
        [&self.truncated, &self.unstamped, &self.malformed].map(|count| count.load(Ordering::Relaxed))
    }

    #[inline]
    pub(super) fn add_to(&self, counters: &Counters) {
        let counters = [&counters.truncated, &counters.unstamped, &counters.malformed];
        for (count, counter) in self.counts().into_iter().zip(counters) {
            if count != 0 {
                counter.add(u64::from(count));
            }
        }
    }

    /// The frames that are left cannot be found.
    #[cold]
    fn give_up(&self, left: u32) {
        self.malformed.fetch_max(left, Ordering::Relaxed);
    }
}

/// The frames of a [`Block`](super::Block).
///
/// Every length and offset is checked before it is used. At one that cannot be true the walk ends, and the frames that
/// are left are counted as [`Stats::malformed`](crate::Stats::malformed).
pub struct Frames<'b> {
    /// From the next frame's header to the end of the last frame; empty when none is left.
    rest: &'b [u8],
    left: u32,
    truncated: u32,
    unstamped: u32,
    tally: &'b Tally,
}

impl<'b> Frames<'b> {
    #[inline]
    pub(super) fn new(block: &'b [u8], header: &Header, tally: &'b Tally) -> Self {
        let rest = if header.frames > 0 { header.frames_in(block) } else { &[] };
        Self { rest, left: header.frames, truncated: 0, unstamped: 0, tally }
    }

    /// The next frame, and what comes behind it.
    #[inline]
    fn split(&self) -> Option<(Placed<'b>, &'b [u8])> {
        let header = self.rest.first_chunk()?;
        // Frames are chained by how far it is to the next header; the last one has 0 there.
        let (slot, rest) = match self.left {
            1 => (self.rest, &[][..]),
            _ => self.rest.split_at_checked(frame::next_offset(header)?)?,
        };
        Some((Placed::in_block(header, slot)?, rest))
    }

    /// There is no more frame, or none that can be found.
    #[inline]
    fn end(&mut self) -> Option<Frame<'b>> {
        self.rest = &[];
        if self.left > 0 {
            self.tally.give_up(self.left);
        }
        None
    }
}

impl<'b> Iterator for Frames<'b> {
    type Item = Frame<'b>;

    // What seldom happens takes few registers and calls nothing but at the end: the walk is to stay in registers.
    #[inline]
    fn next(&mut self) -> Option<Frame<'b>> {
        let Some((Placed { frame, end }, rest)) = self.split() else {
            return self.end();
        };
        if frame.data().len() != frame.wire_len() {
            cold_path();
            if !frame.is_truncated() {
                return self.end();
            }
            // What the filter cut ends before.
            if end >= self.tally.capacity {
                self.truncated += 1;
            }
        }
        if frame.status() & self.tally.stamped == 0 {
            cold_path();
            self.unstamped += 1;
        }
        self.rest = rest;
        self.left -= 1;
        Some(frame)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        // A header takes this much at least, whatever the count says.
        (0, Some((self.left as usize).min(self.rest.len() / V3_HEADER)))
    }
}

impl Drop for Frames<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.truncated | self.unstamped != 0 {
            // Relaxed: see `Tally::counts`.
            self.tally.truncated.fetch_max(self.truncated, Ordering::Relaxed);
            self.tally.unstamped.fetch_max(self.unstamped, Ordering::Relaxed);
        }
    }
}

impl FusedIterator for Frames<'_> {}

impl fmt::Debug for Frames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames").field("left", &self.left).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{Made, v3_block};
    use super::*;
    use proptest::prelude::*;

    fn walk<'b>(block: &'b [u8], tally: &'b Tally) -> Vec<&'b [u8]> {
        let header = Header::parse(block).unwrap_or_default();
        Frames::new(block, &header, tally).map(|frame| frame.data()).collect()
    }

    fn tally_of(block: &[u8]) -> Tally {
        Tally::new(block, Timestamping::RX)
    }

    #[test]
    fn frames_come_in_order_and_whole() {
        let data: Vec<Vec<u8>> = (0..20).map(|i: u8| vec![i; usize::from(i) * 7]).collect();
        let frames: Vec<_> = data.iter().map(|data| Made::new(data)).collect();
        let block = v3_block(&frames, 8192);
        let tally = tally_of(&block);
        assert_eq!(walk(&block, &tally), data.iter().map(Vec::as_slice).collect::<Vec<_>>());
        assert_eq!(walk(&block, &tally).len(), 20);
        assert_eq!(tally.counts(), [0, 20, 0], "twice walked, once counted");
        let tally = Tally::new(&block, Timestamping::TX);
        assert_eq!(walk(&block, &tally).len(), 20);
        assert_eq!(tally.counts(), [0; 3], "who did not ask for stamps lacks none");
    }

    #[test]
    fn a_frame_that_the_block_cut_is_counted_and_one_that_the_filter_cut_is_not() {
        // As Linux 6.18 wrote it: 4096 - 48 bytes are the most, from the frame's header on.
        let cut = Made { wire_len: 5000, status: 1 << 29, ..Made::new(&[3; 4096 - 48 - 82]) };
        let block = v3_block(&[cut], 4096);
        let tally = tally_of(&block);
        assert_eq!(walk(&block, &tally)[0].len(), 3966);
        assert_eq!(tally.counts(), [1, 0, 0]);
        let snapped = Made { wire_len: 5000, ..Made::new(&[3; 20]) };
        let block = v3_block(&[snapped], 4096);
        let tally = tally_of(&block);
        walk(&block, &tally);
        assert_eq!(tally.counts(), [0, 1, 0]);
    }

    #[test]
    fn an_empty_block_has_no_frames() {
        // The kernel leaves what stood there before.
        let mut block = v3_block(&[Made::new(&[1; 60])], 4096);
        block[12..16].fill(0);
        let tally = tally_of(&block);
        assert!(walk(&block, &tally).is_empty());
        assert!(walk(&[0; 47], &tally).is_empty());
        assert_eq!(tally.counts(), [0; 3]);
    }

    #[test]
    fn lies_end_the_walk_and_are_counted() {
        let frames = [Made::new(&[1; 60]), Made::new(&[2; 60]), Made::new(&[3; 60])];
        let good = v3_block(&frames, 4096);
        let with = |at: usize, value: u32| {
            let mut block = good.clone();
            block[at..at + 4].copy_from_slice(&value.to_ne_bytes());
            block
        };
        // (offset, value, frames that are still found)
        let second = 48 + 144;
        let lies = [
            (16, 0, 0),             // the first frame in the header
            (16, 44, 0),            //
            (16, 4096, 0),          // at the end
            (16, u32::MAX, 0),      //
            (20, 4097, 0),          // longer than the block
            (20, 0, 0),             //
            (20, 48 + 144 + 10, 1), // ends in the second frame
            (48, 0, 0),             // chained to itself
            (48, 8, 0),             // into its own header
            (48, 72, 0),            // into its own data
            (48, u32::MAX, 0),      //
            (second, 4000, 1),      //
            (second + 12, 1000, 1), // into the next frame
            (second + 16, 59, 1),   // more of it than it is long
            (12, 4, 2),             // more than there are: the last one has no successor
            (12, u32::MAX, 2),      //
        ];
        for (at, value, found) in lies {
            let block = with(at, value);
            let claimed = Header::parse(&block).unwrap().frames;
            let tally = tally_of(&block);
            let frames = u32::try_from(walk(&block, &tally).len()).unwrap();
            assert_eq!(frames, found, "{value} at {at}");
            assert_eq!(tally.counts(), [0, frames, claimed - frames], "{value} at {at}");
        }
    }

    proptest! {
        #[test]
        fn any_memory_ends_without_a_panic(block in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let tally = tally_of(&block);
            for data in walk(&block, &tally) {
                prop_assert!(block.as_ptr_range().contains(&data.as_ptr()) || data.is_empty());
            }
        }

        /// Blocks that are right but for some bytes: these get far.
        #[test]
        fn damaged_blocks_lend_only_what_is_theirs(
            sizes in proptest::collection::vec(0_usize..200, 1..12),
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            words in proptest::collection::vec((0_usize..512, 0_u32..5000), 0..3),
        ) {
            let data: Vec<Vec<u8>> = sizes.iter().map(|&size| vec![9; size]).collect();
            let frames: Vec<_> = data.iter().map(|data| Made::new(data)).collect();
            let mut block = v3_block(&frames, 4096);
            for (at, value) in damage {
                let at = at.index(1024);
                block[at] = value;
            }
            for (word, value) in words {
                block[word * 4..word * 4 + 4].copy_from_slice(&value.to_ne_bytes());
            }
            let claimed = Header::parse(&block).unwrap().frames;
            let tally = tally_of(&block);
            let found = walk(&block, &tally);
            let end = block.as_ptr_range().end.addr();
            for pair in found.windows(2) {
                prop_assert!(pair[0].as_ptr_range().end <= pair[1].as_ptr(), "frames do not overlap");
            }
            for data in &found {
                prop_assert!(data.as_ptr_range().end.addr() <= end && data.as_ptr().addr() >= block.as_ptr().addr() + HEADER);
            }
            let [_, _, malformed] = tally.counts();
            prop_assert_eq!(u32::try_from(found.len()).unwrap() + malformed, claimed);
        }
    }
}
