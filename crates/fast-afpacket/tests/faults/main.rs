//! Every call to the kernel goes wrong once, in every way: each test runs what it does again and again, each time with the
//! next call failing, until a run has come to its end without a failure.
//!
//! Whatever fails, the caller is told or the library carries on; then everything goes on, nothing is counted twice or
//! not at all, and nothing is left behind.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that finds something else than it expects shall panic"
)]

mod complete;
mod hooks;
#[path = "../net/lab.rs"]
#[expect(dead_code, reason = "the network tests use the rest")]
#[allow(clippy::expect_used, reason = "as above")]
mod lab;
mod namespaces;
mod opening;
mod outcomes;
mod receiving;
mod remade;
mod sending;
mod tasks;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_int;
use std::{fs, io};

use fast_afpacket::{BatchError, Error, EtherType, Filter, FlushError};
use hooks::Fault;
use libtest_mimic::{Arguments, Trial};

fn main() {
    let mut arguments = Arguments::from_args();
    // Descriptors are counted, and those of another test would be among them.
    arguments.test_threads = Some(1);
    let lab = lab::enter().err().or_else(|| lab::missing("ip"));
    let required = std::env::var("FAST_AFPACKET_NET").is_ok_and(|value| value == "required");
    let tests: [(&str, fn()); _] = [
        ("every_call_of_the_library_is_tried", complete::every_call_of_the_library_is_tried),
        ("opening", opening::test),
        ("sockets", sending::sockets),
        ("batches", sending::batches),
        ("counted_keys", sending::counted_keys),
        ("counted_batches", sending::counted_batches),
        ("transmit_ring", sending::transmit_ring),
        ("waiting", receiving::waiting),
        ("filters", receiving::filters),
        ("rings", receiving::rings),
        ("tracker", outcomes::tracker),
        ("namespaces", namespaces::test),
        ("given_sockets", opening::given_sockets),
        ("departures", remade::departures),
        ("rebound_sockets", remade::sockets),
        ("rebound_rings", remade::rings),
        ("rebound_transmit_ring", remade::transmit_ring),
        ("followed_names", remade::followed),
        ("tasks", tasks::test),
        ("counted_tasks", tasks::counted),
        ("counted_tracker", outcomes::counted_tracker),
    ];
    let trials = tests.map(|(name, run)| {
        let obstacle = lab.clone();
        if let (Some(why), false) = (&obstacle, required) {
            eprintln!("skipped: {name}: {why}");
        }
        let skipped = obstacle.is_some() && !required;
        let trial = Trial::test(name, move || match obstacle {
            Some(why) => Err(why.into()),
            None => {
                let before = open_descriptors();
                lab::in_new_namespace(run);
                assert_eq!(open_descriptors(), before, "all is given back in the end");
                Ok(())
            }
        });
        trial.with_ignored_flag(skipped)
    });
    libtest_mimic::run(&arguments, trials.into()).exit();
}

/// What a system call may say at any time.
// That which makes calls wait comes first: waiting needs descriptors, which are kept.
const ERRORS: [Fault; 4] =
    [Fault::Errno(libc::EAGAIN), Fault::Errno(libc::EINTR), Fault::Errno(libc::ENOBUFS), Fault::Errno(libc::ENOMEM)];

/// What may become of what it brings.
const SHORTAGES: [Fault; 4] = [Fault::ShortControl(0), Fault::ShortControl(28), Fault::ShortData(18), Fault::One];

/// Those that no caller sees interrupted.
const RESTARTED: [&str; 7] = ["recvmsg", "recvmmsg", "sendto", "sendmsg", "sendmmsg", "ppoll", "epoll_wait"];

