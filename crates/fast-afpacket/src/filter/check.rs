//! The kernel's own examination of a program: what this accepts, `SO_ATTACH_FILTER` accepts.
//!
//! A program that passes always ends, and quickly: jumps only go forward, and the last instruction is a return.

use super::Instruction;
use super::error::{FilterError, Reason};
use super::operation::{ANCILLARY, Alu, LAST_ANCILLARY, Operand, Operation, Source};

/// The longest program that the kernel takes (`BPF_MAXINSNS`).
pub(super) const MAX_LEN: usize = 4096;
/// How many memory cells a program has (`BPF_MEMWORDS`).
pub(super) const CELLS: usize = 16;

pub(super) fn check(program: &[Instruction]) -> Result<(), FilterError> {
    let Some((last, before)) = program.split_last() else {
        return Err(Reason::Empty.into());
    };
    if program.len() > MAX_LEN {
        return Err(Reason::TooLong(program.len()).into());
    }
    for (index, instruction) in program.iter().enumerate() {
        let following = before.len() - index;
        check_one(*instruction, following).map_err(|reason| FilterError::at_instruction(index, reason))?;
    }
    match last.operation() {
        Some(Operation::ReturnK | Operation::ReturnA) => check_cells(program),
        _ => Err(FilterError::at_instruction(before.len(), Reason::NoReturn(*last))),
    }
}

/// Checks all that can be said of one instruction, knowing how many follow it.
fn check_one(instruction: Instruction, following: usize) -> Result<(), Reason> {
    let Instruction { code, jt, jf, k } = instruction;
    let operation = instruction.operation().ok_or(Reason::Opcode(code))?;
    let lands = |skip: u32| usize::try_from(skip).is_ok_and(|skip| skip < following);
    let wrong = match operation {
        Operation::LoadA(Source::Frame(_)) if k >= ANCILLARY && !is_ancillary(k) => Reason::Ancillary(k),
        Operation::LoadA(Source::Cell) | Operation::LoadX(Source::Cell) | Operation::StoreA | Operation::StoreX
            if cell(k).is_none() =>
        {
            Reason::Cell(k)
        }
        Operation::Alu(Alu::Divide | Alu::Remainder, Operand::K) if k == 0 => Reason::DivisionByZero,
        Operation::Alu(Alu::ShiftLeft | Alu::ShiftRight, Operand::K) if k >= u32::BITS => Reason::Shift(k),
        Operation::Jump if !lands(k) => Reason::Jump { skip: k, following },
        Operation::Branch(..) if !lands(jt.max(jf).into()) => Reason::Jump { skip: jt.max(jf).into(), following },
        _ => return Ok(()),
    };
    Err(wrong)
}

/// Only absolute loads reach the ancillary data; `ld [x + k]` with such a `k` is a load far past the frame.
const fn is_ancillary(k: u32) -> bool {
    let offset = k.wrapping_sub(ANCILLARY);
    offset <= LAST_ANCILLARY && offset.is_multiple_of(4)
}

/// The index of the memory cell `k`, if there is such a cell.
pub(super) fn cell(k: u32) -> Option<usize> {
    usize::try_from(k).ok().filter(|&index| index < CELLS)
}

