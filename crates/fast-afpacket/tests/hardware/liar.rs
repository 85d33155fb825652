//! A card that promises hardware stamps and delivers none: e1000e as it is emulated.

use std::time::Duration;

use fast_afpacket::{ConfigureNic, NicGrant, Timestamping, TxKey};

use crate::card::{EVENTS, OFF, bind, interface, now_set, options, reports, set_by_hand, sync};

crate::tests! {
    promised_stamps_that_never_come_are_absent;
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
