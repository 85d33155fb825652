//! What became of each sent frame: joins the reports of the error queue to the sends that they belong to.

mod frames;
mod index;
#[cfg(test)]
mod model;
mod outcome;
mod retired;
#[cfg(test)]
mod tests;
mod tracker;

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use crate::timestamp::{HardwareStamp, SystemStamp, Timestamping};
use crate::tx_report::{TxKey, TxReport, TxStage};
use frames::{Frame, Frames};
pub use outcome::{MissingReason, Rejected, StrayStamps, TxOutcome, TxResult};
use retired::Retired;
pub use tracker::{TxPacing, TxTracker};

/// The most keys under way at once, unless the caller says otherwise.
const CAPACITY: usize = 4096;

/// Drivers were seen to need half a second.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The longest that a driver is known to wait for its card (igb).
const QUARANTINE: Duration = Duration::from_secs(15);

/// Joins the stamps of sent frames: for each key that it is told of it gives exactly one [`TxOutcome`].
///
/// It does no input or output and reads no clock; [`TxTracker`] does both for a socket. The caller tells it of sends and reports; it tells of a frame when all
/// stamps that were expected are there, when a stamp has taken too long, or when the caller is done.
///
/// ```no_run
/// use std::io::ErrorKind;
/// use std::time::{Duration, Instant};
///
/// use fast_afpacket::{Interface, PacketSocket, SystemStamp, Timestamping, TxJoiner, TxKey};
///
/// let socket = PacketSocket::options().timestamping(Timestamping::TX).bind(&Interface::by_name("eth1")?)?;
/// let mut joiner = TxJoiner::new(Timestamping::TX);
/// let frame = [0xff; 60];
/// let mut keys = (0..1000).map(TxKey::new);
/// loop {
///     let mut wake = joiner.deadline();
///     if let Some(key) = keys.next() {
///         joiner.admits(key)?;
///         let before = SystemStamp::now();
///         match socket.send_keyed(&frame, key) {
///             Ok(_) => joiner.sent(key, before, SystemStamp::now(), Instant::now())?,
///             Err(error) => joiner.refused(key, before, &error, Instant::now())?,
///         }
///         wake = Some(Instant::now() + Duration::from_millis(1)); // the next frame is due
///     } else if joiner.is_empty() {
///         break;
///     }
///     socket.set_tx_deadline(wake);
///     loop {
///         match socket.recv_tx(&mut []) {
///             Ok(report) => joiner.report(&report),
///             Err(error) if error.kind() == ErrorKind::TimedOut => break,
///             Err(error) if error.kind() == ErrorKind::NetworkDown => joiner.link_down(),
///             Err(error) => return Err(error.into()),
///         }
///     }
///     while let Some(outcome) = joiner.take_outcome(Instant::now()) {
///         println!("{}: {:?}, left at {:?}", outcome.key.value(), outcome.result, outcome.software);
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Which stamps to expect
///
/// Those that the frame asks for and the interface gives. One that never comes costs each frame the whole
/// [`timeout`](Self::timeout); one that comes although it was not expected is nobody's, and counted.
///
/// # What the result says
///
/// The first line that applies:
///
/// | what came | meanwhile | result |
/// |---|---|---|
/// | whatever | the send failed | [`Refused`](TxResult::Refused), with the stamps that came nevertheless |
/// | all that was expected | | [`Complete`](TxResult::Complete) |
/// | not all | a stamp that may be an older frame's | [`Missing`](TxResult::Missing), [`Ambiguous`](MissingReason::Ambiguous) |
/// | not all | [`queue_overflowed`](Self::queue_overflowed) | `Missing`, [`QueueOverflowed`](MissingReason::QueueOverflowed) |
/// | not all | [`link_down`](Self::link_down) | `Missing`, [`LinkDown`](MissingReason::LinkDown) |
/// | not all | [`finish`](Self::finish) | `Missing`, [`Finished`](MissingReason::Finished) |
/// | all but the hardware stamp, software among it | | [`HardwareSkipped`](TxResult::HardwareSkipped) |
/// | all but the hardware stamp, software not expected | | `Missing`, [`DeadlinePassed`](MissingReason::DeadlinePassed): nothing says that the frame reached the driver |
/// | software or scheduler stamp not there | | `Missing`, `DeadlinePassed`, also if a later stage was stamped |
///
/// # Keys that are used again
///
/// A key is in use until its outcome has been taken. From then on the joiner takes care that nothing of the older frame
/// becomes part of the newer one:
///
/// * A software or scheduler stamp from before the newer send is the older frame's: late. This compares stamps of
///   `CLOCK_REALTIME`; when that is set back during a send, the stamps of that frame count as late and are missing.
/// * The older frame lacked a stamp. For the [`quarantine`](Self::quarantine), counted from its outcome, a report of that
///   stage may be of either, since clocks of the card and of the system cannot be compared and a frame may be held
///   in a queue for long. It is dropped, and the newer frame's result says `Ambiguous`. If no stamp shows that the older
///   frame has left its queue, this holds for all stages that were expected of it.
///
/// So keys of a running counter are the best: they are free of all this, also when they wrap. What the joiner relies on:
///
/// * The latest 65 536 keys are remembered. Of keys that agree in their lower 16 bits this is the later or, if one lacked
///   a stamp and the other did not, the one that did.
/// * The card reports a stamp once, and it is read from the error queue within the quarantine.
/// * Of a frame whose outcome was complete or refused, nothing is stamped after its key was used again. Stacked devices
///   that queue may do so if only [`Timestamping::TX_SCHEDULED`] was expected.
///
/// # Cost
///
/// A send, its reports and its outcome take constant time and allocate nothing; all memory is taken at construction,
/// 1.5 MiB and less than 200 bytes for each key of the capacity.
pub struct TxJoiner {
    expected: Timestamping,
    timeout: Duration,
    quarantine: Duration,
    frames: Frames,
    retired: Retired,
    strays: StrayStamps,
    /// How often the error queue overflowed and the link went down: a frame that saw another number was under way then.
    overflows: u32,
    link_downs: u32,
    /// The latest time that the caller told: what it tells never runs backwards here.
    now: Option<Instant>,
}

