//! Receives probes and tells of each, with the stamps that it came with.

use std::io::ErrorKind;

use anyhow::{Context, Result};
use fast_afpacket::{PacketSocket, SystemStamp};

use crate::frame::probe_in;
use crate::probe::{Event, Rx};
use crate::wire::Wire;

/// Room for the largest frame that a card or a virtual link may merge.
const BUFFER_LEN: usize = 65_600;

/// Receives until the socket is closed.
pub(crate) fn run(socket: &PacketSocket, wire: Wire, mut tell: impl FnMut(Event)) -> Result<()> {
    let mut buf = vec![0; BUFFER_LEN];
    loop {
        let meta = match socket.recv(&mut buf) {
            Ok(meta) => meta,
            Err(error) => match error.kind() {
                ErrorKind::ConnectionAborted => return Ok(()),
                // Said once; when the link is up again frames come again.
                ErrorKind::NetworkDown => continue,
                // A frame whose metadata cannot be trusted.
                ErrorKind::InvalidData => {
                    tell(Event::Foreign);
                    continue;
                }
                _ => return Err(error).with_context(|| format!("cannot receive on {}", socket.interface())),
            },
        };
        let userspace = SystemStamp::now();
        let probe = buf.get(..meta.len).and_then(|frame| probe_in(wire, frame, meta.checksum));
        tell(match probe {
            Some(probe) => Event::Rx(Rx {
                probe,
                software: meta.timestamps.software,
                hardware: meta.timestamps.hardware,
                userspace,
            }),
            None => Event::Foreign,
        });
    }
}
