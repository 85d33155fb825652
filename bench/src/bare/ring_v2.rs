//! A `TPACKET_V2` receive ring.

use std::io;
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};

use fast_afpacket_bench_harness::{Receiver, Setup, Sink};

use super::socket::{ETH_P_ALL, Mapping, NANOS, SLOT, Socket};

const BLOCKS: u32 = 256;
/// How often a pass looks before it returns without a frame.
const LOOKS: u32 = 4096;

pub(super) struct RingByFrame {
    memory: Mapping,
    socket: Socket,
    slots: usize,
    current: usize,
    spins: bool,
    /// Whether frames have stamps, or else the time of the copy.
    stamped: bool,
}

impl RingByFrame {
    pub(super) fn waiting(setup: &Setup) -> io::Result<Self> {
        Self::open(setup, Socket::receiver(setup)?)
    }

    pub(super) fn spinning(setup: &Setup) -> io::Result<Self> {
        Ok(Self { spins: true, ..Self::waiting(setup)? })
    }

    pub(super) fn unstamped(setup: &Setup) -> io::Result<Self> {
        Ok(Self { spins: true, stamped: false, ..Self::open(setup, Socket::open()?)? })
    }

    fn open(setup: &Setup, socket: Socket) -> io::Result<Self> {
        let (memory, slots) = socket.slots(libc::PACKET_RX_RING, BLOCKS)?;
        socket.bind(&setup.interface, ETH_P_ALL)?;
        Ok(Self { memory, socket, slots, current: 0, spins: false, stamped: true })
    }

    /// Whether there was a frame.
    #[inline]
    fn take(&mut self, sink: &mut impl Sink) -> bool {
        let slot = self.memory.at(self.current * SLOT as usize);
        // SAFETY: the status is in the mapping, aligned, and used by nobody but atomically.
        let status = unsafe { AtomicU32::from_ptr(slot.cast()) };
        let said = status.load(Ordering::Acquire);
        if said & libc::TP_STATUS_USER == 0 {
            return false;
        }
        // SAFETY: the slot is ours until its status is written, and has this header.
        let frame = unsafe { &*slot.cast::<libc::tpacket2_hdr>() };
        let data = slot.wrapping_add(frame.tp_mac.into());
        // SAFETY: the kernel has put so many bytes there.
        let bytes = unsafe { slice::from_raw_parts(data, frame.tp_snaplen as usize) };
        let stamp = i64::from(frame.tp_sec) * NANOS + i64::from(frame.tp_nsec);
        let stamp = ((said & libc::TP_STATUS_TS_SOFTWARE != 0) == self.stamped).then_some(stamp);
        sink.frame(stamp, frame.tp_len as usize, bytes);
        status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.current = (self.current + 1) % self.slots;
        true
    }
}

impl Receiver for RingByFrame {
    #[inline]
    fn pass(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        if self.take(sink) {
            return Ok(());
        }
        if !self.spins {
            return self.socket.wait();
        }
        for _ in 0..LOOKS {
            if self.take(sink) {
                break;
            }
            std::hint::spin_loop();
        }
        Ok(())
    }

    fn dropped(&mut self) -> io::Result<Option<u64>> {
        self.socket.dropped().map(Some)
    }
}
