//! Received frames, several at once.

use std::fmt;
use std::slice;

use crate::meta::RxMeta;
use crate::sys::batch::Inbox;

/// Room for frames that are received together, and the frames of the last
/// [`recv_batch`](crate::PacketSocket::recv_batch).
///
/// Made once and used again: nothing is allocated for a frame. Any number of sockets may use it in turn.
///
/// ```no_run
/// use fast_afpacket::{Interface, PacketSocket, RecvBatch};
///
/// let socket = PacketSocket::bind(&Interface::by_name("eth1")?)?;
/// let mut batch = RecvBatch::new(64, 2048);
/// loop {
///     socket.recv_batch(&mut batch)?;
///     for frame in &batch {
///         println!("{} bytes at {:?}", frame.data().len(), frame.meta().timestamps.software);
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias("mmsghdr", "recvmmsg"))]
pub struct RecvBatch {
    inbox: Inbox<{ Self::CONTROL_LEN }>,
    /// What is known of each frame, and in which place of the inbox it lies.
    frames: Vec<(usize, RxMeta)>,
}

impl RecvBatch {
    pub(crate) const CONTROL_LEN: usize = crate::socket::CONTROL_LEN;

    /// Room for so many frames, 1 at least, of so many bytes each.
    ///
    /// As for [`recv`](crate::PacketSocket::recv), a frame should have room for the MTU and 18 bytes; one that does not fit is
    /// cut and says so. 16 to 64 frames are a good number: more save nothing.
    ///
    /// # Panics
    ///
    /// If there are not as many addresses as that takes.
    pub fn new(frames: usize, frame_len: usize) -> Self {
        let Some(inbox) = Inbox::new(frames, frame_len, true) else {
            #[expect(clippy::panic, reason = "as Vec::with_capacity does: no memory is that large")]
            {
                panic!("a batch of {frames} frames of {frame_len} bytes is larger than any memory");
            }
        };
        let frames = Vec::with_capacity(inbox.capacity());
        Self { inbox, frames }
    }

    /// How many frames there is room for.
    pub fn capacity(&self) -> usize {
        self.inbox.capacity()
    }

    /// How many frames were received.
    #[inline]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether none was received.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The frame of this number, from 0, in the order in which they were received.
    #[inline]
    pub fn get(&self, number: usize) -> Option<BatchFrame<'_>> {
        self.frames.get(number).map(|(place, meta)| BatchFrame::new(&self.inbox, *place, meta))
    }

    /// The frames, in the order in which they were received.
    #[inline]
    pub fn iter(&self) -> BatchFrames<'_> {
        BatchFrames { inbox: &self.inbox, frames: self.frames.iter() }
    }

    /// Lets a socket fill it.
    #[inline]
    pub(crate) fn parts(&mut self) -> (&mut Inbox<{ Self::CONTROL_LEN }>, &mut Vec<(usize, RxMeta)>) {
        (&mut self.inbox, &mut self.frames)
    }
}

impl fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvBatch")
            .field("capacity", &self.capacity())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl<'a> IntoIterator for &'a RecvBatch {
    type Item = BatchFrame<'a>;
    type IntoIter = BatchFrames<'a>;

    #[inline]
    fn into_iter(self) -> BatchFrames<'a> {
        self.iter()
    }
}

/// A frame of a batch.
#[derive(Clone, Copy)]
pub struct BatchFrame<'a> {
    data: &'a [u8],
    meta: &'a RxMeta,
}

impl<'a> BatchFrame<'a> {
    #[inline]
    fn new(inbox: &'a Inbox<{ RecvBatch::CONTROL_LEN }>, place: usize, meta: &'a RxMeta) -> Self {
        let data = inbox.data(place);
        Self { data: data.get(..meta.len).unwrap_or(data), meta }
    }

    /// Its bytes, as many as there was room for.
    #[inline]
    pub const fn data(&self) -> &'a [u8] {
        self.data
    }

    /// What the kernel says of it.
    #[inline]
    pub const fn meta(&self) -> &'a RxMeta {
        self.meta
    }
}

impl fmt::Debug for BatchFrame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchFrame").field("meta", &self.meta).finish_non_exhaustive()
    }
}

/// The frames of a [`RecvBatch`].
#[derive(Clone)]
pub struct BatchFrames<'a> {
    inbox: &'a Inbox<{ RecvBatch::CONTROL_LEN }>,
    frames: slice::Iter<'a, (usize, RxMeta)>,
}

impl<'a> Iterator for BatchFrames<'a> {
    type Item = BatchFrame<'a>;

    #[inline]
    fn next(&mut self) -> Option<BatchFrame<'a>> {
        let (place, meta) = self.frames.next()?;
        Some(BatchFrame::new(self.inbox, *place, meta))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.frames.size_hint()
    }
}

impl ExactSizeIterator for BatchFrames<'_> {}

impl fmt::Debug for BatchFrames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchFrames").field("left", &self.frames.len()).finish_non_exhaustive()
    }
}
