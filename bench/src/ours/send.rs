//! [`PacketSocket::send`].

use std::io;

use fast_afpacket::{Options, PacketSocket};
use fast_afpacket_bench_harness::{Sender, Setup, frames};

use super::interface;

pub(super) struct Send {
    socket: PacketSocket,
    frame: Vec<u8>,
}

impl Send {
    pub(super) fn open(setup: &Setup, options: Options) -> anyhow::Result<Self> {
        let socket = options.bind(&interface(setup)?)?;
        Ok(Self { socket, frame: frames::one(setup.frame_len)? })
    }
}

impl Sender for Send {
    #[inline]
    fn send(&mut self) -> io::Result<u64> {
        self.socket.send(&self.frame)?;
        Ok(1)
    }
}