/// Runs `scenario` with each of these faults at each call. It is given the fault, and says whether it was told of it.
/// What it leaves behind with the first fault, it may keep.
/// Gives the calls that went wrong, and prints how often.
fn at_each_call(faults: &[Fault], mut scenario: impl FnMut(Fault) -> bool) -> BTreeSet<&'static str> {
    let mut struck_calls = BTreeMap::<_, [u32; 2]>::new();
    for &fault in faults {
        let mut before = leftovers();
        for after in 0.. {
            assert!(after < 1000, "there is no end to it");
            let (told, struck) = hooks::with_fault(fault, after, || scenario(fault));
            if fault == faults[0] {
                before = leftovers();
            }
            assert_eq!(leftovers(), before, "{fault:?} at call {after}, {struck:?}");
            let Some(call) = struck else {
                assert!(!told, "{fault:?} at call {after}: an error that nobody made");
                break;
            };
            let restarted = fault == Fault::Errno(libc::EINTR) && RESTARTED.contains(&call);
            assert!(!(told && restarted), "{call} was interrupted, and the caller knows");
            let [borne, reported] = struck_calls.entry(call).or_default();
            *if told { reported } else { borne } += 1;
        }
    }
    println!("calls that went wrong, [unnoticed, reported]: {struck_calls:?}");
    struck_calls.into_keys().collect()
}

/// [`at_each_call`], in which these calls went wrong among others.
fn at_each_of(expected: &[&str], faults: &[Fault], scenario: impl FnMut(Fault) -> bool) {
    let struck = at_each_call(faults, scenario);
    assert!(expected.iter().all(|call| struck.contains(call)), "{struck:?}");
}

/// Calls what may fail once, for this fault; then it must say so, and do its work when it is called again.
fn again<T, E: Reported>(fault: Fault, told: &mut bool, mut call: impl FnMut() -> Result<T, E>) -> T {
    match call() {
        Ok(value) => value,
        Err(error) => {
            error.check(fault);
            assert!(!std::mem::replace(told, true), "one fault, two errors");
            call().unwrap_or_else(|error| panic!("again, after {fault:?}: {error:?}"))
        }
    }
}

/// An error of the library.
trait Reported: std::fmt::Debug {
    fn errno(&self) -> Option<c_int>;
    fn kind(&self) -> io::ErrorKind;

    /// It is of this fault.
    fn check(&self, fault: Fault) {
        match fault {
            Fault::Errno(errno) => assert_eq!(self.errno(), Some(errno), "{self:?}"),
            Fault::ShortControl(_) => assert_eq!(self.kind(), io::ErrorKind::InvalidData, "{self:?}"),
            Fault::ShortData(_) | Fault::One => panic!("this is no error: {self:?}"),
        }
    }
}

impl Reported for io::Error {
    fn errno(&self) -> Option<c_int> {
        // What a call that binds anew says is within.
        let inner = || self.get_ref()?.downcast_ref::<Error>()?.raw_os_error();
        self.raw_os_error().or_else(inner)
    }

    fn kind(&self) -> io::ErrorKind {
        self.kind()
    }
}

impl Reported for Error {
    fn errno(&self) -> Option<c_int> {
        self.raw_os_error()
    }

    fn kind(&self) -> io::ErrorKind {
        self.kind()
    }
}

impl Reported for BatchError {
    fn errno(&self) -> Option<c_int> {
        self.error().raw_os_error()
    }

    fn kind(&self) -> io::ErrorKind {
        self.error().kind()
    }
}

impl Reported for FlushError {
    fn errno(&self) -> Option<c_int> {
        self.error().raw_os_error()
    }

    fn kind(&self) -> io::ErrorKind {
        self.error().kind()
    }
}

/// A filter that lets in frames of this protocol.
fn only(protocol: EtherType) -> Filter {
    let program = format!("4\n40 0 0 12\n21 0 1 {}\n6 0 0 262144\n6 0 0 0\n", protocol.value());
    Filter::parse_ddd(&program).unwrap()
}

/// How many descriptors are open, how many rings are mapped, and what is registered with the kernel in this namespace.
fn leftovers() -> [usize; 3] {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let packet = fs::read_to_string("/proc/thread-self/net/packet").unwrap();
    [open_descriptors(), maps.lines().filter(|line| line.contains("socket:")).count(), packet.lines().count()]
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}
