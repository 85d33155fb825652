//! Fanout: which member gets a frame in each mode, and that each frame is got once.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use fast_afpacket::{
    EtherType, FanoutGroup, FanoutMode, FanoutRefusal, Filter, Instruction, Interface, PacketSocket, RolloverStats,
    Step,
};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::filters::ebpf_program;
use crate::lab::{self, Cable, MAC_A, MAC_B, bind, drain, frame, number_in, options};

crate::tests! {
    hash_keeps_a_flow_together;
    round_robin_is_equal;
    cpu_is_where_the_frame_arrived;
    rollover_fills_one_after_the_other;
    rollover_takes_what_has_no_room;
    random_reaches_all;
    queue_mapping_goes_by_the_queue;
    a_classic_program_decides;
    an_ebpf_program_decides;
    fragments_are_put_together;
    each_frame_once_under_a_flood;
    none_twice_while_members_come_and_go;
}

pub(crate) fn members<const N: usize>(group: &FanoutGroup, interface: &Interface) -> [PacketSocket; N] {
    std::array::from_fn(|_| bind(options().fanout(group), interface))
}

pub(crate) fn numbers(socket: &PacketSocket) -> Vec<u32> {
    drain(socket).iter().map(|frame| number_in(frame)).collect()
}

pub(crate) fn send(sender: &PacketSocket, range: std::ops::Range<u32>) {
    range.for_each(|number| assert!(sender.send(&frame(number)).is_ok()));
}

/// An empty UDP datagram from one port to the other, or back.
fn datagram([from, to]: [u16; 2], back: bool) -> Vec<u8> {
    let (mut addresses, mut ports) = ([[192, 0, 2, 1], [192, 0, 2, 2]], [from, to]);
    if back {
        addresses.reverse();
        ports.reverse();
    }
    let mut datagram = [&MAC_B[..], &MAC_A, &[0x08, 0]].concat();
    datagram.extend([0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0]);
    datagram.extend(addresses.concat());
    datagram.extend(ports.map(u16::to_be_bytes).concat());
    datagram.extend([0, 8, 0, 0]);
    datagram
}

fn hash_keeps_a_flow_together() {
    const FLOWS: u16 = 64;
    let cable = Cable::new();
    let group = FanoutGroup::new(FanoutMode::Hash);
    let sockets: [PacketSocket; 2] =
        [(); 2].map(|()| bind(options().protocol(EtherType::IPV4).fanout(&group), &cable.b));
    let sender = bind(options(), &cable.a);
    // Few enough for the buffer of one.
    for round in 0..4 {
        for flow in 0..FLOWS {
            sender.send(&datagram([1000 + flow, 2000], round % 2 == 1)).unwrap();
        }
    }
    let mut owners = HashMap::<u16, usize>::new();
    let mut received = 0;
    for (member, socket) in sockets.iter().enumerate() {
        for frame in drain(socket) {
            let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
            let flow = port(34).min(port(36));
            assert_eq!(*owners.entry(flow).or_insert(member), member, "flow {flow} went to both, by direction perhaps");
            received += 1;
        }
    }
    assert_eq!((received, owners.len()), (4 * usize::from(FLOWS), usize::from(FLOWS)));
    let first = owners.values().filter(|&&owner| owner == 0).count();
    assert!(first > 0 && first < owners.len(), "all flows went to one member");
}

fn round_robin_is_equal() {
    let cable = Cable::new();
    let sockets = members::<4>(&FanoutGroup::new(FanoutMode::RoundRobin), &cable.b);
    send(&bind(options(), &cable.a), 0..400);
    let mut all: Vec<_> = sockets.iter().map(numbers).inspect(|own| assert_eq!(own.len(), 100)).collect();
    all.sort();
    for (at, own) in all.iter().enumerate() {
        assert!(own.iter().zip(0..).all(|(&number, round)| number == 4 * round + at as u32), "in turn: {own:?}");
    }
}

/// A veth hands a frame over on the processor that sends it.
fn cpu_is_where_the_frame_arrived() {
    let cable = Cable::new();
    let sockets = members::<2>(&FanoutGroup::new(FanoutMode::Cpu), &cable.b);
    let sender = bind(options(), &cable.a);
    let this_thread = Pid::from_raw(0);
    let allowed = sched_getaffinity(this_thread).unwrap();
    let processors: Vec<_> = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).unwrap()).collect();
    for &cpu in &processors {
        let mut only = CpuSet::new();
        only.set(cpu).unwrap();
        sched_setaffinity(this_thread, &only).unwrap();
        send(&sender, 0..50);
        assert_eq!(drain(&sockets[cpu % 2]).len(), 50, "processor {cpu}");
        assert_eq!(drain(&sockets[1 - cpu % 2]).len(), 0, "processor {cpu}");
    }
    eprintln!("processors: {processors:?}");
}

