//! `afprobe reflect`: a host that answers probes. [`crate::reflector`] decides what becomes of each; here are the sockets, the
//! thread that answers and the one that prints.

mod print;
pub(crate) mod responder;

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fast_afpacket::{ClockState, Interface};

use crate::cli::{HardwareArguments, JobArguments, PolicyArguments, ReflectArguments, TwoWayArguments, WireName};
use crate::crew::{self, Stop};
use crate::engine::Verdict;
use crate::plan::{Opening, host_name};
use crate::reflector::Config;
use crate::threads::Role;
use crate::two_way::session;
use crate::two_way::transport::Transport;
use crate::wire::stamp;
use crate::wire::stamp::standard::source;
use print::Printer;
use responder::Responder;

const STATS_INTERVAL: Duration = Duration::from_secs(5);
/// How often what changes slowly is looked after: the state of the clock, this host's addresses.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(50);

/// What a responder is to be.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) transport: Transport,
    pub(crate) port: u16,
    pub(crate) config: Config,
    pub(crate) hardware: &'a HardwareArguments,
}

impl<'a> Setup<'a> {
    fn of(arguments: &ReflectArguments, transport: Transport, hardware: &'a HardwareArguments) -> Result<Self> {
        Ok(Self { transport, port: arguments.port.get(), config: config(&arguments.policy)?, hardware })
    }

    /// For the sender beside it.
    pub(crate) fn in_lab(two_way: &TwoWayArguments, job: &'a JobArguments) -> Result<Self> {
        let policy = PolicyArguments { key: two_way.key.clone(), ..PolicyArguments::default() };
        Ok(Self {
            transport: Transport::named(job.wire.unwrap_or(WireName::Stamp))?,
            port: stamp::PORT,
            config: config(&policy)?,
            hardware: &job.hardware,
        })
    }
}

fn config(policy: &PolicyArguments) -> Result<Config> {
    Ok(Config {
        keys: session::keys_from(&policy.key)?,
        format: session::FORMAT,
        // The kernel tells whether somebody corrects its clock, by NTP's rules, and not who.
        time_source: if ClockState::read().is_ok_and(|clock| clock.synchronised) {
            source::NTP
        } else {
            source::FREE_RUNNING
        },
        is_stateful: !policy.stateless,
        allowed: policy.allow.clone(),
        rate: policy.rate_limit,
        answers_short: policy.answer_short,
        ..Config::default()
    })
}

/// Reflects until it is interrupted.
pub(crate) fn run(arguments: &ReflectArguments) -> Result<Verdict> {
    arguments.netns.enter()?;
    let opening = Opening::by(&arguments.user, &arguments.threads)?;
    let interface = Interface::by_name(&arguments.iface_name)?;
    let transport = Transport::named(arguments.wire)?;
    let (_keeper, card) = opening.card(&interface, &arguments.hardware, transport.rx_filter())?;
    let setup = Setup::of(arguments, transport, &card)?;
    let mut responder = Responder::open(host_name(arguments.host.as_deref())?, &interface, &setup)?;
    opening.end()?;
    responder.follow_card()?;
    let stop = Stop::on_signals()?;
    let ends_at = arguments.duration.and_then(|duration| Instant::now().checked_add(duration));
    crew::work(
        &stop,
        &[&responder.socket],
        |crew| crew.start(|_: crew::Teller<()>| responder.reflect(&arguments.threads, Role::Reflector)),
        |inbox| {
            let mut printer = Printer::new(arguments.format, io::stdout().lock());
            let begun = printer.begin(&responder, &setup);
            match begun.and_then(|()| listen(&responder, &mut printer, inbox, &stop, ends_at)) {
                // Whoever read our output has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Verdict::Fine),
                done => done.map(|()| Verdict::Fine).context("cannot write the report"),
            }
        },
    )
}

fn listen<W: io::Write>(
    responder: &Responder,
    printer: &mut Printer<W>,
    inbox: &Receiver<()>,
    stop: &Stop,
    ends_at: Option<Instant>,
) -> io::Result<()> {
    let mut next_stats = Instant::now() + STATS_INTERVAL;
    let mut next_look = Instant::now();
    while !stop.is_set() && ends_at.is_none_or(|ends_at| Instant::now() < ends_at) {
        let now = Instant::now();
        if now >= next_look {
            next_look = now + LOOK_INTERVAL;
            responder.look_around();
        }
        if now >= next_stats {
            next_stats = now + STATS_INTERVAL;
            printer.stats(responder)?;
        }
        // The thread has nothing to tell, but its end.
        if inbox.recv_timeout(TICK) == Err(RecvTimeoutError::Disconnected) {
            break;
        }
    }
    printer.summary(responder)
}
