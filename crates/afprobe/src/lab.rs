//! Two hosts on one machine, joined by a virtual cable, with the names and addresses of the Go package's example.

use std::io::{self, Write};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use fast_afpacket::{Interface, MacAddr};

use crate::cli::{Format, LabArguments};
use crate::engine::{self, Host, Verdict};
use crate::frame::Path;
use crate::namespace::{NetworkNamespace, become_root_of_a_user_namespace, can_make_network_namespaces};
use crate::netlink::{LinkSpec, Netlink};

/// A host of the lab. The Vagrant machines of the Go package have the same names, addresses and interface.
struct LabHost {
    name: &'static str,
    mac: MacAddr,
    ipv4: &'static str,
    ipv6: &'static str,
    /// As EUI-64 would make it of the MAC address.
    link_local: &'static str,
}

const HOSTS: [LabHost; 2] = [
    LabHost {
        name: "fast-afpacket-101",
        mac: MacAddr::new([0x02, 0x42, 0xac, 0xc8, 0x01, 0x61]),
        ipv4: "192.168.56.101",
        ipv6: "fde4:8dba:82e1::c1",
        link_local: "fe80::42:acff:fec8:161",
    },
    LabHost {
        name: "fast-afpacket-102",
        mac: MacAddr::new([0x02, 0x42, 0xac, 0xc8, 0x01, 0x62]),
        ipv4: "192.168.56.102",
        ipv6: "fde4:8dba:82e1::c2",
        link_local: "fe80::42:acff:fec8:162",
    },
];

const INTERFACE: &str = "eth1";

/// The two hosts, which leave nothing behind: their namespaces have no names and end with the process, however it ends.
pub(crate) struct Lab {
    namespaces: [NetworkNamespace; 2],
    is_in_user_namespace: bool,
}

/// A host of a lab that is there.
#[derive(Clone, Copy)]
pub(crate) struct Inhabitant<'a> {
    host: &'static LabHost,
    namespace: &'a NetworkNamespace,
}

impl Lab {
    /// Makes the hosts and their cable. To be called while the process has one thread.
    pub(crate) fn make() -> Result<Self> {
        let is_ordinary_user = !can_make_network_namespaces()?;
        if is_ordinary_user {
            become_root_of_a_user_namespace()?;
        }
        let namespaces = [NetworkNamespace::create()?, NetworkNamespace::create()?];
        connect(&namespaces)?;
        Ok(Self { namespaces, is_in_user_namespace: is_ordinary_user })
    }

    pub(crate) fn hosts(&self) -> [Inhabitant<'_>; 2] {
        let ([first, second], [near, far]) = (&HOSTS, &self.namespaces);
        [Inhabitant { host: first, namespace: near }, Inhabitant { host: second, namespace: far }]
    }
}

impl Inhabitant<'_> {
    pub(crate) fn ipv4(&self) -> Result<IpAddr> {
        Ok(self.host.ipv4.parse()?)
    }

    /// The host's end of the cable, to be asked for inside.
    pub(crate) fn interface(&self) -> Result<Interface> {
        Ok(Interface::by_name(INTERFACE)?)
    }

    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        inside(self.namespace, work)
    }
}

/// Makes the hosts and runs the job on them.
pub(crate) fn run(arguments: &LabArguments) -> Result<Verdict> {
    let (wire, ipv6) = (arguments.job.wire, arguments.ipv6);
    ensure!(!ipv6 || wire.ports().is_some(), "--ipv6 is for probes over UDP: --wire seed or --wire ptp-udp");
    let lab = Lab::make()?;
    let [first, second] = lab.hosts();
    let hosts = [open(first, second, arguments)?, open(second, first, arguments)?];
    if arguments.job.format == Format::Human {
        for Inhabitant { host, namespace } in lab.hosts() {
            // Only a hint: where it cannot be written, the job goes on.
            let way_in = way_in(namespace, lab.is_in_user_namespace);
            let _ = writeln!(io::stderr(), "to look into {}: {way_in}", host.name);
        }
    }
    engine::run(&hosts, &arguments.job)
}

/// How another process gets into the namespace while this one lives.
fn way_in(namespace: &NetworkNamespace, through_user_namespace: bool) -> String {
    let user = match through_user_namespace {
        true => format!("--preserve-credentials --user --target {} ", std::process::id()),
        false => String::new(),
    };
    format!("nsenter {user}--net={} tcpdump -ni {INTERFACE}", namespace.path().display())
}

/// Lays the cable between the two namespaces and gives both ends their addresses.
fn connect(namespaces: &[NetworkNamespace; 2]) -> Result<()> {
    let [near, far] = &HOSTS;
    let [near_namespace, far_namespace] = namespaces;
    let link = |host: &LabHost| LinkSpec { name: INTERFACE, mac: host.mac.octets() };
    inside(near_namespace, || Netlink::open()?.create_veth(&link(near), &link(far), far_namespace.as_fd()))?;
    for (host, namespace) in HOSTS.iter().zip(namespaces) {
        inside(namespace, || {
            let mut netlink = Netlink::open()?;
            let index = netlink.interface_index(INTERFACE)?;
            for (address, prefix_len) in [(host.ipv4, 24), (host.ipv6, 64), (host.link_local, 64)] {
                netlink.add_address(index, address.parse()?, prefix_len)?;
            }
            for name in ["lo", INTERFACE] {
                let index = netlink.interface_index(name)?;
                netlink.set_up(index)?;
            }
            Ok(())
        })?;
    }
    // The kernel notices a carrier up to a second late; asking for the link makes it look at once.
    for namespace in namespaces {
        inside(namespace, || Netlink::open()?.interface_index(INTERFACE).map(drop))?;
    }
    Ok(())
}

fn open(own: Inhabitant<'_>, peer: Inhabitant<'_>, arguments: &LabArguments) -> Result<Host> {
    let (wire, ipv6) = (arguments.job.wire, arguments.ipv6);
    let (host, peer) = (own.host, peer.host);
    let address = |host: &LabHost| -> Result<IpAddr> { Ok(if ipv6 { host.ipv6 } else { host.ipv4 }.parse()?) };
    let path = Path {
        src_mac: host.mac,
        dst_mac: peer.mac,
        src_addr: address(host)?,
        dst_addr: address(peer)?,
        wire,
        ports: wire.ports(),
    };
    own.inside(|| Host::open(host.name.to_owned(), &own.interface()?, path, &arguments.job.hardware))
        .with_context(|| format!("cannot make {}", host.name))
}

/// Runs `work` on a thread of its own inside the namespace. Sockets opened there stay there.
fn inside<T: Send>(namespace: &NetworkNamespace, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            namespace.enter()?;
            work()
        });
        thread.join().map_err(|_| anyhow!("a thread of this program has panicked"))?
    })
}