fn rollover_fills_one_after_the_other() {
    const FRAMES: u32 = 2000;
    let cable = Cable::new();
    let sockets = members::<3>(&FanoutGroup::new(FanoutMode::Rollover), &cable.b);
    let sender = bind(options(), &cable.a);
    send(&sender, 0..100);
    let counts = || sockets.each_ref().map(|socket| socket.stats().unwrap().received);
    assert_eq!(counts(), [100, 0, 0], "one has room for all");
    send(&sender, 100..FRAMES);
    let stats = sockets.each_ref().map(|socket| socket.stats().unwrap());
    assert_eq!(stats.iter().map(|stats| stats.received + stats.dropped).sum::<u64>(), u64::from(FRAMES));
    assert!(stats[0].dropped > 0 && stats[1].dropped + stats[2].dropped == 0, "none has room: it is the first one's");
    let rollover = sockets[0].rollover_stats().unwrap();
    assert_eq!(rollover.rolled + rollover.failed, u64::from(FRAMES), "{rollover:?}");
    assert_eq!(sockets[1].rollover_stats().unwrap(), RolloverStats::default());
    let received = sockets.each_ref().map(numbers);
    assert!(received[1].len() > 50 && received[2].len() > 50, "{:?}", received.each_ref().map(Vec::len));
    assert!(received[1].last() < received[2].first(), "the next only when this one is full");
    // Once there is room again it goes on.
    send(&sender, 0..100);
    assert_eq!(sockets.iter().map(|socket| drain(socket).len()).sum::<usize>(), 100);
}

fn rollover_takes_what_has_no_room() {
    const FRAMES: u32 = 300;
    let cable = Cable::new();
    let group = FanoutGroup::new(FanoutMode::RoundRobin).rollover(true);
    let small = bind(options().fanout(&group).receive_buffer(10_000), &cable.b);
    let large = bind(options().fanout(&group).receive_buffer(200_000), &cable.b);
    send(&bind(options(), &cable.a), 0..FRAMES);
    let (few, many) = (numbers(&small), numbers(&large));
    assert_eq!(few.len() + many.len(), FRAMES as usize, "nothing was dropped");
    assert!(few.len() < 50, "{}", few.len());
    let rollover = small.rollover_stats().unwrap();
    assert_eq!(rollover.rolled as usize, FRAMES as usize / 2 - few.len(), "its share less what it had room for");
    assert_eq!((rollover.failed, large.rollover_stats().unwrap().rolled), (0, 0));
    let alone = bind(options(), &cable.b);
    let error = alone.rollover_stats().unwrap_err();
    assert_eq!((error.step(), error.raw_os_error()), (Step::Statistics, Some(libc::EINVAL)));
    assert!(error.to_string().contains("in no fanout group that rolls over"), "{error}");
}

fn random_reaches_all() {
    let cable = Cable::new();
    let sockets = members::<2>(&FanoutGroup::new(FanoutMode::Random), &cable.b);
    send(&bind(options(), &cable.a), 0..200);
    let received = sockets.each_ref().map(numbers);
    assert!(received.iter().all(|own| !own.is_empty()), "once in 2^199");
    let mut all = received.concat();
    all.sort();
    assert_eq!(all, (0..200).collect::<Vec<_>>());
}

/// Two taps that ask the kernel for the queue say what the group should do.
fn queue_mapping_goes_by_the_queue() {
    lab::ip(
        "link add va numtxqueues 2 numrxqueues 2 address 02:00:00:00:00:0a type veth \
             peer name vb numtxqueues 2 numrxqueues 2 address 02:00:00:00:00:0b",
    );
    lab::link_up(&["va", "vb"]);
    let vb = Interface::by_name("vb").unwrap();
    let ipv4 = || options().protocol(EtherType::IPV4);
    let group = FanoutGroup::new(FanoutMode::QueueMapping);
    let sockets: [PacketSocket; 2] = [(); 2].map(|()| bind(ipv4().fanout(&group), &vb));
    // ld #queue; and #1; jeq #remainder, keep, refuse
    let tap = |remainder| {
        let program = [(0x20, 0, 0, 0xffff_f018), (0x54, 0, 0, 1), (0x15, 0, 1, remainder), (0x06, 0, 0, u32::MAX)];
        let refuse = [(0x06, 0, 0, 0)];
        let program = program.iter().chain(&refuse).map(|&(code, jt, jf, k)| Instruction::new(code, jt, jf, k));
        bind(ipv4().filter(&Filter::new(program.collect::<Vec<_>>()).unwrap()), &vb)
    };
    let taps = [tap(0), tap(1)];
    let sender = bind(options(), &Interface::by_name("va").unwrap());
    for flow in 0..64 {
        sender.send(&datagram([1000 + flow, 2000], false)).unwrap();
    }
    let (by_queue, by_group) = (taps.each_ref().map(drain), sockets.each_ref().map(drain));
    assert_eq!(by_queue.concat().len(), 64);
    assert_eq!(by_group, by_queue);
    eprintln!("frames by queue: {:?}", by_queue.map(|frames| frames.len()));
}

