//! Waiting with a deadline, and being woken: one [`Wait`] for each thing that a socket can be waited for.
//!
//! A call tries first and waits only when the kernel has nothing for it. While it waits it holds a slot with an event
//! of its own, so whoever changes a deadline, closes the socket or learns that the interface is gone wakes every
//! waiting call, each for certain: a shared event would be cleared by the first to wake before the second looks.
//! Tasks of an asynchronous runtime leave their wakers instead ([`tasks`]).

#[cfg(feature = "tokio")]
mod tasks;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::sys::poll::{Edges, Event, PollFd, poll};
#[cfg(feature = "tokio")]
pub(crate) use tasks::WaitingTask;

/// The waits of a socket and what ends all of them.
#[derive(Default)]
pub(crate) struct Waits {
    pub(crate) receive: Wait,
    pub(crate) send: Wait,
    pub(crate) tx_stamp: Wait,
    /// For TX stamps too, by senders that let no more than so many be under way.
    pub(crate) pacing: Wait,
    nonblocking: AtomicBool,
    closed: AtomicBool,
    gone: AtomicBool,
    link_watched: AtomicBool,
    follows_name: bool,
    /// Whether tasks wait here, with descriptors of their own.
    #[cfg(feature = "tokio")]
    serve_tasks: AtomicBool,
    /// How often another socket has taken the place of the one that is waited on.
    replacements: AtomicU64,
}

/// How often a wait looks whether an interface that went down is gone for good. The kernel does not say so: its one
/// report was for going down.
pub(crate) const LINK_WATCH_INTERVAL: Duration = Duration::from_millis(50);

impl Waits {
    /// `follows_name`: whether an interface that is gone is waited for, as one that is down is.
    pub(crate) fn new(follows_name: bool) -> Self {
        Self { follows_name, ..Self::default() }
    }

    pub(crate) const fn follows_name(&self) -> bool {
        self.follows_name
    }

    pub(crate) fn set_nonblocking(&self, nonblocking: bool) {
        self.nonblocking.store(nonblocking, Ordering::SeqCst);
        self.wake_all();
    }

    /// Ends every waiting call, and every later one.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.wake_all();
    }

    /// The interface was removed: nothing can be waited for until it is [back](Self::set_back).
    pub(crate) fn set_gone(&self) {
        self.gone.store(true, Ordering::SeqCst);
        self.wake_all();
    }

    /// The socket is bound to an interface again. Whether that is up, a look will show.
    pub(crate) fn set_back(&self) {
        self.gone.store(false, Ordering::SeqCst);
        self.watch_link(true);
    }

    /// Tasks wait here from now on, or no longer.
    #[cfg(feature = "tokio")]
    pub(crate) fn set_serve_tasks(&self, serve_tasks: bool) {
        self.serve_tasks.store(serve_tasks, Ordering::SeqCst);
    }

    /// Refuses to put another socket in the place of the one that is waited on while tasks hold duplicates of it, which
    /// would never be ready again.
    pub(crate) fn check_replaceable(&self) -> io::Result<()> {
        #[cfg(feature = "tokio")]
        if self.serve_tasks.load(Ordering::SeqCst) {
            let why = "a member of a fanout group needs another socket to be bound anew, and tasks wait on this one: take it \
                       back (into_inner), and rebind it";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        Ok(())
    }

    /// Another socket has taken the place of the one that is waited on, under the same number: whoever waits shall wait on
    /// that.
    pub(crate) fn set_replaced(&self) {
        self.replacements.fetch_add(1, Ordering::SeqCst);
        self.wake_all();
    }

    /// Makes waits end now and then so that the caller can look after the link, or no longer.
    pub(crate) fn watch_link(&self, watched: bool) {
        self.link_watched.store(watched, Ordering::SeqCst);
        if watched {
            self.wake_all();
        }
    }

    pub(crate) fn is_link_watched(&self) -> bool {
        self.link_watched.load(Ordering::SeqCst)
    }

    /// Refuses a call on a closed socket.
    #[inline]
    pub(crate) fn check_open(&self) -> io::Result<()> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(libc::ECONNABORTED));
        }
        Ok(())
    }

    /// The reason why nobody may wait now, if there is one.
    pub(crate) fn check_may_wait(&self) -> io::Result<()> {
        self.check_open()?;
        if self.gone.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        Ok(())
    }

    fn wake_all(&self) {
        for wait in [&self.receive, &self.send, &self.tx_stamp, &self.pacing] {
            wait.wake();
        }
    }
}

