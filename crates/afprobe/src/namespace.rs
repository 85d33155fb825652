//! Network namespaces that leave nothing behind, and the user namespace that lets an ordinary user make them.
//!
//! `ip netns add` pins a namespace to a name in `/run/netns`, and whoever is killed before the clean-up leaves it there
//! for ever. The namespaces made here have no name: the kernel frees one, with its interfaces, when the last
//! descriptor, thread and socket that refer to it are gone, whichever way the process ended.
//!
//! `/sys` keeps showing the interfaces of the namespace in which it was mounted. Nothing here mounts it again: netlink
//! and sockets follow the thread, and they are enough.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::{io, process, thread};

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{getegid, geteuid};

/// The namespace of the thread that opens it; `/proc/self` would be that of the process's first thread.
const OWN_NETWORK_NAMESPACE: &str = "/proc/thread-self/ns/net";

/// CAP_NET_ADMIN to make and configure interfaces, CAP_NET_RAW to open packet sockets on them, CAP_SYS_ADMIN to make
/// and enter namespaces: the bits of capabilities(7).
const NEEDED_CAPABILITIES: u64 = 1 << 12 | 1 << 13 | 1 << 21;

/// Whether this thread may already make network namespaces and use what is in them.
///
/// This asks for capabilities, not for uid 0: root in a container usually lacks CAP_SYS_ADMIN and needs a user
/// namespace like anyone else.
pub(crate) fn can_make_network_namespaces() -> Result<bool> {
    let path = "/proc/thread-self/status";
    let status = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let effective =
        effective_capabilities(&status).with_context(|| format!("cannot find the capabilities in {path}"))?;
    Ok(effective & NEEDED_CAPABILITIES == NEEDED_CAPABILITIES)
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let digits = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(digits.trim(), 16).ok()
}

/// Moves the process into a new user namespace, where it is root and holds every capability over the network
/// namespaces that it makes from then on; outside, it remains the user that it was.
///
/// Call this while the process has one thread: the kernel refuses it afterwards.
///
/// # Errors
///
/// The error names the setting that stood in the way and what to do about it. The process may already have left its old
/// user namespace by then, so the only thing left to do is to report and exit.
pub(crate) fn become_root_of_a_user_namespace() -> Result<()> {
    // Inside, until the maps are written, both read as the overflow id.
    let (user, group) = (geteuid(), getegid());

    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| refused("unshare(CLONE_NEWUSER)", errno.into()))?;

    // The group map comes last: without CAP_SETGID outside it is only accepted once setgroups(2) is given up, because
    // dropping a group could open a file which that group is denied.
    for (path, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {user} 1")),
        ("/proc/self/gid_map", format!("0 {group} 1")),
    ] {
        fs::write(path, &text).map_err(|error| refused(&format!("write {text:?} to {path}"), error))?;
    }
    Ok(())
}

fn refused(call: &str, error: io::Error) -> anyhow::Error {
    let advice = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EINVAL) => "a process with more than one thread cannot do this: do it first thing in main",
        Some(Errno::ENOSPC | Errno::EUSERS) => {
            "the limit on user namespaces is reached: raise the sysctl user.max_user_namespaces (0 switches them off), \
             or run as root"
        }
        // EPERM from the kernel itself or a seccomp filter, either one from a security module.
        Some(Errno::EPERM | Errno::EACCES) => {
            "user namespaces are closed to ordinary users here: run as root, or set the sysctls \
             kernel.apparmor_restrict_unprivileged_userns to 0 and kernel.unprivileged_userns_clone to 1 where they \
             exist; in a container, its seccomp profile or a chroot can be the cause too"
        }
        _ => "run as root",
    };
    anyhow::Error::new(error).context(format!("{call}: {advice}"))
}

/// A network namespace without a name, alive as long as this value or anything opened in it.
#[derive(Debug)]
pub(crate) struct NetworkNamespace {
    fd: OwnedFd,
}

impl NetworkNamespace {
    /// Makes a namespace that holds nothing but a loopback interface, which is down. The caller stays where it is.
    pub(crate) fn create() -> Result<Self> {
        // unshare(2) moves the thread that calls it, and the way back can fail. A thread that ends needs no way back.
        let helper = thread::Builder::new().name("netns".to_owned()).spawn(|| -> Result<OwnedFd> {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(io::Error::from)
                .context("cannot make a network namespace: unshare(CLONE_NEWNET)")?;
            let namespace =
                File::open(OWN_NETWORK_NAMESPACE).with_context(|| format!("cannot open {OWN_NETWORK_NAMESPACE}"))?;
            Ok(namespace.into())
        });
        let fd = helper
            .context("cannot start a thread")?
            .join()
            .map_err(|_| anyhow!("the thread that was to make a network namespace panicked"))??;
        Ok(Self { fd })
    }

    /// Moves the calling thread, and none other, into the namespace.
    ///
    /// Sockets opened earlier stay where they were opened; threads and children started later begin here.
    pub(crate) fn enter(&self) -> Result<()> {
        setns(&self.fd, CloneFlags::CLONE_NEWNET).map_err(io::Error::from).context("cannot enter a network namespace")
    }

    /// What `nsenter --net=` takes, good while this value lives.
    ///
    /// When the process made itself root of a user namespace, the user outside joins that too:
    /// `nsenter --preserve-credentials --user --target PID --net=PATH`.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", process::id(), self.fd.as_raw_fd()))
    }
}

impl AsFd for NetworkNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Lets a test that needs privileges run for any user.
#[cfg(test)]
pub(crate) mod testing {
    use std::env;
    use std::process::Command;

    use super::*;

    const IN_CHILD: &str = "AFPROBE_TEST_CHILD";

