//! Waits with an epoll instance of its own: `epoll eth1`. Sends a frame now and then, prints its stamps and what arrives.
//!
//! This is all that another runtime needs to know: what to poll for, and when to call.

use std::error::Error;
use std::io::{self, ErrorKind};

use fast_afpacket::{EtherType, Interface, PacketSocket, TxKey};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

const FRAMES: u64 = 1;
const STAMPS: u64 = 2;
/// How often a frame is sent, and looked after a link that is down, in milliseconds.
const PAUSE: u8 = 50;

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).ok_or("which interface?")?;
    let interface = Interface::by_name(&name)?;
    let mut frame = [0; 60];
    frame[..6].copy_from_slice(&[0xff; 6]);
    frame[6..12].copy_from_slice(&interface.mac()?.unwrap_or_default().octets());
    frame[12..14].copy_from_slice(&EtherType::EXPERIMENTAL_1.value().to_be_bytes());
    // In dual mode frames and stamps have a descriptor each.
    let options = PacketSocket::options().protocol(EtherType::EXPERIMENTAL_1).dual(true);
    let socket = options.bind(&interface)?;

    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    // Frames are input. Errors, which epoll reports unasked, say that the link went down. Edge-triggered: an error stays set
    // until it is read, and so does a stamp that nobody wants yet.
    epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, FRAMES))?;
    // A stamp is an error condition. Nothing else is asked for.
    epoll.add(socket.tx_fd(), EpollEvent::new(EpollFlags::EPOLLET, STAMPS))?;
    println!("waiting on {name}");

    let mut events = [EpollEvent::empty(); 2];
    let mut sent = 0;
    loop {
        let count = epoll.wait(&mut events, PAUSE)?;
        for event in events.iter().take(count) {
            match event.data() {
                FRAMES => read_frames(&socket)?,
                _ => read_stamps(&socket)?,
            }
        }
        if count == 0 {
            match socket.try_send_keyed(&frame, TxKey::new(sent)) {
                Ok(_) => sent += 1,
                // WouldBlock: the send buffer is full. Poll `tx_fd` for EPOLLOUT, too, if every frame matters.
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::NetworkDown].contains(&error.kind()) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Reads until there is nothing more: the next edge comes with the next frame.
fn read_frames(socket: &PacketSocket) -> io::Result<()> {
    let mut buf = [0; 2048];
    loop {
        match socket.try_recv(&mut buf) {
            Ok(meta) => println!("received {} bytes from {}", meta.len, meta.from),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NetworkDown => println!("the link is down"),
            Err(error) => return Err(error),
        }
    }
}

/// Likewise.
fn read_stamps(socket: &PacketSocket) -> io::Result<()> {
    loop {
        match socket.try_recv_tx(&mut []) {
            Ok(report) => println!("frame {} {:?} {:?}", report.key.value(), report.stage, report.timestamps.software),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NetworkDown => println!("the link is down"),
            Err(error) => return Err(error),
        }
    }
}
