//! Follows the clock of a NIC against the system clock, and converts stamps of the one into stamps of the other.

mod line;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use crate::drift::{Drift, ONE, Rates};
use crate::phc::{CrossTimestamp, Phc};
use crate::timestamp::{HardwareStamp, SystemStamp};
use line::{Axis, Gap, Limits, Sample};

/// Samples that are kept: at ten per second, those of the last 12.8 s.
const KEPT: usize = 128;

/// A sample that is less certain than this says nothing: 1 s, in nanoseconds.
const MAX_UNCERTAINTY: i64 = 1_000_000_000;

/// A longer pause ends what was known: 36 years, in nanoseconds. It bounds the arithmetic.
const MAX_PAUSE: i128 = 1 << 60;

/// The limits of [`PhcTracker::with_rate_limit`] and [`PhcTracker::with_wander`] end here: 10 %.
const MAX_DRIFT: Drift = Drift::from_ppm(100_000);

/// Relates the clock of a NIC to the system clock over time, from samples of both: converts a [`HardwareStamp`] into
/// a [`SystemStamp`] and back, each with a bound on how wrong that may be.
///
/// It makes no system call of its own, except in [`PhcTracker::sample`]: whoever uses it feeds it.
///
/// ```no_run
/// use fast_afpacket::{Fed, HardwareStamp, Interface, Phc, PhcTracker};
///
/// let phc = Phc::of(&Interface::by_name("eth1")?)?;
/// let mut tracker = PhcTracker::new();
/// tracker.sample(&phc)?;
/// let stamp = phc.now()?; // or one that came with a frame
/// if let Fed::Stepped(clock) = tracker.sample(&phc)? {
///     println!("stepped: {clock:?}");
/// }
/// match tracker.to_system(stamp) {
///     Some(converted) => println!("{} UTC, within {:?}", converted.system, converted.bound),
///     None => println!("stepped around that time"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What the bound is
///
/// The truth, what the system clock showed when that of the NIC showed the stamp, is at most [`Converted::bound`] from
/// the result. It adds up from the uncertainty of the samples and from what the rate may have done since:
///
/// | the stamp lies | bound, beside the uncertainty of the samples |
/// |---|---|
/// | between two samples, `a` after one and `b` before the other | wander · `a` · `b` / (`a` + `b`) |
/// | a distance `d` beyond the last sample (or before the first) | `d` · (2 · wander + how badly the samples tell the rate) |
/// | a distance `d` from the only sample | `d` · rate limit |
///
/// With samples every 100 ms and the default limits: at most 2.5 µs in the middle between two, 20 µs at 100 ms beyond
/// the last, where the samples themselves are sharp. So to convert well, wait for the next sample; to convert even
/// better, sample more often or set a wander that fits the clocks.
///
/// # What it assumes
///
/// * The rate of the clock of the NIC against the system clock is never further from 1 than the *rate limit*, 1000 ppm
///   unless set: two oscillators, and a servo on each of 500 ppm at most, which is what the kernel allows `ntpd`.
///   `chronyd` may slew the system clock by 8 % (`maxslewrate`), and a driver may accept still more for the NIC
///   ([`Phc::max_adjustment`]): set it if that is done. It also limits the system clock against the monotonic one.
/// * Between two samples, and from the last one to the stamp, the rate changes by no more than the *wander*, 100 ppm
///   unless set: a servo that slews by 50 ppm, and a crystal that changes its temperature, are within.
/// * At most one clock is stepped between two samples, once, and by more than it may drift: at 100 ms and with the
///   default limits, 40 µs to be seen for certain, 0.4 ms to be told which clock it was. A smaller step looks like a
///   change of rate: stamps between the samples around it, and beyond, may be off by as much.
/// * There was no step since the last sample, or before the first one, where the stamp lies there
///   ([`Basis::Extrapolated`]).
/// * The uncertainty of the samples is true; what [`CrossMethod::Precise`](crate::CrossMethod::Precise) cannot know is
///   not in it, nor is the time from the point in the NIC where a stamp is taken to the wire.
///
/// # Steps
///
/// A step of either clock ends a segment and begins the next; no result mixes samples of two. It is noticed at the
/// next sample, so feed one before you convert the stamps that came since the last. A stamp that the clock of the NIC
/// showed twice, because it was set back, has two answers: [`PhcTracker::to_system`] gives none, and
/// [`PhcTracker::to_system_near`] the one that you mean. Where the clock of the NIC was stepped, stamps between the
/// samples around it are converted from the side on which they lie; where the system clock was, they have no answer.
/// Only the last 128 samples are known; that there were steps before them, is not.
#[derive(Clone, Debug)]
pub struct PhcTracker {
    /// In order of time; stamps of both clocks increase within a segment.
    samples: Vec<Sample>,
    /// Where the segment of the last sample begins, also when that sample is no longer kept.
    start: Option<Sample>,
    limits: Limits,
}

