//! Stamps of received and of sent frames.

use fast_afpacket::{Interface, PacketSocket, Step, SystemStamp, Timestamping, TxKey, TxStage};

use crate::lab::{self, Cable, bind, drain, eventually, frame, frame_of, ip, millis, number_in, options, within};

crate::tests! {
    sent_and_received_stamps_are_in_order;
    only_the_stages_that_were_asked_for;
    frames_without_a_key_give_no_stamp;
    every_frame_may_be_stamped;
    without_stamps_asked_for_there_are_none;
    the_frame_comes_back_if_asked_for;
    dual_keeps_stamps_and_frames_apart;
    in_one_socket_stamps_and_frames_share_room;
    stacked_devices_repeat_the_scheduler_stamp;
    loopback_and_cooked_sockets_are_stamped;
}

/// Receiving is stamped a little after it was asked for: sends until a stamp comes. While the socket that is returned
/// is open, stamping stays on.
fn warm_up(cable: &Cable) -> PacketSocket {
    let (sender, receiver) = (bind(options(), &cable.a), bind(options(), &cable.b));
    eventually("a received frame has a stamp", || {
        sender.send(&frame(0)).unwrap();
        receiver.recv(&mut [0; 64]).unwrap().timestamps.software.is_some()
    });
    receiver
}

fn sent_and_received_stamps_are_in_order() {
    let cable = Cable::new();
    let _enabled = warm_up(&cable);
    let (sender, receiver) = (bind(options().dual(true), &cable.a), bind(options(), &cable.b));
    let mut buf = [0; 2048];
    for number in 0..200 {
        let before = SystemStamp::now();
        sender.send_keyed(&frame(number), TxKey::new(number)).unwrap();
        let reports = [sender.recv_tx(&mut []).unwrap(), sender.recv_tx(&mut []).unwrap()];
        let meta = receiver.recv(&mut buf).unwrap();
        let after = SystemStamp::now();
        assert_eq!(reports.map(|report| report.key.value()), [number; 2]);
        assert_eq!(reports.map(|report| report.stage), [TxStage::Scheduled, TxStage::Sent]);
        assert_eq!(reports.map(|report| report.timestamps.hardware), [None; 2]);
        assert_eq!(number_in(&buf), number);
        let [scheduled, sent] = reports.map(|report| report.timestamps.software.unwrap());
        let received = meta.timestamps.software.unwrap();
        let times = [before, scheduled, sent, received, after];
        assert!(times.is_sorted(), "{times:?}");
    }
    assert_eq!(receiver.stats().unwrap().unstamped, 0);
}

fn only_the_stages_that_were_asked_for() {
    let cable = Cable::new();
    let stages = |timestamping| {
        let sender = bind(options().timestamping(timestamping), &cable.a);
        sender.send_keyed(&frame(1), TxKey::new(9)).unwrap();
        sender.set_nonblocking(true);
        let reports = std::iter::from_fn(|| sender.recv_tx(&mut []).ok());
        reports.map(|report| (report.key.value(), report.stage)).collect::<Vec<_>>()
    };
    assert_eq!(stages(Timestamping::TX_SOFTWARE), [(9, TxStage::Sent)]);
    assert_eq!(stages(Timestamping::TX_SCHEDULED), [(9, TxStage::Scheduled)]);
    assert_eq!(stages(Timestamping::all()), [(9, TxStage::Scheduled), (9, TxStage::Sent)]);
    assert_eq!(stages(Timestamping::TX_HARDWARE), [], "veth has no hardware to stamp with");
}

fn frames_without_a_key_give_no_stamp() {
    let cable = Cable::new();
    for count_keys in [false, true] {
        let sender = bind(options().count_keys(count_keys).timestamping(Timestamping::TX_SOFTWARE), &cable.a);
        for round in 0..20 {
            for number in 0..round {
                sender.send(&frame(number)).unwrap();
            }
            sender.send_keyed(&frame(round), TxKey::new(1000 + round)).unwrap();
            assert_eq!(sender.recv_tx(&mut []).unwrap().key.value(), 1000 + round);
        }
        sender.set_nonblocking(true);
        assert!(sender.recv_tx(&mut []).is_err());
    }
}

fn without_stamps_asked_for_there_are_none() {
    let cable = Cable::new();
    let _enabled = warm_up(&cable);
    let silent = bind(options().timestamping(Timestamping::empty()), &cable.a);
    for result in [silent.recv_tx(&mut []).map(drop), silent.send_keyed(&frame(1), TxKey::new(1)).map(drop)] {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("Options::timestamping"), "{error}");
    }
    // Stamping is on for the whole machine, and these sockets did not ask for what it gives.
    for timestamping in [Timestamping::empty(), Timestamping::TX, Timestamping::RX_HARDWARE] {
        let receiver = bind(options().timestamping(timestamping), &cable.b);
        silent.send(&frame(1)).unwrap();
        let meta = receiver.recv(&mut [0; 64]).unwrap();
        assert_eq!(meta.timestamps, fast_afpacket::Timestamps::NONE, "{timestamping:?}");
        let unstamped = u64::from(timestamping.intersects(Timestamping::RX));
        assert_eq!(receiver.stats().unwrap().unstamped, unstamped, "{timestamping:?}");
    }
}

