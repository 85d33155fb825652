//! The clock of a NIC: which one an interface has, what it shows, and what the system clock shows at that moment.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::clock::MonotonicStamp;
use crate::drift::Drift;
use crate::error::{Context, Error, Step};
use crate::interface::Interface;
use crate::sys::ptp;
use crate::timestamp::{HardwareStamp, SystemStamp};

/// Readings of which the one with the shortest window is kept. An interrupt between two readings makes one of them
/// long; that it hits eight in a row is not worth more system calls.
const READINGS: usize = 8;

/// A PTP hardware clock, `/dev/ptpN`: the clock from which a NIC takes its stamps. It is read, never set.
///
/// One clock may serve several interfaces. What it shows is up to whoever steers it; how that relates to the system
/// clock now says [`Phc::cross_timestamp`], and over time [`PhcTracker`](crate::PhcTracker).
///
/// ```no_run
/// use fast_afpacket::{Interface, Phc};
///
/// let phc = Phc::of(&Interface::by_name("eth1")?)?;
/// let cross = phc.cross_timestamp()?;
/// println!("ptp{} showed {} at {} UTC, within {:?}", phc.index(), cross.hardware, cross.system, cross.uncertainty);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Kernel
///
/// Documentation/driver-api/ptp.rst; linux/ptp_clock.h. Linux 3.0.
#[derive(Debug)]
#[doc(alias("PHC", "ptp_clock"))]
pub struct Phc {
    index: u32,
    file: File,
    /// The first [`CrossMethod`] of which this clock has not said yet that it lacks it.
    method: AtomicU8,
}

impl Phc {
    /// The clock from which this interface takes its stamps.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if the interface has no PTP hardware clock; `ENODEV` if the interface is gone; those of
    /// [`Phc::open`].
    #[doc(alias("phc_index", "ETHTOOL_GET_TS_INFO"))]
    pub fn of(interface: &Interface) -> Result<Self, Error> {
        let no_clock = || io::Error::from_raw_os_error(libc::EOPNOTSUPP);
        let index = interface.capabilities()?.phc();
        let index = index.ok_or_else(no_clock).during(Step::Clock, &interface.name())?;
        Self::open_file(index).during(Step::Clock, &format!("{} (/dev/ptp{index})", interface.name()))
    }

    /// The clock `/dev/ptp{index}`, opened for reading.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is none, or a container hides it; `EACCES` if the device file cannot be read, as is usual for
    /// anybody but root.
    pub fn open(index: u32) -> Result<Self, Error> {
        Self::open_file(index).during(Step::Clock, &format!("/dev/ptp{index}"))
    }

    fn open_file(index: u32) -> io::Result<Self> {
        let file = File::open(format!("/dev/ptp{index}"))?;
        Ok(Self { index, file, method: AtomicU8::new(0) })
    }

    /// The N of `/dev/ptpN`.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// What the driver calls the clock, for people to read: it need not be unique. From `/sys/class/ptp`.
    ///
    /// # Errors
    ///
    /// `ENOENT` if the clock is gone, or `/sys` is not mounted.
    #[doc(alias = "clock_name")]
    pub fn name(&self) -> io::Result<String> {
        let name = fs::read_to_string(format!("/sys/class/ptp/ptp{}/clock_name", self.index))?;
        Ok(name.trim_end().to_owned())
    }

    /// What the clock shows now. Reading a register of the NIC takes a microsecond or more.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the NIC is gone. `InvalidData` if the clock shows a time outside the years 1678 to 2262.
    #[doc(alias("clock_gettime", "FD_TO_CLOCKID"))]
    pub fn now(&self) -> io::Result<HardwareStamp> {
        ptp::now(self.as_fd()).map(HardwareStamp::from_nanos)
    }

    /// By how much whoever steers this clock can change its frequency: `max_adj` of the driver. The limits of the
    /// oscillator are not in it.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the NIC is gone.
    #[doc(alias("max_adj", "PTP_CLOCK_GETCAPS"))]
    pub fn max_adjustment(&self) -> io::Result<Drift> {
        ptp::max_adjustment(self.as_fd()).map(|ppb| Drift::from_ppb(ppb.unsigned_abs()))
    }

