//! How a socket asks for stamps, and how it reads those of sent frames.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use crate::sys::cmsg::{self, Encoder, Messages, space};
use crate::sys::layout::Layout;
use crate::sys::{self, abi, sockopt};
use crate::timestamp::{ControlError, Timestamping, Timestamps};
use crate::tx_keys::{KeyLedger, Refusal};
use crate::tx_report::{TxKey, TxStage};

/// What a sending socket needs to know about the stamps of its frames.
pub(crate) struct Stamping {
    /// What the sending socket asked for: no stamps on transmit, since frames without a key want none.
    request: Request,
    /// The stamps that a keyed frame asks for if nothing else is said.
    stamps: Timestamping,
    payload: bool,
    /// Whether the kernel stamps frames without being asked for each.
    every_frame: bool,
    keys: Keys,
}

/// How a socket is to ask for stamps.
#[derive(Clone, Copy, Default)]
pub(crate) struct Manner {
    /// The virtual clock that hardware stamps are to be of.
    pub(crate) phc: Option<u32>,
    /// Whether each stamp comes with its frame.
    pub(crate) payload: bool,
    /// Whether frames are stamped without being asked for each.
    pub(crate) every_frame: bool,
}

enum Keys {
    /// No stamps of sent frames were asked for.
    None,
    /// The kernel takes the caller's.
    Own,
    /// The kernel counts.
    Counted(Mutex<KeyLedger>),
}

impl Stamping {
    /// Asks for the stamps `wanted` on the sending socket, whose error queue they will come from.
    pub(crate) fn set_up(
        socket: BorrowedFd<'_>,
        wanted: Timestamping,
        manner: Manner,
        count_keys: bool,
    ) -> io::Result<Self> {
        let request = ask(socket, wanted, manner)?;
        let Manner { payload, every_frame, .. } = manner;
        let stamps = wanted.intersection(Timestamping::TX);
        let keys = if stamps.is_empty() {
            Keys::None
        } else if !count_keys && kernel_takes(abi::SCM_TS_OPT_ID) {
            Keys::Own
        } else {
            Keys::Counted(Mutex::new(KeyLedger::new()))
        };
        Ok(Self { request, stamps, payload, every_frame, keys })
    }

    /// What was asked of the sending socket, which receives too if it is the only one.
    pub(crate) const fn request(&self) -> Request {
        self.request
    }

    /// Asks the same again: of a socket that is to take the place of the first, or of another interface's clock. Of the same
    /// socket, the kernel's count goes on.
    pub(crate) fn renew(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        match self.request.flags {
            0 => Ok(()),
            _ => self.request.set(socket),
        }
    }

    /// Puts a new socket in the place of the first, by `replace`. Its count begins at 0.
    pub(crate) fn change_socket(&self, replace: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let Keys::Counted(ledger) = &self.keys else {
            return replace();
        };
        let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        replace()?;
        // A stamp of the old socket may have been read and not been looked up yet: the ledger keeps what is owed.
        ledger.restarted();
        Ok(())
    }

    pub(crate) const fn gives_tx_stamps(&self) -> bool {
        !matches!(self.keys, Keys::None)
    }

    /// The stamps that a keyed frame asks for if nothing else is said.
    #[inline]
    pub(crate) const fn stamps(&self) -> Timestamping {
        self.stamps
    }

    /// Whether each stamp comes with its frame.
    pub(crate) const fn returns_payload(&self) -> bool {
        self.payload
    }

    pub(crate) const fn has_own_keys(&self) -> bool {
        matches!(self.keys, Keys::Own)
    }

    /// Whether a frame may ask for these stamps.
    #[inline]
    pub(crate) fn check(&self, stamps: Timestamping) -> io::Result<()> {
        match !stamps.is_empty() && self.stamps.contains(stamps) {
            true => Ok(()),
            false => Err(not_asked_for()),
        }
    }

