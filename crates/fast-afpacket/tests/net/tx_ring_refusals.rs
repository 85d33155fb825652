//! Frames that a transmit ring cannot hand over: each is named, or stays, and nothing behind it is lost.

use std::io;
use std::thread;

use fast_afpacket::{EtherType, RingShape};

use crate::lab::{Cable, drain, frame, frame_of, ip, link_up, millis, options, tc};
use crate::tx_rings::{arrivals, arrived, open, patterned, receiver, small};

crate::tests! {
    refused_frames_are_named_and_the_others_arrive;
    a_ring_full_of_refused_frames;
    a_full_queue_leaves_frames_committed;
    discarded_frames_are_not_sent;
    a_link_that_goes_down_keeps_frames_committed;
}

/// What is wrong with a frame, and what the kernel says of it.
const BAD: [(usize, i32); 8] = [
    (0, libc::EINVAL),
    (1, libc::EINVAL),
    (13, libc::EINVAL),
    (1515, libc::EMSGSIZE),
    (1516, libc::EMSGSIZE),
    (1518, libc::EMSGSIZE),
    (1519, libc::EMSGSIZE),
    (2016, libc::EMSGSIZE),
];

fn refused_frames_are_named_and_the_others_arrive() {
    let cable = Cable::new();
    let receiver = receiver(&cable.b);
    let mut ring = open(options(), &cable.a, RingShape::transmit().block_size(4096).blocks(8));
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    // One bad frame among 16, at each place; then several, side by side and apart.
    let single = (0..16).map(|place| vec![place]);
    let several = [vec![0, 1], vec![0, 15], vec![14, 15], vec![3, 4, 5, 6], vec![0, 2, 4, 6, 8, 10, 12, 14]];
    for (round, places) in (0..).zip(single.chain(several).cycle().take(150)) {
        let mut bad = BAD.iter().cycle().skip(round);
        let mut refusals = Vec::new();
        for place in 0..16 {
            let number = (round * 16 + place) as u32;
            if places.contains(&place) {
                let &(len, errno) = bad.next().unwrap();
                ring.push(&patterned(len, number)).unwrap();
                refusals.push((place, len, errno));
            } else {
                // With a VLAN tag in it a frame may be four bytes longer.
                let mut good = patterned(if number.is_multiple_of(5) { 1518 } else { 60 + place * 90 }, number);
                if good.len() == 1518 {
                    good[12..14].copy_from_slice(&EtherType::VLAN.value().to_be_bytes());
                    good[14..18].copy_from_slice(&[0, 5, 0x88, 0xb5]);
                }
                ring.push(&good).unwrap();
                expected.push(good);
            }
        }
        let (mut handed_over, mut refused, mut before) = (0, 0, 0);
        for (place, len, errno) in refusals {
            let error = ring.flush().unwrap_err();
            let named = error.refused().expect("it is the frame's fault");
            assert_eq!((before + named.index, named.len, named.key), (place, len, None), "{error}");
            assert_eq!((error.taken(), error.error().raw_os_error()), (named.index, Some(errno)), "{error}");
            handed_over += error.taken();
            refused += 1;
            before = place + 1;
            assert_eq!(handed_over + refused + error.left(), 16);
            assert_eq!(ring.committed(), error.left());
        }
        assert_eq!(ring.flush().unwrap(), 16 - handed_over - refused);
        // Not all at once: the buffer of an ordinary user is small.
        found.extend(drain(&receiver));
    }
    // The kernel has taken out the tag on receive: what is left of a tagged frame is all behind it.
    let expected = expected.into_iter().map(|mut good| {
        if good.len() == 1518 {
            good.drain(12..16);
        }
        good
    });
    assert!(found.into_iter().eq(expected), "each once and in order");
}

