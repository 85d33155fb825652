//! Sending at a certain time.

use std::io;

use super::PacketSocket;
use crate::launch::LaunchTime;
use crate::tx_frame::TxFrame;
use crate::tx_report::TxKey;

/// Launch times: [`Options::launch_clock`](crate::Options::launch_clock).
impl PacketSocket {
    /// Sends a frame that the queueing discipline lets go at a certain time. No stamp is taken.
    ///
    /// The call returns at once; what becomes of the frame, its stamps say. `etf` refuses one whose time has passed
    /// (`ENOBUFS`), and drops one that it cannot let go in time; where stamps are read, both are counted:
    /// [`Stats::launches_missed`](crate::Stats::launches_missed).
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send). [`InvalidInput`](io::ErrorKind::InvalidInput) on a socket without
    /// [`Options::launch_clock`](crate::Options::launch_clock) or with another clock than that of the time.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use fast_afpacket::{Interface, LaunchClock, LaunchTime, PacketSocket};
    ///
    /// let socket = PacketSocket::options().launch_clock(LaunchClock::Tai).bind(&Interface::by_name("eth1")?)?;
    /// socket.send_at(&[0xff; 60], LaunchTime::In(Duration::from_millis(2)))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("SCM_TXTIME", "SO_TXTIME"))]
    pub fn send_at(&self, frame: &[u8], at: LaunchTime) -> io::Result<usize> {
        self.send_frame(&TxFrame::new(frame).launch(at))
    }

    /// [`send_at`](Self::send_at) with stamps, as [`send_keyed`](Self::send_keyed) asks for them.
    ///
    /// # Errors
    ///
    /// See both.
    pub fn send_at_keyed(&self, frame: &[u8], at: LaunchTime, key: TxKey) -> io::Result<usize> {
        self.send_frame(&TxFrame::new(frame).launch(at).key(key))
    }
}
