//! Processor time.

use nix::time::{ClockId, clock_gettime};

/// The processor time of the calling thread in seconds, in the kernel and outside.
///
/// # Errors
///
/// None are known.
pub fn thread_cpu() -> anyhow::Result<f64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(std::time::Duration::from(time).as_secs_f64())
}
