//! What a verdict means to who uses the interface, in plain words.

use fast_afpacket::{NicRefusal, Timestamping};

use super::probes::Kind;
use super::setting::in_words;
use super::target::Answers;
use super::verdict::{Cell, Delivery, Findings, is_hardware};
use crate::nic::STAMPS;

/// At least one sentence.
pub(super) fn advice(findings: &Findings, cells: &[Cell]) -> Vec<String> {
    let of = |stamp: Timestamping| Stamp(cells.iter().filter(|cell| cell.count.stamp == stamp).copied().collect());
    let hardware = [of(Timestamping::TX_HARDWARE), of(Timestamping::RX_HARDWARE)];
    let mut advice = Vec::new();
    advice.extend(refusal(findings, &hardware));
    advice.extend(hardware_as_a_whole(cells, hardware.iter().any(Stamp::is_there)));
    advice.extend(received_in_hardware(&hardware[1]));
    for (stamp, direction, name) in STAMPS {
        advice.extend(partly(&of(stamp), direction, name));
        // Of a card without any hardware stamp all is said.
        if name != "hardware" || hardware.iter().any(Stamp::is_there) {
            advice.extend(broken(findings, &of(stamp), direction, name));
        }
    }
    advice.extend(software_on_transmit(&of(Timestamping::TX_SOFTWARE)));
    advice.extend(not_tested(findings, &of(Timestamping::RX_SOFTWARE)));
    advice.extend(findings.setting.trouble.as_ref().map(|trouble| format!("The NIC's setting: {trouble}.")));
    advice
}

/// The cells of one stamp.
struct Stamp(Vec<Cell>);

impl Stamp {
    fn with(&self, delivery: Delivery) -> impl Iterator<Item = &Cell> {
        self.0.iter().filter(move |cell| cell.delivery == delivery)
    }

    fn any(&self, delivery: Delivery) -> bool {
        self.with(delivery).next().is_some()
    }

    fn all(&self, delivery: Delivery) -> bool {
        self.0.iter().all(|cell| cell.delivery == delivery)
    }

    fn is_there(&self) -> bool {
        self.any(Delivery::Delivered) || self.any(Delivery::Partly)
    }

    fn is_advertised(&self) -> bool {
        self.0.iter().any(|cell| cell.is_advertised)
    }

    /// The kinds with this verdict, unless it is all of them.
    fn kinds(&self, delivery: Delivery) -> String {
        if self.all(delivery) {
            return String::new();
        }
        let kinds: Vec<_> = self.with(delivery).map(|cell| cell.count.kind.title()).collect();
        format!(" ({})", kinds.join(", "))
    }
}

const fn direction_in_words(direction: &str) -> &'static str {
    match direction.as_bytes() {
        b"tx" => "sent",
        _ => "received",
    }
}

fn refusal(findings: &Findings, hardware: &[Stamp]) -> Option<String> {
    let setting = &findings.setting;
    let refusal = setting.refusal.filter(|_| hardware.iter().any(Stamp::is_advertised))?;
    let as_set = format!("hardware timestamps were examined as they are set ({})", in_words(setting.used));
    Some(match refusal {
        NicRefusal::NotPermitted => format!("{refusal}: {as_set}."),
        NicRefusal::Unsupported => {
            "The driver promises hardware timestamps but does not tell how they are set, so that \
                                    they could not be borrowed and given back: they were left alone."
                .to_owned()
        }
        _ => format!("Hardware timestamps could not be switched on: {refusal}. So {as_set}."),
    })
}

fn hardware_as_a_whole(cells: &[Cell], is_there: bool) -> Option<String> {
    let hardware = || cells.iter().filter(|cell| is_hardware(cell));
    let tested = || hardware().filter(|cell| cell.is_advertised && cell.delivery != Delivery::NotTested);
    if is_there {
        let all = tested().all(|cell| cell.delivery == Delivery::Delivered);
        return all.then(|| "All hardware timestamps that are advertised and were tested are delivered.".to_owned());
    }
    if tested().next().is_some() {
        let sentence = "The driver promises hardware timestamps and delivers none: do not rely on them.";
        return Some(sentence.to_owned());
    }
    let is_promised = hardware().any(|cell| cell.is_advertised);
    (!is_promised).then(|| {
        "Hardware timestamps: this driver has none. Software timestamps are taken next to the driver and do not show \
         what the device adds."
            .to_owned()
    })
}

/// Which frames a card stamps that does not stamp all.
fn received_in_hardware(stamp: &Stamp) -> Option<String> {
    let is_advertised = |kind: Kind| stamp.0.iter().any(|cell| cell.count.kind == kind && cell.is_advertised);
    if is_advertised(Kind::Any) || stamp.with(Delivery::Delivered).any(|cell| cell.count.kind == Kind::Any) {
        return None;
    }
    let usable = |kind: Kind| {
        let not_broken = |cell: &&Cell| cell.count.kind == kind && cell.delivery != Delivery::Broken;
        is_advertised(kind) && stamp.0.iter().any(|cell| not_broken(&cell))
    };
    let (which, wire) = match (usable(Kind::PtpEthernet), usable(Kind::PtpUdp)) {
        (true, true) => ("PTP", "--wire ptp or --wire ptp-udp"),
        (true, false) => ("PTP over Ethernet", "--wire ptp"),
        (false, true) => ("PTP over UDP", "--wire ptp-udp"),
        (false, false) => return None,
    };
    let says = if stamp.any(Delivery::Delivered) { "" } else { ", says the driver" };
    Some(format!("Received frames are stamped in hardware only if they are {which}{says}: use {wire}."))
}

