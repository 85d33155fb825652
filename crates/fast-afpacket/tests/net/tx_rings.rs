//! Transmit rings: every frame leaves once, in order and as it was written, or is named as the one that did not.

use std::io;
use std::mem;
use std::thread::{self, ScopedJoinHandle};

use fast_afpacket::{
    ByFrame, EtherType, Interface, LaunchClock, Options, PacketSocket, RingShape, Step, Timestamping, TxKey, TxRing,
    TxStage,
};

use crate::alloc;
use crate::lab::{
    Cable, Ring, bind, drain, eventually, frame, frame_of, ip, leftovers, millis, number_in, options, tc, within,
};

crate::tests! {
    frames_arrive_as_written_and_in_order_around_and_around;
    a_slot_that_is_not_committed_was_never_taken;
    what_fits_the_slot_and_the_link_is_sent;
    invalid_shapes_and_options_are_refused;
    what_was_granted;
    the_queueing_discipline_is_bypassed;
    it_is_the_sending_half_beside_a_receiver;
    sending_allocates_nothing;
    five_hundred_rings_leave_nothing;
    dropped_with_frames_in_a_slow_queue;
}

/// A small ring, two slots to a page and slack behind them.
pub(crate) fn small() -> RingShape<ByFrame> {
    RingShape::transmit().block_size(4096).blocks(3).frame_size(1600)
}

/// Opens a ring whose waits have a deadline that no passing test meets.
pub(crate) fn open(options: Options, interface: &Interface, shape: RingShape<ByFrame>) -> TxRing {
    let ring = options.tx_ring(interface, shape).unwrap();
    ring.set_write_deadline(within(millis(20_000)));
    ring.set_tx_deadline(within(millis(20_000)));
    ring
}

/// A receiver with room for all that a test sends at once, where an ordinary user may have so much: elsewhere for 250 frames
/// or so.
pub(crate) fn receiver(interface: &Interface) -> PacketSocket {
    bind(options().receive_buffer(4 << 20), interface)
}

/// The numbers of all frames that have arrived, in order.
pub(crate) fn arrived(receiver: &PacketSocket) -> Vec<u32> {
    drain(receiver).iter().map(|frame| number_in(frame)).collect()
}

/// The numbers of all frames, when so many have arrived.
pub(crate) fn arrivals(receiver: &PacketSocket, count: usize) -> Vec<u32> {
    let mut numbers = Vec::new();
    eventually("all have arrived", || {
        numbers.extend(arrived(receiver));
        numbers.len() >= count
    });
    numbers
}

/// A frame whose every byte depends on its number.
pub(crate) fn patterned(len: usize, number: u32) -> Vec<u8> {
    let mut frame = frame_of(len.max(18), number);
    for (byte, value) in frame.iter_mut().skip(18).zip((number as u8)..=u8::MAX) {
        *byte = value;
    }
    frame.truncate(len);
    frame
}

fn frames_arrive_as_written_and_in_order_around_and_around() {
    let cable = Cable::new();
    let receiver = receiver(&cable.b);
    let mut ring = open(options(), &cable.a, small());
    assert_eq!((ring.slots(), ring.slot_len()), (6, 1568));
    let lens = [14, 15, 18, 59, 60, 61, 64, 100, 500, 1000, 1499, 1500, 1513, 1514];
    let mut expected = Vec::new();
    let mut number = 0;
    // Batches of all sizes, so that they begin and end at every slot.
    for round in 0..200 {
        for _ in 0..=round % 6 {
            let frame = patterned(lens[number as usize % lens.len()], number);
            if number % 2 == 0 {
                ring.push(&frame).unwrap();
            } else {
                let mut slot = ring.next_slot().unwrap();
                assert_eq!(slot.len(), 1568);
                slot[..frame.len()].copy_from_slice(&frame);
                slot.commit(frame.len()).unwrap();
            }
            expected.push(frame);
            number += 1;
        }
        assert_eq!(ring.committed(), round % 6 + 1);
        assert_eq!(ring.flush().unwrap(), round % 6 + 1);
        assert_eq!(ring.committed(), 0);
        if expected.len() > 100 {
            assert_eq!(drain(&receiver), mem::take(&mut expected));
        }
    }
    assert_eq!(drain(&receiver), expected);
    assert!(number > 600, "{number} frames through 6 slots");
    assert_eq!(ring.flush().unwrap(), 0, "nothing to do");
}

