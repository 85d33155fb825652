//! Staying with an interface that is made again, and learning where one went.

use std::fs;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fast_afpacket::{
    Departure, Error, FanoutGroup, FanoutMode, Interface, LinkChanges, LinkState, MacAddr, Options, PacketSocket,
    RingShape, Timestamping, TxKey, TxRing,
};

use crate::hooks::{self, Fault};
use crate::lab::{Cable, PROTOCOL, Ring, bind, frame, millis, number_in, options, within};
use crate::{ERRORS, Reported as _, again, at_each_of, leftovers, only};

/// The second as if the interface were gone once more.
const REFUSALS: [Fault; 2] = [Fault::Errno(libc::ENOMEM), Fault::Errno(libc::ENODEV)];

const GROUP: [u8; 6] = [0x01, 0x00, 0x5e, 0x01, 0x02, 0x03];

/// Does all this with `ip`, without a fault. That it is shown lets the kernel notice that there is a carrier.
fn ip(commands: &str) {
    hooks::without(|| {
        let mut ip =
            Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        ip.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
        assert!(ip.wait().unwrap().success(), "{commands}");
    });
}

const REMOVE: &str = "link del va\n";
const MAKE: &str = "link add va type veth peer name vb\n\
                    link set va addrgenmode none\nlink set vb addrgenmode none\n\
                    link set va up\nlink set vb up\nlink show va\nlink show vb\n";

/// A socket at the other end.
fn peer() -> PacketSocket {
    hooks::without(|| bind(options().dual(true), &Interface::by_name("vb").unwrap()))
}

/// A deadline that no passing test meets.
fn soon() -> Option<Instant> {
    within(millis(20_000))
}

/// How many users the kernel counts of [`GROUP`] on `va`.
fn users() -> Vec<u32> {
    let joined = fs::read_to_string("/proc/thread-self/net/dev_mcast").unwrap();
    let lines = joined.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|words| words[1] == "va" && words[4] == "01005e010203")
        .map(|words| words[2].parse().unwrap())
        .collect()
}

/// What can be bound anew.
trait Stays {
    const RECEIVES: bool = true;

    fn rebind(&mut self) -> Result<Interface, Error>;
    fn changes(&self) -> LinkChanges;
    /// Whether it receives just this frame, and counts it; the interface was removed while `unread` was there.
    fn goes_on(&mut self, peer: &PacketSocket, unread: u32, number: u32);
}

/// A socket, and whether another one takes its place.
struct Socket(PacketSocket, bool);

impl Stays for Socket {
    fn rebind(&mut self) -> Result<Interface, Error> {
        self.0.rebind()
    }

    fn changes(&self) -> LinkChanges {
        self.0.link_changes()
    }

    fn goes_on(&mut self, peer: &PacketSocket, unread: u32, number: u32) {
        let Self(socket, is_replaced) = self;
        socket.set_deadline(soon());
        let before = socket.stats().unwrap();
        peer.send(&frame(number)).unwrap();
        for &number in &[unread, number][usize::from(*is_replaced)..] {
            let mut buf = [0; 64];
            let meta = socket.recv(&mut buf).unwrap();
            assert_eq!(number_in(&buf), number);
            // The very first may have come before the kernel stamped any.
            assert!(meta.timestamps.software.is_some() || number == 0);
        }
        // That it went down is said once.
        assert_eq!(socket.try_recv(&mut []).unwrap_err().raw_os_error(), Some(libc::ENETDOWN));
        assert_eq!(socket.try_recv(&mut []).unwrap_err().raw_os_error(), Some(libc::EAGAIN));
        socket.send_keyed(&frame(number), TxKey::new(number)).unwrap();
        assert_eq!(socket.recv_tx(&mut []).unwrap().key.value(), number);
        assert_eq!(peer.stats().unwrap().received, 1);
        let counted = socket.stats().unwrap().since(&before);
        assert_eq!((counted.received, counted.dropped, counted.malformed), (1, 0, 0));
        // One was not read, of each that was replaced.
        let discarded = socket.stats().unwrap().discarded;
        assert_eq!(discarded, if *is_replaced { self.changes().returns } else { 0 });
    }
}

