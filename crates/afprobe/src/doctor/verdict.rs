//! From what a driver promises and what came to a verdict on each stamp, and on all.

use fast_afpacket::{Capabilities, NicRefusal, RxFilter, Timestamping, TxMode};

use super::examine::Count;
use super::probes::Kind;
use super::setting::Setting;
use super::target::Answers;
use crate::engine::Verdict;

/// What the driver says of itself.
#[derive(Clone, Debug)]
pub(super) struct Promises {
    pub(super) stamps: Timestamping,
    pub(super) rx_filters: Vec<RxFilter>,
}

impl Promises {
    pub(super) fn of(capabilities: &Capabilities) -> Self {
        Self { stamps: capabilities.timestamping(), rx_filters: capabilities.rx_filters().collect() }
    }
}

/// All that an examination has shown.
#[derive(Clone, Debug)]
pub(super) struct Findings {
    pub(super) interface: String,
    /// The driver, or the kind of a virtual device.
    pub(super) driver: Option<String>,
    pub(super) promises: Promises,
    pub(super) setting: Setting,
    pub(super) answers: Answers,
    pub(super) counts: Vec<Count>,
}

/// A verdict on one stamp of one kind of frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    Delivered,
    Partly,
    /// Advertised, not delivered.
    Broken,
    /// Neither advertised nor delivered.
    NotSupported,
    /// No such frame came, or the card could not be set to stamp it.
    NotTested,
}

impl Delivery {
    /// For programs.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Partly => "partly_delivered",
            Self::Broken => "advertised_not_delivered",
            Self::NotSupported => "not_supported",
            Self::NotTested => "not_tested",
        }
    }
}

/// One stamp of one kind of frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) count: Count,
    pub(super) is_advertised: bool,
    pub(super) delivery: Delivery,
}

/// What may be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Advertised,
    NotAdvertised,
    /// Advertised, but switched off, and this examination could not switch it on.
    Off,
}

/// The verdicts, in the order of the counts.
pub(super) fn cells(findings: &Findings) -> Vec<Cell> {
    let judge = |count: &Count| {
        let standing = standing(findings, count.stamp, count.kind);
        let delivery = match (count.stamped, count.frames, standing) {
            (_, 0, _) => Delivery::NotTested,
            (0, _, Standing::Advertised) => Delivery::Broken,
            (0, _, Standing::NotAdvertised) => Delivery::NotSupported,
            (0, _, Standing::Off) => Delivery::NotTested,
            (stamped, frames, _) if stamped < frames => Delivery::Partly,
            _ => Delivery::Delivered,
        };
        Cell { count: *count, is_advertised: standing != Standing::NotAdvertised, delivery }
    };
    findings.counts.iter().map(judge).collect()
}

fn standing(findings: &Findings, stamp: Timestamping, kind: Kind) -> Standing {
    let Findings { promises, setting, .. } = findings;
    if !promises.stamps.contains(stamp) {
        return Standing::NotAdvertised;
    }
    let is_on = match stamp {
        Timestamping::TX_HARDWARE => setting.used.is_some_and(|used| used.tx().serves(TxMode::ON)),
        Timestamping::RX_HARDWARE => setting.used.is_some_and(|used| covers(used.rx(), kind)),
        _ => true,
    };
    // A card that refuses what it names has broken its word. One that could not be asked has not.
    let could_not_ask =
        matches!(setting.refusal, Some(NicRefusal::NotPermitted | NicRefusal::Busy | NicRefusal::Unsupported));
    let is_named = stamp != Timestamping::RX_HARDWARE || promises.rx_filters.iter().any(|rx| covers(*rx, kind));
    match (is_on, is_named) {
        (true, _) => Standing::Advertised,
        (false, true) if could_not_ask => Standing::Off,
        (false, true) => Standing::Advertised,
        (false, false) => Standing::NotAdvertised,
    }
}

/// Whether a card with this filter stamps the doctor's frames of this kind. Those of PTP are Sync messages.
fn covers(filter: RxFilter, kind: Kind) -> bool {
    filter.serves(match kind {
        Kind::Any => RxFilter::ALL,
        Kind::PtpEthernet => RxFilter::PTP_V2_L2_SYNC,
        Kind::PtpUdp => RxFilter::PTP_V2_L4_SYNC,
    })
}

/// The verdict on all: what was not tested does not count.
pub(super) fn overall(cells: &[Cell]) -> Verdict {
    let broken = |cell: &Cell| cell.is_advertised && matches!(cell.delivery, Delivery::Broken | Delivery::Partly);
    let hardware = |cell: &Cell| is_hardware(cell) && cell.delivery == Delivery::Delivered;
    if cells.iter().any(broken) {
        Verdict::NotDelivered
    } else if cells.iter().any(hardware) {
        Verdict::Fine
    } else {
        Verdict::SoftwareOnly
    }
}

pub(super) fn is_hardware(cell: &Cell) -> bool {
    [Timestamping::TX_HARDWARE, Timestamping::RX_HARDWARE].contains(&cell.count.stamp)
}

