//! Launch times with a queueing discipline that keeps them.

use std::process::Command;
use std::time::{Duration, Instant};

use fast_afpacket::{LaunchClock, LaunchTime, SystemStamp, TaiStamp, Timestamping, TxKey};

use crate::card::{bind, interface, options, reports, sync};

crate::tests! {
    frames_leave_in_the_order_of_their_launch_times;
}

fn tc(arguments: &str) {
    let arguments = arguments.replace("ETH", &interface().name());
    let status = Command::new("tc").args(arguments.split_whitespace()).status().expect("tc of iproute2");
    assert!(status.success(), "{arguments}");
}

/// Takes the queueing discipline away, whatever happens.
struct Etf;

impl Drop for Etf {
    fn drop(&mut self) {
        tc("qdisc del dev ETH root");
    }
}

/// How long before its time a frame may leave: as much as an emulated machine on a busy host may wake up late. Once the time
/// has passed the frame is dropped.
const DELTA: Duration = Duration::from_millis(100);

fn frames_leave_in_the_order_of_their_launch_times() {
    tc(&format!("qdisc replace dev ETH root etf clockid CLOCK_TAI delta {}", DELTA.as_nanos()));
    let etf = Etf;
    let asked = Timestamping::TX_SCHEDULED | Timestamping::TX_SOFTWARE;
    let socket = bind(options().timestamping(asked).launch_clock(LaunchClock::Tai));
    let begin = SystemStamp::now();
    let late = Duration::from_millis(900);
    let early = Duration::from_millis(400);
    socket.send_at_keyed(&sync(1), LaunchTime::In(late), TxKey::new(1)).unwrap();
    socket.send_at_keyed(&sync(2), LaunchTime::In(early), TxKey::new(2)).unwrap();
    let left = |reports: &[fast_afpacket::TxReport], key: u32| {
        let mut stamps = reports.iter().filter(|report| report.key == TxKey::new(key));
        stamps.find_map(|report| (report.stage == fast_afpacket::TxStage::Sent).then_some(report.timestamps.software?))
    };
    let found = reports(&socket, Duration::from_secs(2));
    let (first, second) = (left(&found, 2).unwrap(), left(&found, 1).unwrap());
    assert!(first < second, "the later sent one leaves first");
    for (stamp, delay) in [(first, early), (second, late)] {
        // The qdisc lets a frame go its delta before the time, and never earlier.
        let waited = stamp.checked_duration_since(begin).unwrap();
        assert!(waited + DELTA >= delay, "{waited:?}");
        println!("to leave after {delay:?}, left after {waited:?}");
    }
    // A time that has passed: the frame is refused, and it is told.
    let past = LaunchTime::At(TaiStamp::from_nanos(1));
    let refused = socket.send_at_keyed(&sync(3), past, TxKey::new(3)).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::ENOBUFS));
    let end = Instant::now() + Duration::from_secs(10);
    while socket.stats().unwrap().launches_missed == 0 && Instant::now() < end {
        assert_eq!(left(&reports(&socket, Duration::from_millis(200)), 3), None);
    }
    assert_eq!(socket.stats().unwrap().launches_missed, 1);
    drop(etf);
}
