//! One large frame for each call, which the kernel cuts into UDP datagrams.

use std::io;

use fast_afpacket_bench_harness::{Sender, Setup, frames};

use super::socket::{ETH_P_NONE, Socket, checked};

/// `struct virtio_net_hdr`: flags, kind of segments, length of the headers, of a segment, start and offset of the checksum.
const HEADER_LEN: usize = 10;
const NEEDS_CHECKSUM: u8 = 1;
const UDP_SEGMENTS: u8 = 5;

pub(super) struct Segments {
    socket: Socket,
    frame: Vec<u8>,
    count: u16,
}

impl Segments {
    pub(super) fn open(setup: &Setup) -> anyhow::Result<Self> {
        let socket = Socket::open()?;
        socket.set(libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
        socket.bind(&setup.interface, ETH_P_NONE)?;
        let count = setup.batch.min(frames::most_segments(setup.frame_len));
        let (large, _) = frames::segmented(setup.frame_len, count)?;
        let segment_len = u16::try_from(setup.frame_len - frames::HEADERS)?;
        let mut frame = vec![NEEDS_CHECKSUM, UDP_SEGMENTS];
        for field in [42, segment_len, 34, 6] {
            frame.extend(field.to_ne_bytes());
        }
        debug_assert_eq!(frame.len(), HEADER_LEN);
        frame.extend(large);
        Ok(Self { socket, frame, count })
    }
}

impl Sender for Segments {
    #[inline]
    fn send(&mut self) -> io::Result<u64> {
        // SAFETY: the pointer is to so many bytes.
        checked(unsafe { libc::send(self.socket.raw(), self.frame.as_ptr().cast(), self.frame.len(), 0) })?;
        Ok(self.count.into())
    }
}
