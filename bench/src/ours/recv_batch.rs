//! [`PacketSocket::recv_batch`].

use std::io;
use std::sync::Arc;

use fast_afpacket::PacketSocket;
use fast_afpacket_bench_harness::{Receiver, Setup, Sink};

use super::{interface, is_idle, nanos, receiver, waker};

pub(super) struct RecvBatch {
    socket: Arc<PacketSocket>,
    batch: fast_afpacket::RecvBatch,
}

impl RecvBatch {
    pub(super) fn open(setup: &Setup) -> Result<Self, fast_afpacket::Error> {
        let socket = Arc::new(receiver(setup).bind(&interface(setup)?)?);
        Ok(Self { socket, batch: fast_afpacket::RecvBatch::new(setup.batch.into(), 2048) })
    }
}

impl Receiver for RecvBatch {
    #[inline]
    fn pass(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        match self.socket.recv_batch(&mut self.batch) {
            Ok(_) => {
                for frame in &self.batch {
                    let meta = frame.meta();
                    sink.frame(nanos(meta.timestamps), meta.wire_len, frame.data());
                }
            }
            Err(error) if is_idle(&error) => self.socket.set_read_deadline(None),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn dropped(&mut self) -> io::Result<Option<u64>> {
        Ok(Some(self.socket.stats()?.dropped))
    }

    fn waker(&mut self) -> Option<Box<dyn Fn() + Send>> {
        Some(waker(&self.socket))
    }
}
