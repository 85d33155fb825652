//! The whole life of a ring over memory that this process writes in the kernel's place: which unit is lent when, that it is
//! given back, that nothing else of the memory is changed, and (by poisoning it) that no byte is read which is the
//! kernel's.
#![no_main]

use std::ffi::c_void;
use std::{io, mem, slice};

use fast_afpacket::fuzzing::{self, PlayedRing};
use fast_afpacket::{Block, ByBlock, ByFrame, HeldFrame, RingShape};
use fast_afpacket_fuzz::script::{self, OURS, Shape, Step};
use fast_afpacket_fuzz::{Input, frames};
use libfuzzer_sys::fuzz_target;

const PAGE: usize = 4096;
/// Enough to go around the largest ring twice.
const MOST_STEPS: usize = 512;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let Shape { by_block, blocks, pages, slot } = Shape::read(input.byte());
    if by_block {
        let shape = RingShape::throughput().block_size(pages * PAGE).blocks(blocks);
        play(PlayedRing::new(shape), blocks, input, Model::<ByBlock>::read);
    } else {
        // Some leave slack at the end of a block, some none.
        let shape =
            RingShape::latency().block_size(pages * PAGE).blocks(blocks).frame_size(80 + usize::from(slot) * 112);
        play(PlayedRing::new(shape), blocks, input, Model::<ByFrame>::read);
    }
});

fn play<K>(ring: Option<PlayedRing<K>>, blocks: usize, mut input: Input<'_>, read: fn(&mut Model<K>, Step<'_>)) {
    let mut model = Model::new(ring.expect("a shape that keeps the rules"), blocks);
    for _ in 0..MOST_STEPS {
        match script::next(&mut input) {
            None => break,
            Some(Step::HandOver { bytes, status }) => model.hand_over(bytes, status),
            Some(step) => read(&mut model, step),
        }
    }
}

/// A ring, and what it should hold.
struct Model<K> {
    ring: PlayedRing<K>,
    plain: Plain,
}

struct Plain {
    base: *const u8,
    /// Where each unit begins.
    units: Vec<usize>,
    unit_size: usize,
    status_at: usize,
    /// The bytes that must be in the ring.
    memory: Vec<u8>,
    /// Which units are the reader's.
    ours: Vec<bool>,
    /// The unit that the kernel will write next.
    kernel: usize,
    /// The unit that the reader will be lent next.
    reader: usize,
    /// Truncated, unstamped, malformed.
    counts: [u64; 3],
}

impl<K> Model<K> {
    fn new(ring: PlayedRing<K>, blocks: usize) -> Self {
        let (block_size, unit_size, status_at) = ring.layout();
        let per_block = block_size / unit_size;
        let at = |unit: usize| unit / per_block * block_size + unit % per_block * unit_size;
        let units: Vec<_> = (0..blocks * per_block).map(at).collect();
        let plain = Plain {
            base: ring.base(),
            memory: vec![0; blocks * block_size],
            ours: vec![false; units.len()],
            units,
            unit_size,
            status_at,
            kernel: 0,
            reader: 0,
            counts: [0; 3],
        };
        (0..plain.units.len()).for_each(|unit| plain.set_forbidden(unit, true));
        Self { ring, plain }
    }

    fn hand_over(&mut self, bytes: &[u8], status: u32) {
        let Self { ring, plain } = self;
        let unit = plain.kernel;
        if plain.ours[unit] {
            return;
        }
        let (at, bytes) = (plain.units[unit], &bytes[..bytes.len().min(plain.unit_size)]);
        plain.set_forbidden(unit, false);
        ring.hand_over(at, bytes, status);
        plain.memory[at..at + bytes.len()].copy_from_slice(bytes);
        plain.set_status(unit, status);
        if status & OURS == 0 {
            plain.set_forbidden(unit, true);
        } else {
            plain.ours[unit] = true;
            plain.kernel = (unit + 1) % plain.units.len();
        }
    }
}

impl<K> Drop for Model<K> {
    fn drop(&mut self) {
        let Self { ring, plain } = self;
        (0..plain.units.len()).for_each(|unit| plain.set_forbidden(unit, false));
        // SAFETY: these bytes are mapped for as long as the ring lives, and nothing of it is lent.
        let memory = unsafe { slice::from_raw_parts(plain.base, plain.memory.len()) };
        assert!(memory == plain.memory, "nothing is written but statuses");
        assert_eq!(ring.counts(), plain.counts);
    }
}

