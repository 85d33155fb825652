//! Fanout groups: who may join, under which id, and that errors name the rule.

use std::os::fd::{AsFd, AsRawFd};

use fast_afpacket::{EtherType, FanoutGroup, FanoutMode, FanoutRefusal, Filter, Interface, PacketSocket, Step};

use crate::fanout::{members, numbers, send};
use crate::lab::{self, Cable, bind, drain, frame, options};

crate::tests! {
    the_kernel_chooses_ids;
    a_group_outlives_its_members;
    members_number_up_and_leave;
    a_full_group_says_so;
    an_id_is_of_one_group;
    members_have_interface_protocol_and_namespace_in_common;
    ids_are_per_namespace;
    a_member_cannot_join_again;
    outgoing_frames_are_the_groups_business;
    a_dual_socket_joins_by_its_receiving_half;
    a_member_keeps_its_filter;
    joining_while_the_link_is_down;
    no_descriptor_is_left;
}

fn join(group: &FanoutGroup, interface: &Interface) -> Result<PacketSocket, fast_afpacket::Error> {
    options().fanout(group).bind(interface)
}

/// Which rule joining breaks, with the errno if the kernel said so. The message has the rule.
fn refusal(outcome: Result<PacketSocket, fast_afpacket::Error>) -> (FanoutRefusal, Option<i32>) {
    let error = outcome.unwrap_err();
    assert_eq!(error.step(), Step::Fanout, "{error}");
    let refusal = error.fanout_refusal().unwrap();
    assert!(error.to_string().ends_with(&refusal.to_string()), "{error}");
    assert!(error.to_string().starts_with("cannot join a fanout group on v"), "{error}");
    (refusal, error.raw_os_error())
}

fn the_kernel_chooses_ids() {
    let cable = Cable::new();
    let groups: [FanoutGroup; 20] = std::array::from_fn(|_| FanoutGroup::new(FanoutMode::RoundRobin));
    assert!(groups.iter().all(|group| group.id().is_none()));
    let sockets = groups.each_ref().map(|group| members::<2>(group, &cable.b));
    let mut ids = groups.each_ref().map(|group| group.id().unwrap());
    ids.sort();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "each its own: {ids:?}");
    send(&bind(options(), &cable.a), 0..10);
    for pair in &sockets {
        assert_eq!(pair.each_ref().map(|socket| drain(socket).len()), [5, 5], "groups are independent");
    }
    // Another program would join by the id.
    let joined =
        bind(options().fanout(&FanoutGroup::new(FanoutMode::RoundRobin).with_id(groups[3].id().unwrap())), &cable.b);
    send(&bind(options(), &cable.a), 0..9);
    assert_eq!([&sockets[3][0], &sockets[3][1], &joined].map(|socket| drain(socket).len()), [3, 3, 3]);
}

fn a_group_outlives_its_members() {
    let cable = Cable::new();
    let sender = bind(options(), &cable.a);
    let group = FanoutGroup::new(FanoutMode::RoundRobin);
    for _ in 0..5 {
        assert_eq!(group.id(), None);
        let [first, second] = members::<2>(&group, &cable.b);
        let id = group.id();
        assert!(id.is_some());
        drop(first);
        assert_eq!(group.id(), id);
        let third = bind(options().fanout(&group.clone()), &cable.b);
        assert_eq!(group.id(), id, "a clone is the same group");
        send(&sender, 0..10);
        assert_eq!([&second, &third].map(|socket| drain(socket).len()), [5, 5]);
    }
    // Without members it is bound to nothing: the other end, another protocol.
    let elsewhere = bind(options().protocol(EtherType::EXPERIMENTAL_2).fanout(&group), &cable.a);
    assert!(group.id().is_some());
    drop(elsewhere);
    let fixed = FanoutGroup::new(FanoutMode::RoundRobin).with_id(77);
    assert_eq!(fixed.id(), Some(77));
    // A setter makes another group, also of one that has members.
    let _member = bind(options().fanout(&group), &cable.b);
    let other = group.clone().rollover(true);
    let _other_member = bind(options().fanout(&other), &cable.b);
    assert_ne!(group.id(), other.id());
    drop(group);
    send(&sender, 0..2);
    assert_eq!(drain(&_member).len(), 2, "members do not need the value");
}

