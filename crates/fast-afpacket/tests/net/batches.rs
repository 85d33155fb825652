//! Several frames, or several stamps, in one system call.

use std::io::ErrorKind;
use std::process::Command;
use std::thread;
use std::time::Duration;

use fast_afpacket::{
    BatchError, EtherType, Filter, MacAddr, Offload, PacketAddr, PacketSocket, RecvBatch, Timestamping, TxFrame, TxKey,
    TxReportBatch, TxStage, VlanTag,
};

use crate::alloc;
use crate::lab::{
    Cable, PROTOCOL, bind, drain, eventually, frame, frame_of, kernel_is_before, millis, number_in, options, tc, within,
};

crate::tests! {
    frames_arrive_whole_and_in_order;
    a_batch_receives_what_recv_does;
    cut_frames_say_so;
    cooked_frames_have_an_address_each;
    offloads_go_with_their_frames;
    each_frame_has_its_priority;
    stamps_are_read_together;
    a_full_send_buffer_is_waited_for;
    waits_end;
    received_and_dropped_are_all_that_was_sent;
    batches_allocate_nothing;
}

pub(crate) fn numbered(numbers: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    numbers.map(|number| frame_of(60 + number as usize % 1_400, number)).collect()
}

pub(crate) fn tx_frames(frames: &[Vec<u8>]) -> Vec<TxFrame<'_>> {
    frames.iter().map(|bytes| TxFrame::new(bytes)).collect()
}

/// Receives until so many frames are there.
pub(crate) fn receive(socket: &PacketSocket, batch: &mut RecvBatch, count: usize) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while frames.len() < count {
        let received = socket.recv_batch(batch).unwrap();
        assert!(received > 0 && received == batch.len() && received == batch.iter().len());
        frames.extend(batch.iter().map(|frame| frame.data().to_vec()));
    }
    frames
}

fn frames_arrive_whole_and_in_order() {
    let cable = Cable::new();
    let receiver = bind(options().receive_buffer(8 << 20), &cable.b);
    let mut sent = 0;
    for dual in [false, true] {
        let sender = bind(options().dual(dual), &cable.a);
        // Around what one system call takes, and no more than the buffer of one who may not have a large one.
        for count in [1, 2, 63, 64, 65, 128, 129] {
            let frames = numbered(sent..sent + count);
            sent += count;
            sender.send_batch(&tx_frames(&frames)).unwrap();
            let mut batch = RecvBatch::new(48, 2048);
            assert_eq!(receive(&receiver, &mut batch, frames.len()), frames);
        }
        sender.send_batch(&[]).unwrap();
    }
    let stats = receiver.stats().unwrap();
    assert_eq!((stats.received, stats.dropped, stats.malformed), (sent.into(), 0, 0));
}

/// The same frames on two sockets, one of which reads them one by one.
fn a_batch_receives_what_recv_does() {
    let cable = Cable::new();
    let all = || options().protocol(EtherType::ALL);
    let sender = bind(all().filter(&Filter::nothing()), &cable.a);
    let (together, single) = (bind(all(), &cable.b), bind(all(), &cable.b));
    let mut tagged = frame(3);
    tagged.splice(12..12, [0x81, 0, 0x60, 0x05]);
    let mut to_all = frame(4);
    to_all[..6].fill(0xff);
    let frames = [frame(1), frame_of(1_514, 2), tagged, to_all, frame_of(14, 0)[..14].to_vec()];
    let mut batch = RecvBatch::new(16, 2048);
    // Until the kernel has switched stamping on, and once more with stamps.
    eventually("a stamped batch", || {
        sender.send_batch(&tx_frames(&frames)).unwrap();
        assert_eq!(together.recv_batch(&mut batch).unwrap(), frames.len());
        for (number, of_batch) in batch.iter().enumerate() {
            let mut buf = [0; 2048];
            let meta = single.recv(&mut buf).unwrap();
            assert_eq!((of_batch.data(), of_batch.meta()), (&buf[..meta.len], &meta), "frame {number}");
            assert_eq!(batch.get(number).unwrap().data(), of_batch.data());
        }
        let tag = batch.get(2).unwrap().meta().vlan;
        assert_eq!(tag, Some(VlanTag::new(EtherType::VLAN, 0x6005)));
        batch.iter().all(|frame| frame.meta().timestamps.software.is_some())
    });
    assert!(batch.get(frames.len()).is_none());
}

