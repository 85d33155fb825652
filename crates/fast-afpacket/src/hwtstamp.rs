//! The setting of a NIC: which frames it stamps.

use std::fmt;

use crate::sys::hwtstamp::HwtstampConfig;

/// A number of the kernel's with names for those that are known; it may add more.
macro_rules! mode {
    ($(#[$doc:meta])* $name:ident { $($(#[$item_doc:meta])* $constant:ident = $value:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name(u32);

        impl $name {
            $($(#[$item_doc])* pub const $constant: Self = Self($value);)*

            const KNOWN: &'static [(Self, &'static str)] = &[$((Self::$constant, $text)),*];

            /// The mode with this number of the kernel's.
            pub const fn new(value: u32) -> Self {
                Self(value)
            }

            /// The kernel's number.
            pub const fn value(self) -> u32 {
                self.0
            }

            /// Those whose bits are set in a mask.
            pub(crate) fn in_mask(mask: u32) -> impl Iterator<Item = Self> {
                (0..u32::BITS).filter(move |bit| mask & 1 << bit != 0).map(Self)
            }
        }

        /// The name that `ethtool -T` prints, or the number.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match Self::KNOWN.iter().find(|(mode, _)| mode == self) {
                    Some((_, name)) => f.pad(name),
                    None => write!(f, "{}", self.0),
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

mode! {
    /// Which sent frames a NIC may be asked to stamp: `HWTSTAMP_TX_`.
    #[doc(alias = "hwtstamp_tx_types")]
    TxMode {
        /// None.
        #[doc(alias = "HWTSTAMP_TX_OFF")]
        OFF = 0, "off";
        /// Those that ask for it.
        #[doc(alias = "HWTSTAMP_TX_ON")]
        ON = 1, "on";
        /// Those that ask for it; into PTP Sync messages the stamp is written instead of being reported.
        #[doc(alias = "HWTSTAMP_TX_ONESTEP_SYNC")]
        ONE_STEP_SYNC = 2, "onestep-sync";
        /// As [`ONE_STEP_SYNC`](Self::ONE_STEP_SYNC), also for PTP Pdelay_Resp messages.
        #[doc(alias = "HWTSTAMP_TX_ONESTEP_P2P")]
        ONE_STEP_P2P = 3, "onestep-p2p";
    }
}

mode! {
    /// Which received frames a NIC stamps: `HWTSTAMP_FILTER_`.
    #[doc(alias = "hwtstamp_rx_filters")]
    RxFilter {
        /// None.
        #[doc(alias = "HWTSTAMP_FILTER_NONE")]
        NONE = 0, "none";
        /// All.
        #[doc(alias = "HWTSTAMP_FILTER_ALL")]
        ALL = 1, "all";
        /// Those that were asked for and others, which the driver does not name.
        #[doc(alias = "HWTSTAMP_FILTER_SOME")]
        SOME = 2, "some";
        /// PTPv1 event messages over UDP.
        #[doc(alias = "HWTSTAMP_FILTER_PTP_V1_L4_EVENT")]
        PTP_V1_L4_EVENT = 3, "ptpv1-l4-event";
        /// PTPv1 Sync over UDP.
        #[doc(alias = "HWTSTAMP_FILTER_PTP_V1_L4_SYNC")]
        PTP_V1_L4_SYNC = 4, "ptpv1-l4-sync";
        /// PTPv1 Delay_Req over UDP.
        #[doc(alias = "HWTSTAMP_FILTER_PTP_V1_L4_DELAY_REQ")]
        PTP_V1_L4_DELAY_REQ = 5, "ptpv1-l4-delay-req";
        /// PTPv2 event messages over UDP.
        #[doc(alias = "HWTSTAMP_FILTER_PTP_V2_L4_EVENT")]
        PTP_V2_L4_EVENT = 6, "ptpv2-l4-event";
        /// PTPv2 Sync over UDP.
        #[doc(alias = "HWTSTAMP_FILTER_PTP_V2_L4_SYNC")]
        PTP_V2_L4_SYNC = 7, "ptpv2-l4-sync";
        /// PTPv2 Delay_Req over UDP.
        #[doc(alias = "HWTSTAMP_FILTER_PTP_V2_L4_DELAY_REQ")]
        PTP_V2_L4_DELAY_REQ = 8, "ptpv2-l4-delay-req";
        /// PTPv2 event messages over Ethernet.
        #[doc(alias = "HWTSTAMP_FILTER_PTP_V2_L2_EVENT")]
        PTP_V2_L2_EVENT = 9, "ptpv2-l2-event";
        /// PTPv2 Sync over Ethernet.
        #[doc(alias = "HWTSTAMP_FILTER_PTP_V2_L2_SYNC")]
        PTP_V2_L2_SYNC = 10, "ptpv2-l2-sync";
        /// PTPv2 Delay_Req over Ethernet.
        #[doc(alias = "HWTSTAMP_FILTER_PTP_V2_L2_DELAY_REQ")]
        PTP_V2_L2_DELAY_REQ = 11, "ptpv2-l2-delay-req";
        /// PTPv2 event messages over Ethernet and UDP.
        #[doc(alias = "HWTSTAMP_FILTER_PTP_V2_EVENT")]
        PTP_V2_EVENT = 12, "ptpv2-event";
        /// PTPv2 Sync over Ethernet and UDP.
        #[doc(alias = "HWTSTAMP_FILTER_PTP_V2_SYNC")]
        PTP_V2_SYNC = 13, "ptpv2-sync";
        /// PTPv2 Delay_Req over Ethernet and UDP.
        #[doc(alias = "HWTSTAMP_FILTER_PTP_V2_DELAY_REQ")]
        PTP_V2_DELAY_REQ = 14, "ptpv2-delay-req";
        /// NTP messages. Linux 4.13.
        #[doc(alias = "HWTSTAMP_FILTER_NTP_ALL")]
        NTP_ALL = 15, "ntp-all";
    }
}

impl TxMode {
    /// Whether a card in this mode stamps all that one in mode `needs` would.
    pub fn serves(self, needs: Self) -> bool {
        self == needs || needs == Self::OFF || (needs == Self::ON && self != Self::OFF)
    }
}

impl RxFilter {
    /// Whether a card with this filter stamps all that one with the filter `needs` would.
    ///
    /// Nothing but itself and [`ALL`](Self::ALL) covers a filter of which it is not known what it selects.
    pub fn serves(self, needs: Self) -> bool {
        if self == needs || self == Self::ALL {
            return true;
        }
        matches!((self.kinds(), needs.kinds()), (Some(mine), Some(theirs)) if theirs & !mine == 0)
    }

    /// How many kinds of frames it selects, to find the narrowest of several filters.
    pub(crate) fn breadth(self) -> u32 {
        self.kinds().map_or(u32::MAX, u16::count_ones)
    }

    /// The kinds of frames that it selects, one bit for each that some filter can tell from the rest.
    const fn kinds(self) -> Option<u16> {
        const SYNC: u16 = 0b001;
        const DELAY_REQ: u16 = 0b010;
        const EVENT: u16 = 0b111;
        const V1_L4: u16 = 0;
        const V2_L4: u16 = 3;
        const V2_L2: u16 = 6;
        const NTP: u16 = 1 << 9;
        const REST: u16 = 1 << 10;
        Some(match self {
            Self::NONE => 0,
            Self::ALL => EVENT << V1_L4 | EVENT << V2_L4 | EVENT << V2_L2 | NTP | REST,
            Self::PTP_V1_L4_EVENT => EVENT << V1_L4,
            Self::PTP_V1_L4_SYNC => SYNC << V1_L4,
            Self::PTP_V1_L4_DELAY_REQ => DELAY_REQ << V1_L4,
            Self::PTP_V2_L4_EVENT => EVENT << V2_L4,
            Self::PTP_V2_L4_SYNC => SYNC << V2_L4,
            Self::PTP_V2_L4_DELAY_REQ => DELAY_REQ << V2_L4,
            Self::PTP_V2_L2_EVENT => EVENT << V2_L2,
            Self::PTP_V2_L2_SYNC => SYNC << V2_L2,
            Self::PTP_V2_L2_DELAY_REQ => DELAY_REQ << V2_L2,
            Self::PTP_V2_EVENT => EVENT << V2_L4 | EVENT << V2_L2,
            Self::PTP_V2_SYNC => SYNC << V2_L4 | SYNC << V2_L2,
            Self::PTP_V2_DELAY_REQ => DELAY_REQ << V2_L4 | DELAY_REQ << V2_L2,
            Self::NTP_ALL => NTP,
            _ => return None,
        })
    }
}

/// The timestamp setting of a NIC: which frames it stamps.
///
/// It belongs to the card, not to a socket: all programs of the host share it, and it stays when they end.
///
/// Source: Documentation/networking/timestamping.rst, section 3.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[doc(alias("hwtstamp_config", "hwstamp_ctl"))]
pub struct Hwtstamp {
    tx: TxMode,
    rx: RxFilter,
    /// `HWTSTAMP_FLAG_`: given back as they were found.
    flags: u32,
}

impl Hwtstamp {
    /// The setting with these two modes.
    pub const fn new(tx: TxMode, rx: RxFilter) -> Self {
        Self { tx, rx, flags: 0 }
    }

    /// Which sent frames are stamped.
    pub const fn tx(self) -> TxMode {
        self.tx
    }

    /// Which received frames are stamped.
    pub const fn rx(self) -> RxFilter {
        self.rx
    }

    /// Whether a card with this setting stamps all that one with the setting `needs` would.
    pub fn serves(self, needs: Self) -> bool {
        self.tx.serves(needs.tx) && self.rx.serves(needs.rx)
    }

    /// What is needed for stamps on transmit alone.
    pub(crate) const fn only_tx(tx: TxMode) -> Self {
        Self::new(tx, RxFilter::NONE)
    }

    /// What is needed for stamps on receive alone.
    pub(crate) const fn only_rx(rx: RxFilter) -> Self {
        Self::new(TxMode::OFF, rx)
    }

    pub(crate) const fn with(self, tx: TxMode, rx: RxFilter) -> Self {
        Self { tx, rx, flags: self.flags }
    }

    /// The three numbers of `struct hwtstamp_config`: flags, transmit mode, receive filter.
    pub(crate) const fn to_numbers(self) -> [u32; 3] {
        [self.flags, self.tx.0, self.rx.0]
    }

    pub(crate) const fn from_numbers([flags, tx, rx]: [u32; 3]) -> Self {
        Self { tx: TxMode(tx), rx: RxFilter(rx), flags }
    }

    pub(crate) const fn to_raw(self) -> HwtstampConfig {
        let [flags, tx_type, rx_filter] = self.to_numbers();
        HwtstampConfig { flags, tx_type, rx_filter }
    }

    pub(crate) const fn from_raw(raw: HwtstampConfig) -> Self {
        Self::from_numbers([raw.flags, raw.tx_type, raw.rx_filter])
    }
}

impl fmt::Display for Hwtstamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transmit {}, receive {}", self.tx, self.rx)
    }
}

impl fmt::Debug for Hwtstamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hwtstamp({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_filters() -> impl Iterator<Item = RxFilter> {
        RxFilter::KNOWN.iter().map(|(filter, _)| *filter)
    }

    #[test]
    fn serving_is_an_order() {
        for a in all_filters() {
            assert!(a.serves(a));
            assert!(RxFilter::ALL.serves(a));
            assert_eq!(a.serves(RxFilter::NONE), a != RxFilter::SOME, "{a}: what SOME selects is not known");
            for b in all_filters() {
                assert!(a == b || !(a.serves(b) && b.serves(a)), "{a} {b}");
                for c in all_filters() {
                    assert!(!(a.serves(b) && b.serves(c)) || a.serves(c), "{a} {b} {c}");
                }
            }
        }
    }

    #[test]
    fn event_filters_serve_their_parts() {
        assert!(RxFilter::PTP_V2_EVENT.serves(RxFilter::PTP_V2_L2_SYNC));
        assert!(RxFilter::PTP_V2_SYNC.serves(RxFilter::PTP_V2_L4_SYNC));
        assert!(!RxFilter::PTP_V2_SYNC.serves(RxFilter::PTP_V2_L4_EVENT));
        assert!(!RxFilter::PTP_V2_EVENT.serves(RxFilter::PTP_V1_L4_SYNC));
        assert!(!RxFilter::PTP_V2_EVENT.serves(RxFilter::new(77)));
        assert!(RxFilter::ALL.serves(RxFilter::new(77)));
        assert!(TxMode::ONE_STEP_SYNC.serves(TxMode::ON));
        assert!(!TxMode::ON.serves(TxMode::ONE_STEP_SYNC));
        assert!(!TxMode::OFF.serves(TxMode::ON));
    }

    #[test]
    fn names_are_those_of_ethtool() {
        let setting = Hwtstamp::new(TxMode::ON, RxFilter::PTP_V2_EVENT);
        assert_eq!(setting.to_string(), "transmit on, receive ptpv2-event");
        assert_eq!(RxFilter::new(40).to_string(), "40");
        assert_eq!(Hwtstamp::from_numbers([1, 2, 3]).to_numbers(), [1, 2, 3]);
    }
}