    /// What this clock, the system clock and the monotonic clock show at one moment: the best of eight readings, by
    /// the best method that kernel and driver have. Takes some tens of microseconds.
    ///
    /// A method that this clock lacks (`EOPNOTSUPP`, `ENOTTY`, `EINVAL`) is not tried again. One that fails for
    /// another reason is left out this time.
    ///
    /// # Errors
    ///
    /// What the last method says: `ENODEV` if the NIC is gone. `InvalidData` if a clock shows a time outside the years
    /// 1678 to 2262, or if the system clock went backwards during each reading.
    #[doc(alias("PTP_SYS_OFFSET", "PTP_SYS_OFFSET_EXTENDED", "PTP_SYS_OFFSET_PRECISE"))]
    pub fn cross_timestamp(&self) -> io::Result<CrossTimestamp> {
        let lacks =
            |error: &io::Error| matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOTTY | libc::EINVAL));
        // A race of two threads ends with one of them trying a method once more.
        let known = self.method.load(Ordering::Relaxed);
        if known <= CrossMethod::Precise as u8 {
            match self.precise() {
                Err(error) if lacks(&error) => self.method.store(CrossMethod::Extended as u8, Ordering::Relaxed),
                Err(_) => {} // no dialogue with the root port this time, another clock source
                found => return found,
            }
        }
        if known <= CrossMethod::Extended as u8 {
            match self.best_window(CrossMethod::Extended, ptp::extended) {
                Err(error) if lacks(&error) => {
                    // Not if the better method is only out of order for now.
                    let _ = self.method.compare_exchange(
                        CrossMethod::Extended as u8,
                        CrossMethod::Basic as u8,
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                    );
                }
                Err(_) => {}
                found => return found,
            }
        }
        self.best_window(CrossMethod::Basic, ptp::basic)
    }

    fn precise(&self) -> io::Result<CrossTimestamp> {
        let ptp::Precise { hardware, realtime, monotonic_raw } = ptp::precise(self.as_fd())?;
        Ok(CrossTimestamp {
            hardware: HardwareStamp::from_nanos(hardware),
            system: SystemStamp::from_nanos(realtime),
            uncertainty: CrossTimestamp::RESOLUTION,
            monotonic: MonotonicStamp::from_nanos(monotonic_raw),
            monotonic_uncertainty: CrossTimestamp::RESOLUTION,
            method: CrossMethod::Precise,
        })
    }

    /// Reads one window at a time, so that the readings of the monotonic clock around it are close.
    fn best_window(
        &self,
        method: CrossMethod,
        read: impl Fn(BorrowedFd<'_>) -> io::Result<ptp::Window>,
    ) -> io::Result<CrossTimestamp> {
        let mut best: Option<CrossTimestamp> = None;
        for _ in 0..READINGS {
            let before = MonotonicStamp::now()?;
            let window = read(self.as_fd())?;
            let after = MonotonicStamp::now()?;
            let system = [SystemStamp::from_nanos(window.before), SystemStamp::from_nanos(window.after)];
            let hardware = HardwareStamp::from_nanos(window.hardware);
            // The ends of the window are out of order if the system clock was set back in it: not used.
            if let Some(found) = CrossTimestamp::within(method, hardware, system, [before, after]) {
                let width = |cross: &CrossTimestamp| (cross.uncertainty, cross.monotonic_uncertainty);
                best = best.into_iter().chain([found]).min_by_key(width);
            }
        }
        best.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "the system clock went backwards while it was read")
        })
    }
}

impl AsFd for Phc {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// One moment on three clocks: that of the NIC, the system clock, and one that nobody sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct CrossTimestamp {
    /// What the clock of the NIC showed.
    pub hardware: HardwareStamp,
    /// What the system clock showed then: the middle of the window, within [`uncertainty`](Self::uncertainty).
    pub system: SystemStamp,
    /// Half of the window in which the NIC was read, rounded up: when it showed `hardware`, the system clock showed
    /// `system` give or take this.
    ///
    /// With [`CrossMethod::Precise`] there is no window: the hardware latches both clocks at once, and the kernel says
    /// nothing of how well. Then this is 1 ns, the resolution, and the error of the latch itself (of PCIe PTM, of a
    /// hypervisor) is not in it. The resolution of the clock of the NIC is in none.
    pub uncertainty: Duration,
    /// What the monotonic clock showed then, within [`monotonic_uncertainty`](Self::monotonic_uncertainty).
    ///
    /// A change of `system` against this one between two cross timestamps is a step or a slew of the system clock.
    pub monotonic: MonotonicStamp,
    /// Half of the window of the monotonic clock. It is read around the system call where the kernel does not give it:
    /// wider than the other window.
    pub monotonic_uncertainty: Duration,
    /// How the clocks were read.
    pub method: CrossMethod,
}

impl CrossTimestamp {
    const RESOLUTION: Duration = Duration::from_nanos(1);

