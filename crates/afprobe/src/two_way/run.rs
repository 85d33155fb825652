//! Runs a measurement there and back: one thread sends, one receives, and one joins what they tell and prints it.

use std::io;
use std::sync::mpsc::{Receiver, sync_channel};

use anyhow::{Context, Result};
use fast_afpacket::PacketSocket;

use super::listener::{Event, FIRST, Listener};
use super::prober::{Prober, Shared};
use super::replies::{NoReply, Said};
use crate::cli::{JobArguments, TwoWayArguments};
use crate::crew::{self, Stop, Teller};
use crate::engine::Verdict;
use crate::receiver;
use crate::reflect::responder::Responder;
use crate::sender::{self, Schedule, Sender};
use crate::threads::{Role, ThreadArguments};

/// Measures until the schedule ends it, or a signal. `responder`: the reflector, if it is to run in this process; then both
/// hosts read one clock.
pub(crate) fn run(
    prober: &Prober,
    responder: Option<&Responder>,
    two_way: &TwoWayArguments,
    job: &JobArguments,
) -> Result<Verdict> {
    let stop = Stop::on_signals()?;
    let shared = Shared::default();
    let (ask, questions) = sync_channel(1);
    let (schedule, threads) = (job.schedule(), &job.threads);
    let own = [&prober.socket];
    let sockets: Vec<&PacketSocket> = own.into_iter().chain(responder.map(|responder| &responder.socket)).collect();
    crew::work(
        &stop,
        &sockets,
        |crew| {
            if let Some(responder) = responder {
                crew.start(|_| responder.reflect(threads, Role::Sender));
            }
            crew.start(|teller| receive(prober, &shared, threads, &teller));
            crew.start(|teller| {
                let sent = send(prober, &shared, threads, &schedule, &stop, &teller);
                teller.tell(Event::SenderDone);
                sent?;
                ask_questions(prober, &shared, questions)
            });
        },
        |inbox| {
            // Who waits for questions ends with this.
            let ask = ask;
            let listener = Listener::new(prober, responder, &shared, two_way, job, io::stdout().lock());
            match listener.listen(inbox, &stop, &ask) {
                // Whoever read our output has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Verdict::Fine),
                done => done.context("cannot write the report"),
            }
        },
    )
}

/// Sends the probes of the schedule, and tells of each when its stamps are here.
fn send(
    prober: &Prober,
    shared: &Shared,
    threads: &ThreadArguments,
    schedule: &Schedule,
    stop: &Stop,
    teller: &Teller<Event>,
) -> Result<()> {
    threads.begin(Role::Sender, Role::Sender)?;
    let tell = |settled| teller.tell(Event::Sent(settled));
    let mut sender = Sender::new(&prober.socket, schedule.stamp_timeout, stop, tell)?;
    sender.run(FIRST, &mut prober.probes(shared), schedule)?;
    sender.settle()
}

/// Asks the reflector, each time that it is told to.
fn ask_questions(prober: &Prober, shared: &Shared, questions: Receiver<()>) -> Result<()> {
    let mut probes = prober.probes(shared);
    for () in questions {
        if let Err(error) = prober.socket.send(probes.question()?) {
            sender::refused(error)?;
        }
    }
    Ok(())
}

/// Reads replies, and tells what they say.
fn receive(prober: &Prober, shared: &Shared, threads: &ThreadArguments, teller: &Teller<Event>) -> Result<()> {
    threads.begin(Role::Receiver, Role::Sender)?;
    let mut replies = prober.replies();
    let tell = |said| teller.tell(Event::Said(said));
    receiver::run(&prober.socket, threads.polls(), |received| {
        match received {
            Some(received) => replies.read(&received, &shared.sent, tell),
            None => tell(Said::NoReply(NoReply::Malformed)),
        }
        Ok(())
    })
}
