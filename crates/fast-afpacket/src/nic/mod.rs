//! A NIC's timestamp setting is lent, not taken: whoever needs more than is set raises it and gives the former setting
//! back.

mod loan;
mod record;
#[cfg(test)]
mod tests;
mod users;

use std::ffi::CStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::capabilities::Capabilities;
use crate::error::{Context, Error, Step};
use crate::hwtstamp::Hwtstamp;
use crate::interface::Interface;
use crate::nic_refusal::NicRefusal;
use crate::refusal::can_administer_network;
use crate::sys::hwtstamp;
pub use loan::GivenBack;
use loan::{Card, Loan};
use record::{CardId, Record, Registry};
pub use users::ClockUser;

/// What a socket may do to the NIC's timestamp setting, which belongs to all programs of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigureNic {
    /// Nothing: hardware stamps are those that others have switched on. The default.
    #[default]
    Never,
    /// Borrow a setting that serves these needs. Where it cannot be had, go on with what there is;
    /// [`Granted::nic`](crate::Granted::nic) says why.
    Preferred(Hwtstamp),
    /// Borrow a setting that serves these needs, or fail to open.
    Required(Hwtstamp),
}

/// What came of [`Options::configure_nic`](crate::Options::configure_nic).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NicGrant {
    /// It was not asked for.
    NotAsked,
    /// What was set before is enough. Nothing was changed.
    Sufficient(Hwtstamp),
    /// The setting was raised and will be given back. The driver may have set more than was needed.
    Lent {
        /// What will be in force again.
        former: Hwtstamp,
        /// What is in force now.
        now: Hwtstamp,
    },
    /// It could not be had, or only a part of it.
    Refused {
        /// Why.
        why: NicRefusal,
        /// What is in force now; `None` if the NIC has no setting, and so takes no hardware stamps.
        now: Option<Hwtstamp>,
    },
}

impl NicGrant {
    /// What the NIC is set to, as far as it was asked.
    pub const fn in_force(self) -> Option<Hwtstamp> {
        match self {
            Self::NotAsked => None,
            Self::Sufficient(now) | Self::Lent { now, .. } => Some(now),
            Self::Refused { now, .. } => now,
        }
    }
}

/// A NIC's timestamp setting that serves certain needs until this is dropped: the RAII guard of a loan.
///
/// [`Options::configure_nic`](crate::Options::configure_nic) keeps one for a socket. On its own it serves programs that
/// open several sockets, or none.
///
/// What is set is read first. If it serves, nothing is touched. Otherwise the narrowest setting that serves both what is
/// set and what is needed is set; a receive filter is never taken from anybody, and stamping on transmit never
/// switched off. When the last of several borrowers, in this process or another, is done, the setting that the first
/// one found is given back; when it was changed by somebody else meanwhile, or another process has opened the
/// card's clock since, it is left as it is.
///
/// The former setting stands in `/run/fast-afpacket` (or `$XDG_RUNTIME_DIR/fast-afpacket`) while it is lent, so that what a
/// killed process leaves can be mended: [`LoanRecord`], `afprobe nic restore`. Borrowers know of one another if they see
/// the same directory, and borrow through the same interface.
///
/// # Examples
///
/// ```no_run
/// use fast_afpacket::{Hwtstamp, Interface, NicLoan, RxFilter, TxMode};
///
/// let interface = Interface::by_name("eth1")?;
/// let loan = NicLoan::take(&interface, Hwtstamp::new(TxMode::ON, RxFilter::PTP_V2_EVENT))?;
/// println!("was {}, is {}", loan.former(), loan.in_force());
/// // … and here the former setting is in force again.
/// # Ok::<(), fast_afpacket::Error>(())
/// ```
#[doc(alias("SIOCSHWTSTAMP", "hwtstamp_config"))]
#[must_use = "the setting is given back when this is dropped"]
pub struct NicLoan(Loan<Nic>);

