//! Sending with stamps that are not lost: a joiner on a socket, and a sender that does not outrun it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{StrayStamps, TxJoiner, TxOutcome};
use crate::hwtstamp::TxMode;
use crate::socket::PacketSocket;
use crate::timestamp::{SystemStamp, Timestamping};
use crate::tx_report::{TxKey, TxReport};

/// How fast a [`TxTracker`] lets frames go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TxPacing {
    /// Never more stamps under way than the error queue holds: a send waits for stamps to be read, and reads them itself.
    /// The default.
    #[default]
    Queue,
    /// Besides, no more frames that ask for a hardware stamp under way than this many: the places that the card has for
    /// them. igb has 1, igc 4. A frame that the card skipped all the same, because another program took the place, is
    /// waited for until its [`timeout`](TxTracker::timeout).
    Hardware(usize),
    /// No waiting. Stamps that find the error queue full are lost, and their frames reported
    /// [`QueueOverflowed`](super::MissingReason::QueueOverflowed).
    Unpaced,
}

impl TxPacing {
    /// No faster than a card with one place for a stamp takes them.
    pub const fn hardware() -> Self {
        Self::Hardware(1)
    }
}

/// Sends frames with stamps on a socket and says of each, exactly once, what became of it: a [`TxJoiner`] that does its
/// own sending and reading.
///
/// Its methods take `&self`: one thread may send while another takes the outcomes, or one does both. Nobody else shall
/// read the TX stamps of the socket.
///
/// ```no_run
/// use std::time::{Duration, Instant};
///
/// use fast_afpacket::{Interface, PacketSocket, TxKey, TxTracker};
///
/// let socket = PacketSocket::options().dual(true).bind(&Interface::by_name("eth1")?)?;
/// let tracker = TxTracker::new(&socket)?;
/// for number in 0..1_000_000 {
///     tracker.send(&[0xff; 60], TxKey::new(number))?;
///     while let Some(outcome) = tracker.try_outcome()? {
///         println!("{}: {:?}, left at {:?}", outcome.key.value(), outcome.result, outcome.software);
///     }
/// }
/// socket.set_tx_deadline(Some(Instant::now() + Duration::from_secs(2)));
/// while !tracker.is_empty() {
///     println!("{:?}", tracker.outcome()?);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TxTracker<'a> {
    socket: &'a PacketSocket,
    expected: Timestamping,
    pacing: TxPacing,
    timeout: Duration,
    /// Stamps that the error queue holds at least.
    room: usize,
    state: Mutex<State>,
}

struct State {
    joiner: TxJoiner,
    /// Outcomes that nobody has taken yet.
    settled: VecDeque<TxOutcome>,
    /// Software and scheduler stamps that have not come and are not given up.
    owed_by_kernel: usize,
    /// Hardware stamps likewise.
    owed_by_card: usize,
    /// Frames that asked for a hardware stamp since the error queue was seen empty.
    since_empty: usize,
}

/// Frames whose outcome has not been taken.
const CAPACITY: usize = 4096;

/// A wait without a frame under way ends now and then, to look whether one has been sent meanwhile.
const TICK: Duration = Duration::from_millis(100);

/// Hardware stamps that may come late: more places than any known card has.
const CARD_PLACES: usize = 64;

impl<'a> TxTracker<'a> {
    /// Tracks frames on this socket. Of each, those TX stamps are expected that the socket asks for; the hardware stamp
    /// only if the NIC is set to take it now.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if the socket asks for no TX stamps; `ENODEV` if the interface is gone.
    pub fn new(socket: &'a PacketSocket) -> io::Result<Self> {
        let mut expected = socket.granted().timestamping & Timestamping::TX;
        if expected.contains(Timestamping::TX_HARDWARE) {
            let setting = socket.current_interface()?.hwtstamp_through(socket.as_fd())?;
            expected.set(Timestamping::TX_HARDWARE, setting.is_some_and(|setting| setting.tx() != TxMode::OFF));
        }
        Self::expecting(socket, expected)
    }

