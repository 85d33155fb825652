//! How a socket asks for stamps, and how those of sent frames are told apart.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use crate::error_queue::Stamp;
use crate::sys::cmsg::{Encoder, space};
use crate::sys::{self, abi, sockopt};
use crate::timestamp::{ControlError, Timestamping};
use crate::tx_keys::KeyLedger;
use crate::tx_report::TxKey;

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
