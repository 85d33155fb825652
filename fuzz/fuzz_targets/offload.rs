//! Any frame to be offloaded: what is asked of the kernel makes the right checksum, nothing else is touched, and a frame
//! that cannot be offloaded is left as it was. Any ten bytes as an offload header are read back the same.
#![no_main]

use fast_afpacket::fuzzing::{offload_from_bytes, offload_to_bytes};
use fast_afpacket::{Offload, SegmentKind};
use fast_afpacket_fuzz::Input;
use libfuzzer_sys::fuzz_target;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A TCP segment or UDP datagram, whole, in an Ethernet frame.
struct Packet {
    is_ipv6: bool,
    protocol: u8,
    addresses: Vec<u8>,
    /// Where the header of TCP or UDP begins, and its length.
    at: usize,
    header_len: usize,
}

fn be16(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

/// What can be offloaded.
fn packet(frame: &[u8]) -> Option<Packet> {
    let mut ip = 14;
    while matches!(be16(frame, ip - 2)?, 0x8100 | 0x88a8) {
        ip += 4;
    }
    let version = frame.get(ip)? >> 4;
    let (is_ipv6, protocol, addresses, at) = match (be16(frame, ip - 2)?, version) {
        (0x0800, 4) => {
            let words = usize::from(frame[ip] & 15);
            let is_whole = be16(frame, ip + 2)? == frame.len() - ip && be16(frame, ip + 6)? & 0x3fff == 0;
            if words < 5 || !is_whole {
                return None;
            }
            (false, *frame.get(ip + 9)?, frame.get(ip + 12..ip + 20)?, ip + 4 * words)
        }
        (0x86dd, 6) => {
            let addresses = frame.get(ip + 8..ip + 40)?;
            if be16(frame, ip + 4)? != frame.len() - ip - 40 {
                return None;
            }
            (true, frame[ip + 6], addresses, ip + 40)
        }
        _ => return None,
    };
    let transport = frame.get(at..)?;
    let header_len = match protocol {
        TCP => usize::from(transport.get(12)? >> 4) * 4,
        UDP if be16(transport, 4)? == transport.len() => 8,
        _ => return None,
    };
    let shortest = if protocol == TCP { 20 } else { 8 };
    // The header of the offload has 16 bits for each.
    let fits = at + header_len <= 0xffff && header_len <= transport.len() && header_len >= shortest;
    fits.then(|| Packet { is_ipv6, protocol, addresses: addresses.to_vec(), at, header_len })
}

/// The Internet checksum's sum, without the final complement.
fn sum(bytes: &[u8]) -> u64 {
    bytes.chunks(2).map(|word| u64::from(u16::from_be_bytes([word[0], *word.get(1).unwrap_or(&0)]))).sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn check(before: &[u8], after: &mut [u8], packet: &Packet, offload: Offload, segment: Option<u16>) {
    let &Packet { at, header_len, protocol, is_ipv6, .. } = packet;
    let offset = if protocol == TCP { 16 } else { 6 };
    assert_eq!(offload.checksum_at(), Some((at as u16, offset)));
    let kind = match (protocol, is_ipv6) {
        (TCP, false) => SegmentKind::TcpV4,
        (TCP, true) => SegmentKind::TcpV6,
        _ => SegmentKind::Udp,
    };
    assert_eq!(offload.segmentation(), segment.map(|len| (kind, len)));
    let bytes = offload_to_bytes(offload);
    assert_eq!(u16::from_ne_bytes([bytes[2], bytes[3]]), (at + header_len) as u16);
    let field = at + usize::from(offset)..at + usize::from(offset) + 2;
    assert_eq!(after[..field.start], before[..field.start]);
    assert_eq!(after[field.end..], before[field.end..]);
    // As the kernel does.
    let checksum = !fold(sum(&after[at..]));
    after[field].copy_from_slice(&checksum.to_be_bytes());
    // As the receiver does.
    let len = (after.len() - at) as u64;
    let whole = sum(&packet.addresses) + u64::from(protocol) + len + sum(&after[at..]);
    assert_eq!(fold(whole), 0xffff);
}

fuzz_target!(|input: &[u8]| {
    let mut input = Input(input);
    let header: [u8; 10] = input.array();
    let offload = offload_from_bytes(header);
    assert_eq!(offload_to_bytes(offload), header);
    assert_eq!(offload.checksum_at().is_some(), header[0] & 1 != 0);
    assert_eq!(offload.is_checksum_valid(), header[0] & 2 != 0);
    assert_eq!(offload.segmentation().is_some(), header[1] & 0x7f != 0);

    let segment = input.half();
    let frame = input.0;
    let packet = packet(frame);
    for segment in [None, Some(segment)] {
        let mut after = frame.to_vec();
        let asked = match segment {
            None => Offload::checksum(&mut after),
            Some(len) => Offload::segments(&mut after, len),
        };
        match (asked, &packet) {
            (Ok(offload), Some(packet)) => check(frame, &mut after, packet, offload, segment),
            (Err(_), _) if segment == Some(0) || packet.is_none() => assert_eq!(after, frame),
            (asked, _) => panic!("{asked:?}, can be offloaded: {}", packet.is_some()),
        }
    }
});
