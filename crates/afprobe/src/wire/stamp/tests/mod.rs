//! Packets put together by hand from the RFCs, octet by octet, and what becomes of any others.

mod any_bytes;
mod golden;
mod ours;

use std::time::Duration;

use fast_afpacket::SystemStamp;

use super::error_estimate::ErrorEstimate;
use super::integrity::Keys;
use super::key::Key;
use super::request::{Sending, Setup};
use super::time::TimeFormat;

/// RFC 8762, figure 2, with RFC 8972, figure 1.
pub(crate) const PLAIN_REQUEST: &str = "00000007 e204280080000000 9980 1234 \
    00000000000000000000000000000000000000000000000000000000";

/// RFC 8762, figure 5, with RFC 8972, figure 2.
pub(crate) const PLAIN_REPLY: &str = "00000000 e2042800c0000000 9980 1234 e2042800a0000000 \
    00000007 e204280080000000 9980 0000 3d 000000";

/// RFC 8762, figure 4, with RFC 8972, figure 3.
pub(crate) const AUTHENTICATED_REQUEST: &str = "00000007 000000000000000000000000 e204280080000000 9980 1234 \
    00000000000000000000000000000000000000000000000000000000000000000000000000000000 \
    00000000000000000000000000000000000000000000000000000000 \
    0c6edb088d9b9326c350d3a7ebd01f38";

/// RFC 8762, figure 6, with RFC 8972, figure 4.
pub(crate) const AUTHENTICATED_REPLY: &str = "00000000 000000000000000000000000 e2042800c0000000 9980 1234 00000000 \
    e2042800a0000000 0000000000000000 00000007 000000000000000000000000 e204280080000000 9980 000000000000 \
    3d 000000000000000000000000000000 3135db07b6a00c0ab65abaefbc8efd6f";

/// 2020-02-29 00:00:00 UTC and so many nanoseconds: second 0xe2042800 of NTP's era 0.
pub(crate) fn at(nanos: i64) -> SystemStamp {
    SystemStamp::from_nanos(1_582_934_400_000_000_000 + nanos)
}

/// 0x9980 on the wire: synchronised, 128 * 2^(25 - 32) s.
pub(crate) fn one_second() -> ErrorEstimate {
    ErrorEstimate::new(true, Some(Duration::from_secs(1)))
}

pub(crate) fn key() -> Key {
    Key::new(b"a key of thirty-two octets, so so").unwrap()
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// A session without TLVs.
pub(crate) fn bare(keys: Keys) -> Setup {
    Setup {
        keys,
        format: TimeFormat::Ntp,
        ssid: 0x1234,
        len: 0,
        timestamp_information: false,
        class_of_service: None,
        direct_measurement: false,
        follow_up_telemetry: false,
        room: None,
    }
}

/// A session with all of them.
pub(crate) fn full(keys: Keys) -> Setup {
    Setup {
        len: 500,
        timestamp_information: true,
        class_of_service: Some(46),
        direct_measurement: true,
        follow_up_telemetry: true,
        room: Some(super::afprobe::room_for(2, false)),
        ..bare(keys)
    }
}

pub(crate) fn sending(sequence: u64) -> Sending {
    Sending { sequence, sent: sequence + 1, t1: at(500_000_000), error: one_second() }
}
