//! The opcode of an instruction: how its bits are laid out, and which of them mean something to the kernel.
//!
//! The machine has an accumulator `A`, an index register `X`, sixteen memory cells `M[]` and the frame. The three lowest
//! bits of an opcode name its class, and the class says what the bits above them are:
//!
//! ```text
//!                 7   6   5   4   3   2   1   0
//! LD LDX        [   mode    ][ size ][  class  ]    what is loaded, and how many bytes of it
//! ST STX        [      0            ][  class  ]
//! ALU JMP       [   operation   ][ X][  class  ]    X: the operand is the register X; otherwise the constant k
//! RET           [     0     ][ what ][  class  ]    k or A
//! MISC          [  direction        ][  class  ]    tax or txa
//! ```

use super::Instruction;

const CLASS: u16 = 0x07;
pub(super) const LD: u16 = 0x00;
pub(super) const LDX: u16 = 0x01;
pub(super) const ST: u16 = 0x02;
pub(super) const STX: u16 = 0x03;
pub(super) const ALU: u16 = 0x04;
pub(super) const JMP: u16 = 0x05;
pub(super) const RET: u16 = 0x06;
pub(super) const MISC: u16 = 0x07;

const SIZE: u16 = 0x18;
pub(super) const W: u16 = 0x00;
pub(super) const H: u16 = 0x08;
pub(super) const B: u16 = 0x10;

pub(super) const IMM: u16 = 0x00;
pub(super) const ABS: u16 = 0x20;
pub(super) const IND: u16 = 0x40;
pub(super) const MEM: u16 = 0x60;
pub(super) const LEN: u16 = 0x80;
pub(super) const MSH: u16 = 0xa0;

pub(super) const X: u16 = 0x08;
pub(super) const JA: u16 = 0x00;
pub(super) const JEQ: u16 = 0x10;
pub(super) const JGT: u16 = 0x20;
pub(super) const JGE: u16 = 0x30;
pub(super) const JSET: u16 = 0x40;

const RET_A: u16 = 0x10;
const TXA: u16 = 0x80;

/// Frame offsets from here on are `SKF_AD_OFF`: facts about the frame that are not in its bytes.
pub(super) const ANCILLARY: u32 = 0xffff_f000;
/// Frame offsets from here on are `SKF_NET_OFF`: they count from the network header.
pub(super) const NETWORK: u32 = 0xfff0_0000;
/// Frame offsets from here on are `SKF_LL_OFF`: they count from the link-layer header.
pub(super) const LINK: u32 = 0xffe0_0000;

/// `SKF_AD_PROTOCOL`, counted from [`ANCILLARY`] like the rest.
pub(super) const PROTOCOL: u32 = 0;
pub(super) const HARDWARE_TYPE: u32 = 28;
pub(super) const XOR_X: u32 = 40;
/// `SKF_AD_VLAN_TPID`. The known offsets are the multiples of 4 up to here.
pub(super) const LAST_ANCILLARY: u32 = 60;

/// What an instruction does, without its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    LoadA(Source),
    LoadX(Source),
    /// `M[k] = A`
    StoreA,
    /// `M[k] = X`
    StoreX,
    /// `A = A ∘ operand`
    Alu(Alu, Operand),
    /// `A = -A`
    Negate,
    /// Skips `k` instructions.
    Jump,
    /// Skips `jt` instructions if the test of `A` holds, `jf` if it does not.
    Branch(Test, Operand),
    /// Ends the program with the verdict `k`.
    ReturnK,
    /// Ends the program with the verdict `A`.
    ReturnA,
    /// `X = A`
    Tax,
    /// `A = X`
    Txa,
}

/// Where a load finds its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// `k` itself.
    Constant,
    /// The length of the frame.
    Length,
    /// `M[k]`
    Cell,
    /// The frame at offset `k`.
    Frame(Width),
    /// The frame at offset `X + k`.
    FrameAtX(Width),
    /// The length of the IPv4 header that starts at offset `k`: four times the low half of the byte there.
    HeaderLength,
}

/// How many bytes of the frame a load reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Byte = 1,
    Half = 2,
    Word = 4,
}

/// The second operand of arithmetic and of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    K,
    X,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alu {
    Add,
    Subtract,
    Multiply,
    Divide,
    Or,
    And,
    ShiftLeft,
    ShiftRight,
    Remainder,
    Xor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Equal,
    Greater,
    GreaterOrEqual,
    AnyBitSet,
}

