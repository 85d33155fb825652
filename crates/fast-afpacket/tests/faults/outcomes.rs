//! One outcome for each frame that was to be sent.

use std::collections::BTreeMap;

use fast_afpacket::{MissingReason, Timestamping, TxKey, TxResult, TxTracker};

use crate::hooks::Fault;
use crate::lab::{Cable, bind, frame, millis, options};
use crate::{ERRORS, Reported as _, SHORTAGES, at_each_of};

pub(crate) fn tracker() {
    let cable = Cable::new();
    let socket = bind(options().dual(true).timestamping(Timestamping::TX), &cable.a);
    let _receiver = bind(options(), &cable.b);
    let tracker = TxTracker::new(&socket).unwrap().timeout(millis(20));
    let mut next = 0;
    let mut scenario = |fault: Fault| {
        let mut told = false;
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
        // A stamp that could not be read is missing, and nothing else is.
        let bound = usize::from(matches!(fault, Fault::ShortControl(_)));
        assert!(incomplete.len() <= bound, "{incomplete:?}");
        assert!(incomplete.iter().all(|result| matches!(result, TxResult::Missing(MissingReason::DeadlinePassed))));
        assert!(tracker.is_empty());
        told
    };
    at_each_of(&["sendmsg"], &ERRORS, &mut scenario);
    at_each_of(&[], &SHORTAGES, &mut scenario);
}
