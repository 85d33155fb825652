//! A session as the reflector sees it: its numbers, its counts, and the stamps that are to be told.

use std::time::Instant;

use super::flow::Flow;
use super::history::History;
use super::window::{Sight, Window};
use crate::two_way::stamps::Stamps;
use crate::wire::stamp::afprobe::Counts;

/// 16,384 numbers: a second and a half at 10,000 probes a second.
const WINDOW_WORDS: usize = 256;

/// What tells sessions apart: RFC 8972, section 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionKey {
    pub(crate) flow: Flow,
    pub(crate) ssid: u16,
}

/// One reply of one session, for the stamps that come when it has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ReplyId {
    pub(super) session: SessionKey,
    /// Not two sessions, one after the other, with the same key.
    pub(super) generation: u64,
    pub(super) number: u64,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) generation: u64,
    last_request: Instant,
    probes: Window,
    /// Questions have numbers of their own.
    questions: Window,
    pub(super) counts: Counts,
    /// Of the next reply.
    next: u64,
    pub(super) history: History,
}

impl Session {
    pub(super) fn new(generation: u64, replies_kept: usize, now: Instant) -> Self {
        Self {
            generation,
            last_request: now,
            probes: Window::new(WINDOW_WORDS),
            questions: Window::new(1),
            counts: Counts::default(),
            next: 0,
            history: History::new(replies_kept),
        }
    }

    /// Whether a packet with this number can only be one that was there before.
    pub(super) fn is_replay(&self, sequence: u32, is_question: bool) -> bool {
        let window = if is_question { &self.questions } else { &self.probes };
        matches!(window.look_at(sequence), Sight::Duplicate | Sight::TooOld)
    }

    pub(super) fn last_request(&self) -> Instant {
        self.last_request
    }

    /// Counts a probe that is not answered, because it was there before.
    pub(super) fn replayed(&mut self, sequence: u32, is_question: bool) {
        if !is_question {
            self.count(sequence);
        }
    }

    /// Counts a question, which is all that becomes of it.
    pub(super) fn ask(&mut self, sequence: u32, now: Instant) {
        self.last_request = now;
        self.questions.note(sequence);
    }

    /// Counts a probe and its reply, and gives the reply's number.
    pub(super) fn probe(&mut self, sequence: u32, now: Instant) -> u64 {
        self.last_request = now;
        self.count(sequence);
        self.counts.sent += 1;
        let number = self.next;
        self.next += 1;
        number
    }

    fn count(&mut self, sequence: u32) {
        self.counts.received += 1;
        match self.probes.note(sequence) {
            Sight::Next => self.counts.unique += 1,
            Sight::Reordered => {
                self.counts.unique += 1;
                self.counts.reordered += 1;
            }
            Sight::Duplicate | Sight::TooOld => self.counts.duplicates += 1,
        }
    }

    /// A reply was not sent after all.
    pub(super) fn not_sent(&mut self) {
        self.counts.sent = self.counts.sent.saturating_sub(1);
    }

    pub(super) fn stamped(&mut self, number: u64, stamps: Stamps) {
        self.history.stamped(number, stamps);
    }
}
