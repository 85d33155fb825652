//! Rings under load: every frame is accounted for, and nothing is left behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fast_afpacket::{RingShape, RxRing, Stats};

use crate::alloc;
use crate::lab::{Cable, Ring, bind, frame, leftovers, millis, number_in, options, within};

crate::tests! {
    a_held_block_is_not_written_to;
    a_full_ring_of_blocks_counts_all;
    a_full_ring_of_frames_counts_all;
    a_slow_reader_loses_nothing_unseen;
    a_reader_that_only_looks_loses_nothing;
    reading_allocates_nothing;
    a_thousand_rings_leave_nothing;
}

fn a_held_block_is_not_written_to() {
    let cable = Cable::new();
    let sender = bind(options(), &cable.a);
    let shape = RingShape::throughput().block_size(4096).blocks(2).block_timeout(millis(1));
    let mut ring = options().rx_ring(&cable.b, shape).unwrap();
    let control = ring.control();
    sender.send(&frame(77)).unwrap();
    {
        let block = ring.next_block().unwrap();
        let held: Vec<_> = block.iter().collect();
        let before: Vec<_> = held.iter().map(|frame| frame.data().to_vec()).collect();
        for number in 0..1000 {
            sender.send(&frame(number)).unwrap();
        }
        assert!(control.stats().unwrap().dropped > 900, "the ring is full");
        for (frame, before) in held.iter().zip(before) {
            assert_eq!(frame.data(), before);
        }
    }
    let mut held = options().rx_ring(&cable.b, RingShape::latency().block_size(4096).blocks(1)).unwrap();
    sender.send(&frame(78)).unwrap();
    let kept = held.next_frame().unwrap();
    for number in 0..10 {
        sender.send(&frame(number)).unwrap();
    }
    assert_eq!(number_in(kept.data()), 78);
}

/// A block that is handed over between two looks at it must not be taken for the empty one of before.
fn a_reader_that_only_looks_loses_nothing() {
    const SENT: u32 = 200_000;
    let cable = Cable::new();
    let sender = bind(options(), &cable.a);
    // Some 25 frames fill a block: one is handed over every few microseconds.
    let shape = RingShape::throughput().block_size(4096).blocks(256).block_timeout(millis(1));
    let mut ring = options().rx_ring(&cable.b, shape).unwrap();
    let deadline = within(Duration::from_secs(20)).unwrap();
    let mut read = 0;
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            for number in 0..SENT {
                sender.send(&frame(number)).unwrap();
            }
        });
        while !sending.is_finished() || read < ring.stats().unwrap().received {
            assert!(Instant::now() < deadline, "{read} of {:?}", ring.stats());
            for _ in 0..1_000 {
                if let Some(block) = ring.try_next_block().unwrap() {
                    read += block.len() as u64;
                }
            }
        }
    });
    let stats = ring.stats().unwrap();
    assert_eq!((read, stats.received + stats.dropped), (stats.received, SENT.into()), "{stats:?}");
}

/// Reads until all that the kernel has received is read.
fn read_all(ring: &mut Ring, mut read: u64) -> u64 {
    loop {
        let received = ring.stats().received;
        if read == received {
            return read;
        }
        read += ring.read().unwrap().len() as u64;
        assert!(read <= received);
    }
}

fn full(mut ring: Ring, cable: &Cable) -> Stats {
    let sender = bind(options(), &cable.a);
    ring.set_read_deadline(within(Duration::from_secs(20)));
    let mut read = 0;
    for round in 1..=5 {
        for number in 0..500 {
            sender.send(&frame(number)).unwrap();
        }
        let stats = ring.stats();
        assert_eq!(stats.received + stats.dropped, round * 500, "{stats:?}");
        read = read_all(&mut ring, read);
        assert_eq!(read, stats.received);
    }
    ring.stats()
}

fn a_full_ring_of_blocks_counts_all() {
    let cable = Cable::new();
    let shape = RingShape::throughput().block_size(4096).blocks(2).block_timeout(millis(1));
    let stats = full(Ring::Blocks(options().rx_ring(&cable.b, shape).unwrap()), &cable);
    assert!(stats.dropped > 0 && stats.freezes >= 5, "{stats:?}");
}

