//! The stamps of the last replies, until they have been told.
//!
//! A reply's stamps exist when it has left, and are told in later ones, each [`TELLINGS`] times, so that some of these may be
//! lost. Those that were never told go first: when stamps come in many at once, as at a high rate, each has its turn.

use std::collections::VecDeque;

use crate::two_way::stamps::Stamps;
use crate::wire::stamp::afprobe::{Point, Record, Room};

/// How often a reply's stamps are told.
const TELLINGS: u8 = 3;

/// The last replies of a session.
#[derive(Debug)]
pub(crate) struct History {
    /// With numbers that run on.
    kept: VecDeque<Kept>,
    /// The number of the first one.
    first: u64,
    capacity: usize,
    /// Stamped and not told, in the order in which the stamps came.
    fresh: VecDeque<u64>,
    /// Told, and to be told again.
    again: VecDeque<u64>,
    /// The highest number that is stamped.
    newest: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    request: u32,
    stamps: Option<Stamps>,
    told: u8,
}

impl History {
    pub(crate) const fn new(capacity: usize) -> Self {
        Self { kept: VecDeque::new(), first: 0, capacity, fresh: VecDeque::new(), again: VecDeque::new(), newest: None }
    }

    /// A reply is about to be sent: its number, and that of the request.
    pub(crate) fn push(&mut self, number: u64, request: u32) {
        if self.capacity == 0 {
            return;
        }
        if self.next() != Some(number) {
            // Replies to requests that do not ask were in between.
            *self = Self { first: number, ..Self::new(self.capacity) };
        }
        if self.kept.len() == self.capacity {
            self.kept.pop_front();
            self.first += 1;
        }
        self.kept.push_back(Kept { request, stamps: None, told: 0 });
    }

    /// The stamps of a reply have come. Those that come again, or too late, change nothing.
    pub(crate) fn stamped(&mut self, number: u64, stamps: Stamps) {
        let Some(kept) = self.get(number) else {
            return;
        };
        if kept.stamps.replace(stamps).is_none() {
            push(&mut self.fresh, number, self.capacity);
            self.newest = self.newest.max(Some(number));
        }
    }

    /// The newest reply that is stamped.
    pub(crate) fn newest(&mut self) -> Option<(u64, Stamps)> {
        let number = self.newest?;
        Some((number, self.get(number)?.stamps?))
    }

    /// Tells as much as there is room for. To a mere question also what was told often enough, the newest first.
    pub(crate) fn tell(&mut self, room: &mut Room<'_>, is_question: bool) {
        let before = self.again.len();
        let nothing_due = before == 0 && self.fresh.is_empty();
        while let Some(number) = self.fresh.pop_front() {
            if !self.tell_one(number, room) {
                self.fresh.push_front(number);
                return;
            }
        }
        for _ in 0..before {
            let Some(number) = self.again.pop_front() else {
                break;
            };
            if !self.tell_one(number, room) {
                self.again.push_front(number);
                return;
            }
        }
        if is_question && nothing_due {
            let numbers = self.first..self.next().unwrap_or(self.first);
            for number in numbers.rev() {
                if self.record(number).is_some_and(|record| !room.push(&record)) {
                    return;
                }
            }
        }
    }

    /// `false` if there is no room for it. One that is no longer kept takes none.
    fn tell_one(&mut self, number: u64, room: &mut Room<'_>) -> bool {
        let Some(record) = self.record(number) else {
            return true;
        };
        if !room.push(&record) {
            return false;
        }
        let told = self.get(number).map_or(TELLINGS, |kept| {
            kept.told += 1;
            kept.told
        });
        if told < TELLINGS {
            push(&mut self.again, number, self.capacity);
        }
        true
    }

    fn record(&mut self, number: u64) -> Option<Record> {
        let Kept { request, stamps, .. } = *self.get(number)?;
        Some(Record { point: Point::Departure, reply: on_the_wire(number), request, stamps: stamps? })
    }

    fn get(&mut self, number: u64) -> Option<&mut Kept> {
        let place = number.checked_sub(self.first)?;
        self.kept.get_mut(usize::try_from(place).ok()?)
    }

    fn next(&self) -> Option<u64> {
        self.first.checked_add(u64::try_from(self.kept.len()).ok()?)
    }
}

/// Appends a number to a list of those that are kept, of which there are no more than `capacity`. Where nobody asks for
/// stamps any more, or there is no room for them, the oldest one is no longer kept.
fn push(numbers: &mut VecDeque<u64>, number: u64, capacity: usize) {
    if numbers.len() >= capacity {
        numbers.pop_front();
    }
    numbers.push_back(number);
}

/// The lower half of a number.
pub(crate) const fn on_the_wire(number: u64) -> u32 {
    let [_, _, _, _, a, b, c, d] = number.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::stamp::afprobe::{request, room_for};

    /// However much room there is, for however long.
    #[test]
    fn what_is_kept_is_bounded() {
        for departures in [None, Some(0), Some(1), Some(2), Some(5)] {
            let mut history = History::new(16);
            for number in 0..10_000 {
                history.push(number, 0);
                if let Some(departures) = departures {
                    let mut value = vec![0; room_for(departures, false)];
                    request(&mut value, false);
                    history.tell(&mut Room::new(&mut value, None), number % 5 == 0);
                }
                history.stamped(number, Stamps::NONE);
                let lens = [history.kept.len(), history.fresh.len(), history.again.len()];
                assert!(lens.iter().all(|&len| len <= 16), "{lens:?}");
            }
            assert_eq!(history.newest().map(|(number, _)| number), Some(9_999));
        }
    }
}
