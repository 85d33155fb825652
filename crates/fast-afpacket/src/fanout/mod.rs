//! Fanout groups: several sockets that share the frames of one interface among them.

mod join;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::error::{Context, Error, Step};
use crate::fanout_refusal::FanoutRefusal;
use crate::filter::Filter;
use crate::sys;
use join::Common;

pub(crate) use join::FanoutMember;

/// By what a [`FanoutGroup`] chooses the member that gets a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[doc(alias("PACKET_FANOUT", "fanout_type"))]
pub enum FanoutMode {
    /// By the flow: a hash of addresses and ports, the same for both directions. All frames between two MAC addresses
    /// that are not IP are one flow.
    #[doc(alias = "PACKET_FANOUT_HASH")]
    Hash,
    /// In turn.
    #[doc(alias = "PACKET_FANOUT_LB")]
    RoundRobin,
    /// By the processor on which the frame arrived.
    #[doc(alias = "PACKET_FANOUT_CPU")]
    Cpu,
    /// One member for as long as it has room, then the next. Linux 3.10.
    #[doc(alias = "PACKET_FANOUT_ROLLOVER")]
    Rollover,
    /// At random. Linux 3.12.
    #[doc(alias = "PACKET_FANOUT_RND")]
    Random,
    /// By the queue of the card that received the frame. Linux 3.14.
    #[doc(alias = "PACKET_FANOUT_QM")]
    QueueMapping,
    /// By a classic BPF program: [`FanoutGroup::set_program`]. Linux 4.3.
    #[doc(alias = "PACKET_FANOUT_CBPF")]
    Program,
    /// By an eBPF program: [`FanoutGroup::set_program_bpf`]. Linux 4.3.
    #[doc(alias = "PACKET_FANOUT_EBPF")]
    Ebpf,
}

impl FanoutMode {
    const fn number(self) -> u16 {
        match self {
            Self::Hash => 0,
            Self::RoundRobin => 1,
            Self::Cpu => 2,
            Self::Rollover => 3,
            Self::Random => 4,
            Self::QueueMapping => 5,
            Self::Program => 6,
            Self::Ebpf => 7,
        }
    }
}

const ROLLOVER: u16 = 0x1000;
const IGNORE_OUTGOING: u16 = 0x4000;
const DEFRAGMENT: u16 = 0x8000;

/// A group of sockets of which each frame of an interface goes to one.
///
/// The group is a value that sockets join when they are bound ([`Options::fanout`](crate::Options::fanout)); they leave it
/// when they are dropped. Clones are the same group; a setter makes another. The kernel's group exists while it
/// has members; the next socket to join after that makes it anew, with the same settings and program, and with an id of the
/// kernel's choice perhaps another one.
///
/// All members are on one interface, for one protocol ([`Options::protocol`](crate::Options::protocol)), in one network
/// namespace.
///
/// ```no_run
/// use std::thread;
///
/// use fast_afpacket::{FanoutGroup, FanoutMode, Interface, PacketSocket};
///
/// let interface = Interface::by_name("eth1")?;
/// let group = FanoutGroup::new(FanoutMode::Hash).rollover(true);
/// let sockets = [(); 4].map(|()| PacketSocket::options().fanout(&group).bind(&interface));
/// for socket in sockets {
///     let socket = socket?;
///     thread::spawn(move || {
///         let mut buf = [0; 2048];
///         while let Ok(meta) = socket.recv(&mut buf) {
///             println!("{} bytes", meta.len);
///         }
///     });
/// }
/// # Ok::<(), fast_afpacket::Error>(())
/// ```
///
/// # What a group sees
///
/// The member is chosen before its filter is asked: a frame that the chosen one's filter refuses is lost to the group. Give
/// all members the same filter. Frames that a member sends are not seen by its group, except those that a dual socket
/// ([`Options::dual`](crate::Options::dual)) sends, whose sending half is no member: there the group has to
/// [ignore outgoing frames](Self::ignore_outgoing), unless it is for one protocol.
///
/// # Joining and leaving
///
/// No frame is received twice, also not around joining. While a socket joins a group under traffic, its share of the
/// frames of some microseconds is lost: the kernel makes it a member in one step and lets its filter in in another.
/// Frames that a member has not read when it is dropped are lost with it.
///
/// # Kernel
///
/// Linux 3.1.
#[derive(Clone)]
#[doc(alias("PACKET_FANOUT", "fanout_args"))]
pub struct FanoutGroup {
    settings: Settings,
    /// Of this value and its clones, which all have the same settings.
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    mode: FanoutMode,
    flags: u16,
    id: Option<u16>,
    max_members: Option<u32>,
}

