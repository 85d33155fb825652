//! The interpreter: what the kernel would answer for a frame, computed in user space.

use super::Instruction;
use super::check::{CELLS, cell};
use super::operation::{
    ANCILLARY, Alu, HARDWARE_TYPE, LINK, NETWORK, Operand, Operation, PROTOCOL, Source, Test, Width, XOR_X,
};

/// The length of an Ethernet header: where the network header starts.
const ETHERNET_HEADER: u32 = 14;

/// Runs `program` on `frame`. `None` stands for a program that the kernel ends early, which refuses the frame: it read
/// past the end, or divided by an X that was 0.
pub(super) fn run(program: &[Instruction], frame: &[u8]) -> Option<u32> {
    let mut machine = Machine { frame, a: 0, x: 0, cells: [0; CELLS] };
    let mut rest = program;
    // `rest` only ever gets shorter, so this ends.
    while let [instruction, following @ ..] = rest {
        let &Instruction { jt, jf, k, .. } = instruction;
        rest = following;
        match instruction.operation()? {
            Operation::LoadA(source) => machine.a = machine.load(source, k)?,
            Operation::LoadX(source) => machine.x = machine.load(source, k)?,
            Operation::StoreA => *machine.cells.get_mut(cell(k)?)? = machine.a,
            Operation::StoreX => *machine.cells.get_mut(cell(k)?)? = machine.x,
            Operation::Alu(alu, operand) => machine.a = alu.apply(machine.a, machine.operand(operand, k))?,
            Operation::Negate => machine.a = machine.a.wrapping_neg(),
            Operation::Jump => rest = rest.get(usize::try_from(k).ok()?..)?,
            Operation::Branch(test, operand) => {
                let skip = if test.holds(machine.a, machine.operand(operand, k)) { jt } else { jf };
                rest = rest.get(usize::from(skip)..)?;
            }
            Operation::ReturnK => return Some(k),
            Operation::ReturnA => return Some(machine.a),
            Operation::Tax => machine.x = machine.a,
            Operation::Txa => machine.a = machine.x,
        }
    }
    None
}

struct Machine<'a> {
    frame: &'a [u8],
    a: u32,
    x: u32,
    cells: [u32; CELLS],
}

impl Machine<'_> {
    const fn operand(&self, operand: Operand, k: u32) -> u32 {
        match operand {
            Operand::K => k,
            Operand::X => self.x,
        }
    }

    fn load(&self, source: Source, k: u32) -> Option<u32> {
        match source {
            Source::Constant => Some(k),
            Source::Length => u32::try_from(self.frame.len()).ok(),
            Source::Cell => self.cells.get(cell(k)?).copied(),
            Source::Frame(_) if k >= ANCILLARY => Some(self.ancillary(k - ANCILLARY)),
            Source::Frame(width) => self.bytes(k, width),
            Source::FrameAtX(width) => self.bytes(self.x.wrapping_add(k), width),
            Source::HeaderLength => self.bytes(k, Width::Byte).map(|byte| (byte & 0x0f) * 4),
        }
    }

    /// The bytes at `offset` as a number: network byte order, as everything in a frame.
    fn bytes(&self, offset: u32, width: Width) -> Option<u32> {
        // The kernel takes the offset for a signed number: the upper half are the negative ones.
        let start = match offset {
            0..=0x7fff_ffff => offset,
            LINK..NETWORK => offset - LINK,
            NETWORK.. => offset - NETWORK + ETHERNET_HEADER,
            _ => return None,
        };
        let bytes = self.frame.get(usize::try_from(start).ok()?..)?;
        match width {
            Width::Byte => bytes.first_chunk().copied().map(|bytes| u8::from_be_bytes(bytes).into()),
            Width::Half => bytes.first_chunk().copied().map(|bytes| u16::from_be_bytes(bytes).into()),
            Width::Word => bytes.first_chunk().copied().map(u32::from_be_bytes),
        }
    }

    /// What the kernel knows of a frame besides its bytes, as far as the bytes tell it.
    fn ancillary(&self, offset: u32) -> u32 {
        match offset {
            PROTOCOL => self.protocol(),
            // Not data at all: before `xor x` had an opcode, this load stood for it.
            XOR_X => self.a ^ self.x,
            HARDWARE_TYPE => 1,
            _ => 0,
        }
    }

    /// The protocol that the kernel finds in the Ethernet header. Below 0x0600 the field is a length (IEEE 802.3).
    fn protocol(&self) -> u32 {
        match self.frame.get(12..) {
            Some([high, low, payload @ ..]) => match u16::from_be_bytes([*high, *low]) {
                ether_type @ 0x0600.. => ether_type.into(),
                // Old Novell frames have no LLC header; the kernel knows them by the checksum that nobody filled in.
                _ if payload.starts_with(&[0xff, 0xff]) => 0x0001,
                _ => 0x0004,
            },
            _ => 0,
        }
    }
}

impl Alu {
    /// `None` for a division by 0. The kernel's arithmetic wraps, and of a shift count only five bits count.
    const fn apply(self, a: u32, operand: u32) -> Option<u32> {
        Some(match self {
            Self::Add => a.wrapping_add(operand),
            Self::Subtract => a.wrapping_sub(operand),
            Self::Multiply => a.wrapping_mul(operand),
            Self::Divide => return a.checked_div(operand),
            Self::Remainder => return a.checked_rem(operand),
            Self::Or => a | operand,
            Self::And => a & operand,
            Self::Xor => a ^ operand,
            Self::ShiftLeft => a.wrapping_shl(operand),
            Self::ShiftRight => a.wrapping_shr(operand),
        })
    }
}

