//! `afprobe nic` where there is no card: what it says of virtual interfaces, and that it changes nothing.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds something else than it expects shall panic"
)]

mod common;

use common::process::run;
use common::{afprobe, keys};
use serde_json::{Value, json};

#[test]
fn the_loopback_interface_has_software_stamps() {
    let ended = run(&mut afprobe("nic lo --json"));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let value: Value = serde_json::from_str(&ended.stdout).unwrap();
    let expected = json!({
        "interface": "lo",
        "driver": null,
        "can_stamp": { "tx": ["scheduled", "software"], "rx": ["software"] },
        "tx_modes": [],
        "rx_filters": [],
        "set": null,
        "phc": null,
        "clock_users": [],
        "lent": null,
    });
    assert_eq!(keys(&value), keys(&expected), "the order is part of the format");
    assert_eq!(value, expected);
}

#[test]
fn all_interfaces_are_listed() {
    let ended = run(&mut afprobe("nic"));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let names: Vec<_> = ended.stdout.lines().filter(|line| !line.starts_with(' ')).collect();
    assert!(names.contains(&"lo"), "{names:?}");
    assert!(ended.stdout.contains("  can stamp    tx: scheduled software; rx: software\n"));
}

#[test]
fn what_cannot_be_done_is_said() {
    let ended = run(&mut afprobe("nic no-such-card"));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    assert!(ended.stderr.starts_with("afprobe: cannot look up interface \"no-such-card\": "), "{}", ended.stderr);
    let ended = run(&mut afprobe("nic restore no-such-card"));
    assert_eq!(ended.code, Some(2));
}
