//! Timestamps, each with the clock that it was read from; how they are read and asked for.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bitflags::bitflags;

use crate::sys::abi;
use crate::sys::cmsg::{Malformed, Message, Messages};
use crate::sys::layout::{Layout, Native};

pub(crate) const NANOS_PER_SEC: i64 = 1_000_000_000;

/// A point in time on one clock, in nanoseconds since that clock's epoch. The kernel itself keeps time in 64 signed
/// bits, so nothing is lost, and the years 1678 to 2262 fit.
macro_rules! stamp {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(i64);

        impl $name {
            /// The stamp that many nanoseconds after the clock's epoch.
            pub const fn from_nanos(nanos: i64) -> Self {
                Self(nanos)
            }

            /// Nanoseconds since the clock's epoch.
            pub const fn as_nanos(self) -> i64 {
                self.0
            }

            /// Nanoseconds from `earlier` to this stamp; negative if `earlier` is the later one. Saturates.
            pub const fn nanos_since(self, earlier: Self) -> i64 {
                self.0.saturating_sub(earlier.0)
            }

            /// The time from `earlier` to this stamp, or `None` if `earlier` is the later one.
            pub const fn checked_duration_since(self, earlier: Self) -> Option<Duration> {
                match self.0.checked_sub(earlier.0) {
                    Some(nanos) if nanos >= 0 => Some(Duration::from_nanos(nanos.unsigned_abs())),
                    _ => None,
                }
            }
        }

        /// Seconds since the clock's epoch with nine decimals.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let sign = if self.0 < 0 { "-" } else { "" };
                let nanos = self.0.unsigned_abs();
                let per_sec = NANOS_PER_SEC.unsigned_abs();
                write!(f, "{sign}{}.{:09}", nanos / per_sec, nanos % per_sec)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}
pub(crate) use stamp;

stamp! {
    /// A stamp that the kernel took from `CLOCK_REALTIME`: UTC as this host knows it.
    ///
    /// That clock can be stepped and slewed while frames are under way; a difference of two stamps is only as good as
    /// the clock was in between. A stamp of another clock cannot be subtracted from it: the types differ.
    ///
    /// ```
    /// use fast_afpacket::SystemStamp;
    ///
    /// let sent = SystemStamp::from_nanos(1_652_138_202_507_654_453);
    /// let received = SystemStamp::from_nanos(1_652_138_202_507_661_000);
    /// assert_eq!(received.nanos_since(sent), 6_547);
    /// assert_eq!(sent.to_string(), "1652138202.507654453");
    /// ```
    SystemStamp
}

stamp! {
    /// A stamp that the NIC took from its own clock, the PTP hardware clock (PHC).
    ///
    /// Which time that clock shows is up to whoever steers it: TAI under a PTP daemon, often the time since power-on
    /// otherwise. It is never comparable with a [`SystemStamp`] as it stands.
    ///
    /// ```compile_fail
    /// use fast_afpacket::{HardwareStamp, SystemStamp};
    ///
    /// let (software, hardware) = (SystemStamp::from_nanos(1), HardwareStamp::from_nanos(2));
    /// software.nanos_since(hardware); // two clocks: does not compile
    /// ```
    HardwareStamp
}

impl SystemStamp {
    /// What `CLOCK_REALTIME` shows now: user space's own stamp, comparable with the kernel's.
    #[doc(alias("clock_gettime", "CLOCK_REALTIME"))]
    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }
}

/// A time outside the years 1678 to 2262 becomes the nearest stamp inside.
impl From<SystemTime> for SystemStamp {
    fn from(time: SystemTime) -> Self {
        Self(match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, i64::wrapping_neg),
        })
    }
}

impl From<SystemStamp> for SystemTime {
    fn from(stamp: SystemStamp) -> Self {
        let distance = Duration::from_nanos(stamp.0.unsigned_abs());
        if stamp.0 < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
    }
}

