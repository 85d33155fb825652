//! Any text as what `tcpdump -ddd` prints: a filter, which prints itself so that it is read again, or an error that names
//! a line of the text.
#![no_main]

use fast_afpacket::Filter;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| match Filter::parse_ddd(text) {
    Ok(filter) => {
        assert_eq!(Filter::parse_ddd(&filter.to_string()), Ok(filter.clone()));
        assert_eq!(Filter::new(filter.instructions()), Ok(filter));
    }
    Err(error) => {
        assert!(!error.to_string().is_empty());
        assert!(error.line().is_none_or(|line| line >= 1 && line <= text.lines().count()), "{error}");
    }
});
