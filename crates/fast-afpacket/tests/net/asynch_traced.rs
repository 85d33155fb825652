//! What tasks cost in system calls while they wait, and which thread closes their sockets: as strace sees it.
//!
//! The test program starts itself under strace, as one of the parts at the end of this file.

use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::thread;

use fast_afpacket::{AsyncPacketSocket, AsyncRxRing, RingShape, TxKey};
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::asynch::{current_thread, open};
use crate::lab::{self, Cable, bind, frame, ip, millis, options, tc};
use crate::waits::stuck;

crate::tests! {
    waiting_tasks_try_a_few_times needs "strace";
    no_thread_of_a_runtime_closes_a_socket needs "strace";
}

/// Runs a part under strace and gives its lines: the thread's number, the call.
fn traced(part: &str, calls: &str) -> (String, Vec<(u32, String)>) {
    let directory = std::env::temp_dir().join(format!("fast-afpacket-{part}-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let log = directory.join("trace");
    let output = Command::new("strace")
        .args(["-f", "-e", &format!("trace={calls}"), "-o"])
        .arg(&log)
        .arg(std::env::current_exe().unwrap())
        .env("FAST_AFPACKET_CHILD", part)
        // Built with AddressSanitizer: what is traced cannot look for leaks in the end.
        .env("ASAN_OPTIONS", "detect_leaks=0")
        .output()
        .unwrap();
    let trace = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = trace.lines().filter_map(|line| {
        let (thread, call) = line.split_once(' ')?;
        Some((thread.parse().ok()?, call.trim().to_owned()))
    });
    (String::from_utf8(output.stdout).unwrap(), lines.collect())
}

/// Each of these would spin if it were woken by what it does not wait for.
fn waiting_tasks_try_a_few_times() {
    let (_, lines) = traced("tasks_wait", "getppid,sendto,recvmsg,epoll_wait");
    let thread = lines.iter().find(|(_, call)| call.starts_with("getppid")).unwrap().0;
    let calls: Vec<_> = lines.iter().filter(|line| line.0 == thread).map(|(_, call)| call.as_str()).collect();
    // Each wait stands between two marks.
    let parts: Vec<_> = calls.split(|call| call.starts_with("getppid")).skip(1).step_by(2).collect();
    assert_eq!(parts.len(), 6, "{calls:#?}");
    let count = |part: usize, call: &str| parts[part].iter().filter(|line| line.starts_with(call)).count();
    let shown = |part: usize| format!("{:#?}", parts[part]);
    // Each with two kinds of sockets. A sender that waits for room while a stamp is unread: it tries, and once more because
    // the state of the socket, as it is when somebody begins to watch it, is an edge.
    for part in [0, 1] {
        assert!((1..=2).contains(&count(part, "sendto")), "{}", shown(part));
    }
    // A receiver that waits while a stamp is unread: each of two stamps may have woken it.
    for part in [2, 3] {
        assert!(count(part, "recvmsg") <= 3, "{}", shown(part));
    }
    // A receiver and a stamp reader that wait while the link is down: each looks after it every 50 ms, here for 400 ms.
    for part in [4, 5] {
        assert!(count(part, "recvmsg") <= 4, "{}", shown(part));
        assert!((4..=24).contains(&count(part, "epoll_wait")), "{}", shown(part));
    }
}

/// Closing a packet socket takes as long as the kernel needs to be sure that no processor uses it: the thread waits.
fn no_thread_of_a_runtime_closes_a_socket() {
    let (said, lines) = traced("tasks_close", "getppid,close");
    let mut words = said.split_whitespace();
    let thread: u32 = words.next().unwrap().parse().unwrap();
    let sockets: Vec<u32> = words.map(|word| word.parse().unwrap()).collect();
    assert_eq!(sockets.len(), 10, "{said}");
    let begin = lines.iter().position(|(_, call)| call.starts_with("getppid")).unwrap();
    let lines = &lines[begin..];
    assert_eq!(lines[0].0, thread);
    for socket in sockets {
        let [whole, unfinished] = [format!("close({socket})"), format!("close({socket} ")];
        let closes = |call: &str| call.starts_with(&whole) || call.starts_with(&unfinished);
        // Later ones are of other files that had the number then.
        let first = lines.iter().find(|(_, call)| closes(call)).expect("it is closed");
        assert_ne!(first.0, thread, "{} by a thread of the runtime: {lines:#?}", first.1);
    }
    // That the others are closed by this one, in no time, shows that it is this thread's number.
    assert!(lines.iter().any(|line| line.0 == thread));
}

/// Plays such a part.
pub(crate) fn play(part: &str) -> bool {
    let part = match part {
        "tasks_wait" => wait_marked,
        "tasks_close" => close_everywhere,
        _ => return false,
    };
    lab::enter().unwrap();
    lab::in_this_thread(part);
    true
}

fn mark() {
    nix::unistd::getppid();
}

fn wait_marked() {
    let runtime = current_thread();
    let cable = Cable::new();
    for dual in [false, true] {
        let socket = stuck(&cable, dual, true);
        runtime.block_on(async {
            let socket = AsyncPacketSocket::new(socket).unwrap();
            let outgoing = frame(1);
            mark();
            tokio::select! {
                result = socket.send(&outgoing) => panic!("it was sent: {result:?}"),
                () = sleep(millis(300)) => {}
            }
            mark();
        });
    }
    tc("qdisc del dev va root");
    drop(runtime);
    wait_for_frames(&cable);
    wait_for_a_link();
}

fn wait_for_frames(cable: &Cable) {
    let runtime = current_thread();
    for dual in [false, true] {
        runtime.block_on(async {
            let socket = open(options().dual(dual), &cable.a);
            let mut buf = [0; 64];
            mark();
            tokio::select! {
                biased;
                result = socket.recv(&mut buf) => panic!("there is none: {result:?}"),
                () = async {
                    yield_now().await;
                    socket.send_keyed(&frame(1), TxKey::new(1)).await.unwrap();
                    sleep(millis(300)).await;
                } => {}
            }
            mark();
        });
    }
}

fn wait_for_a_link() {
    for dual in [false, true] {
        let cable = Cable::named("vc", "vd");
        let runtime = current_thread();
        runtime.block_on(async {
            let socket = open(options().dual(dual), &cable.a);
            ip("link set vc down");
            socket.recv(&mut [0; 64]).await.unwrap_err();
            let mut buf = [0; 64];
            mark();
            tokio::select! {
                result = socket.recv(&mut buf) => panic!("it is down: {result:?}"),
                result = socket.recv_tx(&mut []) => panic!("it is down: {result:?}"),
                () = sleep(millis(400)) => {}
            }
            mark();
        });
        ip("link del vc");
    }
}

/// Prints the thread's number, and those of the descriptors that are to be closed elsewhere.
fn close_everywhere() {
    let cable = Cable::new();
    let mut closed_elsewhere = Vec::new();
    let mut open = |dual: bool| {
        let socket = bind(options().dual(dual), &cable.a);
        closed_elsewhere.push(socket.as_fd().as_raw_fd());
        if dual {
            closed_elsewhere.push(socket.tx_fd().as_raw_fd());
        }
        socket
    };
    // All are open at once, so that no number is used twice.
    let sockets = [open(false), open(true), open(false), open(true), open(false), open(true), open(true)];
    let [one, two, three, four, five, six, kept] = sockets;
    let ring = options().rx_ring(&cable.a, RingShape::throughput().blocks(4)).unwrap();
    closed_elsewhere.push(ring.as_fd().as_raw_fd());
    mark();
    let runtime = current_thread();
    let (outside, ring) = runtime.block_on(async {
        let wrap = |socket| AsyncPacketSocket::new(socket).unwrap();
        // In a task, unused and used.
        drop(wrap(one));
        let used = wrap(two);
        let mut buf = [0; 64];
        tokio::select! {
            _ = used.recv(&mut buf) => {}
            _ = used.recv_tx(&mut []) => {}
            () = sleep(millis(10)) => {}
        }
        drop(used);
        // With the task that waits, when it is aborted, and at the end of the runtime.
        let task = tokio::spawn(waiting(wrap(three)));
        yield_now().await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        tokio::spawn(waiting(wrap(four)));
        yield_now().await;
        let mut ring = AsyncRxRing::new(ring).unwrap();
        tokio::select! {
            _ = ring.next_block() => {}
            () = sleep(millis(10)) => {}
        }
        (wrap(five), ring)
    });
    let after = runtime.block_on(async { AsyncPacketSocket::new(six).unwrap() });
    drop(runtime);
    // After its end.
    drop((outside, after, ring));
    // The threads that close have done so when the kernel has forgotten their sockets; this one it has not.
    let kept_open = 2;
    lab::eventually("all are closed", || {
        let packet = std::fs::read_to_string("/proc/thread-self/net/packet").unwrap();
        packet.lines().count() - 1 == kept_open
    });
    // A thread that is about to end is not to be seen as one that holds on to something.
    thread::sleep(millis(20));
    let kept_numbers = [kept.as_fd().as_raw_fd(), kept.tx_fd().as_raw_fd()];
    closed_elsewhere.retain(|number| !kept_numbers.contains(number));
    print!("{}", nix::unistd::gettid());
    closed_elsewhere.iter().for_each(|number| print!(" {number}"));
    println!();
    // As the control: a blocking socket is closed where it is dropped.
    drop(kept);
}

async fn waiting(socket: AsyncPacketSocket) {
    let _ = socket.recv(&mut [0; 64]).await;
}
