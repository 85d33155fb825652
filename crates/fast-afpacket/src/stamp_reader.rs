//! Reading the stamps of sent frames from the error queue of the socket that sent them.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use crate::batch::TxReportBatch;
use crate::error_queue::{ErrorReport, Stamp};
use crate::link::Link;
use crate::stamping::{self, Stamping};
use crate::stats::Counters;
use crate::sys::cmsg::ControlBuffer;
use crate::sys::layout::Native;
use crate::sys::{self, sockopt};
use crate::tx_report::TxReport;
use crate::wait::{Patience, Target, Wait, Waiting};

/// Room for the control messages of a stamp: 96 bytes; the rest is for what others switch on, on a descriptor that they
/// share.
const CONTROL_LEN: usize = 128;

/// What an unread stamp without its frame takes of the receive buffer: 832 bytes on x86-64, with some to spare.
pub(crate) const TX_STAMP_MEMORY: u32 = 1024;

/// All that it takes to read stamps, wherever that is kept.
pub(crate) struct StampReader<'a> {
    /// Where the stamps come from.
    pub(crate) tx: BorrowedFd<'a>,
    /// A second socket, the one that learns of the link, if the first does not.
    pub(crate) errors_of: Option<BorrowedFd<'a>>,
    pub(crate) link: Link<'a>,
    pub(crate) stamping: &'a Stamping,
    pub(crate) counters: &'a Counters,
}

impl<'a> StampReader<'a> {
    /// The next stamp, or `None` if there is none at the limit of [`Patience::Until`], which may have passed before the
    /// call.
    #[inline(always)]
    pub(crate) fn read(&self, buf: &mut [u8], wait: &'a Wait, patience: Patience) -> io::Result<Option<TxReport>> {
        if !self.stamping.gives_tx_stamps() {
            return Err(stamping::not_asked_for());
        }
        self.link.waits.check_open()?;
        let mut control = ControlBuffer::<CONTROL_LEN>::new();
        let error = match self.read_once(buf, &mut control) {
            Ok(Some(report)) => return Ok(Some(report)),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        self.wait_until_found(error, wait, patience, || self.read_once(buf, &mut control))
    }

    /// Takes something from the error queue, which may be no stamp of a known frame, or says `EAGAIN`.
    #[inline(always)] // a level that is not hands the report on through memory
    fn read_once(&self, buf: &mut [u8], control: &mut ControlBuffer<CONTROL_LEN>) -> io::Result<Option<TxReport>> {
        let received = sys::receive_error(self.tx, buf, control)?;
        self.report(&received, control.written(received.control_len))
    }

    /// As many stamps as are there and as there is room for. Waits for the first.
    pub(crate) fn read_batch(
        &self,
        batch: &mut TxReportBatch,
        wait: &'a Wait,
        patience: Patience,
    ) -> io::Result<usize> {
        let (inbox, reports) = batch.parts();
        reports.clear();
        if !self.stamping.gives_tx_stamps() {
            return Err(stamping::not_asked_for());
        }
        let read = self.wait_until_found(None, wait, patience, || {
            let count = inbox.receive(self.tx, false, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT)?;
            for place in 0..count {
                let Some(arrived) = inbox.message(place) else { break };
                match self.report(&arrived.received, arrived.control) {
                    Ok(report) => reports.extend(report),
                    Err(_) => self.counters.malformed.add(1),
                }
            }
            Ok((!reports.is_empty()).then_some(reports.len()))
        })?;
        Ok(read.unwrap_or(0))
    }

    /// Calls `read` until it finds what it looks for, or until there is nothing to find at the limit of
    /// [`Patience::Until`]. A first `read` may have failed with `error`.
    #[inline(never)]
    fn wait_until_found<T>(
        &self,
        mut error: Option<io::Error>,
        wait: &'a Wait,
        patience: Patience,
        mut read: impl FnMut() -> io::Result<Option<T>>,
    ) -> io::Result<Option<T>> {
        let mut waiting = None;
        loop {
            if let Some(error) = error.take() {
                let is_over = matches!(patience, Patience::Until(limit) if Instant::now() >= limit);
                if is_over && error.raw_os_error() == Some(libc::EAGAIN) {
                    return Ok(None);
                }
                self.no_stamp(error, wait, &mut waiting, patience)?;
            }
            self.link.waits.check_open()?;
            match read() {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(refused) => error = Some(refused),
            }
        }
    }

    /// What was read from the error queue, if it is a stamp of a frame that is known.
    #[inline(always)]
    fn report(&self, received: &sys::Received, control: &[u8]) -> io::Result<Option<TxReport>> {
        if received.flags & libc::MSG_CTRUNC != 0 {
            return Err(stamping::control_was_cut());
        }
        let stamp = match Stamp::parse::<Native>(control)? {
            ErrorReport::Stamp(stamp) => stamp,
            ErrorReport::LaunchMissed => {
                self.counters.launches_missed.add(1);
                return Ok(None);
            }
            ErrorReport::Other => return Ok(None),
        };
        let Some(key) = self.stamping.key_of(&stamp) else {
            self.counters.unattributed.add(1);
            return Ok(None);
        };
        Ok(Some(TxReport { key, stage: stamp.stage, timestamps: stamp.timestamps, len: received.len }))
    }

    /// The error queue is empty: waits, or says why not.
    #[cold]
    fn no_stamp(
        &self,
        error: io::Error,
        wait: &'a Wait,
        waiting: &mut Option<Waiting<'a>>,
        patience: Patience,
    ) -> io::Result<()> {
        if error.raw_os_error() != Some(libc::EAGAIN) {
            return Err(error);
        }
        if waiting.is_some() || patience == Patience::None {
            // Woken, and no stamp: the error condition may be that of the link, which stays set until it is read. Who does
            // not wait here may have been woken elsewhere.
            if let Some(error) = self.link.take_report()? {
                return Err(self.link.down(error, true));
            }
        }
        self.link.park(waiting, patience, || {
            let target = Target { fd: self.tx, events: 0, edge_triggered: false, errors_of: self.errors_of };
            wait.begin(self.link.waits, patience, target)
        })
    }

    /// Whether there is no room for one more unread stamp.
    pub(crate) fn is_queue_full(&self) -> io::Result<bool> {
        let [allocated, limit] = sockopt::receive_memory(self.tx)?;
        Ok(allocated.saturating_add(TX_STAMP_MEMORY) >= limit)
    }
}
