//! Filters in the kernel: attached, replaced, locked, and the same verdict as the interpreter's.

use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fast_afpacket::{EtherType, Filter, Instruction};

use crate::lab::{self, Cable, bind, drain, frame, number_in, options};
use crate::random_programs::{self, Random};

crate::tests! {
    replacing_drains_what_the_old_one_let_in;
    replacing_under_a_flood_leaves_no_old_frame;
    a_refused_filter_leaves_the_old_one;
    a_locked_filter_stays;
    an_ebpf_program_filters;
    typed_filters_in_the_kernel;
    tcpdumps_own_program_is_taken needs "tcpdump";
    the_kernel_accepts_what_we_accept;
    the_kernel_keeps_what_we_keep;
}

/// Lets in frames whose number is at most, or at least, this.
fn numbers(at_least: bool, bound: u32) -> Filter {
    const LOAD_NUMBER: Instruction = Instruction::new(0x20, 0, 0, 14);
    let compare = Instruction::new(0x35, u8::from(!at_least), u8::from(at_least), bound);
    let (keep, refuse) = (Instruction::new(0x06, 0, 0, u32::MAX), Instruction::new(0x06, 0, 0, 0));
    Filter::new([LOAD_NUMBER, compare, keep, refuse]).unwrap()
}

fn replacing_drains_what_the_old_one_let_in() {
    let cable = Cable::new();
    let sender = bind(options(), &cable.a);
    let receiver = bind(options().filter(&numbers(false, 100)), &cable.b);
    let send = |range: std::ops::Range<u32>| range.for_each(|number| assert!(sender.send(&frame(number)).is_ok()));
    let received = || drain(&receiver).iter().map(|frame| number_in(frame)).collect::<Vec<_>>();
    send(95..105);
    assert_eq!(received(), (95..100).collect::<Vec<_>>());
    send(95..105);
    receiver.set_filter(&numbers(true, 100)).unwrap();
    send(95..105);
    assert_eq!(received(), (100..105).collect::<Vec<_>>(), "nothing that the old filter let in");
    assert_eq!(receiver.stats().unwrap().discarded, 5);
    receiver.clear_filter().unwrap();
    receiver.clear_filter().unwrap();
    send(95..105);
    assert_eq!(received(), (95..105).collect::<Vec<_>>());
}

