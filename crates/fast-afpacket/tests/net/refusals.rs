//! What fails how: each row of the table in `src/privileges.md`, with a real lack or one that a seccomp filter plays.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::process::Command;

use fast_afpacket::{
    ConfigureNic, Error, FanoutGroup, FanoutMode, FanoutRefusal, Filter, Hwtstamp, Instruction, Interface, LaunchClock,
    MacAddr, Netns, NicRefusal, PacketSocket, Phc, Refusal, RingShape, RxFilter, Step, TxMode,
};
use nix::errno::Errno;

use crate::lab::{Cable, Namespace, bind, frame, ip, link_up, options};
use crate::seccomp::{CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN, Refused, refusing, without, without_any};

crate::tests! {
    a_capability_is_missing;
    a_capability_over_other_networks needs "unshare";
    without_the_right_to_administer;
    a_security_policy_refuses;
    interfaces_that_are_not_there;
    namespaces_that_are_not_there_or_closed;
    links_of_another_kind;
    filters_that_are_not_taken;
    rings_that_are_too_large;
    groups_and_cards_that_others_use;
    clocks_that_are_not_there_or_closed;
    what_the_kernel_lacks;
    an_interface_that_is_down;
}

const GROUP: MacAddr = MacAddr::new([0x01, 0x80, 0xc2, 0, 0, 0x0e]);
const EVENTS: Hwtstamp = Hwtstamp::new(TxMode::ON, RxFilter::PTP_V2_EVENT);

/// Holds an error, its message, and the table of the documentation against what it has to be.
#[track_caller]
pub(crate) fn expect(error: &Error, step: Step, errno: i32, refusal: Refusal, remedy: &str) {
    assert_eq!((error.step(), error.refusal()), (step, refusal), "{error}");
    assert_eq!(error.raw_os_error(), (errno != 0).then_some(errno), "{error}");
    assert!(error.to_string().contains(remedy), "{remedy:?} is not in: {error}");
    let errno = if errno == 0 { "none".to_owned() } else { format!("`{:?}`", Errno::from_raw(errno)) };
    let row = format!("| `{step:?}` | {errno} | `{refusal:?}` |");
    assert!(include_str!("../../src/privileges.md").contains(&row), "not in the table: {row}");
}

fn lo() -> Interface {
    Interface::by_name("lo").unwrap()
}

/// `socket(AF_PACKET, …)` fails with this errno.
const fn no_packet_sockets(errno: i32) -> Refused<'static> {
    const PACKET: [(usize, u32); 1] = [(0, libc::AF_PACKET.cast_unsigned())];
    Refused { call: libc::SYS_socket, arguments: &PACKET, errno }
}

/// `setsockopt(2)` with this level and option fails with this errno.
fn refusing_option<T: Send>(level: i32, option: i32, errno: i32, work: impl FnOnce() -> T + Send) -> T {
    let arguments = [(1, level.cast_unsigned()), (2, option.cast_unsigned())];
    refusing(&Refused { call: libc::SYS_setsockopt, arguments: &arguments, errno }, work)
}

fn a_capability_is_missing() {
    let raw = Refusal::CapabilityMissing("CAP_NET_RAW");
    let attempts = || {
        [
            options().bind(&lo()).unwrap_err(),
            options().rx_ring(&lo(), RingShape::latency()).unwrap_err(),
            options().tx_ring(&lo(), RingShape::transmit()).unwrap_err(),
        ]
    };
    for error in without(&[CAP_NET_RAW], attempts) {
        expect(&error, Step::Open, libc::EPERM, raw, "`setcap cap_net_raw+ep PROGRAM`");
        assert_eq!((error.missing_capability(), error.kind()), (Some("CAP_NET_RAW"), ErrorKind::PermissionDenied));
    }
    // The same of a thread that has none at all.
    let error = without_any(|| options().bind(&lo()).unwrap_err());
    assert_eq!(error.refusal(), raw);
    // And it is enough for nearly everything.
    let cable = Cable::new();
    without(&[CAP_NET_ADMIN, CAP_SYS_ADMIN], || {
        let socket = bind(options().promiscuous(true).priority(7).mark(1).qdisc_bypass(true), &cable.a);
        socket.set_filter(&Filter::nothing()).unwrap();
        options()
            .fanout(&FanoutGroup::new(FanoutMode::Hash))
            .rx_ring(&cable.b, RingShape::throughput().blocks(2))
            .unwrap();
        options().launch_clock(LaunchClock::Monotonic).bind(&cable.a).unwrap();
    });
}

