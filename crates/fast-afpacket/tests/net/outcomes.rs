//! Each keyed send has exactly one outcome, and the right one.

use std::collections::HashMap;
use std::io;
use std::thread;
use std::time::Duration;

use fast_afpacket::{MissingReason, PacketSocket, Timestamping, TxKey, TxOutcome, TxPacing, TxResult, TxTracker};

use crate::lab::{Cable, bind, frame, frame_of, ip, link_up, millis, options, within};

crate::tests! {
    each_of_many_sends_has_one_outcome;
    each_of_many_sends_has_one_outcome_when_counted;
    a_fast_sender_loses_no_stamps;
    what_an_unpaced_sender_loses_is_counted;
    pacing_ends_at_the_write_deadline;
    a_stacked_device_repeats_the_scheduler_stamp;
    without_a_queue_there_is_no_scheduler_stamp needs "tc";
}

const SOFTWARE: Timestamping = Timestamping::TX_SCHEDULED.union(Timestamping::TX_SOFTWARE);

/// Sends on one thread and takes the outcomes on another, until every send has one.
fn outcomes_of(tracker: &TxTracker<'_>, count: u32, send: impl Fn(u32) + Send) -> HashMap<TxKey, TxOutcome> {
    thread::scope(|scope| {
        scope.spawn(move || (0..count).for_each(send));
        let mut outcomes = HashMap::new();
        while outcomes.len() < count as usize {
            let outcome = tracker.outcome().unwrap();
            let previous = outcomes.insert(outcome.key, outcome);
            assert_eq!(previous, None, "one outcome for each key");
        }
        outcomes
    })
}

fn each_of_many_sends_has_one_outcome() {
    one_outcome_each(false);
}

fn each_of_many_sends_has_one_outcome_when_counted() {
    one_outcome_each(true);
}

/// 100,000 sends: one in ten is too long, of several lengths, and the link goes down and up all the time.
fn one_outcome_each(count_keys: bool) {
    const COUNT: u32 = 100_000;
    let cable = Cable::new();
    let socket = bind(options().dual(true).timestamping(Timestamping::TX).count_keys(count_keys), &cable.a);
    socket.set_deadline(within(Duration::from_secs(120)));
    let tracker = TxTracker::new(&socket).unwrap().timeout(millis(500));
    assert_eq!(tracker.expected(), SOFTWARE, "veth has no hardware");
    let send = |number: u32| {
        if number % 2_500 == 1_250 {
            ip("link set va down");
        }
        if number % 2_500 == 1_300 {
            link_up(&["va"]);
        }
        let len = if number % 10 == 3 { 1515 + number as usize / 10 % 10 } else { 60 };
        let result = send_when_there_is_room(&tracker, &frame_of(len, number), number);
        if len > 60 {
            let errno = result.unwrap_err().raw_os_error();
            assert!(matches!(errno, Some(libc::EMSGSIZE | libc::ENETDOWN)), "{number}: {errno:?}");
        }
    };
    let outcomes = outcomes_of(&tracker, COUNT, send);
    let mut counts: HashMap<String, u32> = HashMap::new();
    let mut previous = None;
    for number in 0..COUNT {
        let outcome = outcomes[&TxKey::new(number)];
        *counts.entry(format!("{:?}", outcome.result)).or_default() += 1;
        let too_long = number % 10 == 3;
        match outcome.result {
            TxResult::Complete => {
                let stamps = [Some(outcome.before), outcome.scheduled, outcome.software, outcome.after];
                assert!(!too_long && stamps.iter().all(Option::is_some) && stamps.is_sorted(), "{outcome:?}");
                // Another frame's stamps would be in another frame's time.
                assert!(previous < outcome.scheduled, "{outcome:?}");
                previous = outcome.after;
            }
            TxResult::Refused { .. } => assert_eq!((outcome.after, outcome.hardware), (None, None)),
            TxResult::Missing(_) => assert!(!too_long),
            TxResult::HardwareSkipped => panic!("there is no hardware: {outcome:?}"),
            other => panic!("{other:?}"),
        }
    }
    println!("count_keys={count_keys}: {counts:?}, {:?}", tracker.strays());
    assert!(counts["Complete"] >= COUNT * 8 / 10, "{counts:?}");
    assert!(tracker.is_empty());
    assert_eq!(tracker.strays().unknown, 0);
}

/// Outcomes that wait to be taken are bounded: whoever takes them may need a moment.
fn send_when_there_is_room(tracker: &TxTracker<'_>, frame: &[u8], number: u32) -> io::Result<usize> {
    loop {
        match tracker.send(frame, TxKey::new(number)) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => thread::yield_now(),
            result => return result,
        }
    }
}

const MANY: u32 = 200_000;

