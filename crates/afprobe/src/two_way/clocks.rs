//! What the clocks of the two hosts are worth, as the measurement needs to know it.

use std::time::Duration;

/// A judgement of the two hosts' system clocks, at one time. Who makes it: `clock`. Who obeys it: every one-way value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClockJudgement {
    /// How far the reflector's clock is ahead of the sender's, as estimated. `None`: not known yet.
    pub(crate) offset_ns: Option<i64>,
    /// The truth is at most this far from `offset_ns`, to either side.
    pub(crate) bound_ns: Option<u64>,
    /// By how much the reflector's clock is faster, in parts per billion, and how far that is from the truth at most.
    pub(crate) drift_ppb: Option<(i64, u64)>,
    /// Whether the kernels of both hosts call their clocks synchronised. `None`: one does not tell.
    pub(crate) synchronised: Option<bool>,
    /// How far a one-way value, the difference of two stamps as they are, may be from the truth. `None`: any distance.
    pub(crate) one_way_bound_ns: Option<u64>,
    /// What there is to say about it, in words for people: why the bound is what it is, steps that were noticed.
    pub(crate) reasons: Vec<String>,
}

/// Whether a one-way value may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validity {
    Valid,
    Invalid(Doubt),
}

/// Why a one-way value may not be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// How far the clocks are apart is not known.
    Unknown,
    /// They may be as far apart as this, which is more than half of the value.
    Exceeds { bound_ns: u64 },
}

impl ClockJudgement {
    /// Whether this one-way value may be believed, with stamps that may be this far off beside the clocks: if its error is at
    /// most half of it.
    ///
    /// That the error is less than the value would be too little. From round trips alone the offset of two clocks is known
    /// only up to the shortest one-way value, whatever that is: all others are larger.
    pub(crate) fn validity(&self, nanos: i64, stamps: Duration) -> Validity {
        let Some(clocks) = self.one_way_bound_ns else { return Validity::Invalid(Doubt::Unknown) };
        let bound_ns = clocks.saturating_add(u64::try_from(stamps.as_nanos()).unwrap_or(u64::MAX));
        if bound_ns <= nanos.unsigned_abs() / 2 {
            Validity::Valid
        } else {
            Validity::Invalid(Doubt::Exceeds { bound_ns })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_must_be_twice_its_error() {
        let clocks = |one_way_bound_ns| ClockJudgement { one_way_bound_ns, ..ClockJudgement::default() };
        let exceeds = |bound_ns| Validity::Invalid(Doubt::Exceeds { bound_ns });
        for (bound, nanos, stamps, validity) in [
            (None, 5_000, 0, Validity::Invalid(Doubt::Unknown)),
            (Some(0), 0, 0, Validity::Valid),
            (Some(0), -3, 0, Validity::Valid),
            (Some(100), 200, 0, Validity::Valid),
            (Some(100), 199, 0, exceeds(100)),
            (Some(100), -200, 0, Validity::Valid),
            (Some(100), 200, 5, exceeds(105)),
            (Some(250_000_000), 250_090_000, 0, exceeds(250_000_000)),
            (Some(u64::MAX), i64::MIN, 1, exceeds(u64::MAX)),
        ] {
            assert_eq!(clocks(bound).validity(nanos, Duration::from_nanos(stamps)), validity, "{bound:?} {nanos}");
        }
    }
}
