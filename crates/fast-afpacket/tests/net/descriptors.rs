//! Sockets that somebody else opened: what is fit, what is not, and a program without capabilities that uses them.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use fast_afpacket::{
    DescriptorRefusal, Error, EtherType, FanoutGroup, FanoutMode, Filter, Instruction, Interface, Netns, Options,
    PacketSocket, Refusal, RingShape, Step, Timestamping, TxKey, TxStage,
};
use socket2::{Domain, SockFilter, SockRef, Socket, Type};

use crate::lab::{self, Cable, Namespace, PROTOCOL, bind, drain, eventually, frame, number_in, options, within};
use crate::refusals;
use crate::seccomp::without_any;

#[path = "../../examples/open_helper.rs"]
pub(crate) mod open_helper;
#[path = "../../examples/without_privileges.rs"]
pub(crate) mod without_privileges;

crate::tests! {
    given_sockets_do_what_new_ones_do;
    what_is_not_fit_is_said;
    nothing_that_came_before_is_received;
    what_a_helper_switched_on_does_not_confuse;
    a_helper_may_lock_its_filter;
    sockets_of_another_namespace;
    a_helper_opens_for_a_program_without_capabilities needs "setpriv";
}

/// As a helper opens it.
fn opened(kind: Type) -> OwnedFd {
    Socket::new(Domain::PACKET, kind, None).unwrap().into()
}

fn raw() -> OwnedFd {
    opened(Type::RAW)
}

fn given_sockets_do_what_new_ones_do() {
    let cable = Cable::new();
    let all = || options().timestamping(Timestamping::all());
    let sender = bind(options(), &cable.b);
    let mut fds = vec![raw(), raw(), raw(), raw(), raw()];
    let cooked_fd = opened(Type::DGRAM);
    let mut next = || fds.pop().unwrap();
    without_any(|| {
        let one = bind_given(all(), next(), &cable.a);
        let dual = all().bind_fds(next(), next(), &cable.a).unwrap();
        let cooked = bind_given(all().cooked(true), cooked_fd, &cable.a);
        let mut ring = all().rx_ring_fd(next(), &cable.a, RingShape::latency()).unwrap();
        let mut tx = all().tx_ring_fd(next(), &cable.a, RingShape::transmit()).unwrap();
        dual.set_deadline(within(lab::millis(20_000)));
        ring.set_read_deadline(within(lab::millis(20_000)));
        assert_eq!(options().bind(&cable.b).unwrap_err().missing_capability(), Some("CAP_NET_RAW"), "by itself");
        for (socket, key) in [(&one, 1), (&dual, 2)] {
            socket.send_keyed(&frame(key), TxKey::new(key)).unwrap();
            for _ in 0..2 {
                let report = socket.recv_tx(&mut []).unwrap();
                assert_eq!(report.key, TxKey::new(key));
                assert!(report.timestamps.software.is_some());
            }
        }
        tx.push(&frame(3)).unwrap();
        tx.flush().unwrap();
        sender.send(&frame(4)).unwrap();
        let mut buf = [0; 64];
        for socket in [&one, &dual] {
            socket.recv(&mut buf).unwrap();
            assert_eq!(number_in(&buf), 4);
        }
        assert_eq!(cooked.recv(&mut buf).unwrap().len, 46, "without the header");
        assert_eq!(number_in(ring.next_frame().unwrap().frame().data()), 4);
    });
    // The sender is one that receives too: it has seen what was sent.
    assert_eq!(drain(&sender).iter().map(|frame| number_in(frame)).collect::<Vec<_>>(), [1, 2, 3]);
}

