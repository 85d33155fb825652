//! Control messages: an aligned buffer, a walker over what the kernel wrote, an encoder for what it reads.
//!
//! The walker works on any bytes and reads nothing by pointer, so tests and fuzzers can feed it anything.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::slice;

use super::layout::{Layout, Native};

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
pub(crate) struct Messages<'a, L>(&'a [u8], PhantomData<L>);

impl<'a, L: Layout> Messages<'a, L> {
    pub(crate) const fn new(control: &'a [u8]) -> Self {
        Self(control, PhantomData)
    }
}

impl<'a, L: Layout> Iterator for Messages<'a, L> {
    type Item = Result<Message<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Some((message, rest)) = split_first::<L>(self.0) else {
            self.0 = &[];
            return Some(Err(Malformed));
        };
        self.0 = rest;
        Some(Ok(message))
    }
}

/// The data of the first message and what follows it, if it is this one and has this length: what the kernel sends as a
/// rule is found by comparing a few words. For anything else there are [`Messages`].
#[inline]
pub(crate) fn expect<L: Layout, const N: usize>(
    control: &[u8],
    level: libc::c_int,
    kind: libc::c_int,
) -> Option<(&[u8; N], &[u8])> {
    let (message, rest) = control.split_at_checked(space_of::<L>(N))?;
    let (header, data) = L::split_header(message)?;
    let data = data.first_chunk()?;
    (*header == L::header(header_len::<L>() + N, level, kind)).then_some((data, rest))
}

/// The length of `struct cmsghdr` in a kernel.
const fn header_len<L: Layout>() -> usize {
    size_of::<L::Header>()
}

const _: () = assert!(header_len::<Native>() == size_of::<libc::cmsghdr>());

#[inline]
fn split_first<L: Layout>(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let (len, rest) = bytes.split_at_checked(L::LONG)?;
    let len = match L::LONG {
        8 => usize::try_from(L::u64(*len.first_chunk()?)).ok()?,
        _ => usize::try_from(L::u32(*len.first_chunk()?)).ok()?,
    };
    let (level, rest) = rest.split_first_chunk()?;
    let message = Message {
        level: L::u32(*level).cast_signed(),
        kind: L::u32(*rest.first_chunk()?).cast_signed(),
        data: bytes.get(header_len::<L>()..len)?,
    };
    // The last message need not be padded. `len` is at most `bytes.len()` here, so this cannot overflow.
    let rest = bytes.get(len.next_multiple_of(L::LONG)..).unwrap_or(&[]);
    Some((message, rest))
}

/// The room that a message with `len` bytes of data takes: `CMSG_SPACE`.
pub(crate) const fn space(len: usize) -> usize {
    space_of::<Native>(len)
}

/// [`space`] in any kernel.
#[inline]
pub(super) const fn space_of<L: Layout>(len: usize) -> usize {
    header_len::<L>() + len.next_multiple_of(L::LONG)
}

/// Writes messages, one behind the other.
#[repr(C, align(8))]
pub(crate) struct Encoder<const N: usize, L = Native> {
    /// Its first `len` bytes are written.
    buffer: [MaybeUninit<u8>; N],
    len: usize,
    layout: PhantomData<L>,
}

impl<const N: usize> Encoder<N> {
    #[inline]
    pub(crate) const fn new() -> Self {
        Self::of_layout()
    }
}

impl<const N: usize, L: Layout> Encoder<N, L> {
    /// For the kernel of any machine.
    #[inline]
    pub(crate) const fn of_layout() -> Self {
        Self { buffer: [const { MaybeUninit::uninit() }; N], len: 0, layout: PhantomData }
    }

    /// Appends a message with a 32-bit value.
    #[inline]
    pub(crate) fn push(&mut self, level: libc::c_int, kind: libc::c_int, value: u32) {
        self.push_bytes(level, kind, L::bytes_of_u32(value));
    }

    /// Appends a message with a 64-bit value.
    #[inline]
    pub(crate) fn push_long(&mut self, level: libc::c_int, kind: libc::c_int, value: u64) {
        self.push_bytes(level, kind, L::bytes_of_u64(value));
    }

    /// Whether all messages fit is decided by `N`, which the caller computes with [`space`]; one that does not fit is left
    /// out whole, never cut.
    #[inline]
    fn push_bytes<const W: usize>(&mut self, level: libc::c_int, kind: libc::c_int, value: [u8; W]) {
        let space = space_of::<L>(W);
        let room = self.buffer.get_mut(self.len..self.len + space);
        debug_assert!(room.is_some(), "the control buffer is too small");
        if let Some((header, data)) = room.and_then(|room| room.split_at_mut_checked(header_len::<L>()))
            && let Some((data, padding)) = data.split_first_chunk_mut()
        {
            header.write_copy_of_slice(L::header(header_len::<L>() + W, level, kind).as_ref());
            *data = value.map(MaybeUninit::new);
            padding.fill(MaybeUninit::new(0));
            self.len += space;
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
        self.0.extend((header_len::<Native>() + data.len()).to_ne_bytes());
        self.0.extend(level.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(Native::LONG), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn messages(control: &[u8]) -> Messages<'_, Native> {
        Messages::new(control)
    }

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
        let messages: Vec<_> = messages(control.as_bytes()).map(Result::unwrap).collect();
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
            header_len::<Native>() + 4
        );
        assert_eq!(control.as_bytes().as_ptr().addr() % align_of::<libc::cmsghdr>(), 0);
    }

    #[test]
    fn an_expected_message_is_found_and_no_other() {
        let control = two_messages();
        let bytes = control.as_bytes();
        let (data, rest) = expect::<Native, 4>(bytes, 1, 37).unwrap();
        assert_eq!(u32::from_ne_bytes(*data), 0xdead_beef);
        assert_eq!(expect::<Native, 4>(rest, 263, 81), Some((&7_u32.to_ne_bytes(), &[][..])));
        assert_eq!(expect::<Native, 4>(bytes, 1, 38), None, "another kind");
        assert_eq!(expect::<Native, 4>(bytes, 2, 37), None, "another level");
        assert_eq!(expect::<Native, 8>(bytes, 1, 37), None, "another length");
        assert_eq!(expect::<Native, 4>(&bytes[..space(4) - 1], 1, 37), None, "cut");
    }

    #[test]
    fn lengths_outside_the_buffer_are_malformed() {
        let good = one_message();
        for len in [0, 1, header_len::<Native>() - 1, space(4) + 1, usize::MAX, usize::MAX - 7] {
            let mut bytes = good.as_bytes().to_vec();
            bytes[..size_of::<usize>()].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(messages(&bytes).collect::<Vec<_>>(), [Err(Malformed)], "length {len}");
        }
        assert_eq!(messages(&good.as_bytes()[..header_len::<Native>() - 1]).collect::<Vec<_>>(), [Err(Malformed)]);
        assert_eq!(messages(&[]).count(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_end_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(messages(&bytes).count() <= bytes.len() / header_len::<Native>() + 1);
        }
    }
}
