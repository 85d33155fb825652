//! `adjtimex(2)` as a question: the state of the system clock, with nothing changed.

use std::ffi::{c_int, c_long};
use std::io;
use std::mem::MaybeUninit;

use super::check;

/// What the kernel says, in its own units.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timex {
    /// What the call returned: `TIME_OK` to `TIME_ERROR`.
    pub(crate) state: c_int,
    /// `STA_` bits.
    pub(crate) status: c_int,
    /// In microseconds.
    pub(crate) maxerror: c_long,
    /// In microseconds.
    pub(crate) esterror: c_long,
    /// In parts per million, of which the lower 16 bits are the fraction.
    pub(crate) freq: c_long,
    /// Microseconds for each 1/100 s (`USER_HZ`).
    pub(crate) tick: c_long,
    /// TAI - UTC in seconds, 0 if nobody told the kernel.
    pub(crate) tai: c_int,
}

/// Reads it. Needs no capability.
pub(crate) fn read() -> io::Result<Timex> {
    let time = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: `timex` holds integers, for which zero is a value. Zero modes say that nothing is to be changed.
    let mut time = unsafe { time.assume_init() };
    // SAFETY: the call reads and writes one timex, which is exclusively ours.
    let state = check(unsafe { libc::adjtimex(&mut time) })?;
    let libc::timex { status, maxerror, esterror, freq, tick, tai, .. } = time;
    Ok(Timex { state, status, maxerror, esterror, freq, tick, tai })
}
