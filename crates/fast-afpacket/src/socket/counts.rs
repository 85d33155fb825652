//! What is counted on a socket.

use super::PacketSocket;
use crate::error::{Context, Error, Step};
use crate::stats::{RolloverStats, Stats};

/// Counts.
impl PacketSocket {
    /// What was received, dropped and so on since the socket was opened. Any number of threads may ask.
    ///
    /// The kernel counts in 32 bits since the last reading, so read at least once in 4 billion frames.
    ///
    /// # Errors
    ///
    /// None are known.
    #[doc(alias("Stats", "PACKET_STATISTICS"))]
    pub fn stats(&self) -> Result<Stats, Error> {
        self.counters.read(self.rx()).during(Step::Statistics, &self.parts.bound.name())
    }

    /// What was received, dropped and so on since the last call of this method.
    ///
    /// # Errors
    ///
    /// None are known.
    pub fn take_stats(&self) -> Result<Stats, Error> {
        self.counters.take(self.rx()).during(Step::Statistics, &self.parts.bound.name())
    }

    /// How often this member of a fanout group had no room and another was asked, since it joined.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the socket is in no group that rolls over.
    ///
    /// # Kernel
    ///
    /// Linux 4.2.
    #[doc(alias("PACKET_ROLLOVER_STATS", "tpacket_rollover_stats"))]
    pub fn rollover_stats(&self) -> Result<RolloverStats, Error> {
        RolloverStats::read(self.rx()).during(Step::Statistics, &self.parts.bound.name())
    }
}
