//! What tcpdump has seen, and what tshark makes of it.

use std::net::IpAddr;
use std::process::Command;

use super::process::run_with_input;

/// Makes tcpdump write to its standard output, at once, what it sees on `eth1`.
pub(crate) const TCPDUMP: [&str; 11] =
    ["-i", "eth1", "-n", "-s", "0", "-U", "--immediate-mode", "-Z", "root", "-w", "-"];

/// The lines that tshark prints of the frames that match a display filter, all checksums checked.
pub(crate) fn tshark(capture: &[u8], filter: &str, arguments: &[&str]) -> Vec<String> {
    let options = ["-n", "-r", "-", "-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-Y", filter];
    let ended = run_with_input(Command::new("tshark").args(options).args(arguments), capture.to_vec());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout.lines().map(str::to_owned).collect()
}

/// The frames of a capture file, up to where it is complete.
pub(crate) fn frames_in(capture: &[u8]) -> Vec<&[u8]> {
    let Some((header, mut rest)) = capture.split_at_checked(24) else {
        return Vec::new();
    };
    let word = |bytes: &[u8], at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!((word(header, 0), word(header, 20)), (0xa1b2_c3d4, 1), "microseconds, this byte order, Ethernet");
    let mut frames = Vec::new();
    while let Some((record, behind)) = rest.split_at_checked(16) {
        let (captured, original) = (word(record, 8), word(record, 12));
        let Some((frame, behind)) = behind.split_at_checked(usize::try_from(captured).unwrap()) else {
            break;
        };
        assert_eq!(captured, original, "a frame was cut");
        frames.push(frame);
        rest = behind;
    }
    frames
}

/// The bytes of an address.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.as_chunks::<2>().0.iter().map(|word| u32::from(u16::from_be_bytes(*word)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
