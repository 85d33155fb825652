//! Registering descriptors with tokio's reactor.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;

/// Registers a descriptor with the reactor of this runtime, edge-triggered, until the value is dropped.
///
/// # Panics
///
/// If the runtime was built without I/O.
pub(crate) fn register(runtime: &Handle, fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    let _inside = runtime.enter();
    // SAFETY: an `OwnedFd` is an open descriptor, the same one until it is dropped. The `AsyncFd` owns it, gives nobody
    // `&mut` or the value itself in this crate, and deregisters it before it drops it.
    let registered = unsafe { AsyncFd::register_with_interest(fd, interest) };
    Ok(registered?)
}
