//! Network tests. Each runs in a network namespace of its own, as root or, for an ordinary user, inside a user
//! namespace. Frames never leave these namespaces.
//!
//! A test that cannot run here says why and is skipped; with `FAST_AFPACKET_NET=required` that is a failure.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that finds something else than it expects shall panic"
)]

mod alloc;
mod asynch;
mod asynch_remade;
mod asynch_traced;
mod asynch_waits;
mod attempts;
mod batch_refusals;
mod batches;
mod descriptors;
mod examples;
mod fanout;
mod fanout_groups;
mod filters;
mod keys;
mod lab;
mod launch;
mod lifecycle;
mod link;
mod metadata;
mod modes;
mod netns;
mod nic;
mod offload;
mod open;
mod outcomes;
mod path;
mod random_programs;
mod refusals;
mod remade;
mod remade_groups;
mod remade_rings;
mod ring_load;
mod ring_waits;
mod rings;
mod seccomp;
mod stamps;
mod stats;
mod tx_ring_keys;
mod tx_ring_refusals;
mod tx_ring_waits;
mod tx_rings;
mod waits;

use libtest_mimic::{Arguments, Trial};

fn main() {
    path::be_traced_if_asked();
    let mut arguments = Arguments::from_args();
    // The kernel's stamping switch and the processor are shared by all tests: one at a time unless told otherwise.
    arguments.test_threads.get_or_insert(1);
    let lab = lab::enter();
    let required = std::env::var("FAST_AFPACKET_NET").is_ok_and(|value| value == "required");
    let groups = [
        ("open", open::TESTS),
        ("modes", modes::TESTS),
        ("stamps", stamps::TESTS),
        ("keys", keys::TESTS),
        ("nic", nic::TESTS),
        ("outcomes", outcomes::TESTS),
        ("offload", offload::TESTS),
        ("launch", launch::TESTS),
        ("batches", batches::TESTS),
        ("batch_refusals", batch_refusals::TESTS),
        ("waits", waits::TESTS),
        ("link", link::TESTS),
        ("lifecycle", lifecycle::TESTS),
        ("remade", remade::TESTS),
        ("remade_groups", remade_groups::TESTS),
        ("remade_rings", remade_rings::TESTS),
        ("metadata", metadata::TESTS),
        ("filters", filters::TESTS),
        ("stats", stats::TESTS),
        ("descriptors", descriptors::TESTS),
        ("fanout", fanout::TESTS),
        ("fanout_groups", fanout_groups::TESTS),
        ("netns", netns::TESTS),
        ("path", path::TESTS),
        ("refusals", refusals::TESTS),
        ("rings", rings::TESTS),
        ("ring_waits", ring_waits::TESTS),
        ("ring_load", ring_load::TESTS),
        ("tx_rings", tx_rings::TESTS),
        ("tx_ring_refusals", tx_ring_refusals::TESTS),
        ("tx_ring_waits", tx_ring_waits::TESTS),
        ("tx_ring_keys", tx_ring_keys::TESTS),
        ("asynch", asynch::TESTS),
        ("asynch_waits", asynch_waits::TESTS),
        ("asynch_remade", asynch_remade::TESTS),
        ("asynch_traced", asynch_traced::TESTS),
        ("attempts", attempts::TESTS),
        ("examples", examples::TESTS),
    ];
    let mut trials = Vec::new();
    for (group, tests) in groups {
        for test in tests {
            let obstacle = lab.clone().err().or_else(|| test.needs.iter().find_map(|tool| lab::missing(tool)));
            if let (Some(why), false) = (&obstacle, required) {
                eprintln!("skipped: {group}::{}: {why}", test.name);
            }
            let skipped = obstacle.is_some() && !required;
            let run = test.run;
            let trial = Trial::test(format!("{group}::{}", test.name), move || match obstacle {
                Some(why) => Err(why.into()),
                None => {
                    lab::in_new_namespace(run);
                    Ok(())
                }
            });
            trials.push(trial.with_ignored_flag(skipped));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// A test and the programs that it needs beside iproute2.
struct Test {
    name: &'static str,
    needs: &'static [&'static str],
    run: fn(),
}

/// Lists the tests of a module.
macro_rules! tests {
    ($($name:ident $(needs $($tool:literal),+)?;)*) => {
        pub(crate) const TESTS: &[crate::Test] = &[
            $(crate::Test { name: stringify!($name), needs: &["ip", $($($tool),+)?], run: $name },)*
        ];
    };
}
pub(crate) use tests;
