//! How far a one-way value may be wrong: from what was measured of the two clocks, and what their kernels say of them.

use std::time::Duration;

use fast_afpacket::ClockState;

use super::span::Span;
use super::window::Estimate;

/// What a host says of its own system clock: its kernel, or a STAMP packet's error estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Whether somebody keeps it on time.
    pub(crate) synchronised: bool,
    /// How far from UTC it is at most.
    pub(crate) error: Duration,
}

impl From<&ClockState> for Claim {
    fn from(state: &ClockState) -> Self {
        Self { synchronised: state.synchronised, error: state.max_error }
    }
}

/// All that is known of the two clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) estimate: Option<Estimate>,
    pub(crate) own: Option<Claim>,
    pub(crate) reflectors: Option<Claim>,
    /// Both hosts are on one machine, and read one clock.
    pub(crate) is_one_clock: bool,
}

/// What follows for one-way values: differences of a stamp of one clock and a stamp of the other, as they are.
///
/// Such a value is wrong by the offset of the clocks. The offset lies between the limits of the exchanges and, if both
/// kernels say so, within the sum of both errors. The furthest that is left from zero is the bound. From the round trips
/// alone it is never less than the shortest way: with them alone, only times above that (queues) can be told. That is so
/// for every method, since a clock that is ahead and a way that is longer look the same from the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// A one-way value is at most so far from the truth. `None`: any distance.
    pub(crate) one_way_bound: Option<Duration>,
    /// Whether both kernels call their clocks synchronised. `None`: one does not tell, and the other does not deny it.
    pub(crate) synchronised: Option<bool>,
    /// The kernels' claims contradict what was measured: they are not looked at.
    pub(crate) are_claims_refuted: bool,
}

impl Evidence {
    pub(crate) fn judge(&self) -> Judgement {
        let synchronised = match (self.own, self.reflectors) {
            _ if self.is_one_clock => Some(true),
            (Some(own), Some(reflectors)) => Some(own.synchronised && reflectors.synchronised),
            (Some(one), None) | (None, Some(one)) if !one.synchronised => Some(false),
            _ => None,
        };
        if self.is_one_clock {
            return Judgement { one_way_bound: Some(Duration::ZERO), synchronised, are_claims_refuted: false };
        }
        let claimed = self.claimed();
        let measured = self.estimate.map(|estimate| estimate.offset);
        let (offset, are_claims_refuted) = match (measured, claimed) {
            (Some(measured), Some(claimed)) => match measured.and(claimed) {
                Some(both) => (Some(both), false),
                None => (Some(measured), true),
            },
            (measured, claimed) => (measured.or(claimed), false),
        };
        let bound = offset.map(|offset| Duration::from_nanos(u64::try_from(offset.furthest()).unwrap_or(u64::MAX)));
        Judgement { one_way_bound: bound, synchronised, are_claims_refuted }
    }

    /// The offset as the kernels' errors limit it.
    pub(super) fn claimed(&self) -> Option<Span> {
        let (own, reflectors) = (self.own?, self.reflectors?);
        let error = own.error.checked_add(reflectors.error)?;
        (own.synchronised && reflectors.synchronised).then(|| i128::try_from(error.as_nanos()).ok())?.map(Span::within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fast_afpacket::SystemStamp;

    const US: Duration = Duration::from_micros(1);

    fn measured(low: i128, high: i128) -> Option<Estimate> {
        let at = SystemStamp::from_nanos(0);
        Some(Estimate { offset: Span { low, high }, drift: None, at, since: at })
    }

    fn claim(error_us: u32) -> Option<Claim> {
        Some(Claim { synchronised: true, error: US * error_us })
    }

    fn bound(evidence: Evidence) -> Option<Duration> {
        evidence.judge().one_way_bound
    }

    #[test]
    fn the_bound_is_the_furthest_that_all_evidence_leaves() {
        let none = Evidence::default();
        assert_eq!(none.judge(), Judgement { one_way_bound: None, synchronised: None, are_claims_refuted: false });
        // From the round trips alone: the shorter of both ways is in it.
        let alone = Evidence { estimate: measured(-30_000, 70_000), ..none };
        assert_eq!(bound(alone), Some(70 * US));
        // Both kernels say so: 5 µs together.
        let both = Evidence { own: claim(2), reflectors: claim(3), ..alone };
        assert_eq!((bound(both), both.judge().synchronised), (Some(5 * US), Some(true)));
        let far = Evidence { own: claim(60), reflectors: claim(3), ..alone };
        assert_eq!(bound(far), Some(63 * US), "one side is limited by what was measured");
        assert_eq!(bound(Evidence { estimate: None, ..both }), Some(5 * US));
    }

    #[test]
    fn claims_of_clocks_that_nobody_keeps_do_not_count() {
        let nobody = Some(Claim { synchronised: false, error: US });
        let evidence =
            Evidence { estimate: measured(-9_000, 9_000), own: nobody, reflectors: claim(1), is_one_clock: false };
        assert_eq!((bound(evidence), evidence.judge().synchronised), (Some(9 * US), Some(false)));
        let silent = Evidence { reflectors: None, ..evidence };
        assert_eq!((bound(silent), silent.judge().synchronised), (Some(9 * US), Some(false)));
        let unknown = Evidence { own: claim(1), reflectors: None, ..evidence };
        assert_eq!((bound(unknown), unknown.judge().synchronised), (Some(9 * US), None));
    }

    #[test]
    fn what_was_measured_refutes_what_is_claimed() {
        let ahead = Evidence {
            estimate: measured(249_900_000, 250_100_000),
            own: claim(100),
            reflectors: claim(100),
            is_one_clock: false,
        };
        let judgement = ahead.judge();
        assert!(judgement.are_claims_refuted);
        assert_eq!((judgement.one_way_bound, judgement.synchronised), (Some(250_100 * US), Some(true)));
    }

    #[test]
    fn one_clock_is_never_wrong_about_itself() {
        let evidence = Evidence { estimate: measured(-9_000, 9_000), is_one_clock: true, ..Evidence::default() };
        let judgement = evidence.judge();
        assert_eq!((judgement.one_way_bound, judgement.synchronised), (Some(Duration::ZERO), Some(true)));
    }
}