impl Operation {
    /// The operation that `code` stands for; `None` if the kernel knows none.
    ///
    /// A bit that has no meaning in its class must be 0: `ret` with the X bit is not a return to the kernel.
    const fn decode(code: u16) -> Option<Self> {
        let field = code & !CLASS;
        let operand = if code & X == 0 { Operand::K } else { Operand::X };
        Some(match (code & CLASS, field) {
            (LD, IMM) => Self::LoadA(Source::Constant),
            (LD, LEN) => Self::LoadA(Source::Length),
            (LD, MEM) => Self::LoadA(Source::Cell),
            (LD, _) => {
                let width = match code & SIZE {
                    W => Width::Word,
                    H => Width::Half,
                    B => Width::Byte,
                    _ => return None,
                };
                match field & !SIZE {
                    ABS => Self::LoadA(Source::Frame(width)),
                    IND => Self::LoadA(Source::FrameAtX(width)),
                    _ => return None,
                }
            }
            (LDX, IMM) => Self::LoadX(Source::Constant),
            (LDX, LEN) => Self::LoadX(Source::Length),
            (LDX, MEM) => Self::LoadX(Source::Cell),
            (LDX, HEADER_LENGTH) => Self::LoadX(Source::HeaderLength),
            (ST, 0) => Self::StoreA,
            (STX, 0) => Self::StoreX,
            (ALU, NEG) => Self::Negate,
            (ALU, _) => match Alu::decode(field & !X) {
                Some(alu) => Self::Alu(alu, operand),
                None => return None,
            },
            (JMP, JA) => Self::Jump,
            (JMP, _) => match Test::decode(field & !X) {
                Some(test) => Self::Branch(test, operand),
                None => return None,
            },
            (RET, 0) => Self::ReturnK,
            (RET, RET_A) => Self::ReturnA,
            (MISC, 0) => Self::Tax,
            (MISC, TXA) => Self::Txa,
            _ => return None,
        })
    }
}

/// `ldxb 4*([k]&0xf)` is the one load from the frame that fills X.
const HEADER_LENGTH: u16 = MSH | B;
const NEG: u16 = 0x80;

impl Alu {
    const fn decode(field: u16) -> Option<Self> {
        Some(match field {
            0x00 => Self::Add,
            0x10 => Self::Subtract,
            0x20 => Self::Multiply,
            0x30 => Self::Divide,
            0x40 => Self::Or,
            0x50 => Self::And,
            0x60 => Self::ShiftLeft,
            0x70 => Self::ShiftRight,
            0x90 => Self::Remainder,
            0xa0 => Self::Xor,
            _ => return None,
        })
    }
}

impl Test {
    const fn decode(field: u16) -> Option<Self> {
        Some(match field {
            JEQ => Self::Equal,
            JGT => Self::Greater,
            JGE => Self::GreaterOrEqual,
            JSET => Self::AnyBitSet,
            _ => return None,
        })
    }
}

impl Instruction {
    /// What this instruction does; `None` if its opcode is not one of the kernel's.
    pub(super) const fn operation(self) -> Option<Operation> {
        Operation::decode(self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every opcode there is, by class. The kernel agrees: tests/net asks it about all 65 536.
    #[test]
    fn exactly_these_opcodes_mean_something() {
        #[rustfmt::skip]
        let known = [
            0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, // immediate loads, stores, add, ja, ret k, tax
            0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x60, 0x80, // ld: frame, frame at X, memory, length
            0x61, 0x81, 0xb1, // ldx: memory, length, header length
            0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3c, 0x44, 0x4c, 0x54, 0x5c, // alu: add to and
            0x64, 0x6c, 0x74, 0x7c, 0x84, 0x94, 0x9c, 0xa4, 0xac, // alu: shifts, neg, mod, xor
            0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d, // jeq, jgt, jge, jset
            0x16, 0x87, // ret a, txa
        ];
        for code in 0..=u16::MAX {
            assert_eq!(Operation::decode(code).is_some(), known.contains(&code), "{code:#06x}");
        }
    }

    #[test]
    fn constants_are_those_of_the_kernel() {
        let field = |value: libc::__u32| u16::try_from(value).unwrap();
        assert_eq!(LD | H | ABS, field(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS));
        assert_eq!(LDX | B | MSH, field(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH));
        assert_eq!(JMP | JSET | X, field(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_X));
        assert_eq!(ANCILLARY.cast_signed(), libc::SKF_AD_OFF);
        assert_eq!(NETWORK.cast_signed(), libc::SKF_NET_OFF);
        assert_eq!(LINK.cast_signed(), libc::SKF_LL_OFF);
        assert_eq!(HARDWARE_TYPE.cast_signed(), libc::SKF_AD_HATYPE);
        assert_eq!(XOR_X.cast_signed(), libc::SKF_AD_ALU_XOR_X);
        assert_eq!(LAST_ANCILLARY.cast_signed(), libc::SKF_AD_VLAN_TPID);
    }
}
