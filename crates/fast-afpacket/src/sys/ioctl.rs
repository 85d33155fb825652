//! What the kernel tells of an interface: names, indices and a handful of ioctls.

use std::ffi::{CStr, CString, c_uint};
use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::abi::{InterfaceRequest, RequestValue};
use super::check;

/// One `SIOCGIF…` on the interface with this name: the 24 bytes that the kernel answers.
fn query(socket: BorrowedFd<'_>, name: &CStr, operation: libc::Ioctl) -> io::Result<[u8; 24]> {
    let mut request = InterfaceRequest { name: [0; libc::IFNAMSIZ], value: RequestValue([0; 24]) };
    if name.count_bytes() >= libc::IFNAMSIZ {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.name.iter_mut().zip(name.to_bytes()) {
        *to = *from;
    }
    let pointer: *mut InterfaceRequest = &mut request;
    // SAFETY: these operations read and write one `struct ifreq`, which the type lays out with its full size; it is
    // exclusively ours during the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), operation, pointer) };
    check(result)?;
    Ok(request.value.0)
}

/// `SIOCGIFHWADDR`: the kind of link (`ARPHRD_`) and the first six bytes of its address.
pub(crate) fn hardware_address(socket: BorrowedFd<'_>, name: &CStr) -> io::Result<(u16, [u8; 6])> {
    let [k0, k1, a, b, c, d, e, f, ..] = query(socket, name, libc::SIOCGIFHWADDR as libc::Ioctl)?;
    Ok((u16::from_ne_bytes([k0, k1]), [a, b, c, d, e, f]))
}

/// `SIOCGIFMTU`, in bytes without the link-layer header.
pub(crate) fn mtu(socket: BorrowedFd<'_>, name: &CStr) -> io::Result<u32> {
    let [a, b, c, d, ..] = query(socket, name, libc::SIOCGIFMTU as libc::Ioctl)?;
    Ok(u32::from_ne_bytes([a, b, c, d]))
}

/// `SIOCGIFFLAGS`: the lower 16 of the `IFF_` flags.
pub(crate) fn flags(socket: BorrowedFd<'_>, name: &CStr) -> io::Result<u16> {
    let [a, b, ..] = query(socket, name, libc::SIOCGIFFLAGS as libc::Ioctl)?;
    Ok(u16::from_ne_bytes([a, b]))
}

/// `SIOCGIFINDEX`: the interface with this name, in the network namespace of the socket.
pub(crate) fn index_of(socket: BorrowedFd<'_>, name: &CStr) -> io::Result<c_uint> {
    let [a, b, c, d, ..] = query(socket, name, libc::SIOCGIFINDEX as libc::Ioctl)?;
    Ok(c_uint::from_ne_bytes([a, b, c, d]))
}

/// A name as the kernel gives it: asking for one makes nothing on the heap.
pub(crate) struct InterfaceName([u8; libc::IFNAMSIZ]);

impl Deref for InterfaceName {
    type Target = CStr;

    fn deref(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }
}

/// `SIOCGIFNAME`: the name that the interface with this index has now, in the network namespace of the socket.
pub(crate) fn name_of(socket: BorrowedFd<'_>, index: c_uint) -> io::Result<InterfaceName> {
    let mut request = InterfaceRequest { name: [0; libc::IFNAMSIZ], value: RequestValue([0; 24]) };
    for (to, from) in request.value.0.iter_mut().zip(index.to_ne_bytes()) {
        *to = from;
    }
    let pointer: *mut InterfaceRequest = &mut request;
    // SAFETY: this operation reads and writes one `struct ifreq`, which the type lays out with its full size; it is
    // exclusively ours during the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFNAME as libc::Ioctl, pointer) };
    check(result)?;
    Ok(InterfaceName(request.name))
}

/// All interfaces of the network namespace, with their indices.
pub(crate) fn interfaces() -> io::Result<Vec<(c_uint, CString)>> {
    // SAFETY: no memory is passed.
    let list = unsafe { libc::if_nameindex() };
    if list.is_null() {
        return Err(io::Error::last_os_error());
    }
    let mut found = Vec::new();
    let mut entry = list;
    loop {
        // SAFETY: the list ends with an entry whose index is 0 and name is null; we stop there, so `entry` is inside.
        let libc::if_nameindex { if_index, if_name } = unsafe { entry.read() };
        if if_index == 0 || if_name.is_null() {
            break;
        }
        // SAFETY: the name of an entry that is not the last is a string that ends with NUL and lives as long as the list.
        let name = unsafe { CStr::from_ptr(if_name) };
        found.push((if_index, name.to_owned()));
        // SAFETY: this entry was not the last, so the next is inside the list too.
        entry = unsafe { entry.add(1) };
    }
    // SAFETY: the list came from if_nameindex and is not used after this.
    unsafe { libc::if_freenameindex(list) };
    Ok(found)
}
