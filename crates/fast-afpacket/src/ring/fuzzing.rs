//! Rings for fuzzers: pure walks over bytes, and a whole ring whose memory somebody else writes than a kernel.

use std::sync::Arc;

use super::block::Block;
use super::frame::{Frame, Placed};
use super::lifecycle::Remake;
use super::shape::{RingShape, Way};
use super::slot::HeldFrame;
use super::walk::{Frames, Header, Tally};
use super::{RxRing, Shared};
use crate::bound::{Belongings, Bound};
use crate::granted::Granted;
use crate::interface::Interface;
use crate::nic::NicGrant;
use crate::options::Options;
use crate::stats::Counters;
use crate::sys;
use crate::sys::mmap::{self, Layout, SharedRing};
use crate::timestamp::Timestamping;
use crate::wait::Waits;

/// What was counted in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// How many frames its header says there are.
    pub claimed: u32,
    /// Frames that the block cut.
    pub truncated: u32,
    /// Frames without a stamp.
    pub unstamped: u32,
    /// Frames that could not be found.
    pub malformed: u32,
}

/// Walks any memory as the block of a version 3 ring, and gives `each` frame.
///
/// It is walked twice, the first time for nothing: the second walk must find the same, and add nothing to the counts.
pub fn walk_block(block: &[u8], each: impl FnMut(Frame<'_>)) -> Counted {
    let header = Header::parse(block).unwrap_or_default();
    let tally = Tally::new(block, Timestamping::RX);
    Frames::new(block, &header, &tally).for_each(drop);
    Frames::new(block, &header, &tally).for_each(each);
    let [truncated, unstamped, malformed] = tally.counts();
    Counted { claimed: header.frames, truncated, unstamped, malformed }
}

/// The frame in any memory as the slot of a version 2 ring.
pub fn frame_in_slot(slot: &[u8]) -> Option<Frame<'_>> {
    Placed::in_slot(slot).map(|placed| placed.frame)
}

/// A block as the kernel wrote it.
pub fn block_memory<'b>(block: &'b Block<'_>) -> &'b [u8] {
    block.memory()
}

/// A slot as the kernel wrote it.
pub fn slot_memory<'b>(held: &'b HeldFrame<'_>) -> &'b [u8] {
    held.memory()
}

/// A ring over memory of this process. Its socket is none: nothing arrives but what is [handed over](Self::hand_over).
#[derive(Debug)]
pub struct PlayedRing<K> {
    ring: RxRing<K>,
    layout: Layout,
}

impl<K> PlayedRing<K> {
    /// The ring that a kernel would have made, with a reader that does not wait; `None` for a shape that is refused.
    pub fn new(shape: RingShape<K>) -> Option<Self> {
        let (request, layout) = shape.check(mmap::page_size(), Way::Receive).ok()?;
        let granted = Granted {
            timestamping: Timestamping::RX,
            nic: NicGrant::NotAsked,
            phc: None,
            own_keys: false,
            receive_buffer: 0,
            send_buffer: 0,
            ring: None,
        };
        let belongings = Belongings { options: Options::default(), granted, fanout: None, nic_loan: None };
        let shared = Shared {
            socket: sys::ioctl_socket().ok()?,
            stamps: granted.timestamping,
            waits: Waits::default(),
            counters: Counters::default(),
            is_member: false,
            remake: Remake::new(request, layout),
            bound: Bound::new(Interface::nowhere(), belongings),
        };
        shared.waits.set_nonblocking(true);
        let ring = SharedRing::anonymous(layout).ok()?;
        Some(Self { ring: RxRing::new(ring, Arc::new(shared)), layout })
    }

    /// Writes into the unit at this offset, as the kernel does: bytes first, its status last.
    pub fn hand_over(&mut self, at: usize, bytes: &[u8], status: u32) {
        self.ring.ring.hand_over(at, bytes, status);
    }

    /// The reader.
    pub const fn reader(&mut self) -> &mut RxRing<K> {
        &mut self.ring
    }

    /// Bytes of a block, bytes of a unit, where in a unit the status is.
    pub const fn layout(&self) -> (usize, usize, usize) {
        (self.layout.block_size, self.layout.unit_size, self.layout.status_at)
    }

    /// The first byte of the memory.
    pub fn base(&self) -> *const u8 {
        self.ring.ring.base()
    }

    /// Truncated, unstamped and malformed frames so far.
    pub fn counts(&self) -> [u64; 3] {
        self.ring.shared.counters.found()
    }
}
