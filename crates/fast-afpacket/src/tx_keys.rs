//! From the kernel's numbers of sent frames to the caller's keys, where the kernel does not take the keys themselves.
//!
//! Since Linux 6.13 a frame can be sent with a number of the caller's choice (`SCM_TS_OPT_ID`). Before, the socket counts
//! the frames that ask for a stamp, and a stamp carries that count. The count is not that of successful sends: a send
//! that is refused late, when the frame is built already, has used up a number. [`KeyLedger`] follows the count
//! exactly where the kernel's rules are known. Where a refusal leaves it open whether a number was used, the count
//! is started anew. A stamp that could belong to two frames belongs to none.

use crate::tx_report::TxKey;

/// How many of the latest numbers are remembered: more than an error queue of the default size holds, many times over.
const REMEMBERED: u32 = 1 << 16;

/// Whether a refused send has used up a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It was refused before the frame was built.
    Unnumbered,
    /// It was refused with a number, before anything could stamp it.
    Unstamped,
    /// It was refused with a number by the queue or the driver: stamps with that number may come.
    Stamped,
    /// It cannot be told.
    Unknown,
}

/// What else is known of an interface that has just refused a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation {
    /// The longest frame that the interface takes without a VLAN tag, if that is known.
    pub(crate) max_len: Option<usize>,
    pub(crate) is_up: bool,
}

impl Refusal {
    /// The kernel's order of checks, af_packet.c from 4.0 to 6.18: device, `EMSGSIZE` with room for a VLAN tag, memory,
    /// `EINVAL`, number, `EMSGSIZE` without that room, queueing discipline.
    ///
    /// `ENETDOWN` comes first of all on an interface that is down: it goes down only after every send that found it up
    /// has ended. On one that is up it may be an older report, or a virtual device that is full.
    pub(crate) fn of(errno: Option<i32>, len: usize, situation: Situation) -> Self {
        const VLAN_TAG: usize = 4;
        match (errno, situation.max_len) {
            (Some(libc::EMSGSIZE), Some(max_len)) if len > max_len.saturating_add(VLAN_TAG) => Self::Unnumbered,
            (Some(libc::EMSGSIZE), Some(_)) => Self::Unstamped,
            (Some(libc::ENOBUFS), _) => Self::Stamped,
            (Some(libc::EAGAIN | libc::EINVAL | libc::ENXIO), _) => Self::Unnumbered,
            (Some(libc::ENETDOWN), _) if !situation.is_up => Self::Unnumbered,
            _ => Self::Unknown,
        }
    }
}

/// Which key belongs to which number of the kernel's.
pub(crate) struct KeyLedger {
    next: u32,
    /// How often the count was started anew.
    epoch: u32,
    /// A refusal left it open what the next number is.
    in_doubt: bool,
    /// The entry of number n stands at n modulo the length.
    entries: Box<[Entry]>,
}

#[derive(Clone, Copy)]
struct Entry {
    number: u32,
    epoch: u32,
    key: TxKey,
    state: EntryState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum EntryState {
    Empty,
    /// Stamps may come.
    Open,
    /// The last stamp has come.
    Done,
    /// An earlier count had an open entry of the same number.
    Ambiguous,
}

impl KeyLedger {
    pub(crate) fn new() -> Self {
        let empty = Entry { number: 0, epoch: 0, key: TxKey::new(0), state: EntryState::Empty };
        Self { next: 0, epoch: 0, in_doubt: false, entries: vec![empty; REMEMBERED as usize].into() }
    }

    /// Whether the kernel's count must be started anew before the next send.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// The kernel's count was set to 0.
    pub(crate) fn restarted(&mut self) {
        self.next = 0;
        self.epoch = self.epoch.wrapping_add(1);
        self.in_doubt = false;
    }

    pub(crate) fn sent(&mut self, key: TxKey) {
        self.record(key, EntryState::Open);
    }

    pub(crate) fn refused(&mut self, key: TxKey, refusal: Refusal) {
        match refusal {
            Refusal::Unnumbered => {}
            Refusal::Unstamped => self.record(key, EntryState::Done),
            Refusal::Stamped => self.record(key, EntryState::Open),
            Refusal::Unknown => self.in_doubt = true,
        }
    }

    fn record(&mut self, key: TxKey, state: EntryState) {
        let (number, epoch) = (self.next, self.epoch);
        self.next = number.wrapping_add(1);
        let Some(entry) = self.entries.get_mut((number % REMEMBERED) as usize) else {
            return;
        };
        let clashes = entry.number == number && entry.epoch != epoch;
        let state = match entry.state {
            EntryState::Open | EntryState::Ambiguous if clashes => EntryState::Ambiguous,
            _ => state,
        };
        *entry = Entry { number, epoch, key, state };
    }

