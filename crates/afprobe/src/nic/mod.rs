//! `afprobe nic`: what a NIC can stamp, what it is set to, who relies on that; and mending what a killed program left.

pub(crate) mod keeper;
mod print;

use std::fs;
use std::io::{self, Write};

use anyhow::{Context, Result, bail};
use fast_afpacket::{Capabilities, ClockUser, GivenBack, Hwtstamp, Interface, LoanRecord};

use crate::cli::{NicArguments, NicCommand};
use crate::engine::Verdict;
use crate::netlink::Netlink;
pub(crate) use print::{STAMPS, setting_as_json};

/// What is known of an interface.
struct Nic {
    interface: Interface,
    /// The name of the driver, where there is one.
    driver: Option<String>,
    capabilities: Capabilities,
    set: Option<Hwtstamp>,
    clock_users: Vec<ClockUser>,
    /// What is on record as lent.
    loan: Option<LoanRecord>,
}

pub(crate) fn run(arguments: &NicArguments) -> Result<Verdict> {
    let done = match &arguments.command {
        Some(NicCommand::Restore { iface, netns }) => {
            netns.enter().and_then(|()| restore(iface.as_deref(), &mut io::stdout().lock()))
        }
        None => arguments.netns.enter().and_then(|()| show(arguments, &mut io::stdout().lock())),
    };
    match done {
        // Whoever read our output has seen enough.
        Err(error) if is_broken_pipe(&error) => Ok(Verdict::Fine),
        result => result.map(|()| Verdict::Fine),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn show(arguments: &NicArguments, out: &mut impl Write) -> Result<()> {
    let interfaces = match &arguments.iface {
        Some(name) => vec![Interface::by_name(name)?],
        None => Interface::all()?,
    };
    // Who may not read the records is not told of them.
    let loans = LoanRecord::all().unwrap_or_default();
    for interface in interfaces {
        let nic = Nic::look_at(interface, &loans)?;
        match arguments.json {
            true => print::json(&nic, out)?,
            false => print::text(&nic, out)?,
        }
    }
    Ok(())
}

impl Nic {
    fn look_at(interface: Interface, loans: &[LoanRecord]) -> Result<Self> {
        Ok(Self {
            driver: Behind::of(&interface).and_then(|behind| match behind {
                Behind::Driver(name) => Some(name),
                Behind::Kind(_) => None,
            }),
            capabilities: interface.capabilities()?,
            set: interface.hwtstamp()?,
            clock_users: interface.clock_users()?,
            loan: loans.iter().find(|loan| loan.interface() == &interface).cloned(),
            interface,
        })
    }
}

/// What is behind an interface.
pub(crate) enum Behind {
    /// A driver of this name.
    Driver(String),
    /// Nothing but the kernel: a virtual interface of this kind.
    Kind(String),
}

impl Behind {
    pub(crate) fn of(interface: &Interface) -> Option<Self> {
        // First: what is mounted may show another network namespace, which has an interface of this name too, with the same
        // number and address, if both were given by hand. A virtual interface has no driver.
        let kind = Netlink::open().ok().and_then(|mut netlink| netlink.kind(interface.index()).ok().flatten());
        kind.map(Self::Kind).or_else(|| driver_of(interface).map(Self::Driver))
    }
}

/// The name of the driver that sysfs shows, if it shows this interface.
fn driver_of(interface: &Interface) -> Option<String> {
    let shown = |file: &str| fs::read_to_string(format!("/sys/class/net/{interface}/{file}")).ok();
    let mac = interface.mac().ok()?.map(|mac| mac.to_string());
    let is_shown = shown("ifindex")?.trim() == interface.index().to_string()
        && mac.is_none_or(|mac| shown("address").is_some_and(|address| address.trim() == mac));
    let link = fs::read_link(format!("/sys/class/net/{interface}/device/driver")).ok()?;
    is_shown.then(|| Some(link.file_name()?.to_string_lossy().into_owned()))?
}

/// Gives back what killed programs had borrowed.
fn restore(only: Option<&str>, out: &mut impl Write) -> Result<()> {
    let only = only.map(Interface::by_name).transpose()?;
    let records = LoanRecord::all()?;
    let chosen = records.into_iter().filter(|record| only.as_ref().is_none_or(|only| only == record.interface()));
    let mut is_empty = true;
    let mut failed = 0;
    for record in chosen {
        is_empty = false;
        let interface = record.interface().clone();
        match record.restore() {
            Ok(back) => writeln!(out, "{interface}: {}", words(back))?,
            Err(error) => {
                failed += 1;
                writeln!(io::stderr(), "afprobe: {error}").context("cannot write to standard error")?;
            }
        }
    }
    if failed > 0 {
        bail!("{failed} of the settings could not be given back");
    }
    if is_empty {
        writeln!(out, "nothing is lent")?;
    }
    Ok(())
}

fn words(back: GivenBack) -> String {
    match back {
        GivenBack::Restored(setting) => format!("restored: {setting}"),
        GivenBack::StillHeld => "still lent to a program that runs; it will give it back".to_owned(),
        GivenBack::TakenOver(setting) => format!("left as it is, another program uses it: {setting}"),
        GivenBack::NothingBorrowed => "nothing is lent".to_owned(),
        _ => "the card is gone, and its setting with it".to_owned(),
    }
}
