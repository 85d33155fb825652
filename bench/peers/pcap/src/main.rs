//! The crate `pcap`: libpcap, which receives through a `TPACKET_V3` ring and sends with `send`.

use std::io;
use std::process::ExitCode;

use fast_afpacket_bench_harness::{Contender, Receiver, Sender, Setup, Sink, Way, frames, worker};
use pcap::{Active, Capture, Error, Packet, Precision};

const WHO: &str = "pcap (libpcap)";
const RING: i32 = 64 << 20;
/// As long as the others' buffers: in immediate mode each slot of the ring is so large.
const SNAP_LEN: i32 = 2048;

fn main() -> ExitCode {
    worker::main(&[
        Contender::receiver(WHO, Way::RingByBlock, |setup| open(setup).map(OneByOne)).variant("next_packet"),
        Contender::receiver(WHO, Way::RingByBlock, |setup| open(setup).map(Dispatch)).variant("dispatch"),
        Contender::sender(WHO, Way::Send, Inject::open),
    ])
}

fn open(setup: &Setup) -> Result<Capture<Active>, Error> {
    Capture::from_device(&*setup.interface)?
        .buffer_size(RING)
        .snaplen(SNAP_LEN)
        .timeout(setup.block_timeout.into())
        .immediate_mode(setup.immediate)
        .precision(Precision::Nano)
        .open()
}

fn hand_over(packet: &Packet<'_>, sink: &mut impl Sink) {
    let time = packet.header.ts;
    // With this precision the microseconds are nanoseconds.
    let stamp = time.tv_sec * 1_000_000_000 + time.tv_usec;
    sink.frame(Some(stamp), packet.header.len as usize, packet.data);
}

fn dropped(capture: &mut Capture<Active>) -> io::Result<Option<u64>> {
    let stats = capture.stats().map_err(io::Error::other)?;
    Ok(Some(stats.dropped.into()))
}

/// Without frames libpcap waits for ever, whatever its timeout.
fn waker(capture: &mut Capture<Active>) -> Box<dyn Fn() + Send> {
    let handle = capture.breakloop_handle();
    Box::new(move || handle.breakloop())
}

/// An end of a wait is none of the frames.
fn waited(result: Result<(), Error>) -> io::Result<()> {
    match result {
        Ok(()) | Err(Error::TimeoutExpired | Error::NoMorePackets) => Ok(()),
        Err(Error::PcapError(text)) if text.is_empty() => Ok(()),
        Err(error) => Err(io::Error::other(error)),
    }
}

struct OneByOne(Capture<Active>);

impl Receiver for OneByOne {
    fn pass(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        waited(self.0.next_packet().map(|packet| hand_over(&packet, sink)))
    }

    fn dropped(&mut self) -> io::Result<Option<u64>> {
        dropped(&mut self.0)
    }

    fn waker(&mut self) -> Option<Box<dyn Fn() + Send>> {
        Some(waker(&mut self.0))
    }
}

struct Dispatch(Capture<Active>);

impl Receiver for Dispatch {
    fn pass(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        waited(self.0.dispatch(None, |packet| hand_over(&packet, sink)).map(drop))
    }

    fn dropped(&mut self) -> io::Result<Option<u64>> {
        dropped(&mut self.0)
    }

    fn waker(&mut self) -> Option<Box<dyn Fn() + Send>> {
        Some(waker(&mut self.0))
    }
}

struct Inject {
    capture: Capture<Active>,
    frame: Vec<u8>,
}

impl Inject {
    fn open(setup: &Setup) -> anyhow::Result<Self> {
        let capture = Capture::from_device(&*setup.interface)?.immediate_mode(true).buffer_size(1 << 20).open()?;
        Ok(Self { capture, frame: frames::one(setup.frame_len)? })
    }
}

impl Sender for Inject {
    fn send(&mut self) -> io::Result<u64> {
        self.capture.sendpacket(&*self.frame).map_err(io::Error::other)?;
        Ok(1)
    }
}
