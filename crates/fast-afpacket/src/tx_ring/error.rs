//! How far a flush has come, and why no further.

use std::fmt;
use std::io;

use crate::tx_report::TxKey;

/// Why [`TxRing::flush`](crate::TxRing::flush) has not handed over all frames: how many it has, which one it ended at, and
/// how many are still committed.
///
/// Together they are the frames that were committed before the call: none is in two places, none in none.
///
/// ```no_run
/// # fn example(ring: &mut fast_afpacket::TxRing) -> std::io::Result<()> {
/// while let Err(error) = ring.flush() {
///     match error.refused() {
///         // It is out of the ring. Those behind it are not.
///         Some(frame) => eprintln!("frame {} of {} bytes: {error}", frame.index, frame.len),
///         None => return Err(error.into()),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FlushError {
    taken: usize,
    refused: Option<RefusedFrame>,
    left: usize,
    error: io::Error,
}

/// A frame that the kernel refused for what it is, and that is no longer in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedFrame {
    /// Its place among the frames that were committed when [`TxRing::flush`](crate::TxRing::flush) was called, from 0 on.
    pub index: usize,
    /// How many bytes it had.
    pub len: usize,
    /// Its key, if it had one. No stamps with it will come from this frame.
    pub key: Option<TxKey>,
}

impl FlushError {
    #[cold]
    pub(super) const fn new(taken: usize, refused: Option<RefusedFrame>, left: usize, error: io::Error) -> Self {
        Self { taken, refused, left, error }
    }

    /// How many frames the kernel took before: this is also the place, among those that were committed, of the frame that
    /// the call ended at.
    pub const fn taken(&self) -> usize {
        self.taken
    }

    /// That frame, if it was refused for what it is and taken out of the ring. `None` if it stays.
    pub const fn refused(&self) -> Option<RefusedFrame> {
        self.refused
    }

    /// How many frames are still committed.
    pub const fn left(&self) -> usize {
        self.left
    }

    /// Why no more was handed over.
    pub const fn error(&self) -> &io::Error {
        &self.error
    }
}

impl fmt::Display for FlushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { taken, refused, left, error } = self;
        match refused {
            Some(frame) => write!(f, "after {taken} frames, one of {} bytes is out of the ring", frame.len)?,
            None => write!(f, "after {taken} frames")?,
        }
        write!(f, ", {left} are left in it: {error}")
    }
}

impl std::error::Error for FlushError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// The reason alone.
impl From<FlushError> for io::Error {
    fn from(error: FlushError) -> Self {
        error.error
    }
}
