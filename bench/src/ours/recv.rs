//! [`PacketSocket::recv`].

use std::io;
use std::sync::Arc;
use std::time::Instant;

use fast_afpacket::PacketSocket;
use fast_afpacket_bench_harness::{Receiver, Setup, Sink};

use super::{idle, interface, is_idle, nanos, receiver, waker};

pub(super) struct Recv {
    socket: Arc<PacketSocket>,
    buffer: [u8; 2048],
    /// When a wait that begins now is to end.
    deadline: fn() -> Option<Instant>,
}

impl Recv {
    pub(super) fn open(setup: &Setup) -> Result<Self, fast_afpacket::Error> {
        Self::waiting_until(setup, || None)
    }

    /// Each wait reads the clock.
    pub(super) fn with_deadline(setup: &Setup) -> Result<Self, fast_afpacket::Error> {
        Self::waiting_until(setup, idle)
    }

    fn waiting_until(setup: &Setup, deadline: fn() -> Option<Instant>) -> Result<Self, fast_afpacket::Error> {
        let socket = Arc::new(receiver(setup).bind(&interface(setup)?)?);
        socket.set_read_deadline(deadline());
        Ok(Self { socket, buffer: [0; 2048], deadline })
    }
}

impl Receiver for Recv {
    #[inline]
    fn pass(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        match self.socket.recv(&mut self.buffer) {
            Ok(meta) => {
                let bytes = self.buffer.get(..meta.len).unwrap_or_default();
                sink.frame(nanos(meta.timestamps), meta.wire_len, bytes);
            }
            Err(error) if is_idle(&error) => self.socket.set_read_deadline((self.deadline)()),
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