    /// Appends the control messages that ask for these stamps of a frame, under its key if the kernel takes it.
    #[inline]
    pub(crate) fn ask_for<const N: usize>(
        &self,
        stamps: Timestamping,
        key: TxKey,
        control: &mut Encoder<N>,
    ) -> io::Result<()> {
        self.check(stamps)?;
        if !(self.every_frame && stamps == self.stamps) {
            control.push(libc::SOL_SOCKET, abi::SO_TIMESTAMPING, frame_flags(stamps));
        }
        if let Keys::Own = self.keys {
            control.push(libc::SOL_SOCKET, abi::SCM_TS_OPT_ID, key.value());
        }
        Ok(())
    }

    /// Sends a frame that asks for these stamps. `send` is called once; it must not block.
    #[inline]
    pub(crate) fn send(
        &self,
        socket: BorrowedFd<'_>,
        (key, stamps): (TxKey, Timestamping),
        send: impl FnOnce() -> io::Result<usize>,
        refusal: impl FnOnce(&io::Error) -> Refusal,
    ) -> io::Result<usize> {
        if !matches!(self.keys, Keys::Counted(_)) {
            return send();
        }
        self.send_counted(socket, |ledger| {
            let result = send();
            match &result {
                Ok(_) => ledger.sent(key, stamps),
                Err(error) => ledger.refused(key, stamps, refusal(error)),
            }
            result
        })?
    }

    /// Sends frames that ask for stamps and that the kernel counts. `send` is called once; it must not block, and enters
    /// into the ledger what became of each frame, in order.
    #[inline]
    pub(crate) fn send_counted<T>(
        &self,
        socket: BorrowedFd<'_>,
        send: impl FnOnce(&mut KeyLedger) -> T,
    ) -> io::Result<T> {
        let Keys::Counted(ledger) = &self.keys else {
            return Err(not_asked_for());
        };
        // The lock is held over the system call: the order of keys must be that of the kernel's numbers.
        let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if ledger.is_in_doubt() {
            // The count begins at 0 when the option goes from off to on.
            self.request.without(libc::SOF_TIMESTAMPING_OPT_ID).set(socket)?;
            self.request.set(socket)?;
            ledger.restarted();
        }
        Ok(send(&mut ledger))
    }

    /// The key that a stamp with the kernel's `number` belongs to, if that is beyond doubt.
    #[inline]
    pub(crate) fn key_of(&self, stamp: &Stamp) -> Option<TxKey> {
        match &self.keys {
            Keys::None => None,
            Keys::Own => Some(TxKey::new(stamp.number)),
            Keys::Counted(ledger) => {
                let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
                ledger.key_of(stamp.number, stamp.what())
            }
        }
    }
}

/// The flags of the control message that asks for stamps of one frame.
#[inline]
fn frame_flags(stamps: Timestamping) -> u32 {
    let table = [
        (Timestamping::TX_SCHEDULED, libc::SOF_TIMESTAMPING_TX_SCHED),
        (Timestamping::TX_SOFTWARE, libc::SOF_TIMESTAMPING_TX_SOFTWARE),
        (Timestamping::TX_HARDWARE, libc::SOF_TIMESTAMPING_TX_HARDWARE),
    ];
    flags_of(stamps, &table)
}

