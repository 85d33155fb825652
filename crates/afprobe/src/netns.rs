//! In which network namespace the program works.

use std::io;

use anyhow::{Context, Result};
use clap::Args;
use fast_afpacket::Netns;
use nix::sched::{CloneFlags, setns};

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct NetnsArgument {
    /// Work in this network namespace: a name that ip netns knows, a path, or the id of a process.
    #[arg(long = "netns", value_name = "NAME|PATH|PID")]
    netns: Option<String>,
}

impl NetnsArgument {
    /// Moves the process there, if it is to be elsewhere. To be called first, while it has one thread: all that is opened
    /// and asked afterwards, by any thread or child, is there.
    ///
    /// # Errors
    ///
    /// There is no such namespace, or it may not be entered: `CAP_SYS_ADMIN` is missing.
    pub(crate) fn enter(&self) -> Result<()> {
        let Some(text) = &self.netns else { return Ok(()) };
        let netns = find(text).context("--netns")?;
        setns(&netns, CloneFlags::CLONE_NEWNET)
            .map_err(io::Error::from)
            .with_context(|| format!("cannot enter {netns}"))
    }
}

/// A path has a slash, and a process a number.
fn find(text: &str) -> Result<Netns, fast_afpacket::Error> {
    match text.parse() {
        Ok(process) => Netns::by_pid(process),
        Err(_) if text.contains('/') => Netns::by_path(text),
        Err(_) => Netns::by_name(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_paths_and_processes_are_told_apart() {
        for (text, what) in [
            ("no-such-name", "network namespace \"no-such-name\""),
            ("./no-such-path", "network namespace ./no-such-path"),
            ("4294967295", "the network namespace of process 4294967295"),
            ("7up", "network namespace \"7up\""),
        ] {
            let error = find(text).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
        assert!(find("/proc/self/ns/net").is_ok());
    }
}
