//! Opening: nothing that was not asked for is delivered, nothing is left behind, errors say what is wrong.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fast_afpacket::{EtherType, Filter, Interface, InterfaceFlags, MacAddr, PacketSocket, PacketType, Step};

use crate::lab::{self, Cable, MAC_A, PROTOCOL, bind, frame, ip, options};

crate::tests! {
    interfaces_are_described;
    errors_name_what_is_wrong;
    without_the_capability_it_is_named needs "setpriv";
    filtered_openings_under_a_flood_see_nothing_foreign;
    protocol_is_in_network_order;
    local_address_is_that_of_the_interface;
    memberships_end_with_the_socket;
    buffers_are_granted_as_asked;
    interfaces_without_addresses;
    nothing_is_left_open;
}

fn interfaces_are_described() {
    let cable = Cable::new();
    assert_eq!(cable.a.mac().unwrap(), Some(MacAddr::new(MAC_A)));
    assert_eq!(cable.a.mtu().unwrap(), 1500);
    assert!(cable.a.flags().unwrap().contains(InterfaceFlags::UP | InterfaceFlags::MULTICAST));
    assert_eq!(cable.a.hardware_type().unwrap(), 1);
    let names: Vec<_> = Interface::all().unwrap().iter().map(|interface| interface.name().into_owned()).collect();
    for name in ["lo", "va", "vb"] {
        assert!(names.iter().any(|found| found == name), "{name} in {names:?}");
    }
    assert_eq!(Interface::by_name("lo").unwrap().mac().unwrap(), None);
    ip("link set va mtu 900");
    ip("link set va down");
    ip("link set va name renamed");
    assert_eq!(cable.a.mtu().unwrap(), 900, "asked by index");
    assert!(!cable.a.flags().unwrap().contains(InterfaceFlags::UP));
    assert_eq!(Interface::by_index(cable.a.index()).unwrap().name(), "renamed");
}

fn errors_name_what_is_wrong() {
    let cable = Cable::new();
    ip("link del va");
    let error = PacketSocket::bind(&cable.a).unwrap_err();
    assert_eq!((error.step(), error.raw_os_error()), (Step::Bind, Some(libc::ENODEV)), "{error}");
    assert!(error.to_string().contains("va"), "{error}");
    let lo = Interface::by_name("lo").unwrap();
    let error = options().multicast(MacAddr::new(MAC_A)).bind(&lo).unwrap_err();
    assert_eq!(error.step(), Step::Options);
    assert!(error.to_string().contains("02:00:00:00:00:0a is not a multicast address"), "{error}");
    let error = options().protocol(EtherType::new(0)).bind(&lo).unwrap_err();
    assert_eq!(error.step(), Step::Options);
    assert!(error.to_string().contains("Filter::nothing()"), "{error}");
    let error = cable.a.mtu().unwrap_err();
    assert_eq!((error.step(), error.raw_os_error()), (Step::Interface, Some(libc::ENODEV)), "{error}");
}

/// The test program starts itself without capabilities; see [`crate::path::be_traced_if_asked`].
fn without_the_capability_it_is_named() {
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new("setpriv")
        .args(["--bounding-set", "-net_raw", "--inh-caps", "-net_raw"])
        .arg(program)
        .env("FAST_AFPACKET_CHILD", "open")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let complaint = "cannot open a packet socket for lo: CAP_NET_RAW is missing (Operation not permitted (os error 1))";
    assert!(text.contains(complaint), "{text} {}", String::from_utf8_lossy(&output.stderr));
}

