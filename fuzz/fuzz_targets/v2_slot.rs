//! Any memory as a slot of a version 2 ring: the frame that the plain reading finds, or none.
#![no_main]

use fast_afpacket::fuzzing::frame_in_slot;
use fast_afpacket_fuzz::frames;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|slot: &[u8]| match (frames::in_slot(slot), frame_in_slot(slot)) {
    (Some(expected), Some(found)) => expected.compare(slot, &found),
    (None, None) => {}
    (expected, found) => panic!("expected {expected:?}, found {found:?}"),
});
