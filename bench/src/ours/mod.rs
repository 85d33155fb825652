//! This library.

mod recv;
mod recv_async;
mod recv_batch;
mod ring;
mod segments;
mod send;
mod send_batch;
mod stamps;
mod tx_ring;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use fast_afpacket::{EtherType, Interface, Options, PacketSocket, Timestamping, Timestamps};
use fast_afpacket_bench_harness::{Contender, Setup, Way, socket};

use recv::Recv;
use recv_async::RecvAsync;
use recv_batch::RecvBatch;
use ring::{RingByBlock, RingByFrame, UnstampedRing};
use segments::Segments;
use send::Send;
use send_batch::SendBatch;
use stamps::{StampBatch, StampEach};
use tx_ring::Ring;

/// Who this is in the report.
pub(crate) const WHO: &str = "fast-afpacket";

/// All ways.
pub(crate) fn contenders() -> Vec<Contender> {
    vec![
        Contender::sender(WHO, Way::Send, |setup| Send::open(setup, sender())),
        Contender::sender(WHO, Way::Send, |setup| Send::open(setup, one_socket())).variant("one socket"),
        Contender::sender(WHO, Way::SendBypass, |setup| Send::open(setup, bypassing())),
        Contender::sender(WHO, Way::SendBatch, |setup| SendBatch::open(setup, sender())),
        Contender::sender(WHO, Way::SendBatch, |setup| SendBatch::open(setup, one_socket())).variant("one socket"),
        Contender::sender(WHO, Way::SendBatchBypass, |setup| SendBatch::open(setup, bypassing())),
        Contender::sender(WHO, Way::TxRing, |setup| Ring::open(setup, ring_options())),
        Contender::sender(WHO, Way::TxRingBypass, |setup| Ring::open(setup, ring_options().qdisc_bypass(true))),
        Contender::sender(WHO, Way::Segments, Segments::open),
        Contender::receiver(WHO, Way::Recv, Recv::open),
        Contender::receiver(WHO, Way::Recv, Recv::with_deadline).variant("with a deadline"),
        Contender::receiver(WHO, Way::RecvAsync, RecvAsync::open),
        Contender::receiver(WHO, Way::RecvBatch, RecvBatch::open),
        Contender::receiver(WHO, Way::RingByBlock, RingByBlock::open),
        Contender::receiver(WHO, Way::RingByBlock, RingByBlock::with_deadline).variant("with a deadline"),
        Contender::receiver(WHO, Way::RingByFrame, RingByFrame::waiting),
        Contender::receiver(WHO, Way::RingSpinning, RingByFrame::spinning),
        Contender::receiver(WHO, Way::RingSpinningUnstamped, UnstampedRing::open),
        Contender::stamper(WHO, Way::StampEach, |setup| StampEach::open(setup, sender())),
        Contender::stamper(WHO, Way::StampEachCounted, |setup| StampEach::open(setup, sender().count_keys(true))),
        Contender::stamper(WHO, Way::StampBatch, |setup| StampBatch::open(setup, sender())),
        Contender::stamper(WHO, Way::StampBatchBypass, |setup| StampBatch::open(setup, bypassing())),
    ]
}

fn interface(setup: &Setup) -> Result<Interface, fast_afpacket::Error> {
    Interface::by_name(&setup.interface)
}

/// For one who sends and receives in one socket: it is bound to a protocol, here one of which nothing comes, and each frame
/// is sent to an address, which says that its protocol is another.
fn one_socket() -> Options {
    PacketSocket::options().protocol(EtherType::EXPERIMENTAL_2).timestamping(Timestamping::empty())
}

/// For one who sends fast: through a socket that is for sending alone, as that of the bare system calls is.
fn sender() -> Options {
    one_socket().dual(true)
}

fn bypassing() -> Options {
    sender().qdisc_bypass(true)
}

/// A ring is for sending alone: it takes no other options.
fn ring_options() -> Options {
    PacketSocket::options().timestamping(Timestamping::empty())
}

/// For receiving, with software stamps.
fn receiver(setup: &Setup) -> Options {
    let options = PacketSocket::options().timestamping(Timestamping::RX_SOFTWARE);
    match setup.receive_buffer {
        Some(bytes) => options.receive_buffer(bytes),
        None => options,
    }
}

/// When a wait that begins now is to end.
fn idle() -> Option<Instant> {
    Some(Instant::now() + socket::IDLE)
}

/// Ends a wait for a frame, which has no end of its own.
fn waker(socket: &Arc<PacketSocket>) -> Box<dyn Fn() + std::marker::Send> {
    let socket = Arc::clone(socket);
    Box::new(move || socket.set_read_deadline(Some(Instant::now())))
}

/// Whether this error is the end of a wait.
fn is_idle(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut
}

/// The kernel's stamp, as the benchmark's sinks take it.
#[inline]
fn nanos(timestamps: Timestamps) -> Option<i64> {
    timestamps.software.map(|stamp| stamp.as_nanos())
}