/// A ring, and whether another one takes its place.
struct RingOf(Ring, bool);

impl Stays for RingOf {
    fn rebind(&mut self) -> Result<Interface, Error> {
        self.0.rebind()
    }

    fn changes(&self) -> LinkChanges {
        self.0.link_changes()
    }

    fn goes_on(&mut self, peer: &PacketSocket, unread: u32, number: u32) {
        let Self(ring, is_replaced) = self;
        ring.set_read_deadline(soon());
        let before = ring.stats();
        peer.send(&frame(number)).unwrap();
        let (mut numbers, mut said) = (Vec::new(), 0);
        while numbers.last() != Some(&number) || said == 0 {
            match ring.read() {
                Ok(frames) => numbers.extend(frames.iter().map(|frame| number_in(&frame.data))),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::ENETDOWN));
                    said += 1;
                }
            }
        }
        assert_eq!(said, 1);
        assert_eq!(numbers, [unread, number][usize::from(*is_replaced)..]);
        let counted = ring.stats().since(&before);
        assert_eq!((counted.received, counted.dropped, counted.malformed), (1, 0, 0));
    }
}

impl Stays for TxRing {
    const RECEIVES: bool = false;

    fn rebind(&mut self) -> Result<Interface, Error> {
        self.rebind()
    }

    fn changes(&self) -> LinkChanges {
        self.link_changes()
    }

    fn goes_on(&mut self, peer: &PacketSocket, _unread: u32, number: u32) {
        self.set_tx_deadline(soon());
        self.push_keyed(&frame(number), TxKey::new(number)).unwrap();
        assert_eq!(self.flush().unwrap(), 1);
        let mut buf = [0; 64];
        peer.recv(&mut buf).unwrap();
        assert_eq!(number_in(&buf), number);
        assert_eq!(self.recv_tx(&mut []).unwrap().key.value(), number);
    }
}

/// Makes `va` again and again, and what stays with it is rebound while a call fails.
fn rebound<S: Stays>(expected: &[&str], faults: &[Fault], mut subject: S) {
    let mut number = 0;
    at_each_of(expected, faults, |fault| {
        let mut told = false;
        let (unread, next) = (number, number + 1);
        number += 2;
        hooks::without(|| peer().send(&frame(unread)).unwrap());
        ip(&format!("{REMOVE}{MAKE}"));
        let (peer, before) = (peer(), leftovers());
        let made = again(fault, &mut told, || subject.rebind());
        hooks::without(|| {
            assert_eq!(made, Interface::by_name("va").unwrap());
            assert_eq!(leftovers(), before);
            assert_eq!(users(), &[1][usize::from(!S::RECEIVES)..]);
            subject.goes_on(&peer, unread, next);
            let rounds = u64::from(number / 2);
            let LinkChanges { downs, returns, .. } = subject.changes();
            assert_eq!((downs, returns), (if S::RECEIVES { rounds } else { 0 }, rounds));
        });
        told
    });
}

fn demanding() -> Options {
    options()
        .timestamping(Timestamping::RX_SOFTWARE | Timestamping::TX_SOFTWARE)
        .filter(&only(PROTOCOL))
        .multicast(MacAddr::new(GROUP))
}

pub(crate) fn sockets() {
    for (dual, is_member) in [(false, false), (true, false), (false, true), (true, true)] {
        let cable = Cable::new();
        let group = FanoutGroup::new(FanoutMode::Hash);
        let mut options = demanding().dual(dual);
        let mut expected = vec!["getsockopt", "ioctl", "setsockopt", "bind"];
        if is_member {
            options = options.fanout(&group);
            expected.extend(["socket", "recvmsg", "dup3", "fcntl"]);
        }
        rebound(&expected, &[REFUSALS[usize::from(dual)]], Socket(bind(options, &cable.a), is_member));
        ip(REMOVE);
    }
}