impl NicLoan {
    /// Sees to it that the NIC stamps what is needed.
    ///
    /// # Errors
    ///
    /// An [`Error`] of [`Step::Nic`], whose [`nic_refusal`](Error::nic_refusal) says which of these it is: `EOPNOTSUPP`
    /// (no hardware stamps, or a driver that does not tell its setting), `EPERM` (`CAP_NET_ADMIN` is missing, or the
    /// right to keep a record), `EBUSY`, `ERANGE` (no mode of the card serves both what is set and what is needed).
    pub fn take(interface: &Interface, needs: Hwtstamp) -> Result<Self, Error> {
        let take = || Loan::take(Nic::new(interface)?, needs, Registry::of_this_host());
        take().map(Self).during(Step::Nic, &interface.name())
    }

    /// What was in force before the first borrower came.
    pub fn former(&self) -> Hwtstamp {
        self.0.former
    }

    /// What has been in force since.
    pub fn in_force(&self) -> Hwtstamp {
        self.0.in_force
    }

    /// Whether there is something to give back: by this borrower or by others whose loan it relies on.
    pub fn is_borrowed(&self) -> bool {
        self.0.is_borrowed()
    }

    /// Gives the former setting back, as dropping does, and says what became of it.
    ///
    /// # Errors
    ///
    /// As for [`take`](Self::take). The record is kept then, and [`LoanRecord::restore`] can try again.
    pub fn give_back(mut self) -> Result<GivenBack, Error> {
        self.0.give_back().during(Step::Nic, &self.0.card.name())
    }

    /// Does what [`Options::configure_nic`](crate::Options::configure_nic) does on opening, and says what came of it, as
    /// [`Granted::nic`](crate::Granted::nic) does: for a program in which one process borrows a setting and gives it back,
    /// and another, which has no privileges, uses it.
    ///
    /// # Errors
    ///
    /// As for [`take`](Self::take), of [`ConfigureNic::Required`]. Of the others there are none.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use fast_afpacket::{ConfigureNic, Hwtstamp, Interface, NicGrant, NicLoan, RxFilter, TxMode};
    ///
    /// let interface = Interface::by_name("eth1")?;
    /// let needs = Hwtstamp::new(TxMode::ON, RxFilter::ALL);
    /// let (_loan, grant) = NicLoan::take_as(&interface, ConfigureNic::Preferred(needs))?;
    /// if let NicGrant::Refused { why, .. } = grant {
    ///     println!("not all frames are stamped: {why}");
    /// }
    /// # Ok::<(), fast_afpacket::Error>(())
    /// ```
    pub fn take_as(interface: &Interface, configure_nic: ConfigureNic) -> Result<(Option<Self>, NicGrant), Error> {
        match configure_nic {
            ConfigureNic::Never => Ok((None, NicGrant::NotAsked)),
            ConfigureNic::Preferred(needs) => Ok(Self::take_preferred(interface, needs)),
            ConfigureNic::Required(needs) => {
                let loan = Self::take(interface, needs)?;
                let grant = loan.grant();
                Ok((Some(loan), grant))
            }
        }
    }

    /// Takes what can be had of the needs: all, or stamps on transmit, or on receive. Says also why it is not more.
    fn take_preferred(interface: &Interface, needs: Hwtstamp) -> (Option<Self>, NicGrant) {
        let why = match Self::take(interface, needs) {
            Ok(loan) => {
                let grant = loan.grant();
                return (Some(loan), grant);
            }
            Err(error) => error.nic_refusal().unwrap_or(NicRefusal::Other(0)),
        };
        let parts = [Hwtstamp::only_tx(needs.tx()), Hwtstamp::only_rx(needs.rx())];
        let worth_trying = matches!(why, NicRefusal::OutOfRange | NicRefusal::Busy);
        let loan = parts.iter().filter(|_| worth_trying).find_map(|&part| Self::take(interface, part).ok());
        let now = interface.hwtstamp().ok().flatten();
        (loan, NicGrant::Refused { why, now })
    }

    fn grant(&self) -> NicGrant {
        match self.is_borrowed() {
            true => NicGrant::Lent { former: self.former(), now: self.in_force() },
            false => NicGrant::Sufficient(self.in_force()),
        }
    }
}

/// An error cannot be told here; what could not be given back stays on record.
impl Drop for NicLoan {
    fn drop(&mut self) {
        let _ = self.0.give_back();
    }
}

