//! `sendmmsg`.

use std::io;
use std::ptr;

use fast_afpacket_bench_harness::{Sender, Setup, frames};

use super::Qdisc;
use super::socket::{Socket, checked};

pub(super) struct SendBatch {
    socket: Socket,
    batch: Batch,
}

/// The headers of one call. Each is of the same frame, as if it were another.
pub(super) struct Batch {
    headers: Box<[libc::mmsghdr]>,
    /// What the headers point to: their memory does not move.
    _vectors: Box<[libc::iovec]>,
    _frame: Box<[u8]>,
}

impl Batch {
    pub(super) fn new(setup: &Setup) -> anyhow::Result<Self> {
        let frame = frames::one(setup.frame_len)?.into_boxed_slice();
        let vector = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        let mut vectors = vec![vector; setup.batch.into()].into_boxed_slice();
        let headers = vectors
            .iter_mut()
            .map(|vector| {
                let msg_hdr = libc::msghdr {
                    msg_name: ptr::null_mut(),
                    msg_namelen: 0,
                    msg_iov: vector,
                    msg_iovlen: 1,
                    msg_control: ptr::null_mut(),
                    msg_controllen: 0,
                    msg_flags: 0,
                };
                libc::mmsghdr { msg_hdr, msg_len: 0 }
            })
            .collect();
        Ok(Self { headers, _vectors: vectors, _frame: frame })
    }

    #[inline]
    pub(super) fn send(&mut self, socket: &Socket) -> io::Result<u64> {
        let count = u32::try_from(self.headers.len()).unwrap_or(u32::MAX);
        // SAFETY: there are so many headers, and they point to memory of the lengths that they say.
        let sent = unsafe { libc::sendmmsg(socket.raw(), self.headers.as_mut_ptr(), count, 0) };
        checked(sent as isize)
    }
}

impl SendBatch {
    pub(super) fn open(setup: &Setup, qdisc: Qdisc) -> anyhow::Result<Self> {
        Ok(Self { socket: Socket::sender(setup, qdisc)?, batch: Batch::new(setup)? })
    }
}

impl Sender for SendBatch {
    #[inline]
    fn send(&mut self) -> io::Result<u64> {
        self.batch.send(&self.socket)
    }
}
