//! Control messages, by cmsg(3) and the layouts of the kernel.

use fast_afpacket::fuzzing::{Ancillary, ErrorReport};
use fast_afpacket::{ChecksumState, ControlError, EtherType, HardwareStamp, SystemStamp, Timestamps, TxStage, VlanTag};

use crate::{i64_at, u16_at, u32_at};

const SOL_SOCKET: u32 = 1;
const SO_TIMESTAMPING_OLD: u32 = 37;
const SO_TIMESTAMPING_NEW: u32 = 65;
const SOL_PACKET: u32 = 263;
const PACKET_AUXDATA: u32 = 8;
const PACKET_TX_TIMESTAMP: u32 = 16;

struct Message<'a> {
    level: u32,
    kind: u32,
    data: &'a [u8],
}

/// Gives each message in turn. A length of less than a header or beyond the end is `Malformed`.
fn for_each<'a>(
    control: &'a [u8],
    mut each: impl FnMut(Message<'a>) -> Result<(), ControlError>,
) -> Result<(), ControlError> {
    let mut at = 0;
    while at < control.len() {
        if control.len() - at < 16 {
            return Err(ControlError::Malformed);
        }
        let len = i64_at(control, at) as u64;
        if len < 16 || len > (control.len() - at) as u64 {
            return Err(ControlError::Malformed);
        }
        let len = len as usize;
        let (level, kind) = (u32_at(control, at + 8), u32_at(control, at + 12));
        each(Message { level, kind, data: &control[at + 16..at + len] })?;
        at += len.div_ceil(8) * 8;
    }
    Ok(())
}

/// Three times: the kernel's, none, the NIC's. `None` if this message is about something else.
fn stamps(message: &Message<'_>) -> Option<Result<Timestamps, ControlError>> {
    if message.level != SOL_SOCKET || ![SO_TIMESTAMPING_OLD, SO_TIMESTAMPING_NEW].contains(&message.kind) {
        return None;
    }
    if message.data.len() != 48 {
        return Some(Err(ControlError::Truncated));
    }
    let time = |at| {
        let (seconds, nanos) = (i64_at(message.data, at), i64_at(message.data, at + 8));
        let time = seconds.checked_mul(1_000_000_000)?.checked_add(nanos)?;
        if time == 0 { None } else { Some(time) }
    };
    let mut found = Timestamps::NONE;
    found.software = time(0).map(SystemStamp::from_nanos);
    found.hardware = time(32).map(HardwareStamp::from_nanos);
    Some(Ok(found))
}

/// The stamps alone.
pub fn timestamps(control: &[u8]) -> Result<Timestamps, ControlError> {
    let mut found = Timestamps::NONE;
    for_each(control, |message| {
        if let Some(stamps) = stamps(&message) {
            found = stamps?;
        }
        Ok(())
    })?;
    Ok(found)
}

/// All that comes with a received frame.
pub fn ancillary(control: &[u8]) -> Result<Ancillary, ControlError> {
    let mut found = Ancillary::default();
    for_each(control, |message| {
        if let Some(stamps) = stamps(&message) {
            found.timestamps = stamps?;
        }
        if (message.level, message.kind) == (SOL_PACKET, PACKET_AUXDATA) {
            if message.data.len() != 20 {
                return Err(ControlError::Truncated);
            }
            let status = u32_at(message.data, 0);
            found.wire_len = Some(u32_at(message.data, 4) as usize);
            found.vlan = None;
            if status & 0x10 != 0 {
                let tpid = if status & 0x40 != 0 { u16_at(message.data, 18) } else { 0x8100 };
                found.vlan = Some(VlanTag::new(EtherType::new(tpid), u16_at(message.data, 16)));
            }
            found.checksum = match (status & 0x08 != 0, status & 0x80 != 0) {
                (true, _) => ChecksumState::Partial,
                (false, true) => ChecksumState::Verified,
                (false, false) => ChecksumState::Unverified,
            };
        }
        Ok(())
    })?;
    Ok(found)
}

/// All that comes with a message of the error queue.
pub fn error_report(control: &[u8]) -> Result<ErrorReport, ControlError> {
    let mut timestamps = Timestamps::NONE;
    let mut about = None;
    for_each(control, |message| {
        if let Some(stamps) = stamps(&message) {
            timestamps = stamps?;
        }
        if (message.level, message.kind) == (SOL_PACKET, PACKET_TX_TIMESTAMP) {
            if message.data.len() != 16 {
                return Err(ControlError::Truncated);
            }
            about = Some((message.data[4], u32_at(message.data, 8), u32_at(message.data, 12)));
        }
        Ok(())
    })?;
    Ok(match about {
        Some((4, info, number)) => {
            let stage = match info {
                0 => TxStage::Sent,
                1 => TxStage::Scheduled,
                2 => TxStage::Acknowledged,
                3 => TxStage::Completed,
                other => TxStage::Other(other),
            };
            ErrorReport::Stamp { number, stage, timestamps }
        }
        Some((6, _, _)) => ErrorReport::LaunchMissed,
        _ => ErrorReport::Other,
    })
}
