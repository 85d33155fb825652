//! The crate `pnet_datalink`: `poll` and `recvfrom`, `poll` and `sendto`.

use std::io;
use std::process::ExitCode;

use anyhow::Context;
use fast_afpacket_bench_harness::{Contender, Receiver, Sender, Setup, Sink, Way, frames, socket, worker};
use pnet_datalink::{Channel, Config, DataLinkReceiver, DataLinkSender};

const WHO: &str = "pnet_datalink";

fn main() -> ExitCode {
    worker::main(&[
        Contender::receiver(WHO, Way::Recv, |setup| open(setup).map(|(_, receiver)| Next(receiver))),
        Contender::sender(WHO, Way::Send, SendTo::open),
    ])
}

fn open(setup: &Setup) -> anyhow::Result<(Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>)> {
    let interfaces = pnet_datalink::interfaces();
    let interface = interfaces.iter().find(|interface| interface.name == setup.interface);
    let interface = interface.context("pnet_datalink does not find the interface")?;
    let config = Config { read_timeout: Some(socket::IDLE), promiscuous: false, ..Config::default() };
    match pnet_datalink::channel(interface, config)? {
        Channel::Ethernet(sender, receiver) => Ok((sender, receiver)),
        _ => anyhow::bail!("not an Ethernet channel"),
    }
}

struct Next(Box<dyn DataLinkReceiver>);

impl Receiver for Next {
    fn pass(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        match self.0.next() {
            Ok(bytes) => sink.frame(None, bytes.len(), bytes),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn dropped(&mut self) -> io::Result<Option<u64>> {
        Ok(None)
    }
}

struct SendTo {
    sender: Box<dyn DataLinkSender>,
    frame: Vec<u8>,
}

impl SendTo {
    fn open(setup: &Setup) -> anyhow::Result<Self> {
        let (sender, _) = open(setup)?;
        Ok(Self { sender, frame: frames::one(setup.frame_len)? })
    }
}

impl Sender for SendTo {
    fn send(&mut self) -> io::Result<u64> {
        match self.sender.send_to(&self.frame, None) {
            Some(result) => result.map(|()| 1),
            None => Err(io::Error::other("the frame does not fit its buffer")),
        }
    }
}
