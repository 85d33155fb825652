//! A receive ring for tasks.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use tokio::io::Interest;
use tokio::runtime::Handle;
use tokio::task::coop::cooperative;

use super::source::{LazySource, Source};
use crate::link::Link;
use crate::ring::{Block, ByBlock, ByFrame, HeldFrame, RingControl, RxRing};
use crate::sys::elsewhere::{DropsSlowly, Elsewhere};

/// An [`RxRing`] whose calls wait as tasks of tokio do: feature `tokio`.
///
/// What the calls do, and which errors they give, is said at those of the same name of [`RxRing`]; deadlines do not concern
/// them: use `tokio::time::timeout`, or `select!`. A block or frame is lent as there; it can be held across an `.await`, but
/// the kernel goes without its memory meanwhile.
///
/// Every future can be dropped at any point: one that has not returned has taken nothing. Dropping the ring hands its
/// closing, which takes milliseconds, to a thread of its own, as with [`AsyncPacketSocket`](crate::AsyncPacketSocket).
///
/// # Examples
///
/// ```no_run
/// use fast_afpacket::{AsyncRxRing, Interface, PacketSocket, RingShape};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let interface = Interface::by_name("eth1")?;
/// let mut ring = AsyncRxRing::new(PacketSocket::options().rx_ring(&interface, RingShape::throughput())?)?;
/// loop {
///     let block = ring.next_block().await?;
///     println!("{} frames", block.len());
/// }
/// # }
/// ```
///
/// What is lent still holds the ring:
///
/// ```compile_fail,E0499
/// # async fn example(ring: &mut fast_afpacket::AsyncRxRing) -> std::io::Result<()> {
/// let first = ring.next_block().await?;
/// let second = ring.next_block().await?; // the first is still held: does not compile
/// println!("{first:?}");
/// # Ok(())
/// # }
/// ```
pub struct AsyncRxRing<K: Send + 'static = ByBlock> {
    // The order matters: what the runtime polls is closed first, so that it is not the last descriptor of the ring.
    source: LazySource,
    runtime: Handle,
    ring: Elsewhere<RxRing<K>>,
}

impl<K: Send + 'static> DropsSlowly for RxRing<K> {
    fn before_drop(&mut self) {
        self.give_nic_back();
    }
}

/// What both kinds have.
impl<K: Send + 'static> AsyncRxRing<K> {
    /// Makes a ring's calls wait on the runtime that this is called in.
    ///
    /// # Errors
    ///
    /// [`Other`](io::ErrorKind::Other) outside of a runtime.
    ///
    /// # Panics
    ///
    /// Not here, but the first call that has to wait does if the runtime was built without I/O (`enable_io`).
    pub fn new(ring: RxRing<K>) -> io::Result<Self> {
        let runtime = super::runtime()?;
        ring.serve_tasks(true);
        Ok(Self { source: LazySource::default(), runtime, ring: Elsewhere::new(ring) })
    }

    /// The ring itself: its counts, [`close`](RxRing::close).
    pub fn get_ref(&self) -> &RxRing<K> {
        &self.ring
    }

    /// Takes the ring back.
    pub fn into_inner(self) -> RxRing<K> {
        let ring = self.ring.into_inner();
        ring.serve_tasks(false);
        ring
    }

    /// A handle for others, while a call waits: [`RxRing::control`].
    pub fn control(&self) -> RingControl {
        self.ring.control()
    }
}

impl AsyncRxRing<ByBlock> {
    /// Lends the next block, once the kernel has handed it over: [`RxRing::next_block`].
    ///
    /// # Errors
    ///
    /// `ENETDOWN` once when the interface goes down, `ENODEV` when it is gone, `ECONNABORTED` after it was closed.
    pub async fn next_block(&mut self) -> io::Result<Block<'_>> {
        let Self { source, runtime, ring } = self;
        let source = source.get(|| watch(ring, runtime))?;
        let (link, look) = ring.looking();
        cooperative(found(source, link, look)).await?;
        ring.found_block()
    }

    /// Lends the next block if it is there: [`RxRing::try_next_block`].
    ///
    /// # Errors
    ///
    /// See [`next_block`](Self::next_block).
    pub fn try_next_block(&mut self) -> io::Result<Option<Block<'_>>> {
        self.ring.try_next_block()
    }
}

impl AsyncRxRing<ByFrame> {
    /// Lends the next frame, once there is one: [`RxRing::next_frame`].
    ///
    /// # Errors
    ///
    /// `ENETDOWN` once when the interface goes down, `ENODEV` when it is gone, `ECONNABORTED` after it was closed.
    pub async fn next_frame(&mut self) -> io::Result<HeldFrame<'_>> {
        let Self { source, runtime, ring } = self;
        let source = source.get(|| watch(ring, runtime))?;
        let (link, look) = ring.looking();
        cooperative(found(source, link, look)).await?;
        ring.found_frame()
    }

    /// Lends the next frame if it is there: [`RxRing::try_next_frame`].
    ///
    /// # Errors
    ///
    /// See [`next_frame`](Self::next_frame).
    pub fn try_next_frame(&mut self) -> io::Result<Option<HeldFrame<'_>>> {
        self.ring.try_next_frame()
    }
}

fn watch<K>(ring: &RxRing<K>, runtime: &Handle) -> io::Result<Source> {
    Source::new(runtime, ring.as_fd().try_clone_to_owned()?, Interest::READABLE | Interest::ERROR)
}

/// Looks first: that is reading a word of memory.
async fn found(source: &Source, link: Link<'_>, mut look: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    match look() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => source.until(link, &link.waits.receive, look).await,
        result => result,
    }
}

/// The descriptor of the ring's socket.
impl<K: Send + 'static> AsFd for AsyncRxRing<K> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl<K: Send + 'static> fmt::Debug for AsyncRxRing<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncRxRing").field("ring", &self.ring).finish_non_exhaustive()
    }
}
