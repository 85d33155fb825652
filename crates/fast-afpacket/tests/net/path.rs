//! What the data path costs: no allocation, and one system call for a frame that is there, or comes soon.

use std::process::Command;
use std::thread;

use fast_afpacket::{
    Interface, MacAddr, PacketAddr, PacketSocket, RecvBatch, RingShape, TxFrame, TxKey, TxReportBatch,
};

use crate::alloc;
use crate::descriptors;
use crate::lab::{self, Cable, PROTOCOL, bind, frame, millis, options, within};

crate::tests! {
    the_data_path_allocates_nothing;
    one_system_call_for_each_frame needs "strace";
}

fn the_data_path_allocates_nothing() {
    let cable = Cable::new();
    for (dual, count_keys) in [(false, false), (true, false), (true, true)] {
        let socket = bind(options().dual(dual).count_keys(count_keys), &cable.a);
        let peer = bind(options(), &cable.b);
        let (outgoing, mut buf) = (frame(1), [0; 2048]);
        let round = |buf: &mut [u8]| {
            socket.send(&outgoing).unwrap();
            socket.send_to(&outgoing, &PacketAddr::new(MacAddr::BROADCAST, PROTOCOL)).unwrap();
            socket.send_keyed(&outgoing, TxKey::new(1)).unwrap();
            socket.recv_tx(&mut []).unwrap();
            socket.recv_tx(&mut []).unwrap();
            for _ in 0..3 {
                peer.recv(buf).unwrap();
            }
            // Refusals and time-outs are ordinary events too.
            socket.send(&buf[..13]).unwrap_err();
            socket.set_deadline(within(millis(1)));
            socket.recv(buf).unwrap_err();
            socket.recv_tx(buf).unwrap_err();
            socket.set_deadline(within(millis(20_000)));
        };
        // A wait makes what it needs once and keeps it.
        round(&mut buf);
        let allocations = alloc::count(|| (0..100).for_each(|_| round(&mut buf)));
        assert_eq!(allocations, 0, "dual={dual} count_keys={count_keys}");
    }
    assert_eq!(alloc::count(|| drop(std::hint::black_box(Box::new(1)))), 1, "the counter counts");
}

/// The test program starts itself under strace; see [`be_traced_if_asked`].
fn one_system_call_for_each_frame() {
    let directory = std::env::temp_dir().join(format!("fast-afpacket-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let log = directory.join("trace");
    let output = Command::new("strace")
        .arg("-o")
        .arg(&log)
        .arg(std::env::current_exe().unwrap())
        .env("FAST_AFPACKET_CHILD", "receive")
        // Built with AddressSanitizer: what is traced cannot look for leaks in the end.
        .env("ASAN_OPTIONS", "detect_leaks=0")
        .output()
        .unwrap();
    let trace = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let marks: Vec<_> = trace.lines().map(|line| line.split('(').next().unwrap()).collect();
    // Between two calls that nothing else makes: a hundred frames, then as many stamps, then both in batches, then frames
    // that have to be waited for, then, behind what makes a ring, its
    // blocks that have to be.
    let parts: Vec<_> = marks.split(|call| *call == "getppid").collect();
    assert_eq!(parts.len(), 8, "{trace}");
    assert_eq!(parts[1], ["recvmsg"; 100]);
    assert_eq!(parts[2], [["sendmsg"; 1], ["recvmsg"; 1], ["recvmsg"; 1]].concat().repeat(100));
    // Where the kernel takes no keys, each frame that has one is sent by itself.
    let sends = if lab::kernel_is_before((6, 13)) { &["sendmsg"; 50][..] } else { &["sendmmsg"] };
    assert_eq!(parts[3], [sends, &["recvmmsg"; 2]].concat().repeat(10));
    // Without naps a poll for each. With them, for those alone that were late for some milliseconds.
    let polls = parts[4].iter().filter(|call| **call == "ppoll").count();
    assert!(polls < 40, "{polls} of 50 frames were polled for: {:?}", parts[4]);
    assert!((1..=10).contains(&parts[6].len()) && parts[6].iter().all(|call| *call == "ppoll"), "{:?}", parts[6]);
}

/// Plays the part of another process, if the environment says so.
pub(crate) fn be_traced_if_asked() {
    match std::env::var("FAST_AFPACKET_CHILD").as_deref() {
        Ok("open") => {
            let lo = Interface::by_name("lo").unwrap();
            println!("{}", PacketSocket::bind(&lo).unwrap_err());
        }
        Ok("receive") => receive_marked(),
        Ok("open_helper") => descriptors::open_helper::main().unwrap(),
        Ok("without_privileges") => descriptors::play_client(),
        Ok(part) if crate::asynch_traced::play(part) || crate::examples::play(part) => {}
        _ => return,
    }
    std::process::exit(0);
}

fn receive_marked() {
    lab::enter().unwrap();
    lab::in_this_thread(|| {
        let cable = Cable::new();
        let (sender, receiver) = (bind(options(), &cable.a), bind(options(), &cable.b));
        for number in 0..100 {
            sender.send(&frame(number)).unwrap();
        }
        let (mut buf, outgoing) = ([0; 2048], frame(1));
        let (mut batch, mut stamps) = (RecvBatch::new(50, 64), TxReportBatch::new(100));
        nix::unistd::getppid();
        for _ in 0..100 {
            receiver.recv(&mut buf).unwrap();
        }
        nix::unistd::getppid();
        for number in 0..100 {
            sender.send_keyed(&outgoing, TxKey::new(number)).unwrap();
            sender.recv_tx(&mut []).unwrap();
            sender.recv_tx(&mut []).unwrap();
        }
        nix::unistd::getppid();
        for _ in 0..10 {
            sender.send_batch(&[TxFrame::new(&outgoing).key(TxKey::new(1)); 50]).unwrap();
            assert_eq!(receiver.recv_batch(&mut batch).unwrap(), 50);
            assert_eq!(sender.recv_tx_batch(&mut stamps).unwrap(), 100);
        }
        nix::unistd::getppid();
        thread::scope(|scope| {
            let (sender, outgoing) = (&sender, &outgoing);
            scope.spawn(move || {
                for _ in 0..50 {
                    thread::sleep(millis(1));
                    sender.send(outgoing).unwrap();
                }
            });
            for _ in 0..50 {
                receiver.recv(&mut buf).unwrap();
            }
        });
        nix::unistd::getppid();
        wait_for_blocks(&cable);
    });
}

/// Between the marks: one at least, and one for each of ten frames at most.
fn wait_for_blocks(cable: &Cable) {
    let sender = bind(options(), &cable.a);
    let mut ring = options().rx_ring(&cable.b, RingShape::throughput()).unwrap();
    let mut received = 0;
    let mut receive_until = |frames| {
        while received < frames {
            received += ring.next_block().unwrap().len();
        }
    };
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            for number in 0..11 {
                thread::sleep(millis(20));
                sender.send(&frame(number)).unwrap();
            }
        });
        // A wait makes what it needs once and keeps it.
        receive_until(1);
        nix::unistd::getppid();
        receive_until(11);
        nix::unistd::getppid();
        sending.join().unwrap();
    });
}
