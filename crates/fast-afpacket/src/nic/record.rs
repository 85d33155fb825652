//! Records of what was borrowed, in files that all processes of this host share.
//!
//! A directory holds a file for each card that is lent, and a lock that is held while anything is changed. A holder keeps
//! a shared lock on the card's file; the kernel ends it with the process, however that ends. Who gets the lock for itself
//! alone is the last one. A file without holders is what a killed process left.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::hwtstamp::Hwtstamp;

/// Changes under the lock are a few ioctls; who does not get it in this time will not get it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

const SUFFIX: &str = "loan";

/// Which card a file speaks of: network namespace and interface index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CardId {
    pub(super) namespace: u64,
    pub(super) index: u32,
}

impl CardId {
    /// The interface with this index in the network namespace of the calling thread.
    pub(super) fn here(index: u32) -> io::Result<Self> {
        Ok(Self { namespace: fs::metadata("/proc/thread-self/ns/net")?.ino(), index })
    }

    fn file_name(self) -> String {
        format!("{}-{}.{SUFFIX}", self.namespace, self.index)
    }

    fn from_file_name(name: &str) -> Option<Self> {
        let (namespace, index) = name.strip_suffix(SUFFIX)?.strip_suffix('.')?.split_once('-')?;
        Some(Self { namespace: namespace.parse().ok()?, index: index.parse().ok()? })
    }
}

/// What must be known to give a card's setting back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// For people; the card is identified by the file's name.
    pub(super) interface: String,
    pub(super) former: Hwtstamp,
    pub(super) lent: Hwtstamp,
    /// Whether the driver has accepted `lent`. Until then it may have been set, or more than it, or not.
    pub(super) settled: bool,
    /// The processes that had the card's clock open before.
    pub(super) clock_users: Vec<u32>,
}

impl Record {
    /// Whether the setting that is in force now is the one that was lent.
    pub(super) fn accounts_for(&self, current: Hwtstamp) -> bool {
        let was_set = !self.settled && current != self.former && current.serves(self.lent);
        current == self.lent || was_set
    }

    fn to_text(&self) -> String {
        let numbers = |setting: Hwtstamp| setting.to_numbers().map(|number| number.to_string()).join(" ");
        let users: Vec<_> = self.clock_users.iter().map(u32::to_string).collect();
        format!(
            "interface {}\nformer {}\nlent {}\nsettled {}\nclock-users {}\n",
            self.interface,
            numbers(self.former),
            numbers(self.lent),
            self.settled,
            users.join(" ")
        )
    }

    fn parse(text: &str) -> Option<Self> {
        let field = |name| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let list = |name| field(name)?.split_whitespace().map(|word| word.parse().ok()).collect::<Option<Vec<u32>>>();
        let setting = |name| list(name)?.try_into().ok().map(Hwtstamp::from_numbers);
        Some(Self {
            interface: field("interface")?.to_owned(),
            former: setting("former")?,
            lent: setting("lent")?,
            settled: field("settled")?.parse().ok()?,
            clock_users: list("clock-users")?,
        })
    }
}

/// The directory of the records: the first of several that this process may use.
#[derive(Clone, Debug)]
pub(super) struct Registry(Vec<PathBuf>);

impl Registry {
    /// `/run/fast-afpacket` or, for who may not write there, the same in `$XDG_RUNTIME_DIR`.
    pub(super) fn of_this_host() -> Self {
        let own = env::var_os("XDG_RUNTIME_DIR").filter(|own| !own.is_empty());
        let candidates = [Some(PathBuf::from("/run")), own.map(PathBuf::from)];
        Self(candidates.into_iter().flatten().map(|parent| parent.join("fast-afpacket")).collect())
    }

    #[cfg(test)]
    pub(super) fn at(directory: PathBuf) -> Self {
        Self(vec![directory])
    }

    /// Whether anybody has ever kept a record.
    pub(super) fn exists(&self) -> bool {
        self.0.iter().any(|directory| directory.exists())
    }