/// The last byte of the number, which is the fourth behind the Ethernet header, and something on top.
fn by_number(more: u32) -> Filter {
    let program = [(0x30, 0, 0, 3), (0x04, 0, 0, more), (0x16, 0, 0, 0)];
    Filter::new(program.map(|(code, jt, jf, k)| Instruction::new(code, jt, jf, k))).unwrap()
}

fn a_classic_program_decides() {
    let cable = Cable::new();
    let group = FanoutGroup::new(FanoutMode::Program);
    let sender = bind(options(), &cable.a);
    {
        let sockets = members::<3>(&group, &cable.b);
        send(&sender, 0..9);
        assert_eq!(sockets.each_ref().map(|socket| numbers(socket).len()), [9, 0, 0], "no program: member 0");
        for more in 0..3 {
            group.set_program(&by_number(more)).unwrap();
            send(&sender, 0..9);
            for (member, socket) in (0..).zip(&sockets) {
                let expected: Vec<u32> = (0..9).filter(|number| (number + more) % 3 == member).collect();
                assert_eq!(numbers(socket), expected, "member {member}, {more} added");
            }
        }
    }
    // The kernel's group is gone, the value and its program are not.
    let sockets = members::<2>(&group, &cable.b);
    send(&sender, 0..4);
    assert_eq!(sockets.each_ref().map(numbers), [[0, 2], [1, 3]], "the last program added 2");
    let hash = FanoutGroup::new(FanoutMode::Hash);
    let error = hash.set_program(&by_number(0)).unwrap_err();
    assert_eq!((error.step(), error.fanout_refusal()), (Step::FanoutProgram, Some(FanoutRefusal::NotSteered)));
    assert!(error.to_string().contains("classic programs steer groups of mode Program"), "{error}");
    // Any member whose filter is not locked will do, and none else.
    sockets[0].lock_filter().unwrap();
    group.set_program(&by_number(1)).unwrap();
    sockets[1].lock_filter().unwrap();
    let error = group.set_program(&by_number(0)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    assert!(error.to_string().contains("vb") && error.to_string().contains("locked"), "{error}");
    send(&sender, 0..4);
    assert_eq!(sockets.each_ref().map(numbers), [[1, 3], [0, 2]], "the program before");
}

fn an_ebpf_program_decides() {
    let cable = Cable::new();
    let group = FanoutGroup::new(FanoutMode::Ebpf);
    let sender = bind(options(), &cable.a);
    let not_a_program = std::fs::File::open("/dev/null").unwrap();
    let sockets = members::<3>(&group, &cable.b);
    let error = group.set_program_bpf(not_a_program.as_fd()).unwrap_err();
    assert_eq!((error.step(), error.raw_os_error()), (Step::FanoutProgram, Some(libc::EINVAL)), "{error}");
    assert_eq!(error.fanout_refusal(), Some(FanoutRefusal::Other(libc::EINVAL)));
    let error = group.set_program(&by_number(0)).unwrap_err();
    assert_eq!(error.fanout_refusal(), Some(FanoutRefusal::NotSteered), "{error}");
    let Some(program) = ebpf_program(4) else {
        eprintln!("this process may not load eBPF programs: only their refusal was tested");
        return;
    };
    send(&sender, 0..5);
    assert_eq!(sockets.each_ref().map(|socket| numbers(socket).len()), [5, 0, 0]);
    group.set_program_bpf(program.as_fd()).unwrap();
    drop(program);
    send(&sender, 0..5);
    assert_eq!(sockets.each_ref().map(|socket| numbers(socket).len()), [0, 5, 0], "4 modulo 3");
    drop(sockets);
    let sockets = members::<3>(&group, &cable.b);
    send(&sender, 0..5);
    assert_eq!(sockets.each_ref().map(|socket| numbers(socket).len()), [0, 5, 0], "the program of before");
}

fn fragments_are_put_together() {
    let cable = Cable::new();
    let ipv4 = || options().protocol(EtherType::IPV4);
    let whole = bind(ipv4().fanout(&FanoutGroup::new(FanoutMode::Hash).defragment(true)), &cable.b);
    let parts = bind(ipv4().fanout(&FanoutGroup::new(FanoutMode::Hash)), &cable.b);
    let sender = bind(options(), &cable.a);
    // 16 bytes of payload, the UDP header in the first half; more fragments, then offset 1 (times eight).
    for (fragment, payload) in [([0x20, 0], [0x03, 0xe8, 0x07, 0xd0, 0, 16, 0, 0]), ([0, 1], [7; 8])] {
        let mut header = vec![0x45, 0, 0, 28, 0, 1, fragment[0], fragment[1], 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        let words = header.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
        let sum = words.sum::<u32>();
        header[10..12].copy_from_slice(&(!(sum + (sum >> 16)) as u16).to_be_bytes());
        sender.send(&[&MAC_B[..], &MAC_A, &[0x08, 0], &header, &payload].concat()).unwrap();
    }
    assert_eq!(drain(&parts).iter().map(Vec::len).collect::<Vec<_>>(), [42, 42]);
    let whole = drain(&whole);
    assert_eq!(whole.iter().map(Vec::len).collect::<Vec<_>>(), [50]);
    assert!(whole[0].ends_with(&[7; 8]));
}

fn each_frame_once_under_a_flood() {
    const FRAMES: u32 = 100_000;
    let cable = Cable::new();
    for mode in [FanoutMode::RoundRobin, FanoutMode::Random, FanoutMode::Cpu, FanoutMode::Rollover] {
        let sockets = members::<3>(&FanoutGroup::new(mode), &cable.b);
        let mut seen = vec![false; FRAMES as usize];
        let mut take = |socket: &PacketSocket| {
            for number in numbers(socket) {
                assert!(!std::mem::replace(&mut seen[number as usize], true), "{number} twice, {mode:?}");
            }
        };
        thread::scope(|scope| {
            let flood = scope.spawn(|| send(&bind(options(), &cable.a), 0..FRAMES));
            while !flood.is_finished() {
                sockets.iter().for_each(&mut take);
            }
        });
        sockets.iter().for_each(&mut take);
        let received = seen.iter().filter(|seen| **seen).count() as u64;
        let stats = sockets.each_ref().map(|socket| socket.stats().unwrap());
        assert_eq!(stats.iter().map(|stats| stats.received).sum::<u64>(), received);
        assert_eq!(stats.iter().map(|stats| stats.dropped).sum::<u64>() + received, u64::from(FRAMES), "{mode:?}");
    }
}

/// A socket that is bound and not yet a member would see what the members see. That some frames are lost is the kernel's
/// way and is only told, since how many is chance.
fn none_twice_while_members_come_and_go() {
    const JOINS: usize = 30;
    let cable = Cable::new();
    let group = FanoutGroup::new(FanoutMode::RoundRobin);
    let stop = AtomicBool::new(false);
    let sent = AtomicU64::new(0);
    let stays = bind(options().fanout(&group).receive_buffer(4_000_000), &cable.b);
    let mut seen = Vec::new();
    let (mut came, mut unread) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let sender = bind(options(), &cable.a);
            // Bounded, whatever becomes of the receivers.
            for number in 0..20_000_000 {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                sender.send(&frame(number)).unwrap();
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..JOINS {
            let joins = bind(options().fanout(&group).receive_buffer(4_000_000), &cable.b);
            let mut buf = [0; 64];
            for _ in 0..20 {
                joins.recv(&mut buf).unwrap();
                seen.push(number_in(&buf));
                came += 1;
            }
            let stats = joins.stats().unwrap();
            unread += stats.received + stats.dropped - 20;
            drop(joins);
            seen.extend(numbers(&stays));
        }
        stop.store(true, Ordering::Relaxed);
    });
    seen.extend(numbers(&stays));
    let stats = stays.stats().unwrap();
    let received = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), received, "a frame was received twice");
    let sent = sent.into_inner();
    let known = received as u64 + stats.dropped + unread;
    assert!(known <= sent, "{known} of {sent}");
    eprintln!(
        "{JOINS} joins under {sent} frames: {came} read by those who joined, {} dropped for want of room, {unread} unread \
         when they left, {} lost around joining and leaving",
        stats.dropped,
        sent - known
    );
}
