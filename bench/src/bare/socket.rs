//! A packet socket: opened, set, bound; and memory that it shares with the kernel.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};

use fast_afpacket_bench_harness::{Setup, socket};
use libc::{c_int, c_void};

use super::Qdisc;

pub(super) const ETH_P_ALL: u16 = 3;
/// For a socket that only sends: it receives nothing, and the kernel looks into each frame for its protocol.
pub(super) const ETH_P_NONE: u16 = 0;
pub(super) const NANOS: i64 = 1_000_000_000;

/// Bytes of a slot of a ring that is handed over slot by slot, and of a block of them.
pub(super) const SLOT: u32 = 2048;
const BLOCK: u32 = 64 << 10;

/// What a system call returned, if it is not -1.
#[inline]
pub(super) fn checked(returned: isize) -> io::Result<u64> {
    u64::try_from(returned).map_err(|_| io::Error::last_os_error())
}

#[inline]
fn checked_int(returned: c_int) -> io::Result<c_int> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}

/// `size_of` in the type of socket calls.
#[expect(clippy::cast_possible_truncation, reason = "no struct here has 4 GiB")]
pub(super) const fn len_of<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

pub(super) struct Socket {
    fd: OwnedFd,
}

impl Socket {
    /// A raw socket that receives nothing yet.
    pub(super) fn open() -> io::Result<Self> {
        // SAFETY: no pointers.
        let fd = checked_int(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
        // SAFETY: the descriptor is new, and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }

    /// For sending, bound.
    pub(super) fn sender(setup: &Setup, qdisc: Qdisc) -> io::Result<Self> {
        let socket = Self::open()?;
        if qdisc == Qdisc::Bypassed {
            socket.set(libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)?;
        }
        socket.bind(&setup.interface, ETH_P_NONE)?;
        Ok(socket)
    }

    /// For receiving, with stamps, not bound yet.
    pub(super) fn receiver(setup: &Setup) -> io::Result<Self> {
        let socket = Self::open()?;
        socket.ask_for_stamps(libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE)?;
        if let Some(bytes) = setup.receive_buffer {
            let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
            // Without privileges as much as the system allows.
            socket
                .set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
                .or_else(|_| socket.set(libc::SOL_SOCKET, libc::SO_RCVBUF, bytes))?;
        }
        Ok(socket)
    }

    pub(super) fn ask_for_stamps(&self, which: libc::c_uint) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_TIMESTAMPING, which)
    }

    /// Lets calls that wait for a frame end at times.
    pub(super) fn limit_wait(&self) -> io::Result<()> {
        socket::limit_wait(&self.fd)
    }

    /// Sets an option that is an integer or a plain struct of them.
    pub(super) fn set<T: Copy>(&self, level: c_int, name: c_int, value: T) -> io::Result<()> {
        let (pointer, len) = (ptr::from_ref(&value).cast::<c_void>(), len_of::<T>());
        // SAFETY: the pointer is to that many bytes, which the kernel reads.
        checked_int(unsafe { libc::setsockopt(self.raw(), level, name, pointer, len) })?;
        Ok(())
    }

    pub(super) fn bind(&self, interface: &str, protocol: u16) -> io::Result<()> {
        let name = CString::new(interface)?;
        // SAFETY: the name ends with a zero byte.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        let address =
            libc::sockaddr_ll { sll_protocol: protocol.to_be(), sll_ifindex: index.cast_signed(), ..no_address() };
        let pointer = ptr::from_ref(&address).cast();
        // SAFETY: the pointer is to an address of that length.
        checked_int(unsafe { libc::bind(self.raw(), pointer, len_of::<libc::sockaddr_ll>()) })?;
        Ok(())
    }

    /// How many frames were dropped since the last call.
    pub(super) fn dropped(&self) -> io::Result<u64> {
        // Long enough for rings of version 3 too.
        let mut stats = [0_u32; 3];
        let mut len = len_of::<[u32; 3]>();
        let pointer = stats.as_mut_ptr().cast::<c_void>();
        // SAFETY: the pointers are to `len` bytes and to `len`.
        checked_int(unsafe {
            libc::getsockopt(self.raw(), libc::SOL_PACKET, libc::PACKET_STATISTICS, pointer, &raw mut len)
        })?;
        let [_, dropped, _] = stats;
        Ok(dropped.into())
    }

    /// Waits until there is something to read, for a tenth of a second at most.
    pub(super) fn wait(&self) -> io::Result<()> {
        let mut waited_for = libc::pollfd { fd: self.raw(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the pointer is to one struct.
        checked_int(unsafe { libc::poll(&raw mut waited_for, 1, socket::IDLE_MILLIS.into()) })?;
        Ok(())
    }

    /// Makes a ring of slots, for receiving or sending, and says how many.
    pub(super) fn slots(&self, kind: c_int, blocks: u32) -> io::Result<(Mapping, usize)> {
        self.set(libc::SOL_PACKET, libc::PACKET_VERSION, 1)?; // TPACKET_V2
        let slots = BLOCK / SLOT * blocks;
        let request =
            libc::tpacket_req { tp_block_size: BLOCK, tp_block_nr: blocks, tp_frame_size: SLOT, tp_frame_nr: slots };
        self.set(libc::SOL_PACKET, kind, request)?;
        // A block holds a whole number of slots, so they lie side by side.
        Ok((self.map((BLOCK * blocks) as usize)?, slots as usize))
    }

    /// Maps this much memory of a ring.
    pub(super) fn map(&self, len: usize) -> io::Result<Mapping> {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
        // SAFETY: a new mapping, where the kernel likes.
        let memory = unsafe { libc::mmap(ptr::null_mut(), len, access, kind, self.raw(), 0) };
        match NonNull::new(memory.cast()) {
            Some(start) if memory != libc::MAP_FAILED => Ok(Mapping { start, len }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    #[inline]
    pub(super) fn raw(&self) -> c_int {
        self.fd.as_raw_fd()
    }
}

pub(super) const fn no_address() -> libc::sockaddr_ll {
    #[expect(clippy::cast_possible_truncation, reason = "it is 17")]
    let sll_family = libc::AF_PACKET as u16;
    libc::sockaddr_ll {
        sll_family,
        sll_protocol: 0,
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

/// Memory that the kernel shares.
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    /// The address of this byte. It must be in the mapping.
    #[inline]
    pub(super) fn at(&self, offset: usize) -> *mut u8 {
        debug_assert!(offset < self.len);
        self.start.as_ptr().wrapping_add(offset)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the whole mapping, and what borrowed it is gone.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
