//! Any instructions as a filter: one that is accepted runs on any frame, ends, and prints itself so that it is read again.
#![no_main]

use fast_afpacket::Filter;
use fast_afpacket_fuzz::program;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (frame, instructions) = program::read(input);
    let len = instructions.len();
    match Filter::new(instructions) {
        Ok(filter) => {
            let verdict = filter.run(frame);
            assert_eq!(filter.matches(frame), verdict != 0);
            assert_eq!(filter.run(frame), verdict, "nothing is left of a run");
            for cut in [0, 1, 13, 14, 15, frame.len() / 2] {
                filter.run(&frame[..cut.min(frame.len())]);
            }
            assert_eq!(Filter::parse_ddd(&filter.to_string()), Ok(filter));
        }
        Err(error) => {
            assert!(error.instruction().is_none_or(|index| index < len), "{error}");
            assert!(!error.to_string().is_empty());
        }
    }
});
