//! Sends a frame to everybody and prints the stamps of its way out: `stamps eth1`.

use std::error::Error;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use fast_afpacket::{EtherType, Interface, MacAddr, PacketAddr, PacketSocket, SystemStamp, Timestamping, TxKey};

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).ok_or("which interface?")?;
    // Cooked: the kernel writes the Ethernet header.
    let options = PacketSocket::options().cooked(true).timestamping(Timestamping::TX);
    let socket = options.bind(&Interface::by_name(&name)?)?;
    let to = PacketAddr::new(MacAddr::BROADCAST, EtherType::EXPERIMENTAL_1);
    println!("before  {}", SystemStamp::now());
    socket.send_to_keyed(&[0; 46], &to, TxKey::new(1))?;
    socket.set_tx_deadline(Some(Instant::now() + Duration::from_secs(1)));
    loop {
        match socket.recv_tx(&mut []) {
            Ok(report) => println!("{:?}  {:?}", report.stage, report.timestamps),
            Err(error) if error.kind() == ErrorKind::TimedOut => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
