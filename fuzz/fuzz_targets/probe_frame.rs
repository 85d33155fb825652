//! Any bytes as a received frame: what is read of headers, datagrams and probes of all formats.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| afprobe_fuzz::datagram::check(input));
