//! The interface is removed, or moved away, and made again under its name.

use std::fs;
use std::io::ErrorKind;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fast_afpacket::{
    FanoutGroup, FanoutMode, Filter, Instruction, Interface, LinkState, MacAddr, Options, PacketSocket, Step,
    Timestamping, TxKey,
};

use crate::lab::{self, Cable, Namespace, bind, drain, ip, link_up, millis, options, within};

crate::tests! {
    a_name_that_is_followed;
    a_name_that_is_not_followed;
    calls_that_do_not_wait_look_too;
    only_sending_is_enough;
    moved_away_and_back;
    down_at_first;
    an_interface_that_is_there_is_not_left;
    keys_are_right_after_stamps_were_lost;
}

pub(crate) const DUAL: [bool; 2] = [false, true];
const GROUP: [u8; 6] = [0x01, 0x00, 0x5e, 0x01, 0x02, 0x03];
/// Of the interface that is made in place of the first.
const NEW_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0xaa];
const NEW_MTU: usize = 3000;

/// A frame to `vb` whose byte behind the number says whether the tests' filter lets it in.
pub(crate) fn frame(number: u32, wanted: bool) -> Vec<u8> {
    let mut frame = lab::frame(number);
    frame[18] = u8::from(wanted);
    frame
}

/// Lets in frames with this byte behind the number.
pub(crate) fn filter(byte: u32) -> Filter {
    let load = Instruction::new(0x30, 0, 0, 18);
    let test = Instruction::new(0x15, 0, 1, byte);
    let [all, none] = [u32::MAX, 0].map(|len| Instruction::new(0x06, 0, 0, len));
    Filter::new([load, test, all, none]).unwrap()
}

/// One software stamp for each frame, either way; all kinds of membership.
pub(crate) fn everything() -> Options {
    options()
        .timestamping(Timestamping::RX_SOFTWARE | Timestamping::TX_SOFTWARE)
        .filter(&filter(0))
        .promiscuous(true)
        .multicast(MacAddr::new(GROUP))
}

pub(crate) fn remove() {
    ip("link del va");
}

/// Another card under the name of the first, which is not up yet.
fn make_down() -> [Interface; 2] {
    ip("link add va address 02:00:00:00:00:aa mtu 3000 type veth peer name vb address 02:00:00:00:00:0b mtu 3000");
    for end in ["va", "vb"] {
        ip(&format!("link set {end} addrgenmode none"));
    }
    ["va", "vb"].map(|name| Interface::by_name(name).unwrap())
}

pub(crate) fn make() -> [Interface; 2] {
    let made = make_down();
    link_up(&["va", "vb"]);
    made
}

/// Waits until the interface is gone for the socket, and takes what it says of that.
pub(crate) fn is_told(socket: &PacketSocket, follows: bool) {
    let errno = if follows { libc::ENETDOWN } else { libc::ENODEV };
    assert_eq!(socket.recv(&mut [0; 64]).unwrap_err().raw_os_error(), Some(errno));
    assert!(socket.link_state().is_gone());
}

/// The number of the next frame that is received, and that it has a stamp.
pub(crate) fn receive(socket: &PacketSocket) -> u32 {
    let mut buf = vec![0; 4000];
    let meta = socket.recv(&mut buf).unwrap();
    assert!(meta.timestamps.software.is_some(), "it asked for stamps");
    lab::number_in(&buf)
}

/// What the kernel holds for sockets on this interface: promiscuity, and users of [`GROUP`].
pub(crate) fn memberships(interface: &Interface) -> (String, usize) {
    let name = interface.name().into_owned();
    let shown = Command::new("ip").args(["-d", "link", "show", &name]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let mut words = shown.split_whitespace().skip_while(|&word| word != "promiscuity");
    let promiscuity = words.nth(1).unwrap().to_owned();
    let joined = fs::read_to_string("/proc/thread-self/net/dev_mcast").unwrap();
    let ours = |line: &&str| line.contains(&name) && line.contains("01005e010203");
    (promiscuity, joined.lines().filter(ours).count())
}

/// All that was asked of the interface before is there on the one that was made in its place.
fn all_is_back(socket: &PacketSocket, [made, peer]: [Interface; 2]) {
    let peer = bind(options().dual(true), &peer);
    // What the filter that was set last refuses, another protocol, and what is wanted.
    peer.send(&frame(1, false)).unwrap();
    let mut foreign = frame(2, true);
    foreign[13] ^= 1;
    peer.send(&foreign).unwrap();
    peer.send(&frame(3, true)).unwrap();
    assert_eq!(receive(socket), 3);
    assert_eq!(memberships(&made), ("1".into(), 1));
    assert_eq!(socket.link_state(), LinkState::Up);
    assert_eq!(socket.current_interface().unwrap(), made);
    assert_eq!(socket.local_addr().unwrap().mac(), Some(MacAddr::new(NEW_MAC)));
    assert_eq!((socket.link_changes().downs, socket.link_changes().returns), (1, 1));
    // Sending, up to the new MTU, and what a refusal means for the keys that follow.
    for number in 10..20 {
        let mut longest = lab::frame_of(NEW_MTU + 14, number);
        socket.send(&longest).unwrap();
        socket.send_keyed(&longest, TxKey::new(number)).unwrap();
        longest.push(0);
        let refused = socket.send_keyed(&longest, TxKey::new(1000)).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EMSGSIZE));
        assert_eq!(socket.recv_tx(&mut []).unwrap().key.value(), number);
    }
    assert_eq!(drain(&peer).len(), 20);
    assert_eq!(socket.stats().unwrap().unattributed, 0);
}