/// The error of a call that cannot succeed on a socket without TX stamps.
#[cold]
pub(crate) fn not_asked_for() -> io::Error {
    let why = "these TX timestamps, or any, were not asked for when this socket was opened (Options::timestamping)";
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// The error for `MSG_CTRUNC`: somebody has switched on more control messages than there is room for.
#[cold]
pub(crate) fn control_was_cut() -> io::Error {
    ControlError::Truncated.into()
}

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
    fn what(&self) -> Timestamping {
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

/// The value of `SO_TIMESTAMPING`.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    flags: u32,
    /// The virtual clock that hardware stamps are to be of.
    phc: Option<u32>,
}

impl Request {
    /// Whether the kernel reports of received frames those stamps only that were asked for.
    pub(crate) const fn is_answered_strictly(self) -> bool {
        self.flags == 0 || self.flags & libc::SOF_TIMESTAMPING_OPT_RX_FILTER != 0
    }

    const fn without(self, flags: u32) -> Self {
        Self { flags: self.flags & !flags, ..self }
    }

    fn set(self, socket: BorrowedFd<'_>) -> io::Result<()> {
        match self.phc {
            None => sockopt::set_timestamping(socket, self.flags),
            Some(phc) => sockopt::set_timestamping_of(socket, self.flags, phc),
        }
    }
}

/// Sets `SO_TIMESTAMPING` on a socket and gives what it took. An older kernel refuses flags that it does not know;
/// those that it can do without are left out then.
pub(crate) fn ask(socket: BorrowedFd<'_>, wanted: Timestamping, manner: Manner) -> io::Result<Request> {
    let Manner { phc, payload, every_frame } = manner;
    let reports = [
        (Timestamping::RX_SOFTWARE, libc::SOF_TIMESTAMPING_RX_SOFTWARE),
        (Timestamping::RX_HARDWARE, libc::SOF_TIMESTAMPING_RX_HARDWARE),
        (Timestamping::RX_HARDWARE | Timestamping::TX_HARDWARE, libc::SOF_TIMESTAMPING_RAW_HARDWARE),
        (
            Timestamping::RX_SOFTWARE | Timestamping::TX_SOFTWARE | Timestamping::TX_SCHEDULED,
            libc::SOF_TIMESTAMPING_SOFTWARE,
        ),
        (Timestamping::TX, libc::SOF_TIMESTAMPING_OPT_ID | libc::SOF_TIMESTAMPING_OPT_TX_SWHW),
        (Timestamping::all(), libc::SOF_TIMESTAMPING_OPT_RX_FILTER),
    ];
    let mut flags = flags_of(wanted, &reports);
    if wanted.intersects(Timestamping::TX) && !payload {
        flags |= libc::SOF_TIMESTAMPING_OPT_TSONLY;
    }
    if every_frame {
        flags |= frame_flags(wanted);
    }
    let request = Request { flags, phc };
    if flags == 0 {
        return Ok(request);
    }
    // Linux 6.12 and 4.13.
    let dispensable = [
        0,
        libc::SOF_TIMESTAMPING_OPT_RX_FILTER,
        libc::SOF_TIMESTAMPING_OPT_RX_FILTER | libc::SOF_TIMESTAMPING_OPT_TX_SWHW,
    ];
    let mut refused = io::Error::from_raw_os_error(libc::EINVAL);
    for without in dispensable {
        let request = request.without(without);
        match request.set(socket) {
            Ok(()) => return Ok(request),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = error,
            Err(error) => return Err(error),
        }
    }
    Err(refused)
}

/// The flags of all entries that have something of what is wanted.
fn flags_of(wanted: Timestamping, table: &[(Timestamping, u32)]) -> u32 {
    let entries = table.iter().filter(|(stamps, _)| wanted.intersects(*stamps));
    entries.fold(0, |flags, (_, flag)| flags | flag)
}

/// Whether the kernel knows this control message of `SOL_SOCKET` with a 32-bit value, without sending anything.
///
/// A UDP socket that may not broadcast is asked to: the control messages are checked first and an unknown one is
/// `EINVAL`; otherwise the send fails later, for want of permission (`EACCES`) or of a route (`ENETUNREACH`).
pub(crate) fn kernel_takes(kind: libc::c_int) -> bool {
    let probe = || {
        let socket = sys::udp_socket()?;
        sockopt::set_timestamping(socket.as_fd(), libc::SOF_TIMESTAMPING_OPT_ID)?;
        let mut control = Encoder::<{ space(4) }>::new();
        control.push(libc::SOL_SOCKET, kind, 0);
        sys::send_forbidden_broadcast(socket.as_fd(), control.as_bytes())
    };
    match probe() {
        Ok(()) => true,
        Err(error) => matches!(error.raw_os_error(), Some(libc::EACCES | libc::ENETUNREACH)),
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
