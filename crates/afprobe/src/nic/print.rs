//! What is known of a NIC, for people and for programs.

use std::io::{self, Write};

use fast_afpacket::{Hwtstamp, Timestamping};
use serde_json::{Value, json};

use super::Nic;

/// The stamps by the names that they have in all output.
pub(crate) const STAMPS: [(Timestamping, &str, &str); 5] = [
    (Timestamping::TX_SCHEDULED, "tx", "scheduled"),
    (Timestamping::TX_SOFTWARE, "tx", "software"),
    (Timestamping::TX_HARDWARE, "tx", "hardware"),
    (Timestamping::RX_SOFTWARE, "rx", "software"),
    (Timestamping::RX_HARDWARE, "rx", "hardware"),
];

/// The stamps that a driver says it can take, in one direction.
fn stamps(nic: &Nic, direction: &str) -> Vec<&'static str> {
    let can = nic.capabilities.timestamping();
    let named = STAMPS.iter().filter(|(stamp, towards, _)| *towards == direction && can.contains(*stamp));
    named.map(|(_, _, name)| *name).collect()
}

fn tx_modes(nic: &Nic) -> Vec<String> {
    nic.capabilities.tx_modes().map(|mode| mode.to_string()).collect()
}

fn rx_filters(nic: &Nic) -> Vec<String> {
    nic.capabilities.rx_filters().map(|filter| filter.to_string()).collect()
}

pub(super) fn text(nic: &Nic, out: &mut impl Write) -> io::Result<()> {
    let driver = nic.driver.as_ref().map(|driver| format!("  ({driver})")).unwrap_or_default();
    writeln!(out, "{}{driver}", nic.interface)?;
    let mut line = |what: &str, value: &str| writeln!(out, "  {what:<12} {value}");
    let or_none = |words: Vec<String>| if words.is_empty() { "none".to_owned() } else { words.join(" ") };
    line("can stamp", &format!("tx: {}; rx: {}", stamps(nic, "tx").join(" "), stamps(nic, "rx").join(" ")))?;
    line("tx modes", &or_none(tx_modes(nic)))?;
    line("rx filters", &or_none(rx_filters(nic)))?;
    match nic.set {
        Some(setting) => line("set now", &setting.to_string())?,
        None => line("set now", "no hardware timestamps to set, or a driver that does not tell")?,
    }
    match nic.capabilities.phc() {
        Some(phc) => line("clock", &format!("/dev/ptp{phc}"))?,
        None => line("clock", "none")?,
    }
    if !nic.clock_users.is_empty() {
        let users: Vec<_> =
            nic.clock_users.iter().map(|user| format!("{} ({})", user.name(), user.process())).collect();
        line("used by", &users.join(", "))?;
    }
    if let Some(loan) = &nic.loan {
        let whose = if loan.is_held() { "will be given back" } else { "left by a killed program: afprobe nic restore" };
        line("lent", &format!("before: {}; {whose}", loan.former()))?;
    }
    Ok(())
}

pub(super) fn json(nic: &Nic, out: &mut impl Write) -> io::Result<()> {
    let users: Vec<Value> =
        nic.clock_users.iter().map(|user| json!({ "pid": user.process(), "name": user.name() })).collect();
    let loan = nic.loan.as_ref();
    let object = json!({
        "interface": nic.interface.name(),
        "driver": nic.driver,
        "can_stamp": { "tx": stamps(nic, "tx"), "rx": stamps(nic, "rx") },
        "tx_modes": tx_modes(nic),
        "rx_filters": rx_filters(nic),
        "set": nic.set.map(setting_as_json),
        "phc": nic.capabilities.phc(),
        "clock_users": users,
        "lent": loan.map(|loan| json!({ "former": setting_as_json(loan.former()), "held": loan.is_held() })),
    });
    writeln!(out, "{object}")
}

pub(crate) fn setting_as_json(setting: Hwtstamp) -> Value {
    json!({ "tx": setting.tx().to_string(), "rx": setting.rx().to_string() })
}
