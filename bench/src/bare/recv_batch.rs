//! `recvmmsg` with the kernel's stamps.

use std::io;
use std::ptr;

use fast_afpacket_bench_harness::{Receiver, Setup, Sink};

use super::recv::{Control, Metadata, open, read_control};
use super::socket::{Socket, checked, len_of, no_address};

const FRAMES: u32 = 64;
const FRAME_LEN: usize = 2048;

pub(super) struct RecvBatch {
    socket: Socket,
    /// The headers of one call. They point into the other fields, whose memory does not move.
    headers: Box<[libc::mmsghdr]>,
    name_len: libc::socklen_t,
    _vectors: Box<[libc::iovec]>,
    _addresses: Box<[libc::sockaddr_ll]>,
    _controls: Box<[Control]>,
    buffers: Box<[[u8; FRAME_LEN]]>,
    /// How many headers the kernel has written to and are to be made ready again.
    used: usize,
}

impl RecvBatch {
    pub(super) fn open(setup: &Setup, metadata: Metadata) -> io::Result<Self> {
        let mut buffers = vec![[0; FRAME_LEN]; FRAMES as usize].into_boxed_slice();
        let mut controls = vec![Control([0; 128]); FRAMES as usize].into_boxed_slice();
        let mut addresses = vec![no_address(); FRAMES as usize].into_boxed_slice();
        let mut vectors: Box<[libc::iovec]> = buffers
            .iter_mut()
            .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: FRAME_LEN })
            .collect();
        let name_len = if metadata == Metadata::All { len_of::<libc::sockaddr_ll>() } else { 0 };
        let places = vectors.iter_mut().zip(&mut controls).zip(&mut addresses);
        let headers = places
            .map(|((vector, control), address)| {
                let name = if name_len == 0 { ptr::null_mut() } else { ptr::from_mut(address).cast() };
                let msg_hdr = libc::msghdr {
                    msg_name: name,
                    msg_namelen: name_len,
                    msg_iov: vector,
                    msg_iovlen: 1,
                    msg_control: ptr::from_mut(control).cast(),
                    msg_controllen: size_of::<Control>(),
                    msg_flags: 0,
                };
                libc::mmsghdr { msg_hdr, msg_len: 0 }
            })
            .collect();
        let socket = open(setup, metadata)?;
        let (_vectors, _addresses, _controls) = (vectors, addresses, controls);
        Ok(Self { socket, headers, name_len, _vectors, _addresses, _controls, buffers, used: 0 })
    }
}

impl Receiver for RecvBatch {
    #[inline]
    fn pass(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        for header in self.headers.iter_mut().take(self.used) {
            header.msg_hdr.msg_namelen = self.name_len;
            header.msg_hdr.msg_controllen = size_of::<Control>();
        }
        self.used = 0;
        let (headers, flags) = (self.headers.as_mut_ptr(), libc::MSG_WAITFORONE);
        // SAFETY: there are so many headers, and they point to memory of the lengths that they say.
        let received = unsafe { libc::recvmmsg(self.socket.raw(), headers, FRAMES, flags, ptr::null_mut()) };
        let received = match checked(received as isize) {
            Ok(received) => usize::try_from(received).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        self.used = received;
        for (header, buffer) in self.headers.iter().zip(&self.buffers).take(received) {
            let said = read_control(&header.msg_hdr);
            let len = header.msg_len as usize;
            sink.frame(said.stamp, said.wire_len.unwrap_or(len), buffer.get(..len).unwrap_or_default());
        }
        Ok(())
    }

    fn dropped(&mut self) -> io::Result<Option<u64>> {
        self.socket.dropped().map(Some)
    }
}
