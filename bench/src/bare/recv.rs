//! `recvmsg` with the kernel's stamp.

use std::io;
use std::ptr;

use fast_afpacket_bench_harness::{Receiver, Setup, Sink};
use libc::c_int;

use super::socket::{ETH_P_ALL, NANOS, Socket, len_of, no_address};

/// What the kernel is to say of each frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Metadata {
    /// What this library tells: stamp, address, auxiliary data with the length on the link.
    All,
    /// The stamp.
    StampOnly,
}

/// Room for the control messages of one frame.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Control(pub(super) [u8; 128]);

/// What the control messages of a received frame said.
pub(super) struct Said {
    pub(super) stamp: Option<i64>,
    pub(super) wire_len: Option<usize>,
}

/// Shows each control message: level and type, and where its data are.
#[inline]
pub(super) fn for_each_control(header: &libc::msghdr, mut show: impl FnMut((c_int, c_int), *const u8)) {
    // SAFETY: the kernel has filled in the header, whose control buffer is alive.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: not null, so it is a control message in that buffer.
    while let Some(message) = unsafe { next.as_ref() } {
        // SAFETY: as above.
        let data = unsafe { libc::CMSG_DATA(next) };
        show((message.cmsg_level, message.cmsg_type), data);
        // SAFETY: as for the first.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
}

/// Reads a control message with stamps.
#[inline]
pub(super) fn read_stamp(data: *const u8) -> Option<i64> {
    // SAFETY: `data` are those of a message of that type, which has three of these.
    let time = unsafe { data.cast::<libc::timespec>().read_unaligned() };
    (time.tv_sec != 0).then_some(time.tv_sec * NANOS + time.tv_nsec)
}

/// Reads the control messages of a received frame.
#[inline]
pub(super) fn read_control(header: &libc::msghdr) -> Said {
    let mut said = Said { stamp: None, wire_len: None };
    for_each_control(header, |kind, data| match kind {
        (libc::SOL_SOCKET, libc::SO_TIMESTAMPING) => said.stamp = read_stamp(data),
        (libc::SOL_PACKET, libc::PACKET_AUXDATA) => {
            // SAFETY: this is in a message of this type.
            let auxdata = unsafe { data.cast::<libc::tpacket_auxdata>().read_unaligned() };
            said.wire_len = Some(auxdata.tp_len as usize);
        }
        _ => {}
    });
    said
}

/// A socket that receives with this metadata, bound.
pub(super) fn open(setup: &Setup, metadata: Metadata) -> io::Result<Socket> {
    let socket = Socket::receiver(setup)?;
    if metadata == Metadata::All {
        socket.set(libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
    }
    socket.bind(&setup.interface, ETH_P_ALL)?;
    socket.limit_wait()?;
    Ok(socket)
}

pub(super) struct Recv {
    socket: Socket,
    metadata: Metadata,
    buffer: [u8; 2048],
}

impl Recv {
    pub(super) fn open(setup: &Setup, metadata: Metadata) -> io::Result<Self> {
        Ok(Self { socket: open(setup, metadata)?, metadata, buffer: [0; 2048] })
    }

    /// Whether there was a frame.
    #[inline]
    fn receive(&mut self, flags: c_int, sink: &mut impl Sink) -> io::Result<bool> {
        let mut address = no_address();
        let mut control = Control([0; 128]);
        let mut buffer = libc::iovec { iov_base: self.buffer.as_mut_ptr().cast(), iov_len: self.buffer.len() };
        let (name, name_len) = match self.metadata {
            Metadata::All => ((&raw mut address).cast(), len_of::<libc::sockaddr_ll>()),
            Metadata::StampOnly => (ptr::null_mut(), 0),
        };
        let mut header = libc::msghdr {
            msg_name: name,
            msg_namelen: name_len,
            msg_iov: &raw mut buffer,
            msg_iovlen: 1,
            msg_control: (&raw mut control).cast(),
            msg_controllen: size_of::<Control>(),
            msg_flags: 0,
        };
        // SAFETY: the header's pointers are to memory of the lengths that it says.
        let received = unsafe { libc::recvmsg(self.socket.raw(), &raw mut header, flags) };
        let Ok(len) = usize::try_from(received) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(false) } else { Err(error) };
        };
        let said = read_control(&header);
        sink.frame(said.stamp, said.wire_len.unwrap_or(len), self.buffer.get(..len).unwrap_or_default());
        Ok(true)
    }
}

impl Receiver for Recv {
    #[inline]
    fn pass(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        self.receive(0, sink).map(drop)
    }

    fn dropped(&mut self) -> io::Result<Option<u64>> {
        self.socket.dropped().map(Some)
    }
}

/// Does not block in `recvmsg`, which nobody could end, but waits with `poll`.
pub(super) struct RecvPolled(pub(super) Recv);

impl Receiver for RecvPolled {
    #[inline]
    fn pass(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        if !self.0.receive(libc::MSG_DONTWAIT, sink)? {
            self.0.socket.wait()?;
        }
        Ok(())
    }

    fn dropped(&mut self) -> io::Result<Option<u64>> {
        self.0.dropped()
    }
}
