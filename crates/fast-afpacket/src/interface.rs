//! Network interfaces of the calling thread's network namespace.

use std::borrow::Cow;
use std::ffi::{CStr, CString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use bitflags::bitflags;

use crate::addr::MacAddr;
use crate::error::{Context, Error, Step};
use crate::sys;
use crate::sys::ioctl;

/// A network interface: its index, and the name that it had when it was looked up.
///
/// The index identifies it for as long as it exists; the name may change. Every look-up asks by index, in the network
/// namespace of the calling thread.
///
/// ```
/// use fast_afpacket::{Interface, InterfaceFlags};
///
/// for interface in Interface::all()? {
///     if interface.flags()?.contains(InterfaceFlags::LOOPBACK) {
///         assert_eq!(interface.mac()?, None);
///     }
/// }
/// # Ok::<(), fast_afpacket::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
#[doc(alias = "ifindex")]
pub struct Interface {
    index: u32,
    name: CString,
}

impl Interface {
    /// The interface with this name.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is none, also for text that cannot be a name (empty, longer than 15 bytes, with a NUL).
    #[doc(alias("if_nametoindex", "SIOCGIFINDEX"))]
    pub fn by_name(name: &str) -> Result<Self, Error> {
        let no_such_device = || io::Error::from_raw_os_error(libc::ENODEV);
        let find = || {
            let c_name = CString::new(name).map_err(|_| no_such_device())?;
            let index = ioctl::index_of(&c_name)?;
            Ok(Self { index, name: c_name })
        };
        find().during(Step::Interface, &format!("interface {name:?}"))
    }

    /// The interface of a socket that has none.
    #[cfg(fuzzing)]
    pub(crate) fn nowhere() -> Self {
        Self { index: 0, name: CString::default() }
    }

    /// The interface with this index.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is none.
    #[doc(alias = "if_indextoname")]
    pub fn by_index(index: u32) -> Result<Self, Error> {
        let find = || ioctl::name_of(sys::ioctl_socket()?.as_fd(), index);
        let name = find().during(Step::Interface, &format!("interface number {index}"))?;
        Ok(Self { index, name: CString::from(&*name) })
    }

    /// All interfaces, in the order of their indices.
    ///
    /// # Errors
    ///
    /// What the kernel says when it cannot list them: `EMFILE`, `ENOBUFS`.
    #[doc(alias("if_nameindex", "Interfaces"))]
    pub fn all() -> Result<Vec<Self>, Error> {
        let mut found = ioctl::interfaces().during(Step::Interface, "all interfaces")?;
        found.sort();
        let interfaces = found.into_iter().map(|(index, name)| Self { index, name });
        Ok(interfaces.collect())
    }

    /// The index, from 1.
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// The name at the time of the look-up. Bytes that are not UTF-8, which Linux allows, are replaced.
    pub fn name(&self) -> Cow<'_, str> {
        self.name.to_string_lossy()
    }

    /// The MAC address, or `None` where there is none: loopback, tunnels, and links whose addresses are not 6 bytes long.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the interface is gone.
    #[doc(alias = "SIOCGIFHWADDR")]
    pub fn mac(&self) -> Result<Option<MacAddr>, Error> {
        let (kind, octets) = self.query(ioctl::hardware_address)?;
        // The ioctl does not say how long the address is; only links that look like Ethernet have a MAC address.
        Ok((kind == libc::ARPHRD_ETHER).then_some(MacAddr::new(octets)))
    }

    /// The kind of link, an `ARPHRD_` number: 1 for Ethernet, 772 for the loopback interface.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the interface is gone.
    #[doc(alias("ARPHRD", "SIOCGIFHWADDR"))]
    pub fn hardware_type(&self) -> Result<u16, Error> {
        self.query(ioctl::hardware_address).map(|(kind, _)| kind)
    }

    /// The MTU in bytes: the longest frame without its link-layer header.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the interface is gone.
    #[doc(alias = "SIOCGIFMTU")]
    pub fn mtu(&self) -> Result<u32, Error> {
        self.query(ioctl::mtu)
    }

    /// Whether it is up, has a carrier, and so on.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the interface is gone.
    #[doc(alias = "SIOCGIFFLAGS")]
    pub fn flags(&self) -> Result<InterfaceFlags, Error> {
        self.query(ioctl::flags).map(InterfaceFlags::from_bits_retain)
    }

    pub(crate) fn query<T>(&self, ask: impl Fn(BorrowedFd<'_>, &CStr) -> io::Result<T>) -> Result<T, Error> {
        let find = || self.query_through(sys::ioctl_socket()?.as_fd(), ask);
        find().during(Step::Interface, &self.name())
    }

    /// Asks for a property in the network namespace of this socket, by the name that the interface has now.
    pub(crate) fn query_through<T>(
        &self,
        socket: BorrowedFd<'_>,
        ask: impl Fn(BorrowedFd<'_>, &CStr) -> io::Result<T>,
    ) -> io::Result<T> {
        let name = ioctl::name_of(socket, self.index)?;
        ask(socket, &name)
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Interface({}, {:?})", self.index, self.name())
    }
}

bitflags! {
    /// The state of an interface: `IFF_` of netdevice(7).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[doc(alias = "IFF")]
    pub struct InterfaceFlags: u16 {
        /// Set up by the administrator.
        #[doc(alias = "IFF_UP")]
        const UP = 0x1;
        /// Has a broadcast address.
        #[doc(alias = "IFF_BROADCAST")]
        const BROADCAST = 0x2;
        /// The loopback interface.
        #[doc(alias = "IFF_LOOPBACK")]
        const LOOPBACK = 0x8;
        /// A point-to-point link.
        #[doc(alias = "IFF_POINTOPOINT")]
        const POINT_TO_POINT = 0x10;
        /// Operational: there is a carrier.
        #[doc(alias = "IFF_RUNNING")]
        const RUNNING = 0x40;
        /// Has no address resolution.
        #[doc(alias = "IFF_NOARP")]
        const NO_ARP = 0x80;
        /// The administrator made it promiscuous. A socket's membership does not show here.
        #[doc(alias = "IFF_PROMISC")]
        const PROMISCUOUS = 0x100;
        /// The administrator made it receive all multicast frames. A socket's membership does not show here.
        #[doc(alias = "IFF_ALLMULTI")]
        const ALL_MULTICAST = 0x200;
        /// Supports multicast.
        #[doc(alias = "IFF_MULTICAST")]
        const MULTICAST = 0x1000;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_no_mac() {
        let Ok(lo) = Interface::by_name("lo") else {
            return; // a network namespace may be without one; the network tests look at their own
        };
        assert_eq!(lo.mac().unwrap(), None);
        assert!(lo.flags().unwrap().contains(InterfaceFlags::LOOPBACK));
        assert_eq!(Interface::by_index(lo.index()).unwrap(), lo);
        assert!(Interface::all().unwrap().contains(&lo));
    }

    #[test]
    fn errors_name_the_interface() {
        for name in ["no-such-iface", "", "a-name-that-is-far-too-long", "nul\0inside"] {
            let error = Interface::by_name(name).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "{error}");
            assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
        }
        let error = Interface::by_index(0x7fff_fff0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "{error}");
        assert!(error.to_string().contains("2147483632"), "{error}");
    }
}
