//! Where a batch stopped, and why.

use std::fmt;
use std::io;

/// A frame of a batch was refused: [`send_batch`](crate::PacketSocket::send_batch) went as far as this.
///
/// ```no_run
/// use fast_afpacket::{Interface, PacketSocket, TxFrame};
///
/// let socket = PacketSocket::bind(&Interface::by_name("eth1")?)?;
/// let frames = [TxFrame::new(&[0xff; 60]); 32];
/// let mut rest = &frames[..];
/// while let Err(refused) = socket.send_batch(rest) {
///     eprintln!("frame {} of {}: {}", refused.sent(), rest.len(), refused.error());
///     rest = &rest[refused.sent() + 1..]; // all but the one that was refused
/// }
/// # Ok::<(), fast_afpacket::Error>(())
/// ```
#[derive(Debug)]
pub struct BatchError {
    sent: usize,
    error: io::Error,
}

impl BatchError {
    pub(crate) const fn new(sent: usize, error: io::Error) -> Self {
        Self { sent, error }
    }

    /// How many frames the kernel took: those before the refused one, which is the frame of this number, counted from 0.
    /// Those behind it were not tried.
    pub const fn sent(&self) -> usize {
        self.sent
    }

    /// Why that frame was refused: an error as [`send_frame`](crate::PacketSocket::send_frame) gives it.
    pub const fn error(&self) -> &io::Error {
        &self.error
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {} frames of the batch: {}", self.sent, self.error)
    }
}

impl std::error::Error for BatchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// The reason alone.
impl From<BatchError> for io::Error {
    fn from(error: BatchError) -> Self {
        error.error
    }
}
