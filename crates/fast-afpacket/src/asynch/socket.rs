//! A packet socket for tasks.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::runtime::Handle;
use tokio::task::coop::cooperative;

use super::source::{LazySource, Source};
use crate::addr::PacketAddr;
use crate::batch::{RecvBatch, TxReportBatch};
use crate::meta::RxMeta;
use crate::socket::PacketSocket;
use crate::sys::elsewhere::{DropsSlowly, Elsewhere};
use crate::sys::poll::Edges;
use crate::tx_frame::TxFrame;
use crate::tx_report::{TxKey, TxReport};

/// A [`PacketSocket`] whose calls wait as tasks of tokio do: feature `tokio`.
///
/// Its methods take `&self`; any number of tasks may use it at once, each through an `Arc` or a borrow. What the calls do,
/// and which errors they give, is said at those of the same name of [`PacketSocket`]; `EAGAIN` and `ETIMEDOUT` are not among
/// them here, as non-blocking mode and deadlines do not concern them: use `tokio::time::timeout`, or `select!`.
///
/// # Cancel safety
///
/// Every future can be dropped at any point. One that has not returned has received nothing, sent nothing and read no
/// stamp.
///
/// # When it is dropped
///
/// Closing a packet socket takes the kernel some milliseconds. A thread of its own does it; the thread that drops this goes on
/// at once, inside and outside of a runtime. A NIC's setting that was borrowed
/// ([`Options::configure_nic`](crate::Options::configure_nic)) is given back before. Who has to know that the socket is closed drops
/// what [`into_inner`](Self::into_inner) returns.
///
/// # When the interface goes down, or away
///
/// As with [`PacketSocket`]: one call of each kind that waits fails with `ENETDOWN`; when the interface is removed, every
/// call fails with `ENODEV`, within 50 ms if it was down before; with [`Options::follow_name`](crate::Options::follow_name) the
/// calls wait until it is made again. The one task that finds it there binds to it, which takes some milliseconds. Members of a
/// fanout group cannot be bound anew here: their calls fail with `Unsupported` then, until the socket is taken back
/// ([`into_inner`](Self::into_inner)) and [rebound](PacketSocket::rebind).
///
/// # Other runtimes
///
/// Poll [`as_fd`](AsFd::as_fd) of the [`PacketSocket`] for input and errors, [`tx_fd`](PacketSocket::tx_fd) for errors,
/// **edge-triggered**, and call the `try_` methods until they say [`WouldBlock`](io::ErrorKind::WouldBlock). The example
/// `epoll` shows how.
///
/// # Examples
///
/// ```no_run
/// use fast_afpacket::{AsyncPacketSocket, Interface, PacketSocket, TxKey};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let socket = PacketSocket::options().dual(true).bind(&Interface::by_name("eth1")?)?;
/// let socket = AsyncPacketSocket::new(socket)?;
/// socket.send_keyed(&[0xff; 60], TxKey::new(7)).await?;
/// let mut buf = [0; 2048];
/// loop {
///     tokio::select! {
///         frame = socket.recv(&mut buf) => println!("{} bytes", frame?.len),
///         stamp = socket.recv_tx(&mut []) => println!("{:?}", stamp?.timestamps),
///     }
/// }
/// # }
/// ```
pub struct AsyncPacketSocket {
    // The order matters: what the runtime polls is closed first, so that none of it is the last descriptor of the socket.
    receive: LazySource,
    send: LazySource,
    tx_stamp: LazySource,
    runtime: Handle,
    socket: Elsewhere<PacketSocket>,
}

impl DropsSlowly for PacketSocket {
    fn before_drop(&mut self) {
        self.give_nic_back();
    }
}

/// Its life.
impl AsyncPacketSocket {
    /// Makes a socket's calls wait on the runtime that this is called in.
    ///
    /// # Errors
    ///
    /// [`Other`](io::ErrorKind::Other) outside of a runtime.
    ///
    /// # Panics
    ///
    /// Not here, but the first call that has to wait does if the runtime was built without I/O (`enable_io`).
    pub fn new(socket: PacketSocket) -> io::Result<Self> {
        let runtime = super::runtime()?;
        socket.waits().set_serve_tasks(true);
        let (receive, send, tx_stamp) = <(LazySource, LazySource, LazySource)>::default();
        Ok(Self { receive, send, tx_stamp, runtime, socket: Elsewhere::new(socket) })
    }

