//! System calls and nothing else: the limit that libraries are compared with.
//!
//! One module for each way, with `libc` alone, as lean as it can be. Each asks the kernel for what this library asks for
//! (timestamps, metadata, buffers, rings of the same shape) unless its name says that it asks for less.

mod key;
mod recv;
mod recv_batch;
mod ring_v2;
mod ring_v3;
mod segments;
mod send;
mod send_batch;
mod socket;
mod stamps;
mod tx_ring;

use fast_afpacket_bench_harness::{Contender, Setup, Way};

use recv::{Metadata, Recv, RecvPolled};
use recv_batch::RecvBatch;
use ring_v2::RingByFrame;
use ring_v3::RingByBlock;
use segments::Segments;
use send::Send;
use send_batch::SendBatch;
use stamps::{Numbers, StampBatch, StampEach};
use tx_ring::TxRing;

/// Who this is in the report.
pub(crate) const WHO: &str = "bare system calls";

/// Whether frames go past the queueing discipline.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Qdisc {
    Used,
    Bypassed,
}

/// All ways.
pub(crate) fn contenders() -> Vec<Contender> {
    use Numbers::{Counted, Keys};
    use Qdisc::{Bypassed, Used};
    fn all(setup: &Setup) -> std::io::Result<Recv> {
        Recv::open(setup, Metadata::All)
    }
    vec![
        Contender::sender(WHO, Way::Send, |setup| Send::open(setup, Used)),
        Contender::sender(WHO, Way::SendBypass, |setup| Send::open(setup, Bypassed)),
        Contender::sender(WHO, Way::SendBatch, |setup| SendBatch::open(setup, Used)),
        Contender::sender(WHO, Way::SendBatchBypass, |setup| SendBatch::open(setup, Bypassed)),
        Contender::sender(WHO, Way::TxRing, |setup| TxRing::open(setup, Used)),
        Contender::sender(WHO, Way::TxRingBypass, |setup| TxRing::open(setup, Bypassed)),
        Contender::sender(WHO, Way::Segments, Segments::open),
        Contender::receiver(WHO, Way::Recv, all),
        Contender::receiver(WHO, Way::RecvStampOnly, |setup| Recv::open(setup, Metadata::StampOnly)),
        Contender::receiver(WHO, Way::RecvPolled, |setup| all(setup).map(RecvPolled)),
        Contender::receiver(WHO, Way::RecvBatch, |setup| RecvBatch::open(setup, Metadata::All)),
        Contender::receiver(WHO, Way::RecvBatchStampOnly, |setup| RecvBatch::open(setup, Metadata::StampOnly)),
        Contender::receiver(WHO, Way::RingByBlock, RingByBlock::open),
        Contender::receiver(WHO, Way::RingByFrame, RingByFrame::waiting),
        Contender::receiver(WHO, Way::RingSpinning, RingByFrame::spinning),
        Contender::receiver(WHO, Way::RingSpinningUnstamped, RingByFrame::unstamped),
        Contender::stamper(WHO, Way::StampEach, |setup| StampEach::open(setup, Keys)),
        Contender::stamper(WHO, Way::StampEachCounted, |setup| StampEach::open(setup, Counted)),
        Contender::stamper(WHO, Way::StampBatch, |setup| StampBatch::open(setup, Used, Keys)),
        Contender::stamper(WHO, Way::StampBatchCounted, |setup| StampBatch::open(setup, Used, Counted)),
        Contender::stamper(WHO, Way::StampBatchBypass, |setup| StampBatch::open(setup, Bypassed, Keys)),
    ]
}
