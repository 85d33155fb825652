//! Programs that a test runs: watched while they run, killed and reaped at its end.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Log, eventually};

/// A program that is running. It is killed and reaped when this value goes, at the latest.
pub(crate) struct Process {
    name: String,
    child: Child,
    stdout: Gathered,
    stderr: Gathered,
}

/// What a running program has written so far.
struct Gathered {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
    enough: Arc<AtomicBool>,
}

impl Gathered {
    fn from(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let enough = Arc::new(AtomicBool::new(false));
        let (gathered, stop) = (Arc::clone(&bytes), Arc::clone(&enough));
        let reader = thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(len @ 1..) = pipe.read(&mut chunk) {
                gathered.lock().unwrap().extend_from_slice(&chunk[..len]);
                if stop.load(Ordering::SeqCst) {
                    break;
                }
            }
        });
        Self { bytes, reader, enough }
    }

    /// Only the lines that are to be kept.
    fn lines_from(pipe: impl Read + Send + 'static, mut keep: impl FnMut(&str) -> bool + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let gathered = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let (mut pipe, mut line) = (BufReader::new(pipe), String::new());
            while let Ok(1..) = pipe.read_line(&mut line) {
                if keep(&line) {
                    gathered.lock().unwrap().extend_from_slice(line.as_bytes());
                }
                line.clear();
            }
        });
        Self { bytes, reader, enough: Arc::default() }
    }

    fn so_far(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.so_far()).into_owned()
    }
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code, none after a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Self::of(name, child.unwrap())
    }

    /// Shows each line of its standard output to `keep`, which says whether it is to be gathered.
    pub(crate) fn spawn_with(command: &mut Command, keep: impl FnMut(&str) -> bool + Send + 'static) -> Self {
        let name = format!("{command:?}");
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap();
        let stdout = Gathered::lines_from(child.stdout.take().unwrap(), keep);
        let stderr = Gathered::from(child.stderr.take().unwrap());
        Self { name, child, stdout, stderr }
    }

    fn of(name: String, mut child: Child) -> Self {
        let stdout = Gathered::from(child.stdout.take().unwrap());
        let stderr = Gathered::from(child.stderr.take().unwrap());
        Self { name, child, stdout, stderr }
    }

    pub(crate) fn stdout(&self) -> Vec<u8> {
        self.stdout.so_far()
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The events that it has told of so far, of a program that prints JSON.
    pub(crate) fn log(&self) -> Log {
        Log::read(&self.stdout.text())
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for a condition that needs the program to go on.
    pub(crate) fn wait_until(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        eventually(what, || {
            let ended = self.has_ended();
            let holds = condition(self);
            assert!(holds || !ended, "{} ended before {what}: {}", self.name, self.stderr());
            holds
        });
    }

    /// Reads no more of its standard output: after the next line that it writes, the pipe is closed.
    pub(crate) fn stop_reading(&self) {
        self.stdout.enough.store(true, Ordering::SeqCst);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> Ended {
        let name = self.name.clone();
        eventually(&format!("the end of {name}"), || {
            self.has_ended() && self.stdout.reader.is_finished() && self.stderr.reader.is_finished()
        });
        let code = self.child.try_wait().unwrap().and_then(|status| status.code());
        Ended { code, stdout: self.stdout.text(), stderr: self.stderr() }
    }

    /// Interrupts it and waits for its end; gives its standard output, of a program that does not print text.
    pub(crate) fn interrupt_for_bytes(self) -> Vec<u8> {
        let bytes = Arc::clone(&self.stdout.bytes);
        let ended = self.interrupt();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        bytes.lock().unwrap().clone()
    }

    pub(crate) fn interrupt(self) -> Ended {
        self.signal(Signal::SIGINT);
        self.end()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end.
pub(crate) fn run(command: &mut Command) -> Ended {
    Process::spawn(command).end()
}

/// Runs a program to its end with these bytes as its standard input.
pub(crate) fn run_with_input(command: &mut Command, input: Vec<u8>) -> Ended {
    let name = format!("{command:?}");
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let process = Process::of(name, child);
    let writer = thread::spawn(move || pipe.write_all(&input));
    let ended = process.end();
    writer.join().unwrap().unwrap();
    ended
}

/// The processes that have this variable with this value in their environment.
pub(crate) fn processes_with(variable: &str, value: &str) -> Vec<String> {
    let wanted = format!("{variable}={value}").into_bytes();
    let has_it = |pid: &String| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == wanted)
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    pids.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).filter(has_it).collect()
}
