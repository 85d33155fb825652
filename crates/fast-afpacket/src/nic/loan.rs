//! Borrowing a card's setting: reading, upgrading and giving it back, for any card that can be read and written.

use std::io;

use super::record::{CardFile, CardId, Record, Registry};
use crate::capabilities::Capabilities;
use crate::hwtstamp::{Hwtstamp, RxFilter, TxMode};

/// A card, as far as its setting goes. Tests have cards of their own.
pub(super) trait Card {
    fn id(&self) -> io::Result<CardId>;
    fn name(&self) -> String;
    fn capabilities(&self) -> io::Result<Capabilities>;
    fn read(&self) -> io::Result<Hwtstamp>;
    /// `EPERM` for a process that may not change the setting, before anything is done about it.
    fn check_right(&self) -> io::Result<()>;
    /// Gives what the driver made of it.
    fn write(&self, setting: Hwtstamp) -> io::Result<Hwtstamp>;
    /// Other processes that have the card's clock open.
    fn clock_users(&self) -> Vec<u32>;
}

/// What became of a setting when its borrower was done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GivenBack {
    /// Nothing was borrowed: what was set before was enough.
    NothingBorrowed,
    /// Another borrower of this card is left; the last one gives it back.
    StillHeld,
    /// The former setting is in force again.
    Restored(Hwtstamp),
    /// Somebody else has changed the setting meanwhile, or has begun to use the card's clock: it was left as it is.
    TakenOver(Hwtstamp),
    /// The interface is gone, and its setting with it.
    Gone,
}

/// A setting that serves its borrower until it is given back.
pub(super) struct Loan<C: Card> {
    pub(super) card: C,
    pub(super) former: Hwtstamp,
    pub(super) in_force: Hwtstamp,
    /// There for as long as the setting rests on a loan, one's own or another's.
    hold: Option<Hold>,
}

struct Hold {
    registry: Registry,
    file: CardFile,
}

impl<C: Card> Loan<C> {
    /// Sees to it that the card stamps what is needed, and changes no more than that takes.
    pub(super) fn take(card: C, needs: Hwtstamp, registry: Registry) -> io::Result<Self> {
        let current = card.read()?;
        let untouched = |card| Self { card, former: current, in_force: current, hold: None };
        if current.serves(needs) && !registry.exists() {
            return Ok(untouched(card));
        }
        let locked = match card.check_right().and_then(|()| registry.lock()) {
            // Without records there are no loans that this process could know of.
            Err(_) if current.serves(needs) => return Ok(untouched(card)),
            locked => locked?,
        };
        let current = card.read()?;
        let mut file = locked.card(card.id()?)?;
        // What a killed borrower left is continued: then it too will be given back.
        let outstanding = file.read()?.filter(|record| record.accounts_for(current));
        let result = if current.serves(needs) {
            Ok((outstanding.as_ref().map(|record| record.former), current))
        } else {
            upgrade(&card, current, needs, outstanding.as_ref(), &mut file)
                .map(|record| (Some(record.former), record.lent))
        };
        let hold = if let Ok((Some(_), _)) = result {
            file.hold()?;
            Some(file)
        } else {
            if outstanding.is_none() && file.is_free()? {
                file.remove()?;
            }
            None
        };
        drop(locked);
        let (former, in_force) = result?;
        let hold = hold.map(|file| Hold { registry, file });
        Ok(Self { card, former: former.unwrap_or(current), in_force, hold })
    }

    /// Whether the setting in force is borrowed.
    pub(super) fn is_borrowed(&self) -> bool {
        self.hold.is_some()
    }

    /// Ends the loan. If the former setting cannot be given back, its record stays.
    pub(super) fn give_back(&mut self) -> io::Result<GivenBack> {
        match self.hold.take() {
            None => Ok(GivenBack::NothingBorrowed),
            Some(Hold { registry, file }) => {
                let _locked = registry.lock()?;
                close(&self.card, file)
            }
        }
    }
}

/// Gives back what a file says, if nobody else holds it. Under the registry's lock.
pub(super) fn close(card: &impl Card, mut file: CardFile) -> io::Result<GivenBack> {
    if !file.is_free()? {
        return Ok(GivenBack::StillHeld);
    }
    let Some(record) = file.read()? else {
        return file.remove().map(|()| GivenBack::NothingBorrowed);
    };
    let current = match card.read() {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {
            return file.remove().map(|()| GivenBack::Gone);
        }
        current => current?,
    };
    let has_new_user = || card.clock_users().iter().any(|user| !record.clock_users.contains(user));
    let back = if current == record.former {
        GivenBack::Restored(current)
    } else if !record.accounts_for(current) || has_new_user() {
        GivenBack::TakenOver(current)
    } else {
        GivenBack::Restored(card.write(record.former)?)
    };
    file.remove().map(|()| back)
}

/// Sets the narrowest setting that keeps all that is stamped now and adds what is needed.
fn upgrade(
    card: &impl Card,
    current: Hwtstamp,
    needs: Hwtstamp,
    outstanding: Option<&Record>,
    file: &mut CardFile,
) -> io::Result<Record> {
    let fresh = || Record {
        interface: card.name(),
        former: current,
        lent: current,
        settled: false,
        clock_users: card.clock_users(),
    };
    let base = outstanding.cloned().unwrap_or_else(fresh);
    let mut refused = io::Error::from_raw_os_error(libc::ERANGE);
    for target in candidates(current, needs, &card.capabilities()?)? {
        // First the record, so that whatever happens the former setting is known.
        file.write(&Record { lent: target, settled: false, ..base.clone() })?;
        match card.write(target) {
            Ok(answer) if answer.serves(target) => {
                let record = Record { lent: answer, settled: true, ..base };
                file.write(&record)?;
                return Ok(record);
            }
            // The driver took it and set less.
            Ok(_) => drop(card.write(current)?),
            Err(error) if error.raw_os_error() == Some(libc::ERANGE) => {}
            Err(error) => {
                refused = error;
                break;
            }
        }
    }
    match outstanding {
        Some(record) => file.write(record)?,
        None => file.clear()?,
    }
    Err(refused)
}

/// What may be set to serve the needs without weakening what is set, the narrowest first.
fn candidates(current: Hwtstamp, needs: Hwtstamp, capabilities: &Capabilities) -> io::Result<Vec<Hwtstamp>> {
    let tx = match (current.tx(), needs.tx()) {
        (set, needed) if set.serves(needed) => set,
        (TxMode::OFF, needed) => needed,
        // One-step stamping changes what others see on the wire.
        _ => return Err(io::Error::from_raw_os_error(libc::EBUSY)),
    };
    let fits = |filter: &RxFilter| filter.serves(current.rx()) && filter.serves(needs.rx());
    let mut filters: Vec<_> = match current.rx() {
        set if fits(&set) => vec![set],
        // What is needed may be had although it is not named.
        _ => capabilities.rx_filters().chain([needs.rx()]).filter(fits).collect(),
    };
    filters.sort_by_key(|filter| filter.breadth());
    filters.dedup();
    Ok(filters.into_iter().map(|rx| current.with(tx, rx)).collect())
}
