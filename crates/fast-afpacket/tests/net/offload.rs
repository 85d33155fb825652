//! Checksums and segments that are left to the kernel.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::process::Command;

use fast_afpacket::{
    EtherType, Filter, Interface, Offload, PacketSocket, SegmentKind, Step, Timestamping, TxKey, TxResult, TxTracker,
};

use crate::lab::{Cable, MAC_A, MAC_B, Namespace, bind, drain, ip, link_up, millis, options, within};

crate::tests! {
    a_checksum_is_finished_by_the_kernel;
    a_long_frame_is_cut_by_the_kernel needs "ethtool";
    an_uncut_frame_says_so needs "ethtool";
    stamps_of_frames_that_are_cut needs "ethtool";
    what_does_not_fit_is_refused;
    frames_are_discarded_with_their_heads;
}

const PORT: u16 = 9000;

/// UDP from 10.0.0.1 to 10.0.0.2 with so many bytes of payload, each telling its place; the checksum is left open.
pub(crate) fn datagram(payload: usize) -> Vec<u8> {
    let mut frame = [&MAC_B[..], &MAC_A, &[0x08, 0x00, 0x45, 0]].concat();
    frame.extend(u16::try_from(28 + payload).unwrap().to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let sum: u32 = frame[14..34].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let checksum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame.extend(PORT.to_be_bytes().repeat(2));
    frame.extend(u16::try_from(8 + payload).unwrap().to_be_bytes());
    frame.extend([0, 0]);
    frame.extend((0..payload).map(|at| (at / 100) as u8));
    frame
}

/// The near end of a cable whose far end is a host with an address, in a namespace of its own.
fn to_a_host() -> (Interface, Namespace) {
    let cable = Cable::new();
    let host = Namespace::new();
    ip(&format!("link set vb netns {}", host.path()));
    host.run(|| {
        ip("address add 10.0.0.2/24 dev vb");
        link_up(&["vb"]);
    });
    link_up(&["va"]);
    (cable.a, host)
}

fn udp_socket(host: &Namespace) -> UdpSocket {
    let socket = host.run(|| UdpSocket::bind(("10.0.0.2", PORT)).unwrap());
    socket.set_read_timeout(Some(millis(10_000))).unwrap();
    socket
}

/// What a cable's end does itself: cut UDP into segments, or leave it to the other end.
fn set_segmentation(interface: &str, state: &str) {
    let status = Command::new("ethtool").args(["-K", interface, "tx-udp-segmentation", state]).status().unwrap();
    assert!(status.success());
}

fn a_checksum_is_finished_by_the_kernel() {
    let (near, host) = to_a_host();
    let receiver = udp_socket(&host);
    let socket = bind(PacketSocket::options().filter(&Filter::nothing()).offload(true), &near);
    let mut frame = datagram(500);
    let offload = Offload::checksum(&mut frame).unwrap();
    assert_eq!(socket.send_offloaded(&frame, &offload).unwrap(), frame.len());
    let mut buf = [0; 2000];
    let len = receiver.recv(&mut buf).unwrap();
    assert_eq!(buf[..len], frame[42..], "the host has checked it, or trusts the cable");
    // Without an offload the unfinished checksum is a wrong one.
    assert_eq!(socket.send(&frame).unwrap(), frame.len());
    socket.send_offloaded(&frame, &offload).unwrap();
    receiver.recv(&mut buf).unwrap();
    receiver.set_nonblocking(true).unwrap();
    assert_eq!(receiver.recv(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock, "only one of the two arrived");
}

fn a_long_frame_is_cut_by_the_kernel() {
    let (near, host) = to_a_host();
    set_segmentation("va", "off");
    let receiver = udp_socket(&host);
    let filter = Filter::ether_type(EtherType::IPV4);
    let wire = host.run(|| bind(PacketSocket::options().filter(&filter), &Interface::by_name("vb").unwrap()));
    let socket = bind(PacketSocket::options().filter(&Filter::nothing()).offload(true), &near);
    let mut frame = datagram(3_500);
    let offload = Offload::segments(&mut frame, 1_000).unwrap();
    assert_eq!(socket.send_offloaded(&frame, &offload).unwrap(), frame.len());
    let mut payload: Vec<u8> = Vec::new();
    for expected in [1_000, 1_000, 1_000, 500] {
        let mut buf = [0; 4_000];
        let len = receiver.recv(&mut buf).unwrap();
        assert_eq!(len, expected);
        payload.extend(&buf[..len]);
    }
    assert_eq!(payload, frame[42..], "in order, nothing lost");
    let lens: Vec<_> = drain(&wire).iter().map(Vec::len).collect();
    assert_eq!(lens, [1_042, 1_042, 1_042, 542], "real frames, each with headers of its own");
}

fn an_uncut_frame_says_so() {
    let cable = Cable::new();
    set_segmentation("va", "on");
    let filter = Filter::ether_type(EtherType::IPV4);
    let receive = |offload| bind(PacketSocket::options().filter(&filter).offload(offload), &cable.b);
    let (with, without) = (receive(true), receive(false));
    let socket = bind(PacketSocket::options().filter(&Filter::nothing()).offload(true), &cable.a);
    let mut frame = datagram(3_500);
    let offload = Offload::segments(&mut frame, 1_000).unwrap();
    socket.send_offloaded(&frame, &offload).unwrap();
    let mut buf = [0; 4_000];
    let meta = with.recv(&mut buf).unwrap();
    assert_eq!((meta.len, meta.wire_len), (frame.len(), frame.len()));
    assert_eq!(buf[..meta.len], frame);
    let received = meta.offload.unwrap();
    assert_eq!(received.segmentation(), Some((SegmentKind::Udp, 1_000)));
    assert_eq!(received.checksum_at(), Some((34, 6)));
    let meta = without.recv(&mut buf).unwrap();
    assert_eq!((meta.len, meta.offload), (frame.len(), None));
    // A frame of which nothing is left to do.
    let plain = crate::lab::frame(1);
    let all = bind(options().offload(true), &cable.b);
    socket.send(&plain).unwrap();
    let meta = all.recv(&mut buf).unwrap();
    assert_eq!((&buf[..meta.len], meta.offload), (&plain[..], Some(Offload::NONE)));
}

fn stamps_of_frames_that_are_cut() {
    let cable = Cable::new();
    set_segmentation("va", "off");
    for count_keys in [false, true] {
        let options = PacketSocket::options().dual(true).timestamping(Timestamping::TX).offload(true);
        let socket = bind(options.filter(&Filter::nothing()).count_keys(count_keys), &cable.a);
        let mut frame = datagram(3_500);
        let offload = Offload::segments(&mut frame, 1_000).unwrap();
        for number in 0..50 {
            let key = TxKey::new(number);
            if number % 10 == 3 {
                let short = frame.get(..30).unwrap();
                let error = socket.send_offloaded_keyed(short, &offload, key).unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
                continue;
            }
            socket.send_offloaded_keyed(&frame, &offload, key).unwrap();
            for _ in 0..2 {
                assert_eq!(socket.recv_tx(&mut []).unwrap().key, key, "{count_keys}");
            }
        }
        // The tracker sends whole frames on such a socket, too.
        let tracker = TxTracker::new(&socket).unwrap();
        tracker.send(&crate::lab::frame(1), TxKey::new(1000)).unwrap();
        socket.set_tx_deadline(within(millis(5_000)));
        assert_eq!(tracker.outcome().unwrap().result, TxResult::Complete);
    }
}

fn what_does_not_fit_is_refused() {
    let cable = Cable::new();
    let error = options().cooked(true).offload(true).bind(&cable.a).unwrap_err();
    assert_eq!(error.step(), Step::Options, "{error}");
    let plain = bind(options(), &cable.a);
    let mut frame = datagram(100);
    let offload = Offload::segments(&mut frame, 50).unwrap();
    assert_eq!(plain.send_offloaded(&frame, &offload).unwrap_err().kind(), ErrorKind::InvalidInput);
    let socket = bind(options().offload(true), &cable.a);
    let error = socket.send_offloaded(&frame[..30], &offload).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "the checksum would be outside");
    assert_eq!(socket.send(&[0; 1_600]).unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
}

/// Emptying the queue takes room for what stands before each frame.
fn frames_are_discarded_with_their_heads() {
    let cable = Cable::new();
    let (sender, receiver) = (bind(options(), &cable.a), bind(options().offload(true), &cable.b));
    for number in 0..10 {
        sender.send(&crate::lab::frame(number)).unwrap();
    }
    receiver.set_filter(&Filter::nothing()).unwrap();
    assert_eq!(receiver.stats().unwrap().discarded, 10);
}