/// What a member that leaves has read, and what the others get, is all that was sent.
fn members_number_up_and_leave() {
    let cable = Cable::new();
    let group = FanoutGroup::new(FanoutMode::RoundRobin);
    let sender = bind(options(), &cable.a);
    let mut sockets: Vec<PacketSocket> = Vec::new();
    let mut received = Vec::new();
    for step in 0..8_u32 {
        sockets.push(bind(options().fanout(&group), &cable.b));
        send(&sender, 100 * step..100 * step + 60);
        received.extend(sockets.iter().flat_map(numbers));
    }
    for step in 0..8_u32 {
        send(&sender, 100 * step + 60..100 * step + 100);
        received.extend(sockets.iter().flat_map(numbers));
        drop(sockets.swap_remove(step as usize % sockets.len()));
    }
    received.sort();
    assert_eq!(received, (0..800).collect::<Vec<_>>());
}

fn a_full_group_says_so() {
    let cable = Cable::new();
    let group = FanoutGroup::new(FanoutMode::Hash).max_members(2);
    let [first, _second] = members::<2>(&group, &cable.b);
    assert_eq!(refusal(join(&group, &cable.b)), (FanoutRefusal::Full, Some(libc::ENOSPC)));
    drop(first);
    let _third = bind(options().fanout(&group), &cable.b);
    assert_eq!(refusal(join(&group, &cable.b)), (FanoutRefusal::Full, Some(libc::ENOSPC)));
    for max in [0, 65_537, u32::MAX] {
        let group = FanoutGroup::new(FanoutMode::Hash).max_members(max);
        assert_eq!(refusal(join(&group, &cable.b)), (FanoutRefusal::MaxMembers, None));
    }
    drop(bind(options().fanout(&FanoutGroup::new(FanoutMode::Hash).max_members(65_536)), &cable.b));
    let twice = FanoutGroup::new(FanoutMode::Rollover).rollover(true);
    assert_eq!(refusal(join(&twice, &cable.b)), (FanoutRefusal::RolloverTwice, None));
}

fn an_id_is_of_one_group() {
    let cable = Cable::new();
    let group = || FanoutGroup::new(FanoutMode::RoundRobin).with_id(7);
    let first = bind(options().fanout(&group()), &cable.b);
    let taken = (FanoutRefusal::IdTaken, Some(libc::EINVAL));
    for other in [
        FanoutGroup::new(FanoutMode::Hash).with_id(7),
        group().rollover(true),
        group().defragment(true),
        group().ignore_outgoing(true),
        group().max_members(8),
    ] {
        assert_eq!(refusal(join(&other, &cable.b)), taken, "{other:?}");
        // Its id is what stood in the way.
        drop(bind(options().fanout(&other.with_id(8)), &cable.b));
    }
    assert_eq!(refusal(join(&group(), &cable.a)), taken, "another interface");
    let other_protocol = options().protocol(EtherType::EXPERIMENTAL_2).fanout(&group());
    assert_eq!(refusal(other_protocol.bind(&cable.b)), taken);
    // The default number of members is one, also where nothing was said.
    let said = bind(options().fanout(&group().max_members(256)), &cable.b);
    let limited = FanoutGroup::new(FanoutMode::RoundRobin).with_id(9).max_members(8);
    let _limited = bind(options().fanout(&limited), &cable.b);
    let unlimited = FanoutGroup::new(FanoutMode::RoundRobin).with_id(9);
    assert_eq!(refusal(join(&unlimited, &cable.b)), taken, "never silently the group with other settings");
    send(&bind(options(), &cable.a), 0..10);
    assert_eq!([&first, &said].map(|socket| drain(socket).len()), [5, 5], "refusals took nothing away");
}