fn a_name_that_is_followed() {
    for dual in DUAL {
        for count_keys in [false, true] {
            for fanout in [None, Some(FanoutGroup::new(FanoutMode::Hash))] {
                let cable = Cable::new();
                let mut options = everything().dual(dual).count_keys(count_keys).follow_name(true);
                if let Some(group) = &fanout {
                    options = options.fanout(group);
                }
                let socket = bind(options, &cable.a);
                socket.set_filter(&filter(1)).unwrap();
                for key in 0..3 {
                    socket.send_keyed(&frame(0, true), TxKey::new(key)).unwrap();
                    assert_eq!(socket.recv_tx(&mut []).unwrap().key.value(), key);
                }
                let came_back = AtomicBool::new(false);
                thread::scope(|scope| {
                    // Nothing is done but to receive.
                    let waiting = scope.spawn(|| {
                        let gone = socket.recv(&mut [0; 64]).unwrap_err();
                        let number = receive(&socket);
                        assert!(came_back.load(Ordering::SeqCst));
                        (gone.kind(), number)
                    });
                    thread::sleep(millis(20));
                    remove();
                    thread::sleep(millis(120));
                    came_back.store(true, Ordering::SeqCst);
                    let [made, peer] = make();
                    lab::eventually("it is bound again", || socket.current_interface().is_ok_and(|now| now == made));
                    lab::eventually("it has its memberships", || memberships(&made) == ("1".into(), 1));
                    let peer = bind(self::options(), &peer);
                    lab::eventually("it receives", || {
                        peer.send(&frame(7, true)).unwrap();
                        waiting.is_finished()
                    });
                    assert_eq!(waiting.join().unwrap(), (ErrorKind::NetworkDown, 7));
                });
                drain(&socket);
                let made = ["va", "vb"].map(|name| Interface::by_name(name).unwrap());
                all_is_back(&socket, made);
                drop(socket);
                remove();
            }
        }
    }
}

fn a_name_that_is_not_followed() {
    for dual in DUAL {
        for fanout in [None, Some(FanoutGroup::new(FanoutMode::Hash))] {
            let cable = Cable::new();
            let mut options = everything().dual(dual);
            if let Some(group) = &fanout {
                options = options.fanout(group);
            }
            let socket = bind(options, &cable.a);
            socket.set_filter(&filter(1)).unwrap();
            remove();
            is_told(&socket, false);
            let error = socket.rebind().unwrap_err();
            assert_eq!((error.step(), error.raw_os_error()), (Step::Interface, Some(libc::ENODEV)));
            let made = make();
            is_told(&socket, false);
            assert_eq!(socket.send(&frame(1, true)).unwrap_err().raw_os_error(), Some(libc::ENODEV));
            assert_eq!(socket.link_changes().returns, 0);
            assert_eq!(socket.rebind().unwrap(), made[0]);
            assert_eq!(socket.rebind().unwrap(), made[0], "twice is once");
            all_is_back(&socket, made);
            drop(socket);
            remove();
        }
    }
}

fn calls_that_do_not_wait_look_too() {
    for dual in DUAL {
        let cable = Cable::new();
        let socket = bind(everything().dual(dual).follow_name(true), &cable.a);
        socket.set_filter(&filter(1)).unwrap();
        socket.set_nonblocking(true);
        remove();
        is_told(&socket, true);
        let receive = || socket.recv(&mut [0; 64]).unwrap_err().kind();
        assert_eq!([receive(), receive()], [ErrorKind::WouldBlock; 2], "said once");
        let made = make();
        assert_eq!(receive(), ErrorKind::WouldBlock);
        assert_eq!(socket.current_interface().unwrap(), made[0], "one call is enough");
        socket.set_nonblocking(false);
        all_is_back(&socket, made);
        drop(socket);
        remove();
    }
}

