//! Namespaces, virtual links and frames for the tests.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use fast_afpacket::{
    ByFrame, Error, EtherType, Frame, Interface, LinkChanges, Options, PacketSocket, RingControl, RingShape, RxMeta,
    RxRing, Stats, SystemStamp,
};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getgid, getuid};

/// Makes this process able to make network namespaces. Called before any thread is started.
pub(crate) fn enter() -> Result<(), String> {
    if unshare(CloneFlags::CLONE_NEWNET).is_ok() {
        return Ok(());
    }
    let (uid, gid) = (getuid(), getgid());
    let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET;
    unshare(flags).map_err(|errno| format!("neither root nor allowed to make user namespaces: {errno}"))?;
    let write =
        |file: &str, text: String| fs::write(file, text).map_err(|error| format!("cannot write {file}: {error}"));
    write("/proc/self/setgroups", "deny".into())?;
    write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// Why this program cannot be used, if it cannot.
pub(crate) fn missing(tool: &str) -> Option<String> {
    // Some only know -V, some only --version; whether it can be started is all that counts.
    let started = Command::new(tool).arg("-V").output();
    started.err().map(|error| format!("{tool} is needed: {error}"))
}

/// Whether this kernel is older than a release: what it lacks has to be refused then, and only then.
pub(crate) fn kernel_is_before(release: (u32, u32)) -> bool {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel says what it is");
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().expect(&text));
    (numbers.next().expect(&text), numbers.next().expect(&text)) < release
}

/// Runs a test in a network namespace that nobody else sees, on a thread that ends with it.
pub(crate) fn in_new_namespace(test: fn()) {
    let result = thread::spawn(move || in_this_thread(test)).join();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// Moves the calling thread into a new network namespace and runs a test there.
pub(crate) fn in_this_thread(test: fn()) {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
    ip("link set lo up");
    test();
}

/// A second network namespace, as a descriptor that keeps it alive.
pub(crate) struct Namespace(File);

impl Namespace {
    pub(crate) fn new() -> Self {
        let open = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            File::open("/proc/thread-self/ns/net").expect("its descriptor")
        };
        Self(thread::spawn(open).join().expect("the thread that makes it"))
    }

    /// That of the calling thread.
    pub(crate) fn current() -> Self {
        Self(File::open("/proc/thread-self/ns/net").expect("its descriptor"))
    }

    /// A path for `ip link set … netns`.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Runs `work` in it, on a thread.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                nix::sched::setns(&self.0, CloneFlags::CLONE_NEWNET).expect("the namespace can be entered");
                work()
            });
            inside.join().expect("the work inside")
        })
    }
}

fn run(tool: &str, arguments: &str) {
    let output = Command::new(tool).args(arguments.split_whitespace()).output().expect(tool);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments}: {errors}");
}

/// Runs `ip` in the test's namespace.
pub(crate) fn ip(arguments: &str) {
    run("ip", arguments);
}

/// Runs `tc` in the test's namespace.
pub(crate) fn tc(arguments: &str) {
    run("tc", arguments);
}

/// A virtual cable in the test's namespace, both ends up, silent: nothing sends on it but the test.
pub(crate) struct Cable {
    pub(crate) a: Interface,
    pub(crate) b: Interface,
}

pub(crate) const MAC_A: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];
pub(crate) const MAC_B: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0b];

impl Cable {
    pub(crate) fn new() -> Self {
        Self::named("va", "vb")
    }

    pub(crate) fn named(a: &str, b: &str) -> Self {
        ip(&format!("link add {a} address 02:00:00:00:00:0a type veth peer name {b} address 02:00:00:00:00:0b"));
        for end in [a, b] {
            // Without an address of its own IPv6 does not talk.
            ip(&format!("link set {end} addrgenmode none"));
        }
        link_up(&[a, b]);
        Self { a: Interface::by_name(a).unwrap(), b: Interface::by_name(b).unwrap() }
    }
}

/// Sets interfaces up, and their carrier. The kernel notices a carrier up to a second late and swallows what is sent
/// until then; being asked for the link it looks at once.
pub(crate) fn link_up(names: &[&str]) {
    for name in names {
        ip(&format!("link set {name} up"));
    }
    for name in names {
        ip(&format!("link show {name}"));
    }
}

/// The protocol of the tests' frames.
pub(crate) const PROTOCOL: EtherType = EtherType::EXPERIMENTAL_1;

/// A frame from `a` to `b` with `number` behind the header, `len` bytes long.
pub(crate) fn frame_of(len: usize, number: u32) -> Vec<u8> {
    let mut frame = [&MAC_B[..], &MAC_A, &PROTOCOL.value().to_be_bytes(), &number.to_be_bytes()].concat();
    frame.resize(len, 0);
    frame
}

pub(crate) fn frame(number: u32) -> Vec<u8> {
    frame_of(60, number)
}

