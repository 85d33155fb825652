//! `send`.

use std::io;

use fast_afpacket_bench_harness::{Sender, Setup, frames};

use super::Qdisc;
use super::socket::{Socket, checked};

pub(super) struct Send {
    socket: Socket,
    frame: Vec<u8>,
}

impl Send {
    pub(super) fn open(setup: &Setup, qdisc: Qdisc) -> anyhow::Result<Self> {
        Ok(Self { socket: Socket::sender(setup, qdisc)?, frame: frames::one(setup.frame_len)? })
    }
}

impl Sender for Send {
    #[inline]
    fn send(&mut self) -> io::Result<u64> {
        // SAFETY: the pointer is to so many bytes.
        checked(unsafe { libc::send(self.socket.raw(), self.frame.as_ptr().cast(), self.frame.len(), 0) })?;
        Ok(1)
    }
}
