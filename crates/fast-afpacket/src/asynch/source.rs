//! One descriptor that a runtime watches, and the calls that wait for it.

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::runtime::Handle;

use crate::link::Link;
use crate::sys::poll;
use crate::sys::reactor::register;
use crate::wait::{LINK_WATCH_INTERVAL, Wait, WaitingTask};

/// A descriptor whose edges end the waits of one kind.
#[derive(Debug)]
pub(super) struct Source {
    fd: AsyncFd<OwnedFd>,
    interest: Interest,
    runtime: Handle,
}

impl Source {
    pub(super) fn new(runtime: &Handle, fd: OwnedFd, interest: Interest) -> io::Result<Self> {
        Ok(Self { fd: register(runtime, fd, interest)?, interest, runtime: runtime.clone() })
    }

    /// Calls `attempt` whenever it may have become possible, until it says something else than `WouldBlock`.
    ///
    /// Between two calls nothing is under way: what an attempt takes from the kernel is returned by the same poll, so that a
    /// future that is dropped has taken nothing.
    pub(super) async fn until<T>(
        &self,
        link: Link<'_>,
        wait: &Wait,
        mut attempt: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        let mut task = wait.task(link.waits);
        let mut ticks = Ticks(None);
        loop {
            let mut ready = pin!(self.fd.ready(self.interest));
            let edge = poll_fn(|cx| match ready.as_mut().poll(cx) {
                Poll::Ready(edge) => Poll::Ready(edge.map(Some)),
                Poll::Pending => self.poll_others(link, &mut task, &mut ticks, cx),
            })
            .await?;
            match (attempt(), edge) {
                (Err(error), edge) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Not if there was a later one since: then the next round tries again.
                    edge.into_iter().for_each(|mut edge| edge.clear_ready());
                }
                (result, _) => return result,
            }
        }
    }

    /// What else ends a wait: word from other calls of the same socket.
    fn poll_others<'s>(
        &'s self,
        link: Link<'_>,
        task: &mut WaitingTask<'_>,
        ticks: &mut Ticks,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<AsyncFdReadyGuard<'s, OwnedFd>>>> {
        if task.poll_word(cx).is_ready() {
            return Poll::Ready(Ok(None));
        }
        // Asked after the waker was left: if it begins to be watched from now on, that wakes.
        if !link.waits.is_link_watched() {
            ticks.0 = None;
            return Poll::Pending;
        }
        // If the interface turns out to be gone, this wakes all who wait, and this task with them.
        if let Err(error) = link.look_after() {
            return Poll::Ready(Err(error));
        }
        match ticks.poll_none(&self.runtime, cx) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

/// What makes a task look after a link that is down: the kernel does not say when its interface is gone for good. A
/// descriptor, and not a timer of the runtime, which need not have any.
struct Ticks(Option<AsyncFd<OwnedFd>>);

impl Ticks {
    /// Takes the tick that woke the task, if it was one, and asks for the next.
    #[cold]
    fn poll_none(&mut self, runtime: &Handle, cx: &mut Context<'_>) -> io::Result<()> {
        let timer = match &mut self.0 {
            Some(timer) => timer,
            none => none.insert(register(runtime, poll::ticking(LINK_WATCH_INTERVAL)?, Interest::READABLE)?),
        };
        while let Poll::Ready(tick) = timer.poll_read_ready(cx) {
            let mut tick = tick?;
            poll::take_count(timer.get_ref().as_fd());
            tick.clear_ready();
        }
        Ok(())
    }
}

/// A source that is made when somebody waits for the first time: until then its edges would wake the runtime for nobody.
#[derive(Debug, Default)]
pub(super) struct LazySource(OnceLock<Source>);

impl LazySource {
    #[inline]
    pub(super) fn get(&self, make: impl FnOnce() -> io::Result<Source>) -> io::Result<&Source> {
        match self.0.get() {
            Some(source) => Ok(source),
            None => self.make(make),
        }
    }

    #[cold]
    fn make(&self, make: impl FnOnce() -> io::Result<Source>) -> io::Result<&Source> {
        // Another task may do the same: one of the two is kept.
        let source = make()?;
        Ok(self.0.get_or_init(|| source))
    }
}
