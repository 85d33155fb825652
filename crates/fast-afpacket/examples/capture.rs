//! Prints what arrives on an interface: `capture eth1`.

use std::error::Error;

use fast_afpacket::{Interface, PacketSocket};

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).ok_or("which interface?")?;
    let socket = PacketSocket::bind(&Interface::by_name(&name)?)?;
    let mut buf = vec![0; 65_600];
    loop {
        let meta = socket.recv(&mut buf)?;
        let at = meta.timestamps.software.map_or("no stamp".to_owned(), |stamp| stamp.to_string());
        println!("{at}  {} {:?} {:?}, {} bytes", meta.from, meta.from.packet_type(), meta.from.ether_type(), meta.len);
    }
}
