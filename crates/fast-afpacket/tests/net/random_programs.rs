//! Random filters and frames, the same for the same seed: questions that the library and the kernel must answer alike.
//!
//! Nothing here opens a socket. A test asks both sides about [`every_opcode`] and about each [`program`] whether it is
//! accepted; it attaches each [`filter`] and [`typed_filter`], sends a [`frame`], and compares what arrives with
//! [`captured`].

use fast_afpacket::{EtherType, Filter, Instruction};

/// Marsaglia's xorshift with a multiplication: small, quick, and good enough to be surprising.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // 0 would stay 0 for ever.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).max(1))
    }

    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn byte(&mut self) -> u8 {
        self.bits().to_be_bytes()[0]
    }

    fn half(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn word(&mut self) -> u32 {
        u32::from(self.half()) << 16 | u32::from(self.half())
    }

    /// A number below `end`, which is not 0.
    fn below(&mut self, end: u32) -> u32 {
        self.word().checked_rem(end).unwrap_or(0)
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        let index = usize::try_from(self.bits()).unwrap_or(0) % choices.len();
        choices[index]
    }
}

const AD_OFF: u32 = 0xffff_f000;
const NET_OFF: u32 = 0xfff0_0000;
const LL_OFF: u32 = 0xffe0_0000;

/// `M[1] = A`, the opcode with harmless numbers, and two returns, for each of the 65 536 opcodes.
pub(crate) fn every_opcode() -> impl Iterator<Item = [Instruction; 4]> {
    let plain = |code, k| Instruction::new(code, 0, 0, k);
    (0..=u16::MAX).map(move |code| [plain(0x02, 1), plain(code, 1), plain(0x06, 0), plain(0x06, 0)])
}

/// A program that is nearly right: about every second is a filter, and the others miss by one number.
pub(crate) fn program(random: &mut Random) -> Vec<Instruction> {
    let cells = random.pick(&[1, 2, 16]);
    // Mostly short programs, and some with more instructions than a conditional jump can skip.
    let longest = random.pick(&[4, 8, 8, 16, 30, 400]);
    let len = 1 + random.below(longest);
    let mut program: Vec<_> = (1..=len).rev().map(|following| any_instruction(random, following, cells)).collect();
    program.push(Instruction::new(random.pick(&[0x06, 0x16]), 0, 0, random.word()));
    if random.one_in(2) {
        let index = usize::try_from(random.below(len + 1)).unwrap_or(0);
        mutate(random, &mut program[index], len);
    }
    program
}

/// An instruction that can stand before `following` others; loads from cells that were not stored are its only fault.
fn any_instruction(random: &mut Random, following: u32, cells: u32) -> Instruction {
    let skip = |random: &mut Random| u8::try_from(random.below(following.min(256))).unwrap_or(0);
    match random.below(10) {
        0 | 1 => Instruction::new(random.pick(&[0x02, 0x02, 0x03, 0x60, 0x61]), 0, 0, random.below(cells)),
        2 | 3 => Instruction::new(
            random.pick(&[0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d]),
            skip(random),
            skip(random),
            random.word() >> random.below(32),
        ),
        4 if random.one_in(2) => Instruction::new(0x05, 0, 0, random.below(following)),
        5 if random.one_in(4) => Instruction::new(random.pick(&[0x06, 0x16]), 0, 0, random.word()),
        6 => Instruction::new(random.pick(&[0x20, 0x28, 0x30]), 0, 0, AD_OFF + 4 * random.below(16)),
        _ => straight(random),
    }
}

/// An instruction that always goes on to the next one, or refuses the frame.
fn straight(random: &mut Random) -> Instruction {
    let (code, k) = match random.below(8) {
        0 | 1 => (random.pick(&[0x20, 0x28, 0x30, 0xb1]), offset(random)),
        2 => (random.pick(&[0x40, 0x48, 0x50]), offset(random)),
        3 => (random.pick(&[0x00, 0x01]), random.word() >> random.below(32)),
        4 => (random.pick(&[0x80, 0x81, 0x84, 0x07, 0x87]), 0),
        5 => (random.pick(&[0x64, 0x74]), random.below(32)),
        6 => (random.pick(&[0x0c, 0x1c, 0x2c, 0x3c, 0x4c, 0x5c, 0x6c, 0x7c, 0x9c, 0xac]), 0),
        _ => {
            (random.pick(&[0x04, 0x14, 0x24, 0x34, 0x44, 0x54, 0x94, 0xa4]), (random.word() >> random.below(32)).max(1))
        }
    };
    Instruction::new(code, 0, 0, k)
}

/// An offset that most frames have, from their start or from one of their headers, and now and then one that none has.
fn offset(random: &mut Random) -> u32 {
    let near = if random.one_in(8) { random.below(2000) } else { random.below(44) };
    match random.below(12) {
        0 | 1 => NET_OFF + near,
        2 => LL_OFF + near,
        3 if random.one_in(4) => random.pick(&[0x7fff_ffff, 0x8000_0000, LL_OFF - 1, NET_OFF - 1, AD_OFF - 1]),
        _ => near,
    }
}

/// Sets one field to a number at a boundary of the rules, or to any number.
fn mutate(random: &mut Random, instruction: &mut Instruction, len: u32) {
    match random.below(4) {
        0 => instruction.code = if random.one_in(2) { random.half() } else { random.byte().into() },
        1 => instruction.jt = random.byte(),
        2 => instruction.jf = random.byte(),
        _ => {
            let near = random.pick(&[0, 15, 16, 31, 32, len, AD_OFF, AD_OFF + 60, AD_OFF + 64, u32::MAX]);
            instruction.k = near.wrapping_add(random.below(3)).wrapping_sub(1);
        }
    }
}

