//! What the fuzz targets compare the library with: the same answers, found in the plainest way, without the library's own
//! code. Here a wrong index panics, and that is right: memory is looked at only where a rule says that it may be.

pub mod control;
pub mod frames;
pub mod program;
pub mod script;

// Offsets of 32 bits are added to each other here, and sizes are those of a 64-bit kernel.
const _: () = assert!(size_of::<usize>() == 8);

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(bytes[at..at + 2].try_into().unwrap())
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Reads an input from its start. What is missing at its end is zero, or empty.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let bytes = self.bytes(N);
        array[..bytes.len()].copy_from_slice(bytes);
        array
    }

    pub fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    pub fn half(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }
}
