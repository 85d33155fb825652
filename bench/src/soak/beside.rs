//! What goes on beside the traffic.

use std::thread;
use std::time::Duration;

use fast_afpacket::{FanoutGroup, FanoutMode, Interface, Options, PacketSocket, RingShape, Timestamping};

use super::{PROTOCOL, Shared};
use crate::lab::tool;

/// The kernel notices a carrier up to a second late; asked for the link it looks at once.
pub(super) fn look_at(interface: &str) -> anyhow::Result<()> {
    tool("ip", &format!("link show {interface}"))
}

/// Sets these interfaces, from which frames are sent, down and up, each every few seconds. Returns how often.
pub(super) fn flap(shared: &Shared, interfaces: &[&str]) -> anyhow::Result<u64> {
    let mut flaps = 0;
    for interface in interfaces.iter().cycle() {
        for _ in 0..20 {
            if !shared.sends() {
                return Ok(flaps);
            }
            thread::sleep(Duration::from_millis(100));
        }
        // A program is started by pipes.
        let _allowed = shared.open_and_close.read();
        tool("ip", &format!("link set {interface} down"))?;
        thread::sleep(Duration::from_millis(20));
        tool("ip", &format!("link set {interface} up"))?;
        look_at(interface)?;
        flaps += 1;
    }
    Ok(flaps)
}

fn options() -> Options {
    PacketSocket::options().protocol(PROTOCOL)
}

/// Opens sockets and rings of all kinds on an interface with traffic and closes them. Returns how many.
pub(super) fn open_and_close(shared: &Shared, interface: &Interface) -> anyhow::Result<u64> {
    let mut opened = 0;
    while shared.sends() {
        let allowed = shared.open_and_close.read();
        let socket = options().dual(true).timestamping(Timestamping::default()).promiscuous(true).bind(interface)?;
        socket.set_nonblocking(true);
        // There may be a frame or not.
        drop(socket.recv(&mut [0; 64]));
        drop(socket);
        drop(options().rx_ring(interface, RingShape::throughput().blocks(2))?);
        drop(options().rx_ring(interface, RingShape::latency())?);
        drop(options().tx_ring(interface, RingShape::transmit())?);
        drop(options().fanout(&FanoutGroup::new(FanoutMode::Hash)).bind(interface)?);
        opened += 5;
        drop(allowed);
        // Whoever looks at the process gets a turn.
        thread::sleep(Duration::from_millis(10));
    }
    Ok(opened)
}