impl Test {
    const fn holds(self, a: u32, operand: u32) -> bool {
        match self {
            Self::Equal => a == operand,
            Self::Greater => a > operand,
            Self::GreaterOrEqual => a >= operand,
            Self::AnyBitSet => a & operand != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Filter;
    use super::super::operation::{ABS, ALU, B, H, IMM, IND, LD, LDX, LEN, MISC, MSH, RET, W, X};
    use super::*;

    const RET_A: Instruction = plain(RET | 0x10, 0);
    const TAX: Instruction = plain(MISC, 0);
    const TXA: Instruction = plain(MISC | 0x80, 0);
    const DIV: u16 = ALU | 0x30;
    const MOD: u16 = ALU | 0x90;
    const LSH: u16 = ALU | 0x60;
    const RSH: u16 = ALU | 0x70;

    const fn plain(code: u16, k: u32) -> Instruction {
        Instruction::new(code, 0, 0, k)
    }

    /// What `program` leaves in A.
    fn result(program: &[Instruction], frame: &[u8]) -> u32 {
        Filter::new([program, &[RET_A]].concat()).expect("a filter").run(frame)
    }

    /// What `instruction` and then `ret #0xffffffff` answer.
    fn verdict_after(instruction: Instruction, frame: &[u8]) -> u32 {
        Filter::new([instruction, Instruction::KEEP]).expect("a filter").run(frame)
    }

    const FRAME: &[u8] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x08, 0x00, 0x4f, 15, 16, 17];

    #[test]
    fn loads_end_where_the_frame_ends() {
        assert_eq!(result(&[plain(LD | W | ABS, 14)], FRAME), 0x4f0f_1011);
        for past in
            [plain(LD | W | ABS, 15), plain(LD | H | ABS, 17), plain(LD | B | ABS, 18), plain(LDX | B | MSH, 18)]
        {
            assert_eq!(verdict_after(past, FRAME), 0, "{past}");
        }
    }

    #[test]
    fn offsets_count_from_both_headers() {
        assert_eq!(result(&[plain(LD | B | ABS, NETWORK + 1)], FRAME), 15);
        assert_eq!(result(&[plain(LD | B | ABS, LINK + 1)], FRAME), 1);
        assert_eq!(result(&[plain(LDX | B | MSH, NETWORK), TXA], FRAME), 60);
        let indexed = |x, k| result(&[plain(LDX | IMM, x), plain(LD | B | IND, k)], FRAME);
        assert_eq!(indexed(3, NETWORK), 17);
        assert_eq!(indexed(u32::MAX, 4), 3);
        assert_eq!(indexed(4, NETWORK), 0);
        assert_eq!(indexed(1, 0x7fff_ffff), 0);
        assert_eq!(indexed(u32::MAX, LINK), 0);
    }

    #[test]
    fn a_register_that_is_zero_divides_nothing() {
        for code in [DIV | X, MOD | X] {
            assert_eq!(verdict_after(plain(code, 0), FRAME), 0);
        }
    }

    #[test]
    fn arithmetic_wraps_and_shifts_count_five_bits() {
        let with = |a, x, code| result(&[plain(LDX | IMM, x), plain(LD | IMM, a), plain(code | X, 0)], FRAME);
        assert_eq!(with(u32::MAX, 2, ALU), 1);
        assert_eq!(with(0, 1, ALU | 0x10), u32::MAX);
        assert_eq!(with(0x8000_0000, 3, ALU | 0x20), 0x8000_0000);
        assert_eq!(with(1, 33, LSH), 2);
        assert_eq!(with(4, 0xffff_ffe1, RSH), 2);
        assert_eq!(result(&[plain(LD | IMM, 5), plain(ALU | 0x80, 0)], FRAME), 5_u32.wrapping_neg());
    }

    #[test]
    fn ancillary_values() {
        let ancillary = |offset, frame: &[u8]| result(&[plain(LD | W | ABS, ANCILLARY + offset)], frame);
        assert_eq!(ancillary(PROTOCOL, FRAME), 0x0800);
        for (header, protocol) in [([6, 0, 0, 0], 0x0600), ([5, 0xff, 0xaa, 0xaa], 4), ([0, 3, 0xff, 0xff], 1)] {
            assert_eq!(ancillary(PROTOCOL, &[&[0; 12], &header[..]].concat()), protocol, "{header:x?}");
        }
        assert_eq!(ancillary(PROTOCOL, &FRAME[..13]), 0);
        for offset in (4..=60).step_by(4).filter(|offset| *offset != 40) {
            assert_eq!(ancillary(offset, FRAME), u32::from(offset == 28), "{offset}");
        }
        let xor = [plain(LD | IMM, 6), TAX, plain(LD | IMM, 3), plain(LD | W | ABS, ANCILLARY + 40)];
        assert_eq!(result(&xor, FRAME), 5);
        assert_eq!(result(&[plain(LD | LEN, 0)], FRAME), 18);
    }
}
