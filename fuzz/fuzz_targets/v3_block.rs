//! Any memory as a block of a version 3 ring: exactly the frames that the plain walk finds, and exactly its counts.
#![no_main]

use fast_afpacket::fuzzing::walk_block;
use fast_afpacket_fuzz::frames;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|block: &[u8]| {
    let expected = frames::in_block(block);
    let mut found = 0;
    let mut behind = block.as_ptr().addr() + 48;
    let mut previous = None;
    let counted = walk_block(block, |frame| {
        expected[found].compare(block, &frame);
        let data = frame.data().as_ptr_range();
        assert!(data.start.addr() >= behind + 68, "in front of a frame is its header, and behind the one before");
        behind = data.end.addr();
        let from = frame.meta().from;
        if let Some(previous) = previous.replace(from) {
            assert_eq!(previous == from, expected[found].has_address_of(&expected[found - 1]), "{previous:?} {from:?}");
        }
        found += 1;
    });
    assert_eq!(found, expected.len());
    assert!(found == 0 || behind <= block.as_ptr_range().end.addr());
    let frames::Counts { truncated, unstamped, malformed } = frames::counts_of(block, &expected);
    assert_eq!((counted.truncated, counted.unstamped), (truncated, unstamped));
    assert_eq!((counted.claimed, counted.malformed), (frames::claimed(block), malformed));
    assert_eq!(u32::try_from(found), Ok(counted.claimed - counted.malformed), "each is found or counted");
});
