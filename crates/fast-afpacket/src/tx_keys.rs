//! From the kernel's numbers of sent frames to the caller's keys, where the kernel does not take the keys themselves.
//!
//! Since Linux 6.13 a frame can be sent with a number of the caller's choice (`SCM_TS_OPT_ID`). Before, the socket counts
//! the frames that ask for a stamp, and a stamp carries that count. The count is not that of successful sends: a send
//! that is refused late, when the frame is built already, has used up a number. [`KeyLedger`] follows the count
//! exactly where the kernel's rules are known. Where a refusal leaves it open whether a number was used, the count
//! is started anew. A stamp that could belong to two frames belongs to none.

use crate::timestamp::Timestamping;
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
    /// It cannot be told, but nothing can have stamped it.
    PerhapsUnstamped,
    /// It cannot be told, and if so, stamps with that number may come.
    PerhapsStamped,
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
    /// `ENOBUFS` is a queue's. Memory that is not there is `ENOBUFS` too, before there is a number; but for a frame of less than a
    /// page the kernel waits for memory rather than go without.
    ///
    /// `ENETDOWN` comes first of all on an interface that is down: it goes down only after every send that found it up
    /// has ended. On one that is up it may be an older report, or a virtual device that is full.
    pub(crate) fn of(errno: Option<i32>, len: usize, situation: Situation) -> Self {
        const VLAN_TAG: usize = 4;
        match (errno, situation.max_len) {
            (Some(libc::EMSGSIZE), Some(max_len)) if len > max_len.saturating_add(VLAN_TAG) => Self::Unnumbered,
            (Some(libc::EMSGSIZE), Some(_)) => Self::Unstamped,
            (Some(libc::EMSGSIZE), None) => Self::PerhapsUnstamped,
            (Some(libc::ENOBUFS), _) => Self::Stamped,
            (Some(libc::EAGAIN | libc::EINVAL | libc::ENXIO), _) => Self::Unnumbered,
            (Some(libc::ENETDOWN), _) if !situation.is_up => Self::Unnumbered,
            _ => Self::PerhapsStamped,
        }
    }

    /// The same of a frame in a ring. There a frame is given its number as soon as it has memory, before its header is
    /// looked at, af_packet.c from 4.6 to 6.18 (`tpacket_fill_skb`): one that is too short has used one up.
    ///
    /// Without an error the call ended early for want of memory.
    pub(crate) fn in_ring(
        errno: Option<i32>,
        taken_out: bool,
        len: usize,
        situation: impl FnOnce() -> Situation,
    ) -> Self {
        match errno {
            None | Some(libc::EAGAIN) => Self::Unnumbered,
            Some(errno) if taken_out && errno != libc::EMSGSIZE => Self::Unstamped,
            Some(_) => Self::of(errno, len, situation()),
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
    /// The frame to which the number was given last, if any.
    key: Option<TxKey>,
    /// The stamps of that frame that have not come yet.
    owed: Timestamping,
    /// Stamps that have not come yet of frames that had this number in earlier counts.
    owed_to_others: Timestamping,
}

impl KeyLedger {
    pub(crate) fn new() -> Self {
        let nothing = Timestamping::empty();
        let empty = Entry { number: 0, epoch: 0, key: None, owed: nothing, owed_to_others: nothing };
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

    /// A frame that asked for these stamps was taken.
    pub(crate) fn sent(&mut self, key: TxKey, stamps: Timestamping) {
        self.record(key, stamps);
    }

    pub(crate) fn refused(&mut self, key: TxKey, stamps: Timestamping, refusal: Refusal) {
        match refusal {
            Refusal::Unnumbered => {}
            Refusal::Unstamped => self.record(key, Timestamping::empty()),
            Refusal::Stamped => self.record(key, stamps),
            Refusal::PerhapsUnstamped => self.in_doubt = true,
            Refusal::PerhapsStamped => {
                self.record(key, stamps);
                self.in_doubt = true;
            }
        }
    }

    fn record(&mut self, key: TxKey, owed: Timestamping) {
        let (number, epoch) = (self.next, self.epoch);
        self.next = number.wrapping_add(1);
        let Some(entry) = self.entries.get_mut((number % REMEMBERED) as usize) else {
            return;
        };
        let clashes = entry.number == number && entry.epoch != epoch;
        let owed_to_others = if clashes { entry.owed | entry.owed_to_others } else { Timestamping::empty() };
        *entry = Entry { number, epoch, key: Some(key), owed, owed_to_others };
    }

    /// The key of the frame with this number, of which this stamp has come.
    pub(crate) fn key_of(&mut self, number: u32, stamp: Timestamping) -> Option<TxKey> {
        let entry = self.entries.get_mut((number % REMEMBERED) as usize)?;
        if entry.number != number || entry.owed_to_others.intersects(stamp) {
            return None;
        }
        entry.owed.remove(stamp);
        entry.key
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
        assert_eq!(of(libc::EMSGSIZE, 1515, (true, None)), Refusal::PerhapsUnstamped);
        assert_eq!(of(libc::ENOBUFS, 60, up), Refusal::Stamped);
        assert_eq!(of(libc::EINVAL, 13, up), Refusal::Unnumbered);
        assert_eq!(of(libc::ENETDOWN, 60, down), Refusal::Unnumbered);
        assert_eq!(of(libc::ENETDOWN, 60, up), Refusal::PerhapsStamped);
        assert_eq!(of(libc::EIO, 60, up), Refusal::PerhapsStamped);
    }

    #[test]
    fn in_a_ring_the_number_comes_before_the_header() {
        let situation = Situation { max_len: Some(1514), is_up: true };
        let of = |errno, taken_out, len| Refusal::in_ring(errno, taken_out, len, || situation);
        assert_eq!(of(Some(libc::EINVAL), true, 13), Refusal::Unstamped);
        assert_eq!(of(Some(libc::EINVAL), false, 60), Refusal::Unnumbered, "the control messages were wrong");
        for len in 1515..=1518 {
            assert_eq!(of(Some(libc::EMSGSIZE), true, len), Refusal::Unstamped, "{len}");
        }
        assert_eq!(of(Some(libc::EMSGSIZE), true, 1519), Refusal::Unnumbered);
        assert_eq!(of(Some(libc::ENOBUFS), false, 60), Refusal::Stamped);
        assert_eq!(of(Some(libc::EAGAIN), false, 60), Refusal::Unnumbered);
        assert_eq!(of(None, false, 60), Refusal::Unnumbered);
    }

    const SCHEDULED: Timestamping = Timestamping::TX_SCHEDULED;
    const SOFTWARE: Timestamping = Timestamping::TX_SOFTWARE;

    #[test]
    fn a_numbered_refusal_shifts_the_count_and_keeps_its_own_stamps() {
        let mut ledger = KeyLedger::new();
        ledger.sent(key(100), SOFTWARE);
        ledger.refused(key(101), SOFTWARE, Refusal::Stamped);
        ledger.refused(key(102), SOFTWARE, Refusal::Unnumbered);
        ledger.refused(key(103), SOFTWARE, Refusal::Unstamped);
        ledger.sent(key(104), SOFTWARE);
        assert_eq!(ledger.key_of(0, SOFTWARE), Some(key(100)));
        assert_eq!(ledger.key_of(1, SCHEDULED), Some(key(101)));
        assert_eq!(ledger.key_of(3, SOFTWARE), Some(key(104)));
        assert_eq!(ledger.key_of(4, SOFTWARE), None);
    }

    #[test]
    fn after_a_restart_a_stamp_with_two_owners_has_none() {
        let mut ledger = KeyLedger::new();
        for value in [1, 2] {
            ledger.sent(key(value), SCHEDULED | SOFTWARE);
        }
        assert_eq!(ledger.key_of(0, SCHEDULED), Some(key(1)));
        assert_eq!(ledger.key_of(0, SOFTWARE), Some(key(1)));
        assert_eq!(ledger.key_of(1, SCHEDULED), Some(key(2)));
        ledger.refused(key(3), SCHEDULED | SOFTWARE, Refusal::PerhapsStamped);
        assert!(ledger.is_in_doubt());
        ledger.restarted();
        for value in [4, 5] {
            ledger.sent(key(value), SCHEDULED | SOFTWARE);
        }
        assert_eq!(ledger.key_of(0, SOFTWARE), Some(key(4)), "the first owner had it");
        assert_eq!(ledger.key_of(1, SOFTWARE), None, "it may be that of key 2 or of key 5");
        assert_eq!(ledger.key_of(1, SCHEDULED), Some(key(5)));
        assert_eq!(ledger.key_of(2, SCHEDULED), Some(key(3)), "that frame had a number after all");
    }

    #[test]
    fn numbers_wrap() {
        let mut ledger = KeyLedger::new();
        ledger.next = u32::MAX;
        ledger.sent(key(1), SOFTWARE);
        ledger.sent(key(2), SOFTWARE);
        assert_eq!(ledger.key_of(u32::MAX, SOFTWARE), Some(key(1)));
        assert_eq!(ledger.key_of(0, SOFTWARE), Some(key(2)));
    }

    /// What one send does, and what the kernel makes of it.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Sent(Timestamping),
        Refused(Timestamping, Refusal, bool),
        /// A stamp of one of the latest frames that still owe one.
        Report(usize),
        /// One of them will never come.
        Lost(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let stamps = || (1_u32..8).prop_map(|bits| Timestamping::from_bits_truncate(bits << 2));
        let refused =
            move |refusal| (stamps(), any::<bool>()).prop_map(move |(s, used)| Step::Refused(s, refusal, used));
        prop_oneof![
            5 => stamps().prop_map(Step::Sent),
            1 => refused(Refusal::PerhapsStamped),
            1 => refused(Refusal::PerhapsUnstamped),
            1 => refused(Refusal::Stamped),
            1 => refused(Refusal::Unstamped),
            1 => refused(Refusal::Unnumbered),
            8 => (0_usize..8).prop_map(Step::Report),
            2 => (0_usize..8).prop_map(Step::Lost),
        ]
    }

    proptest! {
        /// A model kernel counts as the real one does; whatever it reports, the key is the right one or none.
        #[test]
        fn never_another_frames_key(steps in proptest::collection::vec(step(), 0..200)) {
            let mut ledger = KeyLedger::new();
            let mut kernel_count = 0_u32;
            // Stamps that the kernel still may report: its number, which, the true key.
            let mut under_way: Vec<(u32, Timestamping, TxKey)> = Vec::new();
            for (i, step) in (0..).zip(steps) {
                let this = key(i);
                if matches!(step, Step::Sent(_) | Step::Refused(..)) && ledger.is_in_doubt() {
                    kernel_count = 0;
                    ledger.restarted();
                }
                let (stamps, numbered) = match step {
                    Step::Sent(stamps) => {
                        ledger.sent(this, stamps);
                        (stamps, true)
                    }
                    Step::Refused(stamps, refusal, used) => {
                        ledger.refused(this, stamps, refusal);
                        match refusal {
                            Refusal::Unnumbered => (Timestamping::empty(), false),
                            Refusal::Unstamped => (Timestamping::empty(), true),
                            Refusal::Stamped => (stamps, true),
                            Refusal::PerhapsStamped => (stamps, used),
                            Refusal::PerhapsUnstamped => (Timestamping::empty(), used),
                        }
                    }
                    Step::Report(back) | Step::Lost(back) => {
                        let Some(at) = under_way.len().checked_sub(back + 1) else { continue };
                        let (number, stamp, truth) = under_way.remove(at);
                        if matches!(step, Step::Report(_)) {
                            let found = ledger.key_of(number, stamp);
                            prop_assert!(found.is_none() || found == Some(truth), "{found:?} for {truth:?}");
                        }
                        continue;
                    }
                };
                if numbered {
                    under_way.extend(stamps.iter().map(|stamp| (kernel_count, stamp, this)));
                    kernel_count += 1;
                }
            }
        }

        /// Without a restart every stamp has its key.
        #[test]
        fn while_the_count_is_certain_no_stamp_is_without_a_key(refusals in proptest::collection::vec(0_usize..4, 1..100)) {
            let mut ledger = KeyLedger::new();
            let mut numbers = 0;
            for (i, refusal) in (0..).zip(refusals) {
                match refusal {
                    0 => ledger.refused(key(i), SOFTWARE, Refusal::Unnumbered),
                    1 => ledger.refused(key(i), SOFTWARE, Refusal::Unstamped),
                    2 => ledger.refused(key(i), SOFTWARE, Refusal::Stamped),
                    _ => ledger.sent(key(i), SOFTWARE),
                }
                if refusal > 0 {
                    numbers += 1;
                    prop_assert_eq!(ledger.key_of(numbers - 1, SOFTWARE), Some(key(i)));
                }
            }
        }
    }
}
