//! [`PacketSocket::send_batch`].

use std::io;

use fast_afpacket::{BatchError, Options, PacketSocket, TxFrame};
use fast_afpacket_bench_harness::{Sender, Setup, frames};

use super::interface;

pub(super) struct SendBatch {
    socket: PacketSocket,
    frames: Vec<TxFrame<'static>>,
}

impl SendBatch {
    pub(super) fn open(setup: &Setup, options: Options) -> anyhow::Result<Self> {
        let socket = options.bind(&interface(setup)?)?;
        Ok(Self { socket, frames: batch(setup)? })
    }
}

/// Frames for one call, as long as the process lives.
pub(super) fn batch(setup: &Setup) -> anyhow::Result<Vec<TxFrame<'static>>> {
    let frame = frames::one(setup.frame_len)?.leak();
    Ok(vec![TxFrame::new(frame); setup.batch.into()])
}

/// How many of these frames were sent; an error if none was.
#[inline]
pub(super) fn sent(result: Result<(), BatchError>, frames: usize) -> io::Result<u64> {
    match result {
        Ok(()) => Ok(frames as u64),
        Err(error) if error.sent() > 0 => Ok(error.sent() as u64),
        Err(error) => Err(error.into()),
    }
}

impl Sender for SendBatch {
    #[inline]
    fn send(&mut self) -> io::Result<u64> {
        sent(self.socket.send_batch(&self.frames), self.frames.len())
    }
}