fn cut_frames_say_so() {
    let cable = Cable::new();
    let (sender, receiver) = (bind(options(), &cable.a), bind(options(), &cable.b));
    let mut batch = RecvBatch::new(4, 128);
    sender.send_batch(&tx_frames(&[frame_of(128, 1), frame_of(129, 2), frame_of(1_400, 3)])).unwrap();
    receiver.recv_batch(&mut batch).unwrap();
    let lens: Vec<_> =
        batch.iter().map(|frame| (frame.data().len(), frame.meta().wire_len, frame.meta().is_truncated())).collect();
    assert_eq!(lens, [(128, 128, false), (128, 129, true), (128, 1_400, true)]);
    assert_eq!(receiver.stats().unwrap().truncated, 2);
    // Without room for bytes metadata comes all the same.
    let mut none = RecvBatch::new(0, 0);
    sender.send(&frame(4)).unwrap();
    assert_eq!((receiver.recv_batch(&mut none).unwrap(), none.capacity()), (1, 1));
    assert_eq!(none.get(0).unwrap().meta().wire_len, 60);
}

fn cooked_frames_have_an_address_each() {
    let cable = Cable::new();
    let (sender, receiver) = (bind(options().cooked(true), &cable.a), bind(options(), &cable.b));
    let payloads: Vec<_> = (0..100_u32).map(|number| number.to_be_bytes().repeat(12)).collect();
    let to = |number: usize| PacketAddr::new(MacAddr::new([2, 0, 0, 0, 1, number as u8]), PROTOCOL);
    let frames: Vec<_> = (0..100).map(|number| TxFrame::new(&payloads[number]).to(to(number))).collect();
    sender.send_batch(&frames).unwrap();
    let received = receive(&receiver, &mut RecvBatch::new(100, 100), 100);
    for (number, frame) in received.iter().enumerate() {
        assert_eq!(frame[..6], [2, 0, 0, 0, 1, number as u8]);
        assert_eq!(frame[12..14], PROTOCOL.value().to_be_bytes());
        assert_eq!(frame[14..], payloads[number]);
    }
    let refused = sender.send_batch(&[frames[0], TxFrame::new(&payloads[1])]).unwrap_err();
    assert_eq!((refused.sent(), refused.error().kind()), (1, ErrorKind::InvalidInput));
}

fn offloads_go_with_their_frames() {
    let cable = Cable::new();
    let ipv4 = || PacketSocket::options().protocol(EtherType::IPV4).offload(true);
    let (sender, receiver) = (bind(ipv4(), &cable.a), bind(ipv4(), &cable.b));
    let mut checked = crate::offload::datagram(300);
    let checksum = Offload::checksum(&mut checked).unwrap();
    let plain = crate::offload::datagram(200);
    let frames = [TxFrame::new(&plain), TxFrame::new(&checked).offload(checksum), TxFrame::new(&plain)];
    sender.send_batch(&frames).unwrap();
    // One that was used without heads before.
    let mut batch = RecvBatch::new(8, 2048);
    let other = bind(options(), &cable.b);
    bind(options(), &cable.a).send_batch(&[TxFrame::new(&frame(1)); 8]).unwrap();
    assert_eq!(other.recv_batch(&mut batch).unwrap(), 8);
    assert_eq!(receiver.recv_batch(&mut batch).unwrap(), 3);
    let found: Vec<_> = batch.iter().map(|frame| (frame.data(), frame.meta().len, frame.meta().offload)).collect();
    assert_eq!(found[0], (&plain[..], plain.len(), Some(Offload::NONE)));
    assert_eq!((found[1].0, found[1].2.unwrap().checksum_at()), (&checked[..], checksum.checksum_at()));
    assert_eq!(found[2], found[0]);
    sender.send(&plain).unwrap();
    assert_eq!(receiver.recv_batch(&mut batch).unwrap(), 1);
    assert_eq!(batch.get(0).unwrap().data(), plain);
}

