//! Sending at a certain time.

use std::io;

use super::PacketSocket;
use crate::launch::{LaunchControl, LaunchTime};
use crate::sys::{self, abi};
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
    /// [`Options::launch_clock`](crate::Options::launch_clock) or with another clock than that of the time, and on one
    /// with [`Options::offload`](crate::Options::offload).
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
        let to = self.bound_destination()?;
        let launch = self.launch_nanos(at)?;
        let control = LaunchControl::new().push_long(libc::SOL_SOCKET, abi::SO_TXTIME, launch);
        self.transmit(|| sys::send_with_control(self.tx(), frame, to, control.as_bytes()))
    }

    /// [`send_at`](Self::send_at) with stamps, as [`send_keyed`](Self::send_keyed) asks for them.
    ///
    /// # Errors
    ///
    /// See both.
    pub fn send_at_keyed(&self, frame: &[u8], at: LaunchTime, key: TxKey) -> io::Result<usize> {
        let to = self.bound_destination()?;
        let launch = self.launch_nanos(at)?;
        let (tx, stamps) = (self.tx(), self.parts.stamping.stamps());
        self.parts.stamping.check(stamps)?;
        self.transmit(|| {
            let send = |stamps: &[u8]| {
                let control = LaunchControl::behind(stamps).push_long(libc::SOL_SOCKET, abi::SO_TXTIME, launch);
                sys::send_with_control(tx, frame, to, control.as_bytes())
            };
            self.parts.stamping.send(tx, (key, stamps), send, |error| self.refusal(error, frame.len()))
        })
    }

    fn launch_nanos(&self, at: LaunchTime) -> io::Result<u64> {
        let invalid = |why| io::Error::new(io::ErrorKind::InvalidInput, why);
        match self.parts.launch_clock {
            _ if self.parts.offload => Err(invalid("launch times are not for sockets with Options::offload")),
            Some(clock) => at.on(clock),
            None => Err(invalid("this socket was opened without Options::launch_clock")),
        }
    }
}