    /// From readings around one of the clock of the NIC, which other software made: each pair is before, after.
    ///
    /// `None` if a pair is out of order: the clock was set back in between, and its window says nothing.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use fast_afpacket::{CrossMethod, CrossTimestamp, HardwareStamp, MonotonicStamp, SystemStamp};
    ///
    /// let hardware = HardwareStamp::from_nanos(37_000_001_500);
    /// let system = [SystemStamp::from_nanos(1_000), SystemStamp::from_nanos(2_001)];
    /// let monotonic = [MonotonicStamp::from_nanos(500), MonotonicStamp::from_nanos(2_500)];
    /// let cross = CrossTimestamp::within(CrossMethod::Extended, hardware, system, monotonic).unwrap();
    /// assert_eq!(cross.system, SystemStamp::from_nanos(1_500));
    /// assert_eq!(cross.uncertainty, Duration::from_nanos(501));
    /// ```
    pub fn within(
        method: CrossMethod,
        hardware: HardwareStamp,
        system: [SystemStamp; 2],
        monotonic: [MonotonicStamp; 2],
    ) -> Option<Self> {
        let (middle, uncertainty) = halve(system.map(SystemStamp::as_nanos))?;
        let (position, monotonic_uncertainty) = halve(monotonic.map(MonotonicStamp::as_nanos))?;
        Some(Self {
            hardware,
            system: SystemStamp::from_nanos(middle),
            uncertainty,
            monotonic: MonotonicStamp::from_nanos(position),
            monotonic_uncertainty,
            method,
        })
    }
}

/// The middle of a window, rounded down, and half of its width, rounded up.
fn halve([before, after]: [i64; 2]) -> Option<(i64, Duration)> {
    let width = u64::try_from(i128::from(after) - i128::from(before)).ok()?;
    let middle = before.checked_add_unsigned(width / 2)?;
    Some((middle, Duration::from_nanos(width.div_ceil(2))))
}

/// How a [`CrossTimestamp`] was taken, from the best to the coarsest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CrossMethod {
    /// The hardware latched both clocks at one moment. Few NICs: PCIe PTM, virtual clocks of a hypervisor. Linux 4.6.
    #[doc(alias = "PTP_SYS_OFFSET_PRECISE")]
    Precise,
    /// The driver read the system clock right before and after the register of the NIC. Linux 5.0.
    #[doc(alias = "PTP_SYS_OFFSET_EXTENDED")]
    Extended,
    /// The kernel read the system clock before and after it called the driver. Linux 3.8.
    #[doc(alias = "PTP_SYS_OFFSET")]
    Basic,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_index_without_a_clock() {
        let error = Phc::open(4_000_000_000).unwrap_err();
        assert_eq!(error.step(), Step::Clock);
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error}");
        assert!(error.to_string().starts_with("cannot read the clock of /dev/ptp4000000000: "), "{error}");
    }

    #[test]
    fn an_interface_without_a_clock() {
        let Ok(lo) = Interface::by_name("lo") else {
            return; // a network namespace may be without one
        };
        let error = Phc::of(&lo).unwrap_err();
        assert_eq!((error.step(), error.raw_os_error()), (Step::Clock, Some(libc::EOPNOTSUPP)));
        assert!(error.to_string().ends_with("the interface has no PTP hardware clock"), "{error}");
    }

    #[test]
    fn a_device_file_that_cannot_be_read() {
        let error = Error::new(Step::Clock, "/dev/ptp0", io::Error::from_raw_os_error(libc::EACCES));
        assert!(error.to_string().ends_with("needs read permission"), "{error}");
        assert_eq!(error.missing_capability(), None);
    }

    /// Each method is tried once, in order, and what is lacking is remembered. `/dev/null` lacks them all.
    #[test]
    fn methods_that_are_lacking() {
        let phc = Phc { index: 0, file: File::open("/dev/null").unwrap(), method: AtomicU8::new(0) };
        let error = phc.cross_timestamp().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
        assert_eq!(phc.method.load(Ordering::Relaxed), CrossMethod::Basic as u8);
        assert_eq!(phc.now().unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }

    proptest! {
        #[test]
        fn every_moment_of_the_window_is_within_the_uncertainty(before in any::<i64>(), width in 0..i64::MAX) {
            let Some(after) = before.checked_add(width) else { return Ok(()) };
            let (middle, half) = halve([before, after]).unwrap();
            let half = i128::try_from(half.as_nanos()).unwrap();
            prop_assert!(i128::from(middle) - half <= i128::from(before));
            prop_assert!(i128::from(middle) + half >= i128::from(after));
            prop_assert!(2 * half <= i128::from(width) + 1);
            prop_assert_eq!(halve([after, before]).is_none(), width > 0);
        }
    }
}