/// A filter whose verdict depends on the bytes of the frame alone, and shows as much of the final A and X as a length
/// can.
pub(crate) fn filter(random: &mut Random) -> Filter {
    // The ancillary data that the frame decides, or that is the same for every frame without a tag on a veth pair:
    // protocol, mark, hardware type, xor x, and the three of the VLAN tag.
    const STEADY: [u32; 7] = [0, 20, 28, 40, 44, 48, 60];
    loop {
        let body = 1 + random.below(14);
        let a = random.word() >> random.below(32);
        // Also small negative numbers: added to an offset, they lead back.
        let x = if random.one_in(4) { random.below(20).wrapping_neg() } else { random.word() >> random.below(32) };
        let start = [(0x00, a), (0x01, x), (0x02, 0), (0x03, 1)]; // A = a, X = x, M[0] = A, M[1] = X
        let mut program = start.map(|(code, k)| Instruction::new(code, 0, 0, k)).to_vec();
        // The four instructions at the end can be jumped to, but not past.
        program.extend((4..4 + body).rev().map(|following| match any_instruction(random, following, 2) {
            Instruction { code: 0x20 | 0x28 | 0x30, k, .. } if k >= AD_OFF => {
                Instruction::new(0x20, 0, 0, AD_OFF + random.pick(&STEADY))
            }
            instruction => instruction,
        }));
        program.push(Instruction::new(0xac, 0, 0, 0)); // A ^= X
        program.push(Instruction::new(0x94, 0, 0, random.pick(&[13, 59, 1009]))); // A %= ..
        program.push(Instruction::new(0x04, 0, 0, random.below(2))); // A += ..
        program.push(Instruction::new(0x16, 0, 0, 0)); // ret A
        if let Ok(filter) = Filter::new(program) {
            return filter;
        }
    }
}

const ADDRESS: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1];
const PORT: u16 = 319;

/// One of the library's own filters, with numbers that a [`frame`] often meets.
pub(crate) fn typed_filter(random: &mut Random) -> Filter {
    let [.., a, b, c, d] = ADDRESS;
    let mut udp = Filter::udp_dst(PORT);
    match random.below(8) {
        0 => return Filter::ether_type(random.pick(&[EtherType::IPV4, EtherType::IPV6, EtherType::LLC])),
        1 => return Filter::nothing(),
        2 | 3 => udp = udp.address([a, b, c, d].into()),
        4 | 5 => udp = udp.address(ADDRESS.into()),
        _ => {}
    }
    if random.one_in(2) {
        let start = PORT - 1 + u16::from(random.byte() % 3);
        udp = udp.source_ports(start..=start + u16::from(random.byte() % 3));
    }
    udp.filter()
}

/// An Ethernet frame of at least 14 bytes without a VLAN tag: IPv4 or IPv6 that is nearly right, IEEE 802.3, or noise.
pub(crate) fn frame(random: &mut Random) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..12).map(|_| random.byte()).collect();
    let len = match random.below(32) {
        0 => random.below(9000),
        1 | 2 => random.below(60),
        _ => 60 + random.below(80),
    };
    match random.below(8) {
        0..=2 => ipv4(random, &mut frame),
        3..=5 => ipv6(random, &mut frame),
        6 => {
            frame.extend(random.pick::<u16>(&[0, 1, 46, 0x05dc, 0x05ff]).to_be_bytes());
            frame.extend(random.pick(&[[0xff, 0xff], [0xff, 0xfe], [0xaa, 0xaa]]));
        }
        _ => frame.extend(random.pick::<u16>(&[0x0600, 0x0806, 0x88b5, 0x88f7, 0xffff]).to_be_bytes()),
    }
    frame.resize_with(frame.len().max(usize::try_from(len).unwrap_or(0)), || random.byte());
    if random.one_in(8) {
        frame.truncate(14 + usize::from(random.byte() % 64));
    }
    frame
}

fn ipv4(random: &mut Random, frame: &mut Vec<u8>) {
    let words = if random.one_in(2) { 5 } else { random.byte() % 16 };
    let fragment = random.pick(&[[0, 0], [0x40, 0], [0x20, 0], [0, 1], [0x1f, 0xff]]);
    frame.extend([0x08, 0x00, 0x40 | words, 0, 0, 60, 0, 0, fragment[0], fragment[1], 64]);
    frame.extend([random.pick(&[17, 17, 17, 6]), 0, 0, 192, 0, 2, 2, 192, 0, 2, random.pick(&[1, 1, 1, 2])]);
    frame.extend((5..words).flat_map(|_| [1, 1, 1, 0]));
    ports(random, frame);
}

fn ipv6(random: &mut Random, frame: &mut Vec<u8>) {
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 60, random.pick(&[17, 17, 17, 44]), 64]);
    frame.extend(ADDRESS);
    frame.extend(ADDRESS);
    if random.one_in(4) {
        let len = frame.len();
        frame[len - 1 - usize::from(random.byte() % 16)] ^= 1;
    }
    ports(random, frame);
}

fn ports(random: &mut Random, frame: &mut Vec<u8>) {
    let source = PORT - 2 + u16::from(random.byte() % 5);
    let destination = random.pick(&[PORT, PORT, PORT, PORT + 1]);
    frame.extend([source, destination, 20, 0].map(u16::to_be_bytes).as_flattened());
}

/// How many bytes of the frame a raw socket with this filter receives; `None` if it receives nothing.
pub(crate) fn captured(filter: &Filter, frame: &[u8]) -> Option<usize> {
    match usize::try_from(filter.run(frame)).unwrap_or(usize::MAX) {
        0 => None,
        kept => Some(kept.min(frame.len())),
    }
}
