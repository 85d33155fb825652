//! Other network namespaces: what is opened there is there, and no thread of the program ever was.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread;

use fast_afpacket::{
    ConfigureNic, FanoutGroup, FanoutMode, FanoutRefusal, Hwtstamp, Interface, InterfaceFlags, MacAddr, Netns, NicLoan,
    NicRefusal, PacketSocket, Phc, RingShape, RxFilter, Step, Timestamping, TxKey, TxMode, TxTracker,
};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::lab::{self, Cable, MAC_A, Namespace, PROTOCOL, bind, drain, frame, ip, number_in, options};

crate::tests! {
    fifty_namespaces_from_eight_threads;
    an_interface_of_another_namespace_is_refused;
    all_that_is_asked_is_asked_there;
    rings_and_groups_open_there;
    a_nic_is_borrowed_there_or_says_why_not;
    names_are_those_of_ip_netns;
    work_is_done_inside_and_panics_come_out;
}

/// What the calling thread is in.
fn here() -> PathBuf {
    fs::read_link("/proc/thread-self/ns/net").unwrap()
}

fn netns(namespace: &Namespace) -> Netns {
    Netns::by_path(namespace.path()).unwrap()
}

/// A namespace with a cable in it, whose ends have the same indices in each.
fn with_cable() -> (Namespace, Netns) {
    let namespace = Namespace::new();
    let _ = namespace.run(Cable::new);
    let netns = netns(&namespace);
    (namespace, netns)
}

fn fifty_namespaces_from_eight_threads() {
    const NAMESPACES: usize = 50;
    const THREADS: usize = 8;
    const FRAMES: u32 = 3;
    let spaces: Vec<_> = (0..NAMESPACES).map(|_| with_cable().1).collect();
    let indices: HashSet<_> = spaces.iter().map(|netns| netns.interface("vb").unwrap().index()).collect();
    assert_eq!(indices.len(), 1, "one index for all: who binds in the wrong namespace receives what is another's");
    let before = here();
    // Each thread has its share of them, and looks where it is before and after each.
    let on_eight_threads = |work: &(dyn Fn(usize) + Sync)| {
        thread::scope(|scope| {
            for thread in 0..THREADS {
                scope.spawn(move || (thread..NAMESPACES).step_by(THREADS).for_each(work));
            }
        });
        assert_eq!(here(), before);
    };
    let opened = [(); NAMESPACES].map(|()| OnceLock::new());
    on_eight_threads(&|number| {
        assert_eq!(here(), before);
        let netns = &spaces[number];
        // By either way: the options say it, or the interface knows where it is.
        let plain = netns.run(|| Interface::by_name("va").unwrap()).unwrap();
        let sender = bind(options().netns(netns), &plain);
        let receiver = bind(options().dual(number % 2 == 0), &netns.interface("vb").unwrap());
        assert!(opened[number].set((sender, receiver)).is_ok());
        assert_eq!(here(), before);
    });
    let frames_of = |number: usize| (0..FRAMES).map(move |frame| u32::try_from(number).unwrap() * FRAMES + frame);
    on_eight_threads(&|number| {
        for number_of_frame in frames_of(number) {
            opened[number].get().unwrap().0.send(&frame(number_of_frame)).unwrap();
        }
    });
    on_eight_threads(&|number| {
        let received = drain(&opened[number].get().unwrap().1);
        let numbers: Vec<_> = received.iter().map(|frame| number_in(frame)).collect();
        assert_eq!(numbers, frames_of(number).collect::<Vec<_>>());
    });
}

