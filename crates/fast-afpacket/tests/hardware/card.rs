//! The card under test, frames for it, and the neighbour that sends them back.

use std::env;
use std::io;
use std::process;
use std::time::{Duration, Instant};

use fast_afpacket::{
    EtherType, Filter, Hwtstamp, Interface, NicLoan, Options, PacketSocket, RxFilter, Timestamping, TxKey, TxMode,
    TxReport,
};

pub(crate) const OFF: Hwtstamp = Hwtstamp::new(TxMode::OFF, RxFilter::NONE);
pub(crate) const EVENTS: Hwtstamp = Hwtstamp::new(TxMode::ON, RxFilter::PTP_V2_EVENT);

/// The interface under test.
pub(crate) fn interface() -> Interface {
    Interface::by_name(&env::var("FAST_AFPACKET_HARDWARE").unwrap()).unwrap()
}

/// Options for a socket that asks for every stamp and sees PTP frames only.
pub(crate) fn options() -> Options {
    PacketSocket::options()
        .dual(true)
        .timestamping(Timestamping::all())
        .protocol(EtherType::PTP)
        .filter(&Filter::ether_type(EtherType::PTP))
}

/// Binds with deadlines that no passing test meets.
pub(crate) fn bind(options: Options) -> PacketSocket {
    let socket = options.bind(&interface()).unwrap();
    socket.set_deadline(Some(Instant::now() + Duration::from_secs(40)));
    socket
}

/// Switches hardware stamps on for the length of a test.
pub(crate) fn with_events_on() -> NicLoan {
    NicLoan::take(&interface(), EVENTS).unwrap()
}

/// Sets the card by hand, as `hwstamp_ctl` of linuxptp does.
pub(crate) fn set_by_hand(setting: Hwtstamp) {
    let numbers = [setting.tx().value(), setting.rx().value()].map(|number| number.to_string());
    let status = process::Command::new("hwstamp_ctl")
        .args(["-i", &interface().name(), "-t", &numbers[0], "-r", &numbers[1]])
        .stdout(process::Stdio::null())
        .status()
        .expect("hwstamp_ctl of linuxptp");
    assert!(status.success());
    assert_eq!(now_set(), setting);
}

pub(crate) fn now_set() -> Hwtstamp {
    interface().hwtstamp().unwrap().expect("a card with a setting")
}

const SYNC: u8 = 0;
const NUMBER_AT: usize = 14 + 44;

/// A PTPv2 Sync message over Ethernet, in a domain that nobody uses, with `number` behind it.
pub(crate) fn sync(number: u32) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(interface().mac().unwrap().unwrap().octets());
    frame.extend(EtherType::PTP.value().to_be_bytes());
    frame.extend([SYNC, 2, 0, 44, 99, 0, 2, 0]);
    frame.resize(NUMBER_AT, 0);
    frame.extend(number.to_be_bytes());
    frame.resize(70, 0);
    frame
}

/// The number in a frame of [`sync`].
pub(crate) fn number_in(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[NUMBER_AT..NUMBER_AT + 4].try_into().unwrap())
}

/// A frame of the same length that no card takes for PTP.
pub(crate) fn other(number: u32) -> Vec<u8> {
    let mut frame = sync(number);
    frame[12..14].copy_from_slice(&EtherType::EXPERIMENTAL_1.value().to_be_bytes());
    frame
}

/// All reports until none has come for this long.
pub(crate) fn reports(socket: &PacketSocket, quiet: Duration) -> Vec<TxReport> {
    until_quiet(quiet, |deadline| {
        socket.set_tx_deadline(deadline);
        socket.recv_tx(&mut [])
    })
}

/// All that `next` gives until it has waited for this long.
pub(crate) fn until_quiet(
    quiet: Duration,
    mut next: impl FnMut(Option<Instant>) -> io::Result<TxReport>,
) -> Vec<TxReport> {
    let mut reports = Vec::new();
    loop {
        match next(Some(Instant::now() + quiet)) {
            Ok(report) => reports.push(report),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return reports,
            Err(error) => panic!("{error}"),
        }
    }
}

pub(crate) fn of_key(reports: &[TxReport], key: TxKey) -> impl Iterator<Item = &TxReport> {
    reports.iter().filter(move |report| report.key == key)
}

/// Sends each broadcast test frame back to its sender, until killed.
pub(crate) fn reflect() -> ! {
    let socket = PacketSocket::options().ignore_outgoing(true).bind(&interface()).unwrap();
    let own = interface().mac().unwrap().unwrap().octets();
    let mut frame = [0; 2048];
    loop {
        let Ok(meta) = socket.recv(&mut frame) else { continue };
        let is_ours = [EtherType::PTP, EtherType::EXPERIMENTAL_1].contains(&meta.from.ether_type());
        if is_ours && frame[..6] == [0xff; 6] {
            frame.copy_within(6..12, 0);
            frame[6..12].copy_from_slice(&own);
            socket.send(&frame[..meta.len]).expect("the link is up");
        }
    }
}
