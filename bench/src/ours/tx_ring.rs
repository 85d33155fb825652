//! [`TxRing`].

use std::io;

use fast_afpacket::{Options, RingShape, TxRing};
use fast_afpacket_bench_harness::{Sender, Setup, frames};

use super::interface;

pub(super) struct Ring {
    ring: TxRing,
    frame: Vec<u8>,
    batch: u16,
}

impl Ring {
    pub(super) fn open(setup: &Setup, options: Options) -> anyhow::Result<Self> {
        // As many slots as the bare ring has.
        let shape = RingShape::transmit();
        let ring = options.tx_ring(&interface(setup)?, shape)?;
        Ok(Self { ring, frame: frames::one(setup.frame_len)?, batch: setup.batch })
    }
}

impl Sender for Ring {
    #[inline]
    fn send(&mut self) -> io::Result<u64> {
        for _ in 0..self.batch {
            self.ring.push(&self.frame)?;
        }
        Ok(self.ring.flush()? as u64)
    }
}
