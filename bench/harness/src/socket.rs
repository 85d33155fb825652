//! What the peers' sockets need and their crates do not offer.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;

/// How long a receiver waits at most before it looks whether it is to end, in milliseconds.
pub const IDLE_MILLIS: u16 = 100;

/// [`IDLE_MILLIS`].
pub const IDLE: Duration = Duration::from_millis(IDLE_MILLIS as u64);

/// Lets a blocking receive call fail with `EAGAIN` after [`IDLE`].
///
/// # Errors
///
/// None are known.
pub fn limit_wait(socket: &impl AsFd) -> std::io::Result<()> {
    let limit = TimeVal::new(0, i64::from(IDLE_MILLIS) * 1000);
    setsockopt(socket, sockopt::ReceiveTimeout, &limit)?;
    Ok(())
}

/// Waits up to [`IDLE`] until there is something to read.
///
/// # Errors
///
/// Those of `poll(2)`.
pub fn is_readable(socket: BorrowedFd<'_>) -> std::io::Result<bool> {
    let mut waited_for = [PollFd::new(socket, PollFlags::POLLIN)];
    Ok(poll(&mut waited_for, PollTimeout::from(IDLE_MILLIS))? > 0)
}
