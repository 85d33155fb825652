//! Those who receive, each in a way of its own. They outlive flaps, and count what they read.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fast_afpacket::{Filter, Interface, Options, PacketSocket, RecvBatch, RingShape, Stats};

use super::{PROTOCOL, Shared};

/// What a receiver has come to.
#[derive(Clone, Copy, Default)]
pub(super) struct Received {
    /// Frames that were read.
    pub(super) read: u64,
    /// The socket's own counts.
    pub(super) stats: Stats,
    /// How often it was told that the link was down.
    pub(super) down: u64,
    /// How often its filter was changed.
    pub(super) filter_changes: u64,
}

pub(super) type Run = fn(&Shared, &Interface, &Opened) -> anyhow::Result<Received>;

/// Whether a receiver is there: nothing is sent before.
#[derive(Clone, Default)]
pub(super) struct Opened(Arc<AtomicBool>);

impl Opened {
    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(super) fn wait(&self, shared: &Shared) {
        while !self.0.load(Ordering::Acquire) && shared.receives() {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn options() -> Options {
    PacketSocket::options().protocol(PROTOCOL)
}

/// How long a wait lasts before it is looked whether it is over.
fn a_while() -> Option<Instant> {
    Some(Instant::now() + Duration::from_millis(100))
}

/// Reads until it is over and nothing is left.
fn read_all(
    shared: &Shared,
    received: &mut Received,
    mut read: impl FnMut(&mut Received) -> io::Result<usize>,
) -> anyhow::Result<()> {
    loop {
        match read(received) {
            Ok(count) => received.read += count as u64,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                if !shared.receives() {
                    return Ok(());
                }
            }
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => received.down += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

pub(super) fn by_block(shared: &Shared, interface: &Interface, opened: &Opened) -> anyhow::Result<Received> {
    let mut ring = options().rx_ring(interface, RingShape::throughput().blocks(8))?;
    opened.set();
    let mut received = Received::default();
    read_all(shared, &mut received, |_| {
        ring.set_read_deadline(a_while());
        Ok(ring.next_block()?.iter().count())
    })?;
    received.stats = ring.stats()?;
    Ok(received)
}

pub(super) fn by_frame(shared: &Shared, interface: &Interface, opened: &Opened) -> anyhow::Result<Received> {
    let mut ring = options().rx_ring(interface, RingShape::latency())?;
    opened.set();
    let mut received = Received::default();
    read_all(shared, &mut received, |_| {
        ring.set_read_deadline(a_while());
        drop(ring.next_frame()?);
        Ok(1)
    })?;
    received.stats = ring.stats()?;
    Ok(received)
}

pub(super) fn batches(shared: &Shared, interface: &Interface, opened: &Opened) -> anyhow::Result<Received> {
    let socket = options().bind(interface)?;
    opened.set();
    let mut received = Received::default();
    let mut batch = RecvBatch::new(32, 256);
    read_all(shared, &mut received, |_| {
        socket.set_read_deadline(a_while());
        socket.recv_batch(&mut batch)
    })?;
    received.stats = socket.stats()?;
    Ok(received)
}

/// Every tenth of a second the filter is another: all frames, and those with an even number.
pub(super) fn one_by_one(shared: &Shared, interface: &Interface, opened: &Opened) -> anyhow::Result<Received> {
    let all = Filter::parse_ddd("1\n6 0 0 262144\n")?;
    let even = Filter::parse_ddd("5\n48 0 0 17\n84 0 0 1\n21 0 1 0\n6 0 0 262144\n6 0 0 0\n")?;
    let socket = options().filter(&all).bind(interface)?;
    opened.set();
    let mut received = Received::default();
    let (mut buffer, mut changed) = ([0; 256], Instant::now());
    read_all(shared, &mut received, |received| {
        if changed.elapsed() > Duration::from_millis(100) && shared.sends() {
            changed = Instant::now();
            received.filter_changes += 1;
            let filter = if received.filter_changes.is_multiple_of(2) { &all } else { &even };
            socket.set_filter(filter)?;
        }
        socket.set_read_deadline(a_while());
        socket.recv(&mut buffer).map(|_| 1)
    })?;
    received.stats = socket.stats()?;
    Ok(received)
}
