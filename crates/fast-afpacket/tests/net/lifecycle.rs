//! The interface goes down and up many times; it is removed and made again under its name.

use std::io::{self, ErrorKind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use fast_afpacket::{Departure, LinkState, PacketSocket, RingControl, RingShape, SystemStamp, Timestamping, TxKey};

use crate::lab::{self, Cable, Namespace, Ring, bind, eventually, frame, ip, link_up, millis, options, within};

crate::tests! {
    a_hundred_flaps;
    waiting_costs_nothing_while_it_is_down_or_gone;
    the_state_of_the_link_can_be_asked_for;
    moved_and_removed_are_told_apart;
}

/// What a thread that does nothing but receive comes upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// A frame with this number, so long after the kernel had it.
    Frame(u32, Duration),
    Down,
}

/// Reports what `receive` gives (a number and the kernel's stamp), until it fails for another reason than the link.
fn report(
    events: &Sender<Event>,
    mut receive: impl FnMut() -> io::Result<Vec<(u32, Option<SystemStamp>)>>,
) -> io::Error {
    loop {
        match receive() {
            Ok(frames) => {
                for (number, stamp) in frames {
                    let since = stamp.map_or(Duration::ZERO, |stamp| {
                        let nanos = SystemStamp::now().as_nanos() - stamp.as_nanos();
                        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
                    });
                    events.send(Event::Frame(number, since)).unwrap();
                }
            }
            Err(error) if error.kind() == ErrorKind::NetworkDown => events.send(Event::Down).unwrap(),
            Err(error) => return error,
        }
    }
}

fn receive_from(socket: &PacketSocket) -> io::Result<Vec<(u32, Option<SystemStamp>)>> {
    let mut buf = [0; 64];
    let meta = socket.recv(&mut buf)?;
    Ok(vec![(lab::number_in(&buf), meta.timestamps.software)])
}

fn receive_in(ring: &mut Ring) -> io::Result<Vec<(u32, Option<SystemStamp>)>> {
    let frames = ring.read()?;
    Ok(frames.iter().map(|frame| (lab::number_in(&frame.data), frame.meta.timestamps.software)).collect())
}

fn next(events: &Receiver<Event>) -> Event {
    events.recv_timeout(Duration::from_secs(20)).expect("an event")
}

const FLAPS: u32 = 100;

/// Longer than they take on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// Each receiver is told of each time that the link goes down, once, and misses no frame that comes once it is up.
fn a_hundred_flaps() {
    let cable = Cable::new();
    let peer = bind(options().dual(true), &cable.b);
    // One stamp for each frame that is sent.
    let options = || options().timestamping(Timestamping::RX_SOFTWARE | Timestamping::TX_SOFTWARE);
    let sockets = [false, true].map(|dual| options().dual(dual).bind(&cable.a).unwrap());
    sockets.iter().for_each(|socket| socket.set_deadline(within(PATIENCE)));
    let mut tx_ring = options().tx_ring(&cable.a, RingShape::transmit()).unwrap();
    thread::scope(|scope| {
        let mut watched = Vec::new();
        for socket in &sockets {
            let (sender, events) = mpsc::channel();
            watched.push(events);
            scope.spawn(move || report(&sender, || receive_from(socket)));
        }
        let mut controls = Vec::new();
        for mut ring in Ring::both(options, &cable.a) {
            let (sender, events) = mpsc::channel();
            watched.push(events);
            ring.set_read_deadline(within(PATIENCE));
            controls.push(ring.control());
            scope.spawn(move || {
                report(&sender, || receive_in(&mut ring));
                assert_eq!(ring.link_changes().downs, u64::from(FLAPS));
            });
        }
        let mut delays = Vec::new();
        for flap in 1..=FLAPS {
            ip("link set va down");
            for events in &watched {
                assert_eq!(next(events), Event::Down, "flap {flap}");
            }
            assert_eq!(sockets[0].link_state(), LinkState::Down);
            link_up(&["va", "vb"]);
            assert_eq!(sockets[0].link_state(), LinkState::Up);
            // The first frame that there is.
            peer.send(&frame(flap)).unwrap();
            for events in &watched {
                match next(events) {
                    Event::Frame(number, delay) if number == flap => delays.push(delay),
                    event => panic!("flap {flap}: {event:?}"),
                }
            }
            let mut sent = Vec::new();
            for (socket, key) in sockets.iter().zip(0..) {
                socket.send_keyed(&frame(flap), TxKey::new(2 * flap + key)).unwrap();
                assert_eq!(socket.recv_tx(&mut []).unwrap().key.value(), 2 * flap + key);
                sent.push(flap);
            }
            tx_ring.push_keyed(&frame(flap), TxKey::new(flap)).unwrap();
            assert_eq!(tx_ring.flush().unwrap(), 1);
            assert_eq!(tx_ring.recv_tx(&mut []).unwrap().key.value(), flap);
            sent.push(flap);
            let arrived: Vec<_> = lab::drain(&peer).iter().map(|frame| lab::number_in(frame)).collect();
            assert_eq!(arrived, sent);
        }
        // Half of them, so that it takes more than a busy machine to be late.
        delays.sort();
        let median = delays[delays.len() / 2];
        assert!(median < millis(50), "from the kernel to a call that waits: {median:?}");
        for socket in &sockets {
            assert_eq!(socket.link_changes().downs, u64::from(FLAPS));
            socket.close();
        }
        controls.iter().for_each(RingControl::close);
    });
}

