//! The longest frame that an interface takes, as far as it can be told.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::bound::Bound;
use crate::sys::ioctl;

/// Follows the MTU of an interface, to notice that it has changed.
pub(crate) struct FrameLimit {
    mtu: AtomicU32,
    /// Whether frames are given without their link-layer header.
    cooked: bool,
}

impl FrameLimit {
    pub(crate) fn new(socket: BorrowedFd<'_>, bound: &Bound, cooked: bool) -> Self {
        let mtu = bound.query(socket, ioctl::mtu).unwrap_or(0);
        Self { mtu: AtomicU32::new(mtu), cooked }
    }

    /// The MTU when it was asked for last, 0 if it is not known.
    pub(crate) fn mtu(&self) -> u32 {
        self.mtu.load(Ordering::Relaxed)
    }

    /// The longest frame that may be sent without a VLAN tag; `None` for links that we do not know, and if the MTU has
    /// changed since the last time.
    pub(crate) fn max_len(&self, socket: BorrowedFd<'_>, bound: &Bound) -> Option<usize> {
        const ETHERNET_HEADER: usize = 14;
        let (kind, _) = bound.query(socket, ioctl::hardware_address).ok()?;
        let header = match kind {
            _ if self.cooked => 0,
            libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => ETHERNET_HEADER,
            _ => return None,
        };
        let mtu = bound.query(socket, ioctl::mtu).ok()?;
        if self.mtu.swap(mtu, Ordering::Relaxed) != mtu {
            return None;
        }
        usize::try_from(mtu).ok()?.checked_add(header)
    }
}
