//! The form in which a filter and a frame for it stand in an input: the length of the frame (u16), the frame, and eight
//! bytes for each instruction (code, jt, jf, k), all little-endian.

use fast_afpacket::Instruction;

use crate::Input;

pub fn read(input: &[u8]) -> (&[u8], Vec<Instruction>) {
    let mut input = Input(input);
    let len = usize::from(input.half());
    let frame = input.bytes(len);
    let mut program = Vec::new();
    while !input.is_empty() {
        let [c0, c1, jt, jf, k0, k1, k2, k3] = input.array();
        program.push(Instruction::new(u16::from_le_bytes([c0, c1]), jt, jf, u32::from_le_bytes([k0, k1, k2, k3])));
    }
    (frame, program)
}

pub fn write(frame: &[u8], program: &[Instruction]) -> Vec<u8> {
    let len = u16::try_from(frame.len()).expect("a frame of less than 64 KiB");
    let mut input = [&len.to_le_bytes(), frame].concat();
    for &Instruction { code, jt, jf, k } in program {
        input.extend(code.to_le_bytes());
        input.extend([jt, jf]);
        input.extend(k.to_le_bytes());
    }
    input
}
