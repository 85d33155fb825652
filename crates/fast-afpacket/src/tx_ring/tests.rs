//! The queue against a kernel that is played, over memory of this process.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::queue::{Fate, Queue, Vacancy};
use crate::sys::mmap::Layout;
use crate::sys::tx_slots::{Slot, SlotState, TxSlots};
use crate::timestamp::Timestamping;
use crate::tx_report::TxKey;

const SOFTWARE: Timestamping = Timestamping::TX_SOFTWARE;

/// What the kernel makes of a frame that it is asked to send.
#[derive(Clone, Copy, Debug)]
enum Verdict {
    /// Sent, and done with at once.
    Sent,
    /// Under way until it is done with.
    Queued,
    WrongFormat,
    NoRoom,
}

/// A ring, the kernel that sends from it, and what came of all frames, by their numbers.
struct World {
    slots: TxSlots,
    queue: Queue,
    /// Where the kernel looks next.
    head: Slot,
    under_way: Vec<Slot>,
    sent: Vec<u32>,
    committed: VecDeque<u32>,
    next: u32,
}

impl World {
    /// Slots two to a block, with slack.
    fn new(blocks: usize) -> Self {
        let layout = Layout { block_size: 256, blocks, unit_size: 112, status_at: 0 };
        let slots = TxSlots::anonymous(layout).unwrap();
        let (queue, head) = (Queue::new(&slots), slots.first());
        let (under_way, sent, committed) = (Vec::new(), Vec::new(), VecDeque::new());
        Self { slots, queue, head, under_way, sent, committed, next: 0 }
    }

    /// Commits the next frame, if there is room.
    fn commit(&mut self, len: usize, stamped: bool) -> Vacancy {
        let vacancy = self.queue.vacancy(&self.slots);
        match vacancy {
            Vacancy::Slot(slot) => {
                let bytes = self.slots.bytes_mut(slot).expect("ours");
                bytes.fill(0xee);
                bytes[..4].copy_from_slice(&self.next.to_ne_bytes());
                self.queue.push(slot, len, stamped.then_some((TxKey::new(self.next), SOFTWARE)));
                self.committed.push_back(self.next);
                self.next += 1;
            }
            Vacancy::Kernels => assert!(!self.under_way.is_empty(), "nothing to wait for"),
            Vacancy::Full => assert!(!self.committed.is_empty()),
        }
        vacancy
    }

    /// What the kernel does in one call: it looks at its head until there is nothing to send or it cannot.
    fn kick(&mut self, verdicts: &mut impl Iterator<Item = Verdict>) {
        while self.slots.state(self.head) == SlotState::Requested {
            let frame = self.slots.sent_from(self.head);
            match verdicts.next().unwrap_or(Verdict::Sent) {
                Verdict::NoRoom => break,
                Verdict::WrongFormat => {
                    self.slots.set_status(self.head, libc::TP_STATUS_WRONG_FORMAT);
                    break;
                }
                verdict => {
                    self.sent.push(u32::from_ne_bytes(frame[..4].try_into().unwrap()));
                    let under_way = matches!(verdict, Verdict::Queued);
                    let status = if under_way { libc::TP_STATUS_SENDING } else { libc::TP_STATUS_AVAILABLE };
                    self.slots.set_status(self.head, status);
                    if under_way {
                        self.under_way.push(self.head);
                    }
                    self.head = self.slots.after(self.head);
                }
            }
        }
    }

    /// Hands over up to `most` frames, and holds what the queue says of them against what the kernel did.
    fn hand_over(&mut self, most: usize, mut verdicts: impl Iterator<Item = Verdict>) -> Option<Fate> {
        let before = self.sent.len();
        let marked = self.queue.mark(&mut self.slots, most);
        assert_eq!(marked > 0, !self.committed.is_empty() && most > 0);
        self.kick(&mut verdicts);
        let mut told = 0;
        let (taken, stopped) = self.queue.settle(&mut self.slots, marked, |frame, _| {
            told += 1;
            if let Some((key, _)) = frame.stamped {
                assert_eq!(key.value(), self.committed[told - 1]);
            }
        });
        assert_eq!(told, taken + usize::from(stopped.is_some()));
        assert_eq!(taken < marked, stopped.is_some());
        let expected: Vec<_> = self.committed.drain(..taken).collect();
        assert_eq!(self.sent[before..], expected, "these were taken, in order");
        if let Some((_, Fate::Refused)) = stopped {
            self.committed.pop_front().unwrap();
        }
        assert_eq!(self.queue.len(), self.committed.len());
        for slot in self.slots.all() {
            let expected = if self.under_way.contains(&slot) { SlotState::Taken } else { SlotState::Free };
            assert_eq!(self.slots.state(slot), expected, "{slot:?}: nothing stays marked");
        }
        stopped.map(|(_, fate)| fate)
    }

