//! How a kernel lays out what it writes: the size of its `long`, and the order of bytes.
//!
//! Those who read control messages take any layout, so that tests can show them what the kernels of other machines write;
//! `golden.rs` has it byte for byte. On the data path there is [`Native`] alone, and nothing is left to decide when it runs.

use super::abi;

/// The layout of a kernel's words.
pub(crate) trait Layout {
    /// The size of a `long` in bytes, 4 or 8: of the length in a control message, and what messages are aligned to.
    const LONG: usize;
    /// Whether the most significant byte comes first.
    const BIG_ENDIAN: bool;
    /// As many bytes as `struct cmsghdr` has: a length and two ints.
    type Header: AsRef<[u8]> + Eq + 'static;

    /// The header of a message with that length in all, as it lies in memory.
    fn header(len: usize, level: libc::c_int, kind: libc::c_int) -> Self::Header;

    /// The header at the start of a message, and what follows it.
    fn split_header(message: &[u8]) -> Option<(&Self::Header, &[u8])>;

    /// The form of `SO_TIMESTAMPING` that this library sets there, and of the messages that answer it.
    const SO_TIMESTAMPING: libc::c_int =
        if Self::LONG == 8 { abi::SO_TIMESTAMPING_OLD } else { abi::SO_TIMESTAMPING_NEW };

    #[inline]
    fn u16(bytes: [u8; 2]) -> u16 {
        if Self::BIG_ENDIAN { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    #[inline]
    fn u32(bytes: [u8; 4]) -> u32 {
        if Self::BIG_ENDIAN { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    #[inline]
    fn u64(bytes: [u8; 8]) -> u64 {
        if Self::BIG_ENDIAN { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) }
    }

    #[inline]
    fn bytes_of_u32(value: u32) -> [u8; 4] {
        if Self::BIG_ENDIAN { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    #[inline]
    fn bytes_of_u64(value: u64) -> [u8; 8] {
        if Self::BIG_ENDIAN { value.to_be_bytes() } else { value.to_le_bytes() }
    }
}

/// A kind of machine, by these two properties.
pub(crate) struct Machine<const LONG: usize, const BIG_ENDIAN: bool>;

impl<const BIG_ENDIAN: bool> Layout for Machine<4, BIG_ENDIAN> {
    const LONG: usize = 4;
    const BIG_ENDIAN: bool = BIG_ENDIAN;
    type Header = [u8; 12];

    #[inline]
    fn header(len: usize, level: libc::c_int, kind: libc::c_int) -> Self::Header {
        // No message is longer than 32 bits can say.
        let [a, b, c, d] = Self::bytes_of_u32(u32::try_from(len).unwrap_or(u32::MAX));
        let [e, f, g, h] = Self::bytes_of_u32(level.cast_unsigned());
        let [i, j, k, l] = Self::bytes_of_u32(kind.cast_unsigned());
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }

    #[inline]
    fn split_header(message: &[u8]) -> Option<(&Self::Header, &[u8])> {
        message.split_first_chunk()
    }
}

impl<const BIG_ENDIAN: bool> Layout for Machine<8, BIG_ENDIAN> {
    const LONG: usize = 8;
    const BIG_ENDIAN: bool = BIG_ENDIAN;
    type Header = [u8; 16];

    #[inline]
    fn header(len: usize, level: libc::c_int, kind: libc::c_int) -> Self::Header {
        let [a, b, c, d, e, f, g, h] = Self::bytes_of_u64(len as u64);
        let [i, j, k, l] = Self::bytes_of_u32(level.cast_unsigned());
        let [m, n, o, p] = Self::bytes_of_u32(kind.cast_unsigned());
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    #[inline]
    fn split_header(message: &[u8]) -> Option<(&Self::Header, &[u8])> {
        message.split_first_chunk()
    }
}

/// The machine that this is compiled for.
pub(crate) type Native = Machine<{ size_of::<libc::c_long>() }, { cfg!(target_endian = "big") }>;
const _: () = assert!(size_of::<libc::c_long>() == size_of::<usize>());