/// How long a call waits for what the kernel does not have for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Until the deadline of its kind; not at all where the socket is non-blocking.
    Deadline,
    /// The same, and no longer than this.
    Until(Instant),
    /// Not at all.
    None,
}

/// Calls that wait for one thing: a frame, room to send, a TX stamp.
#[derive(Default)]
pub(crate) struct Wait(Mutex<State>);

#[derive(Default)]
struct State {
    deadline: Option<Instant>,
    /// The interface went down and no call of this kind has said so yet.
    link_down: Option<Owed>,
    waiting: Vec<Arc<Slot>>,
    idle: Vec<Arc<Slot>>,
    #[cfg(feature = "tokio")]
    tasks: tasks::Tasks,
}

/// What one waiting call needs. Kept for the next one: a wait in steady state makes no descriptor and no allocation.
struct Slot {
    event: Event,
    /// Whether the event is set. Changed under the lock of the state only.
    is_set: AtomicBool,
    edges: Option<Edges>,
    /// How many replacements of the socket the edges know of. Used by the one call that has the slot.
    replacements: AtomicU64,
}

impl Slot {
    fn set(&self) {
        if !self.is_set.swap(true, Ordering::Relaxed) {
            self.event.set();
        }
    }

    fn clear(&self) {
        if self.is_set.swap(false, Ordering::Relaxed) {
            self.event.clear();
        }
    }
}

/// Who is still to be told that the interface went down.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owed {
    /// The next call that finds nothing, whenever it comes.
    AnyCall,
    /// A call that waits at this moment, if there is one.
    WaitingCall,
}

impl State {
    fn is_awaited(&self) -> bool {
        #[cfg(feature = "tokio")]
        if self.tasks.are_waiting() {
            return true;
        }
        !self.waiting.is_empty()
    }

    /// Nobody waits any more: what was owed to whoever waited is owed to nobody.
    fn forget_what_is_owed(&mut self) {
        if !self.is_awaited() && self.link_down == Some(Owed::WaitingCall) {
            self.link_down = None;
        }
    }
}

impl Wait {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under this lock leaves the state half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.wake_after(|_| {});
    }

    /// Changes the state and wakes all who wait, so that they look at it.
    fn wake_after(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        for slot in &state.waiting {
            slot.set();
        }
        #[cfg(feature = "tokio")]
        {
            let wakers = state.tasks.take_wakers();
            // A waker may run anything, also what takes this lock.
            drop(state);
            wakers.for_each(std::task::Waker::wake);
        }
    }

    /// Sets when calls give up. One that waits already goes by the new deadline at once.
    pub(crate) fn set_deadline(&self, deadline: Option<Instant>) {
        self.wake_after(|state| state.deadline = deadline);
    }

    /// Another path has consumed the kernel's one report that the interface is down: one call of this kind will say so.
    pub(crate) fn owe_link_down(&self, owed: Owed) {
        self.wake_after(|state| {
            if owed == Owed::AnyCall || state.is_awaited() {
                state.link_down = Some(owed);
            }
        });
    }

    /// Whether a call may wait for so long where nobody can wake it.
    pub(crate) fn may_wait_for(&self, time: Duration, all: &Waits) -> bool {
        if all.check_may_wait().is_err() || all.is_link_watched() || all.nonblocking.load(Ordering::SeqCst) {
            return false;
        }
        let state = self.lock();
        let is_before_deadline = |deadline: Instant| deadline.saturating_duration_since(Instant::now()) > time;
        state.link_down.is_none() && state.deadline.is_none_or(is_before_deadline)
    }

    /// Until when a call may wait from now on; `None` is for ever.
    fn deadline(&self, all: &Waits, patience: Patience) -> io::Result<Option<Instant>> {
        all.check_may_wait()?;
        let mut state = self.lock();
        if state.link_down.take().is_some() {
            return Err(io::Error::from_raw_os_error(libc::ENETDOWN));
        }
        if patience == Patience::None || all.nonblocking.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        Ok(state.deadline)
    }

    /// How long a call may wait from now on; `None` is for ever.
    fn time_left(&self, all: &Waits, patience: Patience) -> io::Result<Option<Duration>> {
        let Some(deadline) = self.deadline(all, patience)? else {
            return Ok(None);
        };
        let left = deadline.checked_duration_since(Instant::now());
        left.map(Some).ok_or_else(|| io::Error::from_raw_os_error(libc::ETIMEDOUT))
    }

    /// Begins a wait. The slot is held until the value is dropped, also between polls, so that no wake is missed.
    ///
    /// # Errors
    ///
    /// Those of [`Waiting::park`] but `ETIMEDOUT`; `EMFILE` if there is no descriptor left for it.
    #[cold]
    pub(crate) fn begin<'a>(
        &'a self,
        all: &'a Waits,
        patience: Patience,
        target: Target<'a>,
    ) -> io::Result<Waiting<'a>> {
        self.deadline(all, patience)?;
        let idle = self.lock().idle.pop();
        let slot = match idle {
            Some(slot) => slot,
            None => Arc::new(Slot {
                event: Event::new()?,
                is_set: AtomicBool::new(false),
                // Read before the socket is looked at.
                replacements: AtomicU64::new(all.replacements.load(Ordering::SeqCst)),
                edges: target.edge_triggered.then(|| Edges::of(target.fd, target.events)).transpose()?,
            }),
        };
        self.lock().waiting.push(Arc::clone(&slot));
        Ok(Waiting { wait: self, all, target, slot })
    }
}