fn filtered_openings_under_a_flood_see_nothing_foreign() {
    const OPENINGS: usize = 200;
    let (cable, other) = (Cable::new(), Cable::named("xa", "xb"));
    let stop = AtomicBool::new(false);
    let wanted = Filter::ether_type(EtherType::EXPERIMENTAL_2);
    let flood = |interface: &Interface, count: u32| {
        let socket = bind(options().timestamping(fast_afpacket::Timestamping::empty()), interface);
        let (mut refused, mut wanted) = (frame(0xbad), frame(1));
        refused[14] = 0xff;
        wanted[12..14].copy_from_slice(&EtherType::EXPERIMENTAL_2.value().to_be_bytes());
        // Bounded, whatever becomes of the receiver.
        for _ in 0..count {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            for _ in 0..9 {
                socket.send(&refused).unwrap();
            }
            socket.send(&wanted).unwrap();
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| flood(&cable.a, 1_000_000));
        scope.spawn(|| flood(&other.a, 1_000_000));
        let mut buf = [0; 2048];
        let (mut stamped, mut delivered) = (0, 0);
        for _ in 0..OPENINGS {
            let before = fast_afpacket::SystemStamp::now();
            let socket = bind(options().protocol(EtherType::ALL).filter(&wanted), &cable.b);
            for _ in 0..20 {
                let meta = socket.recv(&mut buf).unwrap();
                assert_eq!(
                    buf[12..14],
                    EtherType::EXPERIMENTAL_2.value().to_be_bytes(),
                    "a frame that was filtered out"
                );
                assert_eq!(meta.from.interface_index(), cable.b.index(), "a frame of another interface");
                assert_eq!(meta.from.packet_type(), PacketType::Host);
                delivered += 1;
                if let Some(stamp) = meta.timestamps.software {
                    let age = fast_afpacket::SystemStamp::now().nanos_since(stamp);
                    assert!(age >= 0 && stamp >= before, "a stamp from outside the socket's life: {stamp}");
                    stamped += 1;
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        eprintln!("{OPENINGS} openings: {delivered} frames, {stamped} stamped, 0 foreign");
    });
}

fn protocol_is_in_network_order() {
    let cable = Cable::new();
    let (sender, receiver) = (bind(options(), &cable.a), bind(options(), &cable.b));
    sender.send(&frame(7)).unwrap();
    let mut buf = [0; 2048];
    let meta = receiver.recv(&mut buf).unwrap();
    assert_eq!(buf[..meta.len], frame(7));
    assert_eq!(meta.from.ether_type(), PROTOCOL);
    assert_eq!(meta.from.mac(), Some(MacAddr::new(MAC_A)));
    assert_eq!(meta.from.interface_index(), cable.b.index());
    assert_eq!(meta.from.hardware_type(), 1);
}

fn local_address_is_that_of_the_interface() {
    let cable = Cable::new();
    let address = bind(options(), &cable.a).local_addr().unwrap();
    assert_eq!(address.mac(), Some(MacAddr::new(MAC_A)));
    assert_eq!(address.interface_index(), cable.a.index());
    assert_eq!(address.ether_type(), PROTOCOL);
}

/// What `ip -d link` says of an interface.
fn link_details(name: &str) -> String {
    let output = std::process::Command::new("ip").args(["-d", "link", "show", name]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn memberships_end_with_the_socket() {
    let cable = Cable::new();
    let group = MacAddr::new([0x01, 0x80, 0xc2, 0, 0, 0x0e]);
    let memberships = || {
        let output = std::process::Command::new("ip").args(["maddress", "show", "dev", "va"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let socket = bind(options().promiscuous(true).all_multicast(true).multicast(group), &cable.a);
    socket.set_promiscuous(true).unwrap();
    socket.join_multicast(group).unwrap();
    let details = link_details("va");
    assert!(details.contains("promiscuity 1"), "once, however often it was set: {details}");
    assert!(details.contains("allmulti 1"), "{details}");
    assert!(!details.contains("PROMISC"), "the interface's own flag is not ours: {details}");
    assert!(memberships().contains("01:80:c2:00:00:0e"), "{}", memberships());
    socket.leave_multicast(group).unwrap();
    assert!(!memberships().contains("01:80:c2:00:00:0e"), "{}", memberships());
    let error = socket.leave_multicast(group).unwrap_err();
    assert!(error.to_string().contains("has not joined 01:80:c2:00:00:0e"), "{error}");
    socket.join_multicast(group).unwrap();
    socket.set_promiscuous(false).unwrap();
    assert!(link_details("va").contains("promiscuity 0"));
    socket.set_promiscuous(true).unwrap();
    drop(socket);
    let details = link_details("va");
    assert!(details.contains("promiscuity 0") && details.contains("allmulti 0"), "{details}");
    assert!(!memberships().contains("01:80:c2:00:00:0e"), "{}", memberships());
}

fn buffers_are_granted_as_asked() {
    let cable = Cable::new();
    let socket = bind(options().receive_buffer(50_000).send_buffer(60_000), &cable.a);
    assert_eq!((socket.granted().receive_buffer, socket.granted().send_buffer), (50_000, 60_000));
    let default = bind(options(), &cable.a).granted().receive_buffer;
    let huge = bind(options().receive_buffer(1 << 30), &cable.a).granted().receive_buffer;
    assert!(huge > default && huge <= 1 << 30, "{default} {huge}");
}

/// Loopback has a MAC address of zeros, a tunnel none: raw frames go out all the same.
fn interfaces_without_addresses() {
    let lo = Interface::by_name("lo").unwrap();
    let socket = bind(options(), &lo);
    let sender = bind(options(), &lo);
    sender.send(&frame(1)).unwrap();
    let mut buf = [0; 2048];
    let meta = socket.recv(&mut buf).unwrap();
    assert_eq!(meta.from.hardware_type(), 772);
    assert_eq!(lab::number_in(&buf), 1);
    if let Err(error) = std::fs::File::options().write(true).open("/dev/net/tun") {
        eprintln!("without a tunnel, which this user may not make: /dev/net/tun: {error}");
        return;
    }
    ip("tuntap add dev tun0 mode tun");
    ip("link set tun0 up");
    let tunnel = Interface::by_name("tun0").unwrap();
    assert_eq!(tunnel.mac().unwrap(), None);
    let socket = PacketSocket::bind(&tunnel).unwrap();
    assert_eq!(socket.local_addr().unwrap().link_address(), []);
    assert_eq!(socket.local_addr().unwrap().to_string(), "-");
}

fn nothing_is_left_open() {
    let cable = Cable::new();
    let descriptors = || std::fs::read_dir("/proc/thread-self/fd").unwrap().count();
    let before = descriptors();
    for _ in 0..50 {
        let socket = bind(options().dual(true).promiscuous(true), &cable.a);
        socket.set_read_deadline(Some(std::time::Instant::now()));
        assert_eq!(socket.recv(&mut [0; 64]).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        // A refused step closes what the steps before it opened.
        options().dual(true).multicast(MacAddr::new(MAC_A)).bind(&cable.a).unwrap_err();
    }
    let gone = cable.b;
    ip("link del va");
    for _ in 0..50 {
        options().dual(true).bind(&gone).unwrap_err();
    }
    assert_eq!(descriptors(), before);
    let packet_sockets = std::fs::read_to_string("/proc/thread-self/net/packet").unwrap();
    assert_eq!(packet_sockets.lines().count(), 1, "{packet_sockets}");
}
