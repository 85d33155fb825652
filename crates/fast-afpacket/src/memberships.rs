//! Which frames for others an interface lets in for a socket.

use crate::addr::MacAddr;

/// Memberships that are asked for, or held. The kernel counts each addition; here each is one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memberships {
    pub(crate) promiscuous: bool,
    pub(crate) all_multicast: bool,
    pub(crate) groups: Vec<MacAddr>,
}

impl Memberships {
    /// Each of them, as the kernel is told: kind and address.
    pub(crate) fn all(&self) -> impl Iterator<Item = (i32, MacAddr)> {
        let flags = [(self.promiscuous, libc::PACKET_MR_PROMISC), (self.all_multicast, libc::PACKET_MR_ALLMULTI)];
        let flags = flags.into_iter().filter(|(wanted, _)| *wanted).map(|(_, kind)| (kind, MacAddr::default()));
        flags.chain(self.groups.iter().map(|&group| (libc::PACKET_MR_MULTICAST, group)))
    }
}
