//! Network namespaces other than the calling thread's: finding one, entering it on a thread that is for nothing else.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::panic;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use crate::error::{Context, Error, Step};
use crate::interface::Interface;
use crate::sys;

/// The namespace of the thread that opens it; `/proc/self` would be that of the process's first thread.
const OF_THIS_THREAD: &str = "/proc/thread-self/ns/net";

/// Where `ip netns` keeps its names.
const NAMED: &str = "/run/netns";

/// A network namespace that this process can enter: network_namespaces(7).
///
/// It keeps the namespace alive, as what is opened in it does, and takes two descriptors. Who has it may look up interfaces
/// there ([`Netns::interface`]), open sockets and rings ([`Options::netns`](crate::Options::netns)), and run anything else
/// on a thread of its own inside ([`Netns::run`]). It can be cloned, sent and shared.
///
/// ```no_run
/// use fast_afpacket::{Netns, PacketSocket};
///
/// let blue = Netns::by_name("blue")?; // ip netns add blue
/// let eth0 = blue.interface("eth0")?;
/// println!("{eth0}: MTU {}", eth0.mtu()?);
/// let socket = PacketSocket::options().bind(&eth0)?;
/// // The socket is in `blue`; this thread, and every other, is where it was.
/// # Ok::<(), fast_afpacket::Error>(())
/// ```
///
/// # What it takes
///
/// To enter a namespace takes `CAP_SYS_ADMIN` twice: in the thread's own user namespace and in the one that owns the network
/// namespace. An ordinary user has both inside a user namespace, for the network namespaces that were made there
/// (`unshare --user --map-root-user --net`). Packet sockets take `CAP_NET_RAW` there besides. The namespace that the
/// calling thread is in takes nothing.
///
/// # Kernel
///
/// setns(2), Linux 3.0.
#[derive(Clone)]
#[doc(alias("setns", "CLONE_NEWNET", "network_namespaces", "nsenter"))]
pub struct Netns(Arc<Inner>);

struct Inner {
    file: File,
    /// Device and inode of the file: no other namespace has these while it is open.
    identity: (u64, u64),
    /// A socket in the namespace. What is asked through it is answered there, whichever thread asks.
    socket: OwnedFd,
    /// What it was found by, in words.
    name: Box<str>,
}

impl Netns {
    /// The namespace that `ip netns` knows by this name: `/run/netns/NAME`.
    ///
    /// # Errors
    ///
    /// An [`Error`] of [`Step::Netns`]: `ENOENT` if there is no such name, also for text that cannot be one (empty, with a
    /// slash or a NUL); those of [`by_path`](Self::by_path).
    #[doc(alias("ip netns exec", "/run/netns", "/var/run/netns"))]
    pub fn by_name(name: &str) -> Result<Self, Error> {
        let is_name = !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != "..";
        // Behind a directory that is none, the kernel says ENOENT.
        let path = if is_name { Path::new(NAMED).join(name) } else { Path::new("").into() };
        Self::open(&path, format!("network namespace {name:?}"))
    }

    /// The namespace that this process is in. For one of several threads, which may be in several, give its thread id.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is no such process. `EACCES` if it is another user's: `CAP_SYS_PTRACE` is missing. Those of
    /// [`by_path`](Self::by_path).
    #[doc(alias = "/proc/PID/ns/net")]
    pub fn by_pid(pid: u32) -> Result<Self, Error> {
        Self::open(Path::new(&format!("/proc/{pid}/ns/net")), format!("the network namespace of process {pid}"))
    }

    /// The namespace that this file stands for, below `/run/netns` or `/proc`, or wherever else one is mounted.
    ///
    /// # Errors
    ///
    /// An [`Error`] of [`Step::Netns`]: what opening the file says (`ENOENT`, `EACCES`); `EINVAL` if it is no network
    /// namespace; `EPERM` if it may not be entered: `CAP_SYS_ADMIN` is missing, in the user namespace that owns it or in
    /// the thread's own. `EAGAIN` if no thread can be started.
    pub fn by_path(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        Self::open(path, format!("network namespace {}", path.display()))
    }

    /// The namespace that the calling thread is in.
    ///
    /// # Errors
    ///
    /// `ENOENT` if `/proc` is not mounted.
    pub fn current() -> Result<Self, Error> {
        Self::open(Path::new(OF_THIS_THREAD), "the network namespace of this thread".to_owned())
    }

    /// The namespace of this descriptor, which is of a file as for [`by_path`](Self::by_path): for one that has no name,
    /// or that somebody else opened.
    ///
    /// # Errors
    ///
    /// Those of [`by_path`](Self::by_path).
    pub fn from_fd(fd: OwnedFd) -> Result<Self, Error> {
        let name = "network namespace of a descriptor".to_owned();
        Self::new(File::from(fd), &name).during(Step::Netns, &name)
    }

    fn open(path: &Path, name: String) -> Result<Self, Error> {
        // Not waiting for whoever may write to it, if it is a pipe.
        let open = || OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
        open().and_then(|file| Self::new(file, &name)).during(Step::Netns, &name)
    }

