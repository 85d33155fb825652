//! Any bytes as the control messages of the error queue: what the plain walk finds, to the same error.
#![no_main]

use fast_afpacket::fuzzing;
use fast_afpacket_fuzz::control;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| assert_eq!(fuzzing::error_report(bytes), control::error_report(bytes)));