/// Frames that the queueing discipline puts into classes by their priority; it counts them.
fn each_frame_has_its_priority() {
    let cable = Cable::new();
    tc("qdisc add dev va root handle 1: htb default 30");
    for class in [10, 20, 30] {
        tc(&format!("class add dev va parent 1: classid 1:{class} htb rate 1gbit"));
    }
    let counts = || {
        let output = Command::new("tc").args(["-s", "class", "show", "dev", "va"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        [10, 20, 30].map(|class| {
            let rest = text.split(&format!("class htb 1:{class} ")).nth(1).unwrap();
            let sent = rest.lines().nth(1).unwrap();
            sent.split_whitespace().nth(3).unwrap().parse::<u32>().unwrap()
        })
    };
    let sender = bind(options().priority(0x1_0020), &cable.a);
    let bytes = frame(1);
    let plain = TxFrame::new(&bytes);
    let urgent = plain.priority(0x1_0010);
    if kernel_is_before((6, 14)) {
        assert_eq!(sender.send_frame(&urgent).unwrap_err().kind(), ErrorKind::Unsupported);
        let refused = sender.send_batch(&[plain, urgent, plain]).unwrap_err();
        assert_eq!((refused.sent(), refused.error().kind()), (1, ErrorKind::Unsupported));
        assert_eq!(counts(), [0, 1, 0]);
        eprintln!("a kernel before 6.14: only the refusal was tested");
        return;
    }
    sender.send_frame(&urgent).unwrap();
    sender.send_batch(&[plain, urgent, urgent, plain.priority(0), urgent.key(TxKey::new(7))]).unwrap();
    assert_eq!(counts(), [4, 1, 1]);
    sender.send_frame(&urgent).unwrap();
    sender.send(&bytes).unwrap();
    assert_eq!(counts(), [5, 2, 1]);
    assert_eq!(sender.recv_tx(&mut []).unwrap().key, TxKey::new(7));
}

fn stamps_are_read_together() {
    let cable = Cable::new();
    for count_keys in [false, true] {
        let socket = bind(options().dual(true).count_keys(count_keys), &cable.a);
        let mut stamps = TxReportBatch::new(64);
        let frames: Vec<_> = (0..100).map(frame).collect();
        let keyed: Vec<_> = (0..).zip(&frames).map(|(key, bytes)| TxFrame::new(bytes).key(TxKey::new(key))).collect();
        socket.send_batch(&keyed).unwrap();
        let mut found = Vec::new();
        while found.len() < 200 {
            let count = socket.recv_tx_batch(&mut stamps).unwrap();
            assert!(count > 0 && count == stamps.reports().len() && count <= stamps.capacity());
            found.extend(stamps.reports().iter().map(|report| (report.key.value(), report.stage)));
            assert!(stamps.reports().iter().all(|report| report.timestamps.software.is_some()));
        }
        let expected: Vec<_> = (0..100).flat_map(|key| [(key, TxStage::Scheduled), (key, TxStage::Sent)]).collect();
        assert_eq!(found, expected);
    }
    let none = bind(options().timestamping(Timestamping::RX), &cable.a);
    let error = none.recv_tx_batch(&mut TxReportBatch::new(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

fn a_full_send_buffer_is_waited_for() {
    let cable = Cable::new();
    let receiver = bind(options().receive_buffer(8 << 20), &cable.b);
    // About 30 frames fit; a frame leaves each millisecond, more or less.
    tc("qdisc add dev va root tbf rate 500kbit burst 2000 limit 1000000");
    let sender = bind(options().send_buffer(12_000), &cable.a);
    let frames: Vec<_> = (0..200).map(frame).collect();
    sender.set_write_deadline(within(Duration::from_secs(20)));
    sender.send_batch(&tx_frames(&frames)).unwrap();
    assert_eq!(receive(&receiver, &mut RecvBatch::new(64, 64), 200), frames);
    tc("qdisc replace dev va root tbf rate 1kbit burst 2000 limit 1000000");
    sender.set_write_deadline(within(millis(50)));
    let refused: BatchError = sender.send_batch(&tx_frames(&frames)).unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::TimedOut);
    tc("qdisc del dev va root");
    // What was taken is in a queue that was thrown away, or has arrived; what was not taken is neither.
    assert!(refused.sent() < frames.len() && drain(&receiver).len() <= refused.sent());
}

fn waits_end() {
    let cable = Cable::new();
    for dual in [false, true] {
        let socket = bind(options().dual(dual), &cable.a);
        let (mut batch, mut stamps) = (RecvBatch::new(8, 64), TxReportBatch::new(8));
        socket.set_deadline(within(millis(20)));
        assert_eq!(socket.recv_batch(&mut batch).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(socket.recv_tx_batch(&mut stamps).unwrap_err().kind(), ErrorKind::TimedOut);
        socket.set_nonblocking(true);
        assert_eq!(socket.recv_batch(&mut batch).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(socket.recv_tx_batch(&mut stamps).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(batch.is_empty() && stamps.reports().is_empty());
        socket.set_nonblocking(false);
        socket.set_deadline(within(Duration::from_secs(20)));
        thread::scope(|scope| {
            let receiving = scope.spawn(|| socket.recv_batch(&mut batch).unwrap_err().kind());
            let reading = scope.spawn(|| socket.recv_tx_batch(&mut stamps).unwrap_err().kind());
            thread::sleep(millis(20));
            socket.close();
            assert_eq!(receiving.join().unwrap(), ErrorKind::ConnectionAborted);
            assert_eq!(reading.join().unwrap(), ErrorKind::ConnectionAborted);
        });
        let refused = socket.send_batch(&[TxFrame::new(&frame(1))]).unwrap_err();
        assert_eq!(refused.error().kind(), ErrorKind::ConnectionAborted);
    }
}

/// A reader that is now and then too slow.
fn received_and_dropped_are_all_that_was_sent() {
    const SENT: u32 = 30_000;
    let cable = Cable::new();
    let (sender, receiver) = (bind(options(), &cable.a), bind(options(), &cable.b));
    let (mut read, mut last) = (0, None);
    let mut batch = RecvBatch::new(32, 64);
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let frames: Vec<_> = (0..SENT).map(frame).collect();
            tx_frames(&frames).chunks(50).for_each(|chunk| sender.send_batch(chunk).unwrap());
        });
        while !sending.is_finished() || read < receiver.stats().unwrap().received {
            receiver.set_read_deadline(within(millis(20)));
            if receiver.recv_batch(&mut batch).is_err() {
                continue;
            }
            for frame in &batch {
                let number = number_in(frame.data());
                assert!(last.is_none_or(|last| last < number), "in order");
                last = Some(number);
                read += 1;
            }
            if read % 7 == 0 {
                thread::sleep(Duration::from_micros(500));
            }
        }
    });
    let stats = receiver.stats().unwrap();
    assert_eq!((read, stats.received + stats.dropped), (stats.received, SENT.into()), "{stats:?}");
    eprintln!("{stats:?}");
}

fn batches_allocate_nothing() {
    let cable = Cable::new();
    for (dual, count_keys) in [(false, false), (true, false), (true, true)] {
        let socket = bind(options().dual(dual).count_keys(count_keys), &cable.a);
        let peer = bind(options(), &cable.b);
        let (mut batch, mut stamps) = (RecvBatch::new(32, 2048), TxReportBatch::new(32));
        let bytes = frame(1);
        let mut round = || {
            let frames = [TxFrame::new(&bytes), TxFrame::new(&bytes).key(TxKey::new(1))];
            socket.send_batch(&frames).unwrap();
            assert_eq!(socket.recv_tx_batch(&mut stamps).unwrap(), 2);
            assert_eq!(peer.recv_batch(&mut batch).unwrap(), 2);
            assert_eq!(batch.iter().map(|frame| frame.data().len()).sum::<usize>(), 120);
            socket.send_batch(&[TxFrame::new(&bytes[..13])]).unwrap_err();
            socket.set_deadline(within(millis(1)));
            socket.recv_batch(&mut batch).unwrap_err();
            socket.recv_tx_batch(&mut stamps).unwrap_err();
            socket.set_deadline(within(millis(20_000)));
        };
        round();
        let allocations = alloc::count(|| (0..100).for_each(|_| round()));
        assert_eq!(allocations, 0, "dual={dual} count_keys={count_keys}");
    }
}
