//! Measurements there and back that a test starts, and what they tell.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::process::{Ended, Process};
use super::{Host, Log, afprobe, eventually, number};

pub(crate) fn numbers<const N: usize>(value: &Value, keys: [&str; N]) -> [i64; N] {
    keys.map(|key| number(value, key))
}

/// The events of this kind.
pub(crate) fn of<'a>(log: &'a Log, event: &str) -> Vec<&'a Value> {
    log.all().iter().filter(|value| value["event"] == event).collect()
}

/// The one event of this kind.
pub(crate) fn one<'a>(log: &'a Log, event: &str) -> &'a Value {
    let events = of(log, event);
    assert_eq!(events.len(), 1, "{event}");
    events[0]
}

/// A measurement to its end, whatever that is.
pub(crate) fn run_from(host: &Host, arguments: &str) -> Ended {
    host.run(&mut afprobe(&format!("run --format json {arguments}")))
}

/// A reflector that is ready.
pub(crate) fn reflect(host: &Host, arguments: &str) -> Process {
    let mut reflector = host.spawn(&mut afprobe(&format!("reflect --iface-name eth1 --format json {arguments}")));
    reflector.wait_until("readiness", |reflector| !reflector.stdout().is_empty());
    reflector
}

/// Ends a reflector; its summary.
pub(crate) fn end(reflector: Process) -> Value {
    summary(&reflector.interrupt())
}

/// What a program has said at its end, of one that prints JSON.
pub(crate) fn summary(ended: &Ended) -> Value {
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let summary: Value = serde_json::from_str(ended.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(summary["event"], "summary");
    summary
}

/// A measurement to its end: what `read` takes from each probe, in their order, and the summary.
pub(crate) fn measure<T: Send + 'static>(
    host: &Host,
    arguments: &str,
    read: impl FnMut(&Value) -> T + Send + 'static,
) -> (Vec<T>, Value) {
    Measuring::start(host, &mut afprobe(&format!("run --format json {arguments}")), read).end()
}

/// What is to be true of a measurement without losses, between hosts that may have two clocks.
pub(crate) fn check_answered(ended: &Ended, count: i64) {
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    let log = Log::read(&ended.stdout);
    let probes = of(&log, "probe");
    assert_eq!(i64::try_from(probes.len()).unwrap(), count);
    assert!(probes.iter().all(|probe| way(probe).is_sorted()), "{}", ended.stdout);
    let summary = one(&log, "summary");
    let counts = ["sent", "received", "lost_forward", "lost_backward", "duplicates", "foreign", "forged"];
    assert_eq!(numbers(summary, counts), [count, count, 0, 0, 0, 0, 0], "{summary}");
}

/// All stamps on the system clock, in the order of the way.
pub(crate) fn way(probe: &Value) -> [i64; 10] {
    [
        ("t1", "userspace_ns"),
        ("t1", "scheduled_ns"),
        ("t1", "software_ns"),
        ("t2", "software_ns"),
        ("t2", "userspace_ns"),
        ("t3", "userspace_ns"),
        ("t3", "scheduled_ns"),
        ("t3", "software_ns"),
        ("t4", "software_ns"),
        ("t4", "userspace_ns"),
    ]
    .map(|(point, stamp)| number(&probe[point], stamp))
}

/// A measurement that is running.
pub(crate) struct Measuring<T> {
    pub(crate) process: Process,
    probes: Arc<Mutex<Vec<T>>>,
}

impl<T: Send + 'static> Measuring<T> {
    pub(crate) fn start(host: &Host, command: &mut Command, read: impl FnMut(&Value) -> T + Send + 'static) -> Self {
        host.inside(|| Self::start_here(command, read))
    }

    /// Starts it where the calling thread is.
    pub(crate) fn start_here(command: &mut Command, mut read: impl FnMut(&Value) -> T + Send + 'static) -> Self {
        let probes = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&probes);
        // A hundred thousand probes are not kept as text.
        let keep = move |line: &str| {
            let is_probe = line.starts_with("{\"event\":\"probe\"");
            if is_probe {
                taken.lock().unwrap().push(read(&serde_json::from_str(line).unwrap()));
            }
            !is_probe
        };
        Self { process: Process::spawn_with(command, keep), probes }
    }

    /// How many probes it has told of.
    pub(crate) fn told(&self) -> usize {
        self.probes.lock().unwrap().len()
    }

    /// Waits for its end, for as long as it goes on.
    pub(crate) fn end(mut self) -> (Vec<T>, Value) {
        while !self.process.has_ended() {
            // With a summary alone there are only the counts of every five seconds.
            let told = (self.told(), self.process.stdout().len());
            eventually("a sign of life, or the end", || {
                self.process.has_ended() || (self.told(), self.process.stdout().len()) != told
            });
        }
        let summary = summary(&self.process.end());
        let probes = std::mem::take(&mut *self.probes.lock().unwrap());
        (probes, summary)
    }
}

/// The one in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = i64>) -> i64 {
    let mut values: Vec<i64> = values.into_iter().collect();
    values.sort_unstable();
    values[values.len() / 2]
}

/// A file with these bytes, which goes with the value.
pub(crate) struct KeyFile(pub(crate) PathBuf);

impl KeyFile {
    pub(crate) fn new(name: &str, secret: &[u8]) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        // Some programs refuse a key that others can read.
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).unwrap();
        file.write_all(secret).unwrap();
        Self(path)
    }

    pub(crate) fn argument(&self) -> String {
        format!("--auth-key-file {}", self.0.display())
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
