//! What holds for any program at all.

use proptest::prelude::*;

use super::operation::{MEM, NETWORK, ST, STX};
use super::*;

#[test]
fn an_instruction_is_laid_out_as_the_kernel_has_it() {
    assert_eq!(size_of::<Instruction>(), size_of::<libc::sock_filter>());
    macro_rules! same_offset {
        ($($field:ident)*) => {
            $(assert_eq!(
                std::mem::offset_of!(Instruction, $field),
                std::mem::offset_of!(libc::sock_filter, $field)
            );)*
        };
    }
    same_offset!(code jt jf k);
}

fn any_instruction() -> impl Strategy<Value = Instruction> {
    let code = prop_oneof![any::<u16>(), (0..0x100_u16), Just(RET), Just(LD | MEM), Just(ST), Just(JMP | JEQ)];
    let k = prop_oneof![any::<u32>(), 0..40_u32, (NETWORK..NETWORK + 40), (ANCILLARY..=ANCILLARY + 64)];
    (code, 0..6_u8, 0..6_u8, k).prop_map(|(code, jt, jf, k)| Instruction::new(code, jt, jf, k))
}

/// Programs of which a good part is accepted: opcodes that exist, and returns to jump to.
fn likely_program() -> impl Strategy<Value = Vec<Instruction>> {
    let exists = any_instruction().prop_filter("an opcode", |instruction| instruction.operation().is_some());
    prop::collection::vec(exists, 1..12).prop_map(|body| {
        [&[Instruction::new(ST, 0, 0, 0), Instruction::new(STX, 0, 0, 1)], &body[..], &[Instruction::KEEP; 6]].concat()
    })
}

proptest! {
    #[test]
    fn new_never_panics(program in prop::collection::vec(any_instruction(), 0..40)) {
        let _ = Filter::new(program);
    }

    #[test]
    fn run_never_panics_and_ends(program in likely_program(), frame in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(filter) = Filter::new(program) {
            prop_assert_eq!(filter.matches(&frame), filter.run(&frame) != 0);
        }
    }

    #[test]
    fn text_reads_as_it_was_printed(program in likely_program()) {
        if let Ok(filter) = Filter::new(program) {
            prop_assert_eq!(Filter::parse_ddd(&filter.to_string()), Ok(filter));
        }
    }

    #[test]
    fn parse_never_panics(text in "([0-9]{0,11}[ \\n\\r]){0,40}|\\PC{0,40}") {
        let _ = Filter::parse_ddd(&text);
    }
}
