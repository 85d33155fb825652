//! The threads of a job, which tell one listener what happens, and an orderly end.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Scope, ScopedJoinHandle};

use anyhow::{Context, Result, anyhow};
use fast_afpacket::PacketSocket;

/// Events that may wait for the listener. When they are that many, those who tell wait for it.
const BACKLOG: usize = 4096;

/// Whether the job is to end: by a signal, or because a thread cannot go on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// One that Ctrl-C and SIGTERM set. A process can have one only.
    pub(crate) fn on_signals() -> Result<Self> {
        let stop = Self::default();
        let signalled = stop.clone();
        ctrlc::set_handler(move || signalled.set()).context("cannot catch signals")?;
        Ok(stop)
    }

    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A way to tell the listener of events.
#[derive(Debug)]
pub(crate) struct Teller<E>(SyncSender<E>);

impl<E> Teller<E> {
    /// Once nobody listens any more, events are dropped: the job is over.
    pub(crate) fn tell(&self, event: E) {
        let _ = self.0.send(event);
    }
}

/// Threads that have begun.
pub(crate) struct Crew<'scope, 'env, E> {
    scope: &'scope Scope<'scope, 'env>,
    stop: &'scope Stop,
    teller: SyncSender<E>,
    threads: Vec<ScopedJoinHandle<'scope, Result<()>>>,
}

impl<'scope, E: Send + 'scope> Crew<'scope, '_, E> {
    /// Starts a thread. What it cannot do ends the job of all.
    pub(crate) fn start(&mut self, work: impl FnOnce(Teller<E>) -> Result<()> + Send + 'scope) {
        let (stop, teller) = (self.stop, Teller(self.teller.clone()));
        self.threads.push(self.scope.spawn(move || work(teller).inspect_err(|_| stop.set())));
    }
}

/// Starts threads, listens to them, and ends them when that is over, by closing the sockets that they wait on.
///
/// # Errors
///
/// What a thread could not do, or the listener. A socket that is closed is nothing to complain of.
pub(crate) fn work<'env, E: Send + 'env, T>(
    stop: &'env Stop,
    sockets: &[&PacketSocket],
    start: impl for<'scope> FnOnce(&mut Crew<'scope, 'env, E>),
    listen: impl FnOnce(&Receiver<E>) -> Result<T>,
) -> Result<T> {
    let (teller, inbox) = sync_channel(BACKLOG);
    thread::scope(|scope| {
        let mut crew = Crew { scope, stop, teller, threads: Vec::new() };
        start(&mut crew);
        let Crew { teller, threads, .. } = crew;
        drop(teller);
        let done = listen(&inbox);
        // Whoever still waits, to tell of an event or for a frame, is let go.
        drop(inbox);
        stop.set();
        sockets.iter().for_each(|socket| socket.close());
        for thread in threads {
            let result = thread.join().map_err(|_| anyhow!("a thread of this program has panicked"))?;
            result.or_else(|error| if was_closed(&error) { Ok(()) } else { Err(error) })?;
        }
        done
    })
}

fn was_closed(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::ConnectionAborted)
}
