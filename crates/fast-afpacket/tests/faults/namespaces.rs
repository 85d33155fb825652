//! Work in other network namespaces, on a thread of its own: the fault is the thread's too.

use fast_afpacket::{Netns, Timestamping};

use crate::hooks;
use crate::lab::{Cable, Namespace, bind, frame, number_in, options};
use crate::{ERRORS, again, at_each_of, leftovers};

pub(crate) fn test() {
    let other = Namespace::new();
    let cable = other.run(Cable::new);
    let peer = other.run(|| bind(options(), &cable.b));
    let mut number = 0;
    at_each_of(
        &["sigfillset", "pthread_sigmask", "setns", "socket", "ioctl", "if_nameindex", "bind"],
        &ERRORS,
        |fault| {
            let (mut told, before) = (false, leftovers());
            let netns = again(fault, &mut told, || Netns::by_path(other.path()));
            // It is done once, or not at all.
            let mut done = 0;
            again(fault, &mut told, || netns.run(|| done += 1));
            assert_eq!(done, 1);
            assert_eq!(again(fault, &mut told, || netns.interfaces()).len(), 3);
            let interface = again(fault, &mut told, || netns.interface("va"));
            assert_eq!(interface.index(), cable.a.index());
            let options = || options().timestamping(Timestamping::RX_SOFTWARE);
            let socket = again(fault, &mut told, || options().bind(&interface));
            number += 1;
            hooks::without(|| {
                peer.send(&frame(number)).unwrap();
                let mut buf = [0; 64];
                socket.recv(&mut buf).unwrap();
                assert_eq!(number_in(&buf), number);
            });
            drop((socket, interface, netns));
            assert_eq!(leftovers(), before);
            told
        },
    );
}
