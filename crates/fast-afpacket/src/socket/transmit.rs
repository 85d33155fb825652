//! From a frame and what is asked for it to the system call, and what its refusal means.

use std::io;

use super::PacketSocket;
use crate::addr::{EtherType, PacketAddr};
use crate::offload::Offload;
use crate::stamping;
use crate::sys::{self, InterfaceAddress, To, abi};
use crate::timestamp::Timestamping;
use crate::tx_frame::{self, TxFrame};
use crate::tx_keys::{Refusal, Situation};
use crate::wait::{Patience, Target, Waiting};

/// A frame as `sendmsg(2)` wants it.
pub(super) type FrameMessage<'a> = sys::Message<'a, { tx_frame::CONTROL_LEN }>;

impl PacketSocket {
    /// Adds to a frame's message what is asked for it.
    #[inline(always)] // worth a third of `send_keyed`
    pub(super) fn address<'a>(&'a self, message: &mut FrameMessage<'a>, frame: &TxFrame<'_>) -> io::Result<()> {
        if self.parts.cooked {
            message.to = To::Address(self.cooked_destination(frame.to.as_ref())?);
        } else if let Some(interface) = self.own_interface() {
            message.to = To::Interface(interface);
        }
        match self.parts.offload {
            true => message.head = Some(frame.offload.to_bytes()),
            false if frame.offload == Offload::NONE => {}
            false => return Err(invalid("this socket was opened without Options::offload")),
        }
        let control = &mut message.control;
        if let Some(key) = frame.key {
            self.parts.stamping.ask_for(self.stamps_of(frame), key, control)?;
        } else if self.parts.stamps_every_frame {
            return Err(invalid("this socket stamps every frame (Options::stamp_every_frame): each needs a key"));
        }
        if let Some(priority) = frame.priority {
            control.push(libc::SOL_SOCKET, libc::SO_PRIORITY, priority);
        }
        if let Some(at) = frame.launch {
            let clock = self.parts.launch_clock;
            let clock = clock.ok_or_else(|| invalid("this socket was opened without Options::launch_clock"))?;
            control.push_long(libc::SOL_SOCKET, abi::SO_TXTIME, at.on(clock)?);
        }
        Ok(())
    }

    /// The interface that a raw frame is sent to by an address.
    #[inline]
    pub(super) fn own_interface(&self) -> Option<&InterfaceAddress> {
        self.names_interface.then(|| self.parts.bound.address())
    }

    /// The stamps that a frame with a key asks for.
    #[inline]
    pub(super) fn stamps_of(&self, frame: &TxFrame<'_>) -> Timestamping {
        frame.stamps.unwrap_or(self.parts.stamping.stamps())
    }

    /// The EtherType goes onto the wire: that of the address or, where it says none, that of the socket.
    fn cooked_destination(&self, address: Option<&PacketAddr>) -> io::Result<libc::sockaddr_ll> {
        let Some(address) = address else {
            return Err(invalid("a cooked socket needs an address to send to: use send_to"));
        };
        let unsaid = |ether_type: EtherType| ether_type == EtherType::ALL || ether_type.value() == 0;
        let candidates = [address.ether_type(), self.parts.protocol];
        let Some(ether_type) = candidates.into_iter().find(|&candidate| !unsaid(candidate)) else {
            let why = "the address has no EtherType and the socket is bound to all: the frame would have none";
            return Err(invalid(why));
        };
        Ok(address.to_raw(ether_type, self.parts.bound.index()))
    }

    /// Calls `send` until it takes a frame. It must not block.
    #[inline(always)]
    pub(super) fn transmit(
        &self,
        patience: Patience,
        mut send: impl FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.waits.check_open()?;
        match send() {
            Ok(len) => Ok(len),
            Err(error) => self.transmit_again(error, patience, send),
        }
    }

    /// Goes on where a first `send` has failed.
    #[cold]
    #[inline(never)]
    pub(super) fn transmit_again(
        &self,
        mut error: io::Error,
        patience: Patience,
        mut send: impl FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut waiting = None;
        let mut seen_through = false;
        loop {
            self.send_failed(error, patience, &mut seen_through, &mut waiting)?;
            self.waits.check_open()?;
            match send() {
                Ok(len) => return Ok(len),
                Err(refused) => error = refused,
            }
        }
    }

    /// A frame was not taken: waits for room, sees through an error that is not this frame's, or says why not.
    #[cold]
    fn send_failed<'a>(
        &'a self,
        error: io::Error,
        patience: Patience,
        seen_through: &mut bool,
        waiting: &mut Option<Waiting<'a>>,
    ) -> io::Result<()> {
        match error.raw_os_error() {
            Some(libc::EAGAIN) => {}
            Some(libc::ENETDOWN) => {
                // An earlier "down" that nobody has read yet is reported to whoever comes first, also to a sender on an
                // interface that is up again. It is a receiver's to know.
                if !*seen_through && self.link().is_up() {
                    *seen_through = true;
                    if self.parts.tx.is_none() {
                        self.link().pass_on_report();
                    }
                    return Ok(());
                }
                return Err(self.link().gone_or(error));
            }
            Some(libc::ENXIO | libc::ENODEV) => {
                // The interface may have been made again, and the socket bound to it a moment ago.
                if !*seen_through && self.link().is_back()? {
                    *seen_through = true;
                    return Ok(());
                }
                return Err(self.link().gone_or(error));
            }
            _ => return Err(error),
        }
        self.link().park(waiting, patience, || {
            let target = Target {
                fd: self.tx(),
                events: libc::POLLOUT,
                edge_triggered: self.parts.stamping.gives_tx_stamps(),
                errors_of: None,
            };
            self.waits.send.begin(&self.waits, patience, target)
        })
    }

    /// Whether a refused keyed send has used up one of the kernel's numbers.
    #[cold]
    pub(super) fn refusal(&self, error: &io::Error, frame: &TxFrame<'_>) -> Refusal {
        if frame.offload != Offload::NONE && error.raw_os_error() == Some(libc::EINVAL) {
            // The frame is checked against the offload when it has its number already, the offload before.
            return Refusal::PerhapsUnstamped;
        }
        let max_len = self.frame_limit.max_len(self.tx(), &self.parts.bound);
        let situation = Situation { max_len, is_up: self.link().is_up() };
        Refusal::of(error.raw_os_error(), frame.bytes.len(), situation)
    }
}

/// Says why the kernel refused what an older one does not know.
#[cold]
pub(super) fn explained(error: io::Error, frame: &TxFrame<'_>) -> io::Error {
    let is_priority = error.raw_os_error() == Some(libc::EINVAL) && frame.priority.is_some();
    if is_priority && !stamping::kernel_takes(libc::SO_PRIORITY) {
        let why = "a priority for one frame needs Linux 6.14; Options::priority sets that of the whole socket";
        return io::Error::new(io::ErrorKind::Unsupported, why);
    }
    error
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
