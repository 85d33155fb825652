//! The interface under a fanout group is removed, and made again under its name.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use fast_afpacket::{Error, FanoutGroup, FanoutMode, FanoutRefusal, Filter, Instruction, Step, TxKey};

use crate::filters::ebpf_program;
use crate::lab::{self, Cable, Ring, bind, drain, millis, options, within};
use crate::remade::{DUAL, everything, filter, frame, is_told, make, receive, remove};

crate::tests! {
    a_fanout_group_is_made_anew;
    a_fanout_group_of_rings_is_made_anew;
    a_fanout_group_with_an_id_of_its_own;
    the_filter_of_now_goes_with_a_member;
    unread_frames_stay_or_are_counted;
    what_cannot_be_had_is_said;
    all_calls_at_once_while_it_comes_and_goes;
}

/// Each of a group's members goes on by itself, and each frame goes to one of them.
fn a_fanout_group_is_made_anew() {
    for dual in DUAL {
        let cable = Cable::new();
        let group = FanoutGroup::new(FanoutMode::Program);
        // By the lowest bit of the number behind the header.
        let by_number = [(0x30, 3), (0x54, 1), (0x16, 0)].map(|(code, value)| Instruction::new(code, 0, 0, value));
        group.set_program(&Filter::new(by_number).unwrap()).unwrap();
        let options = || everything().filter(&filter(1)).dual(dual).fanout(&group).follow_name(true);
        let members = [(); 2].map(|()| bind(options(), &cable.a));
        members[1].lock_filter().unwrap();
        remove();
        thread::scope(|scope| {
            let readers = members.each_ref().map(|member| {
                scope.spawn(move || {
                    is_told(member, true);
                    [(); 10].map(|()| receive(member))
                })
            });
            thread::sleep(millis(60));
            let [_, peer] = make();
            let peer = bind(self::options(), &peer);
            lab::eventually("both are there", || members.iter().all(|member| member.link_changes().returns == 1));
            for number in 0..20 {
                peer.send(&frame(number, false)).unwrap();
                peer.send(&frame(number, true)).unwrap();
            }
            let mut received = readers.map(|reader| reader.join().unwrap());
            // Whoever came back first is member 0.
            received.sort();
            let numbers = |first| std::array::from_fn(|at| first + 2 * u32::try_from(at).unwrap());
            assert_eq!(received, [numbers(0), numbers(1)]);
        });
        assert!(members[1].clear_filter().is_err(), "it is locked still");
        for (member, key) in members.iter().zip(1..) {
            member.send_keyed(&frame(key, true), TxKey::new(key)).unwrap();
            assert_eq!(member.recv_tx(&mut []).unwrap().key.value(), key);
        }
        drop(members);
        remove();
    }
}

fn a_fanout_group_of_rings_is_made_anew() {
    for kind in 0..2 {
        for follows in [false, true] {
            let cable = Cable::new();
            let group = FanoutGroup::new(FanoutMode::RoundRobin);
            let options = || everything().filter(&filter(1)).fanout(&group).follow_name(follows);
            let mut rings = [(); 2].map(|()| Ring::both(options, &cable.a).nth(kind).unwrap());
            remove();
            let expected = if follows { libc::ENETDOWN } else { libc::ENODEV };
            for ring in &mut rings {
                assert_eq!(ring.read().unwrap_err().raw_os_error(), Some(expected));
            }
            let [_, peer] = make();
            let peer = bind(self::options(), &peer);
            for ring in &mut rings {
                if follows {
                    lab::eventually("it is back", || {
                        ring.set_read_deadline(within(millis(60)));
                        assert_eq!(ring.read().unwrap_err().kind(), ErrorKind::TimedOut);
                        ring.link_changes().returns == 1
                    });
                } else {
                    ring.rebind().unwrap();
                }
                assert_eq!(ring.link_changes().returns, 1);
                ring.set_read_deadline(within(Duration::from_secs(20)));
            }
            for round in 0..3 {
                for number in 0..10 {
                    peer.send(&frame(10 * round + number, true)).unwrap();
                }
                let mut numbers = Vec::new();
                for ring in &mut rings {
                    numbers.extend(ring.take(5).iter().map(|frame| lab::number_in(&frame.data)));
                }
                numbers.sort_unstable();
                assert_eq!(numbers, (10 * round..10 * round + 10).collect::<Vec<_>>());
            }
            drop(rings);
            remove();
        }
    }
}

