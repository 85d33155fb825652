//! The machine that was measured.

use std::env;
use std::fs;
use std::process::Command;

use serde::Serialize;

use crate::lab::Processors;

/// What somebody has to know who compares numbers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) revision: String,
    pub(crate) command: String,
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) processors: usize,
    pub(crate) is_virtual: bool,
    pub(crate) memory: String,
    pub(crate) governor: String,
    pub(crate) clock: String,
    /// Before the first run: whatever else was going on.
    pub(crate) load: String,
    pub(crate) receiver_processor: usize,
    pub(crate) sender_processor: usize,
    pub(crate) compiler: String,
    pub(crate) is_root: bool,
}

impl Machine {
    pub(crate) fn describe(processors: Processors) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let of_cpu = |key: &str| {
            let value =
                cpuinfo.lines().find_map(|line| line.strip_prefix(key)?.split_once(':')).map(|(_, value)| value);
            value.map_or_else(unknown, |value| value.trim().to_owned())
        };
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory = meminfo.lines().next().and_then(|line| line.split_once(':')).map(|(_, value)| value);
        Self {
            date: printed("date", &["--utc", "+%Y-%m-%d %H:%M UTC"]),
            revision: revision(),
            command: env::args().skip(1).collect::<Vec<_>>().join(" "),
            kernel: printed("uname", &["-srvm"]),
            processor: format!("{}, {}", of_cpu("model name"), of_cpu("cpu MHz") + " MHz"),
            processors: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            is_virtual: of_cpu("flags").split_whitespace().any(|flag| flag == "hypervisor"),
            memory: memory.map_or_else(unknown, |value| value.trim().to_owned()),
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            clock: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            load: read("/proc/loadavg"),
            receiver_processor: processors.receiver,
            sender_processor: processors.sender,
            compiler: printed("rustc", &["--version"]),
            is_root: nix::unistd::getuid().is_root(),
        }
    }

    /// The day, for the name of a directory.
    pub(crate) fn day(&self) -> &str {
        self.date.split_whitespace().next().unwrap_or("undated")
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| unknown(), |text| text.trim().to_owned())
}

/// What a program prints.
fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => unknown(),
    }
}

/// The commit, and whether anything was changed since.
fn revision() -> String {
    let commit = printed("git", &["rev-parse", "--short=12", "HEAD"]);
    match printed("git", &["status", "--porcelain", "--untracked-files=no"]) {
        changes if changes.is_empty() || changes == "unknown" => commit,
        _ => format!("{commit}, with changes"),
    }
}