fn the_frame_comes_back_if_asked_for() {
    let cable = Cable::new();
    let sender = bind(options().tx_payload(true).timestamping(Timestamping::TX_SOFTWARE), &cable.a);
    sender.send_keyed(&frame(77), TxKey::new(1)).unwrap();
    let mut buf = [0; 2048];
    let report = sender.recv_tx(&mut buf).unwrap();
    assert_eq!(buf[..report.len], frame(77));
}

/// The Go original with one socket: 2 of 50 received.
fn dual_keeps_stamps_and_frames_apart() {
    let cable = Cable::new();
    let dual = bind(options().dual(true), &cable.a);
    let peer = bind(options(), &cable.b);
    for number in 0..3000 {
        dual.send_keyed(&frame(number), TxKey::new(number)).unwrap();
    }
    drain(&peer);
    for number in 0..50 {
        peer.send(&frame(number)).unwrap();
    }
    let received: Vec<_> = drain(&dual).iter().map(|frame| number_in(frame)).collect();
    assert_eq!(received, (0..50).collect::<Vec<_>>());
    assert_eq!(dual.stats().unwrap().dropped, 0);
}

fn in_one_socket_stamps_and_frames_share_room() {
    let cable = Cable::new();
    let single = bind(options(), &cable.a);
    let peer = bind(options(), &cable.b);
    for number in 0..3000 {
        single.send_keyed(&frame(number), TxKey::new(number)).unwrap();
    }
    for number in 0..50 {
        peer.send(&frame(number)).unwrap();
    }
    let received = drain(&single).len() as u64;
    let stats = single.stats().unwrap();
    assert!(received < 50, "as the documentation says");
    assert_eq!((stats.received, stats.dropped), (received, 50 - received), "what was lost is counted");
    // Once the stamps are read there is room again, and the first ones are those that were kept.
    single.set_nonblocking(true);
    let keys: Vec<_> = std::iter::from_fn(|| single.recv_tx(&mut []).ok()).map(|report| report.key.value()).collect();
    assert!(keys.is_sorted() && keys[0] == 0, "{keys:?}");
    peer.send(&frame(51)).unwrap();
    assert_eq!(drain(&single).len(), 1);
}

fn stacked_devices_repeat_the_scheduler_stamp() {
    let cable = Cable::new();
    ip("link add mv0 link va address 02:00:00:00:00:0c type macvlan mode bridge");
    ip("link set mv0 addrgenmode none");
    ip("link set mv0 up");
    let sender = bind(options(), &Interface::by_name("mv0").unwrap());
    let peer = bind(options(), &cable.b);
    sender.send_keyed(&frame(1), TxKey::new(5)).unwrap();
    peer.recv(&mut [0; 64]).unwrap();
    sender.set_nonblocking(true);
    let reports: Vec<_> = std::iter::from_fn(|| sender.recv_tx(&mut []).ok()).collect();
    assert!(reports.iter().all(|report| report.key.value() == 5), "{reports:?}");
    let stages: Vec<_> = reports.iter().map(|report| report.stage).collect();
    assert_eq!(stages, [TxStage::Scheduled, TxStage::Scheduled, TxStage::Sent]);
}

fn loopback_and_cooked_sockets_are_stamped() {
    let lo = Interface::by_name("lo").unwrap();
    let sender = bind(options().cooked(true).dual(true), &lo);
    let to = fast_afpacket::PacketAddr::new(fast_afpacket::MacAddr::default(), lab::PROTOCOL);
    for count in 1..5 {
        sender.send_to_keyed(&[0; 46], &to, TxKey::new(count)).unwrap();
        sender.set_tx_deadline(within(millis(5000)));
        let reports = [sender.recv_tx(&mut []).unwrap(), sender.recv_tx(&mut []).unwrap()];
        assert_eq!(reports.map(|report| report.key.value()), [count; 2]);
        assert!(reports.iter().all(|report| report.timestamps.software.is_some()));
    }
}

/// The kernel is asked once, for all frames; the rest is as ever.
fn every_frame_may_be_stamped() {
    let cable = Cable::new();
    for count_keys in [false, true] {
        let asked = options().dual(true).stamp_every_frame(true).count_keys(count_keys);
        let socket = bind(asked, &cable.a);
        let refused = socket.send(&frame(1)).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput, "{refused}");
        for key in [7, 1_000, 3] {
            socket.send_keyed(&frame(key), TxKey::new(key)).unwrap();
            for stage in [TxStage::Scheduled, TxStage::Sent] {
                let report = socket.recv_tx(&mut []).unwrap();
                assert_eq!((report.key, report.stage), (TxKey::new(key), stage), "{count_keys}");
            }
        }
        socket.send_stamped(&frame(9), TxKey::new(9), Timestamping::TX_SOFTWARE).unwrap();
        let report = socket.recv_tx(&mut []).unwrap();
        assert_eq!((report.key, report.stage), (TxKey::new(9), TxStage::Sent), "of this frame one stamp alone");
        socket.send_keyed(&frame_of(1_516, 1), TxKey::new(10)).unwrap_err();
        socket.send_keyed(&frame(11), TxKey::new(11)).unwrap();
        assert_eq!(socket.recv_tx(&mut []).unwrap().key, TxKey::new(11));
    }
    let error = options().timestamping(Timestamping::RX).stamp_every_frame(true).bind(&cable.a).unwrap_err();
    assert_eq!(error.step(), Step::Options, "{error}");
}
