//! Network interfaces, of the calling thread's network namespace or of another.

use std::borrow::Cow;
use std::ffi::{CStr, CString};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bitflags::bitflags;

use crate::addr::MacAddr;
use crate::error::{Context, Error, Step};
use crate::netns::{Netns, OtherNamespace};
use crate::refusal::Refusal;
use crate::sys;
use crate::sys::ioctl;

/// A network interface: its index, and the name that it had when it was looked up.
///
/// The index identifies it for as long as it exists; the name may change. Every look-up asks by index.
///
/// An index means something in one network namespace only. The functions here look the interface up in that of the calling
/// thread, [`Netns::interface`] in another; either way it is known which one that was (since Linux 5.14). What is asked of
/// an interface of the first kind on a thread in another namespace, and a socket that is to be bound to it there, is
/// refused: it would be about another interface that happens to have the same index. One of the second kind is asked and
/// bound where it is, from any thread.
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
#[derive(Clone)]
#[doc(alias = "ifindex")]
pub struct Interface {
    index: u32,
    name: CString,
    /// The cookie of the network namespace in which it was looked up; `None` before Linux 5.14.
    namespace: Option<u64>,
    /// The way to that namespace, if it need not be the calling thread's.
    netns: Option<Netns>,
}

impl Interface {
    /// The interface with this name.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is none, also for text that cannot be a name ([`Refusal::InvalidName`]: empty, longer than 15 bytes,
    /// with a NUL, a slash, a colon or a space).
    #[doc(alias("if_nametoindex", "SIOCGIFINDEX"))]
    pub fn by_name(name: &str) -> Result<Self, Error> {
        let what = format!("interface {name:?}");
        let socket = sys::ioctl_socket().during(Step::Interface, &what)?;
        Self::find(socket.as_fd(), name, &what)
    }

    /// The interface with this name in the network namespace of a socket, whatever its family.
    ///
    /// For a socket that somebody opened elsewhere, a helper outside of a container for a program inside:
    /// [`Options::bind_fd`](crate::Options::bind_fd). Such an interface can be bound by that socket. What it is, can be asked
    /// only on a thread in its namespace; who may enter that has [`Netns::interface`].
    ///
    /// # Errors
    ///
    /// Those of [`by_name`](Self::by_name); `ENOTTY` if the descriptor is of no socket.
    #[doc(alias("SIOCGIFINDEX", "SCM_RIGHTS"))]
    pub fn by_name_through(socket: impl AsFd, name: &str) -> Result<Self, Error> {
        Self::find(socket.as_fd(), name, &format!("interface {name:?} of a socket"))
    }

    /// The interface with this name in the network namespace of a socket. `what`: the same, in words.
    pub(crate) fn find(socket: BorrowedFd<'_>, name: &str, what: &str) -> Result<Self, Error> {
        let Some(name) = checked(name) else {
            let remedy = "a name has 1 to 15 bytes, without slashes, colons and spaces";
            let source = io::Error::from_raw_os_error(libc::ENODEV);
            return Err(Error::judged(Step::Interface, what, source, (Refusal::InvalidName, Some(remedy))));
        };
        let index = ioctl::index_of(socket, &name).during(Step::Interface, what)?;
        Ok(Self { index, name, namespace: sys::netns::cookie(socket).ok(), netns: None })
    }

    /// The interface of a socket that has none.
    #[cfg(fuzzing)]
    pub(crate) fn nowhere() -> Self {
        Self { index: 0, name: CString::default(), namespace: None, netns: None }
    }

    /// The interface with this index.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is none.
    #[doc(alias = "if_indextoname")]
    pub fn by_index(index: u32) -> Result<Self, Error> {
        let find = || {
            let socket = sys::ioctl_socket()?;
            let name = CString::from(&*ioctl::name_of(socket.as_fd(), index)?);
            Ok(Self { index, name, namespace: sys::netns::cookie(socket.as_fd()).ok(), netns: None })
        };
        find().during(Step::Interface, &format!("interface number {index}"))
    }

    /// All interfaces, in the order of their indices.
    ///
    /// # Errors
    ///
    /// What the kernel says when it cannot list them: `EMFILE`, `ENOBUFS`.
    #[doc(alias("if_nameindex", "Interfaces"))]
    pub fn all() -> Result<Vec<Self>, Error> {
        let find = || {
            let namespace = sys::netns::cookie(sys::ioctl_socket()?.as_fd()).ok();
            let mut found = ioctl::interfaces()?;
            found.sort();
            let interfaces = found.into_iter().map(|(index, name)| Self { index, name, namespace, netns: None });
            Ok(interfaces.collect())
        };
        find().during(Step::Interface, "all interfaces")
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
        let find = || match &self.netns {
            Some(netns) => self.query_through(netns.socket(), ask),
            None => self.query_through(self.ioctl_socket()?.as_fd(), ask),
        };
        find().during(Step::Interface, &self.name())
    }