/// Waits a second, for next to no processor time: at least once, where the time of others may be counted too.
fn waits_idly(what: &str, mut wait: impl FnMut(Option<Instant>) -> io::Error) {
    let mut waits = Vec::new();
    for _ in 0..10 {
        let (began, used) = (Instant::now(), lab::thread_time());
        let error = wait(within(millis(1000)));
        let (used, took) = (lab::thread_time() - used, began.elapsed());
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{what}: {error}");
        assert!(took >= millis(900), "{what}: {took:?}");
        if used * 50 < took {
            return;
        }
        waits.push((used, took));
    }
    panic!("{what}: {waits:?}");
}

fn waiting_costs_nothing_while_it_is_down_or_gone() {
    for gone in [false, true] {
        let cable = Cable::new();
        let options = || options().follow_name(true);
        let [single, dual] = [false, true].map(|dual| options().dual(dual).bind(&cable.a).unwrap());
        let rings: Vec<_> = Ring::both(options, &cable.a).collect();
        if gone {
            ip("link del va");
        } else {
            ip("link set va down");
        }
        thread::scope(|scope| {
            for socket in [&single, &dual] {
                assert_eq!(socket.recv(&mut [0; 64]).unwrap_err().kind(), ErrorKind::NetworkDown);
                let recv = |deadline| {
                    socket.set_read_deadline(deadline);
                    socket.recv(&mut [0; 64]).unwrap_err()
                };
                let recv_tx = |deadline| {
                    socket.set_tx_deadline(deadline);
                    socket.recv_tx(&mut []).unwrap_err()
                };
                scope.spawn(move || waits_idly("recv", recv));
                scope.spawn(move || waits_idly("recv_tx", recv_tx));
            }
            for mut ring in rings {
                assert_eq!(ring.read().unwrap_err().kind(), ErrorKind::NetworkDown);
                let read = move |deadline| {
                    ring.set_read_deadline(deadline);
                    ring.read().unwrap_err()
                };
                scope.spawn(move || waits_idly("a ring", read));
            }
        });
        assert_eq!(single.link_state().is_gone(), gone);
        let _ = std::process::Command::new("ip").args(["link", "del", "vb"]).output();
    }
}

fn the_state_of_the_link_can_be_asked_for() {
    let cable = Cable::new();
    let socket = bind(options(), &cable.a);
    assert_eq!(socket.link_state(), LinkState::Up);
    ip("link set vb down");
    eventually("the carrier is lost", || socket.link_state() == LinkState::NoCarrier);
    ip("link set va down");
    assert_eq!(socket.link_state(), LinkState::Down);
    assert_eq!(socket.current_interface().unwrap(), cable.a);
    ip("link set va name renamed");
    let renamed = socket.current_interface().unwrap();
    assert_eq!((renamed.index(), &*renamed.name()), (cable.a.index(), "renamed"));
    assert_eq!(socket.interface(), &cable.a);
    ip("link del renamed");
    assert!(socket.link_state().is_gone());
    assert_eq!(socket.current_interface().unwrap_err().raw_os_error(), Some(libc::ENODEV));
}

/// It is known for certain if it was down before, and never said wrongly.
fn moved_and_removed_are_told_apart() {
    let elsewhere = Namespace::new();
    for moved in [false, true] {
        for (was_down, waits) in [(true, false), (false, true), (false, false)] {
            let cable = Cable::new();
            let sockets = [false, true].map(|dual| bind(options().dual(dual), &cable.a));
            let go_away = || match moved {
                true => ip(&format!("link set va netns {}", elsewhere.path())),
                false => ip("link del va"),
            };
            let receive = |socket: &PacketSocket| socket.recv(&mut [0; 64]).unwrap_err();
            if was_down {
                ip("link set va down");
                for socket in &sockets {
                    assert_eq!(receive(socket).kind(), ErrorKind::NetworkDown);
                }
            }
            thread::scope(|scope| {
                if waits {
                    sockets.iter().for_each(|socket| drop(scope.spawn(|| receive(socket))));
                    thread::sleep(millis(20));
                }
                go_away();
            });
            let truth = if moved { Departure::Moved } else { Departure::Removed };
            for socket in &sockets {
                for _ in 0..2 {
                    let LinkState::Gone(departure) = socket.link_state() else { panic!("it is gone") };
                    // One that comes too late does not know.
                    let may_be_unknown = waits && departure == Departure::Unknown;
                    let expected = if was_down || waits { truth } else { Departure::Unknown };
                    assert!(departure == expected || may_be_unknown, "{departure:?}, {truth:?}");
                }
                socket.set_deadline(within(Duration::from_secs(20)));
                let errno = receive(socket).raw_os_error();
                assert_eq!(errno, Some(libc::ENODEV));
            }
            if moved {
                elsewhere.run(|| ip("link del va"));
            }
        }
    }
}
