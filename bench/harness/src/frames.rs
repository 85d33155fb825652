//! The frames that are sent: UDP over IPv4, to an address that nobody has.
//!
//! The far end's IP stack looks at the destination, finds that it is another host's, and drops the frame.

use anyhow::{Context, ensure};
use fast_afpacket::Offload;

const ETHERNET: [u8; 14] = [2, 0, 0, 0, 0, 0x99, 2, 0, 0, 0, 0, 0x0a, 0x08, 0x00];
/// Ethernet, IPv4 and UDP.
pub const HEADERS: usize = 14 + 20 + 8;

/// A frame of this length, without checksum.
///
/// # Errors
///
/// If it is too short for its headers, or too long for IPv4.
pub fn one(len: usize) -> anyhow::Result<Vec<u8>> {
    ensure!(len >= HEADERS, "a frame of {len} bytes has no room for its headers");
    let ip_len = u16::try_from(len - ETHERNET.len()).context("too long for IPv4")?;
    let udp_len = ip_len - 20;
    let mut ip = [0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    let [high, low] = ip_len.to_be_bytes();
    (ip[2], ip[3]) = (high, low);
    let [high, low] = checksum(&ip).to_be_bytes();
    (ip[10], ip[11]) = (high, low);
    let [high, low] = udp_len.to_be_bytes();
    // To the port that throws everything away; no checksum.
    let udp = [0x30, 0x39, 0, 9, high, low, 0, 0];
    let mut frame = [&ETHERNET[..], &ip, &udp].concat();
    frame.resize(len, 0);
    Ok(frame)
}

/// A frame that the kernel cuts into `count` frames of `len` bytes, and how it is to do so.
///
/// # Errors
///
/// If they are too short, or too many for IPv4.
pub fn segmented(len: usize, count: u16) -> anyhow::Result<(Vec<u8>, Offload)> {
    let payload = len.checked_sub(HEADERS).context("too short")?;
    let mut frame = one(HEADERS + payload * usize::from(count))?;
    let offload = Offload::segments(&mut frame, u16::try_from(payload)?)?;
    Ok((frame, offload))
}

/// How many frames of this length one that is to be cut can hold: 64 at most, as the kernel allowed when it began to.
pub fn most_segments(len: usize) -> u16 {
    let room = usize::from(u16::MAX) - 28;
    let fit = len.checked_sub(HEADERS).and_then(|payload| room.checked_div(payload)).unwrap_or(64);
    u16::try_from(fit.min(64)).unwrap_or(64)
}

/// RFC 1071.
fn checksum(header: &[u8; 20]) -> u16 {
    let (words, _) = header.as_chunks();
    let sum: u32 = words.iter().map(|&word| u32::from(u16::from_be_bytes(word))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    u16::try_from(folded & 0xffff).map_or(0, |sum| !(sum + u16::from(folded > 0xffff)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_as_long_as_asked_for() {
        for len in [64, 1514] {
            let frame = one(len).unwrap();
            assert_eq!(frame.len(), len);
            assert_eq!(usize::from(u16::from_be_bytes([frame[16], frame[17]])), len - 14);
            // A header with its checksum in it sums up to all ones.
            assert_eq!(checksum(frame[14..34].try_into().unwrap()), 0);
        }
        assert!(one(41).is_err());
        assert!(one(70_000).is_err());
    }

    #[test]
    fn large_frames_hold_whole_segments() {
        assert_eq!((most_segments(64), most_segments(1514)), (64, 44));
        for len in [64, 1514] {
            let count = most_segments(len);
            let (frame, offload) = segmented(len, count).unwrap();
            assert_eq!(frame.len(), HEADERS + usize::from(count) * (len - HEADERS));
            assert_eq!(offload.segmentation().unwrap().1, u16::try_from(len - HEADERS).unwrap());
        }
    }
}
