//! Hardware timestamps where there is no hardware: every answer is a truthful no.

use std::io::ErrorKind;

use fast_afpacket::{
    ConfigureNic, Hwtstamp, Interface, LoanRecord, NicGrant, NicLoan, NicRefusal, RxFilter, Step, Timestamping, TxKey,
    TxMode, TxStage,
};

use crate::lab::{Cable, bind, frame, ip, options};

crate::tests! {
    virtual_devices_name_what_they_take;
    required_fails_with_the_reason;
    preferred_falls_back_and_says_so;
    asking_for_a_virtual_clock_that_is_not_there_fails;
    a_frame_may_ask_for_some_of_the_stamps;
}

const EVENTS: Hwtstamp = Hwtstamp::new(TxMode::ON, RxFilter::PTP_V2_EVENT);

fn virtual_devices_name_what_they_take() {
    let cable = Cable::new();
    ip("link add br0 type bridge");
    let own = Timestamping::TX_SCHEDULED | Timestamping::RX_SOFTWARE;
    for (interface, expected) in [
        (cable.a, own | Timestamping::TX_SOFTWARE),
        (Interface::by_name("lo").unwrap(), own | Timestamping::TX_SOFTWARE),
        (Interface::by_name("br0").unwrap(), own),
    ] {
        let capabilities = interface.capabilities().unwrap();
        assert_eq!(capabilities.timestamping(), expected, "{interface}");
        assert_eq!(capabilities.phc(), None);
        assert_eq!(capabilities.tx_modes().count() + capabilities.rx_filters().count(), 0);
        assert_eq!(interface.hwtstamp().unwrap(), None);
    }
    let gone = Interface::by_name("br0").unwrap();
    ip("link del br0");
    assert_eq!(gone.capabilities().unwrap_err().raw_os_error(), Some(libc::ENODEV));
    assert_eq!(gone.hwtstamp().unwrap_err().raw_os_error(), Some(libc::ENODEV));
}

fn required_fails_with_the_reason() {
    let cable = Cable::new();
    let error = options().configure_nic(ConfigureNic::Required(EVENTS)).bind(&cable.a).unwrap_err();
    assert_eq!(error.step(), Step::Nic);
    assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP));
    assert_eq!(error.nic_refusal(), Some(NicRefusal::Unsupported));
    let text = error.to_string();
    assert!(text.contains("va") && text.contains("takes no hardware timestamps"), "{text}");
    let error = NicLoan::take(&cable.a, EVENTS).unwrap_err();
    assert_eq!(error.nic_refusal(), Some(NicRefusal::Unsupported));
    assert!(LoanRecord::all().unwrap().is_empty());
}

fn preferred_falls_back_and_says_so() {
    let cable = Cable::new();
    let socket = options()
        .timestamping(Timestamping::all())
        .configure_nic(ConfigureNic::Preferred(EVENTS))
        .bind(&cable.a)
        .unwrap();
    let granted = socket.granted();
    assert_eq!(granted.nic, NicGrant::Refused { why: NicRefusal::Unsupported, now: None });
    let software = Timestamping::RX_SOFTWARE | Timestamping::TX_SCHEDULED | Timestamping::TX_SOFTWARE;
    assert_eq!(granted.timestamping, software);
    assert_eq!(granted.phc, None);
    assert_eq!(bind(options(), &cable.a).granted().nic, NicGrant::NotAsked);
}

fn asking_for_a_virtual_clock_that_is_not_there_fails() {
    let cable = Cable::new();
    for dual in [false, true] {
        let error = options().dual(dual).bind_phc(4711).bind(&cable.a).unwrap_err();
        assert_eq!(error.step(), Step::Timestamping);
        assert!(matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)), "{error}");
    }
}

fn a_frame_may_ask_for_some_of_the_stamps() {
    let cable = Cable::new();
    for count_keys in [false, true] {
        let asked = Timestamping::TX_SCHEDULED | Timestamping::TX_SOFTWARE;
        let socket = bind(options().timestamping(asked).count_keys(count_keys), &cable.a);
        let wanted = [Timestamping::TX_SCHEDULED, Timestamping::TX_SOFTWARE, asked];
        for (number, stamps) in (0..60).zip(wanted.into_iter().cycle()) {
            socket.send_stamped(&frame(number), TxKey::new(number), stamps).unwrap();
            let mut reports = Vec::new();
            for _ in stamps.iter() {
                let report = socket.recv_tx(&mut []).unwrap();
                assert_eq!(report.key, TxKey::new(number));
                reports.push(report.stage);
            }
            let expected: &[TxStage] = match stamps {
                Timestamping::TX_SCHEDULED => &[TxStage::Scheduled],
                Timestamping::TX_SOFTWARE => &[TxStage::Sent],
                _ => &[TxStage::Scheduled, TxStage::Sent],
            };
            assert_eq!(reports, expected);
        }
        socket.set_nonblocking(true);
        assert_eq!(socket.recv_tx(&mut []).unwrap_err().kind(), ErrorKind::WouldBlock, "no stamp too many");
        for refused in [Timestamping::empty(), Timestamping::TX_HARDWARE, Timestamping::all()] {
            let error = socket.send_stamped(&frame(1), TxKey::new(1), refused).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }
}
