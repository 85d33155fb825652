//! Receiving frames.

use std::ffi::c_int;
use std::io;

use super::PacketSocket;
use crate::addr::PacketAddr;
use crate::meta::{Ancillary, RxMeta};
use crate::stamping;
use crate::sys::cmsg::ControlBuffer;
use crate::sys::layout::Native;
use crate::sys::{self, abi};
use crate::timestamp::{Timestamping, Timestamps};
use crate::wait::{Patience, Target, Waiting};

/// Room for the control messages of a received frame: stamps and metadata take 104 bytes; the rest is for what others switch
/// on, on a descriptor that they share.
pub(crate) const CONTROL_LEN: usize = 144;

/// Receiving.
impl PacketSocket {
    /// Receives a frame into `buf`, with all that the kernel says of it.
    ///
    /// One system call when a frame is waiting. `buf` should have room for the MTU and 18 bytes; a frame that does not
    /// fit is cut and says so ([`RxMeta::is_truncated`]). Cards and virtual links that merge segments deliver frames of up
    /// to 64 KiB.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` ([`TimedOut`](io::ErrorKind::TimedOut)) when the read deadline has passed, `EAGAIN`
    /// ([`WouldBlock`](io::ErrorKind::WouldBlock)) when nothing is there and the socket is non-blocking, `ENETDOWN`
    /// once when the interface goes down, `ENODEV` when it is gone, `ECONNABORTED` after [`close`](Self::close),
    /// [`InvalidData`](io::ErrorKind::InvalidData) for metadata that cannot be trusted: that frame is lost.
    #[doc(alias("RecvRxTimestamps", "recvmsg"))]
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<RxMeta> {
        self.recv_within(Patience::Deadline, buf)
    }

    #[inline(always)]
    pub(super) fn recv_within(&self, patience: Patience, buf: &mut [u8]) -> io::Result<RxMeta> {
        match self.parts.offload {
            false => self
                .receive_by(patience, |address, control, flags| sys::receive(self.rx(), buf, address, control, flags)),
            true => self.recv_with_head(patience, buf),
        }
    }

    /// Calls `receive`, with the flags of the system call, until there is a frame.
    #[inline(always)]
    pub(super) fn receive_by(
        &self,
        patience: Patience,
        mut receive: impl FnMut(&mut libc::sockaddr_ll, &mut ControlBuffer<CONTROL_LEN>, c_int) -> io::Result<sys::Received>,
    ) -> io::Result<RxMeta> {
        let mut address = abi::link_address(0, 0);
        let mut control = ControlBuffer::new();
        let received = self.look_or_wait(patience, |flags| receive(&mut address, &mut control, flags))?;
        self.describe(&received, &address, control.written(received.control_len))
    }

    /// Calls `receive`, with the flags of the system call, until there is something.
    #[inline(always)]
    pub(super) fn look_or_wait<T>(
        &self,
        patience: Patience,
        mut receive: impl FnMut(c_int) -> io::Result<T>,
    ) -> io::Result<T> {
        self.waits.check_open()?;
        let looked = match patience == Patience::Deadline && self.naps.are_expected() {
            true => Err(None),
            false => receive(libc::MSG_DONTWAIT).map_err(Some),
        };
        match looked {
            Ok(received) => Ok(received),
            Err(error) => self.wait_for_frame(error, patience, receive),
        }
    }

    /// Goes on where a first look, if there was one, has failed with `error`.
    #[cold]
    #[inline(never)]
    fn wait_for_frame<T>(
        &self,
        mut error: Option<io::Error>,
        patience: Patience,
        mut receive: impl FnMut(c_int) -> io::Result<T>,
    ) -> io::Result<T> {
        if patience == Patience::Deadline && self.naps(error.as_ref()) {
            match receive(0) {
                Err(woken) => error = Some(woken),
                received => return received,
            }
        }
        let mut waiting = None;
        loop {
            if let Some(error) = error {
                self.park_receiver(error, patience, &mut waiting)?;
            }
            self.waits.check_open()?;
            match receive(libc::MSG_DONTWAIT) {
                Err(refused) => error = Some(refused),
                received => return received,
            }
        }
    }

    /// Whether a call is to nap that has found nothing, or that has not looked since others had found nothing.
    fn naps(&self, error: Option<&io::Error>) -> bool {
        match error {
            None => self.naps.count(),
            Some(error) if error.raw_os_error() == Some(libc::EAGAIN) => self.naps.expect(),
            Some(_) => return false,
        }
        self.naps.longest().is_some_and(|nap| self.waits.receive.may_wait_for(nap, &self.waits))
    }

    /// Receives a frame into `buf` and says how long it is and where it came from.
    ///
    /// # Errors
    ///
    /// See [`recv`](Self::recv).
    #[doc(alias("ReadFrom", "recvfrom"))]
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, PacketAddr)> {
        let meta = self.recv(buf)?;
        Ok((meta.len, meta.from))
    }

    /// What the kernel says of a frame that it has just written.
    #[inline(always)] // worth a tenth of `recv`
    pub(super) fn describe(
        &self,
        received: &sys::Received,
        address: &libc::sockaddr_ll,
        control: &[u8],
    ) -> io::Result<RxMeta> {
        if received.flags & libc::MSG_CTRUNC != 0 {
            return Err(stamping::control_was_cut());
        }
        let Ancillary { mut timestamps, wire_len, vlan, checksum } = Ancillary::parse::<Native>(control)?;
        if self.parts.sorts_stamps {
            self.sort_out(&mut timestamps);
        }
        if timestamps == Timestamps::NONE && self.parts.asked.intersects(Timestamping::RX) {
            self.counters.unstamped.add(1);
        }
        if received.flags & libc::MSG_TRUNC != 0 {
            self.counters.truncated.add(1);
        }
        Ok(RxMeta {
            len: received.len,
            wire_len: wire_len.unwrap_or(received.len),
            from: PacketAddr::from_raw(address),
            timestamps,
            vlan,
            checksum,
            offload: None,
        })
    }

    /// Before Linux 6.12 a socket gets stamps that others have asked for, or that it has asked for of sent frames.
    #[cold]
    fn sort_out(&self, timestamps: &mut Timestamps) {
        let asked = self.parts.asked;
        timestamps.software = timestamps.software.filter(|_| asked.contains(Timestamping::RX_SOFTWARE));
        timestamps.hardware = timestamps.hardware.filter(|_| asked.contains(Timestamping::RX_HARDWARE));
    }

    /// Nothing was received: waits, or says why not.
    fn park_receiver<'a>(
        &'a self,
        error: io::Error,
        patience: Patience,
        waiting: &mut Option<Waiting<'a>>,
    ) -> io::Result<()> {
        match error.raw_os_error() {
            Some(libc::EAGAIN) => {}
            Some(libc::ENETDOWN) => return Err(self.link().down(error, false)),
            _ => return Err(error),
        }
        self.link().park(waiting, patience, || {
            let target = Target {
                fd: self.rx(),
                events: libc::POLLIN,
                // With one socket, unread TX stamps are an error condition that is none of this call's.
                edge_triggered: self.parts.tx.is_none() && self.parts.stamping.gives_tx_stamps(),
                errors_of: None,
            };
            self.waits.receive.begin(&self.waits, patience, target)
        })
    }
}
