//! Control messages: an aligned buffer, a walker over what the kernel wrote, an encoder for what it reads.
//!
//! The walker works on any bytes and reads nothing by pointer, so tests and fuzzers can feed it anything.

use std::mem::MaybeUninit;
use std::slice;

use super::abi::{CMSG_ALIGN, CMSG_HEADER_LEN};

/// Room for control messages, aligned as the kernel and C programs expect it.
#[repr(C, align(8))]
pub(crate) struct ControlBuffer<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> ControlBuffer<N> {
    pub(crate) const fn new() -> Self {
        Self([0; N])
    }

    /// The first `len` bytes, or all if the kernel claims to have written more than there is room for.
    pub(crate) fn written(&self, len: usize) -> &[u8] {
        self.0.get(..len).unwrap_or(&self.0)
    }
}

/// One control message: `SOL_SOCKET` / `SO_TIMESTAMPING` and the like, with its data.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) level: libc::c_int,
    pub(crate) kind: libc::c_int,
    pub(crate) data: &'a [u8],
}

/// A message whose length field points outside the buffer, or that has no room for its own header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Walks the messages of a control buffer. After a malformed one it ends: there is no way to find the next.
pub(crate) struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    pub(crate) const fn new(control: &'a [u8]) -> Self {
        Self(control)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Some((message, rest)) = split_first(self.0) else {
            self.0 = &[];
            return Some(Err(Malformed));
        };
        self.0 = rest;
        Some(Ok(message))
    }
}

/// The data of the first message and what follows it, if it is this one and has this length: what the kernel sends as a
/// rule is found by comparing two words. For anything else there are [`Messages`].
#[inline]
pub(crate) fn expect<const N: usize>(
    control: &[u8],
    level: libc::c_int,
    kind: libc::c_int,
) -> Option<(&[u8; N], &[u8])> {
    let (message, rest) = control.split_at_checked(space(N))?;
    let (header, data) = message.split_first_chunk()?;
    let data = data.first_chunk()?;
    (*header == header_of(N, level, kind)).then_some((data, rest))
}

/// The header of a message with `len` bytes of data, as it lies in memory.
#[inline]
const fn header_of(len: usize, level: libc::c_int, kind: libc::c_int) -> [u8; CMSG_HEADER_LEN] {
    let mut header = [0; CMSG_HEADER_LEN];
    if let Some((len_field, rest)) = header.split_first_chunk_mut()
        && let Some((level_field, rest)) = rest.split_first_chunk_mut()
        && let Some(kind_field) = rest.first_chunk_mut()
    {
        *len_field = (CMSG_HEADER_LEN + len).to_ne_bytes();
        *level_field = level.to_ne_bytes();
        *kind_field = kind.to_ne_bytes();
    }
    header
}

#[inline]
fn split_first(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let header: &[u8; CMSG_HEADER_LEN] = bytes.first_chunk()?;
    let (len, level_and_kind) = header.split_first_chunk()?;
    let (level, kind) = level_and_kind.split_first_chunk()?;
    let len = usize::from_ne_bytes(*len);
    let message = Message {
        level: libc::c_int::from_ne_bytes(*level),
        kind: libc::c_int::from_ne_bytes(*kind.first_chunk()?),
        data: bytes.get(CMSG_HEADER_LEN..len)?,
    };
    // The last message need not be padded. `len` is at most `bytes.len()` here, so this cannot overflow.
    let rest = bytes.get(len.next_multiple_of(CMSG_ALIGN)..).unwrap_or(&[]);
    Some((message, rest))
}

/// The room that a message with `len` bytes of data takes: `CMSG_SPACE`.
pub(crate) const fn space(len: usize) -> usize {
    CMSG_HEADER_LEN + len.next_multiple_of(CMSG_ALIGN)
}

/// Writes messages, one behind the other.
#[repr(C, align(8))]
pub(crate) struct Encoder<const N: usize> {
    /// Its first `len` bytes are written.
    buffer: [MaybeUninit<u8>; N],
    len: usize,
}

impl<const N: usize> Encoder<N> {
    #[inline]
    pub(crate) const fn new() -> Self {
        Self { buffer: [const { MaybeUninit::uninit() }; N], len: 0 }
    }

    /// Appends a message with a 32-bit value.
    #[inline]
    pub(crate) fn push(&mut self, level: libc::c_int, kind: libc::c_int, value: u32) {
        self.push_bytes(level, kind, value.to_ne_bytes());
    }