    fn new(file: File, name: &str) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let identity = (metadata.dev(), metadata.ino());
        let socket = inside(file.as_fd(), identity, sys::ioctl_socket)??;
        Ok(Self(Arc::new(Inner { file, identity, socket, name: name.into() })))
    }

    /// The interface with this name in the namespace. It is asked and bound there, from any thread.
    ///
    /// # Errors
    ///
    /// Those of [`Interface::by_name`].
    #[doc(alias = "if_nametoindex")]
    pub fn interface(&self, name: &str) -> Result<Interface, Error> {
        let what = format!("interface {name:?} of {self}");
        Interface::find(self.socket(), name, &what).map(|interface| interface.found_in(self))
    }

    /// All interfaces of the namespace, in the order of their indices.
    ///
    /// # Errors
    ///
    /// Those of [`run`](Self::run) and of [`Interface::all`].
    #[doc(alias = "if_nameindex")]
    pub fn interfaces(&self) -> Result<Vec<Interface>, Error> {
        let found = self.run(Interface::all)??;
        Ok(found.into_iter().map(|interface| interface.found_in(self)).collect())
    }

    /// Does some work inside the namespace, on a thread that is started for it and ends with it; on the calling thread if
    /// that is in the namespace already.
    ///
    /// What is opened there stays there: sockets of any family, netlink among them, and child processes. `/sys/class/net`
    /// does not follow. A panic goes on in the calling thread. The thread has the credentials of the calling one, and all
    /// signals blocked, so that no handler of the program finds itself in another namespace.
    ///
    /// That takes as long as to start a thread. Why a thread: setns(2) moves the thread that calls it. To move back may
    /// fail, and then a thread of the program, or of its executor, would stay in the wrong network.
    ///
    /// ```no_run
    /// use std::net::UdpSocket;
    ///
    /// use fast_afpacket::Netns;
    ///
    /// let socket = Netns::by_name("blue")?.run(|| UdpSocket::bind("10.0.0.1:319"))??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// An [`Error`] of [`Step::Netns`]: `EPERM` if the namespace may not be entered any more, since the process has given up
    /// `CAP_SYS_ADMIN`; `EAGAIN` if no thread can be started.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        inside(self.as_fd(), self.0.identity, work).during(Step::Netns, &self.0.name)
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.0.socket.as_fd()
    }

    pub(crate) fn inode(&self) -> u64 {
        self.0.identity.1
    }
}

fn inside<T: Send>(namespace: BorrowedFd<'_>, identity: (u64, u64), work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let is_here = fs::metadata(OF_THIS_THREAD).is_ok_and(|here| (here.dev(), here.ino()) == identity);
    if is_here {
        return Ok(work());
    }
    thread::scope(|scope| {
        let enter_and_work = || {
            sys::netns::leave_signals_to_others()?;
            sys::netns::enter(namespace)?;
            Ok(work())
        };
        let thread = thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, enter_and_work)?;
        thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

/// For setns(2).
impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }
}

/// Whether it is the same namespace, by whatever it was found.
impl PartialEq for Netns {
    fn eq(&self, other: &Self) -> bool {
        self.0.identity == other.0.identity
    }
}

impl Eq for Netns {}

/// What it was found by, in words.
impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

impl fmt::Debug for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Netns({self})")
    }
}

/// Why an interface is not asked or bound: its index is another one's in this network namespace.
#[derive(Debug)]
pub(crate) struct OtherNamespace;

impl fmt::Display for OtherNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it was looked up in another network namespace, and its index means another interface here")
    }
}

impl std::error::Error for OtherNamespace {}

impl From<OtherNamespace> for io::Error {
    fn from(why: OtherNamespace) -> Self {
        Self::new(io::ErrorKind::InvalidInput, why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_which_namespace() {
        for (error, errno, part) in [
            (Netns::by_name("no-such-namespace").unwrap_err(), libc::ENOENT, "\"no-such-namespace\""),
            (Netns::by_name("").unwrap_err(), libc::ENOENT, "\"\""),
            (Netns::by_name("../net").unwrap_err(), libc::ENOENT, "\"../net\""),
            (Netns::by_name("nul\0inside").unwrap_err(), libc::ENOENT, "nul"),
            (Netns::by_pid(u32::MAX).unwrap_err(), libc::ENOENT, "process 4294967295"),
            (Netns::by_path("/proc/self/cmdline").unwrap_err(), libc::EINVAL, "/proc/self/cmdline"),
        ] {
            assert_eq!((error.step(), error.raw_os_error()), (Step::Netns, Some(errno)), "{error}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn the_current_one_is_entered_without_a_thread() {
        let here = Netns::current().unwrap();
        let id = thread::current().id();
        assert_eq!(here.run(|| thread::current().id()).unwrap(), id);
        assert_eq!(here, Netns::by_path(OF_THIS_THREAD).unwrap());
        let names = |found: Vec<Interface>| found.iter().map(|i| i.name().into_owned()).collect::<Vec<_>>();
        assert_eq!(names(here.interfaces().unwrap()), names(Interface::all().unwrap()));
    }
}
