//! What can be changed on a live socket, and its counts.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{MutexGuard, PoisonError};

use super::PacketSocket;
use crate::addr::MacAddr;
use crate::error::{Context, Error, Step};
use crate::filter::Filter;
use crate::offload::HEADER_LEN;
use crate::stats::{RolloverStats, Stats};
use crate::sys::cmsg::ControlBuffer;
use crate::sys::{self, abi, sockopt};

/// The memberships that this socket holds. The kernel counts each addition; a flag may be set twice.
#[derive(Default)]
pub(super) struct Memberships {
    promiscuous: bool,
    all_multicast: bool,
    groups: Vec<MacAddr>,
}

/// Filters.
impl PacketSocket {
    /// Replaces the filter. When this returns, no frame that only the old one let in will be received any more.
    ///
    /// Frames that wait to be read are thrown away, whichever filter let them in, and counted
    /// ([`Stats::discarded`]). Takes some milliseconds, since another processor may be about to queue a frame that the old
    /// filter let in; replacing a filter by `setsockopt` alone, with or without emptying the queue, does not wait for it.
    ///
    /// # Errors
    ///
    /// `EPERM` after [`lock_filter`](Self::lock_filter), `ENOMEM` if the program is larger than `net.core.optmem_max`
    /// allows. The old filter is in force then. Should the kernel refuse a later one of the steps that this takes, for want
    /// of memory, either the new filter is in force with frames unread that the old one let in, or nothing at all is
    /// received: set it once more.
    #[doc(alias("SO_ATTACH_FILTER", "SetBPF"))]
    pub fn set_filter(&self, filter: &Filter) -> Result<(), Error> {
        let program = filter.to_raw();
        self.replace_filter(|socket| sockopt::attach_filter(socket, &program))
    }

    /// Replaces the filter by an eBPF program of type `BPF_PROG_TYPE_SOCKET_FILTER`, as
    /// [`set_filter`](Self::set_filter) does. The kernel keeps the program when its descriptor is closed.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a program of another type, `EBADF` if the descriptor is not one of a program, `EPERM` after
    /// [`lock_filter`](Self::lock_filter).
    #[doc(alias = "SO_ATTACH_BPF")]
    pub fn attach_bpf(&self, program: BorrowedFd<'_>) -> Result<(), Error> {
        self.replace_filter(|socket| sockopt::attach_bpf(socket, program))
    }

    /// Removes the filter, if there is one: everything is received.
    ///
    /// # Errors
    ///
    /// `EPERM` after [`lock_filter`](Self::lock_filter).
    #[doc(alias = "SO_DETACH_FILTER")]
    pub fn clear_filter(&self) -> Result<(), Error> {
        let _change = self.begin_filter_change();
        match sockopt::detach_filter(self.rx()) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            result => result.map_err(|why| self.filter_error(why)),
        }
    }

    /// Forbids every later change of the filter, for good; before a descriptor is handed to somebody less trusted.
    ///
    /// # Errors
    ///
    /// None are known.
    #[doc(alias = "SO_LOCK_FILTER")]
    pub fn lock_filter(&self) -> Result<(), Error> {
        let locked = sockopt::set_socket(self.rx(), libc::SO_LOCK_FILTER, 1);
        locked.during(Step::Filter, &self.parts.interface.name())
    }

    fn replace_filter(&self, attach: impl Fn(BorrowedFd<'_>) -> io::Result<()>) -> Result<(), Error> {
        let _change = self.begin_filter_change();
        let replace = || {
            // First the new one as it is: if the kernel refuses it, the old one has not been touched.
            attach(self.rx())?;
            // Then nothing more is let in, what is on its way into the queue gets there, and the queue is emptied.
            sockopt::attach_filter(self.rx(), &Filter::nothing().to_raw())?;
            sys::wait_for_receive_path();
            self.discard_received()?;
            attach(self.rx())
        };
        replace().map_err(|why| self.filter_error(why))
    }

    fn filter_error(&self, why: io::Error) -> Error {
        Error::of_filter(self.rx(), &self.parts.interface.name(), why)
    }

    fn begin_filter_change(&self) -> MutexGuard<'_, ()> {
        self.filter_change.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Empties the receive queue, into which nothing more comes.
    fn discard_received(&self) -> io::Result<()> {
        let mut address = abi::link_address(0, 0);
        let mut control = ControlBuffer::<0>::new();
        // A buffer without room for what stands before a frame would be an error, for each frame.
        let mut head = [0; HEADER_LEN];
        loop {
            match sys::receive(self.rx(), &mut head, &mut address, &mut control, libc::MSG_DONTWAIT) {
                Ok(_) => self.counters.discarded.add(1),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(()),
                    // Not ours to swallow: the next call will say so. Frames may stand behind it.
                    Some(libc::ENETDOWN) => drop(self.link().down(error, true)),
                    _ => return Err(error),
                },
            }
        }
    }
}

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
            return Err(Error::invalid(&self.parts.interface.name(), why));
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
            return Err(Error::invalid(&self.parts.interface.name(), why));
        };
        self.change_membership(false, libc::PACKET_MR_MULTICAST, group)?;
        held.groups.swap_remove(at);
        Ok(())
    }

    fn memberships(&self) -> MutexGuard<'_, Memberships> {
        self.memberships.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change_membership(&self, add: bool, kind: i32, mac: MacAddr) -> Result<(), Error> {
        let interface = &self.parts.interface;
        let index = interface.index().cast_signed();
        sockopt::membership(self.as_fd(), add, index, kind, mac.octets()).during(Step::Membership, &interface.name())
    }
}

/// Counts.
impl PacketSocket {
    /// What was received, dropped and so on since the socket was opened. Any number of threads may ask.
    ///
    /// The kernel counts in 32 bits since the last reading, so read at least once in 4 billion frames.
    ///
    /// # Errors
    ///
    /// None are known.
    #[doc(alias("Stats", "PACKET_STATISTICS"))]
    pub fn stats(&self) -> Result<Stats, Error> {
        self.counters.read(self.rx()).during(Step::Statistics, &self.parts.interface.name())
    }

    /// What was received, dropped and so on since the last call of this method.
    ///
    /// # Errors
    ///
    /// None are known.
    pub fn take_stats(&self) -> Result<Stats, Error> {
        self.counters.take(self.rx()).during(Step::Statistics, &self.parts.interface.name())
    }

    /// How often this member of a fanout group had no room and another was asked, since it joined.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the socket is in no group that rolls over.
    ///
    /// # Kernel
    ///
    /// Linux 4.2.
    #[doc(alias("PACKET_ROLLOVER_STATS", "tpacket_rollover_stats"))]
    pub fn rollover_stats(&self) -> Result<RolloverStats, Error> {
        RolloverStats::read(self.rx()).during(Step::Statistics, &self.parts.interface.name())
    }
}
