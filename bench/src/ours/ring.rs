//! [`RxRing`], by block and by frame.

use std::io;
use std::time::Duration;

use fast_afpacket::{ByFrame, Error, Frame, Options, RingShape, RxRing, Timestamping};
use fast_afpacket_bench_harness::{Receiver, Setup, Sink};

use super::{idle, interface, is_idle, nanos, receiver};

#[inline]
fn hand_over(frame: &Frame<'_>, sink: &mut impl Sink) {
    sink.frame(nanos(frame.timestamps()), frame.wire_len(), frame.data());
}

/// Lets the next wait last as long again, if this one ended for lack of frames.
#[cold]
fn go_on_waiting<K>(ring: &RxRing<K>, error: io::Error) -> io::Result<()> {
    if !is_idle(&error) {
        return Err(error);
    }
    ring.set_read_deadline(idle());
    Ok(())
}

pub(super) struct RingByBlock(RxRing);

impl RingByBlock {
    pub(super) fn open(setup: &Setup) -> Result<Self, Error> {
        let shape = RingShape::throughput().block_timeout(Duration::from_millis(setup.block_timeout.into()));
        let ring = receiver(setup).rx_ring(&interface(setup)?, shape)?;
        ring.set_read_deadline(idle());
        Ok(Self(ring))
    }
}

impl Receiver for RingByBlock {
    #[inline]
    fn pass(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        let error = match self.0.next_block() {
            Ok(block) => {
                for frame in &block {
                    hand_over(&frame, sink);
                }
                return Ok(());
            }
            Err(error) => error,
        };
        go_on_waiting(&self.0, error)
    }

    fn dropped(&mut self) -> io::Result<Option<u64>> {
        Ok(Some(self.0.stats()?.dropped))
    }
}

pub(super) struct RingByFrame {
    ring: RxRing<ByFrame>,
    spins: bool,
}

/// How often a pass looks before it returns without a frame.
const LOOKS: u32 = 4096;

impl RingByFrame {
    pub(super) fn waiting(setup: &Setup) -> Result<Self, Error> {
        Self::open(setup, receiver(setup), false)
    }

    pub(super) fn spinning(setup: &Setup) -> Result<Self, Error> {
        Self::open(setup, receiver(setup), true)
    }

    fn open(setup: &Setup, options: Options, spins: bool) -> Result<Self, Error> {
        let ring = options.rx_ring(&interface(setup)?, RingShape::latency())?;
        ring.set_read_deadline(idle());
        Ok(Self { ring, spins })
    }

    #[inline]
    fn spin(&mut self, mut take: impl FnMut(&Frame<'_>)) -> io::Result<()> {
        for _ in 0..LOOKS {
            if let Some(held) = self.ring.try_next_frame()? {
                take(&held.frame());
                break;
            }
            std::hint::spin_loop();
        }
        Ok(())
    }
}

impl Receiver for RingByFrame {
    #[inline]
    fn pass(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        if self.spins {
            return self.spin(|frame| hand_over(frame, sink));
        }
        let error = match self.ring.next_frame() {
            Ok(held) => {
                hand_over(&held.frame(), sink);
                return Ok(());
            }
            Err(error) => error,
        };
        go_on_waiting(&self.ring, error)
    }

    fn dropped(&mut self) -> io::Result<Option<u64>> {
        Ok(Some(self.ring.stats()?.dropped))
    }
}

/// Frames without stamps: each has the time at which the kernel copied it.
pub(super) struct UnstampedRing(RingByFrame);

impl UnstampedRing {
    pub(super) fn open(setup: &Setup) -> Result<Self, Error> {
        RingByFrame::open(setup, receiver(setup).timestamping(Timestamping::empty()), true).map(Self)
    }
}

impl Receiver for UnstampedRing {
    #[inline]
    fn pass(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        self.0.spin(|frame| {
            let copied_at = frame.copied_at().map(|time| time.as_nanos());
            sink.frame(copied_at, frame.wire_len(), frame.data());
        })
    }

    fn dropped(&mut self) -> io::Result<Option<u64>> {
        self.0.dropped()
    }
}
