//! Any bytes as the reply of a STAMP reflector, plain or authenticated.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| afprobe_fuzz::reply::check(input));