    /// Runs `body` in a thread inside a new network namespace; `test` is the calling test's own path in the crate.
    ///
    /// An ordinary user's test runs itself once more under unshare(1): the harness gives every test a thread, and a
    /// process with threads may not enter a user namespace. Where that is refused the test says so and passes, unless
    /// FAST_AFPACKET_NET=required.
    pub(crate) fn in_network_namespace(test: &str, body: fn()) {
        if !can_make_network_namespaces().unwrap() {
            assert!(env::var_os(IN_CHILD).is_none(), "root of a user namespace lacks its capabilities");
            return in_user_namespace(test);
        }
        let namespace = NetworkNamespace::create().unwrap();
        let thread = thread::spawn(move || {
            namespace.enter().unwrap();
            body();
        });
        thread.join().unwrap();
    }

    fn in_user_namespace(test: &str) {
        let as_root = |program: PathBuf| {
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-root-user", "--"]).arg(program).env(IN_CHILD, "1");
            command
        };
        let refused = match as_root("true".into()).output() {
            Ok(probe) if probe.status.success() => None,
            Ok(probe) => Some(String::from_utf8_lossy(&probe.stderr).into_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = refused {
            assert_ne!(env::var("FAST_AFPACKET_NET").as_deref(), Ok("required"), "{test}: {reason}");
            eprintln!("{test} is skipped: no user namespace: {reason}");
            return;
        }
        let status = as_root(env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]).status();
        assert!(status.unwrap().success(), "{test} failed in its user namespace");
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, UdpSocket};
    use std::time::Duration;

    use super::*;
    use crate::netlink::{LinkSpec, Netlink, Route};

    fn own_namespace() -> PathBuf {
        fs::read_link(OWN_NETWORK_NAMESPACE).unwrap()
    }

    #[test]
    fn capabilities_are_read_from_the_line_of_the_effective_set() {
        let status = "Name:\tafprobe\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000203000\nCapBnd:\t0\n";
        assert_eq!(effective_capabilities(status), Some(NEEDED_CAPABILITIES));
        assert_eq!(effective_capabilities("CapPrm:\t0\n"), None);
    }

    #[test]
    fn a_refusal_keeps_its_errno_and_says_what_to_do() {
        let error = refused("unshare(CLONE_NEWUSER)", Errno::EPERM.into());
        assert!(format!("{error:#}").contains("run as root"));
        assert_eq!(error.downcast_ref::<io::Error>().unwrap().raw_os_error(), Some(Errno::EPERM as i32));
    }

    #[test]
    fn creating_stays_and_entering_moves_only_the_caller() {
        testing::in_network_namespace("namespace::tests::creating_stays_and_entering_moves_only_the_caller", || {
            let before = own_namespace();
            let namespace = NetworkNamespace::create().unwrap();
            assert_eq!(own_namespace(), before);

            thread::scope(|scope| {
                let entered = scope.spawn(|| {
                    namespace.enter().unwrap();
                    own_namespace()
                });
                let inside = entered.join().unwrap();
                assert_ne!(inside, before);
                assert_eq!(fs::read_link(namespace.path()).unwrap(), inside);
            });
            assert_eq!(own_namespace(), before);
        });
    }

    #[test]
    fn two_namespaces_reach_each_other_over_a_veth_pair() {
        testing::in_network_namespace("namespace::tests::two_namespaces_reach_each_other_over_a_veth_pair", || {
            let near = LinkSpec { name: "eth1", mac: [2, 0, 0, 0, 0, 1] };
            let far = LinkSpec { name: "eth1", mac: [2, 0, 0, 0, 0, 2] };
            let far_namespace = NetworkNamespace::create().unwrap();
            let mut netlink = Netlink::open().unwrap();
            netlink.create_veth(&near, &far, far_namespace.as_fd()).unwrap();
            let index = configure(&mut netlink, 1);
            let far_end = || {
                far_namespace.enter().unwrap();
                configure(&mut Netlink::open().unwrap(), 2);
            };
            thread::scope(|scope| scope.spawn(far_end).join().unwrap());

            for (own, peer) in [("192.0.2.1", "192.0.2.2"), ("fde4::1", "fde4::2")].map(|(a, b)| (ip(a), ip(b))) {
                let route = Route { interface_index: index, source: Some(own), gateway: None };
                assert_eq!(netlink.route_to(peer, None).unwrap(), route);
                assert_eq!(netlink.source_for(index, peer).unwrap(), Some(own));

                assert_eq!(netlink.neighbor(index, peer).unwrap(), None);
                UdpSocket::bind((own, 0)).unwrap().send_to(&[0], (peer, 9)).unwrap();
                let known = (0..500).find_map(|_| {
                    thread::sleep(Duration::from_millis(10));
                    netlink.neighbor(index, peer).unwrap()
                });
                assert_eq!(known, Some(far.mac));
            }

            let link_local = ip("fe80::2");
            assert!(netlink.route_to(link_local, None).is_err());
            assert_eq!(netlink.route_to(link_local, Some(index)).unwrap().interface_index, index);
            let Some(IpAddr::V6(source)) = netlink.source_for(index, link_local).unwrap() else { panic!("no source") };
            assert!(source.is_unicast_link_local());
        });
    }

    fn configure(netlink: &mut Netlink, host: u8) -> u32 {
        let index = netlink.interface_index("eth1").unwrap();
        for (address, prefix_len) in [("192.0.2.", 24), ("fde4::", 64), ("fe80::", 64)] {
            netlink.add_address(index, ip(&format!("{address}{host}")), prefix_len).unwrap();
        }
        netlink.set_up(index).unwrap();
        index
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }
}
