//! Sends a frame to everybody and waits for one, without any capability, on sockets that `open_helper` opened:
//! `without_privileges /run/packet/open.sock eth1`.

use std::error::Error;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use fast_afpacket::{EtherType, Interface, MacAddr, PacketSocket, TxKey};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (path, name) = arguments.next().zip(arguments.next()).ok_or("which path, and which interface?")?;
    let [receiver, sender] = ask(&UnixStream::connect(path)?)?;

    let interface = Interface::by_name(&name)?;
    let options = PacketSocket::options().protocol(EtherType::EXPERIMENTAL_1);
    let socket = options.bind_fds(receiver, sender, &interface)?;
    socket.set_deadline(Some(Instant::now() + Duration::from_secs(10)));

    let mut frame = [0; 60];
    frame[..6].copy_from_slice(&MacAddr::BROADCAST.octets());
    frame[6..12].copy_from_slice(&interface.mac()?.unwrap_or_default().octets());
    frame[12..14].copy_from_slice(&EtherType::EXPERIMENTAL_1.value().to_be_bytes());
    socket.send_keyed(&frame, TxKey::new(7))?;
    let report = socket.recv_tx(&mut [])?;
    println!("frame {} left: {:?}", report.key.value(), report.timestamps);

    let mut buf = [0; 2048];
    let meta = socket.recv(&mut buf)?;
    println!("{} bytes from {} arrived: {:?}", meta.len, meta.from, meta.timestamps);
    Ok(())
}

/// The two sockets that the helper sends to whoever connects.
fn ask(helper: &UnixStream) -> Result<[OwnedFd; 2], Box<dyn Error>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(helper, &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            sockets.extend(descriptors);
        }
    }
    sockets.try_into().map_err(|_| "the helper sent something else than two descriptors".into())
}