    /// The key of the frame with this number. `last` says that no further stamp is expected for it.
    pub(crate) fn key_of(&mut self, number: u32, last: bool) -> Option<TxKey> {
        let entry = self.entries.get_mut((number % REMEMBERED) as usize)?;
        if entry.number != number || !matches!(entry.state, EntryState::Open | EntryState::Done) {
            return None;
        }
        if last {
            entry.state = EntryState::Done;
        }
        Some(entry.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn key(value: u32) -> TxKey {
        TxKey::new(value)
    }

    #[test]
    fn refusals_by_the_kernels_order_of_checks() {
        let (up, down) = ((true, Some(1514)), (false, Some(1514)));
        let of = |errno, len, (is_up, max_len)| Refusal::of(Some(errno), len, Situation { max_len, is_up });
        for len in 1515..=1518 {
            assert_eq!(of(libc::EMSGSIZE, len, up), Refusal::Unstamped, "{len}");
        }
        assert_eq!(of(libc::EMSGSIZE, 1519, up), Refusal::Unnumbered);
        assert_eq!(of(libc::EMSGSIZE, 1515, (true, None)), Refusal::Unknown);
        assert_eq!(of(libc::ENOBUFS, 60, up), Refusal::Stamped);
        assert_eq!(of(libc::EINVAL, 13, up), Refusal::Unnumbered);
        assert_eq!(of(libc::ENETDOWN, 60, down), Refusal::Unnumbered);
        assert_eq!(of(libc::ENETDOWN, 60, up), Refusal::Unknown);
        assert_eq!(of(libc::EIO, 60, up), Refusal::Unknown);
    }

    #[test]
    fn a_numbered_refusal_shifts_the_count_and_keeps_its_own_stamps() {
        let mut ledger = KeyLedger::new();
        ledger.sent(key(100));
        ledger.refused(key(101), Refusal::Stamped);
        ledger.refused(key(102), Refusal::Unnumbered);
        ledger.refused(key(103), Refusal::Unstamped);
        ledger.sent(key(104));
        assert_eq!(ledger.key_of(0, true), Some(key(100)));
        assert_eq!(ledger.key_of(1, false), Some(key(101)));
        assert_eq!(ledger.key_of(3, true), Some(key(104)));
        assert_eq!(ledger.key_of(4, true), None);
    }

    #[test]
    fn after_a_restart_a_number_with_two_owners_has_none() {
        let mut ledger = KeyLedger::new();
        ledger.sent(key(1));
        ledger.sent(key(2));
        assert_eq!(ledger.key_of(0, true), Some(key(1)));
        ledger.refused(key(3), Refusal::Unknown);
        assert!(ledger.is_in_doubt());
        ledger.restarted();
        ledger.sent(key(4));
        ledger.sent(key(5));
        assert_eq!(ledger.key_of(0, true), Some(key(4)), "the first owner had its last stamp");
        assert_eq!(ledger.key_of(1, true), None, "the stamp may be that of key 2 or of key 5");
    }

    #[test]
    fn numbers_wrap() {
        let mut ledger = KeyLedger::new();
        ledger.next = u32::MAX;
        ledger.sent(key(1));
        ledger.sent(key(2));
        assert_eq!(ledger.key_of(u32::MAX, true), Some(key(1)));
        assert_eq!(ledger.key_of(0, true), Some(key(2)));
    }

    /// What one send does, and what the kernel makes of it.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Sent,
        Refused(Refusal, bool),
        Report { back: usize, late: bool },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => Just(Step::Sent),
            1 => any::<bool>().prop_map(|used| Step::Refused(Refusal::Unknown, used)),
            1 => Just(Step::Refused(Refusal::Stamped, true)),
            1 => Just(Step::Refused(Refusal::Unstamped, true)),
            1 => Just(Step::Refused(Refusal::Unnumbered, false)),
            5 => (0_usize..8, any::<bool>()).prop_map(|(back, late)| Step::Report { back, late }),
        ]
    }

    proptest! {
        /// A model kernel counts as the real one does; whatever it reports, the key is the right one or none.
        #[test]
        fn never_another_frames_key(steps in proptest::collection::vec(step(), 0..200)) {
            let mut ledger = KeyLedger::new();
            let mut kernel_count = 0_u32;
            // Frames that the kernel still may report: its number, the true key.
            let mut under_way: Vec<(u32, TxKey)> = Vec::new();
            for (i, step) in (0..).zip(steps) {
                let this = key(i);
                if !matches!(step, Step::Report { .. }) && ledger.is_in_doubt() {
                    kernel_count = 0;
                    ledger.restarted();
                }
                match step {
                    Step::Sent => {
                        ledger.sent(this);
                        under_way.push((kernel_count, this));
                        kernel_count += 1;
                    }
                    Step::Refused(refusal, used) => {
                        ledger.refused(this, refusal);
                        kernel_count += u32::from(used);
                    }
                    Step::Report { back, late } => {
                        let Some(at) = under_way.len().checked_sub(back + 1) else { continue };
                        let (number, truth) = under_way[at];
                        let found = ledger.key_of(number, !late);
                        prop_assert!(found.is_none() || found == Some(truth), "{found:?} for {truth:?}");
                        if !late {
                            under_way.remove(at);
                        }
                    }
                }
            }
        }
    }
}
