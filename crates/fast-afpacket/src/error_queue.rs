//! What the messages of a socket's error queue say: stamps of frames that were sent, and that one was not.

use crate::sys::abi;
use crate::sys::cmsg::{self, Messages};
use crate::sys::layout::Layout;
use crate::timestamp::{ControlError, Timestamping, Timestamps};
use crate::tx_report::TxStage;

/// What a message of the error queue is about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ErrorReport {
    Stamp(Stamp),
    /// A frame was not sent, for its launch time.
    LaunchMissed,
    Other,
}

/// A stamp in the error queue.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The caller's key or the kernel's count.
    pub(crate) number: u32,
    pub(crate) stage: TxStage,
    pub(crate) timestamps: Timestamps,
}

impl Stamp {
    /// Which of the stamps that can be asked for this is.
    #[inline]
    pub(crate) fn what(&self) -> Timestamping {
        match self.stage {
            TxStage::Scheduled => Timestamping::TX_SCHEDULED,
            TxStage::Sent if self.timestamps.hardware.is_some() => Timestamping::TX_HARDWARE,
            TxStage::Sent => Timestamping::TX_SOFTWARE,
            _ => Timestamping::empty(),
        }
    }

    /// Reads a control buffer of the error queue.
    #[inline]
    pub(crate) fn parse<L: Layout>(control: &[u8]) -> Result<ErrorReport, ControlError> {
        // What the kernel writes as a rule, in this order.
        if let Some((times, rest)) = cmsg::expect::<L, 48>(control, libc::SOL_SOCKET, L::SO_TIMESTAMPING)
            && let Some(timestamps) = Timestamps::from_times::<L>(times)
            && let Some((error, [])) = cmsg::expect::<L, 16>(rest, libc::SOL_PACKET, libc::PACKET_TX_TIMESTAMP)
        {
            return Ok(ErrorReport::of::<L>(error, timestamps));
        }
        Self::parse_any::<L>(control)
    }

    /// Reads any messages in any order; those of others are skipped.
    #[cold]
    fn parse_any<L: Layout>(control: &[u8]) -> Result<ErrorReport, ControlError> {
        let mut timestamps = Timestamps::NONE;
        let mut about = None;
        for message in Messages::<L>::new(control) {
            let message = message?;
            if message.level == libc::SOL_PACKET && message.kind == libc::PACKET_TX_TIMESTAMP {
                about = Some(message.data.try_into().map_err(|_| ControlError::Truncated)?);
            } else if let Some(found) = Timestamps::from_message::<L>(&message)? {
                timestamps = found;
            }
        }
        Ok(about.map_or(ErrorReport::Other, |error| ErrorReport::of::<L>(error, timestamps)))
    }
}

impl ErrorReport {
    /// `struct sock_extended_err`: errno u32, origin, type, code, pad u8, info u32, data u32.
    #[inline]
    fn of<L: Layout>(error: &[u8; 16], timestamps: Timestamps) -> Self {
        let [_, _, _, _, origin, _, _, _, i0, i1, i2, i3, d0, d1, d2, d3] = *error;
        let (info, number) = (L::u32([i0, i1, i2, i3]), L::u32([d0, d1, d2, d3]));
        match origin {
            abi::SO_EE_ORIGIN_TIMESTAMPING => Self::Stamp(Stamp { number, stage: TxStage::from_raw(info), timestamps }),
            abi::SO_EE_ORIGIN_TXTIME => Self::LaunchMissed,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::cmsg::CmsgBytes;
    use crate::sys::layout::Native;
    use crate::timestamp::SystemStamp;

    fn report(origin: u8, info: u32, number: u32) -> CmsgBytes {
        let mut times = Vec::new();
        for word in [7_i64, 8, 0, 0, 0, 0] {
            times.extend(word.to_ne_bytes());
        }
        let mut error = 42_u32.to_ne_bytes().to_vec();
        error.extend([origin, 0, 0, 0]);
        error.extend(info.to_ne_bytes());
        error.extend(number.to_ne_bytes());
        let mut control = CmsgBytes::default();
        control.push(libc::SOL_SOCKET, abi::SO_TIMESTAMPING_NEW, &times);
        control.push(libc::SOL_PACKET, libc::PACKET_TX_TIMESTAMP, &error);
        control
    }

    fn parse(control: &[u8]) -> Result<ErrorReport, ControlError> {
        Stamp::parse::<Native>(control)
    }

    fn stamp(control: &CmsgBytes) -> Stamp {
        match parse(&control.0) {
            Ok(ErrorReport::Stamp(stamp)) => stamp,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_stamp_has_number_stage_and_time() {
        let stamp = stamp(&report(4, 1, 0xffff_fff0));
        assert_eq!(stamp.number, 0xffff_fff0);
        assert_eq!(stamp.stage, TxStage::Scheduled);
        assert_eq!(stamp.timestamps.software, Some(SystemStamp::from_nanos(7_000_000_008)));
        let stages = [TxStage::Sent, TxStage::Scheduled, TxStage::Acknowledged, TxStage::Completed, TxStage::Other(4)];
        for (info, stage) in (0..).zip(stages) {
            assert_eq!(self::stamp(&report(4, info, 0)).stage, stage);
        }
    }

    /// With SO_TXTIME the same queue reports missed launch times, origin 6.
    #[test]
    fn other_origins_are_no_stamps() {
        assert_eq!(parse(&report(6, 1, 3).0), Ok(ErrorReport::LaunchMissed));
        assert_eq!(parse(&report(2, 1, 3).0), Ok(ErrorReport::Other));
        assert_eq!(parse(&[]), Ok(ErrorReport::Other));
    }

    #[test]
    fn a_cut_report_is_refused() {
        let mut control = CmsgBytes::default();
        control.push(libc::SOL_PACKET, libc::PACKET_TX_TIMESTAMP, &[0; 10]);
        assert_eq!(parse(&control.0), Err(ControlError::Truncated));
    }
}
