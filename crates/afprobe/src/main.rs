//! `afprobe`: hosts probe each other over AF_PACKET sockets and show every timestamp of every probe.

mod cli;
mod clock;
mod crew;
mod doctor;
mod endpoint;
mod engine;
mod frame;
mod hardware;
mod ids;
mod in_order;
mod lab;
mod namespace;
mod neighbor;
mod netlink;
mod netns;
mod nic;
mod plan;
mod privileges;
mod probe;
mod receiver;
mod reflect;
mod reflector;
mod report;
mod resolve_frames;
mod schedule;
mod sender;
mod session;
mod sink;
mod stats;
mod threads;
mod treatment;
mod two_way;
mod warm_up;
mod way;
mod wire;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use engine::Verdict;
use nic::keeper;

/// The job could not be done: bad arguments, or a host that cannot do it.
const CANNOT: u8 = 2;
/// More probes were lost than allowed, or they took longer.
const BEYOND_LIMITS: u8 = 1;
/// The doctor's findings.
const SOFTWARE_ONLY: u8 = 3;
const NOT_DELIVERED: u8 = 4;

fn main() -> ExitCode {
    let done = if keeper::is_called() { keeper::run().map(|()| Verdict::Fine) } else { run() };
    match done {
        Ok(Verdict::Fine) => ExitCode::SUCCESS,
        Ok(Verdict::BeyondLimits) => ExitCode::from(BEYOND_LIMITS),
        Ok(Verdict::SoftwareOnly) => ExitCode::from(SOFTWARE_ONLY),
        Ok(Verdict::NotDelivered) => ExitCode::from(NOT_DELIVERED),
        Err(error) => {
            // Where nobody can read it, the exit code still says it.
            let _ = writeln!(io::stderr(), "afprobe: {error:#}");
            ExitCode::from(CANNOT)
        }
    }
}

fn run() -> anyhow::Result<Verdict> {
    match Cli::parse().command {
        Command::Lab(arguments) => lab::run(&arguments),
        Command::Run(arguments) => plan::run(&arguments),
        Command::Reflect(arguments) => reflect::run(&arguments),
        Command::Nic(arguments) => nic::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
    }
}