pub(crate) fn rings() {
    for is_member in [false, true] {
        let cable = Cable::new();
        let group = FanoutGroup::new(FanoutMode::Hash);
        let mut expected = vec!["getsockopt", "ioctl", "setsockopt", "bind"];
        let options = || {
            let options = demanding().timestamping(Timestamping::RX_SOFTWARE);
            if is_member { options.fanout(&group) } else { options }
        };
        if is_member {
            expected.extend(["socket", "mmap", "dup3", "fcntl"]);
        }
        let blocks = Ring::both(options, &cable.a).next().unwrap();
        rebound(&expected, &REFUSALS[..1], RingOf(blocks, is_member));
        ip(REMOVE);
    }
}

pub(crate) fn transmit_ring() {
    let cable = Cable::new();
    let shape = RingShape::transmit().block_size(4096).blocks(2).frame_size(1024);
    let ring = options().timestamping(Timestamping::TX_SOFTWARE).tx_ring(&cable.a, shape).unwrap();
    rebound(&["ioctl", "bind"], &REFUSALS, ring);
    ip(REMOVE);
}

/// A call that finds the interface there again binds to it. Some errors say that it is too early; the others are told, and
/// the next call tries again.
pub(crate) fn followed() {
    for is_member in [false, true] {
        let cable = Cable::new();
        let group = FanoutGroup::new(FanoutMode::Hash);
        let mut options = demanding().follow_name(true);
        if is_member {
            options = options.fanout(&group);
        }
        let socket = bind(options, &cable.a);
        let mut number = 0;
        // The one says that it is too early, the other is told.
        let faults = [Fault::Errno(if is_member { libc::ENOMEM } else { libc::EAGAIN })];
        at_each_of(&["recvmsg", "ioctl", "bind", "setsockopt"], &faults, |fault| {
            let mut told = false;
            ip(&format!("{REMOVE}{MAKE}"));
            let peer = peer();
            number += 1;
            let deadline = Instant::now() + Duration::from_secs(10);
            while socket.link_changes().returns < number {
                assert!(Instant::now() < deadline, "it does not come back");
                match socket.try_recv(&mut []).unwrap_err() {
                    // It is down, or said to be, whatever was refused.
                    error if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                    error if error.kind() == io::ErrorKind::WouldBlock => {}
                    error => {
                        error.check(fault);
                        assert!(!std::mem::replace(&mut told, true), "{error}");
                    }
                }
            }
            hooks::without(|| {
                while socket.try_recv(&mut []).unwrap_err().kind() != io::ErrorKind::WouldBlock {}
                let before = socket.stats().unwrap();
                let number = u32::try_from(number).unwrap();
                peer.send(&frame(number)).unwrap();
                let mut buf = [0; 64];
                socket.set_deadline(soon());
                assert!(socket.recv(&mut buf).unwrap().timestamps.software.is_some());
                assert_eq!(number_in(&buf), number);
                let counted = socket.stats().unwrap().since(&before);
                assert_eq!((counted.received, counted.dropped, counted.discarded), (1, 0, 0));
                assert_eq!(users(), [1]);
                assert_eq!(u64::from(number), socket.link_changes().downs);
            });
            drop(peer);
            told
        });
        ip(REMOVE);
    }
}

/// Where the interface went is unknown if the kernel could not be asked; never something else than what happened.
pub(crate) fn departures() {
    at_each_of(&["socket", "setsockopt", "bind", "getsockopt", "recv"], &ERRORS, |fault| {
        ip(MAKE);
        let (mut told, before) = (false, leftovers());
        let socket = hooks::without(|| bind(options(), &Interface::by_name("va").unwrap()));
        ip("link set va down\n");
        loop {
            match socket.try_recv(&mut []).unwrap_err() {
                error if error.raw_os_error() == Some(libc::ENETDOWN) => break,
                error if error.kind() == io::ErrorKind::WouldBlock => {}
                error => {
                    error.check(fault);
                    assert!(!std::mem::replace(&mut told, true), "{error}");
                }
            }
        }
        ip(REMOVE);
        match socket.link_state() {
            LinkState::Gone(Departure::Removed) => {}
            LinkState::Gone(Departure::Unknown) => assert!(!std::mem::replace(&mut told, true)),
            other => panic!("{other:?}"),
        }
        drop(socket);
        assert_eq!(leftovers(), before);
        told
    });
}
