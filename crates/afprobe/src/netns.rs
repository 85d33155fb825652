//! In which network namespace the program works.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

/// Where `ip netns` keeps its names.
const NAMED: &str = "/run/netns";

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
        let path = path_of(text);
        let namespace = File::open(&path)
            .with_context(|| format!("there is no network namespace {} (--netns {text})", path.display()))?;
        setns(&namespace, CloneFlags::CLONE_NEWNET).map_err(|errno| {
            let why = match errno {
                Errno::EPERM => "it takes CAP_SYS_ADMIN here and in the user namespace that owns it",
                Errno::EINVAL => "it is no network namespace",
                _ => "the kernel refuses",
            };
            let error = anyhow::Error::new(io::Error::from(errno));
            error.context(format!("cannot enter {} (--netns {text}): {why}", path.display()))
        })
    }
}

/// A path has a slash, and a process a number.
fn path_of(text: &str) -> PathBuf {
    match text.parse::<u32>() {
        Ok(process) => format!("/proc/{process}/ns/net").into(),
        Err(_) if text.contains('/') => text.into(),
        Err(_) => Path::new(NAMED).join(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_paths_and_processes_are_told_apart() {
        for (text, path) in [
            ("blue", "/run/netns/blue"),
            ("./blue", "./blue"),
            ("/proc/7/ns/net", "/proc/7/ns/net"),
            ("7", "/proc/7/ns/net"),
            ("7up", "/run/netns/7up"),
        ] {
            assert_eq!(path_of(text), Path::new(path));
        }
    }
}
