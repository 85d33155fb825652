//! Keeps the kernel from answering probes.
//!
//! Probes are received by a packet socket, beside the kernel's own UDP. Without a socket on their port it would answer
//! each with ICMP port unreachable: more load on the path that is measured, and an alarm in somebody's monitoring.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result};
use nix::errno::Errno;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

/// A UDP socket that owns the probes' port and throws away what arrives.
#[derive(Debug)]
pub(crate) struct Sink {
    held_open: Socket,
}

impl Sink {
    /// Port 0 stands for one that is free. `flags` are those that say which address and port it is.
    pub(crate) fn open(local: SocketAddr, flags: &str) -> Result<Self> {
        bind(local).map_err(|error| {
            let needs = match error.kind() {
                ErrorKind::PermissionDenied => " without CAP_NET_BIND_SERVICE",
                _ => "",
            };
            let what = "which keeps the kernel from answering probes";
            anyhow::Error::new(error).context(format!("cannot take UDP port {local}{needs}, {what} ({flags})"))
        })
    }

    /// One for each version of IP that this host has, for all of its addresses.
    pub(crate) fn open_for_all(port: u16, flags: &str) -> Result<Vec<Self>> {
        let mut sinks = vec![Self::open((Ipv4Addr::UNSPECIFIED, port).into(), flags)?];
        let ipv6 = Self::open((Ipv6Addr::UNSPECIFIED, port).into(), flags);
        match ipv6 {
            Err(error) if is_absent(&error) => {}
            ipv6 => sinks.push(ipv6?),
        }
        Ok(sinks)
    }

    /// Likewise, where nobody has the port.
    pub(crate) fn open_for_all_unless_taken(port: u16) -> Result<Vec<Self>> {
        let mut sinks = Vec::new();
        for local in [SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), (Ipv6Addr::UNSPECIFIED, port).into()] {
            match Self::open_unless_taken(local) {
                Err(error) if is_absent(&error) => {}
                sink => sinks.extend(sink?),
            }
        }
        Ok(sinks)
    }

    /// The port that it owns.
    pub(crate) fn port(&self) -> Result<u16> {
        let local = self.held_open.local_addr()?.as_socket();
        Ok(local.context("a UDP socket has an address of another kind")?.port())
    }

    /// `None` if somebody has the port, a PTP daemon: then the kernel answers nothing either. To share it, which the
    /// daemon would allow, is not asked for: our address is more specific than its wildcard, and its unicast messages
    /// would come here to be thrown away.
    pub(crate) fn open_unless_taken(local: SocketAddr) -> Result<Option<Self>> {
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

/// Whether this host has no such version of IP.
fn is_absent(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
    error.is_some_and(|errno| matches!(Errno::from_raw(errno), Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL))
}

fn bind(local: SocketAddr) -> io::Result<Sink> {
    const KEEP_NOTHING: SockFilter = SockFilter::new(0x06, 0, 0, 0);
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    if local.is_ipv6() {
        // IPv4 has a socket of its own.
        socket.set_only_v6(true)?;
    }
    // Before bind, so that nothing is ever queued.
    socket.attach_filter(&[KEEP_NOTHING])?;
    socket.bind(&local.into())?;
    Ok(Sink { held_open: socket })
}
