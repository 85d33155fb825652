//! Receiving through rings, and changing filters.

use std::io;

use fast_afpacket::{EtherType, PacketSocket};

use crate::hooks;
use crate::lab::{Cable, PROTOCOL, Ring, bind, frame, millis, number_in, options, within};
use crate::{ERRORS, Reported as _, again, at_each_of, leftovers, only};

/// Both kinds of rings, whose reader finds frames and then waits for one.
pub(crate) fn rings() {
    let cable = Cable::new();
    let peer = bind(options(), &cable.a);
    for mut ring in Ring::both(options, &cable.b) {
        let mut next = 0;
        at_each_of(&["ppoll", "getsockopt"], &ERRORS, |fault| {
            let mut told = false;
            let before = hooks::without(|| ring.stats());
            let expected: Vec<_> = (next..next + 3).collect();
            for &number in &expected {
                hooks::without(|| peer.send(&frame(number)).unwrap());
            }
            next += 3;
            let mut received = Vec::new();
            while received.len() < 3 {
                match ring.read() {
                    Ok(frames) => received.extend(frames.iter().map(|frame| number_in(&frame.data))),
                    Err(error) => {
                        error.check(fault);
                        assert!(!std::mem::replace(&mut told, true), "{error}");
                    }
                }
            }
            assert_eq!(received, expected);
            // There is nothing more: it waits in vain, which needs a wait in the ring of frames too.
            ring.set_read_deadline(within(millis(2)));
            let error = ring.read().map(|frames| frames.len()).unwrap_err();
            if error.kind() != io::ErrorKind::TimedOut {
                error.check(fault);
                assert!(!std::mem::replace(&mut told, true), "{error}");
            }
            ring.set_read_deadline(within(millis(20_000)));
            if let Err(error) = ring.control().stats() {
                error.check(fault);
                assert!(!std::mem::replace(&mut told, true), "{error}");
            }
            let counted = hooks::without(|| ring.stats()).since(&before);
            assert_eq!((counted.received, counted.dropped, counted.malformed), (3, 0, 0));
            told
        });
    }
}

/// The first waits of a socket: they need descriptors, which are given back with it.
pub(crate) fn waiting() {
    let cable = Cable::new();
    for dual in [false, true] {
        let mut expected = vec!["eventfd", "ppoll"];
        if !dual {
            // What waits for a frame is not to be woken by stamps.
            expected.extend(["epoll_create1", "epoll_ctl"]);
        }
        at_each_of(&expected, &ERRORS, |fault| {
            let (mut told, before) = (false, leftovers());
            let socket = hooks::without(|| options().dual(dual).bind(&cable.a).unwrap());
            let mut wait = |call: &dyn Fn() -> io::Result<()>| {
                let in_vain = || {
                    socket.set_deadline(within(millis(1)));
                    match call() {
                        Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(()),
                        result => result,
                    }
                };
                again(fault, &mut told, in_vain);
            };
            for _ in 0..2 {
                wait(&|| socket.recv(&mut [0; 64]).map(drop));
                wait(&|| socket.recv_tx(&mut []).map(drop));
            }
            drop(socket);
            assert_eq!(leftovers(), before);
            told
        });
    }
}

/// Whatever is refused, setting the filter once more makes it so; and no frame of another filter is left.
pub(crate) fn filters() {
    let cable = Cable::new();
    let (peer, receiver) = (bind(options(), &cable.a), bind(options(), &cable.b));
    let (ours, others) = (only(PROTOCOL), only(EtherType::EXPERIMENTAL_2));
    let passes = |receiver: &PacketSocket| {
        hooks::without(|| {
            peer.send(&frame(1)).unwrap();
            receiver.set_nonblocking(true);
            let result = receiver.recv(&mut [0; 64]);
            receiver.set_nonblocking(false);
            result.is_ok()
        })
    };
    receiver.set_filter(&ours).unwrap();
    // But for EAGAIN, with which the kernel would say that nothing is left to be thrown away.
    at_each_of(&["setsockopt", "recvmsg", "syscall"], &ERRORS[1..], |fault| {
        let mut told = false;
        // One frame waits, of a filter that is to be replaced.
        hooks::without(|| peer.send(&frame(0)).unwrap());
        again(fault, &mut told, || receiver.set_filter(&others));
        assert!(!passes(&receiver));
        again(fault, &mut told, || receiver.set_filter(&ours));
        assert!(passes(&receiver));
        told
    });
}
