//! The side of a relay that sends: what it sent goes into the ledger, with the kernel's stamps if those are asked for.

use std::time::{Duration, Instant};

use fast_afpacket::{PacketSocket, Timestamping, TxKey, TxTracker};

use super::carry::Transit;
use super::ledger::Departure;

/// How long the last stamps may take.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Sender<'a> {
    socket: &'a PacketSocket,
    tracker: Option<TxTracker<'a>>,
    departures: Vec<Departure>,
}

impl<'a> Sender<'a> {
    pub(super) fn new(socket: &'a PacketSocket, is_stamped: bool) -> Self {
        let track = || TxTracker::expecting(socket, Timestamping::TX_SOFTWARE).unwrap().timeout(PATIENCE);
        Self { socket, tracker: is_stamped.then(track), departures: Vec::new() }
    }

    pub(super) fn send(&mut self, frame: &Transit<'_>) {
        let Transit { arrived, packet, bytes } = frame;
        let sent = match (&self.tracker, packet) {
            (Some(tracker), Some(_)) => tracker.send(bytes, TxKey::new(self.departures.len().try_into().unwrap())),
            _ => self.socket.send(bytes),
        };
        sent.unwrap();
        self.departures.extend(packet.map(|packet| Departure { packet, arrived: *arrived, left: None }));
    }

    /// Takes the stamps that have come.
    pub(super) fn take_stamps(&mut self) {
        let Some(tracker) = &self.tracker else { return };
        while let Some(outcome) = tracker.try_outcome().unwrap() {
            let place = usize::try_from(outcome.key.value()).unwrap();
            self.departures[place].left = outcome.software;
        }
    }

    pub(super) fn finish(mut self) -> Vec<Departure> {
        let until = Instant::now() + PATIENCE;
        while self.tracker.as_ref().is_some_and(|tracker| !tracker.is_empty()) && Instant::now() < until {
            self.take_stamps();
        }
        self.departures
    }
}
