//! The probe of the Go package's example: 16 bytes, a fixed prefix and the probe's id as a little-endian u64.

/// The length of the payload.
pub(crate) const LEN: usize = 16;

const PREFIX: [u8; 8] = [0x93, 0x72, 0xe7, 0x59, 0xc7, 0xb5, 0xaa, 0x73];

/// The payload of the probe with this id.
pub(crate) fn encode(id: u64) -> [u8; LEN] {
    let mut payload = [0; LEN];
    let bytes = PREFIX.into_iter().chain(id.to_le_bytes());
    for (to, from) in payload.iter_mut().zip(bytes) {
        *to = from;
    }
    payload
}

/// The id of the probe with this payload, or `None` if it is none.
pub(crate) fn decode(payload: &[u8]) -> Option<u64> {
    let (prefix, rest) = payload.split_first_chunk()?;
    let id = <[u8; 8]>::try_from(rest).ok()?;
    (*prefix == PREFIX).then_some(u64::from_le_bytes(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_on_the_wire() {
        let expected = [0x93, 0x72, 0xe7, 0x59, 0xc7, 0xb5, 0xaa, 0x73, 0x21, 0x43, 0, 0, 0, 0, 0, 0];
        assert_eq!(encode(0x4321), expected);
        assert_eq!(decode(&expected), Some(0x4321));
    }

    #[test]
    fn anything_else_is_no_probe() {
        let probe = encode(7);
        for len in 0..LEN {
            assert_eq!(decode(&probe[..len]), None, "{len} bytes");
        }
        assert_eq!(decode(&[&probe[..], &[0]].concat()), None, "too long");
        for i in 0..8 {
            let mut other = probe;
            other[i] ^= 1;
            assert_eq!(decode(&other), None, "another prefix");
        }
    }
}
