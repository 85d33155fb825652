//! Keeps the kernel from answering probes.
//!
//! Probes are received by a packet socket, beside the kernel's own UDP. Without a socket on their port it would answer
//! each with ICMP port unreachable: more load on the path that is measured, and an alarm in somebody's monitoring.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

/// A UDP socket that owns the probes' port and throws away what arrives.
#[derive(Debug)]
pub(crate) struct Sink {
    _held_open: Socket,
}

impl Sink {
    pub(crate) fn open(address: IpAddr, port: u16) -> Result<Self> {
        const KEEP_NOTHING: SockFilter = SockFilter::new(0x06, 0, 0, 0);
        let local = SocketAddr::new(address, port);
        let open = || {
            let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
            // Before bind, so that nothing is ever queued.
            socket.attach_filter(&[KEEP_NOTHING])?;
            socket.bind(&local.into())?;
            Ok::<_, std::io::Error>(socket)
        };
        let socket = open().with_context(|| {
            format!(
                "cannot take UDP port {local}, which keeps the kernel from answering probes (--src-addr, --dst-port)"
            )
        })?;
        Ok(Self { _held_open: socket })
    }
}