/// The stamps of one frame at one point of its way, each on its own clock, each only where it was taken.
///
/// The kernel marks a stamp that it does not have with a time of zero; here that is `None`, never 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[doc(alias("SocketTimestamps", "scm_timestamping", "SCM_TIMESTAMPING"))]
pub struct Timestamps {
    /// Taken by the kernel.
    pub software: Option<SystemStamp>,
    /// Taken by the NIC.
    pub hardware: Option<HardwareStamp>,
}

impl Timestamps {
    /// Neither a software nor a hardware stamp.
    pub const NONE: Self = Self { software: None, hardware: None };

    /// Finds the stamps in a buffer of control messages, as `recvmsg(2)` fills it.
    ///
    /// All messages are walked; only `SOL_SOCKET` / `SCM_TIMESTAMPING` counts, in the old and the new form. A buffer
    /// without one gives [`Timestamps::NONE`]: the kernel says nothing when it has no stamp.
    ///
    /// # Errors
    ///
    /// [`ControlError::Malformed`] if a message does not lie within the buffer, [`ControlError::Truncated`] if a
    /// timestamp message is not complete: the kernel hands over a cut one, with `MSG_CTRUNC`, when the buffer is too
    /// small.
    ///
    /// # Kernel
    ///
    /// Documentation/networking/timestamping.rst, section 2.1.
    #[doc(alias("ParseSocketTimestamps", "cmsghdr"))]
    pub fn from_control(control: &[u8]) -> Result<Self, ControlError> {
        Self::from_control_of::<Native>(control)
    }

    /// [`from_control`](Self::from_control), of a kernel with any layout.
    pub(crate) fn from_control_of<L: Layout>(control: &[u8]) -> Result<Self, ControlError> {
        let mut stamps = Self::NONE;
        for message in Messages::<L>::new(control) {
            if let Some(found) = Self::from_message::<L>(&message?)? {
                stamps = found;
            }
        }
        Ok(stamps)
    }

    /// The stamps in this message, if it is one that carries stamps.
    #[inline]
    pub(crate) fn from_message<L: Layout>(message: &Message<'_>) -> Result<Option<Self>, ControlError> {
        if message.level != libc::SOL_SOCKET {
            return Ok(None);
        }
        let stamps = match message.kind {
            abi::SO_TIMESTAMPING_NEW => Self::from_times::<L>(message.data),
            abi::SO_TIMESTAMPING_OLD if L::LONG == 8 => Self::from_times::<L>(message.data),
            abi::SO_TIMESTAMPING_OLD => Self::from_short_times::<L>(message.data),
            _ => return Ok(None),
        };
        stamps.ok_or(ControlError::Truncated).map(Some)
    }

    /// `struct scm_timestamping64`: three times of two 64-bit words, seconds and nanoseconds: software, a legacy one that
    /// is always zero, hardware.
    #[inline]
    pub(crate) fn from_times<L: Layout>(data: &[u8]) -> Option<Self> {
        let ([software_secs, software_nanos, _, _, hardware_secs, hardware_nanos], []) = data.as_chunks() else {
            return None;
        };
        let software = [software_secs, software_nanos].map(|word| L::u64(*word).cast_signed());
        let hardware = [hardware_secs, hardware_nanos].map(|word| L::u64(*word).cast_signed());
        Some(Self::from_words(software, hardware))
    }

    /// The same in 32-bit words, the old form on 32-bit machines.
    fn from_short_times<L: Layout>(data: &[u8]) -> Option<Self> {
        let ([software_secs, software_nanos, _, _, hardware_secs, hardware_nanos], []) = data.as_chunks() else {
            return None;
        };
        let software = [software_secs, software_nanos].map(|word| i64::from(L::u32(*word).cast_signed()));
        let hardware = [hardware_secs, hardware_nanos].map(|word| i64::from(L::u32(*word).cast_signed()));
        Some(Self::from_words(software, hardware))
    }