fn what_is_not_fit_is_said() {
    let cable = Cable::new();
    let refused = |fd: OwnedFd| options().bind_fd(fd, &cable.a).unwrap_err();
    let expect = |error: Error, why: DescriptorRefusal, part: &str| {
        let errno = if why == DescriptorRefusal::NotASocket { libc::ENOTSOCK } else { 0 };
        refusals::expect(&error, Step::Descriptor, errno, Refusal::Descriptor(why), part);
        assert!(error.to_string().contains("use this descriptor for va"), "{error}");
    };
    let before = lab::leftovers();
    expect(refused(File::open("/dev/null").unwrap().into()), DescriptorRefusal::NotASocket, "socket");
    expect(
        refused(Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap().into()),
        DescriptorRefusal::NotPacket,
        "AF_PACKET",
    );
    expect(
        refused(Socket::new(Domain::UNIX, Type::STREAM, None).unwrap().into()),
        DescriptorRefusal::NotPacket,
        "family",
    );
    expect(refused(opened(Type::DGRAM)), DescriptorRefusal::WrongType, "Options::cooked");
    let error = options().cooked(true).bind_fd(raw(), &cable.a).unwrap_err();
    expect(error, DescriptorRefusal::WrongType, "Options::cooked");
    let listening = Socket::new(Domain::PACKET, Type::RAW, Some(i32::from(PROTOCOL.value().to_be()).into())).unwrap();
    expect(refused(listening.into()), DescriptorRefusal::InUse, "protocol 0");
    let bound = bind(options(), &cable.b);
    expect(refused(bound.as_fd().try_clone_to_owned().unwrap()), DescriptorRefusal::InUse, "protocol 0");
    let ring = raw();
    // struct tpacket_req: 4,096 bytes in one block, two frames.
    let request = [4096_u32, 1, 2048, 2];
    set(&ring, libc::SOL_PACKET, libc::PACKET_RX_RING, &request);
    expect(refused(ring), DescriptorRefusal::HasRing, "ring");
    let one = raw();
    let error = options().bind_fds(one.try_clone().unwrap(), one, &cable.a).unwrap_err();
    expect(error, DescriptorRefusal::SameSocket, "two");
    let error = options().dual(true).bind_fd(raw(), &cable.a).unwrap_err();
    assert_eq!((error.step(), error.refusal()), (Step::Options, Refusal::InvalidOptions));
    assert!(error.to_string().contains("bind_fds"), "{error}");
    drop(bound);
    let after = lab::leftovers();
    assert_eq!((after.0.len(), after.2), (before.0.len(), before.2), "refused descriptors are closed");
}

fn set<T>(fd: &OwnedFd, level: i32, option: i32, value: &T) {
    let pointer: *const T = value;
    let len = libc::socklen_t::try_from(size_of::<T>()).unwrap();
    // SAFETY: the pointer is to a live value of this length, which the kernel reads.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, pointer.cast(), len) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn nothing_that_came_before_is_received() {
    let (cable, other) = (Cable::new(), Cable::named("xa", "xb"));
    let (sender, foreign) = (bind(options(), &cable.a), bind(options(), &other.a));
    let fd = raw();
    sender.send(&frame(1)).unwrap();
    foreign.send(&frame(2)).unwrap();
    // ld [14]; and #1; jeq #0: ret #0; ret #-1
    let odd = [(0x20, 0, 14), (0x54, 0, 1), (0x15, 1, 0), (0x06, 0, 0), (0x06, 0, u32::MAX)];
    let odd = Filter::new(odd.map(|(code, jf, k)| Instruction::new(code, 0, jf, k))).unwrap();
    let socket = options().filter(&odd).bind_fd(fd, &cable.b).unwrap();
    for number in 3..8 {
        sender.send(&frame(number)).unwrap();
        foreign.send(&frame(number + 100)).unwrap();
    }
    assert_eq!(drain(&socket).iter().map(|frame| number_in(frame)).collect::<Vec<_>>(), [3, 5, 7]);
    let member = options().fanout(&FanoutGroup::new(FanoutMode::Hash)).bind_fd(raw(), &cable.b).unwrap();
    sender.send(&frame(9)).unwrap();
    assert_eq!(drain(&member).len(), 1);
}

