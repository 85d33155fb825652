//! Rings whose interface is removed and made again under its name.

use std::io::{self, ErrorKind};
use std::thread;
use std::time::Duration;

use fast_afpacket::{ByFrame, Departure, LinkState, RingShape, RxRing, TxKey};

use crate::lab::{self, Cable, Ring, bind, drain, millis, options, within};
use crate::remade::{everything, filter, frame, make, memberships, remove};

crate::tests! {
    rings_go_on;
    a_ring_that_is_only_looked_at;
    a_transmit_ring_keeps_its_frames;
}

fn rings_go_on() {
    for follows in [false, true] {
        for kind in 0..2 {
            let cable = Cable::new();
            let options = || everything().filter(&filter(1)).follow_name(follows);
            let mut ring = Ring::both(options, &cable.a).nth(kind).unwrap();
            let peer = bind(self::options(), &cable.b);
            peer.send(&frame(1, true)).unwrap();
            if ring.is_of_blocks() {
                // The block is handed over after a millisecond.
                thread::sleep(millis(50));
            }
            remove();
            assert_eq!(lab::number_in(&ring.take(1)[0].data), 1, "what was received is read first");
            let expected = if follows { libc::ENETDOWN } else { libc::ENODEV };
            assert_eq!(ring.read().unwrap_err().raw_os_error(), Some(expected));
            let [made, peer] = make();
            if !follows {
                assert_eq!(ring.read().unwrap_err().raw_os_error(), Some(libc::ENODEV));
                assert_eq!(ring.rebind().unwrap(), made);
            }
            ring.set_nonblocking(true);
            // A look is enough.
            assert_eq!(ring.read().unwrap_err().kind(), ErrorKind::WouldBlock);
            ring.set_nonblocking(false);
            assert_eq!(memberships(&made), ("1".into(), 1));
            let peer = bind(self::options(), &peer);
            for number in 10..100 {
                peer.send(&frame(number, number % 2 == 0)).unwrap();
            }
            let frames = ring.take(45);
            assert!(frames.iter().all(|frame| frame.meta.timestamps.software.is_some()));
            let numbers: Vec<_> = frames.iter().map(|frame| lab::number_in(&frame.data)).collect();
            assert_eq!(numbers, (10..100).step_by(2).collect::<Vec<_>>());
            assert_eq!((ring.link_changes().downs, ring.link_changes().returns), (1, 1));
            assert_eq!(ring.stats().received, 46);
            drop(ring);
            remove();
        }
    }
}

/// By a thread that never waits and makes no system call as long as nothing is there.
fn a_ring_that_is_only_looked_at() {
    let cable = Cable::new();
    let options = || everything().filter(&filter(1));
    let mut ring = options().follow_name(true).rx_ring(&cable.a, RingShape::latency()).unwrap();
    let peer = bind(self::options(), &cable.b);
    peer.send(&frame(1, true)).unwrap();
    let look = |ring: &mut RxRing<ByFrame>| {
        ring.try_next_frame().map(|held| held.map(|held| lab::number_in(held.frame().data())))
    };
    lab::eventually("the frame is there", || look(&mut ring).unwrap() == Some(1));
    remove();
    lab::eventually("it is told", || {
        (0..5000).any(|_| look(&mut ring).is_err_and(|error| error.kind() == ErrorKind::NetworkDown))
    });
    let [made, peer] = make();
    lab::eventually("it is bound again", || {
        // One look in 4,096 is for the link.
        (0..5000).all(|_| look(&mut ring).unwrap().is_none()) && ring.link_changes().returns == 1
    });
    assert_eq!(ring.current_interface().unwrap(), made);
    bind(self::options(), &peer).send(&frame(2, true)).unwrap();
    lab::eventually("the next frame is there", || look(&mut ring).unwrap() == Some(2));
}

fn a_transmit_ring_keeps_its_frames() {
    for follows in [false, true] {
        let cable = Cable::new();
        let mut ring = everything().follow_name(follows).tx_ring(&cable.a, RingShape::transmit()).unwrap();
        ring.set_tx_deadline(within(Duration::from_secs(20)));
        ring.push_keyed(&frame(1, true), TxKey::new(1)).unwrap();
        ring.flush().unwrap();
        assert_eq!(ring.recv_tx(&mut []).unwrap().key.value(), 1);
        for number in 2..5 {
            ring.push_keyed(&frame(number, true), TxKey::new(number)).unwrap();
        }
        remove();
        let errno = if follows { libc::ENETDOWN } else { libc::ENODEV };
        for _ in 0..2 {
            assert_eq!(io::Error::from(ring.flush().unwrap_err()).raw_os_error(), Some(errno));
        }
        assert_eq!(ring.link_state(), LinkState::Gone(Departure::Unknown));
        let [made, peer] = make();
        let peer = bind(options(), &peer);
        if !follows {
            assert_eq!(ring.rebind().unwrap(), made);
        }
        assert_eq!(ring.flush().unwrap(), 3, "those that were committed before");
        let long = lab::frame_of(2000, 5);
        ring.push_keyed(&long[..1000], TxKey::new(5)).unwrap();
        assert_eq!(ring.flush().unwrap(), 1);
        for number in 2..6 {
            assert_eq!(ring.recv_tx(&mut []).unwrap().key.value(), number);
        }
        let arrived: Vec<_> = drain(&peer).iter().map(|frame| lab::number_in(frame)).collect();
        assert_eq!(arrived, [2, 3, 4, 5]);
        assert_eq!((ring.current_interface().unwrap(), ring.link_changes().returns), (made, 1));
        assert_eq!(ring.stats().unwrap().unattributed, 0);
        drop(ring);
        remove();
    }
}
