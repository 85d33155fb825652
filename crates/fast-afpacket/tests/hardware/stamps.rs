//! Hardware stamps of sent and received frames.

use std::thread;
use std::time::{Duration, Instant};

use fast_afpacket::{
    ConfigureNic, EtherType, Filter, Hwtstamp, NicGrant, RingShape, RxFilter, Timestamping, TxKey, TxMode, TxStage,
};

use crate::card::{
    EVENTS, OFF, bind, interface, now_set, number_in, of_key, options, other, reports, set_by_hand, sync, until_quiet,
    with_events_on,
};

crate::tests! {
    twenty_frames_have_all_three_stamps;
    other_frames_are_stamped_on_transmit_too;
    ptp_frames_are_stamped_on_receive_and_others_are_not;
    a_frame_that_does_not_ask_takes_no_slot;
    stamps_that_are_switched_on_later_are_delivered;
    frames_of_a_ring_have_all_three_stamps;
}

const SPACING: Duration = Duration::from_millis(50);
/// The emulated card is done in less than a millisecond, unless the machine that emulates it is held up.
const QUIET: Duration = Duration::from_millis(1500);

fn twenty_frames_have_all_three_stamps() {
    let _on = with_events_on();
    let socket = bind(options());
    assert!(!socket.granted().own_keys, "a kernel before 6.13: the count of frames is what matches stamps");
    assert_eq!(socket.granted().phc, Some(0));
    for number in 0..20 {
        socket.send_keyed(&sync(number), TxKey::new(1000 + number)).unwrap();
        thread::sleep(SPACING);
    }
    let reports = reports(&socket, QUIET);
    assert_eq!(reports.len(), 60);
    for number in 0..20 {
        let of_frame: Vec<_> = of_key(&reports, TxKey::new(1000 + number)).collect();
        let scheduled = of_frame.iter().find(|report| report.stage == TxStage::Scheduled).unwrap();
        let software = of_frame
            .iter()
            .find_map(|report| (report.stage == TxStage::Sent).then_some(report.timestamps.software).flatten());
        let hardware: Vec<_> = of_frame.iter().filter_map(|report| report.timestamps.hardware).collect();
        assert!(scheduled.timestamps.software.unwrap() <= software.unwrap(), "frame {number}");
        assert_eq!((of_frame.len(), hardware.len()), (3, 1), "frame {number}");
    }
    let hardware: Vec<_> = reports.iter().filter_map(|report| report.timestamps.hardware).collect();
    assert!(hardware.is_sorted(), "one clock, one order");
    assert_eq!(socket.stats().unwrap().unattributed, 0);
}

fn other_frames_are_stamped_on_transmit_too() {
    let _on = with_events_on();
    let socket = bind(options());
    socket.send_keyed(&other(1), TxKey::new(7)).unwrap();
    let reports = reports(&socket, QUIET);
    assert_eq!(reports.iter().filter(|report| report.timestamps.hardware.is_some()).count(), 1);
}

fn ptp_frames_are_stamped_on_receive_and_others_are_not() {
    let _on = with_events_on();
    let filter = Filter::ether_type(EtherType::EXPERIMENTAL_1);
    let (ptp, rest) = (bind(options()), bind(options().protocol(EtherType::EXPERIMENTAL_1).filter(&filter)));
    let mut previous = None;
    for number in 0..20 {
        ptp.send(&sync(number)).unwrap();
        rest.send(&other(number)).unwrap();
        for (socket, is_stamped) in [(&ptp, true), (&rest, false)] {
            let mut buf = [0; 128];
            let meta = socket.recv(&mut buf).unwrap();
            assert_eq!(number_in(&buf), number);
            assert!(meta.timestamps.software.is_some(), "frame {number}");
            assert_eq!(meta.timestamps.hardware.is_some(), is_stamped, "frame {number}");
            if is_stamped {
                assert!(meta.timestamps.hardware > previous);
                previous = meta.timestamps.hardware;
            }
        }
        thread::sleep(SPACING);
    }
}

/// The card has one place for a stamp. Frames that ask for software stamps only leave it to others.
fn a_frame_that_does_not_ask_takes_no_slot() {
    set_by_hand(OFF);
    let socket = bind(options().configure_nic(ConfigureNic::Preferred(EVENTS)));
    assert_eq!(socket.granted().nic, NicGrant::Lent { former: OFF, now: EVENTS });
    let software = Timestamping::TX_SCHEDULED | Timestamping::TX_SOFTWARE;
    for number in 0..40 {
        let stamps = if number % 20 == 19 { Timestamping::TX } else { software };
        socket.send_stamped(&sync(number), TxKey::new(number), stamps).unwrap();
    }
    let reports = reports(&socket, QUIET);
    let stamped: Vec<_> = reports.iter().filter(|report| report.timestamps.hardware.is_some()).collect();
    assert_eq!(stamped.iter().map(|report| report.key.value()).collect::<Vec<_>>(), [19, 39]);
    assert_eq!(reports.len(), 82);
    drop(socket);
    assert_eq!(now_set(), OFF);
}

/// What a card could not do when the socket was opened it may be set to do later: such a stamp is not kept back.
fn stamps_that_are_switched_on_later_are_delivered() {
    const ALL: Hwtstamp = Hwtstamp::new(TxMode::OFF, RxFilter::ALL);
    set_by_hand(OFF);
    let socket = bind(options().configure_nic(ConfigureNic::Preferred(ALL)));
    assert!(!socket.granted().timestamping.intersects(Timestamping::RX_HARDWARE | Timestamping::TX_HARDWARE));
    let _on = with_events_on();
    socket.send(&sync(1)).unwrap();
    assert!(socket.recv(&mut [0; 128]).unwrap().timestamps.hardware.is_some());
}

/// Here the card reads the frames out of the ring itself. One that is refused, and one without a key, go before each.
fn frames_of_a_ring_have_all_three_stamps() {
    let _on = with_events_on();
    let receiver = bind(options().dual(false));
    let mut ring = options().tx_ring(&interface(), RingShape::transmit().block_size(4096).blocks(3)).unwrap();
    ring.set_write_deadline(Some(Instant::now() + Duration::from_secs(40)));
    let mut buf = [0; 128];
    for number in 0..20 {
        ring.push_keyed(&[0xff; 13], TxKey::new(number)).unwrap();
        ring.push(&other(number)).unwrap();
        ring.push_keyed(&sync(number), TxKey::new(1000 + number)).unwrap();
        let refused = ring.flush().unwrap_err().refused().unwrap();
        assert_eq!((refused.index, refused.len, refused.key), (0, 13, Some(TxKey::new(number))));
        assert_eq!(ring.flush().unwrap(), 2);
        // What the neighbour sends back is what was in the slot.
        let meta = receiver.recv(&mut buf).unwrap();
        assert_eq!(buf[12..meta.len], sync(number)[12..]);
        thread::sleep(SPACING);
    }
    let reports = until_quiet(QUIET, |deadline| {
        ring.set_tx_deadline(deadline);
        ring.recv_tx(&mut [])
    });
    assert_eq!((reports.len(), ring.stats().unwrap().unattributed), (60, 0));
    for number in 0..20 {
        let of_frame: Vec<_> = of_key(&reports, TxKey::new(1000 + number)).collect();
        let hardware = of_frame.iter().filter(|report| report.timestamps.hardware.is_some()).count();
        assert_eq!((of_frame.len(), hardware), (3, 1), "frame {number}");
    }
}
