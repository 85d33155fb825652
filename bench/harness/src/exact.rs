//! Exact numbers of frames, for tools that count what a program does meanwhile: instructions, system calls, allocations.
//!
//! A receiver's frames are in its buffer before it is measured, so that it never waits. Nothing depends on time: each run
//! of a program counts the same.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use fast_afpacket::{EtherType, Interface, PacketSocket, Timestamping};

use crate::contender::{Receiver, Sender, Stamper};
use crate::job::{Count, Job, Outcome, Part, Setup};
use crate::sink::{Sink, Tally};
use crate::{alloc, frames};

/// How much longer than a ring keeps a block that is not full.
const SETTLE: Duration = Duration::from_millis(20);
/// These paths do not exist: that the program asks for them marks, in a trace of its system calls, what is measured.
pub const BEGIN: &str = "/measured/begin";
/// See [`BEGIN`].
pub const END: &str = "/measured/end";
/// The function that callgrind counts the instructions of, with all that it calls.
pub const MEASURED: &str = "fast_afpacket_bench_measured";

/// Does work. A tool finds it by its name.
// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
#[inline(never)]
fn fast_afpacket_bench_measured(work: &mut dyn FnMut()) {
    work();
}

/// Does work between marks, and returns how many allocations it made.
fn measured<E>(mut work: impl FnMut() -> Result<(), E>) -> Result<u64, E> {
    let mut result = Ok(());
    let _ = Path::new(BEGIN).exists();
    let before = alloc::made();
    fast_afpacket_bench_measured(&mut || result = work());
    let made = alloc::made() - before;
    let _ = Path::new(END).exists();
    result.map(|()| made)
}

/// Sends frames to a receiver.
struct Filler {
    socket: PacketSocket,
    frame: Vec<u8>,
    settle: Duration,
}

impl Filler {
    fn open(interface: &str, setup: &Setup) -> anyhow::Result<Self> {
        let socket = PacketSocket::options()
            .protocol(EtherType::EXPERIMENTAL_2)
            .timestamping(Timestamping::empty())
            .bind(&Interface::by_name(interface)?)?;
        let settle = SETTLE + Duration::from_millis(setup.block_timeout.into());
        Ok(Self { socket, frame: frames::one(setup.frame_len)?, settle })
    }

    fn fill(&self, frames: u64) -> anyhow::Result<()> {
        for _ in 0..frames {
            self.socket.send(&self.frame).context("cannot fill the receiver")?;
        }
        thread::sleep(self.settle);
        Ok(())
    }
}

/// Receives so many frames.
pub(crate) fn receive<R: Receiver>(mut receiver: R, job: &Job, count: &Count) -> anyhow::Result<Outcome> {
    let filler = Filler::open(&count.far_end, &job.setup)?;
    filler.fill(count.chunk)?;
    let mut tally = drain(&mut receiver, Tally::default(), count.chunk)?;
    let mut allocations = 0;
    let chunks = count.frames.div_ceil(count.chunk);
    for chunk in 1..=chunks {
        filler.fill(count.chunk)?;
        let goal = (chunk + 1) * count.chunk;
        allocations += measured(|| drain(&mut receiver, tally, goal).map(|after| tally = after))?;
    }
    tally.keep();
    let expected = (chunks + 1) * count.chunk;
    ensure!(tally.frames == expected, "{} frames came, {expected} were sent", tally.frames);
    Ok(Outcome { frames: chunks * count.chunk, stamped: tally.stamped(), allocations, ..Outcome::default() })
}

/// Receives until there are so many frames. The tally is handed over and back, so that it can be in registers meanwhile.
#[inline]
fn drain<R: Receiver>(receiver: &mut R, mut tally: Tally, goal: u64) -> io::Result<Tally> {
    let mut passes = 0;
    while tally.frames() < goal && passes < 2 * goal {
        receiver.pass(&mut tally)?;
        passes += 1;
    }
    Ok(tally)
}

/// Sends so many frames.
pub(crate) fn send<S: Sender>(mut sender: S, count: &Count) -> anyhow::Result<Outcome> {
    let mut send = |goal: u64| {
        let mut sent = 0;
        while sent < goal {
            match sender.send()? {
                0 => return Err(io::Error::other("there is no more room to send")),
                more => sent += more,
            }
        }
        io::Result::Ok(())
    };
    send(count.chunk)?;
    let frames = count.frames.next_multiple_of(count.chunk);
    let allocations = measured(|| send(frames))?;
    Ok(Outcome { frames, allocations, ..Outcome::default() })
}

/// Sends so many frames and reads their stamps, both or one of them measured.
pub(crate) fn stamp<S: Stamper>(mut stamper: S, count: &Count) -> anyhow::Result<Outcome> {
    let mut allocations = 0;
    let mut stamped = 0;
    let chunks = count.frames.div_ceil(count.chunk);
    for chunk in 0..=chunks {
        let is_warm = chunk > 0;
        let mut part = |part: Part, work: &mut dyn FnMut() -> io::Result<()>| {
            if is_warm && (count.part == part || count.part == Part::All) {
                allocations += measured(work)?;
                return Ok(());
            }
            work()
        };
        let mut sent = 0;
        part(Part::Sending, &mut || {
            while sent < count.chunk {
                sent += stamper.send()?;
            }
            Ok(())
        })?;
        let mut read = 0;
        part(Part::Reading, &mut || {
            read = stamper.read(sent)?;
            Ok(())
        })?;
        ensure!(read == sent, "{read} stamps came of {sent} frames");
        stamped += if is_warm { read } else { 0 };
    }
    Ok(Outcome { frames: chunks * count.chunk, stamped, allocations, ..Outcome::default() })
}