/// One stamp of a report: its stage, named by what asks for it.
enum Stamp {
    Scheduled(SystemStamp),
    Software(SystemStamp),
    Hardware(HardwareStamp),
}

impl TxJoiner {
    /// A joiner for frames of which the TX stamps of `expected` will come, 4096 at once.
    pub fn new(expected: Timestamping) -> Self {
        Self::with_capacity(expected, CAPACITY)
    }

    /// A joiner for so many frames at once, at most 2³⁰: those whose outcome has not been taken.
    pub fn with_capacity(expected: Timestamping, capacity: usize) -> Self {
        Self {
            expected: expected & Timestamping::TX,
            timeout: TIMEOUT,
            quarantine: QUARANTINE,
            frames: Frames::with_capacity(capacity),
            retired: Retired::new(),
            strays: StrayStamps::default(),
            overflows: 0,
            link_downs: 0,
            now: None,
        }
    }

    /// How long after the send a stamp may come; 1 s by default. [`Duration::MAX`] waits for ever.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long after an outcome that lacked a stamp this stamp may still come; 15 s by default.
    ///
    /// For so long [a later frame with the same key](Self#keys-that-are-used-again) cannot have its own.
    #[must_use]
    pub const fn quarantine(mut self, quarantine: Duration) -> Self {
        self.quarantine = quarantine;
        self
    }

    /// Whether a frame may be sent with this key now: to be asked before the send.
    ///
    /// # Errors
    ///
    /// [`Rejected`], which says what to do first.
    pub fn admits(&self, key: TxKey) -> Result<(), Rejected> {
        if self.frames.find(key).is_some() {
            Err(Rejected::KeyInUse)
        } else if self.frames.len() == self.frames.capacity() {
            Err(Rejected::Full)
        } else {
            Ok(())
        }
    }

    /// A frame was sent; user space took the time before and after.
    ///
    /// To be told before any of its reports: a report without a send is nobody's. `now` is the time of the call, on the
    /// clock that [`take_outcome`](Self::take_outcome) will be asked with; if it runs backwards, the latest counts.
    ///
    /// # Errors
    ///
    /// [`Rejected`]: there will be no outcome for this frame, and its stamps will be nobody's. Where an older frame
    /// is under way with the same key, that one cannot have any further stamps either.
    pub fn sent(&mut self, key: TxKey, before: SystemStamp, after: SystemStamp, now: Instant) -> Result<(), Rejected> {
        self.sent_with(key, before, after, self.expected, now)
    }

