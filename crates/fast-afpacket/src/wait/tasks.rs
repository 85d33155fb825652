//! Tasks that wait for the same things as threads do, and are woken by the same events.
//!
//! What the kernel has for them, their runtime tells them. Here they are told the rest: that the socket was closed, that
//! its interface is gone, or that a call of another kind has read the kernel's one report that the link went down.

use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use super::{Wait, Waits};

/// The tasks that wait for one thing.
#[derive(Default)]
pub(super) struct Tasks {
    /// How many wait, whether or not they have left a waker since they were last woken.
    waiting: usize,
    wakers: Vec<(Ticket, Waker)>,
    next: Ticket,
}

type Ticket = u64;

impl Tasks {
    pub(super) const fn are_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// All wakers, to be woken once the lock is released.
    pub(super) fn take_wakers(&mut self) -> impl Iterator<Item = Waker> + use<> {
        std::mem::take(&mut self.wakers).into_iter().map(|(_, waker)| waker)
    }

    fn enter(&mut self) -> Ticket {
        self.waiting += 1;
        self.next += 1;
        self.next
    }

    /// Keeps this waker under a ticket and gives back the one that it replaces. A waker must not be dropped under the lock:
    /// a task may end with it, and that of another wait within that task.
    fn leave_waker(&mut self, ticket: Ticket, waker: Waker) -> Option<Waker> {
        match self.wakers.iter_mut().find(|(holder, _)| *holder == ticket) {
            Some((_, kept)) => Some(std::mem::replace(kept, waker)),
            None => {
                self.wakers.push((ticket, waker));
                None
            }
        }
    }

    fn exit(&mut self, ticket: Ticket) -> Option<Waker> {
        self.waiting -= 1;
        let at = self.wakers.iter().position(|(holder, _)| *holder == ticket)?;
        Some(self.wakers.swap_remove(at).1)
    }
}

impl Wait {
    /// A call that may come to wait for this.
    pub(crate) const fn task<'a>(&'a self, all: &'a Waits) -> WaitingTask<'a> {
        WaitingTask { wait: self, all, ticket: None }
    }
}

/// A call of a task. It waits from the first time that it is polled until it is dropped.
pub(crate) struct WaitingTask<'a> {
    wait: &'a Wait,
    all: &'a Waits,
    ticket: Option<Ticket>,
}

impl WaitingTask<'_> {
    /// Ready when there is something to be said to calls of this kind: the caller tries again and is told.
    pub(crate) fn poll_word(&mut self, cx: &Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut state = self.wait.lock();
        let is_over = self.all.closed.load(Ordering::SeqCst) || self.all.gone.load(Ordering::SeqCst);
        if is_over || state.link_down.is_some() {
            return Poll::Ready(());
        }
        let ticket = *self.ticket.get_or_insert_with(|| state.tasks.enter());
        let replaced = state.tasks.leave_waker(ticket, waker);
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for WaitingTask<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut state = self.wait.lock();
        let left = state.tasks.exit(ticket);
        state.forget_what_is_owed();
        drop(state);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::{Arc, LazyLock, Mutex};
    use std::task::Wake;

    use super::super::Owed;
    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A waker, and how often it was woken.
    fn counting() -> (Waker, Arc<Count>) {
        let count = Arc::new(Count::default());
        (Waker::from(Arc::clone(&count)), count)
    }

    #[test]
    fn every_word_wakes_every_task_once() {
        let words: [fn(&Waits); 3] =
            [Waits::close, Waits::set_gone, |waits| waits.receive.owe_link_down(Owed::WaitingCall)];
        for word in words {
            let waits = Waits::default();
            let (waker, count) = counting();
            let mut tasks: Vec<_> = (0..3).map(|_| waits.receive.task(&waits)).collect();
            for task in &mut tasks {
                // Twice: the later waker replaces the first.
                assert!(task.poll_word(&Context::from_waker(&waker)).is_pending());
                assert!(task.poll_word(&Context::from_waker(&waker)).is_pending());
            }
            word(&waits);
            assert_eq!(count.0.load(Ordering::SeqCst), 3);
            assert!(tasks.iter_mut().all(|task| task.poll_word(&Context::from_waker(&waker)).is_ready()));
        }
    }

    #[test]
    fn what_is_owed_to_a_task_that_waits_is_forgotten_with_the_last_one() {
        let waits = Waits::default();
        let (waker, _) = counting();
        waits.tx_stamp.owe_link_down(Owed::WaitingCall);
        let mut first = waits.tx_stamp.task(&waits);
        assert!(first.poll_word(&Context::from_waker(&waker)).is_pending(), "nobody waited, so nobody is told");
        let mut second = waits.tx_stamp.task(&waits);
        assert!(second.poll_word(&Context::from_waker(&waker)).is_pending());
        waits.tx_stamp.owe_link_down(Owed::WaitingCall);
        drop(first);
        assert!(second.poll_word(&Context::from_waker(&waker)).is_ready());
        drop(second);
        let mut third = waits.tx_stamp.task(&waits);
        assert!(third.poll_word(&Context::from_waker(&waker)).is_pending());
    }

    #[test]
    fn a_task_that_has_gone_leaves_nothing_behind() {
        let waits = Waits::default();
        let (waker, count) = counting();
        for _ in 0..10 {
            let mut task = waits.send.task(&waits);
            assert!(task.poll_word(&Context::from_waker(&waker)).is_pending());
        }
        drop(waker);
        waits.close();
        assert_eq!((count.0.load(Ordering::SeqCst), Arc::strong_count(&count)), (0, 1));
    }

    /// The future of a task may be dropped with its last waker, and wait for the same thing.
    #[test]
    fn a_waker_may_take_a_wait_with_it() {
        struct Owner {
            _task: Mutex<WaitingTask<'static>>,
        }
        impl Wake for Owner {
            fn wake(self: Arc<Self>) {}
        }
        static WAITS: LazyLock<Waits> = LazyLock::new(Waits::default);
        let waits: &'static Waits = &WAITS;
        let (idle, _) = counting();
        let mut inner = waits.receive.task(waits);
        assert!(inner.poll_word(&Context::from_waker(&idle)).is_pending());
        let owner = Waker::from(Arc::new(Owner { _task: Mutex::new(inner) }));
        let mut outer = waits.receive.task(waits);
        assert!(outer.poll_word(&Context::from_waker(&owner)).is_pending());
        drop(owner);
        drop(outer);
        assert!(!waits.receive.lock().tasks.are_waiting());
    }
}
