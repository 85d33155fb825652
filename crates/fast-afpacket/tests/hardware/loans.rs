//! The card's setting is borrowed: whatever happens, it ends as it began.

use std::env;
use std::io::{BufRead, BufReader, Read, Write, stdin, stdout};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use fast_afpacket::{
    ConfigureNic, GivenBack, Hwtstamp, Interface, InterfaceFlags, LoanRecord, Netns, NicGrant, NicLoan, NicRefusal,
    Phc, RxFilter, Step, TxMode,
};

use crate::card::{EVENTS, OFF, bind, interface, now_set, options, set_by_hand};

crate::tests! {
    what_is_enough_is_not_touched;
    a_setting_is_given_back_on_drop;
    a_setting_is_given_back_on_panic;
    the_last_of_two_processes_gives_back;
    what_a_killed_process_left_is_mended;
    what_the_card_lacks_is_refused;
    without_the_right_nothing_is_changed;
    a_card_in_another_namespace_is_borrowed_there;
}

const V1_SYNC: Hwtstamp = Hwtstamp::new(TxMode::ON, RxFilter::PTP_V1_L4_SYNC);

fn what_is_enough_is_not_touched() {
    set_by_hand(EVENTS);
    let needs = Hwtstamp::new(TxMode::ON, RxFilter::PTP_V2_L2_SYNC);
    let socket = bind(options().configure_nic(ConfigureNic::Required(needs)));
    assert_eq!(socket.granted().nic, NicGrant::Sufficient(EVENTS));
    drop(socket);
    assert_eq!(now_set(), EVENTS);
    assert!(LoanRecord::all().unwrap().is_empty());
    set_by_hand(OFF);
}

fn a_setting_is_given_back_on_drop() {
    set_by_hand(OFF);
    let needs = Hwtstamp::new(TxMode::ON, RxFilter::PTP_V2_L2_SYNC);
    let socket = bind(options().configure_nic(ConfigureNic::Required(needs)));
    assert_eq!(socket.granted().nic, NicGrant::Lent { former: OFF, now: EVENTS }, "the narrowest that the card has");
    assert_eq!(now_set(), EVENTS);
    let records = LoanRecord::all().unwrap();
    assert_eq!((records.len(), records[0].is_held(), records[0].former()), (1, true, OFF));
    assert_eq!(records[0].clone().restore().unwrap(), GivenBack::StillHeld);
    drop(socket);
    assert_eq!(now_set(), OFF);
    let loan = NicLoan::take(&interface(), EVENTS).unwrap();
    assert_eq!(loan.give_back().unwrap(), GivenBack::Restored(OFF));
    assert!(LoanRecord::all().unwrap().is_empty());
}

fn a_setting_is_given_back_on_panic() {
    set_by_hand(OFF);
    let panicked = thread::spawn(|| {
        let _socket = bind(options().configure_nic(ConfigureNic::Required(EVENTS)));
        assert_eq!(now_set(), OFF, "this fails, and that is what the test is about");
    });
    assert!(panicked.join().is_err());
    assert_eq!(now_set(), OFF);
}

/// Another process that holds a loan until its input ends.
struct Holder(Child, Option<ChildStdin>);

