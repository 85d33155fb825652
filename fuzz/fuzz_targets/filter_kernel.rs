//! Any instructions as a filter, and the kernel's opinion: it accepts the same programs, and keeps as many bytes of the
//! same frame.
//!
//! The process moves into a network namespace of its own, as root or inside a user namespace, and sends itself the frame
//! over its loopback interface.
#![no_main]

use std::cell::OnceCell;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, io};

use fast_afpacket::{Filter, Instruction, Interface, PacketSocket, Timestamping};
use fast_afpacket_fuzz::program;
use libfuzzer_sys::fuzz_target;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getgid, getuid};
use socket2::{SockFilter, SockRef};

/// A program that keeps every rule may still be too long to attach; of this length none is.
const LONGEST: usize = 400;

const ANCILLARY: u32 = 0xffff_f000;
/// The ancillary data that the bytes decide, or that are the same for every such frame: protocol, mark, xor x, and the
/// three of the VLAN tag.
const STEADY: [u32; 6] = [0, 20, 40, 44, 48, 60];

struct Lab {
    sender: PacketSocket,
    filtered: PacketSocket,
    /// Gets each frame after `filtered`: the kernel asks the newest socket first.
    all: PacketSocket,
}

impl Lab {
    fn new() -> Self {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip of iproute2");
        assert!(up.success());
        let lo = Interface::by_name("lo").unwrap();
        let options = || PacketSocket::options().timestamping(Timestamping::empty()).ignore_outgoing(true);
        let all = options().bind(&lo).unwrap();
        let filtered = options().bind(&lo).unwrap();
        let sender = options().filter(&Filter::nothing()).bind(&lo).unwrap();
        filtered.set_nonblocking(true);
        Self { sender, filtered, all }
    }

    /// How many bytes of the frame pass the filter that is attached.
    fn kept(&self, frame: &[u8], buf: &mut [u8]) -> Option<usize> {
        self.sender.send(frame).unwrap();
        self.all.set_read_deadline(Some(Instant::now() + Duration::from_secs(10)));
        assert_eq!(self.all.recv(buf).unwrap().len, frame.len());
        match self.filtered.recv(buf) {
            Ok(meta) => Some(meta.len),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }
}

/// As root, or as an ordinary user who is root in a user namespace. A process with several threads could not.
fn enter_namespace() {
    if unshare(CloneFlags::CLONE_NEWNET).is_ok() {
        return;
    }
    let (uid, gid) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).expect("root, or the right to make user namespaces");
    fs::write("/proc/self/setgroups", "deny").unwrap();
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).unwrap();
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).unwrap();
}

thread_local! {
    static LAB: OnceCell<Lab> = const { OnceCell::new() };
}

fn is_steady(instruction: &Instruction) -> bool {
    let &Instruction { code, k, .. } = instruction;
    let is_load = matches!(code, 0x20 | 0x28 | 0x30);
    !is_load || k < ANCILLARY || STEADY.contains(&(k - ANCILLARY))
}

/// A frame that loopback carries as it is: with a whole header, and without a VLAN tag, which the kernel would take out.
fn ethernet(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame.resize(frame.len().clamp(14, 1514), 0);
    if matches!(frame[12..14], [0x81, 0x00] | [0x88, 0xa8]) {
        frame[12] = 0x08;
    }
    frame
}

fuzz_target!(init: enter_namespace(), |input: &[u8]| {
    let (frame, instructions) = program::read(input);
    if instructions.is_empty() || instructions.len() > LONGEST {
        return;
    }
    let raw = |&Instruction { code, jt, jf, k }: &Instruction| SockFilter::new(code, jt, jf, k);
    let raw: Vec<_> = instructions.iter().map(raw).collect();
    let is_steady = instructions.iter().all(is_steady);
    let filter = Filter::new(instructions);
    LAB.with(|lab| {
        let lab = lab.get_or_init(Lab::new);
        match (SockRef::from(&lab.filtered).attach_filter(&raw), &filter) {
            (Ok(()), Ok(filter)) if is_steady => {
                let frame = ethernet(frame);
                let expected = match filter.run(&frame) {
                    0 => None,
                    kept => Some(frame.len().min(kept as usize)),
                };
                assert_eq!(lab.kept(&frame, &mut [0; 2048]), expected, "{filter}");
            }
            (Ok(()), Ok(_)) => {}
            (Err(error), Err(_)) if error.raw_os_error() == Some(22) => {} // EINVAL
            (kernel, filter) => panic!("the kernel says {kernel:?}, the library {filter:?}"),
        }
    });
});
