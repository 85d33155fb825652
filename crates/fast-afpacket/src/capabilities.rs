//! What a NIC says that it can stamp, and what it is set to.

use std::ffi::CStr;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use crate::error::Error;
use crate::hwtstamp::{Hwtstamp, RxFilter, TxMode};
use crate::interface::Interface;
use crate::sys::hwtstamp::{self, TsInfo};
use crate::timestamp::Timestamping;

/// What a driver says that it can stamp. Some say more than they do.
#[derive(Clone, Copy, PartialEq, Eq)]
#[doc(alias("ethtool_ts_info", "ETHTOOL_GET_TS_INFO"))]
pub struct Capabilities(TsInfo);

impl Capabilities {
    /// The stamps that frames of this interface can have.
    ///
    /// [`TX_SCHEDULED`](Timestamping::TX_SCHEDULED) and [`RX_SOFTWARE`](Timestamping::RX_SOFTWARE) are the kernel's own
    /// work and always here. Some stacked devices (bridge, ifb) do not name
    /// [`TX_SOFTWARE`](Timestamping::TX_SOFTWARE), though the device below them may take it.
    pub fn timestamping(&self) -> Timestamping {
        let raw = self.0.so_timestamping;
        // Some drivers name the generating flag without the reporting one (RAW_HARDWARE); the stamps come all the same.
        let named = [
            (libc::SOF_TIMESTAMPING_TX_SOFTWARE, Timestamping::TX_SOFTWARE),
            (libc::SOF_TIMESTAMPING_TX_HARDWARE, Timestamping::TX_HARDWARE),
            (libc::SOF_TIMESTAMPING_RX_HARDWARE, Timestamping::RX_HARDWARE),
        ];
        let own = Timestamping::TX_SCHEDULED | Timestamping::RX_SOFTWARE;
        named.iter().filter(|(flag, _)| raw & flag != 0).fold(own, |all, (_, stamp)| all | *stamp)
    }

    /// The modes for sent frames. Empty for a driver without hardware stamps.
    pub fn tx_modes(&self) -> impl Iterator<Item = TxMode> + use<> {
        TxMode::in_mask(self.0.tx_types)
    }

    /// The filters for received frames. Empty for a driver without hardware stamps.
    pub fn rx_filters(&self) -> impl Iterator<Item = RxFilter> + use<> {
        RxFilter::in_mask(self.0.rx_filters)
    }

    /// The number of the NIC's PTP hardware clock, `/dev/ptpN`, from which its stamps come.
    #[doc(alias("phc_index", "PHC"))]
    pub fn phc(&self) -> Option<u32> {
        u32::try_from(self.0.phc_index).ok()
    }

    pub(crate) const fn from_raw(info: TsInfo) -> Self {
        Self(info)
    }

    #[cfg(test)]
    pub(crate) fn with_rx_filters(filters: &[RxFilter]) -> Self {
        let rx_filters = filters.iter().fold(0, |mask, filter| mask | 1 << filter.value());
        Self(TsInfo { rx_filters, tx_types: 0b11, ..TsInfo::default() })
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capabilities")
            .field("timestamping", &self.timestamping())
            .field("tx_modes", &self.tx_modes().collect::<Vec<_>>())
            .field("rx_filters", &self.rx_filters().collect::<Vec<_>>())
            .field("phc", &self.phc())
            .finish()
    }
}

/// Hardware timestamps.
impl Interface {
    /// What the driver says that it can stamp. Needs no right and changes nothing.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the interface is gone.
    #[doc(alias("ETHTOOL_GET_TS_INFO", "ethtool -T"))]
    pub fn capabilities(&self) -> Result<Capabilities, Error> {
        self.query(hwtstamp::ts_info).map(Capabilities::from_raw)
    }

    /// What the NIC is set to stamp now, or `None` if its driver has no such setting or does not tell it. Needs no
    /// right and changes nothing.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the interface is gone.
    #[doc(alias("SIOCGHWTSTAMP", "hwstamp_ctl"))]
    pub fn hwtstamp(&self) -> Result<Option<Hwtstamp>, Error> {
        self.query(read_setting)
    }

    /// The number of the NIC's clock, asked in the network namespace of this socket.
    pub(crate) fn phc_through(&self, socket: BorrowedFd<'_>) -> Option<u32> {
        let capabilities = self.query_through(socket, hwtstamp::ts_info).map(Capabilities::from_raw);
        capabilities.ok().and_then(|capabilities| capabilities.phc())
    }

    /// [`hwtstamp`](Self::hwtstamp), asked in the network namespace of this socket.
    pub(crate) fn hwtstamp_through(&self, socket: BorrowedFd<'_>) -> io::Result<Option<Hwtstamp>> {
        self.query_through(socket, read_setting)
    }
}

fn read_setting(socket: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<Hwtstamp>> {
    match hwtstamp::read(socket, name) {
        Ok(raw) => Ok(Some(Hwtstamp::from_raw(raw))),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What igb says of itself.
    #[test]
    fn capabilities_by_name() {
        let info =
            TsInfo { so_timestamping: 0x5f, phc_index: 0, tx_types: 0b11, rx_filters: 0x1031, ..TsInfo::default() };
        let capabilities = Capabilities(info);
        assert_eq!(capabilities.timestamping(), Timestamping::all());
        assert_eq!(capabilities.phc(), Some(0));
        let filters: Vec<_> = capabilities.rx_filters().map(|filter| filter.to_string()).collect();
        assert_eq!(filters, ["none", "ptpv1-l4-sync", "ptpv1-l4-delay-req", "ptpv2-event"]);
        assert_eq!(capabilities.tx_modes().collect::<Vec<_>>(), [TxMode::OFF, TxMode::ON]);
        let none = Capabilities(TsInfo { so_timestamping: 0x18, phc_index: -1, ..TsInfo::default() });
        assert_eq!(none.timestamping(), Timestamping::TX_SCHEDULED | Timestamping::RX_SOFTWARE);
        assert_eq!(none.phc(), None);
    }
}
