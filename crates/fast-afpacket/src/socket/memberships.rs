//! Which frames for others the interface lets in, for this socket.

use std::sync::{MutexGuard, PoisonError};

use super::PacketSocket;
use crate::addr::MacAddr;
use crate::error::{Context, Error, Step};
use crate::memberships::Memberships;
use crate::sys::sockopt;

/// Memberships. They end with the socket, and no flag of the interface is changed.
impl PacketSocket {
    /// Receives frames for other hosts too, or no longer.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the interface is gone.
    #[doc(alias("PACKET_MR_PROMISC", "SetPromiscuous"))]
    pub fn set_promiscuous(&self, promiscuous: bool) -> Result<(), Error> {
        let mut held = self.memberships();
        if held.promiscuous != promiscuous {
            self.change_membership(promiscuous, libc::PACKET_MR_PROMISC, MacAddr::default())?;
            held.promiscuous = promiscuous;
        }
        Ok(())
    }

    /// Receives all multicast frames, or no longer.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the interface is gone.
    #[doc(alias = "PACKET_MR_ALLMULTI")]
    pub fn set_all_multicast(&self, all_multicast: bool) -> Result<(), Error> {
        let mut held = self.memberships();
        if held.all_multicast != all_multicast {
            self.change_membership(all_multicast, libc::PACKET_MR_ALLMULTI, MacAddr::default())?;
            held.all_multicast = all_multicast;
        }
        Ok(())
    }

    /// Receives frames for this multicast address. Joining twice is joining once.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the interface is gone, `EINVAL` if the link's addresses are not 6 bytes long, an error of
    /// [`Step::Options`] if this is not a multicast address.
    #[doc(alias = "PACKET_MR_MULTICAST")]
    pub fn join_multicast(&self, group: MacAddr) -> Result<(), Error> {
        if !group.is_multicast() {
            let why = format!("{group} is not a multicast address");
            return Err(Error::invalid(&self.parts.bound.name(), why));
        }
        let mut held = self.memberships();
        if !held.groups.contains(&group) {
            self.change_membership(true, libc::PACKET_MR_MULTICAST, group)?;
            held.groups.push(group);
        }
        Ok(())
    }

    /// Ends [`join_multicast`](Self::join_multicast).
    ///
    /// # Errors
    ///
    /// An error of [`Step::Options`] if the socket has not joined this group.
    #[doc(alias = "PACKET_DROP_MEMBERSHIP")]
    pub fn leave_multicast(&self, group: MacAddr) -> Result<(), Error> {
        let mut held = self.memberships();
        let Some(at) = held.groups.iter().position(|&joined| joined == group) else {
            let why = format!("this socket has not joined {group}");
            return Err(Error::invalid(&self.parts.bound.name(), why));
        };
        self.change_membership(false, libc::PACKET_MR_MULTICAST, group)?;
        held.groups.swap_remove(at);
        Ok(())
    }

    pub(super) fn memberships(&self) -> MutexGuard<'_, Memberships> {
        self.memberships.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change_membership(&self, add: bool, kind: i32, mac: MacAddr) -> Result<(), Error> {
        let bound = &self.parts.bound;
        sockopt::membership(self.rx(), add, bound.index(), kind, mac.octets()).during(Step::Membership, &bound.name())
    }

    /// Begins one of those that were asked for when the socket was opened.
    pub(crate) fn begin_membership(&self, (kind, mac): (i32, MacAddr)) -> Result<(), Error> {
        match kind {
            libc::PACKET_MR_PROMISC => self.set_promiscuous(true),
            libc::PACKET_MR_ALLMULTI => self.set_all_multicast(true),
            _ => self.join_multicast(mac),
        }
    }
}
