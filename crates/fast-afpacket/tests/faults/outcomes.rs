//! One outcome for each frame that was to be sent.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use fast_afpacket::{MissingReason, Timestamping, TxKey, TxResult, TxTracker};

use crate::hooks::{self, Fault};
use crate::lab::{Cable, bind, frame, millis, options, within};
use crate::sending::errors_of;
use crate::{Reported as _, SHORTAGES, at_each_of};

pub(crate) fn tracker() {
    try_tracker(false);
}

pub(crate) fn counted_tracker() {
    try_tracker(true);
}

fn try_tracker(count_keys: bool) {
    let cable = Cable::new();
    let socket = bind(options().dual(true).timestamping(Timestamping::TX).count_keys(count_keys), &cable.a);
    let _receiver = bind(options(), &cable.b);
    // Waiting needs descriptors, which are kept.
    socket.set_tx_deadline(within(millis(1)));
    assert_eq!(socket.recv_tx(&mut []).unwrap_err().kind(), ErrorKind::TimedOut);
    socket.set_tx_deadline(None);
    let tracker = TxTracker::new(&socket).unwrap().timeout(millis(20));
    let mut next = 0;
    let mut scenario = |fault: Fault| {
        let mut told = false;
        let unattributed = || hooks::without(|| socket.stats().unwrap().unattributed);
        let before = unattributed();
        let (mut sent, mut refused) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            let key = TxKey::new(next);
            match tracker.send(&frame(next), key) {
                Ok(_) => sent.push(key),
                Err(error) => {
                    error.check(fault);
                    assert!(!std::mem::replace(&mut told, true), "{error}");
                    refused.push(key);
                }
            }
            next += 1;
        }
        let mut outcomes = BTreeMap::new();
        while outcomes.len() < sent.len() + refused.len() {
            match tracker.outcome() {
                Ok(outcome) => assert_eq!(outcomes.insert(outcome.key, outcome.result), None),
                Err(error) => {
                    error.check(fault);
                    assert!(!std::mem::replace(&mut told, true), "{error}");
                }
            }
        }
        let results = |keys: &[TxKey]| keys.iter().map(|key| outcomes[key]).collect::<Vec<_>>();
        assert!(results(&refused).iter().all(|result| matches!(result, TxResult::Refused { .. })), "{outcomes:?}");
        let incomplete = results(&sent).into_iter().filter(|&result| result != TxResult::Complete);
        let incomplete: Vec<_> = incomplete.collect();
        // A stamp that could not be read, or could be of two frames, is missing, and nothing else is.
        let bound = u64::from(matches!(fault, Fault::ShortControl(_))) + unattributed() - before;
        assert!(incomplete.len() as u64 <= bound, "{incomplete:?}");
        assert!(incomplete.iter().all(|result| matches!(result, TxResult::Missing(MissingReason::DeadlinePassed))));
        assert!(tracker.is_empty());
        told
    };
    at_each_of(&["sendmsg"], errors_of(&socket), &mut scenario);
    at_each_of(&[], &SHORTAGES, &mut scenario);
}
