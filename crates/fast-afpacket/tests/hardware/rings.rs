//! Hardware stamps in receive rings: those of `recv`, and never another time in their place.

use std::time::{Duration, Instant};
use std::{iter, thread};

use fast_afpacket::{
    ByFrame, ConfigureNic, EtherType, Filter, Frame, HardwareStamp, Instruction, NicGrant, Options, PacketSocket,
    RingShape, RxRing, SystemStamp, Timestamping,
};

use crate::card::{
    EVENTS, OFF, bind, interface, now_set, number_in, options, other, set_by_hand, sync, with_events_on,
};

crate::tests! {
    rings_have_the_hardware_stamps_of_recv;
    a_ring_that_asks_for_software_stamps_has_no_others;
    a_ring_borrows_the_setting_and_gives_it_back;
}

const SPACING: Duration = Duration::from_millis(50);

/// A frame and its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) ether_type: EtherType,
    pub(crate) number: u32,
    pub(crate) software: Option<SystemStamp>,
    pub(crate) hardware: Option<HardwareStamp>,
    /// A time that is no stamp, of a frame in a ring.
    pub(crate) copied_at: Option<SystemStamp>,
}

impl Seen {
    fn in_ring(frame: Frame<'_>) -> Self {
        let (meta, found) = (frame.meta(), frame.timestamps());
        assert_eq!(meta.timestamps, found);
        Self {
            ether_type: meta.from.ether_type(),
            number: number_in(frame.data()),
            software: found.software,
            hardware: found.hardware,
            copied_at: frame.copied_at(),
        }
    }

    fn by_recv(socket: &PacketSocket) -> Self {
        let mut buf = [0; 128];
        let meta = socket.recv(&mut buf).unwrap();
        Self {
            ether_type: meta.from.ether_type(),
            number: number_in(&buf),
            software: meta.timestamps.software,
            hardware: meta.timestamps.hardware,
            copied_at: None,
        }
    }
}

/// A ring of each kind, both with the same options.
pub(crate) struct Rings {
    blocks: RxRing,
    frames: RxRing<ByFrame>,
}

impl Rings {
    pub(crate) fn open(options: impl Fn() -> Options) -> Self {
        let (blocks, frames) = (RingShape::throughput(), RingShape::latency());
        let rings = Self {
            // Each frame may have a block of its own, which is handed over when its time is up.
            blocks: options().rx_ring(&interface(), blocks.block_size(4096).blocks(64)).unwrap(),
            frames: options().rx_ring(&interface(), frames.blocks(8)).unwrap(),
        };
        let deadline = Some(Instant::now() + Duration::from_secs(40));
        rings.blocks.set_read_deadline(deadline);
        rings.frames.set_read_deadline(deadline);
        rings
    }

    /// The next frames of each.
    pub(crate) fn take(&mut self, count: usize) -> [Vec<Seen>; 2] {
        let mut by_block = Vec::new();
        while by_block.len() < count {
            by_block.extend(self.blocks.next_block().unwrap().iter().map(Seen::in_ring));
        }
        assert_eq!(by_block.len(), count);
        let by_frame = iter::repeat_with(|| Seen::in_ring(self.frames.next_frame().unwrap().frame()));
        [by_block, by_frame.take(count).collect()]
    }
}

/// Options for a receiver of the frames of these tests, those that the card stamps and those that it does not.
fn both_kinds() -> Options {
    let keep_if = |ether_type: EtherType| Instruction::new(0x15, 0, 1, ether_type.value().into());
    let keep = Instruction::new(0x06, 0, 0, u32::MAX);
    let program = [
        Instruction::new(0x28, 0, 0, 12),
        keep_if(EtherType::PTP),
        keep,
        keep_if(EtherType::EXPERIMENTAL_1),
        keep,
        Instruction::new(0x06, 0, 0, 0),
    ];
    options().protocol(EtherType::ALL).ignore_outgoing(true).filter(&Filter::new(program).unwrap())
}

/// A ring has room for one time. For a frame that the card has not stamped it is the system's: a reader that goes by what
/// it has asked for, and not by what is said of each frame, would take that for the card's.
fn rings_have_the_hardware_stamps_of_recv() {
    const COUNT: u32 = 20;
    let _on = with_events_on();
    let socket = bind(both_kinds());
    let mut rings = Rings::open(both_kinds);
    let mut by_recv = Vec::new();
    for number in 0..COUNT {
        for frame in [sync(number), other(number)] {
            socket.send(&frame).unwrap();
            by_recv.push(Seen::by_recv(&socket));
        }
        thread::sleep(SPACING);
    }
    let expected: Vec<_> = by_recv
        .iter()
        .map(|seen| Seen { software: seen.software.filter(|_| seen.hardware.is_none()), ..*seen })
        .collect();
    for in_ring in rings.take(by_recv.len()) {
        assert_eq!(in_ring, expected);
        for pair in in_ring.chunks(2) {
            assert_eq!((pair[0].ether_type, pair[1].ether_type), (EtherType::PTP, EtherType::EXPERIMENTAL_1));
            assert!(pair[0].hardware.is_some() && pair[0].software.is_none(), "{:?}", pair[0]);
            assert!(pair[1].hardware.is_none() && pair[1].software.is_some(), "{:?}", pair[1]);
        }
        assert!(in_ring.iter().filter_map(|seen| seen.hardware).is_sorted(), "one clock, one order");
    }
    let stats = [rings.blocks.stats().unwrap(), rings.frames.stats().unwrap()];
    assert!(stats.iter().all(|stats| (stats.received, stats.unstamped) == (2 * u64::from(COUNT), 0)), "{stats:?}");
}

/// The card stamps for somebody else.
fn a_ring_that_asks_for_software_stamps_has_no_others() {
    let _on = with_events_on();
    let socket = bind(options());
    let mut rings = Rings::open(|| options().timestamping(Timestamping::RX_SOFTWARE));
    let mut expected = Vec::new();
    for number in 0..5 {
        socket.send(&sync(number)).unwrap();
        let seen = Seen::by_recv(&socket);
        assert!(seen.hardware.is_some() && seen.software.is_some());
        expected.push(Seen { hardware: None, ..seen });
        thread::sleep(SPACING);
    }
    for in_ring in rings.take(expected.len()) {
        assert_eq!(in_ring, expected);
    }
}

fn a_ring_borrows_the_setting_and_gives_it_back() {
    set_by_hand(OFF);
    let sender = bind(options());
    let mut rings = Rings::open(|| options().configure_nic(ConfigureNic::Required(EVENTS)));
    assert_eq!(rings.blocks.granted().nic, NicGrant::Lent { former: OFF, now: EVENTS });
    assert_eq!(rings.blocks.granted().phc, Some(0));
    sender.send(&sync(1)).unwrap();
    for in_ring in rings.take(1) {
        assert!(in_ring[0].hardware.is_some());
    }
    let Rings { blocks, frames } = rings;
    drop(blocks);
    assert_eq!(now_set(), EVENTS, "the other ring still needs it");
    drop(frames);
    assert_eq!(now_set(), OFF);
}
