//! Tests on a NIC that stamps in hardware: `lab/vm/run` runs them in a virtual machine whose neighbour runs this program
//! with `--reflect`. They send frames on the interface that `FAST_AFPACKET_HARDWARE` names, and change its setting;
//! without that variable there are no tests here.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds something else than it expects shall panic"
)]

mod card;
mod clock_state;
mod clocks;
mod launch;
mod liar;
mod loans;
mod outcomes;
mod remade;
mod rings;
mod stamps;

use std::env;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let interface = env::var("FAST_AFPACKET_HARDWARE").ok();
    match env::args().nth(1).as_deref() {
        Some("--reflect") => card::reflect(),
        Some("--hold") => loans::hold(),
        _ => {}
    }
    let mut arguments = Arguments::from_args();
    // One card, one setting.
    arguments.test_threads = Some(1);
    let tests = match env::var("FAST_AFPACKET_CARD").as_deref() {
        _ if interface.is_none() => Vec::new(),
        Ok("e1000e") => vec![liar::TESTS],
        // The last one sets the system clock.
        _ => vec![
            stamps::TESTS,
            outcomes::TESTS,
            loans::TESTS,
            clocks::TESTS,
            launch::TESTS,
            rings::TESTS,
            remade::TESTS,
            clock_state::TESTS,
        ],
    };
    let trials = tests.into_iter().flatten().map(|&(name, run)| {
        Trial::test(name, move || {
            run();
            Ok(())
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// A test by its name.
type Test = (&'static str, fn());

/// Lists the tests of a module.
macro_rules! tests {
    ($($name:ident;)*) => {
        pub(crate) const TESTS: &[crate::Test] = &[$((stringify!($name), $name)),*];
    };
}
pub(crate) use tests;
