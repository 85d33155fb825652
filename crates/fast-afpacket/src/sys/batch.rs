//! Several messages in one system call: `sendmmsg(2)`, `recvmmsg(2)`.

use std::ffi::{c_int, c_uint};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::slice;

use super::abi::{self, SOCKADDR_LL_LEN, VNET_HEADER_LEN};
use super::cmsg::ControlBuffer;
use super::{Message, Received, check, message_header, retry, retry_receive};

/// How many messages one call sends at most. What a call itself costs is small then beside what the messages cost, and the
/// arrays below fit on a stack.
pub(crate) const SEND_MAX: usize = 64;

/// One `sendmmsg(2)` with `MSG_DONTWAIT`, of up to [`SEND_MAX`] messages, one for each of these items; `complete` fills an
/// empty message, and the first for which it says no ends the batch. Gives how many were taken, which is 0 only for none.
///
/// # Errors
///
/// That of the first message. Why a later one was refused is not said: it is to be sent again.
#[inline]
pub(crate) fn send_batch<'a, T, const N: usize>(
    fd: BorrowedFd<'_>,
    items: impl Iterator<Item = T>,
    mut complete: impl FnMut(T, &mut Message<'a, N>) -> bool,
) -> io::Result<usize> {
    let mut places = [const { MaybeUninit::<Place<'a, N>>::uninit() }; SEND_MAX];
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; SEND_MAX];
    let mut count: c_uint = 0;
    // In this order: an item is taken only if there is a place for it.
    for ((place, header), item) in places.iter_mut().zip(&mut headers).zip(items) {
        let place = place.write(Place { message: Message::new(&[]), vectors: [EMPTY; 2] });
        if !complete(item, &mut place.message) {
            break;
        }
        // Not before: they point into the message.
        place.vectors = place.message.vectors();
        let Place { message, vectors } = place;
        header.write(libc::mmsghdr { msg_hdr: message.header(vectors), msg_len: 0 });
        count += 1;
    }
    if count == 0 {
        return Ok(0);
    }
    let sent = retry(|| {
        // SAFETY: the first `count` headers are written, and point to places that are, with their true lengths; both stay
        // where they are until after the call. It writes to the headers' lengths only, through the pointer to all of them.
        check(unsafe { libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr().cast(), count, libc::MSG_DONTWAIT as _) })
    })?;
    Ok(usize::try_from(sent).unwrap_or(0))
}

const EMPTY: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };

/// A message and the vectors that its header points to. Neither has anything to drop.
struct Place<'a, const N: usize> {
    message: Message<'a, N>,
    vectors: [libc::iovec; 2],
}

/// Room for several messages that are received in one call.
///
/// The headers that the kernel is given point into the rest, so none of it moves or is reached by another pointer.
pub(crate) struct Inbox<const N: usize> {
    headers: Kept<libc::mmsghdr>,
    places: Kept<Arrival<N>>,
    data: Kept<u8>,
    /// From the data of one message to that of the next.
    stride: usize,
    data_len: usize,
    /// How many headers were written by the kernel and are to be made ready again.
    used: usize,
    with_addresses: bool,
    /// Whether the headers make room for what stands before the data.
    with_head: bool,
}

/// What the kernel writes beside the data.
struct Arrival<const N: usize> {
    vector: libc::iovec,
    address: libc::sockaddr_ll,
    control: ControlBuffer<N>,
}

// SAFETY: it owns all that its pointers point to, and nothing of that belongs to a thread.
unsafe impl<const N: usize> Send for Inbox<N> {}
// SAFETY: through a shared reference it is only read.
unsafe impl<const N: usize> Sync for Inbox<N> {}

/// What stands before the data, and as much as puts an IP header behind 14 bytes of Ethernet on a multiple of 16.
const DATA_AT: usize = 18;
const _: () = assert!(DATA_AT >= VNET_HEADER_LEN);

impl<const N: usize> Inbox<N> {
    /// Room for so many messages, at least one, of so many bytes each, with addresses or without; `None` if that is more than there are addresses for.
    pub(crate) fn new(messages: usize, data_len: usize, with_addresses: bool) -> Option<Self> {
        const LINE: usize = 64;
        let messages = messages.max(1);
        let stride = data_len.checked_add(DATA_AT)?.checked_next_multiple_of(LINE)?;
        let bytes = stride.checked_mul(messages).filter(|&bytes| isize::try_from(bytes).is_ok())?;
        let header = || libc::mmsghdr { msg_hdr: message_header(&mut []), msg_len: 0 };
        let arrival = || Arrival { vector: EMPTY, address: abi::link_address(0, 0), control: ControlBuffer::new() };
        let mut inbox = Self {
            headers: Kept::new((0..messages).map(|_| header()).collect()),
            places: Kept::new((0..messages).map(|_| arrival()).collect()),
            data: Kept::new(vec![0; bytes].into()),
            stride,
            data_len,
            used: messages,
            with_addresses,
            with_head: false,
        };
        inbox.lay_out();
        Some(inbox)
    }

    pub(crate) fn capacity(&self) -> usize {
        self.headers.len()
    }

    /// One `recvmmsg(2)` with `flags`, for as many messages as there is room for and as there are. What
    /// was received before is gone.
    #[inline]
    pub(crate) fn receive(&mut self, fd: BorrowedFd<'_>, with_head: bool, flags: c_int) -> io::Result<usize> {
        if self.with_head != with_head {
            self.with_head = with_head;
            self.lay_out();
        }
        self.make_ready();
        let count = c_uint::try_from(self.capacity()).unwrap_or(c_uint::MAX);
        let received = retry_receive(flags, || {
            // SAFETY: there are that many headers, each of which points to an address, a control buffer and data of its
            // own with their true lengths. All are owned by this value, which is borrowed exclusively.
            check(unsafe { libc::recvmmsg(fd.as_raw_fd(), self.headers.pointer(), count, flags as _, ptr::null_mut()) })
        })?;
        self.used = usize::try_from(received).unwrap_or(0).min(self.capacity());
        Ok(self.used)
    }