/// A process has all capabilities, in a user namespace that does not own the network.
fn a_capability_over_other_networks() {
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user"])
        .arg(std::env::current_exe().unwrap())
        .env("FAST_AFPACKET_CHILD", "open")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    for part in ["CAP_NET_RAW is missing", "this user namespace does not own the network namespace", "--net"] {
        assert!(text.contains(part), "{text} {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn without_the_right_to_administer() {
    let cable = Cable::new();
    let admin = Refusal::CapabilityMissing("CAP_NET_ADMIN");
    let tai = || options().launch_clock(LaunchClock::Tai).bind(&cable.a);
    let error = without(&[CAP_NET_ADMIN], || tai().unwrap_err());
    expect(&error, Step::LaunchClock, libc::EPERM, admin, "cap_net_admin+ep PROGRAM");
    tai().unwrap();
    // A card that tells its setting, nothing at all, before anybody asks for the right to change it.
    let tells = Refused { call: libc::SYS_ioctl, arguments: &[(1, SIOCGHWTSTAMP)], errno: 0 };
    let required = || options().configure_nic(ConfigureNic::Required(EVENTS)).bind(&cable.a).unwrap_err();
    let error = without(&[CAP_NET_ADMIN], || refusing(&tells, required));
    expect(&error, Step::Nic, libc::EPERM, admin, "cap_net_admin+ep PROGRAM");
    assert_eq!(error.nic_refusal(), Some(NicRefusal::NotPermitted));
    // Not an error: as much as may be, and it is said how much.
    let limit: usize =
        std::fs::read_to_string("/proc/sys/net/core/rmem_max").map_or(4_194_304, |text| text.trim().parse().unwrap());
    let granted = without(&[CAP_NET_ADMIN], || options().receive_buffer(1 << 30).bind(&cable.a).unwrap().granted());
    assert_eq!(granted.receive_buffer, limit);
}

/// linux/sockios.h
const SIOCGHWTSTAMP: u32 = 0x89b1;

fn a_security_policy_refuses() {
    let cable = Cable::new();
    for errno in [libc::EPERM, libc::EACCES] {
        let error = refusing(&no_packet_sockets(errno), || options().bind(&cable.a).unwrap_err());
        expect(&error, Step::Open, errno, Refusal::SecurityPolicy, "a seccomp filter or security module refuses it");
        assert_eq!(error.missing_capability(), None);
    }
    // For want of the capability it would fail anyway: that comes first.
    let both = || refusing(&no_packet_sockets(libc::EPERM), || options().bind(&cable.a).unwrap_err());
    assert_eq!(without(&[CAP_NET_RAW], both).missing_capability(), Some("CAP_NET_RAW"));
    let open = || options().bind(&cable.a).unwrap_err();
    let error = refusing_option(libc::SOL_SOCKET, libc::SO_TIMESTAMPING, libc::EPERM, open);
    expect(&error, Step::Timestamping, libc::EPERM, Refusal::SecurityPolicy, "a seccomp filter or security module");
    let error = refusing(&Refused { call: libc::SYS_bind, arguments: &[], errno: libc::EACCES }, open);
    assert_eq!((error.step(), error.refusal()), (Step::Bind, Refusal::SecurityPolicy), "{error}");
    // The thread that enters a namespace inherits what its caller may not do.
    let there = Namespace::new();
    let netns = Netns::by_path(there.path()).unwrap();
    let error =
        refusing(&no_packet_sockets(libc::EPERM), || options().bind(&netns.interface("lo").unwrap()).unwrap_err());
    assert_eq!((error.step(), error.refusal()), (Step::Open, Refusal::SecurityPolicy), "{error}");
    let error = refusing(&no_packet_sockets(libc::EMFILE), open);
    expect(&error, Step::Open, libc::EMFILE, Refusal::TooManyFiles, "ulimit -n");
}

fn interfaces_that_are_not_there() {
    let error = Interface::by_name("eth77").unwrap_err();
    expect(&error, Step::Interface, libc::ENODEV, Refusal::NoSuchInterface, "\"eth77\"");
    let error = Interface::by_name("a-name-of-sixteen").unwrap_err();
    expect(&error, Step::Interface, libc::ENODEV, Refusal::InvalidName, "1 to 15 bytes");
    let cable = Cable::new();
    let there = Namespace::new();
    let netns = Netns::by_path(there.path()).unwrap();
    let error = options().netns(&netns).bind(&cable.a).unwrap_err();
    expect(&error, Step::Options, 0, Refusal::OtherNamespace, "another network namespace");
    ip("link del va");
    let error = options().bind(&cable.a).unwrap_err();
    expect(&error, Step::Bind, libc::ENODEV, Refusal::NoSuchInterface, "the interface is gone");
}

fn namespaces_that_are_not_there_or_closed() {
    let error = Netns::by_name("no-such-name").unwrap_err();
    expect(&error, Step::Netns, libc::ENOENT, Refusal::NoSuchNamespace, "`ip netns list`");
    let error = Netns::by_path("/proc/self/status").unwrap_err();
    expect(&error, Step::Netns, libc::EINVAL, Refusal::NotANamespace, "no network namespace");
    let there = Namespace::new();
    let netns = Netns::by_path(there.path()).unwrap();
    let lo = netns.interface("lo").unwrap();
    let errors = without(&[CAP_SYS_ADMIN], || {
        // What is asked goes through a socket that is there; to open takes entering.
        assert_eq!(lo.mtu().unwrap(), 65_536);
        [Netns::by_path(there.path()).unwrap_err(), netns.run(|| ()).unwrap_err(), options().bind(&lo).unwrap_err()]
    });
    for error in errors {
        let missing = Refusal::CapabilityMissing("CAP_SYS_ADMIN");
        expect(&error, Step::Netns, libc::EPERM, missing, "the user namespace that owns this network namespace");
    }
    // The namespace that one is in takes no right.
    without(&[CAP_SYS_ADMIN], || drop(Netns::current().unwrap().interfaces().unwrap()));
    let unreadable = Refused { call: libc::SYS_openat, arguments: &[], errno: libc::EACCES };
    let error = refusing(&unreadable, || Netns::by_pid(1).unwrap_err());
    expect(&error, Step::Netns, libc::EACCES, Refusal::FilePermission, "CAP_SYS_PTRACE");
}

fn links_of_another_kind() {
    if let Err(error) = std::fs::File::options().write(true).open("/dev/net/tun") {
        eprintln!("without a tunnel, which this user may not make: /dev/net/tun: {error}");
        return;
    }
    ip("tuntap add dev tun0 mode tun");
    let tunnel = Interface::by_name("tun0").unwrap();
    let error = options().multicast(GROUP).bind(&tunnel).unwrap_err();
    expect(&error, Step::Membership, libc::EINVAL, Refusal::WrongLinkType, "not 6 bytes long");
    // These have no address, and so work on any link.
    options().promiscuous(true).all_multicast(true).bind(&tunnel).unwrap();
    options().promiscuous(true).all_multicast(true).rx_ring(&tunnel, RingShape::latency()).unwrap();
}

fn filters_that_are_not_taken() {
    // One that is none does not come as far as the kernel.
    let error = Filter::new([Instruction::new(0x04, 0, 0, 1)]).unwrap_err();
    assert_eq!(error.instruction(), Some(0), "{error}");
    let cable = Cable::new();
    let mut long = vec![Instruction::new(0x04, 0, 0, 1); 4095];
    long.push(Instruction::new(0x06, 0, 0, u32::MAX));
    let long = Filter::new(long).unwrap();
    let too_large = |error: Error| {
        expect(&error, Step::Filter, libc::ENOMEM, Refusal::FilterTooLarge, "raise net.core.optmem_max");
    };
    // How much that is, is the machine's to say.
    let _ = options().filter(&long).bind(&cable.a).map_err(too_large);
    let attach = || options().filter(&Filter::nothing()).bind(&cable.a).unwrap_err();
    too_large(refusing_option(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, libc::ENOMEM, attach));
    // Nobody has locked the filter of a new socket.
    let error = refusing_option(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, libc::EPERM, attach);
    assert_eq!((error.step(), error.refusal()), (Step::Filter, Refusal::SecurityPolicy), "{error}");
    let socket = bind(options(), &cable.a);
    let other = |errno| {
        let attach_bpf = || socket.attach_bpf(socket.as_fd()).unwrap_err();
        refusing_option(libc::SOL_SOCKET, libc::SO_ATTACH_BPF, errno, attach_bpf)
    };
    expect(&other(libc::EINVAL), Step::Filter, libc::EINVAL, Refusal::InvalidFilter, "BPF_PROG_TYPE_SOCKET_FILTER");
    socket.lock_filter().unwrap();
    let error = socket.set_filter(&Filter::nothing()).unwrap_err();
    expect(&error, Step::Filter, libc::EPERM, Refusal::FilterLocked, "the filter is locked");
}

fn rings_that_are_too_large() {
    let cable = Cable::new();
    let error = options().rx_ring(&cable.a, RingShape::throughput().blocks(1 << 31)).unwrap_err();
    expect(&error, Step::Ring, libc::ENOMEM, Refusal::RingTooLarge, "ask for fewer or smaller blocks");
    let error = options().rx_ring(&cable.a, RingShape::throughput().block_size(100_000)).unwrap_err();
    expect(&error, Step::Options, 0, Refusal::InvalidOptions, "the nearest is 98304");
}

fn groups_and_cards_that_others_use() {
    let cable = Cable::new();
    let with = |mode| options().fanout(&FanoutGroup::new(mode).with_id(7)).bind(&cable.a);
    let _first = with(FanoutMode::Hash).unwrap();
    let error = with(FanoutMode::RoundRobin).unwrap_err();
    let taken = Refusal::Fanout(FanoutRefusal::IdTaken);
    expect(&error, Step::Fanout, libc::EINVAL, taken, "the id is that of a group with another mode");
    let required = || options().configure_nic(ConfigureNic::Required(EVENTS)).bind(&cable.a).unwrap_err();
    let error = required();
    let unsupported = Refusal::Nic(NicRefusal::Unsupported);
    expect(&error, Step::Nic, libc::EOPNOTSUPP, unsupported, "its driver takes no hardware timestamps");
    // On cards that can be busy, see tests/hardware/loans.rs.
    let busy = Refused { call: libc::SYS_ioctl, arguments: &[(1, SIOCGHWTSTAMP)], errno: libc::EBUSY };
    let error = refusing(&busy, required);
    expect(
        &error,
        Step::Nic,
        libc::EBUSY,
        Refusal::Nic(NicRefusal::Busy),
        "another program uses the card's timestamps",
    );
}

fn clocks_that_are_not_there_or_closed() {
    let cable = Cable::new();
    let error = Phc::of(&cable.a).unwrap_err();
    expect(&error, Step::Clock, libc::EOPNOTSUPP, Refusal::NoClock, "no PTP hardware clock");
    let error = Phc::open(4711).unwrap_err();
    expect(&error, Step::Clock, libc::ENOENT, Refusal::NoClock, "a container hides it");
    let unreadable = Refused { call: libc::SYS_openat, arguments: &[], errno: libc::EACCES };
    let error = refusing(&unreadable, || Phc::open(0).unwrap_err());
    expect(&error, Step::Clock, libc::EACCES, Refusal::FilePermission, "/dev/ptpN, needs read permission");
}

fn what_the_kernel_lacks() {
    let cable = Cable::new();
    let lacks = |level, option, options: fast_afpacket::Options| {
        refusing_option(level, option, libc::ENOPROTOOPT, || options.bind(&cable.a).unwrap_err())
    };
    let error = lacks(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, options().ignore_outgoing(true));
    let since = |since| Refusal::KernelLacks { since };
    expect(&error, Step::IgnoreOutgoing, libc::ENOPROTOOPT, since("4.20"), "it takes Linux 4.20");
    let error = lacks(libc::SOL_SOCKET, libc::SO_TXTIME, options().launch_clock(LaunchClock::Monotonic));
    expect(&error, Step::LaunchClock, libc::ENOPROTOOPT, since("4.19"), "it takes Linux 4.19");
    let error = refusing(&no_packet_sockets(libc::EAFNOSUPPORT), || PacketSocket::bind(&cable.a).unwrap_err());
    expect(&error, Step::Open, libc::EAFNOSUPPORT, since("2.2"), "RestrictAddressFamilies=");
}

/// No error of set-up: it is told when something is to be sent or received.
fn an_interface_that_is_down() {
    let cable = Cable::new();
    ip("link set va down");
    let socket = bind(options(), &cable.a);
    for error in [socket.recv(&mut [0; 64]).unwrap_err(), socket.send(&frame(1)).unwrap_err()] {
        assert_eq!((error.raw_os_error(), error.kind()), (Some(libc::ENETDOWN), ErrorKind::NetworkDown));
    }
    link_up(&["va"]);
    socket.send(&frame(1)).unwrap();
}
