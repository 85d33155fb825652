//! What the kernel says of its clock when somebody has told it something, for which it takes a machine of one's own.

use std::process::Command;
use std::thread;
use std::time::Duration;

use fast_afpacket::{ClockState, LeapSecond};

crate::tests! {
    what_the_kernel_was_told_of_its_clock_is_read;
}

/// Sets the clock's state as a daemon does, by `struct timex` of x86-64.
fn tell_the_kernel([status, max_error, estimated_error, frequency, tick, tai]: [i64; 6]) {
    const PROGRAM: &str = r#"
        my ($status, $max, $est, $freq, $tick, $tai) = @ARGV;
        # ADJ_FREQUENCY, MAXERROR, ESTERROR, STATUS, TICK; then ADJ_TAI, which has its value in the constant.
        for ([0x401e, 0], [0x80, $tai]) {
            my ($modes, $constant) = @$_;
            my $timex = pack("L x4 q q q q l x4 q", $modes, 0, $freq, $max, $est, $status, $constant) . "\0" x 32
                . pack("q", $tick) . "\0" x 112;
            syscall(159, $timex) >= 0 or die "adjtimex: $!";
        }
    "#;
    let values = [status, max_error, estimated_error, frequency, tick, tai].map(|value| value.to_string());
    let output = Command::new("perl").args(["-e", PROGRAM]).args(values).output().expect("perl");
    assert!(output.status.success(), "{output:?}");
}

fn what_the_kernel_was_told_of_its_clock_is_read() {
    const INSERT: i64 = 0x10;
    const UNSYNCHRONISED: i64 = 0x40;
    let before = ClockState::read().unwrap();
    assert!(!before.synchronised, "nobody has said anything: {before:?}");
    // 2^-16 ppm; 1 µs in 1/100 s is 100 ppm.
    tell_the_kernel([0, 1_234, 56, -7 << 15, 10_001, 37]);
    let told = ClockState::read().unwrap();
    println!("{told:?}");
    assert!(told.synchronised);
    // It grows by 500 µs in each second.
    assert!((Duration::from_micros(1_234)..Duration::from_millis(100)).contains(&told.max_error), "{told:?}");
    assert_eq!(told.estimated_error, Duration::from_micros(56));
    assert_eq!(told.frequency.to_string(), "+96.500 ppm");
    assert_eq!((told.tai_offset.unwrap().seconds(), told.leap), (37, LeapSecond::None));
    tell_the_kernel([INSERT, 0, 0, 0, 10_000, 0]);
    let announced = ClockState::read().unwrap();
    assert!(announced.synchronised && announced.tai_offset.is_none(), "{announced:?}");
    // As soon as the kernel's clock has gone through a second, which is when it looks.
    thread::sleep(Duration::from_millis(2_500));
    assert_eq!(ClockState::read().unwrap().leap, LeapSecond::WillBeInserted);
    tell_the_kernel([INSERT | UNSYNCHRONISED, 16_000_000, 16_000_000, 0, 10_000, 0]);
    let lost = ClockState::read().unwrap();
    assert_eq!((lost.synchronised, lost.leap), (false, LeapSecond::WillBeInserted));
    assert_eq!(lost.max_error, Duration::from_secs(16));
    tell_the_kernel([UNSYNCHRONISED, 16_000_000, 16_000_000, 0, 10_000, 0]);
    // A clock that is set by hand is nobody's any more.
    tell_the_kernel([0, 100, 100, 0, 10_000, 0]);
    assert!(ClockState::read().unwrap().synchronised);
    let set = Command::new("busybox").args(["date", "-s", "2030-01-01 00:00:00"]).output().unwrap();
    assert!(set.status.success(), "{set:?}");
    let by_hand = ClockState::read().unwrap();
    assert_eq!((by_hand.synchronised, by_hand.max_error), (false, Duration::from_secs(16)), "{by_hand:?}");
}