/// Sends as fast as it goes, with another thread that takes the outcomes; gives how many there were of each result.
fn back_to_back(socket: &PacketSocket, pacing: TxPacing) -> HashMap<TxResult, u32> {
    let tracker = TxTracker::new(socket).unwrap().pacing(pacing).timeout(millis(500));
    let frame = frame(0);
    let outcomes = outcomes_of(&tracker, MANY, |number| {
        send_when_there_is_room(&tracker, &frame, number).unwrap();
    });
    let mut counts = HashMap::new();
    for outcome in outcomes.values() {
        *counts.entry(outcome.result).or_default() += 1;
    }
    println!("{pacing:?}: {counts:?}");
    counts
}

fn a_fast_sender_loses_no_stamps() {
    let cable = Cable::new();
    let socket = bind(PacketSocket::options(), &cable.a);
    socket.set_deadline(within(Duration::from_secs(120)));
    let counts = back_to_back(&socket, TxPacing::default());
    assert!(counts[&TxResult::Complete] >= MANY / 1000 * 999, "{counts:?}");
    assert_eq!(counts.values().sum::<u32>(), MANY);
}

fn what_an_unpaced_sender_loses_is_counted() {
    let cable = Cable::new();
    let socket = bind(options(), &cable.a);
    let tracker = TxTracker::new(&socket).unwrap().pacing(TxPacing::Unpaced).timeout(millis(100));
    for number in 0..1_000 {
        tracker.send(&frame(number), TxKey::new(number)).unwrap();
    }
    let mut lost = 0;
    for _ in 0..1_000 {
        match tracker.outcome().unwrap().result {
            TxResult::Complete => {}
            TxResult::Missing(MissingReason::QueueOverflowed) => lost += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!((500..1_000).contains(&lost), "the queue holds some 255 stamps: {lost} lost");
    assert!(tracker.is_empty());
}

/// Stamps that never come stop a paced sender until its deadline.
fn pacing_ends_at_the_write_deadline() {
    let cable = Cable::new();
    let socket = bind(options().timestamping(Timestamping::TX), &cable.a);
    // Nobody takes hardware stamps here: all are owed for ever.
    let tracker = TxTracker::expecting(&socket, Timestamping::TX).unwrap();
    let tracker = tracker.pacing(TxPacing::hardware()).timeout(Duration::from_secs(60));
    tracker.send(&frame(1), TxKey::new(1)).unwrap();
    socket.set_write_deadline(within(millis(20)));
    let error = tracker.send(&frame(2), TxKey::new(2)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(tracker.len(), 1);
    let error = tracker.send(&frame(2), TxKey::new(1)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy, "the key is in use");
    // A frame that does not ask for one is not held up.
    tracker.send_stamped(&frame(3), TxKey::new(3), SOFTWARE).unwrap();
    assert_eq!(tracker.outcome().unwrap().key, TxKey::new(3));
    tracker.finish().unwrap();
    let outcome = tracker.outcome().unwrap();
    assert_eq!(outcome.result, TxResult::Missing(MissingReason::Finished));
    assert!(outcome.software.is_some());
}

fn a_stacked_device_repeats_the_scheduler_stamp() {
    let _cable = Cable::new();
    ip("link add mv0 link va type macvlan mode bridge");
    link_up(&["mv0"]);
    let macvlan = fast_afpacket::Interface::by_name("mv0").unwrap();
    let socket = bind(options().timestamping(SOFTWARE), &macvlan);
    let tracker = TxTracker::new(&socket).unwrap();
    for number in 0..100 {
        tracker.send(&frame(number), TxKey::new(number)).unwrap();
        let outcome = tracker.outcome().unwrap();
        assert_eq!((outcome.key, outcome.result), (TxKey::new(number), TxResult::Complete));
        assert!(outcome.before <= outcome.scheduled.unwrap() && outcome.scheduled <= outcome.software);
    }
    assert_eq!(tracker.strays().duplicate + tracker.strays().late, 100);
}

fn without_a_queue_there_is_no_scheduler_stamp() {
    let cable = Cable::new();
    // A queue that lets nothing of a frame's size through.
    crate::lab::tc("qdisc add dev va root tbf rate 1kbit burst 50 limit 100");
    for dual in [false, true] {
        let socket = bind(options().dual(dual).timestamping(Timestamping::TX).qdisc_bypass(true), &cable.a);
        assert_eq!(socket.granted().timestamping & Timestamping::TX_SCHEDULED, Timestamping::empty());
        let tracker = TxTracker::new(&socket).unwrap();
        assert_eq!(tracker.expected(), Timestamping::TX_SOFTWARE);
        for number in 0..100 {
            tracker.send(&frame(number), TxKey::new(number)).unwrap();
            let outcome = tracker.outcome().unwrap();
            assert_eq!((outcome.key, outcome.result), (TxKey::new(number), TxResult::Complete));
            assert_eq!(outcome.scheduled, None);
        }
    }
}