fn partly(stamp: &Stamp, direction: &str, name: &str) -> Option<String> {
    let sum = |of: fn(&Cell) -> usize| -> usize { stamp.with(Delivery::Partly).map(of).sum() };
    let (stamped, frames) = (sum(|cell| cell.count.stamped), sum(|cell| cell.count.frames));
    let sentence = format!(
        "{stamped} of {frames} {} frames{} had a {name} timestamp",
        direction_in_words(direction),
        stamp.kinds(Delivery::Partly)
    );
    let why = match name {
        "hardware" => {
            ", though they were 20 ms apart: many cards have room for one at a time, and another program that uses it, \
             a PTP daemon, takes it from this one"
        }
        _ => "",
    };
    (frames > 0).then(|| format!("Only {sentence}{why}."))
}

fn broken(findings: &Findings, stamp: &Stamp, direction: &str, name: &str) -> Option<String> {
    if !stamp.any(Delivery::Broken) {
        return None;
    }
    let kinds = stamp.kinds(Delivery::Broken);
    let frames = direction_in_words(direction);
    let why = match (direction, name) {
        ("tx", "software") if findings.driver.as_deref() == Some("macvlan") => {
            "Frames from one macvlan to another of the same device meet no driver: those that leave the host do."
        }
        ("tx", "software") => "Take the scheduled ones for the time of sending.",
        (_, "hardware") => "Take the software ones.",
        _ => "Do not rely on them.",
    };
    Some(format!("The {name} timestamps of {frames} frames{kinds} are advertised and not delivered. {why}"))
}

fn software_on_transmit(stamp: &Stamp) -> Option<String> {
    if stamp.0.iter().any(|cell| cell.is_advertised) {
        return None;
    }
    Some(match stamp.any(Delivery::Delivered) {
        true => {
            "The software timestamps of sent frames are not advertised, and come all the same: from the device below."
                .to_owned()
        }
        false if stamp.any(Delivery::NotSupported) => {
            "This device takes no software timestamps of sent frames: take the scheduled ones for the time of sending."
                .to_owned()
        }
        false => return None,
    })
}

fn not_tested(findings: &Findings, received: &Stamp) -> Option<String> {
    if !received.any(Delivery::NotTested) {
        return None;
    }
    let interface = &findings.interface;
    Some(match findings.answers {
        Answers::Nobody => format!(
            "Receiving was not tested, for nobody sends: start `afprobe doctor IFACE --reflect` on another host of \
             this link, and here `afprobe doctor {interface} --peer ADDR`."
        ),
        Answers::Peer(peer) if received.all(Delivery::NotTested) => format!(
            "Receiving was not tested: no reply came from {peer}. Start `afprobe doctor IFACE --reflect` there."
        ),
        Answers::Peer(_) | Answers::Itself => format!(
            "Receiving was tested only in part: no reply came to these frames{}, which something on the way does not \
             forward.",
            received.kinds(Delivery::NotTested)
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::super::verdict::cells;
    use super::super::verdict::examples::*;
    use super::*;

    /// The sentences hold these words, one each and in this order.
    fn check(findings: &Findings, expected: &[&str]) {
        let advice = advice(findings, &cells(findings));
        assert_eq!(advice.len(), expected.len(), "{advice:#?}");
        for (sentence, words) in advice.iter().zip(expected) {
            assert!(sentence.contains(words), "{words}: {advice:#?}");
            assert!(sentence.ends_with('.') && !sentence.contains("  "), "{sentence}");
        }
    }

    const NO_PEER: &str = "for nobody sends";

    #[test]
    fn devices_without_hardware_stamps() {
        check(&veth(), &["this driver has none", NO_PEER]);
        check(&lo(), &["this driver has none"]);
        check(&bridge(), &["this driver has none", "from the device below", NO_PEER]);
        check(&ifb(), &["this driver has none", "takes no software timestamps of sent frames", NO_PEER]);
        check(&macvlan(), &["this driver has none", "Frames from one macvlan to another", NO_PEER]);
    }

    #[test]
    fn cards() {
        check(&igb(), &["All hardware", "if they are PTP, says the driver: use --wire ptp or", NO_PEER]);
        check(&answered(igb(), of_igb), &["All hardware", "only if they are PTP: use --wire ptp or --wire ptp-udp."]);
        check(&e1000e(), &["delivers none: do not rely", NO_PEER]);
        check(&igb_with_one_slot(), &["if they are PTP", "Only 45 of 60 sent frames had a hardware", NO_PEER]);
        check(&igb_not_permitted(), &["CAP_NET_ADMIN is missing, or", "if they are PTP, says the driver", NO_PEER]);
    }

    #[test]
    fn replies_that_do_not_come() {
        let mut silent = answered(veth(), |_, _| 0);
        silent
            .counts
            .iter_mut()
            .filter(|count| Timestamping::RX.contains(count.stamp))
            .for_each(|count| count.frames = 0);
        check(&silent, &["this driver has none", "no reply came from 192.0.2.2. Start `afprobe doctor"]);
        let mut routed = answered(veth(), |stamp, _| if stamp == Timestamping::RX_SOFTWARE { 20 } else { 0 });
        let ethernet = |count: &&mut super::super::examine::Count| {
            Timestamping::RX.contains(count.stamp) && count.kind == Kind::PtpEthernet
        };
        routed.counts.iter_mut().filter(ethernet).for_each(|count| (count.frames, count.stamped) = (0, 0));
        check(&routed, &["this driver has none", "these frames (PTP over Ethernet), which"]);
    }

    #[test]
    fn a_setting_that_was_not_given_back_is_told_of() {
        let mut igb = answered(igb(), of_igb);
        igb.setting.trouble = Some("the card's setting is not what it was".to_owned());
        check(&igb, &["All hardware", "only if they are PTP", "The NIC's setting: the card's"]);
    }
}
