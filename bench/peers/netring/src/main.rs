//! The crate `netring`: a `TPACKET_V3` ring for receiving and one for sending.

use std::io;
use std::process::ExitCode;

use fast_afpacket_bench_harness::{Contender, Receiver, Sender, Setup, Sink, Way, frames, socket, worker};
use netring::{Capture, Injector};

const WHO: &str = "netring";
/// As many as the others hand over with one system call.
const BATCH: usize = 64;

fn main() -> ExitCode {
    worker::main(&[
        Contender::receiver(WHO, Way::RingByBlock, Blocks::open),
        Contender::sender(WHO, Way::TxRing, |setup| Slots::open(setup, false)),
        Contender::sender(WHO, Way::TxRingBypass, |setup| Slots::open(setup, true)),
    ])
}

struct Blocks(Capture);

impl Blocks {
    /// With the ring that the others have, not its default of 64 blocks of 4 MiB.
    fn open(setup: &Setup) -> Result<Self, netring::Error> {
        let capture = Capture::builder()
            .interface(&setup.interface)
            .block_size(1 << 20)
            .block_count(64)
            .block_timeout_ms(setup.block_timeout.into())
            .fill_rxhash(false);
        capture.build().map(Self)
    }
}

impl Receiver for Blocks {
    fn pass(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        let Some(batch) = self.0.next_batch_blocking(socket::IDLE).map_err(io::Error::other)? else {
            return Ok(());
        };
        for packet in &batch {
            let time = packet.timestamp();
            let stamp = i64::from(time.sec) * 1_000_000_000 + i64::from(time.nsec);
            sink.frame(Some(stamp), packet.original_len(), packet.data());
        }
        Ok(())
    }

    fn dropped(&mut self) -> io::Result<Option<u64>> {
        Ok(Some(u64::from(self.0.stats().map_err(io::Error::other)?.drops)))
    }
}

struct Slots {
    injector: Injector,
    frame: Vec<u8>,
}

impl Slots {
    fn open(setup: &Setup, bypass: bool) -> anyhow::Result<Self> {
        let injector = Injector::builder().interface(&setup.interface).qdisc_bypass(bypass).build()?;
        Ok(Self { injector, frame: frames::one(setup.frame_len)? })
    }
}

impl Sender for Slots {
    fn send(&mut self) -> io::Result<u64> {
        for _ in 0..BATCH {
            let Some(mut slot) = self.injector.allocate(self.frame.len()) else { break };
            if let Some(room) = slot.data_mut().get_mut(..self.frame.len()) {
                room.copy_from_slice(&self.frame);
            }
            slot.set_len(self.frame.len());
            slot.send();
        }
        let sent = self.injector.flush().map_err(io::Error::other)?;
        Ok(sent as u64)
    }
}