impl fmt::Debug for NicLoan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NicLoan")
            .field("interface", &self.0.card.name())
            .field("former", &self.former())
            .field("in_force", &self.in_force())
            .field("is_borrowed", &self.is_borrowed())
            .finish()
    }
}

/// A NIC's setting on record as lent: by a borrower that lives, or by one that was killed.
#[derive(Clone, Debug)]
pub struct LoanRecord {
    interface: Interface,
    record: Record,
    is_held: bool,
}

impl LoanRecord {
    /// What is on record for the interfaces of this network namespace.
    ///
    /// # Errors
    ///
    /// An [`Error`] of [`Step::Nic`] if the records cannot be read: `EACCES` for who may not.
    pub fn all() -> Result<Vec<Self>, Error> {
        let read = || {
            let registry = Registry::of_this_host();
            let mut found = Vec::new();
            if !registry.exists() {
                return Ok(found);
            }
            let locked = registry.lock()?;
            for id in locked.cards()? {
                if CardId::here(id.index)? != id {
                    continue;
                }
                let mut file = locked.card(id)?;
                match (Interface::by_index(id.index), file.read()?) {
                    (Ok(interface), Some(record)) => {
                        found.push(Self { interface, record, is_held: !file.is_free()? });
                    }
                    _ if file.is_free()? => file.remove()?,
                    _ => {}
                }
            }
            Ok(found)
        };
        read().during(Step::Nic, "all interfaces")
    }

    /// The interface.
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// What was in force before.
    pub fn former(&self) -> Hwtstamp {
        self.record.former
    }

    /// What was set.
    pub fn lent(&self) -> Hwtstamp {
        self.record.lent
    }

    /// Whether a living borrower will give it back.
    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// Gives back what nobody holds any more.
    ///
    /// # Errors
    ///
    /// As for [`NicLoan::take`].
    pub fn restore(self) -> Result<GivenBack, Error> {
        let restore = || {
            let nic = Nic::new(&self.interface)?;
            let registry = Registry::of_this_host();
            let locked = registry.lock()?;
            loan::close(&nic, locked.card(nic.id()?)?)
        };
        restore().during(Step::Nic, &self.interface.name())
    }
}

/// The card behind an interface, in the network namespace in which it was looked up.
struct Nic {
    socket: OwnedFd,
    interface: Interface,
    id: CardId,
}

impl Nic {
    fn new(interface: &Interface) -> io::Result<Self> {
        // Refused on a thread in another network namespace, so that the card's id below is that of the right one.
        let socket = interface.ioctl_socket()?;
        let id = match interface.netns() {
            Some(netns) => CardId { namespace: netns.inode(), index: interface.index() },
            None => CardId::here(interface.index())?,
        };
        Ok(Self { socket, interface: interface.clone(), id })
    }
}

impl Card for Nic {
    fn id(&self) -> io::Result<CardId> {
        Ok(self.id)
    }

    fn name(&self) -> String {
        self.interface.name().into_owned()
    }

    fn capabilities(&self) -> io::Result<Capabilities> {
        self.interface.query_through(self.socket.as_fd(), hwtstamp::ts_info).map(Capabilities::from_raw)
    }

    fn read(&self) -> io::Result<Hwtstamp> {
        self.interface.query_through(self.socket.as_fd(), hwtstamp::read).map(Hwtstamp::from_raw)
    }

    fn check_right(&self) -> io::Result<()> {
        match can_administer_network()? {
            true => Ok(()),
            false => Err(io::Error::from_raw_os_error(libc::EPERM)),
        }
    }

    fn write(&self, setting: Hwtstamp) -> io::Result<Hwtstamp> {
        let write = |socket: BorrowedFd<'_>, name: &CStr| hwtstamp::write(socket, name, setting.to_raw());
        self.interface.query_through(self.socket.as_fd(), write).map(Hwtstamp::from_raw)
    }

    fn clock_users(&self) -> Vec<u32> {
        let phc = self.capabilities().ok().and_then(|capabilities| capabilities.phc());
        let users = phc.map(users::others_with_clock_open).unwrap_or_default();
        users.iter().map(ClockUser::process).collect()
    }
}
