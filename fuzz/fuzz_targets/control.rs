//! Any bytes as the control messages of a received frame: what the plain walk finds, to the same error.
#![no_main]

use fast_afpacket::{Timestamps, fuzzing};
use fast_afpacket_fuzz::control;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert_eq!(fuzzing::ancillary(bytes), control::ancillary(bytes));
    assert_eq!(Timestamps::from_control(bytes), control::timestamps(bytes));
});
