//! Keeps the kernel from answering probes.
//!
//! Probes are received by a packet socket, beside the kernel's own UDP. Without a socket on their port it would answer
//! each with ICMP port unreachable: more load on the path that is measured, and an alarm in somebody's monitoring.

use std::io::{self, ErrorKind};
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
        let local = SocketAddr::new(address, port);
        bind(local).with_context(|| {
            format!(
                "cannot take UDP port {local}, which keeps the kernel from answering probes (--src-addr, --dst-port)"
            )
        })
    }

    /// `None` if somebody has the port, a PTP daemon: then the kernel answers nothing either. To share it, which the
    /// daemon would allow, is not asked for: our address is more specific than its wildcard, and its unicast messages
    /// would come here to be thrown away.
    pub(crate) fn open_unless_taken(address: IpAddr, port: u16) -> Result<Option<Self>> {
        let local = SocketAddr::new(address, port);
        match bind(local) {
            Ok(sink) => Ok(Some(sink)),
            Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(None),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                Err(error).with_context(|| format!("cannot take UDP port {local} without CAP_NET_BIND_SERVICE"))
            }
            Err(error) => Err(error).with_context(|| format!("cannot take UDP port {local} (--src-addr)")),
        }
    }
}

fn bind(local: SocketAddr) -> io::Result<Sink> {
    const KEEP_NOTHING: SockFilter = SockFilter::new(0x06, 0, 0, 0);
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    // Before bind, so that nothing is ever queued.
    socket.attach_filter(&[KEEP_NOTHING])?;
    socket.bind(&local.into())?;
    Ok(Sink { _held_open: socket })
}