impl PhcTracker {
    /// Without a sample, with a rate limit of 1000 ppm and a wander of 100 ppm.
    pub fn new() -> Self {
        let limits = Limits { rate: Drift::from_ppm(1_000).rate(), wander: Drift::from_ppm(100).rate() };
        Self { samples: Vec::with_capacity(KEPT), start: None, limits }
    }

    /// Assumes that the rate of one clock against the other is at most this far from 1. 10 % at most.
    ///
    /// A limit that is too small shows as [`Fed::Stepped`] at each sample.
    #[must_use]
    pub fn with_rate_limit(mut self, limit: Drift) -> Self {
        self.limits.rate = limit.min(MAX_DRIFT).rate();
        self
    }

    /// Assumes that this rate changes by at most this much from one sample to the next. 10 % at most.
    ///
    /// Two crystals at rest, nobody steering, one sample per second: 0.1 ppm is usual. A PTP servo: as much as it
    /// corrects in the time between two samples.
    #[must_use]
    pub fn with_wander(mut self, wander: Drift) -> Self {
        self.limits.wander = wander.min(MAX_DRIFT).rate();
        self
    }

    /// Reads the clocks and feeds the result.
    ///
    /// # Errors
    ///
    /// Those of [`Phc::cross_timestamp`]. The tracker is then as it was.
    pub fn sample(&mut self, phc: &Phc) -> io::Result<Fed> {
        phc.cross_timestamp().map(|cross| self.feed(cross))
    }

    /// Takes a sample, and says how it fits to those before. No memory is allocated.
    pub fn feed(&mut self, cross: CrossTimestamp) -> Fed {
        let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        let mut new = Sample {
            hardware: cross.hardware.as_nanos(),
            system: cross.system.as_nanos(),
            uncertainty: nanos(cross.uncertainty),
            monotonic: cross.monotonic.as_nanos(),
            monotonic_uncertainty: nanos(cross.monotonic_uncertainty),
            rates: Rates::up_to(self.limits.rate),
            segment: 0,
            gap: None,
        };
        if new.uncertainty.max(new.monotonic_uncertainty) > MAX_UNCERTAINTY {
            return Fed::Ignored;
        }
        let fed = match self.samples.last() {
            None => Fed::First,
            Some(last) => self.join(last, &mut new),
        };
        if fed == Fed::Ignored {
            return fed;
        }
        if fed != Fed::Continued {
            self.start = Some(new);
        }
        if self.samples.len() >= KEPT {
            self.samples.remove(0);
        }
        self.samples.push(new);
        fed
    }

    /// Fits a sample to the last: whether a clock was stepped in between, and if not, how fast they run apart now.
    fn join(&self, last: &Sample, new: &mut Sample) -> Fed {
        let since = |new: i64, last: i64| i128::from(new) - i128::from(last);
        let elapsed = since(new.monotonic, last.monotonic);
        let noise = i128::from(last.uncertainty) + i128::from(new.uncertainty) + line::RESOLUTION;
        let elapsed_noise = i128::from(last.monotonic_uncertainty) + i128::from(new.monotonic_uncertainty);
        let (hardware, system) = (since(new.hardware, last.hardware), since(new.system, last.system));
        if elapsed <= 0 {
            return Fed::Ignored;
        }
        // The system clock may drift by the limit against the third, that nobody sets, and the NIC against the system
        // clock: by twice the limit against the third.
        let drift = (elapsed.min(MAX_PAUSE) * self.limits.rate) / ONE + 1;
        let system_stepped = (system - elapsed).abs() > drift + noise + elapsed_noise;
        let hardware_stepped = (hardware - elapsed).abs() > 2 * drift + elapsed_noise;
        let stepped = match (hardware_stepped, system_stepped) {
            (true, true) => Stepped::Both,
            (true, false) => Stepped::Hardware,
            (false, true) => Stepped::System,
            (false, false) if elapsed > MAX_PAUSE => Stepped::Unknown,
            // Too soon after the last for the clocks to have gone on beyond doubt.
            (false, false) if hardware <= 0 || system <= 0 => return Fed::Ignored,
            (false, false) => {
                let before = last.rates.widened(self.limits.wander);
                let mean =
                    Rates::mean(hardware, system - hardware, noise).and(before).and_then(|mean| self.limited(mean));
                match mean.and_then(|mean| self.limited(mean.widened(self.limits.wander).and(before)?)) {
                    Some(rates) => {
                        new.rates = rates;
                        new.segment = last.segment;
                        return Fed::Continued;
                    }
                    None => Stepped::Unknown,
                }
            }
        };
        new.segment = last.segment.wrapping_add(1);
        let reach = elapsed + 2 * drift + noise + elapsed_noise;
        new.gap = Some(Gap { reach: i64::try_from(reach).unwrap_or(i64::MAX), stepped });
        Fed::Stepped(stepped)
    }

