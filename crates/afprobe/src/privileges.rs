//! Giving up privileges: once all is open the program goes on as an ordinary user, and cannot go back.

use std::fs;
use std::io;

use anyhow::{Context, Result, bail, ensure};
use caps::{CapSet, Capability};
use clap::Args;
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, User, getgroups, setgroups, setresgid, setresuid};

use crate::threads::{PRIORITY, ThreadArguments};

/// As whom to go on.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct UserArgument {
    /// Go on as this user, a name or a number, once everything is open: with no other group than its own, no
    /// capabilities, and no way to get any. What --hardware has borrowed of the card's setting, a child process gives
    /// back that keeps its privileges.
    #[arg(long = "user", value_name = "USER")]
    user: Option<String>,
}

impl UserArgument {
    /// Looks the user up. To be called before anything is opened: this may open files.
    pub(crate) fn find(&self) -> Result<Option<OrdinaryUser>> {
        self.user.as_deref().map(OrdinaryUser::find).transpose()
    }
}

/// One who has no privileges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrdinaryUser {
    uid: Uid,
    gid: Gid,
}

impl OrdinaryUser {
    fn find(text: &str) -> Result<Self> {
        let found = match text.parse() {
            Ok(uid) => User::from_uid(Uid::from_raw(uid)),
            Err(_) => User::from_name(text),
        };
        let user =
            found.map_err(io::Error::from).with_context(|| format!("cannot look up the user {text} (--user)"))?;
        let User { uid, gid, .. } = user.with_context(|| format!("there is no user {text} (--user)"))?;
        ensure!(
            !uid.is_root() && gid.as_raw() != 0,
            "--user is to be an ordinary user, and {text} is root or of its group"
        );
        Ok(Self { uid, gid })
    }

    /// Makes the process this user's, for good, and looks whether anything is left of what it had.
    ///
    /// To be called while it has one thread: each thread has capabilities of its own.
    ///
    /// # Errors
    ///
    /// What could not be given up. The process must not go on then.
    pub(crate) fn go_on_as(&self, threads: &ThreadArguments) -> Result<()> {
        if threads.is_realtime() {
            // So that it may be asked for without CAP_SYS_NICE.
            let priority = u64::from(PRIORITY);
            setrlimit(Resource::RLIMIT_RTPRIO, priority, priority).map_err(io::Error::from).context(
                "cannot keep the right to run in real time, which takes CAP_SYS_RESOURCE (--realtime, --user)",
            )?;
        }
        self.give_up().context("cannot give up privileges (--user)")?;
        self.look_back().context("not all privileges could be given up (--user)")
    }

    fn give_up(&self) -> Result<()> {
        let Self { uid, gid } = *self;
        prctl::set_no_new_privs().map_err(io::Error::from).context("prctl(PR_SET_NO_NEW_PRIVS)")?;
        // Without that right it stays, and is worth nothing: this process will get no capabilities from anywhere.
        if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
            caps::clear(None, CapSet::Bounding)?;
        }
        caps::clear(None, CapSet::Ambient)?;
        let groups = getgroups().map_err(io::Error::from)?;
        if groups.iter().any(|group| *group != gid) {
            setgroups(&[]).map_err(|errno| refused("setgroups", errno))?;
        }
        setresgid(gid, gid, gid).map_err(|errno| refused("setresgid", errno))?;
        setresuid(uid, uid, uid).map_err(|errno| refused("setresuid", errno))?;
        // The kernel takes them from who ceases to be root. From who was not root it takes none.
        for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
            caps::clear(None, set)?;
        }
        Ok(())
    }

    /// What the kernel says of each thread.
    fn look_back(&self) -> Result<()> {
        for task in fs::read_dir("/proc/self/task")? {
            let path = task?.path().join("status");
            let status = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            if let Some(left) = self.left_in(&status) {
                bail!("{} says {left}", path.display());
            }
        }
        Ok(())
    }

    /// What `/proc/PID/status` says that must not be, or does not say although it must.
    fn left_in(&self, status: &str) -> Option<String> {
        let value_of = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let (uid, gid) = (self.uid.to_string(), self.gid.to_string());
        let only = |expected: &str, value: &str| value.split_whitespace().all(|word| word == expected);
        for name in ["Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs"] {
            let Some(value) = value_of(name).map(str::trim) else {
                return Some(format!("nothing of {name}"));
            };
            let is_right = match name {
                "Uid" => only(&uid, value),
                "Gid" | "Groups" => only(&gid, value),
                "NoNewPrivs" => value == "1",
                _ => value.bytes().all(|digit| digit == b'0'),
            };
            if !is_right {
                return Some(format!("{name}: {value}"));
            }
        }
        None
    }
}

fn refused(call: &str, errno: Errno) -> anyhow::Error {
    let needs = "it takes root, or CAP_SETUID and CAP_SETGID, to become another user";
    anyhow::Error::new(io::Error::from(errno)).context(format!("{call}: {needs}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "\
Name:\tafprobe
Uid:\t1000\t1000\t1000\t1000
Gid:\t100\t100\t100\t100
Groups:\t
CapInh:\t0000000000000000
CapPrm:\t0000000000000000
CapEff:\t0000000000000000
CapBnd:\t000001ffffffffff
CapAmb:\t0000000000000000
NoNewPrivs:\t1
";

    #[test]
    fn whatever_is_left_is_noticed() {
        let user = OrdinaryUser { uid: Uid::from_raw(1000), gid: Gid::from_raw(100) };
        assert_eq!(user.left_in(STATUS), None);
        assert_eq!(user.left_in(&STATUS.replace("Groups:\t", "Groups:\t100 ")), None);
        for (right, wrong, told) in [
            ("1000\t1000\nGid", "1000\t0\nGid", "Uid: 1000\t1000\t1000\t0"),
            ("Gid:\t100", "Gid:\t0", "Gid: 0\t100\t100\t100"),
            ("Groups:\t", "Groups:\t100 27 ", "Groups: 100 27"),
            ("CapInh:\t00", "CapInh:\t01", "CapInh: 0100000000000000"),
            ("CapPrm:\t00", "CapPrm:\t01", "CapPrm: 0100000000000000"),
            ("CapEff:\t00", "CapEff:\t01", "CapEff: 0100000000000000"),
            ("CapAmb:\t00", "CapAmb:\t01", "CapAmb: 0100000000000000"),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "NoNewPrivs: 0"),
            ("NoNewPrivs", "Other", "nothing of NoNewPrivs"),
        ] {
            assert!(STATUS.contains(right));
            assert_eq!(user.left_in(&STATUS.replacen(right, wrong, 1)).as_deref(), Some(told));
        }
    }

    #[test]
    fn root_is_no_ordinary_user() {
        for root in ["root", "0"] {
            let error = OrdinaryUser::find(root).unwrap_err();
            assert!(error.to_string().contains("is root"), "{error}");
        }
        let error = OrdinaryUser::find("no such user").unwrap_err();
        assert_eq!(error.to_string(), "there is no user no such user (--user)");
    }
}
