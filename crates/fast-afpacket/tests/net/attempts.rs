//! Calls that never wait.

use std::io::{self, ErrorKind};

use fast_afpacket::{PacketSocket, RecvBatch, TxFrame, TxKey, TxReportBatch};

use crate::lab::{Cable, bind, eventually, frame, ip, link_up, millis, number_in, options, within};
use crate::waits::stuck;

crate::tests! {
    what_is_not_there_is_said_at_once;
    what_is_there_is_given;
    a_batch_goes_as_far_as_there_is_room;
    the_link_and_the_end_are_told;
    a_ring_is_looked_at;
}

/// Every call, on a socket whose send buffer is full.
fn all(socket: &PacketSocket) -> Vec<io::Result<()>> {
    let outgoing = frame(1);
    vec![
        socket.try_recv(&mut [0; 64]).map(drop),
        socket.try_recv_from(&mut [0; 64]).map(drop),
        socket.try_recv_batch(&mut RecvBatch::new(4, 64)).map(drop),
        socket.try_recv_tx(&mut []).map(drop),
        socket.try_recv_tx_batch(&mut TxReportBatch::new(4)).map(drop),
        socket.try_send(&outgoing).map(drop),
        socket.try_send_keyed(&outgoing, TxKey::new(1)).map(drop),
        socket.try_send_frame(&TxFrame::new(&outgoing).key(TxKey::new(2))).map(drop),
        socket.try_send_batch(&[TxFrame::new(&outgoing)]).map(drop),
    ]
}

/// With a deadline far away, with one that has passed, and where nothing waits anyway.
fn what_is_not_there_is_said_at_once() {
    let cable = Cable::new();
    for dual in [false, true] {
        let socket = stuck(&cable, dual, false);
        let settings: [fn(&PacketSocket); 3] = [
            |socket| socket.set_deadline(None),
            |socket| socket.set_deadline(within(millis(0))),
            |socket| socket.set_nonblocking(true),
        ];
        for set in settings {
            set(&socket);
            for (call, result) in all(&socket).into_iter().enumerate() {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::WouldBlock, "call {call}, dual={dual}");
            }
        }
        assert_eq!(socket.try_send_batch(&[]).unwrap(), 0);
        socket.close();
        for result in all(&socket) {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionAborted);
        }
    }
}

fn what_is_there_is_given() {
    let cable = Cable::new();
    for (dual, count_keys) in [(false, false), (true, false), (false, true), (true, true)] {
        let socket = bind(options().dual(dual).count_keys(count_keys), &cable.a);
        let peer = bind(options(), &cable.b);
        let (frames, mut buf) = ([1, 2, 3, 4].map(frame), [0; 64]);
        socket.try_send(&frames[0]).unwrap();
        socket.try_send_keyed(&frames[1], TxKey::new(2)).unwrap();
        let rest = [TxFrame::new(&frames[2]), TxFrame::new(&frames[3]).key(TxKey::new(4))];
        // What the kernel counts goes by itself.
        let at_once = if socket.granted().own_keys { 2 } else { 1 };
        assert_eq!(socket.try_send_batch(&rest).unwrap(), at_once);
        assert_eq!(socket.try_send_batch(&rest[at_once..]).unwrap(), 2 - at_once);
        assert_eq!(peer.try_recv(&mut buf).unwrap().len, 60);
        assert_eq!(peer.try_recv_from(&mut buf).unwrap().0, 60);
        assert_eq!(number_in(&buf), 2);
        assert_eq!(peer.try_recv_batch(&mut RecvBatch::new(4, 64)).unwrap(), 2);
        assert_eq!(socket.try_recv_tx(&mut []).unwrap().key.value(), 2);
        assert_eq!(socket.try_recv_tx_batch(&mut TxReportBatch::new(8)).unwrap(), 3);
    }
}

fn a_batch_goes_as_far_as_there_is_room() {
    let cable = Cable::new();
    let peer = bind(options(), &cable.b);
    let socket = stuck(&cable, true, false);
    crate::lab::tc("qdisc del dev va root");
    crate::lab::tc("qdisc add dev va root tbf rate 1kbit burst 2000 limit 1000000");
    let frames: Vec<_> = (0..100).map(|number| crate::lab::frame_of(600, number)).collect();
    let frames: Vec<_> = frames.iter().map(|frame| TxFrame::new(frame)).collect();
    let mut sent = 0;
    eventually("no room is left", || match socket.try_send_batch(&frames[sent..]) {
        Ok(count) => {
            assert!(count > 0);
            sent += count;
            false
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            true
        }
    });
    assert!(sent > 0 && sent < frames.len(), "{sent}");
    // The queue lets go of what it has at once when it may.
    crate::lab::tc("qdisc change dev va root tbf rate 1gbit burst 200000 limit 1000000");
    for number in 0..sent {
        let mut buf = [0; 600];
        loop {
            peer.recv(&mut buf).unwrap();
            // Those that filled the buffer before are gone with the first queue, but for one that the wire had.
            if number_in(&buf) as usize == number {
                break;
            }
        }
    }
}

fn the_link_and_the_end_are_told() {
    for dual in [false, true] {
        let cable = Cable::new();
        let socket = bind(options().dual(dual), &cable.a);
        ip("link set va down");
        // Whoever tries first is told, and the receiver in any case.
        assert_eq!(socket.try_recv_tx(&mut []).unwrap_err().kind(), ErrorKind::NetworkDown);
        assert_eq!(socket.try_recv_tx(&mut []).unwrap_err().kind(), ErrorKind::WouldBlock, "once");
        assert_eq!(socket.try_recv(&mut [0; 64]).unwrap_err().kind(), ErrorKind::NetworkDown);
        assert_eq!(socket.try_recv(&mut [0; 64]).unwrap_err().kind(), ErrorKind::WouldBlock, "once");
        assert_eq!(socket.try_send(&frame(1)).unwrap_err().kind(), ErrorKind::NetworkDown);
        link_up(&["va", "vb"]);
        socket.try_send(&frame(1)).unwrap();
        ip("link del va");
        let _ = socket.try_recv(&mut [0; 64]);
        assert_eq!(socket.try_recv(&mut [0; 64]).unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert_eq!(socket.try_recv_tx(&mut []).unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert_eq!(socket.try_send(&frame(1)).unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }
}

fn a_ring_is_looked_at() {
    let cable = Cable::new();
    let peer = bind(options(), &cable.b);
    let shape = fast_afpacket::RingShape::throughput().blocks(4).block_timeout(millis(1));
    let mut ring = options().rx_ring(&cable.a, shape).unwrap();
    assert!(ring.try_next_block().unwrap().is_none());
    peer.send(&frame(7)).unwrap();
    eventually("a block is handed over", || match ring.try_next_block().unwrap() {
        Some(block) => {
            assert_eq!(block.iter().map(|frame| number_in(frame.data())).collect::<Vec<_>>(), [7]);
            true
        }
        None => false,
    });
    ip("link set va down");
    assert_eq!(ring.try_next_block().unwrap_err().kind(), ErrorKind::NetworkDown);
    assert!(ring.try_next_block().unwrap().is_none(), "once");
    ring.close();
    assert_eq!(ring.try_next_block().unwrap_err().kind(), ErrorKind::ConnectionAborted);
}