    /// The socket itself: its counts, its filter, [`close`](PacketSocket::close). What waits there keeps the thread.
    pub fn get_ref(&self) -> &PacketSocket {
        &self.socket
    }

    /// Takes the socket back.
    pub fn into_inner(self) -> PacketSocket {
        let socket = self.socket.into_inner();
        socket.waits().set_serve_tasks(false);
        socket
    }
}

/// Receiving.
impl AsyncPacketSocket {
    /// Receives a frame into `buf`, with all that the kernel says of it: [`PacketSocket::recv`].
    ///
    /// # Errors
    ///
    /// `ENETDOWN` once when the interface goes down, `ENODEV` when it is gone, `ECONNABORTED` after
    /// [`close`](PacketSocket::close), [`InvalidData`](io::ErrorKind::InvalidData) for metadata that cannot be trusted.
    #[doc(alias("RecvRxTimestamps", "recvmsg"))]
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<RxMeta> {
        self.received(|socket| socket.try_recv(buf)).await
    }

    /// Receives a frame into `buf` and says how long it is and where it came from: [`PacketSocket::recv_from`].
    ///
    /// # Errors
    ///
    /// See [`recv`](Self::recv).
    #[doc(alias("ReadFrom", "recvfrom"))]
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, PacketAddr)> {
        self.received(|socket| socket.try_recv_from(buf)).await
    }

    /// Receives as many frames as are there and as `batch` has room for, in one system call; waits only for the first:
    /// [`PacketSocket::recv_batch`]. Returns how many, at least one.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv) but [`InvalidData`](io::ErrorKind::InvalidData).
    #[doc(alias = "recvmmsg")]
    pub async fn recv_batch(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        self.received(|socket| socket.try_recv_batch(batch)).await
    }

    /// Waits first: after a frame was received, readiness is known without a system call.
    async fn received<T>(&self, mut attempt: impl FnMut(&PacketSocket) -> io::Result<T>) -> io::Result<T> {
        let socket = self.get_ref();
        let source = self.receive.get(|| {
            let fd = socket.as_fd().try_clone_to_owned()?;
            Source::new(&self.runtime, fd, Interest::READABLE | Interest::ERROR)
        })?;
        cooperative(source.until(socket.link(), &socket.waits().receive, || attempt(socket))).await
    }
}

/// Sending. These wait for room in the send buffer; as long as there is some, they are the system call and nothing else.
impl AsyncPacketSocket {
    /// Sends a frame, whole, from its link-layer header on: [`PacketSocket::send`].
    ///
    /// # Errors
    ///
    /// Those of [`PacketSocket::send`] but `ETIMEDOUT` and `EAGAIN`.
    #[doc(alias = "sendto")]
    pub async fn send(&self, frame: &[u8]) -> io::Result<usize> {
        self.sent(|socket| socket.try_send(frame)).await
    }

    /// Sends to an address: [`PacketSocket::send_to`].
    ///
    /// # Errors
    ///
    /// Those of [`PacketSocket::send_to`] but `ETIMEDOUT` and `EAGAIN`.
    #[doc(alias = "WriteTo")]
    pub async fn send_to(&self, bytes: &[u8], address: &PacketAddr) -> io::Result<usize> {
        self.sent(|socket| socket.try_send_to(bytes, address)).await
    }

    /// Sends a frame and asks for its stamps: [`PacketSocket::send_keyed`].
    ///
    /// # Errors
    ///
    /// Those of [`PacketSocket::send_keyed`] but `ETIMEDOUT` and `EAGAIN`.
    #[doc(alias = "SCM_TS_OPT_ID")]
    pub async fn send_keyed(&self, frame: &[u8], key: TxKey) -> io::Result<usize> {
        self.sent(|socket| socket.try_send_keyed(frame, key)).await
    }

    /// Sends a frame with all that is asked for it: [`PacketSocket::send_frame`].
    ///
    /// # Errors
    ///
    /// Those of [`PacketSocket::send_frame`] but `ETIMEDOUT` and `EAGAIN`.
    #[doc(alias = "sendmsg")]
    pub async fn send_frame(&self, frame: &TxFrame<'_>) -> io::Result<usize> {
        self.sent(|socket| socket.try_send_frame(frame)).await
    }

