//! The examples, as processes of their own. The test program is compiled with them and starts itself.

#[path = "../../examples/async_reflector.rs"]
mod async_reflector;
#[path = "../../examples/capture.rs"]
mod capture;
#[path = "../../examples/epoll.rs"]
mod epoll;
#[path = "../../examples/stamps.rs"]
mod stamps;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::lab::{self, Cable, bind, frame, ip, millis, number_in, options};

crate::tests! {
    a_reflector_of_tasks_answers_and_reads_its_stamps;
    a_loop_of_ones_own_waits_for_frames_and_stamps;
    a_capture_prints_what_arrives;
    stamps_are_printed_in_their_order;
}

/// Plays an example, if there is one of this name.
pub(crate) fn play(name: &str) -> bool {
    let result: Result<(), Box<dyn Error>> = match name {
        "async_reflector" => async_reflector::main(),
        "capture" => capture::main(),
        "epoll" => epoll::main(),
        "stamps" => stamps::main(),
        _ => return false,
    };
    if let Err(error) = result {
        eprintln!("{error}");
        std::process::exit(1);
    }
    true
}

/// An example that runs on `va`, and what it prints.
struct Example {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Example {
    /// Starts it and waits until it says that it is ready.
    fn start(name: &str) -> Self {
        let mut example = Self::spawn(name);
        let first = example.line();
        assert!(first.ends_with("on va"), "{first}");
        example
    }

    fn spawn(name: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("va")
            .env("FAST_AFPACKET_CHILD", name)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("it goes on").unwrap()
    }

    /// The next line that begins with this, and the rest of it.
    fn line_of(&mut self, prefix: &str) -> String {
        loop {
            if let Some(rest) = self.line().strip_prefix(prefix) {
                return rest.to_owned();
            }
        }
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn a_reflector_of_tasks_answers_and_reads_its_stamps() {
    const REQUESTS: u32 = 200;
    let cable = Cable::new();
    let peer = bind(options(), &cable.b);
    let mut example = Example::start("async_reflector");
    for number in 0..REQUESTS {
        let mut request = frame(number);
        request[..6].copy_from_slice(&lab::MAC_A);
        request[6..12].copy_from_slice(&lab::MAC_B);
        peer.send(&request).unwrap();
        let mut answer = [0; 64];
        assert_eq!(peer.recv(&mut answer).unwrap().len, 60);
        assert_eq!(answer[..14], frame(0)[..14], "from a to b");
        assert_eq!(number_in(&answer), number | 1 << 24);
        // An answer to it would be the next frame.
        peer.send(&answer[..60]).unwrap();
    }
    let mut stages = BTreeMap::<u32, Vec<String>>::new();
    while stages.len() < REQUESTS as usize || stages.values().any(|stages| stages.len() < 2) {
        let line = example.line_of("answer ");
        let mut words = line.split(' ');
        let key = words.next().unwrap().parse().unwrap();
        stages.entry(key).or_default().push(words.next().unwrap().to_owned());
        assert!(words.next().unwrap().starts_with("Some("), "{line}");
    }
    assert!(stages.values().all(|stages| stages == &["Scheduled", "Sent"]));
    assert_eq!(stages.keys().copied().collect::<Vec<_>>(), (0..REQUESTS).collect::<Vec<_>>());
}

fn a_loop_of_ones_own_waits_for_frames_and_stamps() {
    let cable = Cable::new();
    let peer = bind(options(), &cable.b);
    let mut example = Example::start("epoll");
    for number in 0..3 {
        peer.recv(&mut [0; 64]).unwrap();
        for stage in ["Scheduled", "Sent"] {
            let stamp = example.line_of("frame ");
            assert!(stamp.starts_with(&format!("{number} {stage} Some(")), "{stamp}");
        }
        peer.send(&frame(number)).unwrap();
        assert!(example.line_of("received ").starts_with("60 bytes"));
    }
    ip("link set va down");
    example.line_of("the link is down");
    ip("link del va");
    assert_eq!(example.child.wait().unwrap().code(), Some(1), "there is nothing to wait for");
}

fn a_capture_prints_what_arrives() {
    let cable = Cable::new();
    let peer = bind(options(), &cable.b);
    let mut example = Example::spawn("capture");
    // Nobody is told when it has begun.
    let has_come = AtomicBool::new(false);
    let line = thread::scope(|scope| {
        scope.spawn(|| {
            while !has_come.load(Ordering::Relaxed) {
                peer.send(&frame(7)).unwrap();
                thread::sleep(millis(5));
            }
        });
        let line = example.line();
        has_come.store(true, Ordering::Relaxed);
        line
    });
    let (at, rest) = line.split_once("  ").unwrap();
    assert!(at == "no stamp" || at.parse::<f64>().is_ok(), "{line}");
    assert!(rest.starts_with("02:00:00:00:00:0a OtherHost") && rest.ends_with("60 bytes"), "{line}");
}

fn stamps_are_printed_in_their_order() {
    let _cable = Cable::new();
    let mut example = Example::spawn("stamps");
    let words = ["before  ", "Scheduled  ", "Sent  "];
    for word in words {
        let line = example.line();
        assert!(line.starts_with(word), "{line}");
        assert!(word == "before  " || line.contains("software: Some("), "{line}");
    }
    assert!(example.lines.next().is_none());
    assert!(example.child.wait().unwrap().success());
}
