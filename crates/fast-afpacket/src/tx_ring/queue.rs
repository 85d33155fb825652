//! The frames that are committed and not handed over yet, and which slots they are in. No system calls here.
//!
//! The kernel looks at one slot, the head, sends what is in it if that was asked for, and goes on to the next. So the
//! frames have to stand in a row from the head on. They do, until one of them is refused and taken out: then those
//! behind it are moved up, each when its turn comes, and never further than the kernel looks at in one call.
//!
//! Between two calls no slot is marked to be sent: only those are that the next call shall hand over, with the stamps
//! that they ask for, and what it leaves is unmarked again.

use std::collections::VecDeque;

use crate::sys::tx_slots::{Slot, SlotState, TxSlots};
use crate::timestamp::Timestamping;
use crate::tx_report::TxKey;

pub(super) struct Queue {
    /// The slot that the kernel looks at next.
    head: Slot,
    /// In order: each in a slot behind that of the one before, the first at the head or behind it.
    committed: VecDeque<Committed>,
}

/// A frame that is ready to be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Committed {
    slot: Slot,
    pub(super) len: usize,
    pub(super) stamped: Option<(TxKey, Timestamping)>,
}

/// Where the next frame can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vacancy {
    Slot(Slot),
    /// The kernel is not done with the next slot.
    Kernels,
    /// All slots hold committed frames.
    Full,
}

/// What became of a frame that was marked to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Taken,
    /// It was refused for what it is, and taken out of the queue.
    Refused,
    /// It stays in the queue.
    Left,
}

impl Queue {
    pub(super) fn new(slots: &TxSlots) -> Self {
        Self { head: slots.first(), committed: VecDeque::with_capacity(slots.count()) }
    }

    pub(super) fn len(&self) -> usize {
        self.committed.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.committed.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.committed.clear();
    }

    /// Where the next frame goes.
    #[inline]
    pub(super) fn vacancy(&self, slots: &TxSlots) -> Vacancy {
        let next = self.committed.back().map_or(self.head, |last| slots.after(last.slot));
        if next == self.head && !self.committed.is_empty() {
            return Vacancy::Full;
        }
        match slots.state(next) {
            SlotState::Free => Vacancy::Slot(next),
            _ => Vacancy::Kernels,
        }
    }

    /// Commits the frame in the slot that [`vacancy`](Self::vacancy) gave.
    #[inline]
    pub(super) fn push(&mut self, slot: Slot, len: usize, stamped: Option<(TxKey, Timestamping)>) {
        self.committed.push_back(Committed { slot, len, stamped });
    }

    /// The key of the first frame and the stamps that it asks for, if it does.
    pub(super) fn stamped(&self) -> Option<(TxKey, Timestamping)> {
        self.committed.front()?.stamped
    }

    /// Marks the first frames to be sent, `most` at most, as far as all ask for the same stamps. Gives how many.
    pub(super) fn mark(&mut self, slots: &mut TxSlots, most: usize) -> usize {
        let (mut to, mut marked) = (self.head, 0);
        let stamps = self.committed.front().and_then(Committed::stamps);
        for frame in self.committed.iter_mut().take(most) {
            if frame.stamps() != stamps || !frame.move_to(to, slots) || !slots.request(to, frame.len) {
                break;
            }
            marked += 1;
            to = slots.after(to);
        }
        marked
    }

    /// Finds out what became of the first frames, which were marked. Tells the fate of each up to the first that was not
    /// taken; gives how many were taken, and that one.
    ///
    /// The kernel goes from the head on, and stops at the first frame that it cannot take.
    pub(super) fn settle(
        &mut self,
        slots: &mut TxSlots,
        marked: usize,
        mut fate: impl FnMut(&Committed, Fate),
    ) -> (usize, Option<(Committed, Fate)>) {
        let fate_of = |frame: &Committed| match slots.state(frame.slot) {
            SlotState::Requested => Fate::Left,
            SlotState::Refused => Fate::Refused,
            SlotState::Free | SlotState::Taken => Fate::Taken,
        };
        let mut taken = 0;
        let mut stopped = None;
        for frame in self.committed.iter().take(marked) {
            let found = fate_of(frame);
            fate(frame, found);
            if found != Fate::Taken {
                stopped = Some((*frame, found));
                break;
            }
            taken += 1;
            self.head = slots.after(self.head);
        }
        if stopped.is_some() {
            for frame in self.committed.iter().take(marked).skip(taken) {
                slots.withdraw(frame.slot);
            }
        }
        let refused = matches!(stopped, Some((_, Fate::Refused)));
        self.committed.drain(..taken + usize::from(refused));
        (taken, stopped)
    }
}

impl Committed {
    fn stamps(&self) -> Option<Timestamping> {
        self.stamped.map(|(_, stamps)| stamps)
    }

    /// `false` if one of the slots is not ours, which is no kernel's doing.
    #[inline]
    fn move_to(&mut self, slot: Slot, slots: &mut TxSlots) -> bool {
        if self.slot != slot {
            if !slots.copy(self.slot, slot, self.len) {
                return false;
            }
            self.slot = slot;
        }
        true
    }
}