/// The number in a frame of [`frame_of`].
pub(crate) fn number_in(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[14..18].try_into().unwrap())
}

/// Options for a socket that sees the tests' frames only and that no test can wait for too long.
pub(crate) fn options() -> Options {
    PacketSocket::options().protocol(PROTOCOL)
}

/// Binds and gives all waits a deadline that no passing test meets.
pub(crate) fn bind(options: Options, interface: &Interface) -> PacketSocket {
    let socket = options.bind(interface).unwrap();
    socket.set_deadline(within(Duration::from_secs(20)));
    socket
}

pub(crate) fn within(time: Duration) -> Option<Instant> {
    Some(Instant::now() + time)
}

pub(crate) const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Waits until `condition` holds: for what the kernel does a little later. Fails after seconds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "not in 10 seconds: {what}");
        thread::sleep(millis(1));
    }
}

/// Receives all that is there.
pub(crate) fn drain(socket: &PacketSocket) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut buf = vec![0; 65_600];
    socket.set_nonblocking(true);
    loop {
        match socket.recv(&mut buf) {
            Ok(meta) => frames.push(buf[..meta.len].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    socket.set_nonblocking(false);
    frames
}

/// Processor time of the calling thread.
pub(crate) fn thread_time() -> Duration {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    Duration::from(now)
}

/// What this process has open, has mapped, and has registered with the kernel in this namespace.
pub(crate) fn leftovers() -> (HashSet<String>, usize, usize) {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap();
    let sockets = descriptors
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .filter(|target| target.starts_with("socket:") || target.contains("eventfd"))
        .collect();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mapped = maps.lines().filter(|line| line.contains("socket:")).count();
    let packet = fs::read_to_string("/proc/thread-self/net/packet").unwrap();
    (sockets, mapped, packet.lines().count() - 1)
}

/// A ring of either kind, as far as both can do the same.
pub(crate) enum Ring {
    Blocks(RxRing),
    Frames(RxRing<ByFrame>),
}

/// A frame out of a ring.
#[derive(Clone, Debug)]
pub(crate) struct Copied {
    pub(crate) data: Vec<u8>,
    pub(crate) meta: RxMeta,
    pub(crate) copied_at: Option<SystemStamp>,
}

impl Copied {
    fn of(frame: Frame<'_>) -> Self {
        Self { data: frame.data().to_vec(), meta: frame.meta(), copied_at: frame.copied_at() }
    }
}

impl Ring {
    /// One of each kind, opened as it is asked for, with a deadline that no passing test meets. Blocks are handed over
    /// after a millisecond.
    pub(crate) fn both(options: impl Fn() -> Options, interface: &Interface) -> impl Iterator<Item = Self> {
        [true, false].into_iter().map(move |blocks| {
            let ring = if blocks {
                let shape = RingShape::throughput().blocks(4).block_timeout(millis(1));
                Self::Blocks(options().rx_ring(interface, shape).unwrap())
            } else {
                Self::Frames(options().rx_ring(interface, RingShape::latency()).unwrap())
            };
            ring.set_read_deadline(within(Duration::from_secs(20)));
            ring
        })
    }

    pub(crate) fn is_of_blocks(&self) -> bool {
        matches!(self, Self::Blocks(_))
    }

    /// The next frames: a block of them, or one.
    pub(crate) fn read(&mut self) -> io::Result<Vec<Copied>> {
        match self {
            Self::Blocks(ring) => Ok(ring.next_block()?.iter().map(Copied::of).collect()),
            Self::Frames(ring) => Ok(vec![Copied::of(ring.next_frame()?.frame())]),
        }
    }

    /// Reads until there are `count`. More at once is a failure.
    pub(crate) fn take(&mut self, count: usize) -> Vec<Copied> {
        let mut frames = Vec::new();
        while frames.len() < count {
            frames.extend(self.read().unwrap());
        }
        assert_eq!(frames.len(), count);
        frames
    }

    pub(crate) fn set_read_deadline(&self, deadline: Option<Instant>) {
        self.control().set_read_deadline(deadline);
    }

    pub(crate) fn set_nonblocking(&self, nonblocking: bool) {
        match self {
            Self::Blocks(ring) => ring.set_nonblocking(nonblocking),
            Self::Frames(ring) => ring.set_nonblocking(nonblocking),
        }
    }

    pub(crate) fn control(&self) -> RingControl {
        match self {
            Self::Blocks(ring) => ring.control(),
            Self::Frames(ring) => ring.control(),
        }
    }

    pub(crate) fn link_changes(&self) -> LinkChanges {
        match self {
            Self::Blocks(ring) => ring.link_changes(),
            Self::Frames(ring) => ring.link_changes(),
        }
    }

    pub(crate) fn rebind(&mut self) -> Result<Interface, Error> {
        match self {
            Self::Blocks(ring) => ring.rebind(),
            Self::Frames(ring) => ring.rebind(),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        self.control().stats().unwrap()
    }
}
