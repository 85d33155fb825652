//! What afprobe reads and did not write itself, and what must hold of it, for the fuzz targets.
//!
//! afprobe is a program and has no library. Its parts that have no sockets are compiled here from the same files, under the
//! names that they have there; nothing of them is copied, and nothing in them is made public for this.
#![allow(dead_code, reason = "the other half of afprobe uses the rest")]

pub mod datagram;
pub mod reply;
pub mod requests;
pub mod seeds;

#[path = "."]
mod frame {
    #[path = "../../../crates/afprobe/src/frame/received.rs"]
    pub(crate) mod received;
}
#[path = "../../../crates/afprobe/src/reflector/mod.rs"]
mod reflector;
#[path = "../../../crates/afprobe/src/treatment.rs"]
mod treatment;
#[path = "."]
mod two_way {
    #[path = "../../../crates/afprobe/src/two_way/stamps.rs"]
    pub(crate) mod stamps;
}
#[path = "../../../crates/afprobe/src/wire/mod.rs"]
mod wire;

use std::time::Duration;

use fast_afpacket::SystemStamp;

use wire::stamp::error_estimate::ErrorEstimate;
use wire::stamp::integrity::Keys;
use wire::stamp::key::Key;

/// Plain; authenticated; plain with authenticated TLVs.
fn keys(choice: u8) -> Keys {
    let key = Key::new(b"a secret that both sides know").unwrap();
    match choice % 3 {
        0 => Keys::NONE,
        1 => Keys::authenticated(key),
        _ => Keys::of_tlvs(key),
    }
}

/// The codes that no fuzzer can guess, in packets that have room for them.
fn authenticate(packet: &mut [u8], keys: &Keys) {
    let layout = keys.layout();
    wire::stamp::integrity::authenticate(packet, &layout, keys.tlvs.as_ref());
    layout.authenticate(packet, keys.packet.as_ref());
}

/// So many nanoseconds after a moment of 2020.
fn at(nanos: i64) -> SystemStamp {
    SystemStamp::from_nanos(1_582_934_400_000_000_000 + nanos)
}

fn one_second() -> ErrorEstimate {
    ErrorEstimate::new(true, Some(Duration::from_secs(1)))
}

/// Whether a part lies in the whole, and did not come from elsewhere.
fn is_within(part: &[u8], whole: &[u8]) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    whole.start <= part.start && part.end <= whole.end
}
