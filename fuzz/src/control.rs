//! Control messages, by cmsg(3) and the layouts of the kernel.

use fast_afpacket::fuzzing::{Ancillary, ErrorReport, Kernel};
use fast_afpacket::{ChecksumState, ControlError, EtherType, HardwareStamp, SystemStamp, Timestamps, TxStage, VlanTag};

const SOL_SOCKET: u32 = 1;
const SO_TIMESTAMPING_OLD: u32 = 37;
const SO_TIMESTAMPING_NEW: u32 = 65;
const SOL_PACKET: u32 = 263;
const PACKET_AUXDATA: u32 = 8;
const PACKET_TX_TIMESTAMP: u32 = 16;

/// The readings of a kernel's words. The tables below say which words.
#[derive(Clone, Copy)]
struct Words(Kernel);

impl Words {
    fn array<const N: usize>(self, bytes: &[u8], at: usize) -> [u8; N] {
        let mut array: [u8; N] = bytes[at..at + N].try_into().unwrap();
        if self.0.big_endian {
            array.reverse();
        }
        array
    }

    fn u16_at(self, bytes: &[u8], at: usize) -> u16 {
        u16::from_le_bytes(self.array(bytes, at))
    }

    fn u32_at(self, bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(self.array(bytes, at))
    }

    fn u64_at(self, bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(self.array(bytes, at))
    }

    /// The size of a long.
    fn long(self) -> usize {
        if self.0.long_of_64_bits { 8 } else { 4 }
    }
}

struct Message<'a> {
    level: u32,
    kind: u32,
    data: &'a [u8],
}

/// Gives each message in turn. A length of less than a header or beyond the end is `Malformed`.
fn for_each<'a>(
    words: Words,
    control: &'a [u8],
    mut each: impl FnMut(Message<'a>) -> Result<(), ControlError>,
) -> Result<(), ControlError> {
    let mut at = 0;
    let long = words.long();
    let header = long + 8;
    while at < control.len() {
        if control.len() - at < header {
            return Err(ControlError::Malformed);
        }
        let len = if long == 8 { words.u64_at(control, at) } else { words.u32_at(control, at).into() };
        if len < header as u64 || len > (control.len() - at) as u64 {
            return Err(ControlError::Malformed);
        }
        let len = len as usize;
        let (level, kind) = (words.u32_at(control, at + long), words.u32_at(control, at + long + 4));
        each(Message { level, kind, data: &control[at + header..at + len] })?;
        at += len.div_ceil(long) * long;
    }
    Ok(())
}

/// Three times: the kernel's, none, the NIC's. `None` if this message is about something else.
fn stamps(words: Words, message: &Message<'_>) -> Option<Result<Timestamps, ControlError>> {
    if message.level != SOL_SOCKET || ![SO_TIMESTAMPING_OLD, SO_TIMESTAMPING_NEW].contains(&message.kind) {
        return None;
    }
    // The old form has longs.
    let word = if message.kind == SO_TIMESTAMPING_OLD { words.long() } else { 8 };
    if message.data.len() != 6 * word {
        return Some(Err(ControlError::Truncated));
    }
    let time = |first: usize| {
        let [seconds, nanos] = [first, first + 1].map(|index| match word {
            8 => words.u64_at(message.data, index * 8) as i64,
            _ => i64::from(words.u32_at(message.data, index * 4) as i32),
        });
        let time = seconds.checked_mul(1_000_000_000)?.checked_add(nanos)?;
        if time == 0 { None } else { Some(time) }
    };
    let mut found = Timestamps::NONE;
    found.software = time(0).map(SystemStamp::from_nanos);
    found.hardware = time(4).map(HardwareStamp::from_nanos);
    Some(Ok(found))
}

/// The stamps alone.
pub fn timestamps(kernel: Kernel, control: &[u8]) -> Result<Timestamps, ControlError> {
    let mut found = Timestamps::NONE;
    let words = Words(kernel);
    for_each(words, control, |message| {
        if let Some(stamps) = stamps(words, &message) {
            found = stamps?;
        }
        Ok(())
    })?;
    Ok(found)
}

/// All that comes with a received frame.
pub fn ancillary(kernel: Kernel, control: &[u8]) -> Result<Ancillary, ControlError> {
    let mut found = Ancillary::default();
    let words = Words(kernel);
    for_each(words, control, |message| {
        if let Some(stamps) = stamps(words, &message) {
            found.timestamps = stamps?;
        }
        if (message.level, message.kind) == (SOL_PACKET, PACKET_AUXDATA) {
            if message.data.len() != 20 {
                return Err(ControlError::Truncated);
            }
            let status = words.u32_at(message.data, 0);
            found.wire_len = Some(words.u32_at(message.data, 4) as usize);
            found.vlan = None;
            if status & 0x10 != 0 {
                let tpid = if status & 0x40 != 0 { words.u16_at(message.data, 18) } else { 0x8100 };
                found.vlan = Some(VlanTag::new(EtherType::new(tpid), words.u16_at(message.data, 16)));
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
pub fn error_report(kernel: Kernel, control: &[u8]) -> Result<ErrorReport, ControlError> {
    let mut timestamps = Timestamps::NONE;
    let mut about = None;
    let words = Words(kernel);
    for_each(words, control, |message| {
        if let Some(stamps) = stamps(words, &message) {
            timestamps = stamps?;
        }
        if (message.level, message.kind) == (SOL_PACKET, PACKET_TX_TIMESTAMP) {
            if message.data.len() != 16 {
                return Err(ControlError::Truncated);
            }
            about = Some((message.data[4], words.u32_at(message.data, 8), words.u32_at(message.data, 12)));
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
