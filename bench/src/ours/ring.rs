//! [`RxRing`], by block and by frame.

use std::io;
use std::time::{Duration, Instant};

use fast_afpacket::{ByFrame, Error, Frame, Options, RingShape, RxRing, Timestamping};
use fast_afpacket_bench_harness::{Receiver, Setup, Sink};

use super::{idle, interface, is_idle, nanos, receiver};

#[inline]
fn hand_over(frame: &Frame<'_>, sink: &mut impl Sink) {
    sink.frame(nanos(frame.timestamps()), frame.wire_len(), frame.data());
}

/// Sets when a wait that begins now is to end, if the last one ended for lack of frames.
#[cold]
fn go_on_waiting<K>(ring: &RxRing<K>, error: io::Error, deadline: Option<Instant>) -> io::Result<()> {
    if !is_idle(&error) {
        return Err(error);
    }
    ring.set_read_deadline(deadline);
    Ok(())
}

/// Ends a wait, which has no end of its own.
fn waker<K>(ring: &RxRing<K>) -> Box<dyn Fn() + Send> {
    let control = ring.control();
    Box::new(move || control.set_read_deadline(Some(Instant::now())))
}

pub(super) struct RingByBlock {
    ring: RxRing,
    /// When a wait that begins now is to end.
    deadline: fn() -> Option<Instant>,
}

impl RingByBlock {
    pub(super) fn open(setup: &Setup) -> Result<Self, Error> {
        Self::waiting_until(setup, || None)
    }

    /// Each wait reads the clock.
    pub(super) fn with_deadline(setup: &Setup) -> Result<Self, Error> {
        Self::waiting_until(setup, idle)
    }

    fn waiting_until(setup: &Setup, deadline: fn() -> Option<Instant>) -> Result<Self, Error> {
        let shape = RingShape::throughput().block_timeout(Duration::from_millis(setup.block_timeout.into()));
        let ring = receiver(setup).rx_ring(&interface(setup)?, shape)?;
        ring.set_read_deadline(deadline());
        Ok(Self { ring, deadline })
    }
}

impl Receiver for RingByBlock {
    #[inline]
    fn pass(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        let error = match self.ring.next_block() {
            Ok(block) => {
                for frame in &block {
                    hand_over(&frame, sink);
                }
                return Ok(());
            }
            Err(error) => error,
        };
        go_on_waiting(&self.ring, error, (self.deadline)())
    }

    fn dropped(&mut self) -> io::Result<Option<u64>> {
        Ok(Some(self.ring.stats()?.dropped))
    }

    fn waker(&mut self) -> Option<Box<dyn Fn() + Send>> {
        Some(waker(&self.ring))
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
        Ok(Self { ring: options.rx_ring(&interface(setup)?, RingShape::latency())?, spins })
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
        go_on_waiting(&self.ring, error, None)
    }

    fn dropped(&mut self) -> io::Result<Option<u64>> {
        Ok(Some(self.ring.stats()?.dropped))
    }

    fn waker(&mut self) -> Option<Box<dyn Fn() + Send>> {
        Some(waker(&self.ring))
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
