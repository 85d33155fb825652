//! Waits until received frames are stamped.
//!
//! The kernel switches stamping on for the whole machine when the first socket asks for it, a few milliseconds later than
//! asked. A probe that comes in between has no stamp. So a host that is about to probe asks early and sends itself frames
//! over the loopback interface until one is stamped.

use std::time::{Duration, Instant};

use fast_afpacket::{EtherType, Filter, Interface, PacketSocket, Timestamping};

/// Long past what was ever seen. Without stamps by then the job goes on without them, and says so probe by probe.
const PATIENCE: Duration = Duration::from_millis(250);
const PAUSE: Duration = Duration::from_micros(500);
/// Where that cannot be looked at: longer than it ever took.
const BLIND_PAUSE: Duration = Duration::from_millis(50);

/// Returns once a frame was stamped, or after a while. To be called when the socket that is to receive is open: it keeps
/// stamping switched on.
pub(crate) fn wait_for_stamping() {
    // A host without a usable loopback interface probes all the same.
    if try_loopback().is_err() {
        std::thread::sleep(BLIND_PAUSE);
    }
}

fn try_loopback() -> Result<(), Box<dyn std::error::Error>> {
    let loopback = Interface::by_name("lo")?;
    let socket = || {
        PacketSocket::options()
            .protocol(EtherType::EXPERIMENTAL_1)
            .filter(&Filter::ether_type(EtherType::EXPERIMENTAL_1))
            .timestamping(Timestamping::RX_SOFTWARE)
            .bind(&loopback)
    };
    let (sender, receiver) = (socket()?, socket()?);
    // To and from the addresses of zeros that loopback has, and with no content.
    let mut frame = vec![0; 12];
    frame.extend(EtherType::EXPERIMENTAL_1.value().to_be_bytes());
    frame.resize(60, 0);
    let end = Instant::now() + PATIENCE;
    receiver.set_read_deadline(Some(end));
    while Instant::now() < end {
        sender.send(&frame)?;
        if receiver.recv(&mut [0; 64])?.timestamps.software.is_some() {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