fn an_interface_of_another_namespace_is_refused() {
    let cable = Cable::new();
    let ((there, blue), (_, green)) = (with_cable(), with_cable());
    let theirs = blue.interface("va").unwrap();
    assert_eq!((theirs.index(), theirs.name()), (cable.a.index(), cable.a.name()), "or this test shows nothing");
    assert_ne!(theirs, cable.a);
    assert_eq!(theirs, there.run(|| Interface::by_name("va").unwrap()));
    let refused = [
        options().netns(&blue).bind(&cable.a).unwrap_err(),
        options().netns(&green).bind(&theirs).unwrap_err(),
        options().netns(&blue).rx_ring(&cable.a, RingShape::latency()).unwrap_err(),
        options().netns(&blue).tx_ring(&cable.a, RingShape::transmit()).unwrap_err(),
        // A thread that moved after it had looked the interface up.
        there.run(|| options().bind(&cable.a).unwrap_err()),
    ];
    for error in refused {
        assert_eq!((error.step(), error.kind()), (Step::Options, ErrorKind::InvalidInput), "{error}");
        assert!(error.to_string().contains("another network namespace"), "{error}");
    }
    let error = there.run(|| cable.a.mtu().unwrap_err());
    assert_eq!((error.step(), error.kind()), (Step::Interface, ErrorKind::InvalidInput), "{error}");
    let error = there.run(|| NicLoan::take(&cable.a, Hwtstamp::new(TxMode::ON, RxFilter::ALL)).unwrap_err());
    assert!(error.to_string().contains("another network namespace"), "{error}");
    // From anywhere else it is refused by nobody.
    assert_eq!(there.run(|| theirs.mtu().unwrap()), 1500);
    drop(bind(options().netns(&blue), &there.run(|| Interface::by_name("vb").unwrap())));
    drop(bind(options().netns(&Netns::current().unwrap()), &cable.a));
}

/// What the library asks of an interface goes to the socket's namespace: here there is none of that name or index.
fn all_that_is_asked_is_asked_there() {
    let (there, blue) = with_cable();
    Interface::by_name("va").unwrap_err();
    let names: Vec<_> = blue.interfaces().unwrap().iter().map(|interface| interface.name().into_owned()).collect();
    assert_eq!(
        names,
        there.run(|| Interface::all().unwrap().iter().map(|i| i.name().into_owned()).collect::<Vec<_>>())
    );
    let (a, b) = (blue.interface("va").unwrap(), blue.interface("vb").unwrap());
    for a in blue.interfaces().unwrap().iter().filter(|found| **found == a).chain([&a]) {
        assert_eq!(a.mac().unwrap(), Some(MacAddr::new(MAC_A)));
        assert!(a.flags().unwrap().contains(InterfaceFlags::UP));
        assert_eq!((a.hardware_type().unwrap(), a.mtu().unwrap(), a.hwtstamp().unwrap()), (1, 1500, None));
        assert_eq!((a.capabilities().unwrap().phc(), a.clock_users().unwrap()), (None, Vec::new()));
    }
    let (socket, peer) = (bind(options().promiscuous(true), &a), bind(options(), &b));
    assert_eq!(socket.local_addr().unwrap().mac(), Some(MacAddr::new(MAC_A)));
    assert_eq!(socket.interface().mtu().unwrap(), 1500);
    for key in 0..4 {
        socket.send_keyed(&frame(key), TxKey::new(key)).unwrap();
        assert_eq!(socket.recv_tx(&mut []).unwrap().key, TxKey::new(key));
        assert_eq!(socket.recv_tx(&mut []).unwrap().key, TxKey::new(key));
    }
    assert_eq!(drain(&peer).len(), 4);
    // Also of a socket that a thread of its own has opened, without Netns.
    let plain =
        there.run(|| options().timestamping(Timestamping::all()).bind(&Interface::by_name("va").unwrap()).unwrap());
    TxTracker::new(&plain).unwrap();
    assert_eq!(plain.interface().mtu().unwrap_err().kind(), ErrorKind::InvalidInput, "here it would be another's");
    drop(plain);
    let packet = || fs::read_to_string("/proc/thread-self/net/packet").unwrap().lines().count() - 1;
    assert_eq!((packet(), there.run(packet)), (0, 2));
    there.run(|| ip("link set va mtu 600"));
    assert_eq!(socket.interface().mtu().unwrap(), 600);
    assert_eq!(socket.send(&lab::frame_of(615, 1)).unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
    there.run(|| ip("link set va down"));
    assert_eq!(socket.recv(&mut [0; 64]).unwrap_err().kind(), ErrorKind::NetworkDown);
    there.run(|| lab::link_up(&["va"]));
    peer.send(&frame(9)).unwrap();
    let mut buf = [0; 64];
    socket.recv(&mut buf).unwrap();
    assert_eq!(number_in(&buf), 9);
    there.run(|| ip("link del va"));
    assert_eq!(socket.recv(&mut buf).unwrap_err().raw_os_error(), Some(libc::ENODEV));
    assert_eq!(a.mtu().unwrap_err().raw_os_error(), Some(libc::ENODEV));
    let error = blue.interface("va").unwrap_err();
    assert_eq!((error.step(), error.raw_os_error()), (Step::Interface, Some(libc::ENODEV)), "{error}");
    assert!(error.to_string().contains("\"va\"") && error.to_string().contains(&there.path()), "{error}");
}

fn rings_and_groups_open_there() {
    let (there, blue) = with_cable();
    let cable = Cable::new();
    let (a, b) = (blue.interface("va").unwrap(), blue.interface("vb").unwrap());
    for mut ring in lab::Ring::both(options, &b) {
        let mut tx = options().tx_ring(&a, RingShape::transmit()).unwrap();
        (0..5).for_each(|number| tx.push(&frame(number)).unwrap());
        tx.flush().unwrap();
        let numbers: Vec<_> = ring.take(5).iter().map(|frame| number_in(&frame.data)).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
    }
    let group = FanoutGroup::new(FanoutMode::RoundRobin);
    let members = [(); 2].map(|()| bind(options().fanout(&group), &b));
    let sender = bind(options(), &a);
    for number in 0..10 {
        sender.send(&frame(number)).unwrap();
    }
    assert_eq!(members.each_ref().map(|member| drain(member).len()), [5, 5]);
    let error = options().fanout(&group).bind(&cable.b).unwrap_err();
    assert_eq!(error.fanout_refusal(), Some(FanoutRefusal::OtherNamespace), "{error}");
    drop((members, sender));
    assert_eq!(there.run(lab::leftovers).2, 0);
}

fn a_nic_is_borrowed_there_or_says_why_not() {
    const EVENTS: Hwtstamp = Hwtstamp::new(TxMode::ON, RxFilter::PTP_V2_EVENT);
    let (_there, blue) = with_cable();
    let a = blue.interface("va").unwrap();
    let refused = [
        options().configure_nic(ConfigureNic::Required(EVENTS)).bind(&a).unwrap_err(),
        NicLoan::take(&a, EVENTS).unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.nic_refusal(), Some(NicRefusal::Unsupported), "asked there: here it is ENODEV: {error}");
    }
    let error = Phc::of(&a).unwrap_err();
    assert_eq!((error.step(), error.raw_os_error()), (Step::Clock, Some(libc::EOPNOTSUPP)), "{error}");
}