/// Sends as a helper could, on a socket that is not bound.
fn send_unbound(fd: &OwnedFd, interface: &Interface, bytes: &[u8]) {
    let family = libc::sa_family_t::try_from(libc::AF_PACKET).unwrap();
    let (sll_ifindex, nothing) = (interface.index().cast_signed(), [0; 8]);
    let address = libc::sockaddr_ll {
        sll_family: family,
        sll_protocol: 0,
        sll_ifindex,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: nothing,
    };
    let pointer: *const libc::sockaddr_ll = &address;
    let len = libc::socklen_t::try_from(size_of_val(&address)).unwrap();
    // SAFETY: both pointers are to live memory of these lengths, which the kernel reads.
    let sent = unsafe { libc::sendto(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0, pointer.cast(), len) };
    assert_eq!(sent, bytes.len().cast_signed(), "{}", std::io::Error::last_os_error());
}

fn bind_given(options: Options, fd: OwnedFd, interface: &Interface) -> PacketSocket {
    let socket = options.bind_fd(fd, interface).unwrap();
    socket.set_deadline(within(lab::millis(20_000)));
    socket
}

fn what_a_helper_switched_on_does_not_confuse() {
    let cable = Cable::new();
    let fd = raw();
    for option in [
        libc::PACKET_VNET_HDR,
        libc::PACKET_ORIGDEV,
        libc::PACKET_LOSS,
        libc::PACKET_QDISC_BYPASS,
        libc::PACKET_IGNORE_OUTGOING,
    ] {
        set(&fd, libc::SOL_PACKET, option, &1);
    }
    set(&fd, libc::SOL_PACKET, libc::PACKET_VERSION, &2);
    set(&fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1);
    // The kernel counts frames from here on, and this one's stamp waits to be read.
    let flags = libc::SOF_TIMESTAMPING_OPT_ID | libc::SOF_TIMESTAMPING_TX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
    set(&fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, &flags);
    send_unbound(&fd, &cable.a, &[&[0; 10], &frame(99)[..]].concat());
    SockRef::from(&fd).set_recv_buffer_size(100_000).unwrap();
    let peer = bind(options(), &cable.b);
    let socket = bind_given(options().protocol(EtherType::ALL).count_keys(true), fd, &cable.a);
    assert_eq!(socket.granted().receive_buffer, 100_000, "what the helper decided stays");
    for key in 0..3 {
        socket.send_keyed(&frame(key), TxKey::new(key)).unwrap();
        for stage in [TxStage::Scheduled, TxStage::Sent] {
            let report = socket.recv_tx(&mut []).unwrap();
            assert_eq!((report.key, report.stage), (TxKey::new(key), stage), "the queueing discipline is there again");
        }
    }
    assert_eq!(drain(&peer), [frame(0), frame(1), frame(2)], "no header before the frame");
    peer.send(&frame(5)).unwrap();
    assert_eq!(drain(&socket), [frame(5)]);
    bind(options(), &cable.a).send(&frame(6)).unwrap();
    assert_eq!(drain(&socket), [frame(6)], "what others send here is received, as the options say");
}

fn a_helper_may_lock_its_filter() {
    let cable = Cable::new();
    let sender = bind(options(), &cable.a);
    let fd = raw();
    let socket = SockRef::from(&fd);
    socket.attach_filter(&[SockFilter::new(0x06, 0, 0, 0)]).unwrap();
    set(&fd, libc::SOL_SOCKET, libc::SO_LOCK_FILTER, &1);
    let again = fd.try_clone().unwrap();
    let error = options().filter(&Filter::nothing()).bind_fd(again, &cable.b).unwrap_err();
    assert_eq!((error.step(), error.refusal()), (Step::Filter, Refusal::FilterLocked), "{error}");
    let socket = options().bind_fd(fd, &cable.b).unwrap();
    sender.send(&frame(1)).unwrap();
    assert_eq!(drain(&socket).len(), 0);
    assert_eq!(socket.clear_filter().unwrap_err().refusal(), Refusal::FilterLocked);
}