    /// [`sent`](Self::sent) for a frame that asked for other stamps than the rest, such as one in a hundred for hardware.
    ///
    /// # Errors
    ///
    /// See [`sent`](Self::sent).
    pub fn sent_with(
        &mut self,
        key: TxKey,
        before: SystemStamp,
        after: SystemStamp,
        expected: Timestamping,
        now: Instant,
    ) -> Result<(), Rejected> {
        let expected = expected & Timestamping::TX;
        self.begin(TxOutcome::new(key, before, Some(after), TxResult::Complete), expected, now)
    }

    /// A send failed: the outcome is there at once.
    ///
    /// A queue that refuses a frame (`ENOBUFS`) has let it be stamped first. Such stamps are in the error queue by now;
    /// those that are reported before the outcome is taken become part of it.
    ///
    /// # Errors
    ///
    /// See [`sent`](Self::sent).
    pub fn refused(
        &mut self,
        key: TxKey,
        before: SystemStamp,
        error: &io::Error,
        now: Instant,
    ) -> Result<(), Rejected> {
        let result = TxResult::Refused { kind: error.kind(), errno: error.raw_os_error() };
        self.begin(TxOutcome::new(key, before, None, result), Timestamping::TX, now)
    }

    fn begin(&mut self, outcome: TxOutcome, expected: Timestamping, now: Instant) -> Result<(), Rejected> {
        let (key, now) = (outcome.key, self.advance(now));
        if let Some(frame) = self.frames.find(key).and_then(|at| self.frames.get_mut(at)) {
            // Its stamps and those of the frame that was sent all the same cannot be told apart.
            frame.older = Timestamping::TX;
            frame.contested = true;
            return Err(Rejected::KeyInUse);
        }
        let is_ready = expected.is_empty() || matches!(outcome.result, TxResult::Refused { .. });
        let frame = Frame {
            outcome: TxOutcome { expected, ..outcome },
            sent_at: now,
            expected,
            missing: expected,
            older: self.retired.owed(key, now),
            ambiguous: Timestamping::empty(),
            contested: false,
            is_finished: false,
            overflows: self.overflows,
            link_downs: self.link_downs,
        };
        if self.frames.insert(frame, is_ready) {
            return Ok(());
        }
        self.retired.insert(key, Timestamping::TX, now.checked_add(self.quarantine), now);
        Err(Rejected::Full)
    }

    /// A report came from the error queue: in any order, late or twice.
    #[inline]
    pub fn report(&mut self, report: &TxReport) {
        self.join_report(report);
    }

    /// [`report`](Self::report); gives the stages that it added to a frame.
    #[inline]
    pub(super) fn join_report(&mut self, report: &TxReport) -> Timestamping {
        let stamps = report.timestamps;
        let (software, hardware) = match report.stage {
            TxStage::Scheduled => (stamps.software.map(Stamp::Scheduled), None),
            TxStage::Sent => (stamps.software.map(Stamp::Software), stamps.hardware.map(Stamp::Hardware)),
            _ => (None, None),
        };
        if software.is_none() && hardware.is_none() {
            self.strays.ignored += 1;
        }
        let both = [software, hardware].into_iter().flatten();
        both.fold(Timestamping::empty(), |joined, stamp| joined | self.join(report.key, stamp))
    }