fn replacing_under_a_flood_leaves_no_old_frame() {
    let cable = Cable::new();
    let receiver = bind(options().filter(&numbers(false, 100)), &cable.b);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let sender = bind(options(), &cable.a);
            for i in 0..10_000_000_u32 {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                sender.send(&frame(i % 200)).unwrap();
            }
        });
        let mut buf = [0; 64];
        for round in 0..200 {
            let at_least = round % 2 == 0;
            receiver.set_filter(&numbers(at_least, 100)).unwrap();
            for _ in 0..10 {
                receiver.recv(&mut buf).unwrap();
                assert_eq!(number_in(&buf) >= 100, at_least, "a frame of the filter before");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

fn a_refused_filter_leaves_the_old_one() {
    let cable = Cable::new();
    let sender = bind(options(), &cable.a);
    let receiver = bind(options().filter(&numbers(false, 100)), &cable.b);
    sender.send(&frame(1)).unwrap();
    // Within the limit on instructions, beyond the one on memory (net.core.optmem_max).
    let mut long = vec![Instruction::new(0x04, 0, 0, 1); 4095];
    long.push(Instruction::new(0x06, 0, 0, u32::MAX));
    if let Err(error) = receiver.set_filter(&Filter::new(long).unwrap()) {
        assert_eq!(error.raw_os_error(), Some(libc::ENOMEM), "{error}");
        assert!(error.to_string().contains("net.core.optmem_max"), "{error}");
        sender.send(&frame(2)).unwrap();
        sender.send(&frame(100)).unwrap();
        let received: Vec<_> = drain(&receiver).iter().map(|frame| number_in(frame)).collect();
        assert_eq!(received, [1, 2], "untouched, and nothing was thrown away");
    }
}

fn a_locked_filter_stays() {
    let cable = Cable::new();
    let receiver = bind(options().filter(&Filter::nothing()), &cable.b);
    receiver.lock_filter().unwrap();
    let refusals = [receiver.set_filter(&numbers(true, 0)), receiver.clear_filter()];
    for refusal in refusals {
        let error = refusal.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        assert!(error.to_string().contains("locked"), "{error}");
    }
    bind(options(), &cable.a).send(&frame(1)).unwrap();
    assert_eq!(drain(&receiver).len(), 0);
}

/// `bpf(BPF_PROG_LOAD)` of a socket filter with always the same answer. Needs more than a user namespace has.
pub(crate) fn ebpf_program(answer: u32) -> Option<OwnedFd> {
    #[repr(C)]
    #[derive(Default)]
    struct Attributes {
        program_type: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log: [u32; 2],
        log_buffer: u64,
        rest: [u64; 8],
    }
    // r0 = answer; exit
    let instructions = [0xb7 | u64::from(answer) << 32, 0x95];
    let attributes = Attributes {
        program_type: 1,
        count: 2,
        instructions: instructions.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
        ..Attributes::default()
    };
    const BPF_PROG_LOAD: libc::c_long = 5;
    let size = size_of::<Attributes>();
    // SAFETY: the attributes and what they point to live until the call returns.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &attributes, size) };
    // SAFETY: the call returned a new descriptor.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn an_ebpf_program_filters() {
    use std::os::fd::AsFd;
    let cable = Cable::new();
    let (sender, receiver) = (bind(options(), &cable.a), bind(options(), &cable.b));
    let not_a_program = std::fs::File::open("/dev/null").unwrap();
    let error = receiver.attach_bpf(not_a_program.as_fd()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{error}");
    let (Some(nothing), Some(everything)) = (ebpf_program(0), ebpf_program(u32::MAX)) else {
        eprintln!("this process may not load eBPF programs: only their refusal was tested");
        return;
    };
    sender.send(&frame(1)).unwrap();
    receiver.attach_bpf(nothing.as_fd()).unwrap();
    drop(nothing);
    sender.send(&frame(2)).unwrap();
    assert_eq!(drain(&receiver).len(), 0);
    receiver.attach_bpf(everything.as_fd()).unwrap();
    sender.send(&frame(3)).unwrap();
    assert_eq!(drain(&receiver).iter().map(|frame| number_in(frame)).collect::<Vec<_>>(), [3]);
}

fn typed_filters_in_the_kernel() {
    use std::net::UdpSocket;
    let elsewhere = lab::Namespace::new();
    let cable = Cable::new();
    lab::ip(&format!("link set vb netns {}", elsewhere.path()));
    for address in ["192.0.2.1/24", "2001:db8::1/64 nodad"] {
        lab::ip(&format!("addr add {address} dev va"));
    }
    elsewhere.run(|| {
        lab::link_up(&["vb"]);
        for address in ["192.0.2.2/24", "2001:db8::2/64 nodad"] {
            lab::ip(&format!("addr add {address} dev vb"));
        }
    });
    let open = |cooked: bool, filter: &Filter| {
        let protocol = if cooked { EtherType::IPV4 } else { EtherType::ALL };
        elsewhere.run(|| {
            let vb = fast_afpacket::Interface::by_name("vb").unwrap();
            bind(options().protocol(protocol).cooked(cooked).filter(filter), &vb)
        })
    };
    let exact = Filter::udp_dst(61000).source_ports(60000..=60005).address([192, 0, 2, 2].into()).filter();
    let sockets = [open(false, &exact), open(true, &exact), open(false, &Filter::udp_dst(61000).filter())];
    let send = |from: &str, to: &str| assert_eq!(UdpSocket::bind(from).unwrap().send_to(b"probe", to).unwrap(), 5);
    send("192.0.2.1:60000", "192.0.2.2:61000");
    send("192.0.2.1:60005", "192.0.2.2:61000");
    send("192.0.2.1:60006", "192.0.2.2:61000");
    send("192.0.2.1:60001", "192.0.2.2:61001");
    send("[2001:db8::1]:60001", "[2001:db8::2]:61000");
    assert_eq!(sockets.each_ref().map(|socket| drain(socket).len()), [2, 2, 4]);
    let arp = open(false, &Filter::ether_type(EtherType::ARP));
    lab::ip("neigh flush dev va");
    send("192.0.2.1:60000", "192.0.2.2:61000");
    let mut buf = [0; 64];
    arp.recv(&mut buf).unwrap();
    assert_eq!(buf[12..14], [0x08, 0x06]);
    drop(cable);
}

fn tcpdumps_own_program_is_taken() {
    let cable = Cable::new();
    let expression = "ether proto 0x88b5 and ether[14:4] >= 50";
    let program = std::process::Command::new("tcpdump").args(["-ddd", "-i", "va", expression]).output().unwrap();
    let filter = Filter::parse_ddd(&String::from_utf8(program.stdout).unwrap()).unwrap();
    let (sender, receiver) = (bind(options(), &cable.a), bind(options().filter(&filter), &cable.b));
    for number in 0..100 {
        sender.send(&frame(number)).unwrap();
        assert_eq!(filter.matches(&frame(number)), number >= 50);
    }
    assert_eq!(drain(&receiver).len(), 50);
}

/// Asks the kernel whether it takes a program, without traffic: `None`, or the errno.
fn refusal_by_the_kernel(socket: &socket2::Socket, program: &[Instruction]) -> Option<i32> {
    let raw = |&Instruction { code, jt, jf, k }: &Instruction| socket2::SockFilter::new(code, jt, jf, k);
    let program: Vec<_> = program.iter().map(raw).collect();
    socket.attach_filter(&program).err().map(|error| error.raw_os_error().unwrap())
}

fn the_kernel_accepts_what_we_accept() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    let mut random = Random::new(7);
    let programs = random_programs::every_opcode().map(Vec::from);
    let programs = programs.chain((0..50_000).map(|_| random_programs::program(&mut random)));
    let (mut accepted, mut refused) = (0, 0);
    for program in programs {
        let ours = Filter::new(program.clone());
        match refusal_by_the_kernel(&socket, &program) {
            // A program that is right may still be too long for the memory that it may take.
            None | Some(libc::ENOMEM) => {
                ours.unwrap_or_else(|error| panic!("{error}: {program:?}"));
                accepted += 1;
            }
            Some(errno) => {
                assert_eq!(errno, libc::EINVAL);
                assert!(ours.is_err(), "{program:?}");
                refused += 1;
            }
        }
    }
    eprintln!("{accepted} programs accepted, {refused} refused, by both");
    assert!(accepted > 10_000 && refused > 10_000, "a test of both");
}

fn the_kernel_keeps_what_we_keep() {
    let cable = Cable::new();
    lab::ip("link set va mtu 9200");
    lab::ip("link set vb mtu 9200");
    let all = || options().protocol(EtherType::ALL);
    // Bound first, a tap is served last: what it has seen, the other has been offered.
    let witness = bind(all(), &cable.b);
    let (sender, receiver) = (bind(options(), &cable.a), bind(all(), &cable.b));
    receiver.set_nonblocking(true);
    let (mut random, mut buf) = (Random::new(11), vec![0; 10_000]);
    let (mut whole, mut cut, mut refused) = (0, 0, 0);
    // To put another filter in place takes ten milliseconds. The fuzz target `filter_kernel` tries hundreds of thousands.
    for round in 0..1000 {
        let random = &mut random;
        let filter =
            if round % 10 == 0 { random_programs::typed_filter(random) } else { random_programs::filter(random) };
        if receiver.set_filter(&filter).is_err() {
            continue; // too long: the test above tells apart why
        }
        for _ in 0..10 {
            let frame = random_programs::frame(random);
            sender.send(&frame).unwrap();
            witness.recv(&mut buf).unwrap();
            let kept = receiver.recv(&mut buf).ok().map(|meta| meta.len);
            assert_eq!(kept, random_programs::captured(&filter, &frame), "{filter}\n{frame:x?}");
            match kept {
                None => refused += 1,
                Some(len) if len == frame.len() => whole += 1,
                Some(_) => cut += 1,
            }
        }
    }
    eprintln!("{whole} frames kept whole, {cut} cut, {refused} refused, by both");
    assert!(whole > 1000 && cut > 1000 && refused > 1000, "a test of all three");
}