    fn limited(&self, rates: Rates) -> Option<Rates> {
        rates.and(Rates::up_to(self.limits.rate))
    }

    /// What the system clock showed when the clock of the NIC showed `stamp`.
    ///
    /// `None` before the first sample; if the stamp may belong to more than one segment; if the system clock was
    /// stepped around that time, or the NIC so that it never showed this stamp; if the result is not within the years
    /// 1678 to 2262.
    pub fn to_system(&self, stamp: HardwareStamp) -> Option<Converted> {
        self.to_system_if(stamp, |_| true)
    }

    /// Like [`PhcTracker::to_system`], for a stamp of which it is known that it was taken at `about`, give or take
    /// `within` on the system clock: of the segments that the stamp may belong to, only those count that put it there.
    ///
    /// For a frame, `about` is its software stamp. This also keeps a stamp that was taken after a step, which is not
    /// noticed before the next sample, from being converted with the samples before it.
    ///
    /// `None` also if no segment puts it there.
    pub fn to_system_near(&self, stamp: HardwareStamp, about: SystemStamp, within: Duration) -> Option<Converted> {
        self.to_system_if(stamp, |converted| {
            let off = converted.system.as_nanos().abs_diff(about.as_nanos());
            Duration::from_nanos(off) <= within.saturating_add(converted.bound)
        })
    }

    fn to_system_if(&self, stamp: HardwareStamp, counts: impl Fn(&Converted) -> bool) -> Option<Converted> {
        let mut found = None;
        for point in self.points(Axis::Hardware, stamp.as_nanos()) {
            let point = point?;
            let converted = Converted {
                system: SystemStamp::from_nanos(i64::try_from(point.system).ok()?),
                bound: point.bound(),
                basis: point.basis,
            };
            if counts(&converted) && found.replace(converted).is_some() {
                return None;
            }
        }
        found
    }

    /// What the clock of the NIC showed when the system clock showed `stamp`.
    ///
    /// `None` before the first sample; if the stamp may belong to more than one segment; if the clock of the NIC was
    /// stepped around that time, or the system clock so that it never showed this stamp; if the result is not within
    /// the years 1678 to 2262.
    pub fn to_hardware(&self, stamp: SystemStamp) -> Option<ConvertedBack> {
        let mut points = self.points(Axis::System, stamp.as_nanos());
        let point = points.next()??;
        if points.next().is_some() {
            return None;
        }
        Some(ConvertedBack {
            hardware: HardwareStamp::from_nanos(i64::try_from(point.hardware).ok()?),
            bound: point.bound_on_hardware(self.limits),
            basis: point.basis,
        })
    }

    /// The points that a stamp may stand for, one for each segment that may have shown it; `None` for a segment that
    /// cannot say because the other clock was stepped.
    fn points(&self, axis: Axis, stamp: i64) -> impl Iterator<Item = Option<line::Point>> {
        let mut segments = self.samples.chunk_by(|a, b| a.segment == b.segment).peekable();
        std::iter::from_fn(move || {
            let segment = segments.next()?;
            let next = segments.peek().and_then(|next| next.first());
            Some(line::find(segment, next, self.start.as_ref(), axis, stamp, self.limits))
        })
        .flatten()
    }
}

impl Default for PhcTracker {
    fn default() -> Self {
        Self::new()
    }
}

/// How a sample fits to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fed {
    /// It is the first.
    First,
    /// Both clocks went on as they may.
    Continued,
    /// A clock was stepped, or its rate changed beyond the limits, since the last sample.
    Stepped(Stepped),
    /// It was not used: not later than the last one on the monotonic clock, so close to it that a clock did not go on,
    /// or uncertain by more than 1 s.
    Ignored,
}

/// Which clock was stepped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stepped {
    /// That of the NIC.
    Hardware,
    /// The system clock.
    System,
    /// Both, or the machine was suspended: the monotonic clock stood still.
    Both,
    /// The two do not fit together any more, by too little to tell which one it was.
    Unknown,
}

/// A stamp of the NIC on the system clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Converted {
    /// What the system clock showed.
    pub system: SystemStamp,
    /// The truth is at most this far from it, to either side.
    pub bound: Duration,
    /// Whether the samples enclose it.
    pub basis: Basis,
}

/// A stamp of the system clock on the clock of the NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ConvertedBack {
    /// What the clock of the NIC showed.
    pub hardware: HardwareStamp,
    /// The truth is at most this far from it, to either side.
    pub bound: Duration,
    /// Whether the samples enclose it.
    pub basis: Basis,
}

/// Where a converted stamp lies among the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Basis {
    /// Between two samples without a step in between.
    Interpolated,
    /// Beyond the last sample, before the first, or next to a step: the bound grows with the distance, and holds if
    /// no step came in between.
    Extrapolated,
}
