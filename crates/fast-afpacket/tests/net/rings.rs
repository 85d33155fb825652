//! Receive rings: the same frames as `recv` gives, none unaccounted for, nothing left behind.

use std::collections::HashSet;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fast_afpacket::{
    ByFrame, ConfigureNic, EtherType, FanoutGroup, FanoutMode, Filter, Hwtstamp, Interface, NicGrant, NicRefusal,
    PacketType, RingShape, RxFilter, Step, Timestamping, Timestamps, TxMode,
};

use crate::lab::{
    self, Cable, Namespace, Ring, bind, eventually, frame, frame_of, ip, millis, number_in, options, within,
};

crate::tests! {
    frames_and_metadata_are_those_of_recv;
    a_frame_without_a_stamp_has_the_time_of_the_copy;
    cooked_rings_leave_out_the_header;
    options_count;
    nothing_slips_past_the_filter;
    invalid_shapes_are_refused;
    what_was_granted;
    blocks_come_in_order_and_go_around;
    slots_go_around_past_slack;
    nothing_is_left_of_what_a_ring_held_before;
    frames_as_large_as_a_block;
    large_segments;
    rings_share_frames_in_a_group;
}

fn with_tag(number: u32, tag: [u8; 4]) -> Vec<u8> {
    let mut tagged = frame(number);
    tagged.splice(12..12, tag);
    tagged
}

fn frames_and_metadata_are_those_of_recv() {
    let cable = Cable::new();
    let all = || options().protocol(EtherType::ALL);
    for (interface, sender_side) in [(&cable.b, PacketType::Host), (&cable.a, PacketType::Outgoing)] {
        let sender = bind(all(), &cable.a);
        let receiver = bind(all(), interface);
        for mut ring in Ring::both(all, interface) {
            let mut frames: Vec<_> = [18, 59, 60, 61, 1000, 1514].map(|len| frame_of(len, 5)).into();
            frames.extend([frame_of(18, 1)[..14].to_vec(), frame_of(18, 1)[..15].to_vec()]);
            for tag in [0x8100_6005_u32, 0x8100_0000, 0x88a8_1007] {
                frames.push(with_tag(9, tag.to_be_bytes()));
            }
            for destination in [[0xff; 6], [1, 0, 0x5e, 0, 0, 1], [2, 0, 0, 0, 0, 0x99]] {
                let mut other = frame(3);
                other[..6].copy_from_slice(&destination);
                frames.push(other);
            }
            let mut stamped = false;
            eventually("the kernel stamps frames", || {
                let mut buf = [0; 2048];
                let found: Vec<_> = frames
                    .iter()
                    .map(|frame| {
                        sender.send(frame).unwrap();
                        let meta = receiver.recv(&mut buf).unwrap();
                        (meta, buf[..meta.len].to_vec())
                    })
                    .collect();
                for ((meta, data), copied) in found.iter().zip(ring.take(frames.len())) {
                    assert_eq!(copied.meta, *meta);
                    assert_eq!(copied.data, *data);
                    assert_eq!(copied.copied_at.is_none(), meta.timestamps.software.is_some());
                }
                assert_eq!(found[0].0.from.packet_type(), sender_side);
                stamped = found.iter().all(|(meta, _)| meta.timestamps.software.is_some());
                stamped
            });
            let stats = ring.stats();
            assert_eq!((stats.dropped, stats.truncated, stats.malformed), (0, 0, 0));
        }
    }
}

/// Others on this host may have switched stamping on: a stamp is then a true one, and nothing else is given.
fn a_frame_without_a_stamp_has_the_time_of_the_copy() {
    let cable = Cable::new();
    let sender = bind(options(), &cable.a);
    for mut ring in Ring::both(|| options().timestamping(Timestamping::empty()), &cable.b) {
        let before = fast_afpacket::SystemStamp::now();
        sender.send(&frame(1)).unwrap();
        let copied = ring.take(1).remove(0);
        let after = fast_afpacket::SystemStamp::now();
        let time = match copied.meta.timestamps {
            Timestamps::NONE => copied.copied_at.unwrap(),
            stamps => {
                assert_eq!(copied.copied_at, None);
                stamps.software.unwrap()
            }
        };
        assert!(before <= time && time <= after, "{before} {time} {after}");
        assert_eq!(ring.stats().unstamped, 0, "none was asked for");
    }
}

fn cooked_rings_leave_out_the_header() {
    let cable = Cable::new();
    let sender = bind(options(), &cable.a);
    for mut ring in Ring::both(|| options().cooked(true), &cable.b) {
        sender.send(&frame_of(200, 4)).unwrap();
        let copied = ring.take(1).remove(0);
        assert_eq!(copied.data, frame_of(200, 4)[14..]);
        assert_eq!(copied.meta.wire_len, 186);
    }
}

