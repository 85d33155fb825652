//! Frames with keys, and the reports of them.

use std::io;

use fast_afpacket::{Options, PacketSocket, Timestamping, TxFrame, TxKey, TxReport, TxReportBatch};
use fast_afpacket_bench_harness::{Setup, Stamper, frames};

use super::send_batch::{batch, sent};
use super::{idle, interface, is_idle};

const REPORTS: usize = 64;

fn open(setup: &Setup, options: Options) -> Result<PacketSocket, fast_afpacket::Error> {
    let socket = options.timestamping(Timestamping::TX_SOFTWARE).stamp_every_frame(true).bind(&interface(setup)?)?;
    socket.set_tx_deadline(idle());
    Ok(socket)
}

#[inline]
fn has_stamp(report: &TxReport) -> bool {
    report.timestamps.software.is_some()
}

/// Adds up what [`Stamper::read`] promises: `next` reads some, and is asked until all are there.
#[inline]
fn read(socket: &PacketSocket, expected: u64, mut next: impl FnMut() -> io::Result<u64>) -> io::Result<u64> {
    let mut read = 0;
    let mut waited = false;
    while read < expected {
        match next() {
            Ok(stamps) => read += stamps,
            Err(error) if is_idle(&error) && !waited => {
                // The deadline may have been an old one.
                waited = true;
                socket.set_tx_deadline(idle());
            }
            Err(error) if is_idle(&error) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// [`PacketSocket::send_keyed`] and [`PacketSocket::recv_tx`].
pub(super) struct StampEach {
    socket: PacketSocket,
    frame: Vec<u8>,
    next: u32,
}

impl StampEach {
    pub(super) fn open(setup: &Setup, options: Options) -> anyhow::Result<Self> {
        Ok(Self { socket: open(setup, options)?, frame: frames::one(setup.frame_len)?, next: 0 })
    }
}

impl Stamper for StampEach {
    #[inline]
    fn send(&mut self) -> io::Result<u64> {
        self.socket.send_keyed(&self.frame, TxKey::new(self.next))?;
        self.next = self.next.wrapping_add(1);
        Ok(1)
    }

    #[inline]
    fn read(&mut self, expected: u64) -> io::Result<u64> {
        read(&self.socket, expected, || self.socket.recv_tx(&mut []).map(|report| has_stamp(&report).into()))
    }
}

/// [`PacketSocket::send_batch`] with keys and [`PacketSocket::recv_tx_batch`].
pub(super) struct StampBatch {
    socket: PacketSocket,
    frames: Vec<TxFrame<'static>>,
    reports: TxReportBatch,
    next: u32,
}

impl StampBatch {
    pub(super) fn open(setup: &Setup, options: Options) -> anyhow::Result<Self> {
        let reports = TxReportBatch::new(REPORTS);
        Ok(Self { socket: open(setup, options)?, frames: batch(setup)?, reports, next: 0 })
    }
}

impl Stamper for StampBatch {
    #[inline]
    fn send(&mut self) -> io::Result<u64> {
        for frame in &mut self.frames {
            *frame = frame.key(TxKey::new(self.next));
            self.next = self.next.wrapping_add(1);
        }
        sent(self.socket.send_batch(&self.frames), self.frames.len())
    }

    #[inline]
    fn read(&mut self, expected: u64) -> io::Result<u64> {
        let Self { socket, reports, .. } = self;
        read(socket, expected, || {
            socket.recv_tx_batch(reports)?;
            Ok(reports.reports().iter().map(|report| u64::from(has_stamp(report))).sum())
        })
    }
}