#[cfg(test)]
pub(super) mod examples {
    //! What examinations of some devices show.

    use fast_afpacket::Hwtstamp;

    use super::*;
    use crate::nic::STAMPS;

    const OWN: Timestamping = Timestamping::TX_SCHEDULED.union(Timestamping::RX_SOFTWARE);
    pub(in crate::doctor) const SOFTWARE: Timestamping = OWN.union(Timestamping::TX_SOFTWARE);
    const PTP: [RxFilter; 2] = [RxFilter::NONE, RxFilter::PTP_V2_EVENT];

    pub(in crate::doctor) const OFF: Hwtstamp = Hwtstamp::new(TxMode::OFF, RxFilter::NONE);
    const ON_PTP: Hwtstamp = Hwtstamp::new(TxMode::ON, RxFilter::PTP_V2_EVENT);
    const ON_ALL: Hwtstamp = Hwtstamp::new(TxMode::ON, RxFilter::ALL);

    pub(in crate::doctor) fn borrowed(used: Hwtstamp) -> Setting {
        Setting { before: Some(OFF), used: Some(used), after: Some(OFF), is_borrowed: true, ..Setting::default() }
    }

    /// An examination with these stamps of 20 frames of each kind, and without answers.
    fn device(
        name: &str,
        stamps: Timestamping,
        setting: Setting,
        stamped: fn(Timestamping, Kind) -> usize,
    ) -> Findings {
        let count = |stamp: Timestamping, kind: Kind| {
            let frames = if Timestamping::TX.contains(stamp) { 20 } else { 0 };
            let stamped = stamped(stamp, kind).min(frames);
            Count { stamp, kind, frames, stamped, latency: (stamped > 0).then_some(12_000) }
        };
        Findings {
            interface: "eth1".to_owned(),
            driver: Some(name.to_owned()),
            promises: Promises { stamps, rx_filters: Vec::new() },
            setting,
            answers: Answers::Nobody,
            counts: STAMPS.iter().flat_map(|(stamp, _, _)| Kind::ALL.map(|kind| count(*stamp, kind))).collect(),
        }
    }

    /// With so many answers to the frames of each kind, of which all that `stamped` says are stamped.
    pub(in crate::doctor) fn answered(mut findings: Findings, stamped: fn(Timestamping, Kind) -> usize) -> Findings {
        findings.answers = Answers::Peer("192.0.2.2".parse().unwrap());
        for count in &mut findings.counts {
            if Timestamping::RX.contains(count.stamp) {
                *count = Count { frames: 20, stamped: stamped(count.stamp, count.kind), ..*count };
            }
        }
        findings
    }

    fn no_hardware() -> Setting {
        Setting { refusal: Some(NicRefusal::Unsupported), ..Setting::default() }
    }

    fn all_of(stamps: Timestamping, stamp: Timestamping) -> usize {
        if stamps.contains(stamp) { 20 } else { 0 }
    }

    pub(in crate::doctor) fn veth() -> Findings {
        device("veth", SOFTWARE, no_hardware(), |stamp, _| all_of(SOFTWARE, stamp))
    }

    pub(in crate::doctor) fn bridge() -> Findings {
        device("bridge", OWN, no_hardware(), |stamp, _| all_of(SOFTWARE, stamp))
    }

    pub(in crate::doctor) fn ifb() -> Findings {
        device("ifb", OWN, no_hardware(), |stamp, _| all_of(OWN, stamp))
    }

    /// On the way to another one on the same device.
    pub(in crate::doctor) fn macvlan() -> Findings {
        device("macvlan", SOFTWARE, no_hardware(), |stamp, _| all_of(OWN, stamp))
    }

    pub(in crate::doctor) fn lo() -> Findings {
        let mut lo = answered(veth(), |stamp, _| all_of(SOFTWARE, stamp));
        (lo.driver, lo.answers) = (None, Answers::Itself);
        lo
    }

    pub(in crate::doctor) fn igb() -> Findings {
        let mut igb = device("igb", Timestamping::all(), borrowed(ON_PTP), |_, _| 20);
        igb.promises.rx_filters = PTP.to_vec();
        igb
    }

    /// What igb gives when it receives as well.
    pub(in crate::doctor) fn of_igb(stamp: Timestamping, kind: Kind) -> usize {
        if stamp == Timestamping::RX_HARDWARE && kind == Kind::Any { 0 } else { 20 }
    }

    /// Accepts all, gives nothing.
    pub(in crate::doctor) fn e1000e() -> Findings {
        let mut liar = device("e1000e", Timestamping::all(), borrowed(ON_ALL), |stamp, _| all_of(SOFTWARE, stamp));
        liar.promises.rx_filters = [&PTP[..], &[RxFilter::ALL]].concat();
        liar
    }

