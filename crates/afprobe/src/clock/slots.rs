//! The sharpest limits of the offset in each part of a window of time. Memory is constant.

use super::exchange::{Limit, Limits};
use super::rate;

/// Of so many parts of the window the sharpest limits are kept.
const SLOTS: usize = 32;
/// How long a slot is at first, and at last, in nanoseconds: two become one when there are too many of them. So the
/// window grows from a quarter of a second to 65 s.
const FIRST_LEN: i64 = 8_000_000;
const LAST_LEN: i64 = FIRST_LEN << 8;

/// How long the window is at most, in nanoseconds.
pub(super) const WINDOW: i64 = LAST_LEN * 32;

/// A part of the window.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    upper: Option<Limit>,
    lower: Option<Limit>,
}

#[derive(Clone, Debug)]
pub(super) struct Slots {
    slots: [Slot; SLOTS],
    /// When the first one begins, on the sender's clock.
    begin: i64,
    len: i64,
}

impl Slots {
    /// None yet, from this time on.
    pub(super) fn new(begin: i64) -> Self {
        Self { slots: [Slot::default(); SLOTS], begin, len: FIRST_LEN }
    }

    pub(super) const fn slot_len(&self) -> i64 {
        self.len
    }

    /// Keeps what is sharper than what its slot has. `slope` is about the rate of the offset: a limit is not sharper for
    /// being older.
    pub(super) fn keep(&mut self, limits: Limits, slope: i128) {
        for at in [limits.upper.at, limits.lower.at] {
            self.make_room(at, slope);
        }
        if let Some(slot) = self.slot_of(limits.upper.at) {
            slot.take(Slot { upper: Some(limits.upper), lower: None }, slope);
        }
        if let Some(slot) = self.slot_of(limits.lower.at) {
            slot.take(Slot { upper: None, lower: Some(limits.lower) }, slope);
        }
    }

    pub(super) fn uppers(&self) -> impl Iterator<Item = Limit> {
        self.slots.iter().filter_map(|slot| slot.upper)
    }

    pub(super) fn lowers(&self) -> impl Iterator<Item = Limit> {
        self.slots.iter().filter_map(|slot| slot.lower)
    }

    /// The time of the first limit.
    pub(super) fn since(&self) -> Option<i64> {
        self.uppers().chain(self.lowers()).map(|limit| limit.at).min()
    }

    /// The number of the slot of this time, if it is not before the first.
    fn number_of(&self, at: i64) -> Option<usize> {
        usize::try_from((i128::from(at) - i128::from(self.begin)).div_euclid(self.len.into())).ok()
    }

    fn slot_of(&mut self, at: i64) -> Option<&mut Slot> {
        let number = self.number_of(at)?;
        self.slots.get_mut(number)
    }

    /// Makes the window long enough for this time, or moves it on.
    fn make_room(&mut self, at: i64, slope: i128) {
        while let Some(number) = self.number_of(at).filter(|number| *number >= SLOTS) {
            if self.len < LAST_LEN {
                self.halve(slope);
                self.len *= 2;
            } else {
                let by = number - (SLOTS - 1);
                self.slots.rotate_left(by.min(SLOTS));
                let kept = SLOTS.saturating_sub(by);
                self.slots.iter_mut().skip(kept).for_each(|slot| *slot = Slot::default());
                self.begin = self.begin.saturating_add(self.len.saturating_mul(i64::try_from(by).unwrap_or(i64::MAX)));
            }
        }
    }

    /// Makes one slot of two each.
    fn halve(&mut self, slope: i128) {
        let old = std::mem::replace(&mut self.slots, [Slot::default(); SLOTS]);
        for (new, pair) in self.slots.iter_mut().zip(old.chunks(2)) {
            pair.iter().for_each(|slot| new.take(*slot, slope));
        }
    }
}

impl Slot {
    fn take(&mut self, new: Self, slope: i128) {
        // How much further a limit is than another, at the other's time.
        let beyond = |new: Limit, old: Limit| {
            new.offset - old.offset - rate::down(slope, i128::from(new.at) - i128::from(old.at))
        };
        if let Some(new) = new.upper
            && self.upper.is_none_or(|old| beyond(new, old) < 0)
        {
            self.upper = Some(new);
        }
        if let Some(new) = new.lower
            && self.lower.is_none_or(|old| beyond(new, old) > 0)
        {
            self.lower = Some(new);
        }
    }
}
