//! Frames whose software stamps are read back from the error queue.

use std::hint::black_box;
use std::io;
use std::ptr;

use fast_afpacket_bench_harness::{Setup, Stamper, frames};

use super::Qdisc;
use super::key::Key;
use super::recv::{Control, for_each_control, read_stamp};
use super::send_batch::Batch;
use super::socket::{Socket, checked};

const STAMPS: u32 = 64;

/// A socket of which each sent frame gives a stamp with its number.
fn open(setup: &Setup, qdisc: Qdisc) -> io::Result<Socket> {
    let socket = Socket::sender(setup, qdisc)?;
    socket.ask_for_stamps(
        libc::SOF_TIMESTAMPING_TX_SOFTWARE
            | libc::SOF_TIMESTAMPING_SOFTWARE
            | libc::SOF_TIMESTAMPING_OPT_ID
            | libc::SOF_TIMESTAMPING_OPT_TSONLY,
    )?;
    Ok(socket)
}

/// Adds up what [`Stamper::read`] promises: `next` reads some, 0 if there are none, and is asked until all are there.
fn read(expected: u64, socket: &Socket, mut next: impl FnMut(&Socket) -> io::Result<u64>) -> io::Result<u64> {
    let mut read = 0;
    let mut waited = false;
    while read < expected {
        match next(socket)? {
            0 if waited => break,
            0 => {
                waited = true;
                socket.wait()?;
            }
            more => read += more,
        }
    }
    Ok(read)
}

/// Whether this message from the error queue is a stamp. Its number is read too, as a program would that wants to know whose
/// it is.
#[inline]
fn is_stamp(header: &libc::msghdr) -> bool {
    let mut stamp = None;
    let mut number = None;
    for_each_control(header, |kind, data| match kind {
        (libc::SOL_SOCKET, libc::SO_TIMESTAMPING) => stamp = read_stamp(data),
        (libc::SOL_PACKET, libc::PACKET_TX_TIMESTAMP) => {
            // SAFETY: this is in a message of this type.
            let error = unsafe { data.cast::<libc::sock_extended_err>().read_unaligned() };
            number = Some(error.ee_data);
        }
        _ => {}
    });
    black_box(stamp).is_some() && black_box(number).is_some()
}

/// Whose numbers the stamps come back with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    /// The kernel's count of frames.
    Counted,
    /// The caller's, sent along with each frame.
    Keys,
}

pub(super) struct StampEach {
    socket: Socket,
    frame: Vec<u8>,
    numbers: Numbers,
    next: u32,
}

impl StampEach {
    pub(super) fn open(setup: &Setup, numbers: Numbers) -> anyhow::Result<Self> {
        Ok(Self { socket: open(setup, Qdisc::Used)?, frame: frames::one(setup.frame_len)?, numbers, next: 0 })
    }

    #[inline]
    fn send_keyed(&mut self) -> io::Result<u64> {
        let mut key = Key::new(self.next);
        self.next = self.next.wrapping_add(1);
        let mut vector = libc::iovec { iov_base: self.frame.as_ptr().cast_mut().cast(), iov_len: self.frame.len() };
        let header = libc::msghdr {
            msg_name: ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: &raw mut vector,
            msg_iovlen: 1,
            msg_control: (&raw mut key).cast(),
            msg_controllen: Key::LEN,
            msg_flags: 0,
        };
        // SAFETY: the header's pointers are to memory of the lengths that it says.
        checked(unsafe { libc::sendmsg(self.socket.raw(), &raw const header, 0) })?;
        Ok(1)
    }
}

impl Stamper for StampEach {
    #[inline]
    fn send(&mut self) -> io::Result<u64> {
        if self.numbers == Numbers::Keys {
            return self.send_keyed();
        }
        // SAFETY: the pointer is to so many bytes.
        checked(unsafe { libc::send(self.socket.raw(), self.frame.as_ptr().cast(), self.frame.len(), 0) })?;
        Ok(1)
    }

    #[inline]
    fn read(&mut self, expected: u64) -> io::Result<u64> {
        read(expected, &self.socket, |socket| {
            let mut control = Control([0; 128]);
            let mut header = empty_header(&mut control);
            // SAFETY: the header's pointers are to memory of the lengths that it says.
            let received = unsafe { libc::recvmsg(socket.raw(), &raw mut header, libc::MSG_ERRQUEUE) };
            match checked(received) {
                Ok(_) => Ok(is_stamp(&header).into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                Err(error) => Err(error),
            }
        })
    }
}

fn empty_header(control: &mut Control) -> libc::msghdr {
    libc::msghdr {
        msg_name: ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: ptr::null_mut(),
        msg_iovlen: 0,
        msg_control: ptr::from_mut(control).cast(),
        msg_controllen: size_of::<Control>(),
        msg_flags: 0,
    }
}

pub(super) struct StampBatch {
    socket: Socket,
    batch: Batch,
    /// The headers of one reading call. They point into the controls, whose memory does not move.
    headers: Box<[libc::mmsghdr]>,
    _controls: Box<[Control]>,
}

impl StampBatch {
    pub(super) fn open(setup: &Setup, qdisc: Qdisc, numbers: Numbers) -> anyhow::Result<Self> {
        let mut controls = vec![Control([0; 128]); STAMPS as usize].into_boxed_slice();
        let headers =
            controls.iter_mut().map(|control| libc::mmsghdr { msg_hdr: empty_header(control), msg_len: 0 }).collect();
        let batch = match numbers {
            Numbers::Counted => Batch::new(setup)?,
            Numbers::Keys => Batch::keyed(setup)?,
        };
        Ok(Self { socket: open(setup, qdisc)?, batch, headers, _controls: controls })
    }
}

impl Stamper for StampBatch {
    #[inline]
    fn send(&mut self) -> io::Result<u64> {
        self.batch.send(&self.socket)
    }

    #[inline]
    fn read(&mut self, expected: u64) -> io::Result<u64> {
        let headers = &mut self.headers;
        read(expected, &self.socket, |socket| {
            let (pointer, flags) = (headers.as_mut_ptr(), libc::MSG_ERRQUEUE);
            // SAFETY: there are so many headers, and they point to memory of the lengths that they say.
            let received = unsafe { libc::recvmmsg(socket.raw(), pointer, STAMPS, flags, ptr::null_mut()) };
            let received = match checked(received as isize) {
                Ok(received) => usize::try_from(received).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            let mut stamps = 0;
            for header in headers.iter_mut().take(received) {
                stamps += u64::from(is_stamp(&header.msg_hdr));
                header.msg_hdr.msg_controllen = size_of::<Control>();
            }
            Ok(stamps)
        })
    }
}