#[derive(Default)]
struct State {
    /// The members' sockets, by descriptors of their own that the members hold.
    members: Vec<Weak<OwnedFd>>,
    /// What the members have in common, as long as there are any.
    common: Option<Common>,
    program: Option<Program>,
}

#[derive(Clone)]
enum Program {
    Classic(Filter),
    Extended(Arc<OwnedFd>),
}

/// Makes a group, and says what it is to be.
impl FanoutGroup {
    /// A group of this mode, whose id the kernel will choose when the first member joins: one that no other program uses.
    ///
    /// # Kernel
    ///
    /// Linux 4.12; before, an id has to be given.
    #[doc(alias = "PACKET_FANOUT_FLAG_UNIQUEID")]
    pub fn new(mode: FanoutMode) -> Self {
        Self { settings: Settings { mode, flags: 0, id: None, max_members: None }, state: Arc::default() }
    }

    /// Use this id, to share a group with other programs. Whoever joins first makes the group; who comes with other
    /// settings is refused.
    ///
    /// Ids are per network namespace, and everybody's: where the group is this program's alone, let the kernel choose.
    #[must_use]
    pub fn with_id(self, id: u16) -> Self {
        self.with(|settings| settings.id = Some(id))
    }

    /// Put the fragments of IPv4 packets together before a member is chosen, so that they go where the rest of their flow
    /// goes. Default: no.
    ///
    /// Members then receive whole packets, longer than the MTU and not as they were on the wire.
    #[doc(alias = "PACKET_FANOUT_FLAG_DEFRAG")]
    #[must_use]
    pub fn defragment(self, defragment: bool) -> Self {
        self.flag(DEFRAGMENT, defragment)
    }

    /// Give a frame to another member if the chosen one has no room. Default: no.
    ///
    /// A member has no room when its receive buffer is about three quarters full. Not for
    /// [`FanoutMode::Rollover`], which does nothing else.
    ///
    /// # Kernel
    ///
    /// Linux 3.10.
    #[doc(alias = "PACKET_FANOUT_FLAG_ROLLOVER")]
    #[must_use]
    pub fn rollover(self, rollover: bool) -> Self {
        self.flag(ROLLOVER, rollover)
    }

    /// Do not receive what this host sends. Default: no.
    ///
    /// It is decided for the whole group; [`Options::ignore_outgoing`](crate::Options::ignore_outgoing) can say the same,
    /// or nothing. Groups for one protocol never see outgoing frames.
    ///
    /// # Kernel
    ///
    /// Linux 6.2. Older kernels take the flag and do nothing about it.
    #[doc(alias("PACKET_FANOUT_FLAG_IGNORE_OUTGOING", "PACKET_IGNORE_OUTGOING"))]
    #[must_use]
    pub fn ignore_outgoing(self, ignore_outgoing: bool) -> Self {
        self.flag(IGNORE_OUTGOING, ignore_outgoing)
    }

    /// How many members there can be: 1 to 65,536. Default: 256.
    ///
    /// # Kernel
    ///
    /// Linux 5.12. Before, it is always 256.
    #[doc(alias = "max_num_members")]
    #[must_use]
    pub fn max_members(self, max_members: u32) -> Self {
        self.with(|settings| settings.max_members = Some(max_members))
    }

    fn flag(self, flag: u16, on: bool) -> Self {
        self.with(|settings| settings.flags = if on { settings.flags | flag } else { settings.flags & !flag })
    }

    /// Another group, so that all clones of one have the same settings. It begins without members.
    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        let program = self.lock().program.clone();
        Self { settings: self.settings, state: Arc::new(Mutex::new(State { program, ..State::default() })) }
    }
}

/// What can be asked and changed while it has members.
impl FanoutGroup {
    /// The mode.
    pub const fn mode(&self) -> FanoutMode {
        self.settings.mode
    }

    /// The id: the one given, or that which the kernel has chosen; `None` while there is none, because the group has no
    /// members.
    pub fn id(&self) -> Option<u16> {
        let state = self.lock();
        self.settings.id.or_else(|| state.common.as_ref().filter(|_| state.has_members()).map(|common| common.id))
    }