unsafe extern "C" {
    /// Whoever touches this memory from now on is reported.
    fn __asan_poison_memory_region(start: *const c_void, len: usize);
    fn __asan_unpoison_memory_region(start: *const c_void, len: usize);
}

impl Plain {
    /// Forbids a unit to everybody, but for the eight bytes around its status, or allows it.
    fn set_forbidden(&self, unit: usize, forbidden: bool) {
        let status = self.status_at / 8 * 8;
        for (start, end) in [(0, status), (status + 8, self.unit_size)] {
            let (first, len) = (self.base.wrapping_add(self.units[unit] + start).cast(), end - start);
            if forbidden {
                // SAFETY: what the sanitizer knows of these bytes, which are mapped, is changed, and nothing else.
                unsafe { __asan_poison_memory_region(first, len) };
            } else {
                // SAFETY: as above.
                unsafe { __asan_unpoison_memory_region(first, len) };
            }
        }
    }

    fn set_status(&mut self, unit: usize, status: u32) {
        let at = self.units[unit] + self.status_at;
        self.memory[at..at + 4].copy_from_slice(&status.to_ne_bytes());
    }

    /// The bytes of the reader's next unit.
    fn unit(&self) -> &[u8] {
        let at = self.units[self.reader];
        &self.memory[at..at + self.unit_size]
    }

    /// The unit that is lent is the one that comes next.
    fn compare(&self, lent: &[u8]) {
        assert_eq!(lent.as_ptr(), self.base.wrapping_add(self.units[self.reader]));
        assert!(lent == self.unit());
    }

    /// The reader gives back its unit.
    fn give_back(&mut self) {
        let unit = self.reader;
        self.set_forbidden(unit, true);
        self.set_status(unit, 0);
        self.ours[unit] = false;
        self.reader = (unit + 1) % self.units.len();
    }

    /// Whether there is a unit to lend, behind those that are given back unseen; how many these are.
    fn skip(&mut self, is_shown: impl Fn(&[u8]) -> bool) -> (bool, u64) {
        let mut skipped = 0;
        while self.ours[self.reader] {
            if is_shown(self.unit()) {
                return (true, skipped);
            }
            self.give_back();
            skipped += 1;
        }
        (false, skipped)
    }

    fn count(&mut self, counts: [u64; 3]) {
        for (sum, count) in self.counts.iter_mut().zip(counts) {
            *sum += count;
        }
    }
}

/// What a reader that does not wait is lent.
fn lent<T>(result: io::Result<T>) -> Option<T> {
    match result {
        Ok(lent) => Some(lent),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}

impl Model<ByBlock> {
    fn read(&mut self, step: Step<'_>) {
        let Self { ring, plain } = self;
        let found = lent(ring.reader().next_block());
        let (is_there, _) = plain.skip(|block| frames::claimed(block) > 0);
        assert_eq!(found.is_some(), is_there);
        let Some(block) = found else { return };
        plain.compare(fuzzing::block_memory(&block));
        let expected = frames::in_block(plain.unit());
        assert_eq!(block.len(), frames::claimed(plain.unit()) as usize);
        let mut frames = block.iter();
        for expected in &expected {
            expected.compare(fuzzing::block_memory(&block), &frames.next().unwrap());
        }
        assert!(frames.next().is_none() && frames.next().is_none());
        drop(frames);
        if let Step::Forget = step {
            mem::forget::<Block<'_>>(block);
        } else {
            drop(block);
            let frames::Counts { truncated, unstamped, malformed } = frames::counts_of(plain.unit(), &expected);
            plain.count([truncated, unstamped, malformed].map(u64::from));
            plain.give_back();
        }
    }
}

impl Model<ByFrame> {
    fn read(&mut self, step: Step<'_>) {
        let Self { ring, plain } = self;
        let found = match step {
            Step::Look => ring.reader().try_next_frame().unwrap(),
            _ => lent(ring.reader().next_frame()),
        };
        let (is_there, skipped) = plain.skip(|slot| frames::in_slot(slot).is_some());
        plain.count([0, 0, skipped]);
        assert_eq!(found.is_some(), is_there);
        let Some(held) = found else { return };
        plain.compare(fuzzing::slot_memory(&held));
        let expected = frames::in_slot(plain.unit()).unwrap();
        expected.compare(fuzzing::slot_memory(&held), &held.frame());
        plain.count([expected.is_cut_by(plain.unit()), expected.is_unstamped(), false].map(u64::from));
        if let Step::Forget = step {
            mem::forget::<HeldFrame<'_>>(held);
        } else {
            drop(held);
            plain.give_back();
        }
    }
}