fn names_are_those_of_ip_netns() {
    // In a mount namespace of one's own, where an ordinary user too can write to /run.
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let nothing: Option<&str> = None;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), nothing).unwrap();
    ip("netns add blue");
    ip("netns exec blue ip link add va type veth peer name vb");
    let blue = Netns::by_name("blue").unwrap();
    assert_eq!(blue.to_string(), "network namespace \"blue\"");
    assert_eq!(blue, Netns::by_path("/run/netns/blue").unwrap());
    assert_ne!(blue, Netns::current().unwrap());
    let error = Netns::by_name("green").unwrap_err();
    assert_eq!((error.step(), error.raw_os_error()), (Step::Netns, Some(libc::ENOENT)), "{error}");
    assert!(error.to_string().contains("ip netns list"), "{error}");
    // What is left of a name where its mount is not to be seen.
    fs::write("/run/netns/stale", []).unwrap();
    let error = Netns::by_name("stale").unwrap_err();
    assert_eq!((error.step(), error.raw_os_error()), (Step::Netns, Some(libc::EINVAL)), "{error}");
    assert!(error.to_string().contains("another mount namespace"), "{error}");
    // It lives as long as the value, or what was opened in it.
    ip("netns del blue");
    let socket = PacketSocket::bind(&blue.interface("va").unwrap()).unwrap();
    drop(blue);
    assert_eq!(socket.interface().mtu().unwrap(), 1500);
}

fn work_is_done_inside_and_panics_come_out() {
    let (there, blue) = with_cable();
    let before = here();
    let (inside, id) = blue.run(|| (here(), thread::current().id())).unwrap();
    assert_eq!((&inside, id == thread::current().id()), (&there.run(here), false));
    assert_ne!(inside, before);
    let panic = std::panic::catch_unwind(|| blue.run(|| -> () { std::panic::resume_unwind(Box::new(7)) })).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&7));
    assert_eq!(here(), before);
    // The namespace of a process, and of a thread that is somewhere else than its process.
    let of_thread = there.run(|| Netns::by_pid(nix::unistd::gettid().as_raw().unsigned_abs()).unwrap());
    assert_eq!(of_thread, blue);
    let of_process = Netns::by_pid(std::process::id()).unwrap();
    assert_ne!(of_process, blue);
    assert_eq!(bind(options(), &blue.interface("va").unwrap()).local_addr().unwrap().ether_type(), PROTOCOL);
}
