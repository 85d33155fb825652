//! Two hosts on one machine, joined by a virtual cable, with the names and addresses of the Go package's example.

use std::io::{self, Write};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use fast_afpacket::{Interface, MacAddr};

use crate::cli::{Format, LabArguments};
use crate::engine::{self, Host, Verdict};
use crate::frame::{Flow, Path};
use crate::namespace::{NetworkNamespace, become_root_of_a_user_namespace, can_make_network_namespaces};
use crate::netlink::{LinkSpec, Netlink};
use crate::reflect::Setup;
use crate::reflect::responder::Responder;
use crate::treatment::Treatment;
use crate::two_way::prober::{Prober, Route};
use crate::two_way::run as two_way;
use crate::wire::{Wire, stamp};

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

    /// Only a hint: where it cannot be written, the job goes on.
    fn tell_ways_in(&self, format: Format) {
        for Inhabitant { host, namespace } in self.hosts().into_iter().filter(|_| format == Format::Human) {
            let way_in = way_in(namespace, self.is_in_user_namespace);
            let _ = writeln!(io::stderr(), "to look into {}: {way_in}", host.name);
        }
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
    if arguments.reflect {
        return reflect(arguments);
    }
    let wire = arguments.job.one_way_wire()?;
    ensure!(!arguments.ipv6 || wire.ports().is_some(), "--ipv6 is for probes over UDP: --wire seed or --wire ptp-udp");
    let lab = Lab::make()?;
    let [first, second] = lab.hosts();
    let hosts = [open(first, second, wire, arguments)?, open(second, first, wire, arguments)?];
    lab.tell_ways_in(arguments.job.format);
    engine::run(&hosts, &arguments.job)
}

/// The first host probes, the second reflects.
fn reflect(arguments: &LabArguments) -> Result<Verdict> {
    let LabArguments { ipv6, two_way, job, .. } = arguments;
    let lab = Lab::make()?;
    let [first, second] = lab.hosts();
    let path = path(first, second, *ipv6)?;
    let setup = Setup::in_lab(two_way, job)?;
    let mut reflector = second
        .inside(|| Responder::open(second.host.name.to_owned(), &second.interface()?, &setup))
        .with_context(|| format!("cannot make {}", second.host.name))?;
    let route = Route {
        path,
        treatment: Treatment::STAMP,
        transport: setup.transport,
        src_port: None,
        dst_port: setup.transport.fixed_port().unwrap_or(stamp::PORT),
    };
    let name = first.host.name.to_owned();
    let mut prober = first
        .inside(|| Prober::open(name, &first.interface()?, &route, two_way, &job.hardware))
        .with_context(|| format!("cannot make {}", first.host.name))?;
    reflector.follow_card()?;
    prober.follow_card()?;
    lab.tell_ways_in(job.format);
    two_way::run(&prober, Some(&reflector), two_way, job)
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

fn path(from: Inhabitant<'_>, to: Inhabitant<'_>, ipv6: bool) -> Result<Path> {
    let (from, to) = (from.host, to.host);
    let address = |host: &LabHost| -> Result<IpAddr> { Ok(if ipv6 { host.ipv6 } else { host.ipv4 }.parse()?) };
    Ok(Path { src_mac: from.mac, dst_mac: to.mac, src_addr: address(from)?, dst_addr: address(to)? })
}

fn open(own: Inhabitant<'_>, peer: Inhabitant<'_>, wire: Wire, arguments: &LabArguments) -> Result<Host> {
    let path = path(own, peer, arguments.ipv6)?;
    let flow = Flow { path, treatment: Treatment::SEED, wire, ports: wire.ports() };
    let name = own.host.name;
    own.inside(|| Host::open(name.to_owned(), &own.interface()?, &flow, &arguments.job.hardware))
        .with_context(|| format!("cannot make {name}"))
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