/// Checks that no cell is loaded before it was stored: the kernel does not clear them, and what was there is secret.
///
/// One pass suffices because jumps go forward: when an instruction is reached, all that jump to it were seen. Like the
/// kernel, this takes a return for an instruction that the next one follows. So it refuses a program in which the one
/// before a jump target is a return and has seen fewer stores than the jump, though no run could go wrong there.
fn check_cells(program: &[Instruction]) -> Result<(), FilterError> {
    const ALL: u16 = u16::MAX;
    // For each instruction the cells, one bit each, that every jump to it has stored.
    let mut stored_by_jumps = vec![ALL; program.len()];
    let mut stored = 0;
    for (index, instruction) in program.iter().enumerate() {
        let &Instruction { jt, jf, k, .. } = instruction;
        stored &= stored_by_jumps.get(index).copied().unwrap_or(ALL);
        let bit = cell(k).map_or(0, |cell| 1 << cell);
        let mut jump = |skip: usize| {
            if let Some(at_target) = stored_by_jumps.get_mut(index.saturating_add(1).saturating_add(skip)) {
                *at_target &= stored;
            }
        };
        match instruction.operation() {
            Some(Operation::StoreA | Operation::StoreX) => stored |= bit,
            Some(Operation::LoadA(Source::Cell) | Operation::LoadX(Source::Cell)) if stored & bit == 0 => {
                return Err(FilterError::at_instruction(index, Reason::UnsetCell(k)));
            }
            Some(Operation::Jump) => {
                jump(usize::try_from(k).unwrap_or(usize::MAX));
                stored = ALL;
            }
            Some(Operation::Branch(..)) => {
                jump(jt.into());
                jump(jf.into());
                // Whoever comes to the next instruction comes by one of the jumps that were noted.
                stored = ALL;
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Filter;
    use super::super::operation::{ABS, ALU, B, H, IND, JEQ, JMP, LD, LDX, MEM, MISC, RET, ST, STX, W, X};
    use super::*;

    const RET_A: Instruction = plain(RET | 0x10, 0);
    const TAX: Instruction = plain(MISC, 0);
    const DIV: u16 = ALU | 0x30;
    const MOD: u16 = ALU | 0x90;
    const LSH: u16 = ALU | 0x60;
    const RSH: u16 = ALU | 0x70;

    const fn plain(code: u16, k: u32) -> Instruction {
        Instruction::new(code, 0, 0, k)
    }

    fn accepts(program: &[Instruction]) {
        Filter::new(program).expect("no rule is broken");
    }

    fn message(program: &[Instruction]) -> String {
        Filter::new(program).expect_err("a rule is broken").to_string()
    }

    #[test]
    fn length() {
        assert_eq!(message(&[]), "a program has at least one instruction, this one has none");
        accepts(&[RET_A]);
        accepts(&[RET_A; 4096]);
        assert_eq!(message(&[RET_A; 4097]), "a program has at most 4096 instructions, this one has 4097");
    }

    #[test]
    fn opcode() {
        assert_eq!(message(&[plain(RET | X, 0)]), "instruction 0: 14 (0x000e) is not an opcode of classic BPF");
        assert!(message(&[plain(0x0100, 0), RET_A]).contains("0x0100"));
    }

    #[test]
    fn the_last_instruction_returns() {
        accepts(&[RET_A]);
        assert_eq!(message(&[RET_A, TAX]), "instruction 1: a program ends with `ret #k` or `ret a`, this is 7 0 0 0");
    }

    #[test]
    fn constant_divisor() {
        for code in [DIV, MOD] {
            accepts(&[plain(code, 1), RET_A]);
            accepts(&[plain(code | X, 0), RET_A]);
            assert_eq!(
                message(&[plain(code, 0), RET_A]),
                "instruction 0: the divisor k is 0; any other number would do"
            );
        }
    }

    #[test]
    fn constant_shift() {
        for code in [LSH, RSH] {
            accepts(&[plain(code, 31), RET_A]);
            accepts(&[plain(code | X, 32), RET_A]);
            assert_eq!(message(&[plain(code, 32), RET_A]), "instruction 0: shifts 32 bits by 32; 31 is the most");
        }
    }

    #[test]
    fn cell_number() {
        for store in [ST, STX] {
            accepts(&[plain(store, 15), plain(LD | MEM, 15), plain(LDX | MEM, 15), RET_A]);
            assert_eq!(message(&[plain(store, 16), RET_A]), "instruction 0: there is no cell M[16]; the last is M[15]");
        }
        for load in [LD | MEM, LDX | MEM] {
            assert!(message(&[plain(load, 16), RET_A]).contains("no cell M[16]"));
            assert!(message(&[plain(load, u32::MAX), RET_A]).contains("no cell"));
        }
    }

    #[test]
    fn a_cell_is_stored_before_it_is_loaded() {
        let refused = "instruction 2: loads M[0], which must have been stored on each way to here";
        let load = plain(LD | MEM, 0);
        let store = plain(ST, 0);
        // Not at all, and by a branch that can go around it.
        assert_eq!(message(&[TAX, plain(ST, 1), load, RET_A]), refused);
        assert_eq!(message(&[Instruction::new(JMP | JEQ, 0, 1, 7), store, load, RET_A]), refused);
        // On both ways, and before they part.
        let both = [Instruction::new(JMP | JEQ, 0, 2, 7), store, plain(JMP, 1), store, load, RET_A];
        accepts(&both);
        accepts(&[store, Instruction::new(JMP | JEQ, 0, 1, 7), TAX, load, RET_A]);
        // Nothing leads to the load.
        accepts(&[plain(JMP, 1), load, RET_A]);
    }

    /// No run could load what was not stored here. The kernel refuses it all the same, so it is refused.
    #[test]
    fn a_return_counts_as_going_on_to_the_next_instruction() {
        let program = [
            Instruction::new(JMP | JEQ, 0, 2, 7), // on, or to the return
            plain(ST, 0),
            plain(JMP, 1), // to the load
            RET_A,
            plain(LD | MEM, 0),
            RET_A,
        ];
        assert!(message(&program).starts_with("instruction 4: loads M[0]"));
    }

    #[test]
    fn jump() {
        accepts(&[plain(JMP, 0), RET_A]);
        accepts(&[plain(JMP, 1), RET_A, RET_A]);
        assert_eq!(
            message(&[plain(JMP, 1), RET_A]),
            "instruction 0: jumps over 1, out of the program; 0 is the most here"
        );
        assert_eq!(
            message(&[plain(JMP, u32::MAX), RET_A, RET_A]),
            "instruction 0: jumps over 4294967295, out of the program; 1 is the most here"
        );
    }

    #[test]
    fn a_jump_is_not_last() {
        assert_eq!(message(&[plain(JMP, 0)]), "instruction 0: jumps, but no instruction follows");
    }

    #[test]
    fn branch() {
        accepts(&[Instruction::new(JMP | JEQ, 1, 0, 7), RET_A, RET_A]);
        accepts(&[Instruction::new(JMP | JEQ | X, 0, 1, 7), RET_A, RET_A]);
        for (jt, jf) in [(2, 0), (0, 2)] {
            let program = [Instruction::new(JMP | JEQ, jt, jf, 7), RET_A, RET_A];
            assert_eq!(message(&program), "instruction 0: jumps over 2, out of the program; 1 is the most here");
        }
    }

    #[test]
    fn ancillary_offset() {
        for size in [W, H, B] {
            accepts(&[plain(LD | size | ABS, ANCILLARY - 1), RET_A]);
            accepts(&[plain(LD | size | ABS, ANCILLARY + 60), RET_A]);
            for unknown in [1, 64, 0xfff] {
                assert!(
                    message(&[plain(LD | size | ABS, ANCILLARY + unknown), RET_A]).contains("not a known ancillary")
                );
            }
            accepts(&[plain(LD | size | IND, ANCILLARY + 1), RET_A]);
        }
        assert_eq!(
            message(&[plain(LD | ABS, ANCILLARY + 2), RET_A]),
            "instruction 0: 4294963202 (SKF_AD_OFF + 2) is not a known ancillary offset; these are SKF_AD_OFF + 0, 4, … 60"
        );
    }
}
