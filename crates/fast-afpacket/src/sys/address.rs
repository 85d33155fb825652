//! Where a frame is sent: a `sockaddr_ll`, or one of which the interface may change while others send.

use std::ffi::c_int;
use std::marker::PhantomData;
use std::mem::offset_of;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use super::abi::{SOCKADDR_LL_LEN, link_address};

/// The address of an interface, protocol 0, laid out as a `sockaddr_ll`. Any thread may set the interface at any time.
#[repr(C)]
pub(crate) struct InterfaceAddress {
    family: u16,
    protocol: u16,
    index: AtomicI32,
    /// Kind of link, kind of frame, length and bytes of an address: none.
    rest: [u8; 12],
}

const _: () = assert!(size_of::<InterfaceAddress>() == size_of::<libc::sockaddr_ll>());
const _: () = assert!(align_of::<InterfaceAddress>() == align_of::<libc::sockaddr_ll>());
const _: () = assert!(offset_of!(InterfaceAddress, protocol) == offset_of!(libc::sockaddr_ll, sll_protocol));
const _: () = assert!(offset_of!(InterfaceAddress, index) == offset_of!(libc::sockaddr_ll, sll_ifindex));

impl InterfaceAddress {
    pub(crate) const fn new(index: c_int) -> Self {
        let libc::sockaddr_ll { sll_family, sll_protocol, .. } = link_address(0, 0);
        Self { family: sll_family, protocol: sll_protocol, index: AtomicI32::new(index), rest: [0; 12] }
    }

    /// The index of the interface.
    #[inline]
    pub(crate) fn index(&self) -> c_int {
        self.index.load(Ordering::Relaxed)
    }

    /// What is sent while this is done goes to the one interface or to the other.
    pub(crate) fn set_index(&self, index: c_int) {
        self.index.store(index, Ordering::Relaxed);
    }
}

/// Where a message goes.
pub(crate) enum To<'a> {
    /// Where the socket is bound.
    Bound,
    /// To an interface, which may change.
    Interface(&'a InterfaceAddress),
    /// To any address.
    Address(libc::sockaddr_ll),
}

impl To<'_> {
    #[inline]
    pub(super) fn destination(&self) -> Destination<'_> {
        match self {
            Self::Bound => Destination::BOUND,
            Self::Interface(address) => Destination::interface(Some(address)),
            Self::Address(address) => Destination { address, len: SOCKADDR_LL_LEN, borrowed: PhantomData },
        }
    }
}

/// An address as `sendto(2)` wants it: pointer and length.
#[derive(Clone, Copy)]
pub(crate) struct Destination<'a> {
    /// Null, or to 20 bytes that are borrowed for `'a`.
    pub(super) address: *const libc::sockaddr_ll,
    pub(super) len: libc::socklen_t,
    borrowed: PhantomData<&'a libc::sockaddr_ll>,
}

impl<'a> Destination<'a> {
    /// Where the socket is bound. A null pointer, not an empty address, says so: a non-null one of length 0 is `EINVAL`.
    pub(crate) const BOUND: Self = Self { address: ptr::null(), len: 0, borrowed: PhantomData };

    /// The kernel reads it once: it finds the interface from before a change or from after it.
    #[inline]
    pub(crate) fn interface(address: Option<&'a InterfaceAddress>) -> Self {
        let of = |address: &'a InterfaceAddress| {
            let address: *const InterfaceAddress = address;
            Self { address: address.cast(), len: SOCKADDR_LL_LEN, borrowed: PhantomData }
        };
        address.map_or(Self::BOUND, of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_address_is_what_the_kernel_is_to_read() {
        let address = InterfaceAddress::new(7);
        address.set_index(9);
        let InterfaceAddress { family, protocol, index, rest } = address;
        let expected = link_address(0, 9);
        assert_eq!((family, protocol), (expected.sll_family, expected.sll_protocol));
        assert_eq!((index.into_inner(), rest), (expected.sll_ifindex, [0; 12]));
    }
}
