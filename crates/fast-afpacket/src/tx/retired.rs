//! Keys whose outcome was given, and what their frames may still report.

use std::time::Instant;

use crate::timestamp::Timestamping;
use crate::tx_report::TxKey;

/// How many keys are remembered: as many as [`KeyLedger`](crate::tx_keys::KeyLedger) does.
pub(super) const REMEMBERED: u32 = 1 << 16;

#[derive(Clone, Copy)]
struct Entry {
    key: TxKey,
    /// Stamps that may still come ...
    owed: Timestamping,
    /// ... until then; `None` is for ever.
    until: Option<Instant>,
}

impl Entry {
    fn owes(&self, now: Instant) -> bool {
        !self.owed.is_empty() && self.until.is_none_or(|until| now < until)
    }
}

/// The latest keys, each at its value modulo the length: consecutive ones never displace each other.
pub(super) struct Retired {
    entries: Box<[Entry]>,
}

impl Retired {
    pub(super) fn new() -> Self {
        // A key that is not at home where it stands is never found: it marks an empty entry.
        let empty = |at: u32| Entry { key: TxKey::new(at + 1), owed: Timestamping::empty(), until: None };
        Self { entries: (0..REMEMBERED).map(empty).collect() }
    }

    const fn home(key: TxKey) -> usize {
        (key.value() % REMEMBERED) as usize
    }

    fn find(&self, key: TxKey) -> Option<&Entry> {
        self.entries.get(Self::home(key)).filter(|entry| entry.key == key)
    }

    /// Whether a frame had this key lately.
    pub(super) fn knows(&self, key: TxKey) -> bool {
        self.find(key).is_some()
    }

    /// What earlier frames with this key may still report.
    #[inline]
    pub(super) fn owed(&self, key: TxKey, now: Instant) -> Timestamping {
        self.find(key).filter(|entry| entry.owes(now)).map_or(Timestamping::empty(), |entry| entry.owed)
    }

    /// Remembers a key. What earlier frames with it owe is kept, and another key that owes nothing makes way.
    #[inline]
    pub(super) fn insert(&mut self, key: TxKey, owed: Timestamping, until: Option<Instant>, now: Instant) {
        let Some(entry) = self.entries.get_mut(Self::home(key)) else {
            return;
        };
        if !entry.owes(now) {
            *entry = Entry { key, owed, until };
        } else if !owed.is_empty() {
            let kept = if entry.key == key { entry.owed } else { Timestamping::empty() };
            *entry = Entry { key, owed: owed | kept, until };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const KEY: TxKey = TxKey::new(7);
    const SAME_HOME: TxKey = TxKey::new(7 + REMEMBERED);

    #[test]
    fn an_empty_table_knows_no_key() {
        let retired = Retired::new();
        assert!((0..=REMEMBERED).chain([u32::MAX]).all(|key| !retired.knows(TxKey::new(key))));
    }

    #[test]
    fn what_is_owed_ends_and_adds_up() {
        let (mut retired, start) = (Retired::new(), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        retired.insert(KEY, Timestamping::TX_HARDWARE, Some(at(15)), start);
        assert_eq!(retired.owed(KEY, at(14)), Timestamping::TX_HARDWARE);
        assert_eq!(retired.owed(KEY, at(15)), Timestamping::empty());
        assert!(retired.knows(KEY));
        retired.insert(KEY, Timestamping::empty(), Some(at(20)), at(5));
        assert_eq!(retired.owed(KEY, at(14)), Timestamping::TX_HARDWARE, "a complete frame pays no older one's debt");
        assert_eq!(retired.owed(KEY, at(15)), Timestamping::empty(), "nor does it prolong it");
        retired.insert(KEY, Timestamping::TX_SOFTWARE, None, at(14));
        assert_eq!(retired.owed(KEY, at(1_000_000)), Timestamping::TX_SOFTWARE | Timestamping::TX_HARDWARE);
    }

    #[test]
    fn only_a_key_that_owes_displaces_one_that_does() {
        let (mut retired, now) = (Retired::new(), Instant::now());
        let until = Some(now + Duration::from_secs(1));
        retired.insert(KEY, Timestamping::TX_HARDWARE, until, now);
        retired.insert(SAME_HOME, Timestamping::empty(), until, now);
        assert!(retired.knows(KEY) && !retired.knows(SAME_HOME));
        retired.insert(SAME_HOME, Timestamping::TX_SOFTWARE, until, now);
        assert_eq!(retired.owed(SAME_HOME, now), Timestamping::TX_SOFTWARE);
        assert!(!retired.knows(KEY));
    }
}