    #[inline]
    fn from_words(software: [i64; 2], hardware: [i64; 2]) -> Self {
        let nanos = |[secs, nanos]: [i64; 2]| {
            let time = secs.checked_mul(NANOS_PER_SEC)?.checked_add(nanos)?;
            (time != 0).then_some(time)
        };
        Self { software: nanos(software).map(SystemStamp), hardware: nanos(hardware).map(HardwareStamp) }
    }
}

/// A buffer of control messages that cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlError {
    /// The length of a message points outside the buffer.
    Malformed,
    /// A message was cut (`MSG_CTRUNC`): what is left of it is not read.
    Truncated,
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "a control message reaches outside its buffer",
            Self::Truncated => "a control message was cut: the control buffer was too small (MSG_CTRUNC)",
        })
    }
}

impl std::error::Error for ControlError {}

impl From<Malformed> for ControlError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl From<ControlError> for std::io::Error {
    fn from(error: ControlError) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

bitflags! {
    /// Which stamps a socket asks for.
    ///
    /// Stamps on transmit are taken only for frames that are sent with a key:
    /// [`send_keyed`](crate::PacketSocket::send_keyed).
    ///
    /// Software stamps work everywhere. For hardware stamps the NIC must also have been told to take them (by `ptp4l`,
    /// `hwstamp_ctl` or `ethtool`); where it was not, asking is harmless and the stamp is `None`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[doc(alias("SO_TIMESTAMPING", "SOF_TIMESTAMPING"))]
    pub struct Timestamping: u32 {
        /// The kernel stamps received frames as the driver hands them over.
        ///
        /// This switches stamping on for the whole machine, and the kernel does so a little later than asked (up to
        /// some milliseconds): the first frames may carry no stamp.
        #[doc(alias = "SOF_TIMESTAMPING_RX_SOFTWARE")]
        const RX_SOFTWARE = 1 << 0;
        /// The NIC stamps received frames, those that its filter selects.
        #[doc(alias = "SOF_TIMESTAMPING_RX_HARDWARE")]
        const RX_HARDWARE = 1 << 1;
        /// The kernel stamps a sent frame as it enters the queueing discipline. Linux 3.17.
        #[doc(alias = "SOF_TIMESTAMPING_TX_SCHED")]
        const TX_SCHEDULED = 1 << 2;
        /// The driver stamps a sent frame as it passes it to the device.
        #[doc(alias = "SOF_TIMESTAMPING_TX_SOFTWARE")]
        const TX_SOFTWARE = 1 << 3;
        /// The NIC stamps a sent frame on the wire. Many cards have room for only one such stamp at a time, which
        /// a PTP daemon on the same card needs too: ask for it when you want it.
        #[doc(alias = "SOF_TIMESTAMPING_TX_HARDWARE")]
        const TX_HARDWARE = 1 << 4;
        /// All stamps of received frames.
        const RX = Self::RX_SOFTWARE.bits() | Self::RX_HARDWARE.bits();
        /// All stamps of sent frames.
        const TX = Self::TX_SCHEDULED.bits() | Self::TX_SOFTWARE.bits() | Self::TX_HARDWARE.bits();
    }
}

impl Default for Timestamping {
    /// All but [`Timestamping::TX_HARDWARE`], which would take a scarce resource of the card from other programs.
    fn default() -> Self {
        Self::all().difference(Self::TX_HARDWARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::cmsg::{CmsgBytes, space};
    use proptest::prelude::*;

    fn times(words: [i64; 6]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    /// What veth gave for a received frame: a software stamp, behind a message that is none of ours.
    #[test]
    fn software_stamp_behind_another_message() {
        let mut control = CmsgBytes::default();
        control.push(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &44_u32.to_ne_bytes());
        control.push(libc::SOL_SOCKET, abi::SO_TIMESTAMPING_NEW, &times([1_652_138_202, 507_654_453, 0, 0, 0, 0]));
        control.push(libc::SOL_PACKET, libc::PACKET_AUXDATA, &[0; 20]);
        let stamps = Timestamps::from_control(&control.0).unwrap();
        assert_eq!(stamps.software, Some(SystemStamp::from_nanos(1_652_138_202_507_654_453)));
        assert_eq!(stamps.hardware, None);
    }

    #[test]
    fn hardware_stamp_is_of_another_type() {
        let mut control = CmsgBytes::default();
        control.push(libc::SOL_SOCKET, abi::SO_TIMESTAMPING_NEW, &times([0, 0, 0, 0, 37, 1]));
        let stamps = Timestamps::from_control(&control.0).unwrap();
        assert_eq!(stamps.software, None);
        assert_eq!(stamps.hardware, Some(HardwareStamp::from_nanos(37_000_000_001)));
    }

    #[test]
    fn no_message_is_no_stamp() {
        assert_eq!(Timestamps::from_control(&[]), Ok(Timestamps::NONE));
        let mut control = CmsgBytes::default();
        control.push(libc::SOL_PACKET, abi::SO_TIMESTAMPING_NEW, &times([1; 6]));
        assert_eq!(Timestamps::from_control(&control.0), Ok(Timestamps::NONE), "another level with the same type");
    }

    /// Lengths that the kernel was seen to hand over when the control buffer was too small.
    #[test]
    fn truncated_stamp_is_refused() {
        for len in [0, 4, 24, 47] {
            let mut control = CmsgBytes::default();
            control.push(libc::SOL_SOCKET, abi::SO_TIMESTAMPING_NEW, &times([1; 6])[..len]);
            assert_eq!(Timestamps::from_control(&control.0), Err(ControlError::Truncated), "{len} bytes");
        }
        let mut control = CmsgBytes::default();
        control.push(libc::SOL_SOCKET, abi::SO_TIMESTAMPING_NEW, &times([1; 6]));
        control.0.truncate(space(48) - 8);
        assert_eq!(Timestamps::from_control(&control.0), Err(ControlError::Malformed));
    }

    /// The old form of 32-bit machines, which cannot be met here otherwise.
    #[test]
    fn short_words_are_signed() {
        let bytes = |words: [i32; 6]| words.into_iter().flat_map(i32::to_ne_bytes).collect::<Vec<_>>();
        let stamps = Timestamps::from_short_times::<Native>(&bytes([-1, 500_000_000, 0, 0, 37, 1])).unwrap();
        assert_eq!(stamps.software, Some(SystemStamp::from_nanos(-500_000_000)));
        assert_eq!(stamps.hardware, Some(HardwareStamp::from_nanos(37_000_000_001)));
        assert_eq!(Timestamps::from_short_times::<Native>(&bytes([1; 6])[..20]), None);
    }

    #[test]
    fn system_time_and_back() {
        for nanos in [0, 1, -1, 1_652_138_202_507_654_453, -2_000_000_001] {
            let stamp = SystemStamp::from_nanos(nanos);
            assert_eq!(SystemStamp::from(SystemTime::from(stamp)), stamp);
        }
        assert_eq!(SystemStamp::from_nanos(-1_500_000_000).to_string(), "-1.500000000");
    }

    proptest! {
        #[test]
        fn differences_agree_with_duration(a in any::<i64>(), b in any::<i64>()) {
            let (a, b) = (SystemStamp::from_nanos(a), SystemStamp::from_nanos(b));
            if let Some(duration) = a.checked_duration_since(b) {
                let exact = i128::from(a.as_nanos()) - i128::from(b.as_nanos());
                prop_assert_eq!(u128::try_from(exact), Ok(duration.as_nanos()));
                prop_assert_eq!(i128::from(a.nanos_since(b)), exact);
            }
        }

        #[test]
        fn any_control_buffer_is_a_result(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Timestamps::from_control(&bytes);
        }

        #[test]
        fn any_times_are_a_result(words in any::<[i64; 6]>()) {
            let mut control = CmsgBytes::default();
            control.push(libc::SOL_SOCKET, abi::SO_TIMESTAMPING_NEW, &times(words));
            prop_assert!(Timestamps::from_control(&control.0).is_ok());
        }
    }
}
