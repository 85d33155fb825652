//! Receives frames and hands on each, with the stamps that it came with.

use std::io::ErrorKind;
use std::time::Instant;

use anyhow::{Context, Result};
use fast_afpacket::{PacketSocket, RxMeta, SystemStamp, Timestamps};

use crate::two_way::stamps::Stamps;

/// Room for the largest frame that a card or a virtual link may merge.
const BUFFER_LEN: usize = 65_600;

/// What the kernel delivered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) meta: RxMeta,
    /// Read in user space right after the receive.
    pub(crate) userspace: SystemStamp,
}

impl Received<'_> {
    /// T2 or T4. A hardware stamp is not converted.
    pub(crate) fn stamps(&self) -> Stamps {
        let Timestamps { software, hardware, .. } = self.meta.timestamps;
        Stamps { userspace: Some(self.userspace), software, hardware, ..Stamps::NONE }
    }
}

/// Receives until the socket is closed. What is `None` was a frame whose metadata cannot be trusted.
///
/// With `polls` it never sleeps: it asks for frames all the time.
pub(crate) fn run(
    socket: &PacketSocket,
    polls: bool,
    mut each: impl FnMut(Option<Received<'_>>) -> Result<()>,
) -> Result<()> {
    let mut buf = vec![0; BUFFER_LEN];
    if polls {
        // Of the past: a receive returns at once. Sends and TX stamps, which share the socket, are still waited for.
        socket.set_read_deadline(Some(Instant::now()));
    }
    loop {
        let received = match socket.recv(&mut buf) {
            Ok(meta) => {
                let userspace = SystemStamp::now();
                buf.get(..meta.len).map(|bytes| Received { bytes, meta, userspace })
            }
            Err(error) => match error.kind() {
                ErrorKind::ConnectionAborted => return Ok(()),
                ErrorKind::TimedOut if polls => continue,
                // Said once; when the link is up again frames come again.
                ErrorKind::NetworkDown => continue,
                ErrorKind::InvalidData => None,
                _ => return Err(error).with_context(|| format!("cannot receive on {}", socket.interface())),
            },
        };
        each(received)?;
    }
}
