//! Any bytes as the control messages of the error queue, of kernels of all layouts: what the plain walk finds, to the same error.
#![no_main]

use fast_afpacket::fuzzing::{self, Kernel};
use fast_afpacket_fuzz::control;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for kernel in Kernel::ALL {
        assert_eq!(fuzzing::error_report(kernel, bytes), control::error_report(kernel, bytes), "{kernel:?}");
    }
});
