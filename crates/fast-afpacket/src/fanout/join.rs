//! Joining a group: in which order the kernel is told, and which rule a refusal speaks of.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::{FanoutGroup, FanoutMode, IGNORE_OUTGOING, ROLLOVER, Settings};
use crate::addr::EtherType;
use crate::error::{Context, Error, Step};
use crate::fanout_refusal::FanoutRefusal;
use crate::interface::{Interface, InterfaceFlags};
use crate::sys::{self, ioctl};

const UNIQUE_ID: u16 = 0x2000;

/// What the kernel takes when nothing is said, and the most that it takes.
const DEFAULT_MEMBERS: u32 = 256;
const MAX_MEMBERS: u32 = 1 << 16;

/// What the members of a group have in common.
pub(super) struct Common {
    pub(super) id: u16,
    pub(super) interface: Interface,
    protocol: EtherType,
    /// `None` if the kernel does not tell, before Linux 5.14.
    namespace: Option<u64>,
}

/// Joining, for sockets and rings.
impl FanoutGroup {
    /// Refuses what the kernel would refuse or not heed, before anything is opened. `ignores_outgoing`: what the socket's
    /// options say of outgoing frames, if they say anything.
    pub(crate) fn check(&self, protocol: EtherType, ignores_outgoing: Option<bool>) -> Result<(), FanoutRefusal> {
        let Settings { mode, flags, id: _, max_members } = self.settings;
        if max_members.is_some_and(|max| !(1..=MAX_MEMBERS).contains(&max)) {
            return Err(FanoutRefusal::MaxMembers);
        }
        if mode == FanoutMode::Rollover && flags & ROLLOVER != 0 {
            return Err(FanoutRefusal::RolloverTwice);
        }
        let group_ignores = flags & IGNORE_OUTGOING != 0;
        if protocol == EtherType::ALL && ignores_outgoing.is_some_and(|ignores| ignores != group_ignores) {
            return Err(FanoutRefusal::Outgoing);
        }
        Ok(())
    }

    /// Makes a socket a member. Until it returns the socket has to refuse all frames ([`Filter::nothing`](crate::Filter::nothing)): it has to be
    /// bound to join, and receives on its own account between the two what the group receives too. When it returns, that is
    /// over; then let its own filter in without delay, for the group's frames come already and are lost.
    ///
    /// If it fails, close the socket: it may have joined. A ring may exist already; if it is mapped, this falls back to a
    /// way that loses the member's share of milliseconds.
    ///
    /// Joining is one at a time, so that the members' numbers are in their order.
    pub(crate) fn join(
        &self,
        socket: BorrowedFd<'_>,
        interface: &Interface,
        protocol: EtherType,
    ) -> Result<FanoutMember, Error> {
        let name = &*interface.name();
        let mut state = self.lock();
        // These keep the kernel's group alive: its id cannot become another's meanwhile.
        let others = state.members();
        let namespace = sys::netns::cookie(socket).ok();
        let known = match &state.common {
            Some(common) if !others.is_empty() => {
                common
                    .check(interface, protocol, namespace)
                    .map_err(FanoutRefusal::into_io)
                    .during(Step::Fanout, name)?;
                Some(common.id)
            }
            _ => self.settings.id,
        };
        let member = Arc::new(socket.try_clone_to_owned().during(Step::Fanout, name)?);
        let id = self.enter(socket, interface, known).during(Step::Fanout, name)?;
        if let (Some(program), true) = (&state.program, others.is_empty()) {
            program.steer(socket).during(Step::FanoutProgram, name)?;
        }
        // A processor may still be about to hand the socket a frame on its own account. Not being a member while we wait
        // for it, the socket takes none of the group's frames with it.
        if sys::fanout::leave_and_return(socket).is_err() {
            sys::wait_for_receive_path();
        }
        state.members.retain(|member| member.strong_count() > 0);
        state.members.push(Arc::downgrade(&member));
        state.common = Some(Common { id, interface: interface.clone(), protocol, namespace });
        Ok(FanoutMember(member))
    }

    /// `setsockopt(PACKET_FANOUT)`, and of which rule an `EINVAL` speaks. Gives the id.
    fn enter(&self, socket: BorrowedFd<'_>, interface: &Interface, known: Option<u16>) -> io::Result<u16> {
        let Settings { mode, flags, id: _, max_members } = self.settings;
        let type_and_flags = mode.number() | flags;
        // Saying the default also where nothing was asked for, so that a group with another one is another group.
        let mut max = Some(max_members.unwrap_or(DEFAULT_MEMBERS));
        if max_members.is_none() && !sys::fanout::takes_max_members(socket) {
            max = None;
        }
        let join = |id: Option<u16>| match id {
            Some(id) => sys::fanout::join(socket, id, type_and_flags, max),
            None => sys::fanout::join(socket, 0, type_and_flags | UNIQUE_ID, max),
        };
        match join(known) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() != Some(libc::EINVAL) => return Err(error),
            // If a group of the same kind with an id that nobody has is fine, then it was the id.
            Err(error) if known.is_some() && join(None).is_ok() => return Err(error),
            Err(_) => {
                let flags = interface.query_through(socket, ioctl::flags).map(InterfaceFlags::from_bits_retain);
                let is_down = flags.is_ok_and(|flags| !flags.contains(InterfaceFlags::UP));
                let refusal = if is_down { FanoutRefusal::InterfaceDown } else { FanoutRefusal::Unsupported };
                return Err(refusal.into_io());
            }
        }
        let (id, flags) = sys::fanout::group(socket)?;
        // A kernel that does not know the flag keeps it, and has taken id 0 at its word.
        if u16::from(flags) << 8 & UNIQUE_ID != 0 {
            return Err(FanoutRefusal::Unsupported.into_io());
        }
        Ok(id)
    }
}

impl Common {
    fn check(&self, interface: &Interface, protocol: EtherType, namespace: Option<u64>) -> Result<(), FanoutRefusal> {
        if namespace != self.namespace {
            Err(FanoutRefusal::OtherNamespace)
        } else if interface.index() != self.interface.index() {
            Err(FanoutRefusal::OtherInterface)
        } else if protocol != self.protocol {
            Err(FanoutRefusal::OtherProtocol)
        } else {
            Ok(())
        }
    }
}

/// That a socket is a member of a group: kept by who holds the socket, dropped with it.
///
/// It is a descriptor of its own for the same socket, so that the group can be steered through any member. The socket is
/// closed, and leaves the group, when both descriptors are.
#[derive(Debug)]
pub(crate) struct FanoutMember(#[expect(dead_code, reason = "held so that the group finds it")] Arc<OwnedFd>);
