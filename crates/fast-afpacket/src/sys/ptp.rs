//! Clocks that are read by number, and the ioctls of a PTP hardware clock, `/dev/ptpN`.
//!
//! The layouts are those of linux/ptp_clock.h as libc has them. Each ioctl number carries the size of its argument, so
//! both are checked against each other and against the kernel's own.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{check, retry};

const _: () = assert!(argument_size(libc::PTP_CLOCK_GETCAPS) == 80 && size_of::<libc::ptp_clock_caps>() == 80);
const _: () = assert!(argument_size(libc::PTP_SYS_OFFSET) == 832 && size_of::<libc::ptp_sys_offset>() == 832);
const _: () =
    assert!(argument_size(libc::PTP_SYS_OFFSET_PRECISE) == 64 && size_of::<libc::ptp_sys_offset_precise>() == 64);
const _: () =
    assert!(argument_size(libc::PTP_SYS_OFFSET_EXTENDED) == 1216 && size_of::<libc::ptp_sys_offset_extended>() == 1216);

/// The size field of an ioctl number: 13 bits from bit 16, on some architectures 14 of which none here needs the last.
#[expect(clippy::cast_possible_truncation, reason = "the upper half of a long is zero, and is a sign on musl")]
#[allow(clippy::cast_sign_loss, reason = "the numbers are signed on musl only; thirteen bits are looked at")]
const fn argument_size(operation: libc::Ioctl) -> usize {
    (operation as u32 >> 16) as usize & 0x1fff
}

/// Two readings of the system clock around one of the hardware clock, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) before: i64,
    pub(crate) hardware: i64,
    pub(crate) after: i64,
}

/// What the hardware latched at one moment, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Precise {
    pub(crate) hardware: i64,
    pub(crate) realtime: i64,
    pub(crate) monotonic_raw: i64,
}

/// One ioctl that fills a structure of which the kernel reads at most the number of samples; the rest must be zero.
fn query<T: PtpArgument>(clock: BorrowedFd<'_>, operation: libc::Ioctl) -> io::Result<T> {
    let argument = MaybeUninit::<T>::zeroed();
    // SAFETY: `PtpArgument` is implemented for structures of integers alone, for which zero is a value.
    let mut argument = unsafe { argument.assume_init() };
    argument.ask_for_one();
    let pointer: *mut T = &mut argument;
    retry(|| {
        // SAFETY: the kernel reads and writes as many bytes as the number of the operation says. The assertions above
        // check that this is the size of the type, which is exclusively ours during the call.
        check(unsafe { libc::ioctl(clock.as_raw_fd(), operation, pointer) })
    })?;
    Ok(argument)
}

/// A structure of integers that [`query`] may start from all zeros.
trait PtpArgument {
    /// Sets `n_samples`, where there is such a field.
    fn ask_for_one(&mut self) {}
}

impl PtpArgument for libc::ptp_clock_caps {}
impl PtpArgument for libc::ptp_sys_offset_precise {}

impl PtpArgument for libc::ptp_sys_offset {
    fn ask_for_one(&mut self) {
        self.n_samples = 1;
    }
}

/// The words behind the count stay 0: reserved before Linux 6.12, since then a clock id, for which 0 is
/// `CLOCK_REALTIME`.
impl PtpArgument for libc::ptp_sys_offset_extended {
    fn ask_for_one(&mut self) {
        self.n_samples = 1;
    }
}

/// `PTP_CLOCK_GETCAPS`: by how much the frequency can be adjusted, in parts per billion.
pub(crate) fn max_adjustment(clock: BorrowedFd<'_>) -> io::Result<c_int> {
    query::<libc::ptp_clock_caps>(clock, libc::PTP_CLOCK_GETCAPS).map(|caps| caps.max_adj)
}

/// `PTP_SYS_OFFSET_PRECISE`: both clocks at one moment.
pub(crate) fn precise(clock: BorrowedFd<'_>) -> io::Result<Precise> {
    let answer: libc::ptp_sys_offset_precise = query(clock, libc::PTP_SYS_OFFSET_PRECISE)?;
    Ok(Precise {
        hardware: nanos(answer.device)?,
        realtime: nanos(answer.sys_realtime)?,
        monotonic_raw: nanos(answer.sys_monoraw)?,
    })
}

