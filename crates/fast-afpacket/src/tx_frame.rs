//! A frame to be sent, and what is asked for it.

use crate::addr::PacketAddr;
use crate::launch::LaunchTime;
use crate::offload::Offload;
use crate::sys::cmsg::space;
use crate::timestamp::Timestamping;
use crate::tx_report::TxKey;

/// A frame to be sent and all that can be asked for it alone: what [`send_frame`](crate::PacketSocket::send_frame) and
/// [`send_batch`](crate::PacketSocket::send_batch) take.
///
/// ```
/// use fast_afpacket::{TxFrame, TxKey};
///
/// let bytes = [0xff; 60];
/// let plain = TxFrame::new(&bytes);
/// let urgent = TxFrame::new(&bytes).key(TxKey::new(7)).priority(6);
/// assert_eq!(plain.bytes(), urgent.bytes());
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "a frame is not sent until it is given to a socket"]
#[doc(alias("msghdr", "cmsghdr", "sendmsg"))]
pub struct TxFrame<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) key: Option<TxKey>,
    pub(crate) stamps: Option<Timestamping>,
    pub(crate) priority: Option<u32>,
    pub(crate) launch: Option<LaunchTime>,
    pub(crate) offload: Offload,
    pub(crate) to: Option<PacketAddr>,
}

impl<'a> TxFrame<'a> {
    /// A frame of these bytes, from its link-layer header on; on a cooked socket from behind it.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, key: None, stamps: None, priority: None, launch: None, offload: Offload::NONE, to: None }
    }

    /// Ask for its stamps, which come back with this key: [`send_keyed`](crate::PacketSocket::send_keyed).
    #[inline]
    #[doc(alias = "SCM_TS_OPT_ID")]
    pub const fn key(mut self, key: TxKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Ask for these stamps only: [`send_stamped`](crate::PacketSocket::send_stamped). Default: all that the socket asks
    /// for. They are taken of a frame with a [`key`](Self::key) alone.
    #[inline]
    #[doc(alias = "SO_TIMESTAMPING")]
    pub const fn stamps(mut self, stamps: Timestamping) -> Self {
        self.stamps = Some(stamps);
        self
    }

    /// Its priority, by which queueing disciplines order frames. Default: the socket's,
    /// [`Options::priority`](crate::Options::priority), whose limits count here too.
    ///
    /// # Kernel
    ///
    /// Linux 6.14: a control message `SO_PRIORITY`.
    #[inline]
    #[doc(alias("SO_PRIORITY", "skb->priority"))]
    pub const fn priority(mut self, priority: u32) -> Self {
        self.priority = Some(priority);
        self
    }

    /// When it is to leave: [`send_at`](crate::PacketSocket::send_at).
    #[inline]
    #[doc(alias = "SCM_TXTIME")]
    pub const fn launch(mut self, at: LaunchTime) -> Self {
        self.launch = Some(at);
        self
    }

    /// What of it is left to the kernel or the card: [`send_offloaded`](crate::PacketSocket::send_offloaded).
    #[inline]
    #[doc(alias = "virtio_net_hdr")]
    pub const fn offload(mut self, offload: Offload) -> Self {
        self.offload = offload;
        self
    }

    /// Where it goes, on a cooked socket: [`send_to`](crate::PacketSocket::send_to). A raw frame says it itself.
    #[inline]
    pub const fn to(mut self, address: PacketAddr) -> Self {
        self.to = Some(address);
        self
    }

    /// Its bytes.
    #[inline]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> From<&'a [u8]> for TxFrame<'a> {
    #[inline]
    fn from(bytes: &'a [u8]) -> Self {
        Self::new(bytes)
    }
}

/// Room for the control messages of a frame with all that can be asked for: which stamps, the key, the priority, the launch
/// time.
pub(crate) const CONTROL_LEN: usize = 3 * space(4) + space(8);
