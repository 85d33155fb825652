//! `sendmmsg`.

use std::io;
use std::ptr;

use fast_afpacket_bench_harness::{Sender, Setup, frames};

use super::Qdisc;
use super::key::Key;
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
    /// One for each frame, or none.
    keys: Box<[Key]>,
    next: u32,
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
        Ok(Self { headers, _vectors: vectors, _frame: frame, keys: Box::default(), next: 0 })
    }

    /// Each frame has a key of its own.
    pub(super) fn keyed(setup: &Setup) -> anyhow::Result<Self> {
        let mut batch = Self::new(setup)?;
        batch.keys = vec![Key::new(0); batch.headers.len()].into_boxed_slice();
        for (header, key) in batch.headers.iter_mut().zip(&mut batch.keys) {
            header.msg_hdr.msg_control = ptr::from_mut(key).cast();
            header.msg_hdr.msg_controllen = Key::LEN;
        }
        Ok(batch)
    }

    #[inline]
    pub(super) fn send(&mut self, socket: &Socket) -> io::Result<u64> {
        for key in &mut self.keys {
            *key = Key::new(self.next);
            self.next = self.next.wrapping_add(1);
        }
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
