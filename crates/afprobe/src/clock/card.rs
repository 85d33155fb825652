//! The clock of a card against the system clock, sampled in the background: hardware stamps on the system clock.

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fast_afpacket::{Converted, CrossTimestamp, HardwareStamp, Interface, Phc, PhcTracker, SystemStamp};

/// A sample takes some tens of microseconds of one processor, and the bus to the card. Between two samples a stamp is
/// converted to a few microseconds, behind the last one to 20.
const INTERVAL: Duration = Duration::from_millis(100);

/// A stamp of the card belongs to the frame if it is that close to a stamp of the kernel.
const CLOSE: Duration = Duration::from_secs(1);

/// Reads a card's clock once.
type Sample = Box<dyn FnMut() -> io::Result<CrossTimestamp> + Send + Sync>;

/// Follows the clock of a card for as long as it lives. Its host's threads share it.
pub(crate) struct CardClock {
    shared: Arc<Shared>,
    /// There until the clock is followed.
    sample: Option<Sample>,
    sampler: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The state has changed: it is to end.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    tracker: PhcTracker,
    /// Why the latest sample could not be taken.
    trouble: Option<io::ErrorKind>,
    is_ending: bool,
}

impl CardClock {
    /// Opens the clock from which this interface takes its stamps, and samples it once.
    ///
    /// # Errors
    ///
    /// There is no such clock, it cannot be opened, or not be read.
    pub(crate) fn open(interface: &Interface) -> Result<Self> {
        let phc = Phc::of(interface)?;
        Self::sampled(move || phc.cross_timestamp()).with_context(|| format!("cannot read the clock of {interface}"))
    }

    fn sampled(mut sample: impl FnMut() -> io::Result<CrossTimestamp> + Send + Sync + 'static) -> Result<Self> {
        let mut tracker = PhcTracker::new();
        tracker.feed(sample()?);
        let state = State { tracker, trouble: None, is_ending: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        Ok(Self { shared, sample: Some(Box::new(sample)), sampler: None })
    }

    /// Goes on sampling it, on a thread of its own.
    pub(crate) fn follow(&mut self) -> Result<()> {
        self.follow_at(INTERVAL)
    }

    fn follow_at(&mut self, interval: Duration) -> Result<()> {
        if let Some(sample) = self.sample.take() {
            let shared = Arc::clone(&self.shared);
            let sampler = thread::Builder::new().name("card-clock".to_owned());
            self.sampler = Some(sampler.spawn(move || shared.keep_sampling(sample, interval))?);
        }
        Ok(())
    }

    /// What the system clock showed at a stamp of the card, and within what. `about` is the kernel's stamp of the same
    /// frame, if there is one: it tells apart what the card's clock showed twice.
    ///
    /// Best asked a tenth of a second after the frame, when the samples enclose it. `None` if it cannot be known: around
    /// a step of a clock.
    pub(crate) fn to_system(&self, stamp: HardwareStamp, about: Option<SystemStamp>) -> Option<Converted> {
        let state = self.shared.lock();
        match about {
            Some(about) => state.tracker.to_system_near(stamp, about, CLOSE),
            None => state.tracker.to_system(stamp),
        }
    }

    /// Why the card's clock could not be read the last time.
    #[cfg(test)]
    fn trouble(&self) -> Option<io::ErrorKind> {
        self.shared.lock().trouble
    }
}

impl fmt::Debug for CardClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CardClock").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl Drop for CardClock {
    fn drop(&mut self) {
        self.shared.lock().is_ending = true;
        self.shared.changed.notify_all();
        if let Some(sampler) = self.sampler.take() {
            // It does not panic; if it did, there would be nothing more to say here.
            let _ = sampler.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A tracker is whole between two calls, whoever panicked meanwhile.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep_sampling(&self, mut sample: Sample, interval: Duration) {
        loop {
            let due = Instant::now() + interval;
            let mut state = self.lock();
            while !state.is_ending {
                let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                    break;
                };
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            if state.is_ending {
                return;
            }
            // Nobody who converts waits for the card.
            drop(state);
            let sampled = sample();
            let mut state = self.lock();
            state.trouble = sampled.as_ref().err().map(io::Error::kind);
            if let Ok(cross) = sampled {
                state.tracker.feed(cross);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fast_afpacket::{Basis, CrossMethod, MonotonicStamp};
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A card 37 s ahead whose clock runs 20 ppm fast, read once each millisecond of its own.
    fn cross(sample: u64) -> CrossTimestamp {
        let at = i64::try_from(sample).unwrap() * 1_000_000;
        let hardware = HardwareStamp::from_nanos(37_000_000_000 + at + at / 50_000);
        let system = [at - 500, at + 500].map(SystemStamp::from_nanos);
        let monotonic = [at - 700, at + 700].map(MonotonicStamp::from_nanos);
        CrossTimestamp::within(CrossMethod::Extended, hardware, system, monotonic).unwrap()
    }

    #[test]
    fn stamps_between_samples_are_converted_until_the_end() {
        static SAMPLES: AtomicU64 = AtomicU64::new(0);
        let sample = || Ok(cross(SAMPLES.fetch_add(1, Ordering::SeqCst)));
        let mut clock = CardClock::sampled(sample).unwrap();
        clock.follow_at(Duration::from_millis(1)).unwrap();
        let stamp = HardwareStamp::from_nanos(37_000_000_000 + 2_500_000 + 50);
        let end = Instant::now() + Duration::from_secs(60);
        let converted = loop {
            let converted = clock.to_system(stamp, None).unwrap();
            if converted.basis == Basis::Interpolated {
                break converted;
            }
            assert!(Instant::now() < end, "no samples come: {:?}", clock.trouble());
            thread::sleep(Duration::from_millis(1));
        };
        let off = converted.system.nanos_since(SystemStamp::from_nanos(2_500_000)).unsigned_abs();
        assert!(Duration::from_nanos(off) <= converted.bound, "{converted:?}");
        assert!(converted.bound < Duration::from_micros(1), "{converted:?}");
        let about = |nanos| clock.to_system(stamp, Some(SystemStamp::from_nanos(nanos)));
        assert_eq!(about(2_600_000), Some(converted));
        assert_eq!(about(5_000_000_000), None, "another frame's");
        drop(clock);
        let count = SAMPLES.load(Ordering::SeqCst);
        thread::sleep(Duration::from_millis(10));
        assert_eq!(SAMPLES.load(Ordering::SeqCst), count, "it goes on after its end");
    }

    #[test]
    fn a_card_that_goes_away_is_told_of() {
        let mut samples = 0;
        let sample = move || {
            samples += 1;
            if samples == 1 { Ok(cross(0)) } else { Err(io::ErrorKind::NotFound.into()) }
        };
        let mut clock = CardClock::sampled(sample).unwrap();
        clock.follow_at(Duration::from_millis(1)).unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        while clock.trouble() != Some(io::ErrorKind::NotFound) {
            assert!(Instant::now() < end);
            thread::sleep(Duration::from_millis(1));
        }
        assert!(clock.to_system(HardwareStamp::from_nanos(37_000_000_000), None).is_some());
        let error = CardClock::sampled(|| Err(io::ErrorKind::NotFound.into())).map(drop).unwrap_err();
        assert_eq!(error.downcast_ref::<io::Error>().unwrap().kind(), io::ErrorKind::NotFound);
    }
}
