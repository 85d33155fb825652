//! A card that promises hardware stamps and delivers none: e1000e as it is emulated.

use std::time::Duration;

use fast_afpacket::{ConfigureNic, NicGrant, Timestamping, TxKey};

use crate::card::{EVENTS, OFF, bind, interface, now_set, options, reports, set_by_hand, sync, with_events_on};
use crate::rings::Rings;

crate::tests! {
    promised_stamps_that_never_come_are_absent;
    a_ring_takes_no_system_time_for_the_cards;
}

fn promised_stamps_that_never_come_are_absent() {
    assert_eq!(interface().capabilities().unwrap().timestamping(), Timestamping::all());
    set_by_hand(OFF);
    let socket = bind(options().configure_nic(ConfigureNic::Required(EVENTS)));
    assert!(matches!(socket.granted().nic, NicGrant::Lent { .. }), "{:?}", socket.granted());
    for number in 0..5 {
        socket.send_keyed(&sync(number), TxKey::new(number)).unwrap();
    }
    let reports = reports(&socket, Duration::from_secs(1));
    assert_eq!(reports.len(), 10, "scheduled and software");
    assert!(reports.iter().all(|report| report.timestamps.hardware.is_none()));
    let mut buf = [0; 128];
    for _ in 0..5 {
        assert_eq!(socket.recv(&mut buf).unwrap().timestamps.hardware, None);
    }
    drop(socket);
    assert_eq!(now_set(), OFF);
}

/// In a ring that was asked to prefer the card's stamps there is a time all the same.
fn a_ring_takes_no_system_time_for_the_cards() {
    let _on = with_events_on();
    let sender = bind(options());
    let mut rings = Rings::open(options);
    for number in 0..5 {
        sender.send(&sync(number)).unwrap();
    }
    for in_ring in rings.take(5) {
        assert!(in_ring.iter().all(|seen| seen.hardware.is_none() && seen.software.is_some()), "{in_ring:?}");
        assert!(in_ring.iter().map(|seen| seen.number).eq(0..5));
    }
}