    /// Keeps all others from changing records and settings until the result is dropped.
    pub(super) fn lock(&self) -> io::Result<Locked> {
        let mut refused = io::Error::from(io::ErrorKind::NotFound);
        for directory in &self.0 {
            match lock(directory) {
                Ok(file) => return Ok(Locked { directory: directory.clone(), _file: file }),
                Err(error) => refused = explain(&error, directory),
            }
        }
        Err(refused)
    }
}

fn lock(directory: &Path) -> io::Result<File> {
    // Only who may change a card's setting may hold it.
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let file = open(&directory.join("lock"))?;
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Keeps the kind and says which file it was about.
fn explain(error: &io::Error, path: &Path) -> io::Error {
    let why = format!("no record of the former setting can be kept in {}: {error}", path.display());
    io::Error::new(error.kind(), why)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// The registry while nobody else can change it.
pub(super) struct Locked {
    directory: PathBuf,
    _file: File,
}

impl Locked {
    /// The file of this card, which is made if there is none.
    pub(super) fn card(&self, id: CardId) -> io::Result<CardFile> {
        let path = self.directory.join(id.file_name());
        let file = open(&path).map_err(|error| explain(&error, &path))?;
        Ok(CardFile { path, file })
    }

    /// The cards that there are files of.
    pub(super) fn cards(&self) -> io::Result<Vec<CardId>> {
        let mut cards = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            cards.extend(entry?.file_name().to_str().and_then(CardId::from_file_name));
        }
        Ok(cards)
    }
}

/// The file of one card. It may be changed only under the registry's lock.
pub(super) struct CardFile {
    path: PathBuf,
    file: File,
}

impl CardFile {
    /// Whether nobody else holds this card. One's own hold is given up.
    pub(super) fn is_free(&self) -> io::Result<bool> {
        match self.file.try_lock() {
            Ok(()) => self.file.unlock().map(|()| true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Holds the card until the file is closed.
    pub(super) fn hold(&self) -> io::Result<()> {
        match self.file.try_lock_shared() {
            Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What it says; `None` if it is empty or makes no sense.
    pub(super) fn read(&mut self) -> io::Result<Option<Record>> {
        let mut text = String::new();
        self.file.rewind()?;
        match self.file.read_to_string(&mut text) {
            Err(error) if error.kind() != io::ErrorKind::InvalidData => Err(error),
            _ => Ok(Record::parse(&text)),
        }
    }

    pub(super) fn write(&mut self, record: &Record) -> io::Result<()> {
        self.file.rewind()?;
        self.file.set_len(0)?;
        self.file.write_all(record.to_text().as_bytes())
    }

    pub(super) fn clear(&self) -> io::Result<()> {
        self.file.set_len(0)
    }

    pub(super) fn remove(self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hwtstamp::{RxFilter, TxMode};
    use proptest::prelude::*;

    fn record() -> Record {
        Record {
            interface: "eth1".into(),
            former: Hwtstamp::from_numbers([1, 0, 0]),
            lent: Hwtstamp::new(TxMode::ON, RxFilter::PTP_V2_SYNC),
            settled: true,
            clock_users: vec![7, 4_000_000],
        }
    }

    #[test]
    fn text_and_back() {
        assert_eq!(Record::parse(&record().to_text()), Some(record()));
        let without_users = Record { clock_users: Vec::new(), ..record() };
        assert_eq!(Record::parse(&without_users.to_text()), Some(without_users));
        let id = CardId { namespace: 4_026_531_840, index: 3 };
        assert_eq!(CardId::from_file_name(&id.file_name()), Some(id));
        assert_eq!(CardId::from_file_name("lock"), None);
    }

    #[test]
    fn what_was_lent_is_recognised() {
        let settled = record();
        assert!(settled.accounts_for(settled.lent));
        assert!(!settled.accounts_for(settled.former));
        let wider = Hwtstamp::new(TxMode::ON, RxFilter::ALL);
        assert!(!settled.accounts_for(wider), "another program has set it");
        let under_way = Record { settled: false, ..record() };
        assert!(under_way.accounts_for(wider), "the driver may have set more than was asked for");
        assert!(!under_way.accounts_for(under_way.former));
    }

    proptest! {
        #[test]
        fn any_text_is_a_record_or_none(text in "(interface|former|lent|settled|[0-9 \n])*") {
            let _ = Record::parse(&text);
        }
    }
}