fn promiscuity_of(name: &str) -> bool {
    let output = std::process::Command::new("ip").args(["-d", "link", "show", name]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().contains("promiscuity 1")
}

fn options_count() {
    let cable = Cable::new();
    let sender = bind(options(), &cable.a);
    let snap = Filter::parse_ddd("1\n6 0 0 20\n").unwrap();
    for mut ring in Ring::both(|| options().filter(&snap), &cable.b) {
        sender.send(&frame_of(214, 1)).unwrap();
        let copied = ring.take(1).remove(0);
        assert_eq!((copied.data.len(), copied.meta.wire_len, copied.meta.is_truncated()), (20, 214, true));
        assert_eq!(ring.stats().truncated, 0, "the filter cut it, not the ring");
    }
    for mut ring in Ring::both(|| options().protocol(EtherType::ALL).ignore_outgoing(true), &cable.a) {
        sender.send(&frame(1)).unwrap();
        bind(options(), &cable.b).send(&frame(2)).unwrap();
        assert_eq!(number_in(&ring.take(1)[0].data), 2);
    }
    assert!(!promiscuity_of("vb"));
    let rings = [options().promiscuous(true).rx_ring(&cable.b, RingShape::throughput()).unwrap()];
    assert!(promiscuity_of("vb"));
    drop(rings);
    assert!(!promiscuity_of("vb"), "ends with the ring");
    let hashing = RingShape::throughput().blocks(2).block_timeout(millis(1)).rx_hash(true);
    let mut ring = options().rx_ring(&cable.b, hashing).unwrap();
    sender.send(&frame(1)).unwrap();
    assert!(ring.next_block().unwrap().iter().all(|frame| frame.rx_hash().is_some()));
}

fn nothing_slips_past_the_filter() {
    let (cable, other) = (Cable::new(), Cable::named("vc", "vd"));
    let filter = Filter::ether_type(EtherType::EXPERIMENTAL_2);
    let wanted = || options().protocol(EtherType::ALL).filter(&filter);
    let stop = AtomicBool::new(false);
    let (sender, elsewhere) = (bind(options(), &cable.a), bind(options(), &other.a));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut passing = frame(2);
            passing[12..14].copy_from_slice(&EtherType::EXPERIMENTAL_2.value().to_be_bytes());
            while !stop.load(Ordering::Relaxed) {
                sender.send(&frame(1)).unwrap();
                elsewhere.send(&passing).unwrap();
                sender.send(&passing).unwrap();
            }
        });
        for _ in 0..10 {
            for mut ring in Ring::both(wanted, &cable.b) {
                for copied in ring.read().unwrap() {
                    assert_eq!(number_in(&copied.data), 2);
                    assert_eq!(copied.meta.from.interface_index(), cable.b.index());
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

fn invalid_shapes_are_refused() {
    let cable = Cable::new();
    let refused = |result: Result<(), fast_afpacket::Error>, rule: &str| {
        let error = result.unwrap_err();
        assert_eq!((error.step(), error.raw_os_error()), (Step::Options, None), "{error}");
        assert!(error.to_string().contains(rule), "{error}");
    };
    let blocks = |shape: RingShape| options().rx_ring(&cable.a, shape).map(drop);
    let frames = |shape: RingShape<ByFrame>| options().rx_ring(&cable.a, shape).map(drop);
    refused(blocks(RingShape::throughput().block_size(100_000)), "the nearest is 98304");
    refused(blocks(RingShape::throughput().blocks(0)), "the nearest number is 1");
    refused(blocks(RingShape::throughput().block_timeout(Duration::ZERO)), "the nearest is 1 ms");
    refused(frames(RingShape::latency().frame_size(2040)), "the nearest is 2048");
    let vclock = options().bind_phc(3).rx_ring(&cable.a, RingShape::throughput()).map(drop);
    refused(vclock, "virtual clock");
    // What is refused here is what the kernel would refuse: the smallest of all is good.
    blocks(RingShape::throughput().block_size(4096).blocks(1)).unwrap();
    frames(RingShape::latency().block_size(4096).blocks(1).frame_size(80)).unwrap();
    frames(RingShape::latency().block_size(12_288).blocks(3).frame_size(12_288)).unwrap();
    // More than any machine has.
    let error = blocks(RingShape::throughput().blocks(1 << 31)).unwrap_err();
    assert_eq!((error.step(), error.raw_os_error()), (Step::Ring, Some(libc::ENOMEM)), "{error}");
}

fn what_was_granted() {
    let cable = Cable::new();
    let ring = options().rx_ring(&cable.a, RingShape::latency()).unwrap();
    let granted = ring.granted();
    assert_eq!(granted.ring.unwrap().bytes, 16 << 20);
    assert!(granted.ring.unwrap().populated);
    assert_eq!(granted.timestamping, Timestamping::RX, "a ring sends nothing");
    assert_eq!(bind(options(), &cable.a).granted().ring, None);
    let events = Hwtstamp::new(TxMode::ON, RxFilter::PTP_V2_EVENT);
    let ring =
        options().configure_nic(ConfigureNic::Preferred(events)).rx_ring(&cable.a, RingShape::latency()).unwrap();
    let granted = ring.granted();
    assert!(matches!(granted.nic, NicGrant::Refused { why: NicRefusal::Unsupported, .. }), "{:?}", granted.nic);
    assert_eq!(granted.timestamping, Timestamping::RX_SOFTWARE);
    let error = options().configure_nic(ConfigureNic::Required(events)).rx_ring(&cable.a, RingShape::latency());
    assert_eq!(error.unwrap_err().step(), Step::Nic);
}

fn blocks_come_in_order_and_go_around() {
    let cable = Cable::new();
    let sender = bind(options(), &cable.a);
    let shape = RingShape::throughput().block_size(4096).blocks(3).block_timeout(millis(1));
    let mut ring = options().rx_ring(&cable.b, shape).unwrap();
    ring.set_read_deadline(within(Duration::from_secs(20)));
    let (mut sent, mut read, mut block_number) = (0, 0, 0);
    while block_number < 200 {
        // At most as many as fit, of sizes that leave slack of all sizes at the end of a block.
        for _ in 0..1 + sent % 7 {
            sender.send(&frame_of(60 + (sent as usize * 37) % 900, sent)).unwrap();
            sent += 1;
        }
        while read < sent {
            let block = ring.next_block().unwrap();
            block_number += 1;
            assert_eq!(block.sequence(), block_number);
            let before = read;
            for frame in &block {
                assert_eq!(number_in(frame.data()), read);
                assert_eq!(frame.data().len(), 60 + (read as usize * 37) % 900);
                read += 1;
            }
            assert_eq!((read - before) as usize, block.len());
            assert_eq!(block.iter().count(), block.len(), "once more");
        }
    }
    let stats = ring.stats().unwrap();
    assert_eq!((stats.received, stats.dropped, stats.malformed), (u64::from(sent), 0, 0));
}

fn slots_go_around_past_slack() {
    let cable = Cable::new();
    let sender = bind(options(), &cable.a);
    // Two slots of 1536 bytes to a block, 1024 bytes of slack.
    let shape = RingShape::latency().block_size(4096).blocks(3).frame_size(1536);
    let mut ring = options().rx_ring(&cable.b, shape).unwrap();
    for round in 0..50 {
        for i in 0..6 {
            sender.send(&frame(round * 6 + i)).unwrap();
        }
        for i in 0..6 {
            assert_eq!(number_in(ring.try_next_frame().unwrap().unwrap().data()), round * 6 + i);
        }
        assert!(ring.try_next_frame().unwrap().is_none());
    }
    sender.send(&frame_of(1514, 1)).unwrap();
    let held = ring.next_frame().unwrap();
    assert_eq!((held.data().len(), held.meta().wire_len), (1536 - 66, 1514));
    assert!(held.meta().is_truncated());
    drop(held);
    assert_eq!(ring.stats().unwrap().truncated, 1);
}

/// The kernel writes the six bytes of an address into a field of eight, over whatever stood there.
fn nothing_is_left_of_what_a_ring_held_before() {
    let cable = Cable::new();
    let sender = bind(options(), &cable.a);
    let shape = || RingShape::throughput().block_size(4096).blocks(2).block_timeout(millis(1));
    let frames = RingShape::latency().block_size(4096).blocks(1);
    let rings = [
        Ring::Blocks(options().rx_ring(&cable.b, shape()).unwrap()),
        Ring::Frames(options().rx_ring(&cable.b, frames).unwrap()),
    ];
    for mut ring in rings {
        ring.set_read_deadline(within(Duration::from_secs(20)));
        let mut addresses = HashSet::new();
        for round in 0..20 {
            let mut long = frame_of(1000 + round, 0);
            long[14..].fill(0xff);
            let count = if ring.is_of_blocks() { 3 } else { 1 };
            for sent in [long, frame(1)] {
                (0..count).for_each(|_| assert!(sender.send(&sent).is_ok()));
                addresses.extend(ring.take(count).into_iter().map(|copied| copied.meta.from));
            }
        }
        assert_eq!(addresses.len(), 1, "{addresses:?}");
    }
}

fn frames_as_large_as_a_block() {
    let cable = Cable::new();
    for end in ["va", "vb"] {
        ip(&format!("link set {end} mtu 9000"));
    }
    let sender = bind(options(), &cable.a);
    let shape = RingShape::throughput().block_size(4096).blocks(8).block_timeout(millis(1));
    let mut ring = options().rx_ring(&cable.b, shape).unwrap();
    ring.set_read_deadline(within(Duration::from_secs(20)));
    // From 3959 on the kernel hands over the block at hand, empty or not; above 3966 it cuts.
    let lens = [60, 3958, 60, 3959, 3966, 3967, 60, 5000, 5000, 3958, 3959, 60];
    let (mut sequence, mut skipped) = (0, 0);
    for (number, len) in (0..).zip(lens) {
        sender.send(&frame_of(len, number)).unwrap();
        let block = ring.next_block().unwrap();
        skipped += block.sequence() - sequence - 1;
        sequence = block.sequence();
        let frames: Vec<_> = block.iter().map(|frame| (number_in(frame.data()), frame.data().len())).collect();
        assert_eq!(frames, [(number, len.min(3966))]);
    }
    assert!(skipped > 0, "the kernel handed over empty blocks");
    let stats = ring.stats().unwrap();
    assert_eq!((stats.received, stats.dropped, stats.truncated), (12, 0, 3));
}

/// Segments that the sending host has not cut: one frame of 60 KB on a link with an MTU of 1,500.
fn large_segments() {
    let cable = Cable::new();
    let elsewhere = Namespace::new();
    ip(&format!("link set vb netns {}", elsewhere.path()));
    ip("addr add 192.0.2.1/24 dev va");
    ip("neigh add 192.0.2.2 lladdr 02:00:00:00:00:0b dev va");
    let only = || options().protocol(EtherType::IPV4).filter(&Filter::udp_dst(7777).filter());
    let (mut rings, receiver, mut roomy) = elsewhere.run(|| {
        lab::link_up(&["vb"]);
        let vb = Interface::by_name("vb").unwrap();
        let roomy = RingShape::latency().block_size(128 << 10).blocks(4).frame_size(128 << 10);
        (Ring::both(only, &vb).collect::<Vec<_>>(), bind(only(), &vb), only().rx_ring(&vb, roomy).unwrap())
    });
    lab::link_up(&["va"]);
    drop(cable);
    let sender = UdpSocket::bind("192.0.2.1:0").unwrap();
    let segment = 1400_i32;
    // SAFETY: the option reads an int, which is alive.
    let set = unsafe {
        let value: *const i32 = &segment;
        libc::setsockopt(sender.as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, value.cast(), 4)
    };
    assert_eq!(set, 0);
    sender.send_to(&[7; 60_000], "192.0.2.2:7777").unwrap();
    let mut buf = vec![0; 65_600];
    let meta = receiver.recv(&mut buf).unwrap();
    assert_eq!(meta.len, 14 + 20 + 8 + 60_000, "veth passes it on as it is");
    for ring in &mut rings {
        let copied = ring.take(1).remove(0);
        let len = if ring.is_of_blocks() { meta.len } else { 2048 - 66 };
        assert_eq!(copied.data, buf[..len]);
        assert_eq!((copied.meta.wire_len, copied.meta.is_truncated()), (meta.len, len < meta.len));
        assert_eq!(copied.meta.checksum, meta.checksum);
        assert_eq!(ring.stats().truncated, u64::from(len < meta.len));
    }
    assert_eq!(roomy.next_frame().unwrap().data(), &buf[..meta.len]);
}

fn rings_share_frames_in_a_group() {
    const COUNT: u32 = 400;
    let cable = Cable::new();
    let group = FanoutGroup::new(FanoutMode::RoundRobin);
    let open = || options().fanout(&group).rx_ring(&cable.b, RingShape::throughput()).unwrap();
    let rings = [open(), open()];
    let sender = bind(options(), &cable.a);
    for number in 0..COUNT {
        sender.send(&frame(number)).unwrap();
    }
    let mut numbers = Vec::new();
    for mut ring in rings {
        ring.set_read_deadline(within(millis(20_000)));
        let mut found = 0;
        while found < COUNT / 2 {
            let block = ring.next_block().unwrap();
            for frame in &block {
                found += 1;
                numbers.push(number_in(frame.data()));
            }
        }
        assert_eq!(found, COUNT / 2);
    }
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..COUNT), "each frame in one ring");
    let refused = options().offload(true).rx_ring(&cable.b, RingShape::throughput()).unwrap_err();
    assert_eq!(refused.step(), Step::Options);
}
