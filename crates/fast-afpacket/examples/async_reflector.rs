//! Answers every request, a frame of the experimental EtherType whose first byte of payload is 0, and prints when the
//! answers left: `async_reflector eth1`.

use std::error::Error;

use fast_afpacket::{AsyncPacketSocket, EtherType, Interface, PacketSocket, TxKey};

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).ok_or("which interface?")?;
    let interface = Interface::by_name(&name)?;
    let own = interface.mac()?.unwrap_or_default();
    let options = PacketSocket::options().protocol(EtherType::EXPERIMENTAL_1).dual(true);
    let socket = AsyncPacketSocket::new(options.bind(&interface)?)?;
    println!("answering on {name}");
    let (mut buf, mut answers) = (vec![0; 65_600], 0);
    loop {
        // Whichever is there first; the other call is dropped and has lost nothing.
        tokio::select! {
            received = socket.recv(&mut buf) => {
                let len = received?.len;
                let Some(answer) = buf.get_mut(..len).and_then(|frame| answer(frame, own.octets())) else { continue };
                socket.send_keyed(answer, TxKey::new(answers)).await?;
                answers += 1;
            }
            stamp = socket.recv_tx(&mut []) => {
                let report = stamp?;
                println!("answer {} {:?} {:?}", report.key.value(), report.stage, report.timestamps.software);
            }
        }
    }
}

/// Turns a request into its answer: back to where it came from, with a 1 in front, so that nobody answers it.
fn answer(frame: &mut [u8], own: [u8; 6]) -> Option<&[u8]> {
    let (header, payload) = frame.split_first_chunk_mut::<14>()?;
    let (to, rest) = header.split_first_chunk_mut::<6>()?;
    let (from, _) = rest.split_first_chunk_mut::<6>()?;
    let kind = payload.first_mut().filter(|kind| **kind == 0)?;
    (*to, *from, *kind) = (*from, own, 1);
    Some(frame)
}