impl Holder {
    fn start() -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        let mut child = command.arg("--hold").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "holding\n");
        let input = child.stdin.take();
        Self(child, input)
    }

    fn leave(mut self) {
        drop(self.1.take());
        assert!(self.0.wait().unwrap().success());
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// What a [`Holder`] does.
pub(crate) fn hold() -> ! {
    let loan = NicLoan::take(&interface(), EVENTS).unwrap_or_else(|error| {
        eprintln!("{error}");
        std::process::exit(1);
    });
    stdout().write_all(b"holding\n").unwrap();
    let _ = stdin().read_to_end(&mut Vec::new());
    drop(loan);
    std::process::exit(0);
}

fn the_last_of_two_processes_gives_back() {
    for first_leaves_first in [true, false] {
        set_by_hand(OFF);
        let (first, second) = (Holder::start(), Holder::start());
        assert_eq!(now_set(), EVENTS);
        let (leaver, stayer) = if first_leaves_first { (first, second) } else { (second, first) };
        leaver.leave();
        assert_eq!(now_set(), EVENTS);
        stayer.leave();
        assert_eq!(now_set(), OFF);
    }
}

fn what_a_killed_process_left_is_mended() {
    set_by_hand(OFF);
    Holder::start().kill();
    assert_eq!(now_set(), EVENTS);
    let records = LoanRecord::all().unwrap();
    assert_eq!((records.len(), records[0].is_held()), (1, false));
    assert_eq!(records[0].clone().restore().unwrap(), GivenBack::Restored(OFF));
    assert_eq!(now_set(), OFF);
    // Or by the next borrower.
    Holder::start().kill();
    Holder::start().leave();
    assert_eq!(now_set(), OFF);
    assert!(LoanRecord::all().unwrap().is_empty());
}

fn what_the_card_lacks_is_refused() {
    set_by_hand(OFF);
    let all = Hwtstamp::new(TxMode::ON, RxFilter::ALL);
    let error = NicLoan::take(&interface(), all).unwrap_err();
    assert_eq!((error.step(), error.nic_refusal()), (Step::Nic, Some(NicRefusal::OutOfRange)), "{error}");
    assert_eq!(now_set(), OFF);
    // What can be had is had.
    let socket = bind(options().configure_nic(ConfigureNic::Preferred(all)));
    let tx_only = Hwtstamp::new(TxMode::ON, RxFilter::NONE);
    assert_eq!(socket.granted().nic, NicGrant::Refused { why: NicRefusal::OutOfRange, now: Some(tx_only) });
    drop(socket);
    assert_eq!(now_set(), OFF);
    // Never at the cost of others.
    set_by_hand(V1_SYNC);
    let error = NicLoan::take(&interface(), EVENTS).unwrap_err();
    assert_eq!(error.nic_refusal(), Some(NicRefusal::OutOfRange), "{error}");
    assert_eq!(now_set(), V1_SYNC);
    set_by_hand(OFF);
}

fn without_the_right_nothing_is_changed() {
    set_by_hand(OFF);
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--clear-groups", "--inh-caps=-all", "--"]).arg(env::current_exe().unwrap());
    let output = command.arg("--hold").stdin(Stdio::null()).output().expect("setpriv of util-linux");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(complaint.contains("CAP_NET_ADMIN is missing"), "{complaint}");
    assert_eq!(now_set(), OFF);
}

fn a_card_in_another_namespace_is_borrowed_there() {
    set_by_hand(OFF);
    let card = interface();
    let name = &*card.name();
    ip("netns add blue");
    ip(&format!("link set {name} netns blue"));
    ip(&format!("-n blue link set {name} up"));
    let blue = Netns::by_name("blue").unwrap();
    let there = blue.interface(name).unwrap();
    let socket = options().configure_nic(ConfigureNic::Required(EVENTS)).bind(&there).unwrap();
    assert_eq!(socket.granted().nic, NicGrant::Lent { former: OFF, now: EVENTS });
    assert_eq!(socket.granted().phc, there.capabilities().unwrap().phc());
    assert_eq!(there.hwtstamp().unwrap(), Some(EVENTS));
    Phc::of(&there).unwrap().now().unwrap();
    // The record is of the card there: here nothing is lent.
    assert!(LoanRecord::all().unwrap().is_empty());
    let records = blue.run(LoanRecord::all).unwrap().unwrap();
    assert_eq!((records.len(), records[0].is_held(), records[0].interface()), (1, true, &there));
    records[0].clone().restore().unwrap_err();
    drop(socket);
    assert_eq!(there.hwtstamp().unwrap(), Some(OFF));
    assert!(blue.run(LoanRecord::all).unwrap().unwrap().is_empty());
    ip(&format!("-n blue link set {name} netns 1"));
    ip("netns del blue");
    ip(&format!("link set {name} up"));
    let is_running = || Interface::by_name(name).unwrap().flags().unwrap().contains(InterfaceFlags::RUNNING);
    // For the tests that come next.
    let has_carrier = (0..200).any(|_| {
        is_running() || {
            thread::sleep(Duration::from_millis(100));
            false
        }
    });
    assert!(has_carrier);
    set_by_hand(OFF);
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().expect("ip of iproute2");
    assert!(status.success(), "ip {arguments}");
}
