//! Opening sockets and rings, and asking about interfaces.

use std::any::Any;
use std::collections::BTreeSet;

use fast_afpacket::{Error, FanoutGroup, FanoutMode, Interface, MacAddr, RingShape, Timestamping};

use crate::hooks::Fault;
use crate::lab::{Cable, PROTOCOL, options};
use crate::{again, at_each_call, leftovers, only};

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
    let mut struck = BTreeSet::new();
    for open in all {
        struck.extend(at_each_call(&REFUSALS, |fault| {
            let (mut told, before) = (false, leftovers());
            drop(again(fault, &mut told, || open(&cable.a)));
            assert_eq!(leftovers(), before);
            told
        }));
    }
    let expected = ["bind", "getsockopt", "if_nameindex", "ioctl", "madvise", "mmap", "setsockopt", "socket"];
    assert!(expected.iter().all(|call| struck.contains(call)), "{struck:?}");
}
