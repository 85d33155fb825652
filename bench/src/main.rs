//! Measures fast-afpacket beside bare system calls and its peers: see bench/README.md.
//!
//! The same program is the one that measures and, started by itself, the worker that is measured.

mod bare;
mod cli;
mod instructions;
mod lab;
mod machine;
mod ours;
mod programs;
mod report;
mod sections;
mod soak;
mod statistics;
mod table;
mod targets;
mod tools;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use fast_afpacket_bench_harness::worker;

use cli::{Cli, Command, Measure};
use instructions::Purpose;
use lab::Lab;
use machine::Machine;
use programs::Field;
use report::Report;
use sections::{Bench, Section};

fn main() -> ExitCode {
    let mut contenders = bare::contenders();
    contenders.extend(ours::contenders());
    contenders.extend(tools::contenders());
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let Some(code) = worker::serve(&contenders, &arguments) {
        return code;
    }
    match run(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<bool> {
    match cli.command {
        Some(Command::Instructions(arguments)) => {
            let purpose = match (arguments.check, arguments.bless) {
                (true, _) => Purpose::Check,
                (_, true) => Purpose::Bless,
                _ => Purpose::Show,
            };
            lab::enter()?;
            instructions::run(purpose)
        }
        Some(Command::Soak(arguments)) => {
            let machine = Machine::describe(lab::Processors::pick()?);
            lab::enter()?;
            soak::run(machine, arguments.seconds, arguments.out)
        }
        None => measure(cli.measure).map(|()| true),
    }
}

fn measure(arguments: Measure) -> anyhow::Result<()> {
    let mut field = Field::own()?;
    if arguments.no_peers {
        field.entries.retain(|entry| !entry.description.is_tool);
    } else {
        // Before the namespaces: cargo may need the network.
        field.add_peers()?;
        field.drop_missing_tools();
    }
    let machine = Machine::describe(lab::Processors::pick()?);
    lab::enter()?;
    let runs = usize::from(arguments.runs.unwrap_or(if arguments.quick { 2 } else { 5 }));
    let bench = Bench { lab: Lab::new()?, field, ways: arguments.ways, runs, quick: arguments.quick };
    let chosen = |section: &Section| arguments.sections.is_empty() || arguments.sections.contains(section);
    let mut sections = Vec::new();
    for section in Section::value_variants().iter().filter(|section| chosen(section)) {
        let start = Instant::now();
        let findings = section.run(&bench)?;
        eprintln!("{}: {:.0} s", findings.title, start.elapsed().as_secs_f64());
        sections.push(findings);
    }
    let directory = arguments.out.unwrap_or_else(|| default_directory(machine.day(), "bench"));
    let targets = targets::judge(&sections);
    let report =
        Report { machine, runs: bench.runs, is_quick: bench.quick, sections, absent: bench.field.absent, targets };
    report.write(&directory)?;
    println!("{}", report::text::write(&report));
    eprintln!("written into {}", directory.display());
    Ok(())
}

/// Where reports on this subject go if nothing else is said.
fn default_directory(day: &str, subject: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../lab/results")).join(format!("{day}-{subject}"))
}
