//! [`PacketSocket::send_offloaded`]: large frames that the kernel cuts.

use std::io;

use fast_afpacket::{Offload, PacketSocket};
use fast_afpacket_bench_harness::{Sender, Setup, frames};

use super::{interface, sender};

pub(super) struct Segments {
    socket: PacketSocket,
    frame: Vec<u8>,
    offload: Offload,
    count: u16,
}

impl Segments {
    pub(super) fn open(setup: &Setup) -> anyhow::Result<Self> {
        let socket = sender().offload(true).bind(&interface(setup)?)?;
        let count = setup.batch.min(frames::most_segments(setup.frame_len));
        let (frame, offload) = frames::segmented(setup.frame_len, count)?;
        Ok(Self { socket, frame, offload, count })
    }
}

impl Sender for Segments {
    #[inline]
    fn send(&mut self) -> io::Result<u64> {
        self.socket.send_offloaded(&self.frame, &self.offload)?;
        Ok(self.count.into())
    }
}
