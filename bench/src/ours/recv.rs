//! [`PacketSocket::recv`].

use std::io;

use fast_afpacket::PacketSocket;
use fast_afpacket_bench_harness::{Receiver, Setup, Sink};

use super::{idle, interface, is_idle, nanos, receiver};

pub(super) struct Recv {
    socket: PacketSocket,
    buffer: [u8; 2048],
}

impl Recv {
    pub(super) fn open(setup: &Setup) -> Result<Self, fast_afpacket::Error> {
        let socket = receiver(setup).bind(&interface(setup)?)?;
        socket.set_read_deadline(idle());
        Ok(Self { socket, buffer: [0; 2048] })
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
            Err(error) if is_idle(&error) => self.socket.set_read_deadline(idle()),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn dropped(&mut self) -> io::Result<Option<u64>> {
        Ok(Some(self.socket.stats()?.dropped))
    }
}
