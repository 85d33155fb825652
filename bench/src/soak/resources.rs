//! What the process holds.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

#[derive(Clone, Copy, Serialize)]
pub(super) struct Resources {
    /// After the beginning, in seconds.
    pub(super) at: f64,
    /// Resident, in KiB.
    pub(super) memory: u64,
    pub(super) descriptors: usize,
    /// Rings that are mapped.
    pub(super) rings: usize,
    /// All mappings.
    pub(super) mappings: usize,
    pub(super) threads: u64,
}

impl Resources {
    pub(super) fn now(at: Duration) -> anyhow::Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
            value.and_then(|value| value.parse().ok()).with_context(|| format!("{name} is not in /proc/self/status"))
        };
        let maps = fs::read_to_string("/proc/self/maps")?;
        Ok(Self {
            at: at.as_secs_f64(),
            memory: field("VmRSS:")?,
            descriptors: fs::read_dir("/proc/self/fd")?.count(),
            rings: maps.lines().filter(|line| line.contains("socket:")).count(),
            mappings: maps.lines().count(),
            threads: field("Threads:")?,
        })
    }
}
