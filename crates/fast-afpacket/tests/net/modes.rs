//! Raw and cooked, one socket and two.

use fast_afpacket::{EtherType, Filter, Instruction, MacAddr, PacketAddr, PacketType};

use crate::lab::{Cable, MAC_B, PROTOCOL, bind, drain, eventually, frame, millis, number_in, options, tc, within};

crate::tests! {
    cooked_frames_carry_the_type_that_was_asked_for;
    a_cooked_frame_without_a_type_is_refused;
    dual_receives_nothing_of_its_own;
    dual_sends_through_the_second_socket;
    one_socket_never_receives_what_it_sent;
    nonblocking_says_so;
    frames_carry_mark_and_priority;
}

fn cooked_frames_carry_the_type_that_was_asked_for() {
    let cable = Cable::new();
    let raw = bind(options().protocol(EtherType::ALL), &cable.b);
    for dual in [false, true] {
        let cooked = bind(options().protocol(EtherType::ALL).cooked(true).dual(dual), &cable.a);
        let to = PacketAddr::new(MacAddr::new(MAC_B), EtherType::EXPERIMENTAL_2);
        cooked.send_to(b"hello, cooked frames of some length that needs no padding", &to).unwrap();
        let mut buf = [0; 2048];
        let meta = raw.recv(&mut buf).unwrap();
        assert_eq!(buf[..6], MAC_B);
        assert_eq!(buf[12..14], [0x88, 0xb6], "on the wire");
        assert_eq!(&buf[14..19], b"hello");
        assert_eq!(meta.from.ether_type(), EtherType::EXPERIMENTAL_2);
        // The other way: the header is the kernel's, the address says what it held.
        let mut answer = frame(0x6869_2121);
        answer[..6].copy_from_slice(&[0x02, 0, 0, 0, 0, 0x0a]);
        raw.send(&answer).unwrap();
        let (len, from) = cooked.recv_from(&mut buf).unwrap();
        assert_eq!((len, &buf[..4]), (46, &b"hi!!"[..]));
        assert_eq!((from.ether_type(), from.packet_type()), (PROTOCOL, PacketType::Host));
    }
}

fn a_cooked_frame_without_a_type_is_refused() {
    let cable = Cable::new();
    let cooked = bind(options().protocol(EtherType::ALL).cooked(true), &cable.a);
    let to = |ether_type| PacketAddr::new(MacAddr::new(MAC_B), ether_type);
    for ether_type in [EtherType::ALL, EtherType::new(0)] {
        let error = cooked.send_to(&[0; 46], &to(ether_type)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
    }
    assert_eq!(cooked.send(&[0; 46]).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    // The socket's own type stands in where the address has none.
    let (typed, raw) = (bind(options().cooked(true), &cable.a), bind(options(), &cable.b));
    typed.send_to(&[0; 46], &to(EtherType::ALL)).unwrap();
    assert_eq!(raw.recv(&mut [0; 64]).unwrap().from.ether_type(), PROTOCOL);
}

fn dual_receives_nothing_of_its_own() {
    let cable = Cable::new();
    let dual = bind(options().protocol(EtherType::ALL).dual(true), &cable.a);
    let seeing = bind(options().protocol(EtherType::ALL).dual(true).ignore_outgoing(false), &cable.a);
    for number in 0..10 {
        dual.send(&frame(number)).unwrap();
    }
    assert_eq!(drain(&dual).len(), 0);
    let mut buf = [0; 64];
    assert_eq!(seeing.recv(&mut buf).unwrap().from.packet_type(), PacketType::Outgoing);
    assert_eq!(drain(&seeing).len(), 9, "what the host sends is there for who wants it");
}

fn dual_sends_through_the_second_socket() {
    use std::os::fd::{AsFd, AsRawFd};
    let cable = Cable::new();
    let dual = bind(options().dual(true).filter(&Filter::nothing()), &cable.a);
    assert_ne!(dual.as_fd().as_raw_fd(), dual.tx_fd().as_raw_fd());
    let peer = bind(options(), &cable.b);
    for number in 0..10 {
        dual.send(&frame(number)).unwrap();
        peer.send(&frame(number)).unwrap();
    }
    assert_eq!(drain(&peer).len(), 10);
    let waiting = std::fs::read_to_string("/proc/thread-self/net/packet").unwrap();
    for line in waiting.lines().skip(1) {
        let rmem = line.split_whitespace().nth(6).unwrap();
        assert_eq!(rmem, "0", "nothing lies unread in any socket: {waiting}");
    }
}

fn one_socket_never_receives_what_it_sent() {
    let cable = Cable::new();
    let single = bind(options().protocol(EtherType::ALL), &cable.a);
    single.send(&frame(1)).unwrap();
    assert_eq!(drain(&single).len(), 0);
}

fn nonblocking_says_so() {
    let cable = Cable::new();
    let socket = bind(options(), &cable.a);
    socket.set_nonblocking(true);
    socket.set_deadline(within(millis(5)));
    assert_eq!(socket.recv(&mut [0; 64]).unwrap_err().raw_os_error(), Some(libc::EAGAIN));
    assert_eq!(socket.recv_tx(&mut []).unwrap_err().raw_os_error(), Some(libc::EAGAIN));
    socket.set_nonblocking(false);
    assert_eq!(socket.recv(&mut [0; 64]).unwrap_err().raw_os_error(), Some(libc::ETIMEDOUT));
}

/// Seen by a tap's filter (the mark) and by a queueing discipline whose classes a priority can name.
fn frames_carry_mark_and_priority() {
    const MARK: u32 = 0xffff_f014; // SKF_AD_OFF + SKF_AD_MARK
    const CLASS_1_1: u32 = 0x0001_0001;
    let cable = Cable::new();
    tc("qdisc add dev va root handle 1: htb default 2");
    for class in ["1:1", "1:2"] {
        tc(&format!("class add dev va parent 1: classid {class} htb rate 1gbit"));
    }
    let program = [(0x20, 0, 0, MARK), (0x15, 0, 1, 77), (0x06, 0, 0, u32::MAX), (0x06, 0, 0, 0)];
    let marked = program.map(|(code, jt, jf, k)| Instruction::new(code, jt, jf, k));
    let tap = bind(options().protocol(EtherType::ALL).filter(&Filter::new(marked).unwrap()), &cable.a);
    for dual in [false, true] {
        bind(options().dual(dual), &cable.a).send(&frame(0)).unwrap();
        bind(options().dual(dual).mark(77), &cable.a).send(&frame(1)).unwrap();
        bind(options().dual(dual).mark(77).priority(CLASS_1_1), &cable.a).send(&frame(2)).unwrap();
        let mut seen = Vec::new();
        eventually("the queue let both through", || {
            seen.extend(drain(&tap).iter().map(|frame| number_in(frame)));
            seen.len() == 2
        });
        assert_eq!(seen, [1, 2]);
    }
    let output = std::process::Command::new("tc").args(["-s", "class", "show", "dev", "va"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let frames_of = |class: &str| {
        let (_, after) = text.split_once(&format!("class htb {class} ")).unwrap();
        let (_, sent) = after.split_once("Sent ").unwrap();
        sent.split_whitespace().nth(2).unwrap().to_owned()
    };
    assert_eq!((frames_of("1:1"), frames_of("1:2")), ("2".into(), "4".into()), "{text}");
}
