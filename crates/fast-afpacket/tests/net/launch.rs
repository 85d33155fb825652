//! Launch times where no queueing discipline keeps them. `tests/hardware/launch.rs` has one that does.

use std::io::ErrorKind;
use std::time::Duration;

use fast_afpacket::{LaunchClock, LaunchTime, TaiStamp, Timestamping, TxKey, TxStage};

use crate::lab::{Cable, bind, frame, number_in, options};

crate::tests! {
    without_a_qdisc_frames_leave_at_once;
    what_does_not_go_together_is_refused;
}

fn without_a_qdisc_frames_leave_at_once() {
    let cable = Cable::new();
    let receiver = bind(options(), &cable.b);
    for (clock, count_keys) in [(LaunchClock::Tai, false), (LaunchClock::Monotonic, true)] {
        let asked = Timestamping::TX_SCHEDULED | Timestamping::TX_SOFTWARE;
        let sender =
            bind(options().dual(true).timestamping(asked).launch_clock(clock).count_keys(count_keys), &cable.a);
        let in_an_hour = LaunchTime::In(Duration::from_secs(3600));
        sender.send_at(&frame(1), in_an_hour).unwrap();
        sender.send_at_keyed(&frame(2), in_an_hour, TxKey::new(7)).unwrap();
        let mut buf = [0; 64];
        for number in [1, 2] {
            receiver.recv(&mut buf).unwrap();
            assert_eq!(number_in(&buf), number);
        }
        for stage in [TxStage::Scheduled, TxStage::Sent] {
            let report = sender.recv_tx(&mut []).unwrap();
            assert_eq!((report.key, report.stage), (TxKey::new(7), stage));
        }
        assert_eq!(sender.stats().unwrap().launches_missed, 0);
    }
}

fn what_does_not_go_together_is_refused() {
    let cable = Cable::new();
    let at = LaunchTime::At(TaiStamp::from_nanos(1));
    let plain = bind(options(), &cable.a);
    assert_eq!(plain.send_at(&frame(1), at).unwrap_err().kind(), ErrorKind::InvalidInput);
    let monotonic = bind(options().launch_clock(LaunchClock::Monotonic), &cable.a);
    assert_eq!(monotonic.send_at(&frame(1), at).unwrap_err().kind(), ErrorKind::InvalidInput);
    let offload = bind(options().launch_clock(LaunchClock::Tai).offload(true), &cable.a);
    offload.send_at(&frame(1), at).unwrap();
    let without_stamps = bind(options().timestamping(Timestamping::RX).launch_clock(LaunchClock::Tai), &cable.a);
    let error = without_stamps.send_at_keyed(&frame(1), at, TxKey::new(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}