/// `PTP_SYS_OFFSET_EXTENDED`: the driver reads the system clock right before and after the register.
pub(crate) fn extended(clock: BorrowedFd<'_>) -> io::Result<Window> {
    let answer: libc::ptp_sys_offset_extended = query(clock, libc::PTP_SYS_OFFSET_EXTENDED)?;
    let [[before, hardware, after], ..] = answer.ts;
    window([before, hardware, after])
}

/// `PTP_SYS_OFFSET`: the kernel reads the system clock before and after it calls the driver.
pub(crate) fn basic(clock: BorrowedFd<'_>) -> io::Result<Window> {
    let answer: libc::ptp_sys_offset = query(clock, libc::PTP_SYS_OFFSET)?;
    let [before, hardware, after, ..] = answer.ts;
    window([before, hardware, after])
}

fn window([before, hardware, after]: [libc::ptp_clock_time; 3]) -> io::Result<Window> {
    Ok(Window { before: nanos(before)?, hardware: nanos(hardware)?, after: nanos(after)? })
}

fn nanos(time: libc::ptp_clock_time) -> io::Result<i64> {
    in_nanos(time.sec, time.nsec.into())
}

/// A time before 1678 or after 2262 is no reading of a clock, but of a register that is gone.
fn in_nanos(seconds: i64, nanos: i64) -> io::Result<i64> {
    let total = seconds.checked_mul(1_000_000_000).and_then(|whole| whole.checked_add(nanos));
    total.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the clock shows a time outside 1678 to 2262"))
}

/// The number by which `clock_gettime(2)` knows an open clock: `FD_TO_CLOCKID` of the kernel.
const fn clock_id(fd: c_int) -> libc::clockid_t {
    (!fd << 3) | 3
}

/// `clock_gettime(2)` of an open PTP clock, in nanoseconds.
pub(crate) fn now(clock: BorrowedFd<'_>) -> io::Result<i64> {
    clock_time(clock_id(clock.as_raw_fd()))
}

/// `CLOCK_MONOTONIC_RAW`, in nanoseconds.
#[inline]
pub(crate) fn monotonic_raw() -> io::Result<i64> {
    clock_time(libc::CLOCK_MONOTONIC_RAW)
}

/// `clock_gettime(2)`, in nanoseconds.
#[inline]
pub(crate) fn clock_time(clock: libc::clockid_t) -> io::Result<i64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one timespec, which is exclusively ours.
    check(unsafe { libc::clock_gettime(clock, &mut time) })?;
    // The width of both fields differs between machines.
    in_nanos(time.tv_sec as _, time.tv_nsec as _)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    /// The numbers that `PTP_` macros of linux/ptp_clock.h gave on x86-64.
    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn ioctl_numbers() {
        assert_eq!(libc::PTP_CLOCK_GETCAPS, 0x8050_3d01);
        assert_eq!(libc::PTP_SYS_OFFSET, 0x4340_3d05);
        assert_eq!(libc::PTP_SYS_OFFSET_PRECISE, 0xc040_3d08);
        assert_eq!(libc::PTP_SYS_OFFSET_EXTENDED, 0xc4c0_3d09);
    }

    /// What a descriptor that is no clock gets, which is also what a clock gets for an operation it does not know.
    #[test]
    fn a_file_is_no_clock() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let errno = |error: io::Error| error.raw_os_error();
        assert_eq!(precise(file.as_fd()).map_err(errno).unwrap_err(), Some(libc::ENOTTY));
        assert_eq!(extended(file.as_fd()).map_err(errno).unwrap_err(), Some(libc::ENOTTY));
        assert_eq!(basic(file.as_fd()).map_err(errno).unwrap_err(), Some(libc::ENOTTY));
        assert_eq!(max_adjustment(file.as_fd()).map_err(errno).unwrap_err(), Some(libc::ENOTTY));
        assert_eq!(now(file.as_fd()).map_err(errno).unwrap_err(), Some(libc::EINVAL));
    }

    #[test]
    fn clock_ids() {
        assert_eq!(clock_id(0), -5);
        assert_eq!(clock_id(3), -29);
    }

    #[test]
    fn times_that_no_clock_shows() {
        assert_eq!(in_nanos(1, 5).unwrap(), 1_000_000_005);
        assert_eq!(in_nanos(-1, 999_999_999).unwrap(), -1);
        assert!(in_nanos(9_223_372_037, 0).is_err());
        assert!(in_nanos(i64::MIN, 0).is_err());
    }
}
