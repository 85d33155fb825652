//! From the 32 bits of a number on the wire to the 64 that it was counted in.

/// The number nearest to `near` that has these lower 32 bits. `None` if it would be negative: nobody counted to that.
pub(crate) fn unwrap(wire: u32, near: u64) -> Option<u64> {
    near.checked_add_signed(i64::from(wire.wrapping_sub(lower_half(near)).cast_signed()))
}

/// What of a number is on the wire.
#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
pub(crate) const fn lower_half(number: u64) -> u32 {
    number as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_meant() {
        const WRAP: u64 = 1 << 32;
        for (wire, near, number) in [
            (5, 5, Some(5)),
            (7, 5, Some(7)),
            (3, 5, Some(3)),
            (0, WRAP - 1, Some(WRAP)),
            (u32::MAX, WRAP + 3, Some(WRAP - 1)),
            (2, 9 * WRAP + 1, Some(9 * WRAP + 2)),
            (u32::MAX, 3, None),
            (4, u64::MAX, None),
        ] {
            assert_eq!(unwrap(wire, near), number, "{wire} near {near}");
        }
        for number in [0, 1, WRAP - 1, WRAP, 5 * WRAP + 77, u64::MAX] {
            assert_eq!(unwrap(lower_half(number), number), Some(number));
        }
    }
}
