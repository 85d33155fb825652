//! Hardware stamps for a job: what is asked of the card, and what came of it.

use std::io::{self, Write};

use fast_afpacket::{ConfigureNic, Hwtstamp, Interface, NicGrant, RxFilter, TxMode};

use crate::cli::{HardwareArguments, UseOfCard};
use crate::wire::Wire;

impl HardwareArguments {
    /// What may be done to the card's setting so that it stamps probes of this kind.
    pub(crate) const fn configure_nic(&self, wire: Wire) -> ConfigureNic {
        let filter = match wire {
            Wire::Seed => RxFilter::ALL,
            Wire::Ptp => RxFilter::PTP_V2_L2_SYNC,
            Wire::PtpUdp => RxFilter::PTP_V2_L4_SYNC,
        };
        let needs = Hwtstamp::new(TxMode::ON, filter);
        match self.use_of_card {
            UseOfCard::Off | UseOfCard::AsIs => ConfigureNic::Never,
            UseOfCard::Preferred => ConfigureNic::Preferred(needs),
            UseOfCard::Required => ConfigureNic::Required(needs),
        }
    }
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