    /// Sends the first of these frames and as many more as there is room for, in one system call; waits only for the first.
    /// Returns how many were sent: 0 only of none.
    ///
    /// Unlike [`PacketSocket::send_batch`] it does not wait until all are sent, so that it is known how many were when the
    /// future is dropped: none.
    ///
    /// ```no_run
    /// # async fn example(socket: &fast_afpacket::AsyncPacketSocket) -> std::io::Result<()> {
    /// use fast_afpacket::TxFrame;
    ///
    /// let frames = [TxFrame::new(&[0xff; 60]); 1_000];
    /// let mut sent = 0;
    /// while sent < frames.len() {
    ///     sent += socket.send_batch(&frames[sent..]).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// That of the first frame: see [`send_frame`](Self::send_frame). One that is refused further back is the first of the
    /// next call.
    #[doc(alias = "sendmmsg")]
    pub async fn send_batch(&self, frames: &[TxFrame<'_>]) -> io::Result<usize> {
        self.sent(|socket| socket.try_send_batch(frames)).await
    }

    async fn sent<T>(&self, mut attempt: impl FnMut(&PacketSocket) -> io::Result<T>) -> io::Result<T> {
        let socket = self.get_ref();
        let sent = async {
            match attempt(socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            let source = self.send.get(|| self.watch(Edges::of(socket.tx_fd(), libc::POLLOUT)?))?;
            source.until(socket.link(), &socket.waits().send, || attempt(socket)).await
        };
        cooperative(sent).await
    }

    fn watch(&self, edges: Edges) -> io::Result<Source> {
        Source::new(&self.runtime, OwnedFd::from(edges), Interest::READABLE)
    }
}

/// The stamps of sent frames.
impl AsyncPacketSocket {
    /// Returns a stamp of a frame that was sent with a key: [`PacketSocket::recv_tx`]. One that never comes is waited for
    /// for ever: use `tokio::time::timeout`.
    ///
    /// # Errors
    ///
    /// `ENETDOWN` when the interface goes down, `ENODEV` when it is gone, `ECONNABORTED` after
    /// [`close`](PacketSocket::close), [`InvalidInput`](io::ErrorKind::InvalidInput) if no TX stamps were asked for,
    /// [`InvalidData`](io::ErrorKind::InvalidData) for a report that cannot be trusted: that one is lost.
    #[doc(alias("RecvTxTimestamps", "MSG_ERRQUEUE", "MsgErrQueue"))]
    pub async fn recv_tx(&self, buf: &mut [u8]) -> io::Result<TxReport> {
        self.stamped(|socket| socket.try_recv_tx(buf)).await
    }

    /// Reads as many stamps of sent frames as are there and as `batch` has room for, in one system call; waits only for the
    /// first: [`PacketSocket::recv_tx_batch`]. Returns how many, at least one.
    ///
    /// # Errors
    ///
    /// Those of [`recv_tx`](Self::recv_tx) but [`InvalidData`](io::ErrorKind::InvalidData).
    #[doc(alias("recvmmsg", "MSG_ERRQUEUE"))]
    pub async fn recv_tx_batch(&self, batch: &mut TxReportBatch) -> io::Result<usize> {
        self.stamped(|socket| socket.try_recv_tx_batch(batch)).await
    }

    /// Tries first: software stamps are often there when the send returns.
    async fn stamped<T>(&self, mut attempt: impl FnMut(&PacketSocket) -> io::Result<T>) -> io::Result<T> {
        let socket = self.get_ref();
        let stamped = async {
            match attempt(socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            let source = self.tx_stamp.get(|| {
                let edges = Edges::of(socket.tx_fd(), 0)?;
                if socket.is_dual() {
                    // The sending socket is not told of the link.
                    edges.watch(socket.as_fd(), 0)?;
                }
                self.watch(edges)
            })?;
            source.until(socket.link(), &socket.waits().tx_stamp, || attempt(socket)).await
        };
        cooperative(stamped).await
    }
}

/// The descriptor that frames are received from.
impl AsFd for AsyncPacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Debug for AsyncPacketSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncPacketSocket").field("socket", &self.socket).finish_non_exhaustive()
    }
}
