//! What a probe is on the wire: one file for each format.

pub(crate) mod ptp;
mod seed;
pub(crate) mod stamp;

use fast_afpacket::{Filter, FilterError, MacAddr};

/// Which kind of probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// UDP, as the Go package's example sends it.
    Seed,
    /// PTP over Ethernet: also stamped on receive by cards that stamp only PTP there. Crosses no router.
    Ptp,
    /// PTP over UDP, port 319.
    PtpUdp,
}

/// The UDP ports of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) src: u16,
    pub(crate) dst: u16,
    /// Probes from the source port and so many above it are received.
    pub(crate) more_sources: u16,
}

impl Wire {
    /// The ports, or `None` if a probe is the payload of its Ethernet frame.
    pub(crate) const fn ports(self) -> Option<Ports> {
        match self {
            Self::Seed => Some(Ports { src: 60000, dst: 61000, more_sources: 5 }),
            Self::Ptp => None,
            Self::PtpUdp => Some(Ports { src: ptp::PORT, dst: ptp::PORT, more_sources: 0 }),
        }
    }

    /// A probe's payload, for [`set_id`](Self::set_id) to finish.
    pub(crate) fn payload(self, src_mac: MacAddr, is_ipv6: bool) -> Vec<u8> {
        match self {
            Self::Seed => seed::encode(0).to_vec(),
            Self::PtpUdp if is_ipv6 => [&ptp::message(src_mac)[..], &ptp::BEHIND_IPV6_MESSAGE].concat(),
            Self::Ptp | Self::PtpUdp => ptp::message(src_mac),
        }
    }

    /// Makes a payload that of the probe with this id.
    pub(crate) fn set_id(self, payload: &mut [u8], id: u64) {
        match self {
            Self::Seed => write_at(payload, 0, &seed::encode(id)),
            Self::Ptp | Self::PtpUdp => ptp::set_id(payload, id),
        }
    }

    /// The id of the probe with this payload, or `None` if it is none.
    pub(crate) fn id_in(self, payload: &[u8]) -> Option<u64> {
        match self {
            Self::Seed => seed::decode(payload),
            Self::Ptp | Self::PtpUdp => ptp::decode(payload),
        }
    }

    /// Keeps the frames to this host that may be probes, of a wire without ports.
    pub(crate) fn ethernet_filter() -> Result<Filter, FilterError> {
        ptp::ethernet_filter()
    }
}

/// Overwrites bytes from `at` on, as far as there are any.
pub(crate) fn write_at(bytes: &mut [u8], at: usize, part: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(part) {
        *to = *from;
    }
}
