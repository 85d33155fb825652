//! Opening sockets and rings, and asking about interfaces.

use std::any::Any;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use fast_afpacket::{ClockState, Error, FanoutGroup, FanoutMode, Interface, MacAddr, RingShape, Timestamping};

use crate::hooks::{self, Fault};
use crate::lab::{Cable, PROTOCOL, options};
use crate::{again, at_each_call, at_each_of, leftovers, only};

/// Nothing in between tells one errno from another, but for `EINTR`.
const REFUSALS: [Fault; 2] = [Fault::Errno(libc::EINTR), Fault::Errno(libc::ENOMEM)];

type Opened = Result<Box<dyn Any>, Error>;

fn opened<T: 'static>(result: Result<T, Error>) -> Opened {
    Ok(Box::new(result?))
}

/// A socket that asks for all that there is.
fn demanding(interface: &Interface) -> Opened {
    let options = options()
        .dual(true)
        .timestamping(Timestamping::all())
        .filter(&only(PROTOCOL))
        .receive_buffer(1 << 20)
        .send_buffer(1 << 20)
        .promiscuous(true)
        .all_multicast(true)
        .multicast(MacAddr::new([0x01, 0x80, 0xc2, 0, 0, 0x0e]));
    opened(options.bind(interface))
}

fn asked(interface: &Interface) -> Opened {
    opened((|| {
        let found = Interface::by_name(&interface.name())?;
        Interface::by_index(found.index())?;
        found.mac()?;
        found.mtu()?;
        found.flags()?;
        found.hardware_type()?;
        Interface::all()
    })())
}

pub(crate) fn test() {
    let cable = Cable::new();
    let all: [fn(&Interface) -> Opened; _] = [
        |interface| opened(options().bind(interface)),
        demanding,
        |interface| opened(options().fanout(&FanoutGroup::new(FanoutMode::Hash)).bind(interface)),
        |interface| opened(options().rx_ring(interface, RingShape::throughput().blocks(2))),
        |interface| opened(options().rx_ring(interface, RingShape::latency().blocks(2))),
        |interface| opened(options().timestamping(Timestamping::TX).tx_ring(interface, RingShape::transmit())),
        asked,
    ];
    at_each_of(&["adjtimex"], &REFUSALS, |fault| {
        let mut told = false;
        again(fault, &mut told, ClockState::read);
        told
    });
    let expected = ["bind", "fcntl", "getsockopt", "if_nameindex", "ioctl", "madvise", "mmap", "setsockopt", "socket"];
    opens(&all, &REFUSALS, &expected, &cable.a);
}

/// Of the sockets that are handed over none is left open, whatever fails.
pub(crate) fn given_sockets() {
    let cable = Cable::new();
    let all: [fn(&Interface) -> Opened; _] = [
        |interface| opened(options().bind_fds(raw_socket(), raw_socket(), interface)),
        |interface| {
            opened(options().rx_ring_fd(raw_socket(), interface, RingShape::throughput().block_size(4096).blocks(1)))
        },
    ];
    opens(&all, &REFUSALS[1..], &["bind", "getsockname", "getsockopt", "recvmsg", "setsockopt"], &cable.a);
}

/// As somebody else opens one.
fn raw_socket() -> OwnedFd {
    use rustix::net::{AddressFamily, SocketType, socket};
    hooks::without(|| socket(AddressFamily::PACKET, SocketType::RAW, None).unwrap())
}

/// Each of these opens what is closed again; whatever fails, the next attempt succeeds.
fn opens(all: &[fn(&Interface) -> Opened], faults: &[Fault], expected: &[&str], interface: &Interface) {
    let mut struck = BTreeSet::new();
    for open in all {
        struck.extend(at_each_call(faults, |fault| {
            let (mut told, before) = (false, leftovers());
            drop(again(fault, &mut told, || open(interface)));
            assert_eq!(leftovers(), before);
            told
        }));
    }
    assert!(expected.iter().all(|call| struck.contains(call)), "{struck:?}");
}