    /// Appends a message with a 64-bit value.
    #[inline]
    pub(crate) fn push_long(&mut self, level: libc::c_int, kind: libc::c_int, value: u64) {
        self.push_bytes(level, kind, value.to_ne_bytes());
    }

    /// Whether all messages fit is decided by `N`, which the caller computes with [`space`]; one that does not fit is left
    /// out whole, never cut.
    #[inline]
    fn push_bytes<const W: usize>(&mut self, level: libc::c_int, kind: libc::c_int, value: [u8; W]) {
        let room = self.buffer.get_mut(self.len..self.len + space(W));
        debug_assert!(room.is_some(), "the control buffer is too small");
        if let Some((header, data)) = room.and_then(<[_]>::split_first_chunk_mut)
            && let Some((data, padding)) = data.split_first_chunk_mut()
        {
            *header = header_of(W, level, kind).map(MaybeUninit::new);
            *data = value.map(MaybeUninit::new);
            padding.fill(MaybeUninit::new(0));
            self.len += space(W);
        }
    }

    #[inline]
    pub(crate) const fn as_bytes(&self) -> &[u8] {
        // SAFETY: `len` counts the bytes of the buffer that `push_bytes` has written, from the first on without a gap.
        unsafe { slice::from_raw_parts(self.buffer.as_ptr().cast(), self.len) }
    }
}

/// Messages with data of any length, for tests of those who read them.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct CmsgBytes(pub(crate) Vec<u8>);

#[cfg(test)]
impl CmsgBytes {
    pub(crate) fn push(&mut self, level: libc::c_int, kind: libc::c_int, data: &[u8]) {
        self.0.extend((CMSG_HEADER_LEN + data.len()).to_ne_bytes());
        self.0.extend(level.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(CMSG_ALIGN), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one_message() -> Encoder<{ space(4) }> {
        let mut control = Encoder::new();
        control.push(1, 37, 5);
        control
    }

    fn two_messages() -> Encoder<{ 2 * space(4) }> {
        let mut control = Encoder::new();
        control.push(1, 37, 0xdead_beef);
        control.push(263, 81, 7);
        control
    }

    #[test]
    fn encoded_messages_are_read_back() {
        let control = two_messages();
        let messages: Vec<_> = Messages::new(control.as_bytes()).map(Result::unwrap).collect();
        assert_eq!(
            messages,
            [
                Message { level: 1, kind: 37, data: &0xdead_beef_u32.to_ne_bytes() },
                Message { level: 263, kind: 81, data: &7_u32.to_ne_bytes() },
            ]
        );
    }

    #[test]
    fn layout_is_that_of_the_c_library() {
        let control = one_message();
        assert_eq!(control.as_bytes().len(), space(4));
        assert_eq!(
            usize::from_ne_bytes(control.as_bytes()[..size_of::<usize>()].try_into().unwrap()),
            CMSG_HEADER_LEN + 4
        );
        assert_eq!(control.as_bytes().as_ptr().addr() % align_of::<libc::cmsghdr>(), 0);
    }

    #[test]
    fn an_expected_message_is_found_and_no_other() {
        let control = two_messages();
        let bytes = control.as_bytes();
        let (data, rest) = expect::<4>(bytes, 1, 37).unwrap();
        assert_eq!(u32::from_ne_bytes(*data), 0xdead_beef);
        assert_eq!(expect::<4>(rest, 263, 81), Some((&7_u32.to_ne_bytes(), &[][..])));
        assert_eq!(expect::<4>(bytes, 1, 38), None, "another kind");
        assert_eq!(expect::<4>(bytes, 2, 37), None, "another level");
        assert_eq!(expect::<8>(bytes, 1, 37), None, "another length");
        assert_eq!(expect::<4>(&bytes[..space(4) - 1], 1, 37), None, "cut");
    }

    #[test]
    fn lengths_outside_the_buffer_are_malformed() {
        let good = one_message();
        for len in [0, 1, CMSG_HEADER_LEN - 1, space(4) + 1, usize::MAX, usize::MAX - 7] {
            let mut bytes = good.as_bytes().to_vec();
            bytes[..size_of::<usize>()].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(Messages::new(&bytes).collect::<Vec<_>>(), [Err(Malformed)], "length {len}");
        }
        assert_eq!(Messages::new(&good.as_bytes()[..CMSG_HEADER_LEN - 1]).collect::<Vec<_>>(), [Err(Malformed)]);
        assert_eq!(Messages::new(&[]).count(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_end_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Messages::new(&bytes).count() <= bytes.len() / CMSG_HEADER_LEN + 1);
        }
    }
}
