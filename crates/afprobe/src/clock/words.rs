//! What there is to say of the clocks, in words for people.

use std::fmt;

use super::judge::Claim;
use super::span::Span;
use super::{ClockEvent, Clocks, Disturbance};

/// A time, or a difference of times, in the unit that suits it.
struct Nanos(i128);

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = match self.0.unsigned_abs() {
            0..1_000 => return write!(f, "{} ns", self.0),
            1_000..1_000_000 => (1_000, "µs"),
            1_000_000..1_000_000_000 => (1_000_000, "ms"),
            _ => (1_000_000_000, "s"),
        };
        let sign = if self.0 < 0 { "-" } else { "" };
        let thousandths = self.0.unsigned_abs() * 1_000 / unit;
        write!(f, "{sign}{}.{:03} {name}", thousandths / 1_000, thousandths % 1_000)
    }
}

impl fmt::Display for ClockEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(Disturbance::Stepped { by }) => {
                write!(f, "this host's clock was stepped by {}, or slewed very fast", Nanos((*by).into()))
            }
            Self::Own(Disturbance::Slewed { by_ppb }) => {
                write!(f, "this host's clock is slewed: it runs {} ppm otherwise than before", by_ppb / 1_000)
            }
            Self::Reflectors { by: Some(Span { low, high }) } => {
                write!(f, "the reflector's clock was stepped, by {} to {}", Nanos(*low), Nanos(*high))
            }
            Self::Reflectors { by: None } => f.write_str("the reflector's clock was stepped, by little, or is slewed"),
            Self::ReflectorSaysSo => f.write_str("the reflector says that its clock was stepped or slewed"),
        }
    }
}

impl Clocks {
    /// Why one-way values are worth what [`judge`](Self::judge) says.
    pub(crate) fn reasons(&self) -> Vec<String> {
        if self.evidence.is_one_clock {
            return vec!["both hosts read one clock".to_owned()];
        }
        let (judgement, mut reasons) = (self.judge(), Vec::new());
        match self.evidence.estimate {
            Some(estimate) => {
                let offset = i128::from(estimate.offset_ns());
                let (apart, bound) = (Nanos(offset.abs()), Nanos(estimate.offset.half()));
                let way = if offset < 0 { "behind" } else { "ahead" };
                reasons.push(format!("by the round trips the reflector's clock is {apart} {way}, ± {bound}"));
            }
            None => reasons.push("no round trip limits the offset of the clocks".to_owned()),
        }
        reasons.push(match self.evidence.own {
            Some(claim) => format!("this host's kernel {}", said(claim)),
            None => "this host's kernel does not tell of its clock".to_owned(),
        });
        reasons.push(match self.evidence.reflectors {
            Some(claim) => format!("the reflector {}", said(claim)),
            None => "the reflector does not tell of its clock".to_owned(),
        });
        if let (true, Some(estimate)) = (judgement.are_claims_refuted, self.evidence.estimate) {
            let apart = Nanos(estimate.offset.nearest());
            reasons.push(format!("one of them is wrong: the clocks are at least {apart} apart"));
        }
        for (count, whose) in [(self.counts.own, "this host's"), (self.counts.reflectors, "the reflector's")] {
            if count > 0 {
                reasons.push(format!("{whose} clock was stepped or slewed {count} times"));
            }
        }
        if self.counts.impossible > 0 {
            reasons.push(format!("{} round trips have stamps that contradict each other", self.counts.impossible));
        }
        reasons
    }
}

fn said(claim: Claim) -> String {
    match claim.synchronised {
        true => format!("says that its clock is on time within {:?}", claim.error),
        false => "says that nobody keeps its clock on time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Exchange, Reading};
    use fast_afpacket::{MonotonicStamp, SystemStamp};
    use std::time::Duration;

    #[test]
    fn units() {
        for (nanos, text) in [
            (0, "0 ns"),
            (-999, "-999 ns"),
            (1_000, "1.000 µs"),
            (-250_000_049, "-250.000 ms"),
            (999_999_999, "999.999 ms"),
            (37_000_000_001, "37.000 s"),
        ] {
            assert_eq!(Nanos(nanos).to_string(), text);
        }
        let event = ClockEvent::Own(Disturbance::Stepped { by: -250_000_000 });
        assert!(event.to_string().contains("stepped by -250.000 ms"));
        let event = ClockEvent::Reflectors { by: Some(Span { low: 1_500, high: 2_500 }) };
        assert!(event.to_string().ends_with("by 1.500 µs to 2.500 µs"));
    }

    #[test]
    fn all_that_is_known_is_said() {
        let mut clocks = Clocks::new(false);
        assert_eq!(
            clocks.reasons(),
            [
                "no round trip limits the offset of the clocks",
                "this host's kernel does not tell of its clock",
                "the reflector does not tell of its clock",
            ]
        );
        let claim = Claim { synchronised: true, error: Duration::from_micros(7) };
        clocks.own(Some(claim));
        clocks.reflector(Some(Claim { synchronised: false, ..claim }), None);
        let [t1, t2, t3, t4] = [0, 250_040_000, 250_040_000, 100_000].map(SystemStamp::from_nanos);
        let exchange = Exchange { t1, t2, t3, t4, uncertainty: Duration::ZERO };
        let now = Reading { system: t4, monotonic: MonotonicStamp::from_nanos(5), width: Duration::ZERO };
        assert_eq!(clocks.take(&exchange, now), []);
        assert_eq!(
            clocks.reasons(),
            [
                "by the round trips the reflector's clock is 249.990 ms ahead, ± 50.153 µs",
                "this host's kernel says that its clock is on time within 7µs",
                "the reflector says that nobody keeps its clock on time",
            ]
        );
        clocks.reflector(Some(claim), None);
        assert_eq!(clocks.reasons()[3], "one of them is wrong: the clocks are at least 249.939 ms apart");
        assert_eq!(Clocks::new(true).reasons(), ["both hosts read one clock"]);
    }
}