fn a_ring_full_of_refused_frames() {
    let cable = Cable::new();
    let receiver = receiver(&cable.b);
    let mut ring = open(options(), &cable.a, RingShape::transmit());
    for number in 0..256 {
        ring.push(&frame_of(if number % 64 == 63 { 60 } else { 13 }, number)).unwrap();
    }
    assert_eq!(ring.next_slot().unwrap_err().raw_os_error(), Some(libc::ENOSPC), "not for ever");
    assert_eq!(ring.try_next_slot().unwrap_err().kind(), io::ErrorKind::StorageFull);
    let mut refused = 0;
    let mut taken = 0;
    loop {
        match ring.flush() {
            Ok(more) => break taken += more,
            Err(error) => {
                assert!(error.refused().is_some_and(|frame| frame.len == 13));
                refused += 1;
                taken += error.taken();
            }
        }
    }
    assert_eq!((taken, refused), (4, 252));
    assert_eq!(arrived(&receiver), [63, 127, 191, 255]);
    ring.push(&frame(7)).unwrap();
    assert_eq!(ring.flush().unwrap(), 1);
    assert_eq!(drain(&receiver), [frame(7)]);
}

/// A queue that holds some 12 small frames, and lets one out in half a millisecond.
fn short_queue() {
    tc("qdisc add dev va root tbf rate 1mbit burst 100 limit 750");
}

fn a_full_queue_leaves_frames_committed() {
    const COUNT: usize = 600;
    let cable = Cable::new();
    let receiver = receiver(&cable.b);
    short_queue();
    let mut ring = open(options(), &cable.a, RingShape::transmit().blocks(2));
    let (mut handed_over, mut pushed, mut refusals) = (0, 0, 0);
    let mut found = Vec::new();
    while handed_over < COUNT {
        while pushed < COUNT {
            match ring.try_next_slot() {
                Ok(Some(mut slot)) => {
                    slot[..60].copy_from_slice(&frame(pushed as u32));
                    slot.commit(60).unwrap();
                    pushed += 1;
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!((error.raw_os_error(), ring.committed()), (Some(libc::ENOSPC), 64));
                    break;
                }
            }
        }
        match ring.flush() {
            Ok(taken) => handed_over += taken,
            Err(error) => {
                assert_eq!((error.error().raw_os_error(), error.refused()), (Some(libc::ENOBUFS), None));
                handed_over += error.taken();
                refusals += 1;
                assert_eq!(error.left(), ring.committed());
                thread::sleep(millis(2));
            }
        }
        assert_eq!(handed_over + ring.committed(), pushed);
        found.extend(arrived(&receiver));
    }
    assert!(refusals > 0);
    found.extend(arrivals(&receiver, COUNT - found.len()));
    assert!(found.into_iter().eq(0..COUNT as u32), "each once and in order");
}

fn discarded_frames_are_not_sent() {
    let cable = Cable::new();
    let receiver = receiver(&cable.b);
    let mut ring = open(options(), &cable.a, small());
    for number in 0..4 {
        ring.push(&frame(number)).unwrap();
    }
    assert_eq!((ring.discard(), ring.committed(), ring.discard()), (4, 0, 0));
    assert_eq!(ring.flush().unwrap(), 0);
    // What a full queue has left, too: one frame leaves at once, it holds two.
    tc("qdisc add dev va root tbf rate 8bit burst 100 limit 150");
    for number in 10..16 {
        ring.push(&frame(number)).unwrap();
    }
    let error = ring.flush().unwrap_err();
    assert_eq!((error.error().raw_os_error(), error.taken(), error.left()), (Some(libc::ENOBUFS), 3, 3));
    assert_eq!((ring.discard(), ring.committed()), (3, 0));
    tc("qdisc change dev va root tbf rate 1mbit burst 100 limit 1000");
    ring.push(&frame(20)).unwrap();
    assert_eq!(ring.flush().unwrap(), 1);
    assert_eq!(arrivals(&receiver, 4), [10, 11, 12, 20]);
}

fn a_link_that_goes_down_keeps_frames_committed() {
    let cable = Cable::new();
    let receiver = receiver(&cable.b);
    let mut ring = open(options(), &cable.a, small());
    for round in 0..5 {
        for number in 0..6 {
            ring.push(&frame(round * 6 + number)).unwrap();
            if number == 2 {
                assert_eq!(ring.flush().unwrap(), 3);
            }
        }
        ip("link set va down");
        for _ in 0..2 {
            let error = ring.flush().unwrap_err();
            assert_eq!((error.error().raw_os_error(), error.taken(), error.left()), (Some(libc::ENETDOWN), 0, 3));
            assert_eq!(error.refused(), None);
        }
        link_up(&["va", "vb"]);
        assert_eq!(ring.flush().unwrap(), 3);
    }
    assert!(arrived(&receiver).into_iter().eq(0..30), "each once and in order");
}
