//! Handing committed frames over to the kernel, and finding out what became of each.

use std::io;
use std::os::fd::AsFd;

use super::error::{FlushError, RefusedFrame};
use super::queue::{Committed, Fate, Queue};
use super::{Shared, TxRing};
use crate::sys::cmsg::space;
use crate::sys::tx_slots::TxSlots;
use crate::sys::{self, Destination};
use crate::tx_keys::Refusal;

/// As many frames in one call as there are.
pub(super) const ALL: usize = usize::MAX;

/// What one call that hands frames over has come to.
struct Kick {
    taken: usize,
    /// The frame at which the call ended, if it was not the last.
    stopped: Option<(Committed, Fate)>,
    result: io::Result<usize>,
}

impl TxRing {
    /// Hands the committed frames over to the kernel, in order, and says how many that were: all.
    ///
    /// One system call, and one more at each change between frames without stamps and frames with, or with others. Waits
    /// while the send buffer is full.
    ///
    /// That the kernel took a frame does not say that it left: as with [`PacketSocket::send`](crate::PacketSocket::send). A
    /// queue or a driver may drop it later. Nor does a slot that is free again: its memory is no longer in use, that is all.
    ///
    /// # Errors
    ///
    /// A [`FlushError`], which says how many frames were handed over before and which one it is about. A frame that can
    /// never be sent is taken out of the ring ([`FlushError::refused`]); all others stay committed, in order, for the next
    /// call or for [`discard`](Self::discard).
    ///
    /// * `EMSGSIZE`: longer than the link allows. `EINVAL`: shorter than a link-layer header. The frame was taken out. The
    ///   kernel writes a line into its log for the former.
    /// * `ENOBUFS`: a queue refused it. It stays, and may have a stamp of the stage
    ///   [`Scheduled`](crate::TxStage::Scheduled) for each time that it was tried. The kernel does not say when the queue has
    ///   room again.
    /// * `ENETDOWN` while the interface is down, `ENODEV` when it is gone; `ETIMEDOUT` and `EAGAIN` when the send buffer
    ///   is full, as for [`next_slot`](Self::next_slot); `ECONNABORTED` after [`close`](Self::close). All frames stay.
    #[doc(alias("TP_STATUS_SEND_REQUEST", "TP_STATUS_WRONG_FORMAT", "sendto"))]
    pub fn flush(&mut self) -> Result<usize, FlushError> {
        let mut taken = 0;
        match self.hand_over(&mut taken) {
            Ok(()) => Ok(taken),
            Err(Stop { refused, why }) => Err(FlushError::new(taken, refused, self.queue.len(), why)),
        }
    }

    fn hand_over(&mut self, taken: &mut usize) -> Result<(), Stop> {
        let Self { slots, queue, shared, most_at_once, .. } = self;
        let shared = &**shared;
        let mut waiting = None;
        let mut was_gone = false;
        shared.waits.check_open()?;
        while !queue.is_empty() {
            let kick = kick(shared, slots, queue, *most_at_once)?;
            *taken += kick.taken;
            match (kick.stopped, kick.result) {
                (None, _) if kick.taken > 0 => *most_at_once = most_at_once.saturating_mul(2),
                (Some((frame, Fate::Refused)), result) => {
                    // More of them may follow, and each time those behind are moved up: not all of them, then.
                    *most_at_once = 1;
                    let key = frame.stamped.map(|(key, _)| key);
                    let refused = Some(RefusedFrame { index: *taken, len: frame.len, key });
                    // It was an error: the kernel never refuses a frame without one.
                    let why = result.err().unwrap_or_else(|| io::Error::from_raw_os_error(libc::EINVAL));
                    return Err(Stop { refused, why });
                }
                // The send buffer was full after some frames.
                (Some(_), Ok(_)) if kick.taken > 0 => {}
                (None, _) | (Some(_), Ok(_)) => {
                    let why = "the kernel looks at another slot of the ring: somebody else has sent from it";
                    return Err(io::Error::other(why).into());
                }
                (Some(_), Err(error)) if error.raw_os_error() == Some(libc::EAGAIN) => {
                    shared.wait_for_room(&mut waiting)?;
                    shared.waits.check_open()?;
                }
                (Some(_), Err(error)) => {
                    // The interface may have been made again, and the ring bound to it a moment ago.
                    let is_gone = matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENODEV));
                    if was_gone || !is_gone || !shared.link().is_back()? {
                        return Err(shared.concerning_link(error).into());
                    }
                    was_gone = true;
                }
            }
        }
        Ok(())
    }
}

/// Why frames are left.
struct Stop {
    refused: Option<RefusedFrame>,
    why: io::Error,
}

impl From<io::Error> for Stop {
    fn from(why: io::Error) -> Self {
        Self { refused: None, why }
    }
}

/// Hands over the first committed frames, `most` at most, that ask for the same stamps.
fn kick(shared: &Shared, slots: &mut TxSlots, queue: &mut Queue, most: usize) -> io::Result<Kick> {
    let socket = shared.socket.as_fd();
    let Some((key, stamps)) = queue.stamped() else {
        let marked = queue.mark(slots, most);
        let result = sys::send(socket, &[], Destination::BOUND);
        let (taken, stopped) = queue.settle(slots, marked, |_, _| {});
        return Ok(Kick { taken, stopped, result });
    };
    // It goes for all frames of the call. The key is not in it: the kernel counts.
    let mut message = sys::Message::<{ space(4) }>::new(&[]);
    shared.stamping.ask_for(stamps, key, &mut message.control)?;
    shared.stamping.send_counted(socket, |ledger| {
        let marked = queue.mark(slots, most);
        let result = sys::send_message(socket, &message);
        let errno = result.as_ref().err().map(|error| error.raw_os_error().unwrap_or(libc::EIO));
        let (taken, stopped) = queue.settle(slots, marked, |frame, fate| match (frame.stamped, fate) {
            (None, _) => {}
            (Some((key, stamps)), Fate::Taken) => ledger.sent(key, stamps),
            (Some((key, stamps)), Fate::Refused | Fate::Left) => {
                let refusal = Refusal::in_ring(errno, fate == Fate::Refused, frame.len, || shared.situation());
                ledger.refused(key, stamps, refusal);
            }
        });
        Kick { taken, stopped, result }
    })
}