    /// A socket of its own in the interface's network namespace, for ioctls.
    pub(crate) fn ioctl_socket(&self) -> io::Result<OwnedFd> {
        if let Some(netns) = &self.netns {
            return netns.socket().try_clone_to_owned();
        }
        let socket = sys::ioctl_socket()?;
        self.check_namespace(socket.as_fd())?;
        Ok(socket)
    }

    /// Refuses a socket of another network namespace, where the index is that of another interface.
    pub(crate) fn check_namespace(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let is_other = self.namespace.is_some_and(|own| sys::netns::cookie(socket).is_ok_and(|its| its != own));
        if is_other { Err(OtherNamespace.into()) } else { Ok(()) }
    }

    /// The way to the interface's network namespace, if it was looked up through one.
    pub(crate) fn netns(&self) -> Option<&Netns> {
        self.netns.as_ref()
    }

    /// The same interface, to be asked and bound in this namespace from any thread.
    ///
    /// # Errors
    ///
    /// [`OtherNamespace`] if it is not of this namespace, or, before Linux 5.14, may not be.
    pub(crate) fn within(&self, netns: &Netns) -> io::Result<Self> {
        let is_same = match &self.netns {
            Some(own) => own == netns,
            None => self.namespace.is_some() && self.namespace == sys::netns::cookie(netns.socket()).ok(),
        };
        if !is_same {
            return Err(OtherNamespace.into());
        }
        Ok(Self { netns: Some(netns.clone()), ..self.clone() })
    }

    /// An interface that was just looked up in this namespace.
    pub(crate) fn found_in(self, netns: &Netns) -> Self {
        Self { netns: Some(netns.clone()), ..self }
    }

    /// Asks for a property in the network namespace of this socket, by the name that the interface has now.
    pub(crate) fn query_through<T>(
        &self,
        socket: BorrowedFd<'_>,
        ask: impl Fn(BorrowedFd<'_>, &CStr) -> io::Result<T>,
    ) -> io::Result<T> {
        query_index(socket, self.index, ask)
    }

    /// The interface that has this one's name now, in the network namespace of this socket: this one or another.
    pub(crate) fn namesake(&self, socket: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self { index: ioctl::index_of(socket, &self.name)?, ..self.clone() })
    }

    /// The interface with this index beside this one, with the name that it has now. The socket is in their network
    /// namespace.
    pub(crate) fn sibling(&self, socket: BorrowedFd<'_>, index: u32) -> io::Result<Self> {
        Ok(Self { index, name: CString::from(&*ioctl::name_of(socket, index)?), ..self.clone() })
    }
}

/// Asks for a property of the interface with this index in the network namespace of this socket.
pub(crate) fn query_index<T>(
    socket: BorrowedFd<'_>,
    index: u32,
    ask: impl Fn(BorrowedFd<'_>, &CStr) -> io::Result<T>,
) -> io::Result<T> {
    let name = ioctl::name_of(socket, index)?;
    ask(socket, &name)
}

/// The same index and name in the same network namespace.
impl PartialEq for Interface {
    fn eq(&self, other: &Self) -> bool {
        (self.index, self.namespace, &self.name) == (other.index, other.namespace, &other.name)
    }
}

impl Eq for Interface {}

impl Hash for Interface {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.index, self.namespace, &self.name).hash(state);
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

/// A name as the kernel takes it. At a colon it would cut it off and find another one.
fn checked(name: &str) -> Option<CString> {
    let is_name = (1..libc::IFNAMSIZ).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.bytes().any(|byte| matches!(byte, b'/' | b':' | b'\x0b') || byte.is_ascii_whitespace());
    CString::new(name).ok().filter(|_| is_name)
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
        for name in
            ["no-such-iface", "", "a-name-that-is-far-too-long", "nul\0inside", "..", "lo:0", "a b", "sixteen-letters-"]
        {
            let error = Interface::by_name(name).unwrap_err();
            let is_name = name == "no-such-iface";
            assert_eq!(error.refusal(), if is_name { Refusal::NoSuchInterface } else { Refusal::InvalidName });
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "{error}");
            assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
        }
        let error = Interface::by_index(0x7fff_fff0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "{error}");
        assert!(error.to_string().contains("2147483632"), "{error}");
    }
}