    /// Steers the group by a classic BPF program: it gets the frame, and what it returns, modulo the number of members, is
    /// the member.
    ///
    /// For received frames offset 0 is the **network header**, on raw sockets too: `ldb [0]` is the first byte behind the
    /// link-layer header. For outgoing frames it is the link-layer header. Members count from 0 in the order in which they
    /// joined; when one leaves, the last takes its number. Without a program all frames go to member 0.
    ///
    /// May be called before anybody has joined, and at any time to replace the program.
    ///
    /// ```
    /// use fast_afpacket::{FanoutGroup, FanoutMode, Filter, Instruction};
    ///
    /// let group = FanoutGroup::new(FanoutMode::Program);
    /// let by_first_byte = [Instruction::new(0x30, 0, 0, 0), Instruction::new(0x16, 0, 0, 0)]; // ldb [0], ret a
    /// group.set_program(&Filter::new(by_first_byte)?)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`FanoutRefusal::NotSteered`] if the mode is not [`FanoutMode::Program`], `EPERM` if the filters of all members are
    /// locked ([`PacketSocket::lock_filter`](crate::PacketSocket::lock_filter)). The old program is in force then.
    #[doc(alias = "PACKET_FANOUT_DATA")]
    pub fn set_program(&self, program: &Filter) -> Result<(), Error> {
        self.replace_program(FanoutMode::Program, Program::Classic(program.clone()))
    }

    /// Steers the group by an eBPF program of type `BPF_PROG_TYPE_SOCKET_FILTER`, as [`set_program`](Self::set_program)
    /// does. Its descriptor may be closed afterwards.
    ///
    /// # Errors
    ///
    /// [`FanoutRefusal::NotSteered`] if the mode is not [`FanoutMode::Ebpf`]; `EINVAL` for a program of another type and
    /// `EBADF` or `EINVAL` for what is no program, now or, while there are no members, when the first one joins; `EPERM`
    /// as there.
    #[doc(alias = "PACKET_FANOUT_DATA")]
    pub fn set_program_bpf(&self, program: BorrowedFd<'_>) -> Result<(), Error> {
        let program = program.try_clone_to_owned().during(Step::FanoutProgram, &self.place())?;
        self.replace_program(FanoutMode::Ebpf, Program::Extended(Arc::new(program)))
    }

    fn replace_program(&self, mode: FanoutMode, program: Program) -> Result<(), Error> {
        let place = &self.place();
        if self.settings.mode != mode {
            return Err(Error::new(Step::FanoutProgram, place, FanoutRefusal::NotSteered.into_io()));
        }
        let mut state = self.lock();
        // The kernel takes it from any member whose filter is not locked.
        let mut outcome = Ok(());
        for member in state.members() {
            outcome = program.steer(member.as_fd());
            match &outcome {
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
                _ => break,
            }
        }
        outcome.during(Step::FanoutProgram, place)?;
        state.program = Some(program);
        Ok(())
    }

    /// Whether there are members whose interface is gone, and which hold the id that the group had there.
    pub(crate) fn has_stranded_members(&self) -> bool {
        self.lock().members.iter().filter_map(Weak::upgrade).any(|member| sys::is_unbound(member.as_fd()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the group is, for messages.
    fn place(&self) -> String {
        let state = self.lock();
        let interface = state.common.as_ref().map(|common| common.interface.name().into_owned());
        interface.unwrap_or_else(|| "no interface yet".into())
    }
}

impl State {
    /// The members that are bound to the group's interface. Those whose interface is gone belong to a group of the kernel's
    /// that is no use any more.
    fn members(&self) -> Vec<Arc<OwnedFd>> {
        self.members.iter().filter_map(Weak::upgrade).filter(|member| !sys::is_unbound(member.as_fd())).collect()
    }

    fn has_members(&self) -> bool {
        !self.members().is_empty()
    }
}

impl Program {
    fn steer(&self, member: BorrowedFd<'_>) -> io::Result<()> {
        match self {
            Self::Classic(program) => sys::fanout::steer(member, &program.to_raw()),
            Self::Extended(program) => sys::fanout::steer_by_bpf(member, program.as_fd()),
        }
    }
}

impl fmt::Debug for FanoutGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { mode, flags, id: _, max_members } = self.settings;
        f.debug_struct("FanoutGroup")
            .field("mode", &mode)
            .field("rollover", &(flags & ROLLOVER != 0))
            .field("defragment", &(flags & DEFRAGMENT != 0))
            .field("ignore_outgoing", &(flags & IGNORE_OUTGOING != 0))
            .field("max_members", &max_members)
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<FanoutGroup>();
};
