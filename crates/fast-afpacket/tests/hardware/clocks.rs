//! The card's clock: read, followed through a step and a slew, and virtual clocks on top of it.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use fast_afpacket::{CrossMethod, Fed, Phc, PhcTracker, Stepped, SystemStamp, TxKey, TxPacing, TxResult, TxTracker};

use crate::card::{bind, interface, options, reports, sync, with_events_on};

crate::tests! {
    the_clock_is_read;
    stamps_are_converted_through_a_step_and_a_slew;
    the_bound_grows_when_sampling_stops;
    stamps_of_a_virtual_clock;
}

fn phc_ctl(arguments: &[&str]) {
    let output = Command::new("phc_ctl").args([&*interface().name(), "--"]).args(arguments).output();
    let output = output.expect("phc_ctl of linuxptp");
    assert!(output.status.success(), "{output:?}");
}

fn the_clock_is_read() {
    let phc = Phc::of(&interface()).unwrap();
    assert_eq!(phc.index(), 0);
    assert!(!phc.name().unwrap().is_empty());
    assert!(phc.max_adjustment().unwrap().as_ppb() > 0);
    let (first, cross, second) = (phc.now().unwrap(), phc.cross_timestamp().unwrap(), phc.now().unwrap());
    assert!(first <= cross.hardware && cross.hardware <= second);
    assert_eq!(cross.method, CrossMethod::Extended, "igb has no PRECISE");
    println!("{cross:?}");
    // 37 seconds are seen.
    phc_ctl(&["adj", "37"]);
    let ahead = phc.now().unwrap().nanos_since(second);
    assert!(ahead >= 37_000_000_000, "{ahead}");
}

/// The clock is sampled all the time; each stamp is converted when the next sample has come.
fn stamps_are_converted_through_a_step_and_a_slew() {
    const COUNT: u32 = 200;
    const SAMPLING: Duration = Duration::from_millis(10);
    let _on = with_events_on();
    let socket = bind(options());
    let sender = TxTracker::new(&socket).unwrap().pacing(TxPacing::hardware()).timeout(Duration::from_secs(10));
    let phc = Phc::of(&interface()).unwrap();
    let clock = Mutex::new(PhcTracker::new());
    let lock = || clock.lock().unwrap_or_else(PoisonError::into_inner);
    lock().sample(&phc).unwrap();
    let done = AtomicBool::new(false);
    let (mut right, mut bounds) = (0, Vec::new());
    let steps = thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut steps = Vec::new();
            while !done.load(Ordering::Relaxed) {
                thread::sleep(SAMPLING);
                let sample = phc.cross_timestamp().unwrap();
                match lock().feed(sample) {
                    Fed::Stepped(step) => steps.push(step),
                    fed => assert_eq!(fed, Fed::Continued),
                }
            }
            steps
        });
        for number in 0..COUNT {
            match number {
                70 => phc_ctl(&["adj", "37"]),
                130 => phc_ctl(&["freq", "50000"]),
                _ => {}
            }
            sender.send(&sync(number), TxKey::new(number)).unwrap();
            let outcome = sender.outcome().unwrap();
            let not_after = SystemStamp::now();
            assert_eq!(outcome.result, TxResult::Complete, "{outcome:?}");
            thread::sleep(3 * SAMPLING);
            // A stamp that the clock showed twice is told by the frame's software stamp.
            let (hardware, not_before) = (outcome.hardware.unwrap(), outcome.software.unwrap());
            let Some(converted) = lock().to_system_near(hardware, not_before, Duration::from_secs(1)) else {
                println!("{number}: {hardware} has no answer");
                continue;
            };
            let bound = i64::try_from(converted.bound.as_nanos()).unwrap();
            let (early, late) = (not_before.nanos_since(converted.system), converted.system.nanos_since(not_after));
            match early <= bound && late <= bound {
                true => right += 1,
                false => println!("{number}: {converted:?}, {early} ns early, {late} ns late"),
            }
            bounds.push(bound);
        }
        done.store(true, Ordering::Relaxed);
        sampler.join().unwrap()
    });
    phc_ctl(&["freq", "0"]);
    // The second is the emulation's: a new rate counts there from the start of the machine on. It is seen, too.
    assert_eq!(steps, [Stepped::Hardware; 2], "the step by 37 s, and the one that comes with the slew");
    bounds.sort_unstable();
    println!("{right} of {COUNT} within the bound; median bound {} ns", bounds[bounds.len() / 2]);
    assert!(right >= COUNT * 99 / 100, "{right}");
    assert!(bounds[bounds.len() / 2] < 100_000, "a bound that says something");
}

fn the_bound_grows_when_sampling_stops() {
    let phc = Phc::of(&interface()).unwrap();
    let mut clock = PhcTracker::new();
    for _ in 0..10 {
        clock.sample(&phc).unwrap();
        thread::sleep(Duration::from_millis(20));
    }
    let mut bounds = Vec::new();
    for _ in 0..10 {
        bounds.push(clock.to_system(phc.now().unwrap()).unwrap().bound);
        thread::sleep(Duration::from_millis(50));
    }
    assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
    println!("from {:?} to {:?} in half a second", bounds[0], bounds[9]);
}

fn stamps_of_a_virtual_clock() {
    let _on = with_events_on();
    fs::write("/sys/class/ptp/ptp0/n_vclocks", "1").unwrap();
    let socket = bind(options().bind_phc(1));
    assert_eq!(socket.granted().phc, Some(1));
    let (virtual_clock, own) = (Phc::open(1).unwrap(), Phc::open(0).unwrap());
    let before = virtual_clock.now().unwrap();
    socket.send_keyed(&sync(1), TxKey::new(1)).unwrap();
    let hardware = reports(&socket, Duration::from_millis(300)).iter().find_map(|report| report.timestamps.hardware);
    let after = virtual_clock.now().unwrap();
    let hardware = hardware.expect("a hardware stamp");
    assert!(before <= hardware && hardware <= after, "{before} {hardware} {after}, own clock {}", own.now().unwrap());
    drop((socket, virtual_clock));
    // A clock that is none of this card's.
    let error = options().bind_phc(77).bind(&interface()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{error}");
    fs::write("/sys/class/ptp/ptp0/n_vclocks", "0").unwrap();
}
