//! Borrowing from model cards: in every order, with drivers of every kind, with borrowers that are killed.

use super::loan::{Card, GivenBack, Loan, close};
use super::record::{CardId, Record, Registry};
use crate::capabilities::Capabilities;
use crate::hwtstamp::{Hwtstamp, RxFilter, TxMode};
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

const OFF: Hwtstamp = Hwtstamp::new(TxMode::OFF, RxFilter::NONE);
const EVENTS: Hwtstamp = Hwtstamp::new(TxMode::ON, RxFilter::PTP_V2_EVENT);
const ALL: Hwtstamp = Hwtstamp::new(TxMode::ON, RxFilter::ALL);

/// What a driver does with what it is told.
#[derive(Clone, Copy, Debug)]
enum Driver {
    /// Takes what it names, and refuses the rest with `ERANGE`.
    Exact,
    /// Makes `ALL` of every filter.
    UpgradesToAll,
    /// Says yes and sets nothing.
    Lies,
}

#[derive(Clone)]
struct Model {
    setting: Rc<Cell<Hwtstamp>>,
    driver: Driver,
    filters: Rc<[RxFilter]>,
    users: Rc<RefCell<Vec<u32>>>,
    writes: Rc<Cell<u32>>,
}

impl Model {
    fn new(setting: Hwtstamp, driver: Driver) -> Self {
        use RxFilter as F;
        Self {
            setting: Rc::new(Cell::new(setting)),
            driver,
            // In an order that is not that of breadth.
            filters: [F::NONE, F::ALL, F::PTP_V1_L4_SYNC, F::PTP_V2_EVENT, F::PTP_V2_L2_SYNC].into(),
            users: Rc::default(),
            writes: Rc::default(),
        }
    }
}

impl Card for Model {
    fn id(&self) -> io::Result<CardId> {
        Ok(CardId { namespace: 1, index: 2 })
    }
    fn name(&self) -> String {
        "model".into()
    }
    fn capabilities(&self) -> io::Result<Capabilities> {
        Ok(Capabilities::with_rx_filters(&self.filters))
    }
    fn read(&self) -> io::Result<Hwtstamp> {
        Ok(self.setting.get())
    }
    fn check_right(&self) -> io::Result<()> {
        Ok(())
    }
    fn write(&self, setting: Hwtstamp) -> io::Result<Hwtstamp> {
        self.writes.set(self.writes.get() + 1);
        if !self.filters.contains(&setting.rx()) {
            return Err(io::Error::from_raw_os_error(libc::ERANGE));
        }
        let filter = match self.driver {
            Driver::UpgradesToAll if setting.rx() != RxFilter::NONE => RxFilter::ALL,
            Driver::Lies => return Ok(self.setting.get()),
            _ => setting.rx(),
        };
        self.setting.set(setting.with(setting.tx(), filter));
        Ok(self.setting.get())
    }
    fn clock_users(&self) -> Vec<u32> {
        self.users.borrow().clone()
    }
}

/// A registry of its own for each test, in a directory that is removed with it.
struct Home(PathBuf);

