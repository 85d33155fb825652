//! From flags and the facts of the host to what can be opened: interface, addresses, ports.

use std::num::NonZero;

use anyhow::{Context, Result, ensure};
use fast_afpacket::{Interface, RxFilter};

use crate::cli::{HardwareArguments, RunArguments, WireName};
use crate::endpoint::{Endpoint, ScopedAddr};
use crate::engine::{self, Host, Verdict};
use crate::frame::Flow;
use crate::nic::keeper::Keeper;
use crate::privileges::{OrdinaryUser, UserArgument};
use crate::threads::ThreadArguments;
use crate::treatment::Treatment;
use crate::two_way::prober::{Prober, Route};
use crate::two_way::run as two_way;
use crate::two_way::transport::Transport;
use crate::way::{self, Given};
use crate::wire::{Ports, Wire, stamp};

/// Probes one other host from this one.
pub(crate) fn run(arguments: &RunArguments) -> Result<Verdict> {
    arguments.netns.enter()?;
    let opening = Opening::by(&arguments.user, &arguments.job.threads)?;
    let name = host_name(arguments.host.as_deref())?;
    if let Some(reflector) = &arguments.reflector {
        // clap forgives an argument what it requires, where that conflicts with another.
        ensure!(
            arguments.dst_addr.is_none() && arguments.dst_port.is_none(),
            "--dst-addr and --dst-port are for probes that go one way: --reflector says address and port"
        );
        let (interface, route) = find_route(reflector, arguments)?;
        let (_keeper, card) = opening.card(&interface, &arguments.job.hardware, route.transport.rx_filter())?;
        let mut prober = Prober::open(name, &interface, &route, &arguments.two_way, &card)?;
        opening.end()?;
        prober.follow_card()?;
        return two_way::run(&prober, None, &arguments.two_way, &arguments.job);
    }
    let dst = arguments.dst_addr.as_ref().context("--dst-addr or --reflector is needed")?;
    let (interface, flow) = find_flow(dst, arguments)?;
    let (_keeper, card) = opening.card(&interface, &arguments.job.hardware, flow.wire.rx_filter())?;
    let host = Host::open(name, &interface, &flow, &card)?;
    opening.end()?;
    engine::run(&[host], &arguments.job)
}

/// The time in which sockets are opened, with all privileges that there are.
pub(crate) struct Opening<'a> {
    /// As whom to go on afterwards.
    user: Option<OrdinaryUser>,
    threads: &'a ThreadArguments,
}

impl<'a> Opening<'a> {
    pub(crate) fn by(user: &UserArgument, threads: &'a ThreadArguments) -> Result<Self> {
        Ok(Self { user: user.find()?, threads })
    }

    /// How the card is to be used, and who gives its setting back if this process will not have the right to: that one
    /// is to go last, when all that was opened is closed.
    pub(crate) fn card(
        &self,
        interface: &Interface,
        hardware: &HardwareArguments,
        on_receive: RxFilter,
    ) -> Result<(Option<Keeper>, HardwareArguments)> {
        match self.user {
            Some(_) => Ok((Keeper::start(interface, hardware, on_receive)?, hardware.as_is())),
            None => Ok((None, hardware.clone())),
        }
    }

    /// All is open: privileges are given up, if they are to be. Threads are started only after that.
    pub(crate) fn end(self) -> Result<()> {
        self.user.map_or(Ok(()), |user| user.go_on_as(self.threads))
    }
}

/// The name that was given, or that the host has.
pub(crate) fn host_name(given: Option<&str>) -> Result<String> {
    if let Some(name) = given {
        return Ok(name.to_owned());
    }
    let file = "/proc/sys/kernel/hostname";
    let name = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}: give --host"))?;
    Ok(name.trim_end().to_owned())
}

impl RunArguments {
    fn given(&self) -> Given<'_> {
        Given {
            iface_name: self.iface_name.as_deref(),
            src_mac: self.src_mac,
            src_addr: self.src_addr,
            dst_mac: self.dst_mac,
            vlan: self.treatment.vlan,
        }
    }
}

fn find_flow(dst: &ScopedAddr, arguments: &RunArguments) -> Result<(Interface, Flow)> {
    let wire = arguments.job.one_way_wire()?;
    let ports = find_ports(wire, arguments)?;
    let (interface, path) = way::find(dst, &arguments.given(), ports.is_some())?;
    let treatment = arguments.treatment.over(Treatment::SEED);
    Ok((interface, Flow { path, treatment, wire, ports }))
}

/// The wire's ports, or those that were given. A card looks for PTP on one port: that cannot be changed.
fn find_ports(wire: Wire, arguments: &RunArguments) -> Result<Option<Ports>> {
    let (src, dst) = (arguments.src_port, arguments.dst_port);
    ensure!(
        wire == Wire::Seed || (src, dst) == (None, None),
        "--src-port and --dst-port are for --wire seed: PTP has UDP port 319, and over Ethernet none"
    );
    let given = |ports: Ports| Ports { src: src.unwrap_or(ports.src), dst: dst.unwrap_or(ports.dst), ..ports };
    Ok(wire.ports().map(given))
}

fn find_route(reflector: &Endpoint, arguments: &RunArguments) -> Result<(Interface, Route)> {
    let transport = Transport::named(arguments.job.wire.unwrap_or(WireName::Stamp))?;
    ensure!(
        transport == Transport::Udp || (arguments.src_port, reflector.port) == (None, None),
        "ports can be chosen with --wire stamp: PTP has UDP port 319, and over Ethernet none"
    );
    let (interface, path) = way::find(&reflector.host, &arguments.given(), transport != Transport::Ptp)?;
    let port = reflector.port.map_or(stamp::PORT, NonZero::get);
    let route = Route {
        path,
        treatment: arguments.treatment.over(Treatment::STAMP),
        transport,
        src_port: arguments.src_port,
        dst_port: transport.fixed_port().unwrap_or(port),
    };
    Ok((interface, route))
}