    fn done_with(&mut self, which: usize) {
        if !self.under_way.is_empty() {
            let slot = self.under_way.swap_remove(which % self.under_way.len());
            self.slots.set_status(slot, libc::TP_STATUS_AVAILABLE);
        }
    }
}

#[test]
fn a_refused_frame_is_taken_out_and_the_rest_moves_up() {
    let mut world = World::new(4);
    for _ in 0..8 {
        assert!(matches!(world.commit(60, false), Vacancy::Slot(_)));
    }
    assert_eq!(world.commit(60, false), Vacancy::Full);
    let verdicts = [Verdict::Sent, Verdict::Sent, Verdict::WrongFormat];
    assert_eq!(world.hand_over(usize::MAX, verdicts.into_iter()), Some(Fate::Refused));
    // Two in a row, then one at a time.
    assert_eq!(world.hand_over(usize::MAX, [Verdict::WrongFormat].into_iter()), Some(Fate::Refused));
    assert_eq!(world.hand_over(1, [Verdict::WrongFormat].into_iter()), Some(Fate::Refused));
    assert_eq!(world.hand_over(1, [].into_iter()), None);
    assert_eq!(world.hand_over(usize::MAX, [Verdict::NoRoom].into_iter()), Some(Fate::Left));
    assert_eq!(world.hand_over(usize::MAX, [].into_iter()), None);
    assert_eq!(world.sent, [0, 1, 5, 6, 7]);
    assert!(world.queue.is_empty());
    assert_eq!(world.queue.vacancy(&world.slots), Vacancy::Slot(world.slots.all()[5]), "behind the last that was sent");
}

#[test]
fn what_the_kernel_holds_is_waited_for_in_order() {
    let mut world = World::new(1);
    for _ in 0..2 {
        world.commit(60, false);
    }
    world.hand_over(usize::MAX, [Verdict::Queued, Verdict::Queued].into_iter());
    assert_eq!(world.commit(60, false), Vacancy::Kernels);
    world.done_with(1);
    assert_eq!(world.commit(60, false), Vacancy::Kernels, "the second is free, the first is not");
    world.done_with(0);
    assert_eq!(world.commit(60, false), Vacancy::Slot(world.slots.first()));
}

#[test]
fn frames_with_other_stamps_go_in_another_call() {
    let mut world = World::new(4);
    for stamped in [false, false, true, true, true, false] {
        world.commit(60, stamped);
    }
    for (stamps, sent) in [(None, 2), (Some(SOFTWARE), 5), (None, 6)] {
        assert_eq!(world.queue.stamped().map(|(_, stamps)| stamps), stamps);
        assert_eq!(world.hand_over(usize::MAX, [].into_iter()), None);
        assert_eq!(world.sent.len(), sent);
    }
}

#[test]
fn a_slot_that_is_not_ours_stops_the_queue() {
    let mut world = World::new(2);
    for _ in 0..3 {
        world.commit(60, false);
    }
    // As if somebody else had made the kernel send from the ring.
    world.slots.set_status(world.slots.all()[1], libc::TP_STATUS_SENDING);
    assert_eq!(world.queue.mark(&mut world.slots, usize::MAX), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Commit(usize, bool),
    HandOver(usize, Vec<Verdict>),
    Done(usize),
    Discard,
}

fn step() -> impl Strategy<Value = Step> {
    let verdict = prop_oneof![
        6 => Just(Verdict::Sent),
        4 => Just(Verdict::Queued),
        2 => Just(Verdict::WrongFormat),
        1 => Just(Verdict::NoRoom),
    ];
    prop_oneof![
        12 => (4_usize..=80, any::<bool>()).prop_map(|(len, stamped)| Step::Commit(len, stamped)),
        4 => (1_usize..9, proptest::collection::vec(verdict, 0..9)).prop_map(|(most, verdicts)| Step::HandOver(most, verdicts)),
        8 => any::<usize>().prop_map(Step::Done),
        1 => Just(Step::Discard),
    ]
}

proptest! {
    /// Whatever is committed, refused, left and done with, in whatever order: each frame is sent once and in order, or
    /// refused, or still there.
    #[test]
    fn no_frame_is_lost_or_sent_twice(blocks in 1_usize..5, steps in proptest::collection::vec(step(), 0..200)) {
        let mut world = World::new(blocks);
        let mut gone = 0;
        for step in steps {
            match step {
                Step::Commit(len, stamped) => drop(world.commit(len, stamped)),
                Step::HandOver(most, verdicts) => {
                    gone += usize::from(world.hand_over(most, verdicts.into_iter()) == Some(Fate::Refused));
                }
                Step::Done(which) => world.done_with(which),
                Step::Discard => {
                    gone += world.committed.len();
                    world.queue.clear();
                    world.committed.clear();
                }
            }
            prop_assert_eq!(world.sent.len() + world.committed.len() + gone, world.next as usize);
        }
        prop_assert!(world.sent.is_sorted_by(|a, b| a < b));
    }
}
