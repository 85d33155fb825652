//! What a contender implements, and how it becomes one entry of a program's list.

use std::io;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::catalog::Way;
use crate::job::{Job, Outcome, Setup};
use crate::sink::Sink;
use crate::worker::{self, Signals};

/// Receives frames.
pub trait Receiver {
    /// Hands what is there to `sink`: one frame, or all of a batch or block. Waits if nothing is, up to
    /// [`IDLE`](crate::socket::IDLE) or so, and returns without a frame then.
    ///
    /// # Errors
    ///
    /// What went wrong; the run is over then.
    fn pass(&mut self, sink: &mut impl Sink) -> io::Result<()>;

    /// How many frames the kernel has dropped for want of room. Called once, at the end. `None` if there is no telling.
    ///
    /// # Errors
    ///
    /// What went wrong.
    fn dropped(&mut self) -> io::Result<Option<u64>>;

    /// Ends a wait, where that has no limit. Called from another thread, repeatedly.
    fn waker(&mut self) -> Option<Box<dyn Fn() + Send>> {
        None
    }
}

/// Sends frames.
pub trait Sender {
    /// Sends as many frames as one call of this way sends, and returns how many the kernel took.
    ///
    /// # Errors
    ///
    /// `ENOBUFS` and `EAGAIN` if none was taken for want of room; anything else ends the run.
    fn send(&mut self) -> io::Result<u64>;
}

/// Sends frames and reads their stamps.
pub trait Stamper {
    /// Sends as many frames as one call of this way sends, each with a request for its stamp, and returns how many.
    ///
    /// # Errors
    ///
    /// What went wrong; the run is over then.
    fn send(&mut self) -> io::Result<u64>;

    /// Reads so many stamps, fewer if they do not come, and returns how many there were.
    ///
    /// # Errors
    ///
    /// What went wrong; the run is over then.
    fn read(&mut self, expected: u64) -> io::Result<u64>;
}

/// Who does it, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The library or program.
    pub who: String,
    /// Which of its functions, if several go the same way.
    pub variant: Option<String>,
    /// How.
    pub way: Way,
    /// Whether it is a program of its own, inside which nothing can be counted.
    pub is_tool: bool,
}

impl Description {
    /// A name for people and command lines.
    pub fn name(&self) -> String {
        match &self.variant {
            Some(variant) => format!("{} {variant}: {}", self.who, self.way.label()),
            None => format!("{}: {}", self.who, self.way.label()),
        }
    }
}

type Run = dyn Fn(&Job, &Signals) -> anyhow::Result<Outcome>;

/// One entry of a program's list.
pub struct Contender {
    /// Who it is.
    pub description: Description,
    run: Box<Run>,
}

impl Contender {
    /// One that receives.
    pub fn receiver<R, E>(who: &str, way: Way, open: impl Fn(&Setup) -> Result<R, E> + 'static) -> Self
    where
        R: Receiver + 'static,
        E: Into<anyhow::Error>,
    {
        Self::custom(who, way, move |job, signals| {
            let receiver = open(&job.setup).map_err(Into::into).context("cannot be opened")?;
            worker::receive(receiver, job, signals)
        })
    }

    /// One that sends.
    pub fn sender<S, E>(who: &str, way: Way, open: impl Fn(&Setup) -> Result<S, E> + 'static) -> Self
    where
        S: Sender + 'static,
        E: Into<anyhow::Error>,
    {
        Self::custom(who, way, move |job, signals| {
            let sender = open(&job.setup).map_err(Into::into).context("cannot be opened")?;
            worker::send(sender, job, signals)
        })
    }

    /// One that sends and reads stamps.
    pub fn stamper<S, E>(who: &str, way: Way, open: impl Fn(&Setup) -> Result<S, E> + 'static) -> Self
    where
        S: Stamper + 'static,
        E: Into<anyhow::Error>,
    {
        Self::custom(who, way, move |job, signals| {
            let stamper = open(&job.setup).map_err(Into::into).context("cannot be opened")?;
            worker::stamp(stamper, job, signals)
        })
    }

    /// A program of its own: `run` starts it and reads what it says.
    pub fn tool(who: &str, way: Way, run: impl Fn(&Job, &Signals) -> anyhow::Result<Outcome> + 'static) -> Self {
        let mut contender = Self::custom(who, way, run);
        contender.description.is_tool = true;
        contender
    }

    fn custom(who: &str, way: Way, run: impl Fn(&Job, &Signals) -> anyhow::Result<Outcome> + 'static) -> Self {
        let description = Description { who: who.to_owned(), variant: None, way, is_tool: false };
        Self { description, run: Box::new(run) }
    }

    /// Says which of several functions it is that go the same way.
    #[must_use]
    pub fn variant(mut self, variant: &str) -> Self {
        self.description.variant = Some(variant.to_owned());
        self
    }

    pub(crate) fn run(&self, job: &Job, signals: &Signals) -> anyhow::Result<Outcome> {
        (self.run)(job, signals)
    }
}
