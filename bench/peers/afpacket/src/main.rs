//! The crate `afpacket`: `read` and `write` on a packet socket.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::process::ExitCode;

use afpacket::sync::RawPacketStream;
use fast_afpacket_bench_harness::{Contender, Receiver, Sender, Setup, Sink, Way, frames, socket, worker};

const WHO: &str = "afpacket";

fn main() -> ExitCode {
    worker::main(&[
        Contender::receiver(WHO, Way::Recv, Reading::open),
        Contender::sender(WHO, Way::Send, Writing::open),
    ])
}

fn open(setup: &Setup) -> io::Result<RawPacketStream> {
    let mut stream = RawPacketStream::new()?;
    stream.bind(&setup.interface)?;
    Ok(stream)
}

struct Reading {
    stream: RawPacketStream,
    buffer: [u8; 2048],
}

impl Reading {
    fn open(setup: &Setup) -> io::Result<Self> {
        let stream = open(setup)?;
        // SAFETY: the stream's socket is open as long as the stream is.
        let descriptor = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) };
        socket::limit_wait(&descriptor)?;
        Ok(Self { stream, buffer: [0; 2048] })
    }
}

impl Receiver for Reading {
    fn pass(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        match self.stream.read(&mut self.buffer) {
            Ok(len) => sink.frame(None, len, self.buffer.get(..len).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn dropped(&mut self) -> io::Result<Option<u64>> {
        Ok(None)
    }
}

struct Writing {
    stream: RawPacketStream,
    frame: Vec<u8>,
}

impl Writing {
    fn open(setup: &Setup) -> io::Result<Self> {
        let frame = frames::one(setup.frame_len).map_err(io::Error::other)?;
        Ok(Self { stream: open(setup)?, frame })
    }
}

impl Sender for Writing {
    fn send(&mut self) -> io::Result<u64> {
        self.stream.write_all(&self.frame)?;
        Ok(1)
    }
}
