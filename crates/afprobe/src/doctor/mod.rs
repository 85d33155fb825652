//! `afprobe doctor`: what a host and its NIC really deliver, found by sending probes of each kind.

mod advice;
mod examine;
mod print;
mod probes;
mod reflect;
mod setting;
mod target;
mod verdict;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use fast_afpacket::{Interface, InterfaceFlags};

use crate::cli::DoctorArguments;
use crate::engine::Verdict;
use crate::lab::Lab;
use crate::netlink::Netlink;
use crate::nic::Behind;
use reflect::Reflector;
use setting::Borrowed;
pub(crate) use target::Peer;
use target::Target;
use verdict::{Findings, Promises};

/// How long a link may take to have a carrier: the kernel notices one up to a second late, and some cards lose theirs
/// for a moment when their setting is changed.
const LINK_PATIENCE: Duration = Duration::from_millis(1200);

pub(crate) fn run(arguments: &DoctorArguments) -> Result<Verdict> {
    let Some(name) = arguments.iface.as_deref() else {
        return in_a_lab(arguments);
    };
    arguments.netns.enter()?;
    let interface = Interface::by_name(name)?;
    if arguments.reflect {
        ensure_up(&interface)?;
        return reflect::run(&interface);
    }
    examine(&interface, arguments.peer, arguments.json)
}

/// Examines the first host of a lab, with a reflector on the second.
fn in_a_lab(arguments: &DoctorArguments) -> Result<Verdict> {
    let lab = Lab::make()?;
    let [first, second] = lab.hosts();
    let peer = Peer::Address(second.ipv4()?);
    let reflector = second.inside(|| Reflector::open(&second.interface()?))?;
    thread::scope(|scope| {
        let reflecting = scope.spawn(|| reflector.run());
        let verdict = first.inside(|| examine(&first.interface()?, Some(peer), arguments.json));
        reflector.close();
        let reflected = reflecting.join().map_err(|_| anyhow!("a thread of this program has panicked"))?;
        verdict.and_then(|verdict| reflected.map(|_| verdict))
    })
}

fn examine(interface: &Interface, peer: Option<Peer>, as_json: bool) -> Result<Verdict> {
    ensure_up(interface)?;
    let target = Target::find(interface, peer)?;
    let stop = Arc::new(AtomicBool::new(false));
    let signalled = Arc::clone(&stop);
    // From here on there may be something to give back.
    ctrlc::set_handler(move || signalled.store(true, Ordering::SeqCst)).context("cannot catch signals")?;
    let borrowed = Borrowed::take(interface)?;
    let examined = wait_for_carrier(interface).and_then(|()| {
        let counts = examine::run(interface, &target, &stop)?;
        ensure!(has_carrier(interface)?, "{interface} lost its carrier during the examination");
        Ok(counts)
    });
    let setting = borrowed.give_back(interface);
    let trouble = setting.trouble.as_ref().map(|trouble| format!("; {trouble}")).unwrap_or_default();
    let counts = match examined {
        Ok(Some(counts)) => counts,
        Ok(None) => bail!("interrupted before the end of the examination{trouble}"),
        Err(error) if trouble.is_empty() => return Err(error),
        Err(error) => bail!("{error:#}{trouble}"),
    };
    let findings = Findings {
        interface: interface.name().into_owned(),
        driver: driver_of(interface),
        promises: Promises::of(&interface.capabilities()?),
        setting,
        answers: target.answers,
        counts,
    };
    report(&findings, as_json)
}

fn report(findings: &Findings, as_json: bool) -> Result<Verdict> {
    let cells = verdict::cells(findings);
    let (verdict, advice) = (verdict::overall(&cells), advice::advice(findings, &cells));
    let mut out = io::stdout().lock();
    let told = match as_json {
        true => print::json(findings, &cells, &advice, verdict, &mut out),
        false => print::text(findings, &cells, &advice, &mut out),
    };
    match told.and_then(|()| out.flush()) {
        // Whoever read our output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(verdict),
        result => result.map(|()| verdict).context("cannot write the report"),
    }
}

fn ensure_up(interface: &Interface) -> Result<()> {
    let is_up = interface.flags()?.contains(InterfaceFlags::UP);
    ensure!(is_up, "{interface} is down: ip link set {interface} up");
    Ok(())
}

/// Without a carrier the kernel takes frames and throws them away.
fn wait_for_carrier(interface: &Interface) -> Result<()> {
    let end = Instant::now() + LINK_PATIENCE;
    while !has_carrier(interface)? {
        ensure!(Instant::now() < end, "{interface} has no carrier: is its cable plugged in, and the other end up?");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn has_carrier(interface: &Interface) -> Result<bool> {
    // The kernel notices a second late, and at once when it is asked for the link.
    Netlink::open()?.interface_index(&interface.name())?;
    Ok(interface.flags()?.contains(InterfaceFlags::RUNNING))
}

/// The name of the driver or, of a virtual device, its kind.
fn driver_of(interface: &Interface) -> Option<String> {
    let (Behind::Driver(name) | Behind::Kind(name)) = Behind::of(interface)?;
    Some(name)
}
