//! Two-way events as JSON objects. All keys are in OUTPUT.md.

use fast_afpacket::{HardwareStamp, SystemStamp};
use serde_json::{Map, Value, json};

use super::Start;
use crate::probe::{outcome_name, reason_name};
use crate::report::text::span;
use crate::stats::Figures;
use crate::two_way::Finished;
use crate::two_way::clocks::{ClockJudgement, Doubt, Validity};
use crate::two_way::figures::{Missing, OneWayFigures, Summary};
use crate::two_way::parts::Part;
use crate::two_way::stamps::{Header, Stamps};
use crate::two_way::times::Basis;

pub(in crate::report) fn start(start: &Start) -> Value {
    json!({
        "event": "start",
        "version": env!("CARGO_PKG_VERSION"),
        "host": start.host,
        "interface": start.interface,
        "reflector": start.reflector,
        "wire": start.wire,
    })
}

fn stamps(stamps: Option<Stamps>) -> Value {
    let Stamps { userspace, scheduled, software, hardware, hardware_in_system } = stamps.unwrap_or_default();
    json!({
        "userspace_ns": userspace.map(SystemStamp::as_nanos),
        "scheduled_ns": scheduled.map(SystemStamp::as_nanos),
        "software_ns": software.map(SystemStamp::as_nanos),
        "hardware_ns": hardware.map(HardwareStamp::as_nanos),
        "hardware_system_ns": hardware_in_system.map(|converted| converted.stamp.as_nanos()),
        "hardware_bound_ns": hardware_in_system.map(|converted| nanos(converted.bound)),
    })
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn header(header: Header) -> Value {
    json!({ "ttl": header.ttl, "dscp": header.dscp, "ecn": header.ecn })
}

fn basis(basis: Option<Basis>) -> Value {
    json!({
        "sender": basis.map(|basis| basis.sender.name()),
        "reflector": basis.and_then(|basis| basis.reflector).map(|kind| kind.name()),
    })
}

pub(in crate::report) fn probe(finished: &Finished) -> Value {
    let Finished { probe, times, forward, backward } = finished;
    let is_valid = |validity: &Option<Validity>| validity.map(|validity| validity == Validity::Valid);
    let doubt = [forward, backward].into_iter().find_map(|validity| validity.as_ref().and_then(reason));
    json!({
        "event": "probe",
        "seq": probe.seq,
        "outcome": probe.fate.name(),
        "rtt_ns": times.and_then(|times| times.round_trip),
        "rtt_net_ns": times.and_then(|times| times.net),
        "forward_ns": times.and_then(|times| times.forward).map(|span| span.nanos),
        "backward_ns": times.and_then(|times| times.backward).map(|span| span.nanos),
        "forward_valid": is_valid(forward),
        "backward_valid": is_valid(backward),
        "reason": doubt,
        "basis": basis(times.map(|times| times.basis)),
        "t1": stamps(Some(probe.t1)),
        "t2": stamps(probe.t2),
        "t3": stamps(probe.t3),
        "t4": stamps(probe.t4),
        "due_ns": probe.due.map(SystemStamp::as_nanos),
        "tx_outcome": outcome_name(probe.result),
        "tx_reason": reason_name(probe.result),
        "forward_header": header(probe.forward),
        "backward_header": header(probe.backward),
    })
}

fn figures(figures: Option<Figures>) -> Value {
    figures.map_or(Value::Null, |Figures { count, min, p50, p90, p99, p999, max }| {
        json!({ "count": count, "min": min, "p50": p50, "p90": p90, "p99": p99, "p999": p999, "max": max })
    })
}

/// An object with more keys.
fn with(object: Value, more: Value) -> Value {
    match (object, more) {
        (Value::Object(mut object), Value::Object(more)) => {
            object.extend(more);
            Value::Object(object)
        }
        (object, _) => object,
    }
}

/// Why a one-way value may not be believed, in a sentence.
pub(in crate::report) fn reason(validity: &Validity) -> Option<String> {
    match validity {
        Validity::Valid => None,
        Validity::Invalid(Doubt::Unknown) => Some("it is not known how far the two hosts' clocks are apart".to_owned()),
        Validity::Invalid(Doubt::Exceeds { bound_ns }) => {
            let bound = span(i64::try_from(*bound_ns).unwrap_or(i64::MAX));
            Some(format!("the two hosts' clocks may be {bound} apart, more than half of the time itself"))
        }
    }
}

fn validity(validity: Validity) -> Value {
    json!({ "valid": validity == Validity::Valid, "reason": reason(&validity) })
}

fn one_way(way: Option<OneWayFigures>) -> Value {
    way.map_or(Value::Null, |way| {
        let more = json!({ "doubtful": way.doubtful, "bound_ns": nanos(way.bound) });
        with(with(figures(Some(way.figures)), validity(way.validity)), more)
    })
}

fn breakdown(summary: &Summary) -> Value {
    let breakdown = &summary.breakdown;
    let mut parts: Map<String, Value> =
        Part::ALL.map(|part| (format!("{}_ns", part.name()), Value::Null)).into_iter().collect();
    for taken in &breakdown.stretches {
        let Some(part) = taken.stretch.part() else { continue };
        let includes: Vec<&str> = taken.stretch.includes().map(Part::name).collect();
        let mut object =
            with(figures(Some(taken.figures)), json!({ "includes": includes, "bound_ns": nanos(taken.bound) }));
        if taken.stretch.is_of_two_clocks() {
            object = with(object, validity(summary.validity(taken)));
        }
        parts.insert(format!("{}_ns", part.name()), object);
    }
    parts.insert("wires_ns".to_owned(), figures(breakdown.wires));
    parts.insert("probes".to_owned(), breakdown.probes.into());
    parts.insert("other_probes".to_owned(), breakdown.others.into());
    Value::Object(parts)
}

fn clock(clocks: &ClockJudgement) -> Value {
    json!({
        "offset_ns": clocks.offset_ns,
        "bound_ns": clocks.bound_ns,
        "synchronised": clocks.synchronised,
        "one_way_bound_ns": clocks.one_way_bound_ns,
        "drift_ppb": clocks.drift_ppb.map(|(drift, _)| drift),
        "drift_bound_ppb": clocks.drift_ppb.map(|(_, bound)| bound),
        "reasons": clocks.reasons,
    })
}

fn missing([t1, t2, t3, t4]: [Missing; 4]) -> Value {
    let at = |point: Missing| json!({ "scheduled": point.scheduled, "software": point.software, "hardware": point.hardware });
    json!({ "t1": at(t1), "t2": at(t2), "t3": at(t3), "t4": at(t4) })
}

pub(in crate::report) fn summary(summary: &Summary) -> Value {
    json!({
        "event": "summary",
        "sent": summary.counts.sent,
        "received": summary.counts.in_time,
        "late": summary.counts.late,
        "lost": summary.losses.all,
        "lost_forward": summary.losses.forward,
        "lost_backward": summary.losses.backward,
        "lost_unknown": summary.losses.unknown,
        "refused": summary.counts.refused,
        "duplicates": summary.duplicates.all,
        "duplicates_forward": summary.duplicates.forward,
        "duplicates_backward": summary.duplicates.backward,
        "reordered": summary.reordered.round_trip,
        "reordered_forward": summary.reordered.forward,
        "reordered_backward": summary.reordered.backward,
        "basis": basis(summary.basis),
        "off_basis": summary.off_basis,
        "rtt_ns": figures(summary.round_trip),
        "rtt_net_ns": figures(summary.net),
        "forward_ns": one_way(summary.forward),
        "backward_ns": one_way(summary.backward),
        "ipdv_forward_ns": figures(summary.variation_forward),
        "ipdv_backward_ns": figures(summary.variation_backward),
        "send_error_ns": figures(summary.send_error),
        "breakdown": breakdown(summary),
        "clock": clock(&summary.clocks),
        "missing_stamps": missing(summary.missing.by_point()),
        "dscp_changed_forward": summary.changes.dscp_forward,
        "dscp_changed_backward": summary.changes.dscp_backward,
        "ecn_changed_forward": summary.changes.ecn_forward,
        "ecn_changed_backward": summary.changes.ecn_backward,
        "unasked": summary.counts.strays,
        "crowded_out": summary.counts.crowded_out,
        "foreign": summary.unusable.foreign,
        "wrong_checksum": summary.unusable.wrong_checksum,
        "malformed": summary.unusable.malformed,
        "forged": summary.unusable.forged,
        "drops": summary.unusable.dropped,
    })
}
