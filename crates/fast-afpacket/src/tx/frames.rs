//! The frames under way: found by key, and told of in order of time.

use std::time::Instant;

use super::index::KeyIndex;
use super::outcome::{MissingReason, TxOutcome, TxResult};
use crate::timestamp::Timestamping;
use crate::tx_report::TxKey;

/// A frame whose outcome was not taken yet.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) outcome: TxOutcome,
    pub(super) sent_at: Instant,
    pub(super) expected: Timestamping,
    /// What of it has not come.
    pub(super) missing: Timestamping,
    /// What an older frame with the same key may still give.
    pub(super) older: Timestamping,
    /// What has come that may be either frame's.
    pub(super) ambiguous: Timestamping,
    /// Another frame was sent with the same key meanwhile.
    pub(super) contested: bool,
    pub(super) is_finished: bool,
    /// The joiner's counts at the time of the send.
    pub(super) overflows: u32,
    pub(super) link_downs: u32,
}

impl Frame {
    /// What the outcome says, from the joiner's counts as they are now. The documentation of the joiner has the table.
    pub(super) fn result(&self, overflows: u32, link_downs: u32) -> TxResult {
        let outcome = &self.outcome;
        if self.missing.is_empty() || matches!(outcome.result, TxResult::Refused { .. }) {
            return outcome.result;
        }
        let reason = if !self.ambiguous.is_empty() {
            MissingReason::Ambiguous
        } else if self.overflows != overflows {
            MissingReason::QueueOverflowed
        } else if self.link_downs != link_downs {
            MissingReason::LinkDown
        } else if self.is_finished {
            MissingReason::Finished
        } else if self.missing == Timestamping::TX_HARDWARE && outcome.software.is_some() {
            return TxResult::HardwareSkipped;
        } else {
            MissingReason::DeadlinePassed
        };
        TxResult::Missing(reason)
    }

    /// Which stamps may be taken of this frame, or of another with its key, when its outcome was given.
    pub(super) fn owed(&self) -> Timestamping {
        let has_left = self.outcome.software.is_some() || self.outcome.hardware.is_some();
        if self.contested {
            Timestamping::TX
        } else if matches!(self.outcome.result, TxResult::Refused { .. }) || self.missing.is_empty() {
            // All that a refused frame can have was stamped during the call: too early for any later frame.
            Timestamping::empty()
        } else if has_left {
            self.missing
        } else {
            // It may be in a queue still. A device below will repeat the scheduler's stamp.
            self.expected
        }
    }
}

/// Not a place.
const NONE: usize = usize::MAX;

struct Slot {
    frame: Option<Frame>,
    is_ready: bool,
    /// The neighbours in the list that the slot is in; `next` alone in that of free slots.
    previous: usize,
    next: usize,
}

struct List {
    first: usize,
    last: usize,
}

impl List {
    const EMPTY: Self = Self { first: NONE, last: NONE };
}

/// A fixed number of places for frames, which are in one of two lists: those that wait, in the order of their sends, and
/// those that are ready, in the order of getting so.
pub(super) struct Frames {
    slots: Box<[Slot]>,
    index: KeyIndex,
    waiting: List,
    ready: List,
    free: usize,
    len: usize,
}

impl Frames {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        const MOST: usize = 1 << 30;
        let capacity = capacity.min(MOST);
        let slot = |at: usize| {
            let next = if at + 1 < capacity { at + 1 } else { NONE };
            Slot { frame: None, is_ready: false, previous: NONE, next }
        };
        Self {
            slots: (0..capacity).map(slot).collect(),
            index: KeyIndex::with_capacity(capacity),
            waiting: List::EMPTY,
            ready: List::EMPTY,
            free: if capacity > 0 { 0 } else { NONE },
            len: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn capacity(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    pub(super) fn find(&self, key: TxKey) -> Option<usize> {
        self.index.get(key)
    }

    pub(super) fn get(&self, at: usize) -> Option<&Frame> {
        self.slots.get(at)?.frame.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Frame> {
        self.slots.get_mut(at)?.frame.as_mut()
    }

    pub(super) fn first_waiting(&self) -> Option<usize> {
        Some(self.waiting.first).filter(|&at| at != NONE)
    }

    pub(super) fn first_ready(&self) -> Option<usize> {
        Some(self.ready.first).filter(|&at| at != NONE)
    }

    /// Puts a frame with a new key behind the others; `false` if there is no room.
    #[must_use]
    pub(super) fn insert(&mut self, frame: Frame, is_ready: bool) -> bool {
        let at = self.free;
        let Some(slot) = self.slots.get_mut(at) else {
            return false;
        };
        self.free = slot.next;
        self.index.insert(frame.outcome.key, at);
        slot.frame = Some(frame);
        self.len += 1;
        self.append(at, is_ready);
        true
    }

    /// Moves a waiting frame to the end of those that are ready.
    #[inline]
    pub(super) fn make_ready(&mut self, at: usize) {
        if self.slots.get(at).is_some_and(|slot| !slot.is_ready) {
            self.unlink(at);
            self.append(at, true);
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, at: usize) -> Option<Frame> {
        let frame = self.slots.get_mut(at)?.frame.take()?;
        self.unlink(at);
        if let Some(slot) = self.slots.get_mut(at) {
            slot.next = self.free;
            self.free = at;
        }
        self.index.remove(frame.outcome.key);
        self.len -= 1;
        Some(frame)
    }

    fn append(&mut self, at: usize, is_ready: bool) {
        let list = if is_ready { &mut self.ready } else { &mut self.waiting };
        let previous = list.last;
        list.last = at;
        match self.slots.get_mut(previous) {
            Some(slot) => slot.next = at,
            None => list.first = at,
        }
        if let Some(slot) = self.slots.get_mut(at) {
            (slot.is_ready, slot.previous, slot.next) = (is_ready, previous, NONE);
        }
    }

    fn unlink(&mut self, at: usize) {
        let Some(&Slot { is_ready, previous, next, .. }) = self.slots.get(at) else {
            return;
        };
        let list = if is_ready { &mut self.ready } else { &mut self.waiting };
        match self.slots.get_mut(previous) {
            Some(slot) => slot.next = next,
            None => list.first = next,
        }
        match self.slots.get_mut(next) {
            Some(slot) => slot.previous = previous,
            None => list.last = previous,
        }
    }
}
