//! Network namespaces, with virtual cables and nothing else in them.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;

use anyhow::{Context, bail, ensure};
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, setns, unshare};
use nix::unistd::{Pid, getgid, getuid};

/// Makes this process able to make network namespaces, in a user namespace if it is not root's. Called before any thread is
/// started.
pub(crate) fn enter() -> anyhow::Result<()> {
    if getuid().is_root() {
        return Ok(());
    }
    let (uid, gid) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER).context("neither root nor allowed to make user namespaces")?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    Ok(())
}

/// The processors that the two ends work on.
#[derive(Clone, Copy)]
pub(crate) struct Processors {
    pub(crate) receiver: usize,
    pub(crate) sender: usize,
}

impl Processors {
    /// The first two that this process may use.
    pub(crate) fn pick() -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let mut usable = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).unwrap_or(false));
        match (usable.next(), usable.next()) {
            (Some(receiver), Some(sender)) => Ok(Self { receiver, sender }),
            _ => bail!("two processors are needed: one sends, one receives"),
        }
    }
}

/// A network namespace, which lives as long as this value and the programs in it.
struct Namespace(File);

impl Namespace {
    fn new() -> anyhow::Result<Self> {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        let file = made.join().map_err(|_| io::Error::other("the thread that makes it panicked"))?;
        file.map(Self).context("cannot make a network namespace")
    }

    /// A path for `ip link … netns`.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Runs `work` in it, on a thread that is bound to this processor. A program that is started there stays there.
    fn run<T: Send>(&self, cpu: usize, work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
        let inside = || {
            setns(&self.0, CloneFlags::CLONE_NEWNET)?;
            let mut only = CpuSet::new();
            only.set(cpu)?;
            sched_setaffinity(Pid::from_raw(0), &only)?;
            work()
        };
        thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }
}

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In a namespace with the end of a cable that frames are sent from.
    Sender,
    /// In a namespace with the other end.
    Receiver,
    /// In a namespace with both ends of another cable.
    Both,
}

/// The end that frames are sent from.
pub(crate) const SENDER: &str = "sender";
/// The end that they arrive at.
pub(crate) const RECEIVER: &str = "receiver";

/// Two cables: one from namespace to namespace, one inside a third.
pub(crate) struct Lab {
    sender: Namespace,
    receiver: Namespace,
    both: Namespace,
    pub(crate) processors: Processors,
}

impl Lab {
    /// Makes the namespaces and cables.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let processors = Processors::pick()?;
        let (sender, receiver, both) = (Namespace::new()?, Namespace::new()?, Namespace::new()?);
        let lab = Self { sender, receiver, both, processors };
        let ends = |far: &str| {
            format!(
                "link add {SENDER} address 02:00:00:00:00:0a type veth peer name {RECEIVER} address 02:00:00:00:00:0b {far}"
            )
        };
        let to_receiver = ends(&format!("netns {}", lab.receiver.path()));
        lab.inside(End::Sender, || tool("ip", &to_receiver))?;
        lab.inside(End::Both, || tool("ip", &ends("")))?;
        let places: [(End, &[&str]); 3] =
            [(End::Sender, &[SENDER]), (End::Receiver, &[RECEIVER]), (End::Both, &[SENDER, RECEIVER])];
        for setting in ["addrgenmode none", "up"] {
            // Without an address of its own IPv6 does not talk.
            for (end, names) in places {
                lab.inside(end, || {
                    names.iter().try_for_each(|name| tool("ip", &format!("link set {name} {setting}")))
                })?;
            }
        }
        for end in [End::Sender, End::Both] {
            // A cable that takes large frames whole would not show what it costs to cut them.
            let ask = format!("-K {SENDER} tx-udp-segmentation off");
            lab.inside(end, || tool("ethtool", &ask))?;
            // The kernel notices a carrier up to a second late and swallows what is sent until then; asked for the link it
            // looks at once.
            lab.inside(end, || tool("ip", &format!("link show {SENDER}")))?;
        }
        Ok(lab)
    }

    /// Runs `work` at this end, on its processor.
    pub(crate) fn inside<T: Send>(
        &self,
        end: End,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        let Self { sender, receiver, both, processors } = self;
        match end {
            End::Sender => sender.run(processors.sender, work),
            End::Receiver => receiver.run(processors.receiver, work),
            End::Both => both.run(processors.receiver, work),
        }
    }

    /// What has arrived at the receiver's end so far.
    pub(crate) fn arrived(&self) -> anyhow::Result<Arrived> {
        let table = self.inside(End::Receiver, || Ok(fs::read_to_string("/proc/thread-self/net/dev")?))?;
        Arrived::of(&table, RECEIVER).context("the receiver's end is not in /proc/net/dev")
    }
}

/// An interface's own count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
}

impl Arrived {
    fn of(table: &str, interface: &str) -> Option<Self> {
        let line = table.lines().find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'))?;
        let mut fields = line.split_whitespace().map(|field| field.parse().ok());
        Some(Self { bytes: fields.next()??, frames: fields.next()?? })
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { bytes: self.bytes - earlier.bytes, frames: self.frames - earlier.frames }
    }
}

/// Runs a program in the namespace of this thread.
pub(crate) fn tool(name: &str, arguments: &str) -> anyhow::Result<()> {
    let output = Command::new(name).args(arguments.split_whitespace()).output();
    let output = output.with_context(|| format!("{name} is needed"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} {arguments}: {errors}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_found_by_its_whole_name() {
        let table = "Inter-|   Receive\n face |bytes packets\n    lo: 1 2 0\nreceiver2: 3 4 0\nreceiver: 500 6 0 0\n";
        assert_eq!(Arrived::of(table, "receiver"), Some(Arrived { bytes: 500, frames: 6 }));
        assert_eq!(Arrived::of(table, "sender"), None);
    }
}
