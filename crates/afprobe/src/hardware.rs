//! Hardware stamps for a job: what is asked of the card, and what came of it.

use std::io::{self, Write};

use anyhow::Result;
use fast_afpacket::{
    ConfigureNic, Converted, Filter, Hwtstamp, Interface, NicGrant, PacketSocket, RxFilter, Timestamping, TxMode,
};

use crate::cli::{HardwareArguments, UseOfCard};
use crate::clock::CardClock;
use crate::two_way::stamps::{InSystem, Stamps};
use crate::wire::Wire;

/// Kernel memory for received frames, and as much for stamps of sent ones, where it is granted: some thousand of each, so
/// that none is lost while a thread is kept from running.
const BUFFER: usize = 4 << 20;

impl Wire {
    /// The frames that a card has to stamp on receive.
    pub(crate) const fn rx_filter(self) -> RxFilter {
        match self {
            Self::Seed => RxFilter::ALL,
            Self::Ptp => RxFilter::PTP_V2_L2_SYNC,
            Self::PtpUdp => RxFilter::PTP_V2_L4_SYNC,
        }
    }
}

impl HardwareArguments {
    /// Opens a socket that sends and receives with all stamps that are asked for, and says what became of the card.
    pub(crate) fn bind(&self, interface: &Interface, filter: &Filter, on_receive: RxFilter) -> Result<PacketSocket> {
        let mut stamps = Timestamping::all();
        stamps.set(Timestamping::TX_HARDWARE, self.use_of_card != UseOfCard::Off);
        let options = PacketSocket::options().dual(true).timestamping(stamps).filter(filter).receive_buffer(BUFFER);
        let needs = Hwtstamp::new(TxMode::ON, on_receive);
        let socket = options.configure_nic(self.use_of_card.configure_nic(needs)).bind(interface)?;
        tell(interface, socket.granted().nic)?;
        Ok(socket)
    }

    /// The same for a process that may not change the card's setting, or that need not, because another does.
    pub(crate) fn as_is(&self) -> Self {
        let use_of_card = if self.use_of_card.may_change() { UseOfCard::AsIs } else { self.use_of_card };
        Self { use_of_card, ..self.clone() }
    }
}

impl UseOfCard {
    /// What may be done to the card's setting.
    pub(crate) const fn configure_nic(self, needs: Hwtstamp) -> ConfigureNic {
        match self {
            Self::Off | Self::AsIs => ConfigureNic::Never,
            Self::Preferred => ConfigureNic::Preferred(needs),
            Self::Required => ConfigureNic::Required(needs),
        }
    }

    /// Whether anything may be done to it.
    pub(crate) const fn may_change(self) -> bool {
        matches!(self, Self::Preferred | Self::Required)
    }
}

/// Whether stamps of the card may come, of sent frames or of received ones.
pub(crate) fn may_come(interface: &Interface) -> bool {
    interface.hwtstamp().ok().flatten().is_some_and(|set| (set.tx(), set.rx()) != (TxMode::OFF, RxFilter::NONE))
}

/// Opens the clock of a card that may stamp. Where that cannot be done there is nothing to convert its stamps by.
pub(crate) fn open_clock(interface: &Interface) -> Option<CardClock> {
    may_come(interface).then(|| CardClock::open(interface).ok())?
}

/// These stamps, and with them what the system clock showed at the card's, as well as that is known now.
pub(crate) fn converted(stamps: Stamps, card: Option<&CardClock>) -> Stamps {
    let hardware = stamps.hardware.zip(card);
    let converted =
        hardware.and_then(|(hardware, card)| card.to_system(hardware, stamps.software.or(stamps.userspace)));
    let in_system = converted.map(|Converted { system, bound, .. }| InSystem { stamp: system, bound });
    Stamps { hardware_in_system: in_system, ..stamps }
}

/// Says on standard error what became of a wish.
pub(crate) fn tell(interface: &Interface, grant: NicGrant) -> io::Result<()> {
    let mut errors = io::stderr().lock();
    match grant {
        NicGrant::Lent { former, now } => {
            writeln!(errors, "afprobe: {interface} is set to {now} until the end; before: {former}")
        }
        NicGrant::Refused { why, now: Some(now) } => writeln!(errors, "afprobe: {interface} stays at {now}: {why}"),
        NicGrant::Refused { why, now: None } => {
            writeln!(errors, "afprobe: no hardware timestamps on {interface}: {why}")
        }
        _ => Ok(()),
    }
}
