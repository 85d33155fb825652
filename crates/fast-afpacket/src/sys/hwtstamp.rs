//! The ioctls about a NIC's timestamps: what it can take, what it is set to take. Netlink has them too, but not for
//! every driver (Linux 6.18).

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;

const ETHTOOL_GET_TS_INFO: u32 = 0x41;

/// `struct ethtool_ts_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TsInfo {
    pub(crate) command: u32,
    /// `SOF_TIMESTAMPING_` flags.
    pub(crate) so_timestamping: u32,
    /// The number of `/dev/ptpN`, -1 for none.
    pub(crate) phc_index: i32,
    /// Bit n for `HWTSTAMP_TX_` n.
    pub(crate) tx_types: u32,
    pub(crate) tx_reserved: [u32; 3],
    /// Bit n for `HWTSTAMP_FILTER_` n.
    pub(crate) rx_filters: u32,
    pub(crate) rx_reserved: [u32; 3],
}
const _: () = assert!(size_of::<TsInfo>() == 44);

/// `struct hwtstamp_config`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct HwtstampConfig {
    pub(crate) flags: u32,
    pub(crate) tx_type: u32,
    pub(crate) rx_filter: u32,
}
const _: () = assert!(size_of::<HwtstampConfig>() == size_of::<libc::hwtstamp_config>());

/// A `struct ifreq` whose union holds `ifr_data`.
#[repr(C)]
struct DataRequest<T> {
    name: [u8; libc::IFNAMSIZ],
    data: *mut T,
    // The union is larger than the pointer: the kernel copies all of it.
    rest: [u8; 24 - size_of::<*mut u8>()],
}
const _: () = assert!(size_of::<DataRequest<TsInfo>>() == 40);

/// What the driver can do: `ETHTOOL_GET_TS_INFO`. Needs no right.
pub(crate) fn ts_info(socket: BorrowedFd<'_>, name: &CStr) -> io::Result<TsInfo> {
    let mut info = TsInfo { command: ETHTOOL_GET_TS_INFO, ..TsInfo::default() };
    // ETHTOOL_GET_TS_INFO reads and writes one `struct ethtool_ts_info`.
    request(socket, name, libc::SIOCETHTOOL as libc::Ioctl, &mut info)?;
    Ok(info)
}

/// What the NIC is set to: `SIOCGHWTSTAMP`. Needs no right.
pub(crate) fn read(socket: BorrowedFd<'_>, name: &CStr) -> io::Result<HwtstampConfig> {
    let mut config = HwtstampConfig::default();
    request(socket, name, libc::SIOCGHWTSTAMP as libc::Ioctl, &mut config)?;
    Ok(config)
}

/// Sets the NIC: `SIOCSHWTSTAMP`. Gives what the driver made of it, which may be more.
pub(crate) fn write(socket: BorrowedFd<'_>, name: &CStr, config: HwtstampConfig) -> io::Result<HwtstampConfig> {
    let mut config = config;
    request(socket, name, libc::SIOCSHWTSTAMP as libc::Ioctl, &mut config)?;
    Ok(config)
}

/// One ioctl whose `ifr_data` points to a `T`. The callers above fix which type goes with which operation.
fn request<T>(socket: BorrowedFd<'_>, name: &CStr, operation: libc::Ioctl, data: &mut T) -> io::Result<()> {
    let mut request = DataRequest { name: [0; libc::IFNAMSIZ], data, rest: [0; _] };
    if name.count_bytes() >= libc::IFNAMSIZ {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.name.iter_mut().zip(name.to_bytes()) {
        *to = *from;
    }
    let pointer: *mut DataRequest<T> = &mut request;
    // SAFETY: these operations read and write one `struct ifreq`, laid out with its full size, and the structure behind
    // its pointer, which each caller chose for its operation; both are exclusively ours during the call, and every bit
    // pattern is valid for their integers.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), operation, pointer) };
    check(result).map(drop)
}