    /// igb, examined by somebody without CAP_NET_ADMIN.
    pub(in crate::doctor) fn igb_not_permitted() -> Findings {
        let refusal = Some(NicRefusal::NotPermitted);
        let setting = Setting { refusal, is_borrowed: false, ..borrowed(OFF) };
        let mut igb = device("igb", Timestamping::all(), setting, |stamp, _| all_of(SOFTWARE, stamp));
        igb.promises.rx_filters = PTP.to_vec();
        igb
    }

    /// One frame in four finds the place for its hardware stamp taken.
    pub(in crate::doctor) fn igb_with_one_slot() -> Findings {
        let mut igb = igb();
        for count in igb.counts.iter_mut().filter(|count| count.stamp == Timestamping::TX_HARDWARE) {
            count.stamped = 15;
        }
        igb
    }
}

#[cfg(test)]
mod tests {
    use Delivery::{Broken, Delivered, NotSupported, NotTested, Partly};

    use super::examples::*;
    use super::*;

    /// The verdicts row by row, one word where the three kinds agree.
    fn check(findings: &Findings, expected: [&[Delivery]; 5], verdict: Verdict) {
        let cells = cells(findings);
        for (row, expected) in cells.chunks(3).zip(expected) {
            let found: Vec<_> = row.iter().map(|cell| cell.delivery).collect();
            let expected = if let [all] = expected { vec![*all; 3] } else { expected.to_vec() };
            assert_eq!(found, expected, "{:?} of {:?}", row[0].count.stamp, findings.driver);
        }
        assert_eq!(overall(&cells), verdict, "{:?}", findings.driver);
    }

    #[test]
    fn devices_without_hardware_stamps() {
        let veth_alone: [&[Delivery]; 5] = [&[Delivered], &[Delivered], &[NotSupported], &[NotTested], &[NotTested]];
        let with_peer: [&[Delivery]; 5] = [&[Delivered], &[Delivered], &[NotSupported], &[Delivered], &[NotSupported]];
        check(&veth(), veth_alone, Verdict::SoftwareOnly);
        check(&lo(), with_peer, Verdict::SoftwareOnly);
        check(&bridge(), veth_alone, Verdict::SoftwareOnly);
        let advertised: Vec<_> = cells(&bridge()).iter().map(|cell| cell.is_advertised).collect();
        assert_eq!(advertised[..9], [true, true, true, false, false, false, false, false, false]);
        check(
            &ifb(),
            [&[Delivered], &[NotSupported], &[NotSupported], &[NotTested], &[NotTested]],
            Verdict::SoftwareOnly,
        );
        check(
            &macvlan(),
            [&[Delivered], &[Broken], &[NotSupported], &[NotTested], &[NotTested]],
            Verdict::NotDelivered,
        );
    }

    #[test]
    fn cards_that_stamp_only_ptp_on_receive() {
        let sent: [&[Delivery]; 3] = [&[Delivered]; 3];
        let [a, b, c] = sent;
        check(&igb(), [a, b, c, &[NotTested], &[NotTested]], Verdict::Fine);
        let received: &[Delivery] = &[NotSupported, Delivered, Delivered];
        check(&answered(igb(), of_igb), [a, b, c, &[Delivered], received], Verdict::Fine);
        check(
            &answered(igb(), |stamp, _| if stamp == Timestamping::RX_SOFTWARE { 20 } else { 0 }),
            [a, b, c, &[Delivered], &[NotSupported, Broken, Broken]],
            Verdict::NotDelivered,
        );
    }

    #[test]
    fn cards_that_promise_more_than_they_do() {
        let software_only = |stamp, _| if stamp == Timestamping::RX_SOFTWARE { 20 } else { 0 };
        check(
            &answered(e1000e(), software_only),
            [&[Delivered], &[Delivered], &[Broken], &[Delivered], &[Broken]],
            Verdict::NotDelivered,
        );
        check(
            &igb_with_one_slot(),
            [&[Delivered], &[Delivered], &[Partly], &[NotTested], &[NotTested]],
            Verdict::NotDelivered,
        );
        // It names a filter and does not take it.
        let mut refusing = answered(igb(), software_only);
        refusing.setting.used = Some(fast_afpacket::Hwtstamp::new(TxMode::ON, RxFilter::NONE));
        check(
            &refusing,
            [&[Delivered], &[Delivered], &[Delivered], &[Delivered], &[NotSupported, Broken, Broken]],
            Verdict::NotDelivered,
        );
    }

    #[test]
    fn what_could_not_be_switched_on_was_not_tested() {
        let software_only = |stamp, _| if stamp == Timestamping::RX_SOFTWARE { 20 } else { 0 };
        check(
            &answered(igb_not_permitted(), software_only),
            [&[Delivered], &[Delivered], &[NotTested], &[Delivered], &[NotSupported, NotTested, NotTested]],
            Verdict::SoftwareOnly,
        );
        // A PTP daemon has switched it on.
        let mut used = igb();
        used.setting.refusal = Some(NicRefusal::NotPermitted);
        check(&used, [&[Delivered], &[Delivered], &[Delivered], &[NotTested], &[NotTested]], Verdict::Fine);
    }
}
