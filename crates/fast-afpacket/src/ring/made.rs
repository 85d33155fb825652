//! Frames and blocks as the kernel writes them, for the tests of those who read them.

/// What a header is to say; lengths may be lies.
#[derive(Clone, Copy)]
pub(super) struct Made<'a> {
    pub(super) data: &'a [u8],
    pub(super) mac: u16,
    pub(super) len: u32,
    pub(super) wire_len: u32,
    pub(super) status: u32,
    pub(super) vlan: (u16, u16),
}

impl<'a> Made<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        let len = u32::try_from(data.len()).unwrap();
        Self { data, mac: 82, len, wire_len: len, status: 1, vlan: (0, 0) }
    }

    fn address() -> [u8; 20] {
        let mut address = [0; 20];
        address[..2].copy_from_slice(&17_u16.to_ne_bytes());
        address[2..4].copy_from_slice(&0x88b5_u16.to_be_bytes());
        address[4..8].copy_from_slice(&3_i32.to_ne_bytes());
        address[10..12].copy_from_slice(&[4, 6]);
        address[12..18].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        address
    }

    /// The frame in a block: header, address, data at 82.
    pub(super) fn v3(&self, next: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [next, 1_652_138_202, 507_654_453, self.len, self.wire_len, self.status] {
            bytes.extend(word.to_ne_bytes());
        }
        for half in [self.mac, 96] {
            bytes.extend(half.to_ne_bytes());
        }
        for word in [0xfeed, u32::from(self.vlan.0)] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(self.vlan.1.to_ne_bytes());
        bytes.resize(48, 0);
        bytes.extend(Self::address());
        bytes.resize(82, 0);
        bytes.extend(self.data);
        bytes
    }
}

/// A slot of a version 2 ring: data at 66.
pub(super) fn v2_slot(made: &Made<'_>, size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [made.status, made.wire_len, made.len] {
        bytes.extend(word.to_ne_bytes());
    }
    for half in [66_u16, 80] {
        bytes.extend(half.to_ne_bytes());
    }
    for word in [1_652_138_202_u32, 507_654_453] {
        bytes.extend(word.to_ne_bytes());
    }
    for half in [made.vlan.0, made.vlan.1] {
        bytes.extend(half.to_ne_bytes());
    }
    bytes.resize(32, 0);
    bytes.extend(Made::address());
    bytes.resize(66, 0);
    bytes.extend(made.data);
    bytes.resize(size, 0);
    bytes
}

/// A block of a version 3 ring with these frames, each aligned to 8 bytes.
pub(super) fn v3_block(frames: &[Made<'_>], size: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for (number, frame) in frames.iter().enumerate() {
        let len = (82 + frame.data.len()).next_multiple_of(8);
        let last = number + 1 == frames.len();
        body.extend(frame.v3(if last { 0 } else { u32::try_from(len).unwrap() }));
        body.resize(body.len().next_multiple_of(8), 0);
    }
    let count = u32::try_from(frames.len()).unwrap();
    let mut block = Vec::new();
    for word in [2, 48, 1, count, 48, u32::try_from(48 + body.len()).unwrap()] {
        block.extend(word.to_ne_bytes());
    }
    block.extend(1_u64.to_ne_bytes());
    block.resize(48, 0);
    block.extend(body);
    assert!(block.len() <= size);
    block.resize(size, 0);
    block
}