    #[inline]
    fn join(&mut self, key: TxKey, stamp: Stamp) -> Timestamping {
        let nothing = Timestamping::empty();
        let Some((at, frame)) = self.frames.find(key).and_then(|at| Some((at, self.frames.get_mut(at)?))) else {
            let count = if self.retired.knows(key) { &mut self.strays.late } else { &mut self.strays.unknown };
            *count += 1;
            return nothing;
        };
        let (stage, time) = match stamp {
            Stamp::Scheduled(time) => (Timestamping::TX_SCHEDULED, Some(time)),
            Stamp::Software(time) => (Timestamping::TX_SOFTWARE, Some(time)),
            Stamp::Hardware(_) => (Timestamping::TX_HARDWARE, None),
        };
        if time.is_some_and(|time| time < frame.outcome.before) {
            self.strays.late += 1;
            return nothing;
        }
        if !frame.expected.contains(stage) {
            self.strays.unexpected += 1;
            return nothing;
        }
        if !frame.missing.contains(stage) {
            // Each device of a stack that queues reports the scheduler stage: the first is the queue that was sent to.
            self.strays.duplicate += 1;
            return nothing;
        }
        if frame.older.contains(stage) {
            frame.ambiguous |= stage;
            self.strays.ambiguous += 1;
        } else {
            frame.missing -= stage;
            match stamp {
                Stamp::Scheduled(time) => frame.outcome.scheduled = Some(time),
                Stamp::Software(time) => frame.outcome.software = Some(time),
                Stamp::Hardware(time) => frame.outcome.hardware = Some(time),
            }
        }
        // A stage that was ambiguous once stays so: there is nothing to wait for.
        if frame.ambiguous.contains(frame.missing) {
            self.frames.make_ready(at);
        }
        stage
    }

    /// The error queue was full: stamps that are missing at their deadline may have been lost there.
    ///
    /// The kernel does not say that it lost one. [`PacketSocket::is_tx_queue_full`](crate::PacketSocket::is_tx_queue_full)
    /// says whether it may have: ask before the queue is read.
    pub const fn queue_overflowed(&mut self) {
        self.overflows = self.overflows.wrapping_add(1);
    }

    /// The link went down: frames that lack stamps at their deadline may have been lost with it.
    pub const fn link_down(&mut self) {
        self.link_downs = self.link_downs.wrapping_add(1);
    }

    /// Nothing more will come: all that is under way ends now, for [`take_outcome`](Self::take_outcome) to return.
    pub fn finish(&mut self) {
        while let Some(at) = self.frames.first_waiting() {
            if let Some(frame) = self.frames.get_mut(at) {
                frame.is_finished = true;
            }
            self.frames.make_ready(at);
        }
    }

    /// The next outcome, if there is one: in the order in which frames were settled, not in that of the sends.
    ///
    /// A frame that waits for a lost stamp does not hold up those behind it.
    #[inline]
    pub fn take_outcome(&mut self, now: Instant) -> Option<TxOutcome> {
        let now = self.advance(now);
        let at = match self.frames.first_ready() {
            Some(at) => at,
            None => self.frames.first_waiting().filter(|&at| self.deadline_of(at).is_some_and(|end| end <= now))?,
        };
        let frame = self.frames.remove(at)?;
        let until = now.checked_add(self.quarantine);
        self.retired.insert(frame.outcome.key, frame.owed(), until, now);
        let result = frame.result(self.overflows, self.link_downs);
        Some(TxOutcome { result, ..frame.outcome })
    }

    /// When [`take_outcome`](Self::take_outcome) will have something although no report comes: a time in the past if it
    /// has something now, `None` if nothing is under way or all waits for ever.
    pub fn deadline(&self) -> Option<Instant> {
        match self.frames.first_ready() {
            Some(at) => self.frames.get(at).map(|frame| frame.sent_at),
            None => self.frames.first_waiting().and_then(|at| self.deadline_of(at)),
        }
    }

    /// How many frames have an outcome that was not taken yet.
    pub const fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there is no frame whose outcome was not taken yet.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts of the stamps that are in no outcome.
    pub const fn strays(&self) -> StrayStamps {
        self.strays
    }

    fn deadline_of(&self, at: usize) -> Option<Instant> {
        self.frames.get(at)?.sent_at.checked_add(self.timeout)
    }

    /// Deadlines are kept in the order of sends, which is that of time only if time does not run backwards.
    fn advance(&mut self, now: Instant) -> Instant {
        *self.now.insert(self.now.map_or(now, |latest| latest.max(now)))
    }
}

impl fmt::Debug for TxJoiner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxJoiner")
            .field("expected", &self.expected)
            .field("timeout", &self.timeout)
            .field("quarantine", &self.quarantine)
            .field("len", &self.frames.len())
            .field("capacity", &self.frames.capacity())
            .field("strays", &self.strays)
            .finish_non_exhaustive()
    }
}