fn a_full_ring_of_frames_counts_all() {
    let cable = Cable::new();
    let shape = RingShape::latency().block_size(4096).blocks(16);
    let stats = full(Ring::Frames(options().rx_ring(&cable.b, shape).unwrap()), &cable);
    assert_eq!((stats.received, stats.dropped, stats.freezes), (5 * 32, 5 * (500 - 32), 0));
}

fn a_slow_reader_loses_nothing_unseen() {
    const SENT: u32 = 30_000;
    let cable = Cable::new();
    let blocks = RingShape::throughput().block_size(8192).blocks(4).block_timeout(millis(1));
    let frames = RingShape::latency().block_size(8192).blocks(4);
    let rings = [
        Ring::Blocks(options().rx_ring(&cable.b, blocks).unwrap()),
        Ring::Frames(options().rx_ring(&cable.b, frames).unwrap()),
    ];
    for mut ring in rings {
        ring.set_read_deadline(within(Duration::from_secs(60)));
        // Only this ring listens; the other one counts the same frames for itself.
        let before = ring.stats();
        let mut read = read_all(&mut ring, 0);
        let sender = bind(options(), &cable.a);
        thread::scope(|scope| {
            let sending = scope.spawn(|| {
                for number in 0..SENT {
                    sender.send(&frame(number)).unwrap();
                }
            });
            let mut last = None;
            let mut turn = 0;
            while !sending.is_finished() || read < ring.stats().received {
                ring.set_read_deadline(within(millis(20)));
                for copied in ring.read().unwrap_or_default() {
                    let number = number_in(&copied.data);
                    assert!(last.is_none_or(|last| last < number), "in order");
                    last = Some(number);
                    read += 1;
                }
                turn += 1;
                if turn % 4 == 0 {
                    thread::sleep(Duration::from_micros(500));
                }
            }
        });
        let stats = ring.stats();
        assert_eq!(read, stats.received);
        let since = stats.since(&before);
        assert_eq!(since.received + since.dropped, u64::from(SENT), "{since:?}");
        eprintln!("{since:?}");
    }
}

fn reading_allocates_nothing() {
    let cable = Cable::new();
    let sender = bind(options(), &cable.a);
    let shape = RingShape::throughput().blocks(4).block_timeout(millis(1));
    let mut blocks: RxRing = options().rx_ring(&cable.b, shape).unwrap();
    let mut frames = options().rx_ring(&cable.b, RingShape::latency()).unwrap();
    let mut walk = || {
        let mut bytes = 0;
        let mut count = 0;
        while count < 100 {
            let block = blocks.next_block().unwrap();
            for frame in &block {
                bytes += frame.meta().len + frame.data().len();
                count += 1;
            }
        }
        assert_eq!(bytes, 100 * 120);
        for _ in 0..100 {
            assert_eq!(frames.next_frame().unwrap().meta().len, 60);
        }
        assert!(frames.try_next_frame().unwrap().is_none());
    };
    for round in 0..3 {
        for number in 0..100 {
            sender.send(&frame(number)).unwrap();
        }
        // The first wait makes what all later ones use.
        let allocations = alloc::count(&mut walk);
        assert!(round == 0 || allocations == 0, "{allocations}");
    }
}

fn a_thousand_rings_leave_nothing() {
    const THREADS: usize = 8;
    let cable = Cable::new();
    let sender = bind(options(), &cable.a);
    let before = leftovers();
    assert_eq!((before.1, before.2), (0, 1), "the sender alone");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                sender.send(&frame(1)).unwrap();
            }
        });
        let openers: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    for round in 0..1000 / THREADS {
                        let blocks = RingShape::throughput().block_size(16 << 10).blocks(4).block_timeout(millis(1));
                        let frames = RingShape::latency().block_size(16 << 10).blocks(4);
                        let mut ring = match round % 2 {
                            0 => Ring::Blocks(options().rx_ring(&cable.b, blocks).unwrap()),
                            _ => Ring::Frames(options().rx_ring(&cable.b, frames).unwrap()),
                        };
                        ring.set_read_deadline(within(Duration::from_secs(20)));
                        assert!(!ring.read().unwrap().is_empty());
                    }
                })
            })
            .collect();
        openers.into_iter().for_each(|opener| opener.join().unwrap());
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(leftovers(), before);
}
