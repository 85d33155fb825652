//! Batches with frames that are refused.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::time::Duration;

use fast_afpacket::{Offload, PacketSocket, RecvBatch, Timestamping, TxFrame, TxKey};

use crate::batches::{numbered, receive, tx_frames};
use crate::lab::{Cable, bind, drain, frame, frame_of, ip, link_up, number_in, options, tc};

crate::tests! {
    a_batch_stops_where_a_frame_is_refused;
    what_a_frame_cannot_be_stops_the_batch_there;
    keys_survive_refusals_in_batches;
}

/// Sends all but what is refused, and says where and why.
fn send_around(socket: &PacketSocket, frames: &[TxFrame<'_>]) -> Vec<(usize, i32)> {
    let mut refused = Vec::new();
    let mut next = 0;
    while let Err(error) = socket.send_batch(&frames[next..]) {
        refused.push((next + error.sent(), error.error().raw_os_error().unwrap()));
        next += error.sent() + 1;
    }
    refused
}

fn a_batch_stops_where_a_frame_is_refused() {
    let cable = Cable::new();
    let receiver = bind(options().receive_buffer(8 << 20), &cable.b);
    for count_keys in [false, true] {
        let sender = bind(options().dual(true).count_keys(count_keys), &cable.a);
        let mut frames = numbered(0..150);
        let bad = [0, 1, 5, 63, 64, 65, 128, 149];
        for (at, len) in bad.into_iter().zip([1_515, 1_516, 1_518, 1_519, 9_000, 13, 0, 1_517]) {
            frames[at].resize(len, 0);
        }
        let errno = |at: usize| match frames[at].len() {
            ..14 => libc::EINVAL,
            _ => libc::EMSGSIZE,
        };
        let refused = send_around(&sender, &tx_frames(&frames));
        assert_eq!(refused, bad.map(|at| (at, errno(at))), "count_keys={count_keys}");
        let good: Vec<_> = (0..150).filter(|at| !bad.contains(at)).map(|at| frames[at].clone()).collect();
        assert_eq!(receive(&receiver, &mut RecvBatch::new(64, 2048), good.len()), good);
        let error = sender.send_batch(&tx_frames(&frames)[..3]).unwrap_err();
        assert_eq!(error.to_string(), format!("after 0 frames of the batch: {}", error.error()));
    }
    // The link goes down: nothing is lost unsaid.
    let sender = bind(options(), &cable.a);
    ip("link set va down");
    let refused = sender.send_batch(&[TxFrame::new(&frame(1)); 3]).unwrap_err();
    assert_eq!((refused.sent(), refused.error().raw_os_error()), (0, Some(libc::ENETDOWN)));
    link_up(&["va", "vb"]);
    // The old report of it is not this batch's.
    sender.send_batch(&[TxFrame::new(&frame(1)); 3]).unwrap();
}

fn what_a_frame_cannot_be_stops_the_batch_there() {
    let cable = Cable::new();
    let sender = bind(options().timestamping(Timestamping::TX_SOFTWARE), &cable.a);
    let receiver = bind(options(), &cable.b);
    let bytes = frame(1);
    let good = TxFrame::new(&bytes);
    let at = fast_afpacket::LaunchTime::In(Duration::ZERO);
    let offload = Offload::checksum(&mut crate::offload::datagram(20)).unwrap();
    let cases = [good.launch(at), good.offload(offload), good.key(TxKey::new(1)).stamps(Timestamping::TX_SCHEDULED)];
    for bad in cases {
        let refused = sender.send_batch(&[good, good, bad, good]).unwrap_err();
        assert_eq!((refused.sent(), refused.error().kind()), (2, ErrorKind::InvalidInput));
        assert_eq!(std::io::Error::from(refused).kind(), ErrorKind::InvalidInput);
        assert_eq!(drain(&receiver).len(), 2);
        assert_eq!(sender.send_frame(&bad).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

/// Keyed and unkeyed frames, among them refused ones of every kind; the frame that comes back says whose stamp it is.
fn keys_survive_refusals_in_batches() {
    let cable = Cable::new();
    for count_keys in [false, true] {
        let asked = Timestamping::TX_SOFTWARE;
        let socket = bind(options().dual(true).tx_payload(true).timestamping(asked).count_keys(count_keys), &cable.a);
        let (mut next, mut expected, mut stamped) = (0, 0, HashMap::<u32, u32>::new());
        let read = |stamped: &mut HashMap<u32, u32>| {
            let mut buf = [0; 2048];
            socket.set_nonblocking(true);
            while let Ok(report) = socket.recv_tx(&mut buf) {
                assert_eq!(report.key.value(), number_in(&buf), "a key of another frame");
                *stamped.entry(report.key.value()).or_default() += 1;
            }
            socket.set_nonblocking(false);
        };
        for round in 0..200 {
            let frames: Vec<_> = (0..50)
                .map(|i| match (round + i) % 11 {
                    5 => frame_of(1_515 + i as usize % 8, next + i),
                    _ => frame(next + i),
                })
                .collect();
            let keyed: Vec<_> = (next..)
                .zip(&frames)
                .map(|(number, bytes)| match number % 3 {
                    0 => TxFrame::new(bytes),
                    _ => TxFrame::new(bytes).key(TxKey::new(number)),
                })
                .collect();
            let refused = send_around(&socket, &keyed);
            assert!(refused.iter().all(|(_, errno)| *errno == libc::EMSGSIZE));
            expected +=
                (next..next + 50).zip(&frames).filter(|(number, bytes)| number % 3 != 0 && bytes.len() == 60).count();
            next += 50;
            if round % 50 == 10 {
                // A queue that holds one small frame: most are refused with ENOBUFS, and have used up a number.
                tc("qdisc add dev va root tbf rate 8kbit burst 100 limit 100");
                let frames: Vec<_> = (next..next + 20).map(frame).collect();
                let keyed: Vec<_> =
                    (next..).zip(&frames).map(|(number, bytes)| TxFrame::new(bytes).key(TxKey::new(number))).collect();
                let refused = send_around(&socket, &keyed);
                assert!(!refused.is_empty() && refused.iter().all(|(_, errno)| *errno == libc::ENOBUFS));
                next += 20;
                tc("qdisc del dev va root");
            }
            read(&mut stamped);
        }
        assert_eq!(socket.stats().unwrap().unattributed, 0);
        assert!(stamped.values().all(|stamps| *stamps == 1), "one stamp for each frame");
        assert!(stamped.len() >= expected, "{} of {expected}", stamped.len());
    }
}