fn members_have_interface_protocol_and_namespace_in_common() {
    let cable = Cable::new();
    let group = FanoutGroup::new(FanoutMode::Hash);
    let _member = bind(options().fanout(&group), &cable.b);
    assert_eq!(refusal(join(&group, &cable.a)), (FanoutRefusal::OtherInterface, None));
    let other_protocol = options().protocol(EtherType::EXPERIMENTAL_2).fanout(&group);
    assert_eq!(refusal(other_protocol.bind(&cable.b)), (FanoutRefusal::OtherProtocol, None));
    // Even if the interface there has the same index.
    let elsewhere = lab::Namespace::new();
    let index = cable.b.index();
    elsewhere.run(|| {
        lab::ip(&format!("link add vc index {index} type veth peer name vd index 99"));
        let vc = Interface::by_name("vc").unwrap();
        assert_eq!(vc.index(), index);
        assert_eq!(refusal(join(&group, &vc)), (FanoutRefusal::OtherNamespace, None));
    });
}

fn ids_are_per_namespace() {
    let cable = Cable::new();
    let _member = bind(options().fanout(&FanoutGroup::new(FanoutMode::Hash).with_id(7)), &cable.b);
    lab::Namespace::new().run(|| {
        let cable = Cable::named("vc", "vd");
        let member = bind(options().fanout(&FanoutGroup::new(FanoutMode::Random).with_id(7)), &cable.b);
        send(&bind(options(), &cable.a), 0..10);
        assert_eq!(drain(&member).len(), 10);
    });
}

/// By its descriptor: this library joins a socket once.
fn a_member_cannot_join_again() {
    let cable = Cable::new();
    let group = FanoutGroup::new(FanoutMode::RoundRobin).with_id(7);
    let [first, second] = members::<2>(&group, &cable.b);
    for id in [7, 8] {
        let arguments: u32 = 1 << 16 | id;
        let pointer: *const u32 = &arguments;
        let fd = first.as_fd().as_raw_fd();
        // SAFETY: the pointer is to a live local of that length.
        let result = unsafe { libc::setsockopt(fd, libc::SOL_PACKET, libc::PACKET_FANOUT, pointer.cast(), 4) };
        assert_eq!((result, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EALREADY)));
    }
    send(&bind(options(), &cable.a), 0..10);
    assert_eq!([&first, &second].map(|socket| drain(socket).len()), [5, 5]);
}

fn outgoing_frames_are_the_groups_business() {
    let cable = Cable::new();
    let all = || options().protocol(EtherType::ALL);
    let host = bind(options(), &cable.b);
    for ignores in [false, true] {
        let group = FanoutGroup::new(FanoutMode::RoundRobin).ignore_outgoing(ignores);
        let sockets = [(); 2].map(|()| bind(all().fanout(&group), &cable.b));
        send(&host, 0..10);
        let expected = if ignores { 0 } else { 5 };
        assert_eq!(sockets.each_ref().map(|socket| drain(socket).len()), [expected; 2], "{ignores}");
        send(&sockets[0], 0..10);
        assert_eq!(sockets.each_ref().map(|socket| drain(socket).len()), [0; 2], "a member's own are not the group's");
        // What the kernel would not heed is refused.
        let outgoing = (FanoutRefusal::Outgoing, None);
        assert_eq!(refusal(all().fanout(&group).ignore_outgoing(!ignores).bind(&cable.b)), outgoing);
        drop(bind(all().fanout(&group).ignore_outgoing(ignores), &cable.b));
        // For one protocol it makes no difference.
        let typed = FanoutGroup::new(FanoutMode::RoundRobin).ignore_outgoing(ignores);
        drop(bind(options().fanout(&typed).ignore_outgoing(!ignores), &cable.b));
    }
}

