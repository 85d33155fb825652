//! The card is taken from its driver and given back: another interface under the same name, with nothing set.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fast_afpacket::{ConfigureNic, LoanRecord, NicGrant, TxKey};

use crate::card::{EVENTS, OFF, bind, interface, now_set, number_in, of_key, options, reports, set_by_hand, sync};

crate::tests! {
    a_card_that_is_made_again_is_borrowed_again;
}

fn ip(arguments: &[&str]) {
    assert!(Command::new("ip").args(arguments).status().unwrap().success(), "{arguments:?}");
}

fn a_card_that_is_made_again_is_borrowed_again() {
    set_by_hand(OFF);
    let card = interface();
    let name = &*card.name();
    let socket = bind(options().configure_nic(ConfigureNic::Required(EVENTS)).follow_name(true));
    let device = fs::canonicalize(format!("/sys/class/net/{name}/device")).unwrap();
    let slot = device.file_name().unwrap().to_str().unwrap().to_owned();
    let driver = fs::canonicalize(device.join("driver")).unwrap();

    fs::write(driver.join("unbind"), &slot).unwrap();
    assert_eq!(socket.recv(&mut [0; 2048]).unwrap_err().kind(), ErrorKind::NetworkDown);
    assert!(socket.link_state().is_gone());
    fs::write(driver.join("bind"), &slot).unwrap();
    let net = device.join("net");
    let made = fs::read_dir(&net).unwrap().next().unwrap().unwrap().file_name();
    let made = made.to_str().unwrap();
    if made != name {
        ip(&["link", "set", made, "name", name]);
    }
    assert_eq!(now_set(), OFF, "a driver begins with nothing");
    ip(&["link", "set", name, "up"]);

    // Nothing is done but to receive.
    let until = Instant::now() + Duration::from_secs(30);
    while socket.link_changes().returns == 0 || !Path::new(&format!("/sys/class/net/{name}")).exists() {
        assert!(Instant::now() < until, "it has not come back");
        socket.set_read_deadline(Some(Instant::now() + Duration::from_millis(200)));
        let _ = socket.recv(&mut [0; 2048]);
    }
    assert_ne!(socket.current_interface().unwrap().index(), card.index());
    assert_eq!(socket.granted().nic, NicGrant::Lent { former: OFF, now: EVENTS });
    assert_eq!(now_set(), EVENTS);
    assert!(socket.granted().phc.is_some());

    // Its link takes seconds to come up, and what is sent until then is lost.
    let mut buf = [0; 2048];
    let mut number = 0;
    let meta = loop {
        assert!(Instant::now() < until, "no frame comes back");
        number += 1;
        socket.set_read_deadline(Some(Instant::now() + Duration::from_millis(200)));
        socket.send_keyed(&sync(number), TxKey::new(number)).unwrap();
        if let Ok(meta) = socket.recv(&mut buf) {
            break meta;
        }
    };
    assert!(meta.timestamps.hardware.is_some());
    let (key, reports) = (TxKey::new(number_in(&buf)), reports(&socket, Duration::from_millis(500)));
    assert!(of_key(&reports, key).any(|report| report.timestamps.hardware.is_some()), "{reports:?}");
    drop(socket);
    assert_eq!(now_set(), OFF);
    assert!(LoanRecord::all().unwrap().is_empty());
}