    /// Tracks frames that ask for these stamps, on an interface that takes them: one that never comes costs each frame
    /// the whole [`timeout`](Self::timeout).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if the socket does not ask for them, or there are none.
    pub fn expecting(socket: &'a PacketSocket, stamps: Timestamping) -> io::Result<Self> {
        socket.check_stamps(stamps)?;
        let bytes = u64::try_from(socket.granted().receive_buffer).unwrap_or(u64::MAX).saturating_mul(2);
        let room = bytes / u64::from(socket.tx_stamp_memory());
        let state = State {
            joiner: TxJoiner::with_capacity(stamps, CAPACITY),
            settled: VecDeque::with_capacity(CAPACITY),
            owed_by_kernel: 0,
            owed_by_card: 0,
            since_empty: 0,
        };
        Ok(Self {
            socket,
            expected: stamps,
            pacing: TxPacing::default(),
            timeout: Duration::from_secs(1),
            room: usize::try_from(room).unwrap_or(usize::MAX),
            state: Mutex::new(state),
        })
    }

    /// How fast frames may go.
    #[must_use]
    pub fn pacing(mut self, pacing: TxPacing) -> Self {
        self.pacing = pacing;
        self
    }

    /// How long after the send a stamp may come; 1 s by default: drivers were seen to need half a second. To be set
    /// before the first frame is sent.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let joiner = TxJoiner::with_capacity(self.expected, CAPACITY);
        state.joiner = joiner.timeout(timeout);
        self
    }

    /// The stamps that are expected of a frame if nothing else is said.
    pub const fn expected(&self) -> Timestamping {
        self.expected
    }

    /// Sends a frame and keeps track of it. Waits as the [pacing](Self::pacing) demands.
    ///
    /// A frame that the kernel refuses has its outcome too, and the error is returned.
    ///
    /// # Errors
    ///
    /// As for [`PacketSocket::send_keyed`]; [`ResourceBusy`](io::ErrorKind::ResourceBusy) with a
    /// [`Rejected`](super::Rejected) inside if 4096 outcomes wait to be taken, or one of a frame with the same key: that
    /// frame is not sent and has no outcome. `ETIMEDOUT`, likewise, if the pacing did not let it go before the
    /// socket's [write deadline](PacketSocket::set_write_deadline).
    pub fn send(&self, frame: &[u8], key: TxKey) -> io::Result<usize> {
        self.send_stamped(frame, key, self.expected)
    }

    /// [`send`](Self::send) with other stamps than the rest: a hardware stamp for one in a hundred, or none for this one.
    ///
    /// # Errors
    ///
    /// See [`send`](Self::send) and [`PacketSocket::send_stamped`].
    pub fn send_stamped(&self, frame: &[u8], key: TxKey, stamps: Timestamping) -> io::Result<usize> {
        self.socket.check_stamps(stamps)?;
        let mut state = self.room_for(key, stamps)?;
        let before = SystemStamp::now();
        let sent = self.socket.send_stamped(frame, key, stamps);
        let (after, now) = (SystemStamp::now(), Instant::now());
        match &sent {
            Ok(_) => {
                state.joiner.sent_with(key, before, after, stamps, now).map_err(rejected)?;
                state.expect(stamps);
            }
            Err(error) => {
                state.joiner.refused(key, before, error, now).map_err(rejected)?;
                // A queue may have let it be stamped before it refused it.
                state.expect(Timestamping::TX);
            }
        }
        sent
    }

    /// The state once one more frame with these stamps may go.
    fn room_for(&self, key: TxKey, stamps: Timestamping) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        loop {
            state.joiner.admits(key).map_err(rejected)?;
            if state.joiner.len() + state.settled.len() >= CAPACITY {
                return Err(rejected(super::Rejected::Full));
            }
            if self.may_send(&state, stamps) {
                return Ok(state);
            }
            self.drain(&mut state)?;
            if self.may_send(&state, stamps) {
                return Ok(state);
            }
            let limit = self.next_look(&state);
            drop(state);
            let report = self.socket.recv_tx_for_sender(limit);
            state = self.lock();
            state.take_in(report)?;
        }
    }

    fn may_send(&self, state: &State, stamps: Timestamping) -> bool {
        let asks_card = stamps.contains(Timestamping::TX_HARDWARE);
        match self.pacing {
            TxPacing::Unpaced => true,
            TxPacing::Hardware(places) if asks_card && state.owed_by_card >= places.max(1) => false,
            _ => {
                // What may stand in the queue, or come into it, before anybody reads again. Of the hardware stamps of
                // frames that were sent before the queue was last empty, only those that the card holds can still come.
                let by_card = state.since_empty + state.owed_by_card.min(CARD_PLACES);
                let under_way = state.owed_by_kernel + by_card.min(state.owed_by_card);
                under_way == 0 || under_way + stamps.iter().count() <= self.room
            }
        }
    }

    /// The outcome of a frame, in the order in which they are settled. Waits for one until the socket's
    /// [TX deadline](PacketSocket::set_tx_deadline).
    ///
    /// # Errors
    ///
    /// As for [`PacketSocket::recv_tx`], apart from `ENETDOWN`: a link that goes down is a reason for missing stamps.
    pub fn outcome(&self) -> io::Result<TxOutcome> {
        loop {
            let mut state = self.lock();
            self.drain(&mut state)?;
            if let Some(outcome) = state.settled.pop_front() {
                return Ok(outcome);
            }
            let limit = self.next_look(&state);
            drop(state);
            let report = self.socket.recv_tx_until(&mut [], limit);
            self.lock().take_in(report)?;
        }
    }

    /// The outcome of a frame, if one is settled.
    ///
    /// # Errors
    ///
    /// As for [`outcome`](Self::outcome); it does not wait.
    pub fn try_outcome(&self) -> io::Result<Option<TxOutcome>> {
        let mut state = self.lock();
        if state.settled.is_empty() {
            self.drain(&mut state)?;
        }
        Ok(state.settled.pop_front())
    }

    /// Waits for nothing more: what is under way is settled now.
    ///
    /// # Errors
    ///
    /// As for [`outcome`](Self::outcome).
    pub fn finish(&self) -> io::Result<()> {
        let mut state = self.lock();
        self.drain(&mut state)?;
        state.joiner.finish();
        state.settle(Instant::now());
        Ok(())
    }

    /// How many frames have an outcome that was not taken yet.
    pub fn len(&self) -> usize {
        let state = self.lock();
        state.joiner.len() + state.settled.len()
    }

    /// Whether there is no frame whose outcome was not taken yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts of the stamps that are in no outcome.
    pub fn strays(&self) -> StrayStamps {
        self.lock().joiner.strays()
    }

    /// Reads all stamps that are there and settles what can be.
    fn drain(&self, state: &mut State) -> io::Result<()> {
        let now = Instant::now();
        // Only so many stamps can fill the queue.
        if state.owed_by_kernel + state.since_empty >= self.room && self.socket.is_tx_queue_full()? {
            state.joiner.queue_overflowed();
        }
        loop {
            match self.socket.recv_tx_until(&mut [], now) {
                Ok(None) => break,
                result => state.take_in(result)?,
            }
        }
        state.since_empty = 0;
        state.settle(now);
        Ok(())
    }

    /// Until when to wait for a stamp.
    fn next_look(&self, state: &State) -> Instant {
        let tick = Instant::now() + TICK;
        state.joiner.deadline().map_or(tick, |deadline| deadline.min(tick))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under this lock panics half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn expect(&mut self, stamps: Timestamping) {
        let by_card = usize::from(stamps.contains(Timestamping::TX_HARDWARE));
        self.owed_by_card += by_card;
        self.since_empty += by_card;
        self.owed_by_kernel += stamps.iter().count() - by_card;
    }

    /// Stamps that have come, or will never come.
    fn discharge(&mut self, stamps: Timestamping) {
        let by_card = usize::from(stamps.contains(Timestamping::TX_HARDWARE));
        self.owed_by_card = self.owed_by_card.saturating_sub(by_card);
        self.owed_by_kernel = self.owed_by_kernel.saturating_sub(stamps.iter().count() - by_card);
    }

    /// What was read. A link that goes down is not an error here: it will be the reason for missing stamps.
    #[inline]
    fn take_in(&mut self, result: io::Result<Option<TxReport>>) -> io::Result<()> {
        match result {
            Ok(Some(report)) => {
                let joined = self.joiner.join_report(&report);
                self.discharge(joined);
            }
            Ok(None) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => self.joiner.link_down(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn settle(&mut self, now: Instant) {
        while let Some(outcome) = self.joiner.take_outcome(now) {
            self.discharge(outcome.expected - outcome.stamped());
            self.settled.push_back(outcome);
        }
    }
}

fn rejected(why: super::Rejected) -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, why)
}

impl fmt::Debug for TxTracker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxTracker")
            .field("socket", self.socket)
            .field("expected", &self.expected)
            .field("pacing", &self.pacing)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
