//! The programs that hold the contenders, and running one of them.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};
use fast_afpacket_bench_harness::{Description, Job, Outcome, worker};
use serde::Serialize;

use crate::lab::{End, Lab};

/// The crates that are built for this, each a program of its own.
const PEERS: [&str; 5] = ["pcap", "af-packet", "afpacket", "pnet-datalink", "netring"];
/// No run lasts nearly as long.
const TIME_LIMIT: &str = "120";

/// A contender, and how to start it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) description: Description,
    program: PathBuf,
    number: usize,
}

/// Someone who cannot take part.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Absent {
    pub(crate) who: String,
    pub(crate) why: String,
}

/// All contenders that can be found.
pub(crate) struct Field {
    pub(crate) entries: Vec<Entry>,
    pub(crate) absent: Vec<Absent>,
}

impl Field {
    /// Those in this very program.
    pub(crate) fn own() -> anyhow::Result<Self> {
        let mut field = Self { entries: Vec::new(), absent: Vec::new() };
        field.add(&env::current_exe()?)?;
        Ok(field)
    }

    /// Adds the peers, which are built first if cargo has started this program.
    pub(crate) fn add_peers(&mut self) -> anyhow::Result<()> {
        let own = env::current_exe()?;
        let beside = own.parent().context("this program is in no directory")?;
        for peer in PEERS {
            let package = format!("fast-afpacket-bench-peer-{peer}");
            let added = build(&package).and_then(|()| self.add(&beside.join(&package)));
            if let Err(error) = added {
                self.absent.push(Absent { who: format!("the crate {peer}"), why: format!("{error:#}") });
            }
        }
        Ok(())
    }

    /// Takes out contenders whose program is not installed.
    pub(crate) fn drop_missing_tools(&mut self) {
        for (tool, package) in [("tcpreplay", "tcpreplay"), ("trafgen", "netsniff-ng"), ("netsniff-ng", "netsniff-ng")]
        {
            // Whether it can be started is all that counts.
            if let Err(error) = Command::new(tool).arg("--help").stdin(Stdio::null()).output() {
                self.entries.retain(|entry| entry.description.who != tool);
                let why = format!("{error}; it is in the Debian package {package}");
                self.absent.push(Absent { who: tool.to_owned(), why });
            }
        }
    }

    fn add(&mut self, program: &Path) -> anyhow::Result<()> {
        let output = Command::new(program).arg(worker::LIST).output();
        let output = output.with_context(|| format!("cannot start {}", file_name(program)))?;
        let descriptions: Vec<Description> = serde_json::from_slice(&output.stdout).context("not a contender")?;
        let entries = descriptions.into_iter().enumerate();
        self.entries.extend(entries.map(|(number, description)| Entry {
            description,
            program: program.to_owned(),
            number,
        }));
        Ok(())
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Builds a package of this workspace, if cargo is at hand.
fn build(package: &str) -> anyhow::Result<()> {
    let Some(cargo) = env::var_os("CARGO") else { return Ok(()) };
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--release", "--locked", "--manifest-path", manifest, "--package", package]);
    let output = command.stdin(Stdio::null()).output().context("cannot start cargo")?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let first = errors.lines().find(|line| line.starts_with("error")).unwrap_or("no reason was given");
        bail!("cannot be built: {first}");
    }
    Ok(())
}

/// A contender at work.
pub(crate) struct Running {
    child: Child,
    /// Closed to say that nothing more will come.
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Entry {
    /// Starts the contender at this end and waits until it is open. `tool` is what it runs under, with its arguments.
    pub(crate) fn start(&self, lab: &Lab, end: End, job: &Job, tool: &[String]) -> anyhow::Result<Running> {
        let mut running = self.spawn(lab, end, job, tool)?;
        let mut line = String::new();
        running.stdout.read_line(&mut line)?;
        if line.trim() != worker::READY {
            return Err(running.failure());
        }
        Ok(running)
    }

    /// Runs the contender to its end.
    pub(crate) fn run(&self, lab: &Lab, end: End, job: &Job, tool: &[String]) -> anyhow::Result<Outcome> {
        self.spawn(lab, end, job, tool)?.finish()
    }

    fn spawn(&self, lab: &Lab, end: End, job: &Job, tool: &[String]) -> anyhow::Result<Running> {
        let job = serde_json::to_string(job)?;
        // Whatever happens, nothing keeps running.
        let mut command = Command::new("timeout");
        command.args(["--foreground", "--kill-after=5", TIME_LIMIT]);
        command.args(tool).arg(&self.program).args([worker::RUN, &self.number.to_string(), &job]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = lab.inside(end, move || Ok(command.spawn()?)).context("cannot start a contender")?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("no standard output")?;
        Ok(Running { child, stdin, stdout: BufReader::new(stdout) })
    }
}

impl Running {
    /// Says that nothing more will come, and waits for what it has to say.
    pub(crate) fn finish(mut self) -> anyhow::Result<Outcome> {
        drop(self.stdin.take());
        let mut lines = String::new();
        self.stdout.read_to_string(&mut lines)?;
        match lines.lines().last().filter(|line| *line != worker::READY).map(serde_json::from_str) {
            Some(Ok(outcome)) => {
                self.child.wait()?;
                Ok(outcome)
            }
            _ => Err(self.failure()),
        }
    }

    /// Why it did not do its work.
    fn failure(&mut self) -> anyhow::Error {
        drop(self.stdin.take());
        let mut errors = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = stderr.read_to_string(&mut errors);
        }
        let status = self.child.wait();
        match (errors.trim(), status) {
            ("", Ok(status)) => anyhow::anyhow!("it ended without a word: {status}"),
            (errors, _) => anyhow::anyhow!("{errors}"),
        }
    }
}

/// A contender that is not waited for ends too: a receiver when nothing more will come, a sender after its time.
impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}