fn a_dual_socket_joins_by_its_receiving_half() {
    let cable = Cable::new();
    let dual = || options().protocol(EtherType::ALL).dual(true);
    let sees_its_own = FanoutGroup::new(FanoutMode::RoundRobin);
    assert_eq!(refusal(dual().fanout(&sees_its_own).bind(&cable.b)), (FanoutRefusal::Outgoing, None));
    let group = FanoutGroup::new(FanoutMode::RoundRobin).ignore_outgoing(true).max_members(2);
    let sockets = [(); 2].map(|()| bind(dual().fanout(&group), &cable.b));
    let (peer, mut buf) = (bind(options(), &cable.a), [0; 64]);
    for number in 0..10 {
        sockets[0].send_keyed(&frame(number), fast_afpacket::TxKey::new(number)).unwrap();
        sockets[0].recv_tx(&mut buf).unwrap();
    }
    assert_eq!(drain(&peer).len(), 10);
    assert_eq!(sockets.each_ref().map(|socket| drain(socket).len()), [0; 2]);
    send(&peer, 0..10);
    assert_eq!(sockets.each_ref().map(|socket| drain(socket).len()), [5; 2], "two members, not four");
    let typed = bind(options().dual(true).fanout(&sees_its_own), &cable.b);
    typed.send(&frame(1)).unwrap();
    assert_eq!(drain(&typed).len(), 0);
}

fn a_member_keeps_its_filter() {
    let cable = Cable::new();
    let group = FanoutGroup::new(FanoutMode::RoundRobin);
    let nothing = bind(options().fanout(&group).filter(&Filter::nothing()), &cable.b);
    let all = bind(options().fanout(&group), &cable.b);
    send(&bind(options(), &cable.a), 0..10);
    assert_eq!([&nothing, &all].map(|socket| drain(socket).len()), [0, 5], "the member is chosen first");
    all.clear_filter().unwrap();
    nothing.clear_filter().unwrap();
    send(&bind(options(), &cable.a), 0..10);
    assert_eq!([&nothing, &all].map(|socket| drain(socket).len()), [5, 5]);
}

fn joining_while_the_link_is_down() {
    let cable = Cable::new();
    lab::ip("link set vb down");
    let group = FanoutGroup::new(FanoutMode::RoundRobin);
    if lab::kernel_is_before((6, 13)) {
        assert_eq!(refusal(join(&group, &cable.b)), (FanoutRefusal::InterfaceDown, None));
        eprintln!("a kernel before 6.13: only the refusal was tested");
        return;
    }
    let sockets = [(); 2].map(|()| join(&group, &cable.b).unwrap());
    lab::link_up(&["vb"]);
    for socket in &sockets {
        socket.set_nonblocking(true);
        assert_eq!(socket.recv(&mut [0; 64]).unwrap_err().raw_os_error(), Some(libc::ENETDOWN));
    }
    send(&bind(options(), &cable.a), 0..10);
    assert_eq!(sockets.each_ref().map(|socket| drain(socket).len()), [5; 2]);
}

fn no_descriptor_is_left() {
    let cable = Cable::new();
    let descriptors = || std::fs::read_dir("/proc/thread-self/fd").unwrap().count();
    let before = descriptors();
    let group = FanoutGroup::new(FanoutMode::Program).max_members(1);
    for _ in 0..20 {
        let member = bind(options().dual(true).fanout(&group), &cable.b);
        refusal(join(&group, &cable.b));
        refusal(join(&group, &cable.a));
        refusal(join(&FanoutGroup::new(FanoutMode::Hash).with_id(group.id().unwrap()), &cable.b));
        drop(member);
        assert_eq!(group.id(), None);
    }
    assert_eq!(descriptors(), before);
    let packet_sockets = std::fs::read_to_string("/proc/thread-self/net/packet").unwrap();
    assert_eq!(packet_sockets.lines().count(), 1, "{packet_sockets}");
}