    /// Gives back to the headers in use the lengths that the kernel has overwritten. It writes to nothing else that they
    /// are made of.
    #[inline]
    fn make_ready(&mut self) {
        for at in 0..self.used {
            let Some(header) = self.headers.at(at) else { break };
            // SAFETY: the header is owned by `self`, which is borrowed exclusively; no reference to it is alive.
            let header = unsafe { &mut (*header).msg_hdr };
            if self.with_addresses {
                header.msg_namelen = SOCKADDR_LL_LEN;
            }
            header.msg_controllen = N as _;
        }
        self.used = 0;
    }

    /// Makes all headers point to what belongs to them.
    #[cold]
    fn lay_out(&mut self) {
        let head_len = if self.with_head { VNET_HEADER_LEN } else { 0 };
        for at in 0..self.capacity() {
            let (Some(header), Some(place)) = (self.headers.at(at), self.places.at(at)) else {
                return;
            };
            // SAFETY: `data` has `stride` bytes for each place; `DATA_AT` and the data fit into them.
            let data = unsafe { self.data.pointer().add(at * self.stride + DATA_AT - head_len) };
            // Pointers that stay good also when the place is read through a reference.
            // SAFETY: it lies within the live place that `at` gave.
            let vector = unsafe { &raw mut (*place).vector };
            // SAFETY: as above.
            let address = unsafe { &raw mut (*place).address };
            // SAFETY: as above.
            let control = unsafe { &raw mut (*place).control };
            // SAFETY: the place is owned by `self`, which is borrowed exclusively; no reference to it is alive.
            unsafe { vector.write(libc::iovec { iov_base: data.cast(), iov_len: self.data_len + head_len }) };
            // SAFETY: as above, of the header.
            let header = unsafe { &mut (*header).msg_hdr };
            if self.with_addresses {
                header.msg_name = address.cast();
                header.msg_namelen = SOCKADDR_LL_LEN;
            }
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_control = control.cast();
            header.msg_controllen = N as _;
        }
        self.used = 0;
    }

    /// What was received in this place, if anything was.
    #[inline]
    pub(crate) fn message(&self, at: usize) -> Option<Arrived<'_>> {
        if at >= self.used {
            return None;
        }
        let (header, place) = (self.headers.get(at)?, self.places.get(at)?);
        let len = usize::try_from(header.msg_len).unwrap_or(0);
        let received =
            Received { len, flags: header.msg_hdr.msg_flags, control_len: header.msg_hdr.msg_controllen as _ };
        let control = place.control.written(received.control_len);
        Some(Arrived { received, address: &place.address, control })
    }

    /// The data in this place from its beginning, behind what stands before it: all that there is room for.
    #[inline]
    pub(crate) fn data(&self, at: usize) -> &[u8] {
        if at >= self.capacity() {
            return &[];
        }
        // SAFETY: `data` has `stride` bytes for each place, of which `data_len` behind `DATA_AT`.
        let data = unsafe { self.data.pointer().add(at * self.stride + DATA_AT) };
        // SAFETY: as above, and initialized; the kernel writes to them only during `receive`, which borrows `self`
        // exclusively.
        unsafe { slice::from_raw_parts(data, self.data_len) }
    }

    /// What stands before the data in this place.
    pub(crate) fn head(&self, at: usize) -> [u8; VNET_HEADER_LEN] {
        if at >= self.capacity() {
            return [0; VNET_HEADER_LEN];
        }
        // SAFETY: as in `data`; `DATA_AT` is at least `VNET_HEADER_LEN`.
        let head = unsafe { self.data.pointer().add(at * self.stride + DATA_AT - VNET_HEADER_LEN) };
        // SAFETY: as above: so many initialized bytes begin there, and any alignment will do.
        unsafe { head.cast::<[u8; VNET_HEADER_LEN]>().read() }
    }
}

/// One message of several.
pub(crate) struct Arrived<'a> {
    pub(crate) received: Received,
    pub(crate) address: &'a libc::sockaddr_ll,
    pub(crate) control: &'a [u8],
}

/// A boxed slice that is reached through one pointer only, so that others may be made from that and kept.
struct Kept<T>(NonNull<[T]>);

impl<T> Kept<T> {
    fn new(values: Box<[T]>) -> Self {
        Self(NonNull::from(Box::leak(values)))
    }

    const fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    const fn pointer(&self) -> *mut T {
        self.0.as_ptr().cast()
    }

    #[inline]
    fn at(&self, at: usize) -> Option<*mut T> {
        if at >= self.len() {
            return None;
        }
        // SAFETY: it was just found to lie within the slice.
        Some(unsafe { self.pointer().add(at) })
    }

    /// To be called only while nobody writes: through a reference to an [`Inbox`] that is shared.
    #[inline]
    fn get(&self, at: usize) -> Option<&T> {
        // SAFETY: `at` gives pointers to live, initialized values. They are written to by `Inbox::receive` and
        // `Inbox::make_ready` alone, which borrow the inbox, of which this is a private part, exclusively.
        self.at(at).map(|value| unsafe { &*value })
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a box, and this is the only place that makes a box of it again.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}
