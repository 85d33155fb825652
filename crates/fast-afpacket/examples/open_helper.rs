//! Opens packet sockets for programs that may not: `open_helper /run/packet/open.sock`, with CAP_NET_RAW.
//!
//! Whoever can connect gets two sockets that can read and send anything on this network. The directory decides who that
//! is: make it before, with `install -d -m 750 -g GROUP /run/packet`. `without_privileges` is such a program.

use std::error::Error;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

use rustix::net::{AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType};
use rustix::net::{sendmsg, socket_with};

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("at which path?")?;
    let listener = UnixListener::bind(path)?;
    for client in listener.incoming() {
        // Without a protocol, and bound to nothing: they receive nothing yet.
        let open = || socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None);
        let (receiver, sender) = (open()?, open()?);
        let descriptors = [receiver.as_fd(), sender.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        // Descriptors travel with data, at least one byte of it. Here they are closed at the end of this loop.
        if let Err(error) = sendmsg(client?, &[IoSlice::new(b"!")], &mut control, SendFlags::NOSIGNAL) {
            eprintln!("a client went away: {error}");
        }
    }
    Ok(())
}
