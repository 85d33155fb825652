//! The form in which the life of a ring stands in an input: a byte for its shape, and steps.

use crate::Input;

/// What happens next.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// The kernel writes these bytes and this status into its next unit, if that is its own.
    HandOver { bytes: &'a [u8], status: u32 },
    /// The reader takes the next unit, walks it and gives it back.
    Read,
    /// The reader takes the next unit and never gives it back: the same comes again.
    Forget,
    /// The reader looks whether there is something, as one does that never waits.
    Look,
}

/// `TP_STATUS_USER`.
pub const OURS: u32 = 1;

/// How many blocks, of how many pages, and a number that picks the size of the slots.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub by_block: bool,
    pub blocks: usize,
    pub pages: usize,
    pub slot: u8,
}

impl Shape {
    pub const fn read(byte: u8) -> Self {
        Self {
            by_block: byte & 1 == 0,
            blocks: 1 + (byte >> 1 & 3) as usize,
            pages: 1 + (byte >> 3 & 1) as usize,
            slot: byte >> 4,
        }
    }
}

pub fn next<'a>(input: &mut Input<'a>) -> Option<Step<'a>> {
    if input.is_empty() {
        return None;
    }
    Some(match input.byte() {
        0 => Step::Read,
        1 => Step::Forget,
        2 => Step::Look,
        // Now and then the kernel writes and keeps what it wrote.
        kind => {
            let status = u32::from_le_bytes(input.array());
            let len = usize::from(input.half());
            let status = if kind == 3 { status & !OURS } else { status | OURS };
            Step::HandOver { bytes: input.bytes(len), status }
        }
    })
}

/// The steps in which units are handed over, each with its status, and read.
pub fn write(shape: u8, units: &[(u32, &[u8])]) -> Vec<u8> {
    let mut input = vec![shape];
    for (status, unit) in units {
        let len = u16::try_from(unit.len()).expect("a unit of less than 64 KiB");
        input.push(4);
        input.extend(status.to_le_bytes());
        input.extend(len.to_le_bytes());
        input.extend(*unit);
        input.push(0);
    }
    input
}