/// What a call waits for.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) fd: BorrowedFd<'a>,
    /// `POLLIN`, `POLLOUT`, or 0 for the error condition alone.
    pub(crate) events: i16,
    /// Whether the error condition may stay set for a reason that this call does not care for.
    pub(crate) edge_triggered: bool,
    /// A second socket whose error condition counts.
    pub(crate) errors_of: Option<BorrowedFd<'a>>,
}

/// A call that waits.
pub(crate) struct Waiting<'a> {
    wait: &'a Wait,
    all: &'a Waits,
    target: Target<'a>,
    slot: Arc<Slot>,
}

impl Waiting<'_> {
    /// Waits until the target may be ready, or patience is at its end. Returns early now and then: the caller tries again.
    ///
    /// # Errors
    ///
    /// `ECONNABORTED` closed, `ENODEV` interface removed, `ENETDOWN` interface went down, `EAGAIN` non-blocking,
    /// `ETIMEDOUT` deadline passed.
    pub(crate) fn park(&self, patience: Patience) -> io::Result<()> {
        let timeout = self.wait.time_left(self.all, patience)?;
        self.follow_replacements()?;
        let look_again = self.all.is_link_watched().then_some(LINK_WATCH_INTERVAL);
        let limit = match patience {
            Patience::Until(limit) => Some(limit.saturating_duration_since(Instant::now())),
            Patience::Deadline | Patience::None => None,
        };
        let timeout = [timeout, look_again, limit].into_iter().flatten().min();
        let Target { fd, events, .. } = self.target;
        let socket = match &self.slot.edges {
            Some(edges) => PollFd::new(edges.as_fd(), libc::POLLIN),
            None => PollFd::new(fd, events),
        };
        let other = self.target.errors_of.map_or(PollFd::none(), |fd| PollFd::new(fd, 0));
        let mut fds = [socket, PollFd::new(self.slot.event.as_fd(), libc::POLLIN), other];
        poll(&mut fds, timeout)?;
        let [socket, event, _] = fds;
        if event.is_ready() {
            let _state = self.wait.lock();
            self.slot.clear();
        }
        match &self.slot.edges {
            Some(edges) if socket.is_ready() => edges.take(),
            _ => Ok(()),
        }
    }

    /// A socket that was closed is no longer watched by what watched its edges; the one in its place has to be.
    fn follow_replacements(&self) -> io::Result<()> {
        let replacements = self.all.replacements.load(Ordering::SeqCst);
        if self.slot.replacements.load(Ordering::Relaxed) != replacements {
            if let Some(edges) = &self.slot.edges {
                edges.watch(self.target.fd, self.target.events)?;
            }
            self.slot.replacements.store(replacements, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.wait.lock();
        if let Some(at) = state.waiting.iter().position(|slot| Arc::ptr_eq(slot, &self.slot)) {
            let slot = state.waiting.swap_remove(at);
            // A wake that came too late for this call must not be taken for one of the next.
            slot.clear();
            state.idle.push(slot);
        }
        state.forget_what_is_owed();
    }
}
