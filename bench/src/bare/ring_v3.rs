//! A `TPACKET_V3` receive ring.

use std::io;
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};

use fast_afpacket_bench_harness::{Receiver, Setup, Sink};

use super::socket::{ETH_P_ALL, Mapping, NANOS, Socket};

const BLOCK_SIZE: u32 = 1 << 20;
const BLOCKS: u32 = 64;
const FRAME_SIZE: u32 = 2048;

pub(super) struct RingByBlock {
    memory: Mapping,
    socket: Socket,
    current: u32,
}

impl RingByBlock {
    pub(super) fn open(setup: &Setup) -> io::Result<Self> {
        let socket = Socket::receiver(setup)?;
        socket.set(libc::SOL_PACKET, libc::PACKET_VERSION, 2)?; // TPACKET_V3
        let request = libc::tpacket_req3 {
            tp_block_size: BLOCK_SIZE,
            tp_block_nr: BLOCKS,
            tp_frame_size: FRAME_SIZE,
            tp_frame_nr: BLOCK_SIZE / FRAME_SIZE * BLOCKS,
            tp_retire_blk_tov: setup.block_timeout.into(),
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        socket.set(libc::SOL_PACKET, libc::PACKET_RX_RING, request)?;
        let memory = socket.map((BLOCK_SIZE * BLOCKS) as usize)?;
        socket.bind(&setup.interface, ETH_P_ALL)?;
        Ok(Self { memory, socket, current: 0 })
    }
}

impl Receiver for RingByBlock {
    #[inline]
    fn pass(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        let block = self.memory.at((self.current * BLOCK_SIZE) as usize);
        let header = block.wrapping_add(8).cast::<libc::tpacket_hdr_v1>();
        // SAFETY: the status is in the mapping, aligned, and used by nobody but atomically.
        let status = unsafe { AtomicU32::from_ptr(header.cast()) };
        if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return self.socket.wait();
        }
        // SAFETY: the block is ours until its status is written, and has this header.
        let frames = unsafe { (*header).num_pkts };
        // SAFETY: as above.
        let first = unsafe { (*header).offset_to_first_pkt };
        let mut next = block.wrapping_add(first as usize);
        for _ in 0..frames {
            // SAFETY: the kernel has put so many of these into the block, one after the other.
            let frame = unsafe { &*next.cast::<libc::tpacket3_hdr>() };
            let data = next.wrapping_add(frame.tp_mac.into());
            // SAFETY: the kernel has put so many bytes there.
            let bytes = unsafe { slice::from_raw_parts(data, frame.tp_snaplen as usize) };
            let stamp = i64::from(frame.tp_sec) * NANOS + i64::from(frame.tp_nsec);
            let stamp = (frame.tp_status & libc::TP_STATUS_TS_SOFTWARE != 0).then_some(stamp);
            sink.frame(stamp, frame.tp_len as usize, bytes);
            next = next.wrapping_add(frame.tp_next_offset as usize);
        }
        status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.current = (self.current + 1) % BLOCKS;
        Ok(())
    }

    fn dropped(&mut self) -> io::Result<Option<u64>> {
        self.socket.dropped().map(Some)
    }
}