fn sockets_of_another_namespace() {
    let cable = Cable::new();
    let there = Namespace::new();
    let _ = there.run(Cable::new);
    let blue = Netns::by_path(there.path()).unwrap();
    let error = options().bind_fd(there.run(raw), &cable.a).unwrap_err();
    assert_eq!((error.step(), error.refusal()), (Step::Options, Refusal::OtherNamespace), "{error}");
    let a = blue.interface("va").unwrap();
    let error = options().bind_fd(raw(), &a).unwrap_err();
    assert_eq!((error.step(), error.refusal()), (Step::Options, Refusal::OtherNamespace), "{error}");
    // Who cannot enter finds the interface through the socket.
    let fd = there.run(raw);
    let through = Interface::by_name_through(&fd, "va").unwrap();
    assert_eq!(through, a);
    let peer = bind(options(), &blue.interface("vb").unwrap());
    let socket = without_any(|| bind_given(options(), fd, &through));
    socket.send_keyed(&frame(1), TxKey::new(1)).unwrap();
    assert_eq!(socket.recv_tx(&mut []).unwrap().key, TxKey::new(1));
    assert_eq!(drain(&peer), [frame(1)]);
    let error = through.mtu().unwrap_err();
    assert_eq!((error.step(), error.refusal()), (Step::Interface, Refusal::OtherNamespace), "{error}");
    let error = Interface::by_name_through(File::open("/dev/null").unwrap(), "va").unwrap_err();
    assert_eq!((error.step(), error.raw_os_error()), (Step::Interface, Some(libc::ENOTTY)), "{error}");
    // Nor has anybody to enter for a socket that is there.
    let fd = there.run(raw);
    let socket = without_any(|| options().netns(&blue).bind_fd(fd, &a).unwrap());
    assert_eq!(socket.interface().mtu().unwrap(), 1500);
}

/// Has this program play the part of another; see [`crate::path::be_traced_if_asked`].
const ROLE: &str = "FAST_AFPACKET_CHILD";

/// Ends the helper also when the test panics.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn a_helper_opens_for_a_program_without_capabilities() {
    let cable = Cable::new();
    let directory = std::env::temp_dir().join(format!("fast-afpacket-helper-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let path = directory.join("open.sock");
    let this = std::env::current_exe().unwrap();
    let helper = Command::new(&this).arg(&path).env(ROLE, "open_helper").spawn().unwrap();
    let helper = Killed(helper);
    eventually("the helper listens", || Path::new(&path).exists());
    // Stamps of received frames are there once they are for anybody.
    let (sender, peer) = (bind(options(), &cable.a), bind(options(), &cable.b));
    let mut buf = [0; 2048];
    eventually("frames are stamped", || {
        sender.send(&frame(0)).unwrap();
        peer.recv(&mut buf).unwrap().timestamps.software.is_some()
    });
    drop(sender);
    let client = Command::new("setpriv")
        .args(["--bounding-set", "-all", "--inh-caps", "-all", "--no-new-privs"])
        .args([&*this, &*path, Path::new("va")])
        .env(ROLE, "without_privileges")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let meta = peer.recv(&mut buf).unwrap();
    assert!(meta.timestamps.software.is_some());
    assert_eq!((meta.len, &buf[..6]), (60, &[0xff; 6][..]));
    peer.send(&frame(77)).unwrap();
    let output = client.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let lines: Vec<_> = text.lines().collect();
    let [rights, left, arrived] = lines[..] else { panic!("{text}") };
    assert_eq!(rights, "CapEff: 0");
    for (line, part) in [(left, "frame 7 left: "), (arrived, "60 bytes from 02:00:00:00:00:0a arrived: ")] {
        assert!(line.starts_with(part) && line.contains("software: Some("), "{text}");
    }
    drop(helper);
    std::fs::remove_dir_all(&directory).unwrap();
}

/// The part of [`without_privileges`], and what it could not do by itself.
pub(crate) fn play_client() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
    println!("CapEff: {}", u64::from_str_radix(effective, 16).unwrap());
    let error = PacketSocket::bind(&Interface::by_name("va").unwrap()).unwrap_err();
    assert_eq!((error.missing_capability(), error.kind()), (Some("CAP_NET_RAW"), ErrorKind::PermissionDenied));
    without_privileges::main().unwrap();
}
