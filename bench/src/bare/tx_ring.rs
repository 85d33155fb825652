//! A `TPACKET_V2` ring for sending: slots are filled, then one call has the kernel send them.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use fast_afpacket_bench_harness::{Sender, Setup, frames};

use super::Qdisc;
use super::socket::{Mapping, SLOT, Socket, checked};

const BLOCKS: u32 = 8;
/// Where the bytes of a frame begin in its slot.
const DATA: usize = 32;

pub(super) struct TxRing {
    memory: Mapping,
    socket: Socket,
    slots: usize,
    frame: Vec<u8>,
    batch: u16,
    current: usize,
}

impl TxRing {
    pub(super) fn open(setup: &Setup, qdisc: Qdisc) -> anyhow::Result<Self> {
        let socket = Socket::sender(setup, qdisc)?;
        let (memory, slots) = socket.slots(libc::PACKET_TX_RING, BLOCKS)?;
        let frame = frames::one(setup.frame_len)?;
        anyhow::ensure!(frame.len() + DATA <= SLOT as usize, "the frame does not fit into a slot");
        Ok(Self { memory, socket, slots, frame, batch: setup.batch, current: 0 })
    }

    /// Fills the next slot, if it is free.
    #[inline]
    fn fill(&mut self) -> bool {
        let slot = self.memory.at(self.current * SLOT as usize);
        // SAFETY: the status is in the mapping, aligned, and used by nobody but atomically.
        let status = unsafe { AtomicU32::from_ptr(slot.cast()) };
        if status.load(Ordering::Acquire) != libc::TP_STATUS_AVAILABLE {
            return false;
        }
        let header = slot.cast::<libc::tpacket2_hdr>();
        // SAFETY: the slot is ours until its status is written, and has this header.
        unsafe { (*header).tp_len = u32::try_from(self.frame.len()).unwrap_or(0) };
        // SAFETY: the frame fits into the slot, as was checked at first.
        unsafe { ptr::copy_nonoverlapping(self.frame.as_ptr(), slot.wrapping_add(DATA), self.frame.len()) };
        status.store(libc::TP_STATUS_SEND_REQUEST, Ordering::Release);
        self.current = (self.current + 1) % self.slots;
        true
    }
}

impl Sender for TxRing {
    #[inline]
    fn send(&mut self) -> io::Result<u64> {
        let mut filled = 0;
        while filled < u64::from(self.batch) && self.fill() {
            filled += 1;
        }
        // SAFETY: no bytes; the kernel looks into the ring.
        checked(unsafe { libc::send(self.socket.raw(), ptr::null(), 0, 0) })?;
        Ok(filled)
    }
}
