//! Counts: 64 bits wide, cumulative, and right whoever asks.

use std::sync::Mutex;
use std::thread;

use fast_afpacket::{EtherType, Filter, Stats};

use crate::lab::{Cable, bind, drain, frame, options};

crate::tests! {
    received_and_dropped_add_up;
    several_threads_may_ask_at_once;
    filtered_frames_are_not_counted;
}

fn received_and_dropped_add_up() {
    let cable = Cable::new();
    let (sender, receiver) = (bind(options(), &cable.a), bind(options(), &cable.b));
    for round in 1..=3 {
        for number in 0..1000 {
            sender.send(&frame(number)).unwrap();
        }
        let stats = receiver.stats().unwrap();
        assert_eq!(stats.received + stats.dropped, round * 1000);
        assert_eq!(drain(&receiver).len() as u64 * round, stats.received, "received is what can be read");
        assert!(stats.dropped > 0, "the buffer was too small for all");
        assert_eq!(receiver.stats().unwrap().received, stats.received, "reading changes nothing");
        let taken = receiver.take_stats().unwrap();
        assert_eq!(taken.received + taken.dropped, 1000, "since the last time");
        assert_eq!(receiver.take_stats().unwrap(), Stats::default());
    }
}

fn several_threads_may_ask_at_once() {
    const FRAMES: u64 = 20_000;
    let cable = Cable::new();
    let (sender, receiver) = (bind(options(), &cable.a), bind(options(), &cable.b));
    let taken = Mutex::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..FRAMES {
                sender.send(&frame(number as u32)).unwrap();
            }
        });
        for _ in 0..4 {
            scope.spawn(|| {
                let mut before = 0;
                for _ in 0..2000 {
                    let stats = receiver.stats().unwrap();
                    let total = stats.received + stats.dropped;
                    assert!(total >= before, "a total never falls");
                    before = total;
                    let since = receiver.take_stats().unwrap();
                    *taken.lock().unwrap() += since.received + since.dropped;
                }
            });
        }
    });
    let rest = receiver.take_stats().unwrap();
    assert_eq!(taken.into_inner().unwrap() + rest.received + rest.dropped, FRAMES, "each frame went to one taker");
    let stats = receiver.stats().unwrap();
    assert_eq!(stats.received + stats.dropped, FRAMES);
}

fn filtered_frames_are_not_counted() {
    let cable = Cable::new();
    let filter = Filter::ether_type(EtherType::EXPERIMENTAL_2);
    let (sender, receiver) = (bind(options(), &cable.a), bind(options().filter(&filter), &cable.b));
    for number in 0..10 {
        sender.send(&frame(number)).unwrap();
    }
    assert_eq!(receiver.stats().unwrap(), Stats::default());
}