/// The id is free only when the last member has left it.
fn a_fanout_group_with_an_id_of_its_own() {
    let cable = Cable::new();
    let group = FanoutGroup::new(FanoutMode::RoundRobin).with_id(7);
    let members = [(); 2].map(|()| bind(options().fanout(&group).follow_name(true), &cable.a));
    remove();
    members.iter().for_each(|member| is_told(member, true));
    let [_, peer] = make();
    members.iter().for_each(|member| member.set_nonblocking(true));
    for _ in 0..2 {
        for member in &members {
            assert_eq!(member.recv(&mut [0; 64]).unwrap_err().kind(), ErrorKind::WouldBlock);
        }
    }
    assert_eq!(members.each_ref().map(|member| member.link_changes().returns), [1, 1]);
    assert_eq!(group.id(), Some(7));
    let peer = bind(options(), &peer);
    for number in 0..10 {
        peer.send(&frame(number, true)).unwrap();
    }
    assert_eq!(members.each_ref().map(|member| drain(member).len()), [5, 5]);
}

/// Another socket takes the member's place: with the filter that is in force, of whichever kind.
fn the_filter_of_now_goes_with_a_member() {
    let cable = Cable::new();
    let group = FanoutGroup::new(FanoutMode::Hash);
    let member = bind(options().filter(&Filter::nothing()).fanout(&group).follow_name(true), &cable.a);
    let received_after_return = || {
        remove();
        is_told(&member, true);
        let [_, peer] = make();
        member.set_nonblocking(true);
        assert_eq!(member.recv(&mut [0; 64]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let peer = bind(options(), &peer);
        for number in 0..3 {
            peer.send(&frame(number, number == 0)).unwrap();
        }
        drain(&member).len()
    };
    assert_eq!(received_after_return(), 0);
    member.clear_filter().unwrap();
    assert_eq!(received_after_return(), 3);
    member.set_filter(&filter(1)).unwrap();
    assert_eq!(received_after_return(), 1);
    // Only root can have such a program.
    if let Some(nothing) = ebpf_program(0) {
        member.attach_bpf(nothing.as_fd()).unwrap();
        drop(nothing);
        assert_eq!(received_after_return(), 0);
    }
}

/// They are of the socket, and a member's is closed.
fn unread_frames_stay_or_are_counted() {
    for is_member in [false, true] {
        let cable = Cable::new();
        let group = FanoutGroup::new(FanoutMode::Hash);
        let options = if is_member { options().fanout(&group) } else { options() };
        let socket = bind(options, &cable.a);
        let peer = bind(self::options(), &cable.b);
        for number in 0..3 {
            peer.send(&frame(number, true)).unwrap();
        }
        remove();
        let [made, peer] = make();
        assert_eq!(socket.rebind().unwrap(), made);
        bind(self::options(), &peer).send(&frame(3, true)).unwrap();
        let (unread, discarded) = if is_member { (3..4, 3) } else { (0..4, 0) };
        for number in unread {
            // The kernel may not stamp yet: nobody need have asked before this socket did.
            let mut buf = [0; 64];
            socket.recv(&mut buf).unwrap();
            assert_eq!(lab::number_in(&buf), number);
        }
        // Nobody has been told yet that it was away.
        assert_eq!(socket.recv(&mut [0; 64]).unwrap_err().kind(), ErrorKind::NetworkDown);
        let stats = socket.stats().unwrap();
        assert_eq!((stats.received, stats.discarded, socket.link_changes().downs), (4, discarded, 1));
        remove();
    }
}

/// An id that another program has taken in the meantime.
fn what_cannot_be_had_is_said() {
    let cable = Cable::new();
    let group = FanoutGroup::new(FanoutMode::RoundRobin).with_id(9);
    let [socket, other] = [(); 2].map(|()| bind(options().fanout(&group).follow_name(true), &cable.a));
    remove();
    for member in [&socket, &other] {
        is_told(member, true);
        member.set_nonblocking(true);
    }
    let [_, peer] = make();
    let receive = || socket.recv(&mut [0; 64]).unwrap_err();
    assert_eq!(receive().kind(), ErrorKind::WouldBlock, "the other one holds the id");
    drop(other);
    let foreign = bind(options().fanout(&FanoutGroup::new(FanoutMode::Hash).with_id(9)), &peer);
    for _ in 0..2 {
        let error = receive();
        let error = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).unwrap();
        assert_eq!((error.step(), error.fanout_refusal()), (Step::Fanout, Some(FanoutRefusal::IdTaken)));
        assert!(socket.link_state().is_gone());
    }
    assert_eq!(socket.rebind().unwrap_err().fanout_refusal(), Some(FanoutRefusal::IdTaken));
    drop(foreign);
    assert_eq!(receive().kind(), ErrorKind::WouldBlock);
    assert_eq!(socket.link_changes().returns, 1);
    bind(options(), &peer).send(&frame(1, true)).unwrap();
    assert_eq!(drain(&socket).len(), 1);
}

/// Receivers, senders and a reader of stamps, on members of a group and on others: none ends, none waits for ever, and each
/// stamp has the key of its frame.
fn all_calls_at_once_while_it_comes_and_goes() {
    const TIMES: u64 = 5;
    for (is_member, count_keys, dual) in
        [(false, true, false), (true, true, false), (true, false, false), (true, false, true), (false, false, true)]
    {
        let cable = Cable::new();
        let group = FanoutGroup::new(FanoutMode::Hash);
        let mut options = everything().filter(&filter(1)).count_keys(count_keys).dual(dual).tx_payload(true);
        if is_member {
            options = options.fanout(&group);
        }
        let socket = options.follow_name(true).bind(&cable.a).unwrap();
        let is_over = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionAborted;
        let (received, stamped, sent) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut buf = [0; 64];
                    loop {
                        match socket.recv(&mut buf) {
                            Ok(_) => {
                                assert_eq!(buf[18], 1, "the filter lets in nothing else");
                                received.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(error) if is_over(&error) => break,
                            Err(error) => assert_eq!(error.kind(), ErrorKind::NetworkDown, "{error}"),
                        }
                    }
                });
                scope.spawn(|| {
                    loop {
                        let key = sent.fetch_add(1, Ordering::Relaxed);
                        match socket.send_keyed(&frame(key, true), TxKey::new(key)) {
                            Ok(_) => thread::sleep(Duration::from_micros(200)),
                            Err(error) if is_over(&error) => break,
                            Err(error) => {
                                // For a moment the other end is down.
                                let is_no_room = error.raw_os_error() == Some(libc::ENOBUFS);
                                assert!(is_no_room || error.kind() == ErrorKind::NetworkDown, "{error}");
                                thread::sleep(millis(1));
                            }
                        }
                    }
                });
            }
            scope.spawn(|| {
                let mut buf = [0; 64];
                loop {
                    match socket.recv_tx(&mut buf) {
                        Ok(report) => {
                            assert_eq!(report.key.value(), lab::number_in(&buf), "that of another frame");
                            stamped.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) if is_over(&error) => break,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::NetworkDown, "{error}"),
                    }
                }
            });
            for time in 1..=TIMES {
                remove();
                thread::sleep(millis(20));
                let [_, peer] = make();
                lab::eventually("it is bound again", || socket.link_changes().returns == time);
                let peer = bind(self::options(), &peer);
                let [received_before, stamped_before] =
                    [&received, &stamped].map(|count| count.load(Ordering::Relaxed));
                lab::eventually("it receives, and reads stamps", || {
                    peer.send(&frame(0, false)).unwrap();
                    peer.send(&frame(0, true)).unwrap();
                    received.load(Ordering::Relaxed) > received_before
                        && stamped.load(Ordering::Relaxed) > stamped_before
                });
            }
            socket.close();
        });
        assert_eq!(socket.link_changes().returns, TIMES);
        drop(socket);
        remove();
    }
}
