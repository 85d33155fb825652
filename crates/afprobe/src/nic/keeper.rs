//! A child process that borrows a card's setting and gives it back, for a process that gives up the right to.
//!
//! It is this program once more, under another name. It borrows, says on its standard output what became of it, and does
//! nothing else until its standard input ends, which is at its parent's end, however that comes about.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use fast_afpacket::{Hwtstamp, Interface, NicLoan, RxFilter, TxMode};
use nix::unistd::{Pid, getppid};

use crate::cli::{HardwareArguments, UseOfCard};
use crate::hardware;

/// What the keeper says when the setting is as it was asked for, or when that may be otherwise.
const READY: &str = "ready";
/// The program, whatever has become of its file.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// How long a parent that was killed may take to close its files.
const PATIENCE: Duration = Duration::from_secs(5);

/// The name under which this program is a keeper.
const NAME: &str = "afprobe-keeper";

/// What a keeper is told by who starts it.
#[derive(Debug, Parser)]
struct Arguments {
    /// The interface's index.
    #[arg(long)]
    interface: u32,
    /// As for `run`.
    #[arg(long, value_enum)]
    hardware: UseOfCard,
    /// The receive filter, as the kernel numbers them.
    #[arg(long)]
    on_receive: u32,
}

/// The keeper, as its parent sees it. It gives the setting back when this is dropped.
///
/// Whoever has the card's clock open is to close it before: somebody else's use of it would be a reason to leave the
/// setting as it is.
#[derive(Debug)]
pub(crate) struct Keeper {
    child: Child,
    /// Closed to end it.
    line: Option<ChildStdin>,
}

impl Keeper {
    /// Starts one, if the card's setting may be changed.
    ///
    /// # Errors
    ///
    /// The setting is required, and cannot be had.
    pub(crate) fn start(
        interface: &Interface,
        hardware: &HardwareArguments,
        on_receive: RxFilter,
    ) -> Result<Option<Self>> {
        let use_of_card = hardware.use_of_card;
        let name = use_of_card.to_possible_value().filter(|_| use_of_card.may_change());
        let Some(name) = name else { return Ok(None) };
        let mut child = Command::new(OWN_PROGRAM)
            .arg0(NAME)
            .args(["--hardware", name.get_name()])
            .args(["--interface", &interface.index().to_string()])
            .args(["--on-receive", &on_receive.value().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for this process.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {OWN_PROGRAM}, which is to give the setting of {interface} back"))?;
        let (line, answer) = (child.stdin.take(), child.stdout.take());
        let keeper = Self { child, line };
        let mut said = String::new();
        BufReader::new(answer.context("a child without standard output")?).read_line(&mut said)?;
        match said.trim_end() {
            READY => Ok(Some(keeper)),
            // It has said why on standard error, if it could.
            "" => bail!("the process that was to borrow the setting of {interface} has ended"),
            why => bail!("{why}"),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(mut line) = self.line.take() {
            // An orderly end: nothing of this process needs to be waited for.
            let _ = line.write_all(b"\n");
        }
        let _ = self.child.wait();
    }
}

/// Whether this process is to be a keeper.
pub(crate) fn is_called() -> bool {
    env::args_os().next().is_some_and(|name| name == NAME)
}

/// Is a keeper.
pub(crate) fn run() -> Result<()> {
    let arguments = &Arguments::parse();
    let parent = getppid();
    // Its parent's end is its own, and nothing else.
    ctrlc::set_handler(|| ()).context("cannot catch signals")?;
    let interface = Interface::by_index(arguments.interface)?;
    let borrowed = borrow(&interface, arguments);
    let mut answer = io::stdout().lock();
    let loan = match borrowed {
        Ok(loan) => loan,
        Err(error) => return writeln!(answer, "{error:#}").context("cannot write to the process that asked"),
    };
    writeln!(answer, "{READY}")?;
    answer.flush()?;
    drop(answer);
    let mut word = Vec::new();
    let _ = io::stdin().lock().read_to_end(&mut word);
    if word.is_empty() {
        wait_for_end_of(parent);
    }
    if let Some(loan) = loan {
        loan.give_back().context("what was borrowed could not be given back, and afprobe nic restore may")?;
    }
    Ok(())
}

fn borrow(interface: &Interface, arguments: &Arguments) -> Result<Option<NicLoan>> {
    let needs = Hwtstamp::new(TxMode::ON, RxFilter::new(arguments.on_receive));
    let (loan, grant) = NicLoan::take_as(interface, arguments.hardware.configure_nic(needs))?;
    hardware::tell(interface, grant)?;
    Ok(loan)
}

/// Waits until a process that was killed is gone, and with it its use of the card's clock.
fn wait_for_end_of(parent: Pid) {
    let end = Instant::now() + PATIENCE;
    while getppid() == parent && Instant::now() < end {
        thread::sleep(Duration::from_millis(1));
    }
}
