//! Addresses as they are written on the command line: `192.0.2.1`, `fe80::1%eth1`, `[fe80::1%eth1]:862`.

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::num::NonZero;
use std::str::FromStr;

use anyhow::{Context, Result};
use fast_afpacket::Interface;

/// The address of a host and, where the address alone does not say it, the link that leads to it: RFC 4007, section 11.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScopedAddr {
    pub(crate) addr: IpAddr,
    /// The name or the index of an interface, behind the `%`.
    pub(crate) scope: Option<String>,
}

/// An address and perhaps a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) host: ScopedAddr,
    pub(crate) port: Option<NonZero<u16>>,
}

impl ScopedAddr {
    /// The interface that the scope names.
    pub(crate) fn interface(&self) -> Result<Option<Interface>> {
        let find = |scope: &String| match scope.parse() {
            Ok(index) => Interface::by_index(index),
            Err(_) => Interface::by_name(scope),
        };
        self.scope.as_ref().map(find).transpose().with_context(|| format!("cannot find the interface of {self}"))
    }
}

impl From<IpAddr> for ScopedAddr {
    fn from(addr: IpAddr) -> Self {
        Self { addr, scope: None }
    }
}

impl FromStr for ScopedAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, scope) = match text.split_once('%') {
            Some((address, scope)) => (address, Some(scope)),
            None => (text, None),
        };
        let addr: IpAddr = address.parse().map_err(|_| explain(text, address))?;
        match scope {
            None => {}
            Some("") => return Err(format!("{text:?} names no interface behind its %")),
            Some(_) if addr.is_ipv4() => {
                return Err(format!("{text:?}: an IPv4 address has no scope; --iface-name says which way to go"));
            }
            Some(scope) if scope.contains(['%', '/', ' ']) => {
                return Err(format!("{text:?}: {scope:?} is no name of an interface"));
            }
            Some(_) => {}
        }
        // An IPv4 address in IPv6's clothes is one that goes over IPv4.
        Ok(Self { addr: addr.to_canonical(), scope: scope.map(str::to_owned) })
    }
}

/// Why `address`, a part of `text`, is no address.
fn explain(text: &str, address: &str) -> String {
    let looks_like_a_name = address.chars().any(|c| c.is_ascii_alphabetic() && !c.is_ascii_hexdigit());
    match looks_like_a_name && !address.contains(':') {
        true => format!("{text:?} is no IP address, and names are not looked up"),
        false => format!("{text:?} is no IP address: 192.0.2.1, 2001:db8::1 or fe80::1%eth1 would be one"),
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, behind) = rest.split_once(']').ok_or_else(|| format!("{text:?} lacks its ]"))?;
                let port = match behind.strip_prefix(':') {
                    Some(port) => Some(port),
                    None if behind.is_empty() => None,
                    None => return Err(format!("{text:?}: behind the ] comes a colon and the port, or nothing")),
                };
                (host, port)
            }
            // With more than one colon it is IPv6 without brackets, which has no place for a port.
            None => match text.split_once(':') {
                Some((host, port)) if !port.contains(':') => (host, Some(port)),
                _ => (text, None),
            },
        };
        let bad_port = |port: &str| format!("{text:?}: {port:?} is no port: a number from 1 to 65535 is expected");
        let port = port.map(|port| port.parse().map_err(|_| bad_port(port))).transpose()?;
        let host: ScopedAddr = host.parse()?;
        if text.starts_with('[') && host.addr.is_ipv4() && !text.contains("::") {
            return Err(format!("{text:?}: brackets are for IPv6"));
        }
        Ok(Self { host, port })
    }
}

impl fmt::Display for ScopedAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scope {
            Some(scope) => write!(f, "{}%{scope}", self.addr),
            None => self.addr.fmt(f),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) if self.host.addr.is_ipv6() => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
            None => self.host.fmt(f),
        }
    }
}

/// Whether an address is the same on every link, so that it takes an interface to tell which host is meant.
pub(crate) const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// An address of this host for a socket of the kernel's, which wants to know the link of a link-local one.
pub(crate) fn local(address: IpAddr, port: u16, interface: &Interface) -> SocketAddr {
    match address {
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            SocketAddrV6::new(address, port, 0, interface.index()).into()
        }
        _ => SocketAddr::new(address, port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> (String, Option<String>, Option<u16>) {
        let Endpoint { host, port } = text.parse().unwrap_or_else(|error| panic!("{error}"));
        (host.addr.to_string(), host.scope, port.map(NonZero::get))
    }

    #[test]
    fn every_way_to_write_one() {
        let eth1 = || Some("eth1".to_owned());
        for (text, expected) in [
            ("192.0.2.1", ("192.0.2.1", None, None)),
            ("192.0.2.1:862", ("192.0.2.1", None, Some(862))),
            ("2001:db8::1", ("2001:db8::1", None, None)),
            ("[2001:db8::1]", ("2001:db8::1", None, None)),
            ("[2001:db8::1]:65535", ("2001:db8::1", None, Some(65535))),
            ("2001:db8::1:862", ("2001:db8::1:862", None, None)),
            ("fe80::1%eth1", ("fe80::1", eth1(), None)),
            ("[fe80::1%eth1]", ("fe80::1", eth1(), None)),
            ("[fe80::1%eth1]:862", ("fe80::1", eth1(), Some(862))),
            ("fe80::1%3", ("fe80::1", Some("3".to_owned()), None)),
            ("::ffff:192.0.2.1", ("192.0.2.1", None, None)),
            ("[::ffff:192.0.2.1]:5", ("192.0.2.1", None, Some(5))),
        ] {
            let (addr, scope, port) = expected;
            assert_eq!(endpoint(text), (addr.to_owned(), scope, port), "{text}");
        }
    }

    #[test]
    fn it_is_written_as_it_is_read() {
        for text in
            ["192.0.2.1", "192.0.2.1:862", "2001:db8::1", "[2001:db8::1]:1", "[fe80::1%eth1]:862", "fe80::1%eth1"]
        {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, complaint) in [
            ("", "is no IP address"),
            ("1.2.3", "192.0.2.1, 2001:db8::1 or fe80::1%eth1"),
            ("host.example", "names are not looked up"),
            ("host.example:862", "names are not looked up"),
            ("192.0.2.1:", "\"\" is no port"),
            ("192.0.2.1:0", "\"0\" is no port"),
            ("192.0.2.1:65536", "a number from 1 to 65535"),
            ("192.0.2.1%eth1", "an IPv4 address has no scope"),
            ("fe80::1%", "names no interface"),
            ("fe80::1%a%b", "is no name of an interface"),
            ("[fe80::1%eth1", "lacks its ]"),
            ("[2001:db8::1]862", "behind the ]"),
            ("[2001:db8::1]:x", "\"x\" is no port"),
            ("[192.0.2.1]:862", "brackets are for IPv6"),
            ("2001:db8::g", "is no IP address"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert!(error.contains(complaint), "{text}: {error}");
        }
    }
}
