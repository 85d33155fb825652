//! From keys to places, in memory that never grows.

use crate::tx_report::TxKey;

/// 2³² divided by the golden ratio: spreads consecutive keys, and those at any usual distance, evenly.
const SPREAD: u32 = 0x9e37_79b9;

/// Nowhere.
const VACANT: u32 = u32::MAX;

/// A hash table with linear probing, at most half full. The standard one may grow when entries come and go.
pub(super) struct KeyIndex {
    entries: Box<[Entry]>,
    /// How many bits of a spread key do not count.
    shift: u32,
}

#[derive(Clone, Copy)]
struct Entry {
    key: TxKey,
    place: u32,
}

impl KeyIndex {
    const EMPTY: Entry = Entry { key: TxKey::new(0), place: VACANT };

    pub(super) fn with_capacity(capacity: usize) -> Self {
        let len = capacity.saturating_mul(2).next_power_of_two().max(2);
        Self { entries: vec![Self::EMPTY; len].into(), shift: u32::BITS.saturating_sub(len.trailing_zeros()) }
    }

    const fn home(&self, key: TxKey) -> usize {
        (key.value().wrapping_mul(SPREAD) >> self.shift) as usize
    }

    const fn mask(&self) -> usize {
        self.entries.len() - 1
    }

    /// Where the entry of this key is or, if there is none, would be.
    #[inline]
    fn probe(&self, key: TxKey) -> (usize, Entry) {
        let mut at = self.home(key);
        loop {
            match self.entries.get(at) {
                Some(&entry) if entry.place != VACANT && entry.key != key => at = (at + 1) & self.mask(),
                Some(&entry) => return (at, entry),
                None => return (at, Self::EMPTY),
            }
        }
    }

    #[inline]
    pub(super) fn get(&self, key: TxKey) -> Option<usize> {
        let (_, entry) = self.probe(key);
        (entry.place != VACANT).then_some(entry.place as usize)
    }

    /// The caller has no more keys than the capacity: one entry is always vacant.
    pub(super) fn insert(&mut self, key: TxKey, place: usize) {
        let (at, _) = self.probe(key);
        if let (Some(entry), Ok(place)) = (self.entries.get_mut(at), u32::try_from(place)) {
            *entry = Entry { key, place };
        }
    }

    pub(super) fn remove(&mut self, key: TxKey) {
        let (mut hole, entry) = self.probe(key);
        if entry.place == VACANT {
            return;
        }
        // Entries behind the hole move up as far as their home allows, so that no probe ends too early.
        let mask = self.mask();
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let Some(&entry) = self.entries.get(at).filter(|entry| entry.place != VACANT) else {
                break;
            };
            let (from_home, from_hole) = (at.wrapping_sub(self.home(entry.key)), at.wrapping_sub(hole));
            if from_home & mask >= from_hole & mask {
                self.set(hole, entry);
                hole = at;
            }
        }
        self.set(hole, Self::EMPTY);
    }

    fn set(&mut self, at: usize, to: Entry) {
        if let Some(entry) = self.entries.get_mut(at) {
            *entry = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// Keys that share homes: few bits, at large distances.
    fn key() -> impl Strategy<Value = u32> {
        prop_oneof![0_u32..20, (0_u32..20).prop_map(|n| n << 27), (0_u32..20).prop_map(|n| u32::MAX - n)]
    }

    proptest! {
        #[test]
        fn finds_what_a_map_finds(steps in proptest::collection::vec((key(), any::<bool>()), 0..300)) {
            const CAPACITY: usize = 8;
            let mut index = KeyIndex::with_capacity(CAPACITY);
            let mut map = HashMap::new();
            for (place, (key, insert)) in steps.into_iter().enumerate() {
                if insert && (map.len() < CAPACITY || map.contains_key(&key)) {
                    index.insert(TxKey::new(key), place);
                    map.insert(key, place);
                } else {
                    index.remove(TxKey::new(key));
                    map.remove(&key);
                }
                for (&key, &place) in &map {
                    prop_assert_eq!(index.get(TxKey::new(key)), Some(place));
                }
                let vacant = index.entries.iter().filter(|entry| entry.place == VACANT).count();
                prop_assert_eq!(index.entries.len() - vacant, map.len());
            }
        }
    }
}
