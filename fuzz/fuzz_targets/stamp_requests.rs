//! Any packets to afprobe's reflector, one after the other: what it answers, refuses and counts.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| afprobe_fuzz::requests::check(input));
