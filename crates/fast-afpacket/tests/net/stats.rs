//! Counts: 64 bits wide, cumulative, and right whoever asks.

use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use fast_afpacket::{EtherType, Filter, Stats, Timestamping};

use crate::lab::{Cable, bind, drain, frame, millis, number_in, options, within};

crate::tests! {
    received_and_dropped_add_up;
    a_slow_reader_loses_nothing_unseen;
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

/// What is not read was dropped, whatever else the socket does.
fn a_slow_reader_loses_nothing_unseen() {
    const SENT: u32 = 30_000;
    let cable = Cable::new();
    // Room for some thirty frames, and for some hundred.
    let receivers = [
        options().receive_buffer(25_000),
        options().receive_buffer(100_000).dual(true),
        options().receive_buffer(100_000).offload(true),
        options().receive_buffer(25_000).timestamping(Timestamping::empty()),
    ];
    for receiver in receivers {
        let (sender, receiver) = (bind(options(), &cable.a), bind(receiver, &cable.b));
        let (mut read, mut last) = (0_u64, None);
        thread::scope(|scope| {
            let sending = scope.spawn(|| (0..SENT).for_each(|number| assert!(sender.send(&frame(number)).is_ok())));
            let mut buf = [0; 64];
            while !sending.is_finished() || read < receiver.stats().unwrap().received {
                receiver.set_read_deadline(within(millis(20)));
                while let Ok(meta) = receiver.recv(&mut buf) {
                    assert_eq!((meta.len, meta.wire_len), (60, 60));
                    let number = number_in(&buf);
                    assert!(last.is_none_or(|last| last < number), "in order");
                    last = Some(number);
                    read += 1;
                    if read % 64 == 0 {
                        thread::sleep(Duration::from_micros(500));
                    }
                }
            }
        });
        let stats = receiver.stats().unwrap();
        assert_eq!((read, stats.received + stats.dropped), (stats.received, SENT.into()), "{stats:?}");
        assert_eq!((stats.truncated, stats.discarded, stats.malformed), (0, 0, 0));
        eprintln!("{stats:?}");
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