fn a_slot_that_is_not_committed_was_never_taken() {
    let cable = Cable::new();
    let receiver = receiver(&cable.b);
    let mut ring = open(options().timestamping(Timestamping::empty()), &cable.a, small());
    for number in 0..20 {
        ring.next_slot().unwrap().fill(0xee);
        let too_long = ring.next_slot().unwrap().commit(1569).unwrap_err();
        assert_eq!(too_long.raw_os_error(), Some(libc::EMSGSIZE));
        assert_eq!(ring.push(&[0; 2000]).unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
        let no_stamps = ring.next_slot().unwrap().commit_keyed(60, TxKey::new(1)).unwrap_err();
        assert_eq!(no_stamps.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(ring.recv_tx(&mut []).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(ring.committed(), 0);
        ring.push(&frame(number)).unwrap();
        assert_eq!(ring.flush().unwrap(), 1);
    }
    assert!(arrived(&receiver).into_iter().eq(0..20));
}

fn what_fits_the_slot_and_the_link_is_sent() {
    let cable = Cable::new();
    let receiver = receiver(&cable.b);
    // Slots of a page, of which 1,472 bytes are for frames: less than the link takes.
    let mut ring = open(options(), &cable.a, RingShape::transmit().block_size(4096).blocks(2).frame_size(1504));
    assert_eq!(ring.slot_len(), 1472);
    ring.push(&frame_of(1472, 1)).unwrap();
    ring.push(&frame_of(1473, 2)).unwrap_err();
    assert_eq!(ring.flush().unwrap(), 1);
    // The smallest: 32 bytes for a frame.
    let mut smallest = open(options(), &cable.a, RingShape::transmit().frame_size(64));
    smallest.push(&frame_of(32, 3)).unwrap();
    smallest.push(&frame_of(33, 3)).unwrap_err();
    assert_eq!(smallest.flush().unwrap(), 1);
    // Frames over several pages, where the link takes them.
    for interface in ["va", "vb"] {
        ip(&format!("link set {interface} mtu 20000"));
    }
    let mut jumbo = open(options(), &cable.a, RingShape::transmit().block_size(64 << 10).frame_size(20_496));
    assert_eq!(jumbo.slots(), 24, "three to a block");
    let long = patterned(20_014, 4);
    for _ in 0..8 {
        jumbo.push(&long).unwrap();
    }
    assert_eq!(jumbo.flush().unwrap(), 8);
    let lens: Vec<_> = drain(&receiver).into_iter().map(|frame| (frame.len(), frame == long)).collect();
    assert_eq!(lens, [&[(1472, false), (32, false)][..], &[(20_014, true); 8]].concat());
}

fn invalid_shapes_and_options_are_refused() {
    let cable = Cable::new();
    let refused = |options: Options, shape: RingShape<ByFrame>, why: &str| {
        let error = options.tx_ring(&cable.a, shape).unwrap_err();
        assert_eq!(error.step(), Step::Options);
        assert!(error.to_string().contains(why), "{error}");
    };
    refused(options(), RingShape::transmit().frame_size(48), "nearest is 64");
    refused(options(), RingShape::transmit().frame_size(2050), "nearest is 2048");
    refused(options(), RingShape::transmit().block_size(5000), "nearest is 4096");
    refused(options(), RingShape::transmit().blocks(0), "nearest number is 1");
    refused(options().cooked(true), RingShape::transmit(), "cooked");
    refused(options().offload(true), RingShape::transmit(), "offload");
    refused(options().launch_clock(LaunchClock::Monotonic), RingShape::transmit(), "launch_clock");
    // What is valid is what the kernel takes.
    for shape in [RingShape::latency(), RingShape::transmit().frame_size(64), small()] {
        open(options(), &cable.a, shape);
    }
    ip("link del va");
    let error = options().tx_ring(&cable.a, small()).unwrap_err();
    assert_eq!((error.step(), error.raw_os_error()), (Step::Bind, Some(libc::ENODEV)));
}

fn what_was_granted() {
    let cable = Cable::new();
    let ring = open(options().send_buffer(100_000).receive_buffer(50_000), &cable.a, RingShape::transmit());
    let granted = ring.granted();
    let memory = granted.ring.unwrap();
    assert_eq!((memory.bytes, memory.populated), (512 << 10, true));
    assert_eq!((granted.send_buffer, granted.receive_buffer, granted.own_keys), (100_000, 50_000, false));
    assert_eq!(granted.timestamping, Timestamping::TX_SCHEDULED | Timestamping::TX_SOFTWARE);
    assert_eq!(*ring.interface(), cable.a);
    assert_eq!(ring.stats().unwrap(), fast_afpacket::Stats::default());
}

fn the_queueing_discipline_is_bypassed() {
    let cable = Cable::new();
    let receiver = receiver(&cable.b);
    // Through the queue nothing would leave soon.
    tc("qdisc add dev va root tbf rate 1kbit burst 50 limit 100000");
    let stamps = Timestamping::TX_SCHEDULED | Timestamping::TX_SOFTWARE;
    let mut ring = open(options().qdisc_bypass(true).timestamping(stamps), &cable.a, small());
    assert_eq!(ring.granted().timestamping, Timestamping::TX_SOFTWARE);
    for number in 0..6 {
        ring.push_keyed(&frame(number), TxKey::new(number)).unwrap();
    }
    assert_eq!(ring.flush().unwrap(), 6);
    assert_eq!(drain(&receiver).len(), 6);
    for number in 0..6 {
        let report = ring.recv_tx(&mut []).unwrap();
        assert_eq!((report.key.value(), report.stage), (number, TxStage::Sent));
    }
}

fn it_is_the_sending_half_beside_a_receiver() {
    let cable = Cable::new();
    let all = || options().protocol(EtherType::ALL).ignore_outgoing(true);
    let peer = bind(options(), &cable.b);
    for mut receiving in Ring::both(all, &cable.a) {
        let mut sending = open(all(), &cable.a, small());
        for number in 0..6 {
            sending.push(&frame(number)).unwrap();
        }
        assert_eq!(sending.flush().unwrap(), 6);
        assert_eq!(drain(&peer).len(), 6);
        peer.send(&frame(99)).unwrap();
        assert_eq!(number_in(&receiving.take(1)[0].data), 99, "the peer's, and none of its own");
        assert_eq!(sending.stats().unwrap().received, 0, "the sending half receives nothing");
    }
}

fn sending_allocates_nothing() {
    let cable = Cable::new();
    let receiver = receiver(&cable.b);
    let mut ring = open(options(), &cable.a, small());
    let (good, short) = (frame(1), frame_of(13, 2));
    let mut round = || {
        for _ in 0..4 {
            ring.push(&good).unwrap();
        }
        assert_eq!(ring.flush().unwrap(), 4);
        for key in 0..3 {
            ring.push_keyed(&good, TxKey::new(key)).unwrap();
        }
        ring.push(&good).unwrap();
        assert_eq!(ring.flush().unwrap(), 4);
        for _ in 0..6 {
            ring.recv_tx(&mut []).unwrap();
        }
        // Refusals and time-outs are ordinary events too.
        ring.push(&short).unwrap();
        ring.push_keyed(&good, TxKey::new(3)).unwrap();
        assert!(ring.flush().unwrap_err().refused().is_some());
        assert_eq!(ring.flush().unwrap(), 1);
        for _ in 0..2 {
            ring.recv_tx(&mut []).unwrap();
        }
        ring.set_tx_deadline(within(millis(1)));
        ring.recv_tx(&mut []).unwrap_err();
        ring.set_tx_deadline(within(millis(20_000)));
    };
    // The first wait makes what all later ones use.
    round();
    assert_eq!(alloc::count(|| (0..50).for_each(|_| round())), 0);
    drain(&receiver);
    // Nor does waiting for a slot or for room in the send buffer, once it has been done.
    tc("qdisc add dev va root tbf rate 1kbit burst 100 limit 100000");
    let mut ring = open(options().send_buffer(2304), &cable.a, small());
    ring.set_write_deadline(within(millis(30)));
    let mut send = || {
        ring.push(&good)?;
        ring.flush().map_err(io::Error::from)
    };
    let waited = (0..20).find_map(|_| send().err()).unwrap();
    assert_eq!(waited.kind(), io::ErrorKind::TimedOut);
    tc("qdisc change dev va root tbf rate 10mbit burst 100 limit 100000");
    ring.set_write_deadline(within(millis(20_000)));
    let allocations = alloc::count(|| {
        for _ in 0..100 {
            ring.push(&good).unwrap();
            ring.flush().unwrap();
        }
    });
    assert_eq!(allocations, 0);
}

fn five_hundred_rings_leave_nothing() {
    const THREADS: u32 = 4;
    let cable = Cable::new();
    let receiver = receiver(&cable.b);
    let before = leftovers();
    assert_eq!((before.1, before.2), (0, 1), "the receiver alone");
    let mut arrived = Vec::new();
    thread::scope(|scope| {
        let opening = (0..THREADS).map(|thread| {
            let interface = &cable.a;
            scope.spawn(move || {
                for round in 0..500 / THREADS {
                    let mut ring = open(options(), interface, small());
                    ring.push_keyed(&frame(thread), TxKey::new(round)).unwrap();
                    ring.flush().unwrap();
                    assert_eq!(ring.recv_tx(&mut []).unwrap().key.value(), round);
                    ring.push(&frame(1000)).unwrap();
                }
            })
        });
        let opening: Vec<_> = opening.collect();
        while !opening.iter().all(ScopedJoinHandle::is_finished) {
            arrived.extend(drain(&receiver));
            thread::sleep(millis(1));
        }
    });
    assert_eq!(leftovers(), before);
    arrived.extend(drain(&receiver));
    assert_eq!(arrived.len(), 500);
    assert!(arrived.iter().all(|frame| number_in(frame) < THREADS), "what was not flushed was not sent");
}

fn dropped_with_frames_in_a_slow_queue() {
    let cable = Cable::new();
    let receiver = receiver(&cable.b);
    let other = bind(options(), &cable.a);
    let before = leftovers();
    for round in 0..10 {
        // A minute for a frame.
        tc("qdisc add dev va root tbf rate 8bit burst 100 limit 100000");
        let mut ring = open(options(), &cable.a, small());
        for number in 0..6 {
            ring.push(&frame(number)).unwrap();
        }
        assert_eq!(ring.flush().unwrap(), 6);
        assert!(ring.try_next_slot().unwrap().is_some(), "the first has left at once");
        assert_eq!(arrived(&receiver), [0], "the others have not");
        if round % 2 == 0 {
            ring.push(&frame(6)).unwrap();
        }
        drop(ring);
        // A frame that comes makes the queue look at the time.
        tc("qdisc change dev va root tbf rate 1mbit burst 100 limit 100000");
        other.send(&frame(7)).unwrap();
        assert_eq!(arrivals(&receiver, 6), [1, 2, 3, 4, 5, 7], "what was handed over goes on");
        tc("qdisc del dev va root");
    }
    assert_eq!(leftovers(), before);
}