fn only_sending_is_enough() {
    for dual in DUAL {
        let cable = Cable::new();
        let socket = bind(everything().dual(dual).follow_name(true), &cable.a);
        remove();
        for _ in 0..3 {
            assert_eq!(socket.send(&frame(1, true)).unwrap_err().kind(), ErrorKind::NetworkDown);
        }
        let [made, peer] = make();
        let peer = bind(options(), &peer);
        socket.send_keyed(&frame(5, true), TxKey::new(5)).unwrap();
        assert_eq!(receive(&peer), 5);
        assert_eq!(socket.recv_tx(&mut []).unwrap().key.value(), 5);
        assert_eq!(socket.current_interface().unwrap(), made);
        // Nobody had received that it went away: that is still to be said.
        assert_eq!(socket.recv(&mut [0; 64]).unwrap_err().kind(), ErrorKind::NetworkDown);
        socket.set_read_deadline(within(millis(20)));
        assert_eq!(socket.recv(&mut [0; 64]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!((socket.link_changes().downs, socket.link_changes().returns), (1, 1));
        remove();
    }
}

fn moved_away_and_back() {
    for follows in [false, true] {
        let cable = Cable::new();
        let socket = bind(options().follow_name(follows), &cable.a);
        let peer = bind(options(), &cable.b);
        let elsewhere = Namespace::new();
        ip(&format!("link set va netns {}", elsewhere.path()));
        is_told(&socket, follows);
        let here = format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid());
        elsewhere.run(|| ip(&format!("link set va netns {here}")));
        link_up(&["va", "vb"]);
        if !follows {
            socket.rebind().unwrap();
        }
        lab::eventually("it receives again", || {
            peer.send(&frame(9, true)).unwrap();
            socket.set_read_deadline(within(millis(20)));
            socket.recv(&mut [0; 64]).is_ok()
        });
        remove();
    }
}

fn down_at_first() {
    for dual in DUAL {
        let cable = Cable::new();
        let socket = bind(everything().dual(dual).follow_name(true), &cable.a);
        socket.set_filter(&filter(1)).unwrap();
        remove();
        is_told(&socket, true);
        let made = make_down();
        socket.set_read_deadline(within(millis(150)));
        let error = socket.recv(&mut [0; 64]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "that it is down has been said");
        assert_eq!(socket.link_state(), LinkState::Down);
        assert_eq!(socket.current_interface().unwrap(), made[0]);
        link_up(&["va", "vb"]);
        socket.set_read_deadline(within(Duration::from_secs(20)));
        all_is_back(&socket, made);
        drop(socket);
        remove();
    }
}

/// Its name may have been given to another meanwhile.
fn an_interface_that_is_there_is_not_left() {
    let cable = Cable::new();
    let socket = bind(options().follow_name(true), &cable.a);
    let peer = bind(options(), &cable.b);
    ip("link set va name renamed");
    let other = Cable::named("va", "vc");
    let present = socket.rebind().unwrap();
    assert_eq!((present.index(), &*present.name()), (cable.a.index(), "renamed"));
    assert_ne!(present.index(), other.a.index());
    peer.send(&frame(4, true)).unwrap();
    assert_eq!(receive(&socket), 4);
    assert_eq!(socket.link_changes(), Default::default());
}

/// Frames that wait in a queue when it goes away never have a stamp; later ones have theirs.
fn keys_are_right_after_stamps_were_lost() {
    for count_keys in [false, true] {
        for dual in DUAL {
            let cable = Cable::new();
            let socket = bind(everything().count_keys(count_keys).dual(dual).follow_name(true), &cable.a);
            lab::tc("qdisc add dev va root tbf rate 8kbit burst 100 limit 100000");
            for key in 0..20 {
                socket.send_keyed(&frame(key, true), TxKey::new(key)).unwrap();
            }
            remove();
            is_told(&socket, true);
            let [_, peer] = make();
            let peer = bind(options(), &peer);
            for key in 100..200 {
                socket.send_keyed(&frame(key, true), TxKey::new(key)).unwrap();
            }
            assert_eq!(drain(&peer).len(), 100);
            socket.set_nonblocking(true);
            let mut keys = Vec::new();
            while let Ok(report) = socket.recv_tx(&mut []) {
                keys.push(report.key.value());
            }
            let late = keys.iter().position(|&key| key >= 100).unwrap();
            assert!(keys[..late].iter().zip(0..20).all(|(&key, number)| key == number), "{keys:?}");
            assert!(late < 20, "some were under way: {keys:?}");
            assert_eq!(keys[late..], (100..200).collect::<Vec<_>>());
            assert_eq!(socket.stats().unwrap().unattributed, 0);
            drop(socket);
            remove();
        }
    }
}
