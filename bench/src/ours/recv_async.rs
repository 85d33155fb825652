//! [`AsyncPacketSocket::recv`], by a task on a runtime of one thread.

use std::io;
use std::sync::Arc;

use fast_afpacket::AsyncPacketSocket;
use fast_afpacket_bench_harness::{Receiver, Setup, Sink};
use tokio::runtime::{Builder, Runtime};

use super::{interface, nanos, receiver};

pub(super) struct RecvAsync {
    socket: Arc<AsyncPacketSocket>,
    buffer: [u8; 2048],
    runtime: Runtime,
}

impl RecvAsync {
    pub(super) fn open(setup: &Setup) -> anyhow::Result<Self> {
        let socket = receiver(setup).bind(&interface(setup)?)?;
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let socket = runtime.block_on(async { AsyncPacketSocket::new(socket) })?;
        Ok(Self { socket: Arc::new(socket), buffer: [0; 2048], runtime })
    }
}

impl Receiver for RecvAsync {
    /// Receives until the socket is closed: the runtime is entered once, as in a program.
    fn pass(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        let Self { socket, buffer, runtime } = self;
        runtime.block_on(async {
            loop {
                match socket.recv(buffer).await {
                    Ok(meta) => {
                        let bytes = buffer.get(..meta.len).unwrap_or_default();
                        sink.frame(nanos(meta.timestamps), meta.wire_len, bytes);
                    }
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        })
    }

    fn dropped(&mut self) -> io::Result<Option<u64>> {
        Ok(Some(self.socket.get_ref().stats()?.dropped))
    }

    fn waker(&mut self) -> Option<Box<dyn Fn() + Send>> {
        let socket = Arc::clone(&self.socket);
        Some(Box::new(move || socket.get_ref().close()))
    }
}