impl Home {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("fast-afpacket-loans-{}-{number}", std::process::id())))
    }

    fn registry(&self) -> Registry {
        Registry::at(self.0.clone())
    }

    fn take(&self, card: &Model, needs: Hwtstamp) -> io::Result<Loan<Model>> {
        Loan::take(card.clone(), needs, self.registry())
    }

    /// The card files that are left.
    fn files(&self) -> usize {
        self.registry().lock().unwrap().cards().unwrap().len()
    }

    fn mend(&self, card: &Model) -> GivenBack {
        let registry = self.registry();
        let locked = registry.lock().unwrap();
        close(card, locked.card(card.id().unwrap()).unwrap()).unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn enough_is_not_touched() {
    let (home, card) = (Home::new(), Model::new(EVENTS, Driver::Exact));
    let mut loan = home.take(&card, Hwtstamp::new(TxMode::ON, RxFilter::PTP_V2_L4_SYNC)).unwrap();
    assert!(!loan.is_borrowed());
    assert_eq!(loan.give_back().unwrap(), GivenBack::NothingBorrowed);
    assert_eq!((card.setting.get(), card.writes.get(), home.files()), (EVENTS, 0, 0));
}

#[test]
fn the_narrowest_setting_is_chosen_and_the_former_given_back() {
    for (driver, needs, expected) in [
        (Driver::Exact, Hwtstamp::new(TxMode::ON, RxFilter::PTP_V2_L2_SYNC), None),
        (Driver::Exact, Hwtstamp::new(TxMode::ON, RxFilter::PTP_V2_SYNC), Some(EVENTS)),
        (Driver::UpgradesToAll, Hwtstamp::new(TxMode::ON, RxFilter::PTP_V2_L2_SYNC), Some(ALL)),
    ] {
        let (home, card) = (Home::new(), Model::new(OFF, driver));
        let mut loan = home.take(&card, needs).unwrap();
        assert_eq!(loan.in_force, expected.unwrap_or(needs));
        assert_eq!(card.setting.get(), loan.in_force);
        assert_eq!(loan.give_back().unwrap(), GivenBack::Restored(OFF));
        assert_eq!((card.setting.get(), home.files()), (OFF, 0));
    }
}

#[test]
fn what_is_set_is_kept_by_every_upgrade() {
    let v1 = Hwtstamp::new(TxMode::ON, RxFilter::PTP_V1_L4_SYNC);
    let (home, card) = (Home::new(), Model::new(v1, Driver::Exact));
    let loan = home.take(&card, EVENTS).unwrap();
    assert_eq!(loan.in_force, ALL, "the only filter that serves both");
    let mut poor = Model::new(v1, Driver::Exact);
    poor.filters = [RxFilter::NONE, RxFilter::PTP_V1_L4_SYNC, RxFilter::PTP_V2_EVENT].into();
    let other_home = Home::new();
    let refused = other_home.take(&poor, EVENTS).err().unwrap();
    assert_eq!(refused.raw_os_error(), Some(libc::ERANGE));
    assert_eq!((poor.setting.get(), poor.writes.get(), other_home.files()), (v1, 0, 0));
    let busy = home.take(&card, Hwtstamp::new(TxMode::ONE_STEP_SYNC, RxFilter::NONE)).err().unwrap();
    assert_eq!(busy.raw_os_error(), Some(libc::EBUSY));
}

#[test]
fn a_driver_that_sets_less_is_found_out() {
    let (home, card) = (Home::new(), Model::new(OFF, Driver::Lies));
    assert_eq!(home.take(&card, EVENTS).err().unwrap().raw_os_error(), Some(libc::ERANGE));
    assert_eq!((card.setting.get(), home.files()), (OFF, 0));
}

#[test]
fn the_last_of_two_gives_back_whoever_it_is() {
    for first_leaves_first in [true, false] {
        let (home, card) = (Home::new(), Model::new(OFF, Driver::Exact));
        let mut first = home.take(&card, EVENTS).unwrap();
        let mut second = home.take(&card, ALL).unwrap();
        assert_eq!((second.former, card.setting.get()), (OFF, ALL));
        let (leaver, stayer) = if first_leaves_first { (&mut first, &mut second) } else { (&mut second, &mut first) };
        assert_eq!(leaver.give_back().unwrap(), GivenBack::StillHeld);
        assert_eq!(card.setting.get(), ALL);
        assert_eq!(stayer.give_back().unwrap(), GivenBack::Restored(OFF));
        assert_eq!((card.setting.get(), home.files()), (OFF, 0));
    }
}

/// The second changed nothing, but what it relies on is borrowed.
#[test]
fn who_relies_on_a_loan_holds_it_too() {
    let (home, card) = (Home::new(), Model::new(OFF, Driver::Exact));
    let mut first = home.take(&card, EVENTS).unwrap();
    let mut second = home.take(&card, EVENTS).unwrap();
    assert_eq!(card.writes.get(), 1);
    assert_eq!(first.give_back().unwrap(), GivenBack::StillHeld);
    assert_eq!(second.give_back().unwrap(), GivenBack::Restored(OFF));
}

#[test]
fn what_others_changed_meanwhile_is_left_to_them() {
    let (home, card) = (Home::new(), Model::new(OFF, Driver::Exact));
    let mut loan = home.take(&card, EVENTS).unwrap();
    card.setting.set(ALL);
    assert_eq!(loan.give_back().unwrap(), GivenBack::TakenOver(ALL));
    assert_eq!((card.setting.get(), home.files()), (ALL, 0));
}

#[test]
fn a_clock_daemon_that_came_meanwhile_keeps_the_setting() {
    let (home, card) = (Home::new(), Model::new(OFF, Driver::Exact));
    card.users.borrow_mut().push(10);
    let mut loan = home.take(&card, EVENTS).unwrap();
    card.users.borrow_mut().push(11);
    assert_eq!(loan.give_back().unwrap(), GivenBack::TakenOver(EVENTS));
    card.setting.set(OFF);
    let mut loan = home.take(&card, EVENTS).unwrap();
    assert_eq!(loan.give_back().unwrap(), GivenBack::Restored(OFF), "all were there before");
}

#[test]
fn what_a_killed_borrower_left_is_mended_or_continued() {
    let (home, card) = (Home::new(), Model::new(OFF, Driver::Exact));
    let leave = || drop(home.take(&card, EVENTS).unwrap()); // the model's loan is not given back when dropped
    leave();
    assert_eq!((card.setting.get(), home.files()), (EVENTS, 1));
    assert_eq!(home.mend(&card), GivenBack::Restored(OFF));
    assert_eq!((card.setting.get(), home.files()), (OFF, 0));
    leave();
    let mut next = home.take(&card, ALL).unwrap();
    assert_eq!(home.mend(&card), GivenBack::StillHeld);
    assert_eq!(next.give_back().unwrap(), GivenBack::Restored(OFF));
    // A reboot or a reset of the driver may have come between.
    leave();
    card.setting.set(OFF);
    assert!(!home.take(&card, OFF).unwrap().is_borrowed());
    assert_eq!(home.files(), 0);
}

#[test]
fn killed_while_the_driver_was_asked() {
    let (home, card) = (Home::new(), Model::new(OFF, Driver::UpgradesToAll));
    let needs = Hwtstamp::new(TxMode::ON, RxFilter::PTP_V2_L2_SYNC);
    for was_set in [false, true] {
        let under_way =
            Record { interface: "model".into(), former: OFF, lent: needs, settled: false, clock_users: vec![] };
        let registry = home.registry();
        registry.lock().unwrap().card(card.id().unwrap()).unwrap().write(&under_way).unwrap();
        card.setting.set(if was_set { ALL } else { OFF });
        assert_eq!(home.mend(&card), GivenBack::Restored(OFF));
        assert_eq!((card.setting.get(), home.files()), (OFF, 0));
    }
}

#[test]
fn without_a_place_for_records_nothing_is_changed() {
    let card = Model::new(OFF, Driver::Exact);
    let nowhere = || Registry::at("/proc/no-such-place".into());
    let error = Loan::take(card.clone(), EVENTS, nowhere()).err().unwrap();
    assert!(error.to_string().contains("/proc/no-such-place"), "{error}");
    assert_eq!(card.writes.get(), 0);
    card.setting.set(ALL);
    assert!(!Loan::take(card, EVENTS, nowhere()).unwrap().is_borrowed());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Take(Hwtstamp),
    GiveBack(usize),
    /// Ends without giving back.
    Kill(usize),
}

fn setting() -> impl Strategy<Value = Hwtstamp> {
    let filters =
        [RxFilter::NONE, RxFilter::ALL, RxFilter::PTP_V1_L4_SYNC, RxFilter::PTP_V2_EVENT, RxFilter::PTP_V2_L2_SYNC];
    let tx = prop_oneof![Just(TxMode::OFF), Just(TxMode::ON)];
    (tx, proptest::sample::select(filters.to_vec())).prop_map(|(tx, rx)| Hwtstamp::new(tx, rx))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => setting().prop_map(Step::Take),
        3 => (0_usize..4).prop_map(Step::GiveBack),
        1 => (0_usize..4).prop_map(Step::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whoever comes, leaves or dies in whatever order: every borrower has what it needs while it is there, nothing is
    /// weakened, and in the end the original setting is in force.
    #[test]
    fn the_end_is_the_beginning(
        original in setting(),
        upgrades in any::<bool>(),
        steps in proptest::collection::vec(step(), 0..24),
    ) {
        let driver = if upgrades && original.rx() == RxFilter::NONE { Driver::UpgradesToAll } else { Driver::Exact };
        let (home, card) = (Home::new(), Model::new(original, driver));
        let mut loans: Vec<(Loan<Model>, Hwtstamp)> = Vec::new();
        for step in steps {
            match step {
                Step::Take(needs) => loans.push((home.take(&card, needs).unwrap(), needs)),
                Step::GiveBack(at) if at < loans.len() => drop(loans.remove(at).0.give_back().unwrap()),
                Step::Kill(at) if at < loans.len() => drop(loans.remove(at)),
                _ => {}
            }
            prop_assert!(card.setting.get().serves(original));
            for (_, needs) in &loans {
                prop_assert!(card.setting.get().serves(*needs));
            }
        }
        for (mut loan, _) in loans {
            loan.give_back().unwrap();
        }
        home.mend(&card);
        prop_assert_eq!(card.setting.get(), original);
        prop_assert_eq!(home.files(), 0);
    }
}
