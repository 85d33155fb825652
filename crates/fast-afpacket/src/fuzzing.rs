//! What fuzzers reach beside the public API. Compiled with `--cfg fuzzing` only, so no user can come to rest on it; it
//! changes with what it leads to.

use std::io;
use std::os::fd::AsFd;

use crate::error_queue;
use crate::meta::{self, ChecksumState, VlanTag};
use crate::offload::HEADER_LEN;
use crate::sys::cmsg::ControlBuffer;
use crate::sys::layout::{Layout, Machine};
use crate::sys::{self, abi};
use crate::{ControlError, Offload, PacketSocket, Timestamps, TxStage};

pub use crate::ring::fuzzing::{Counted, PlayedRing, block_memory, frame_in_slot, slot_memory, walk_block};

/// What the control messages of a received frame say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ancillary {
    /// The stamps.
    pub timestamps: Timestamps,
    /// The frame's length in the kernel.
    pub wire_len: Option<usize>,
    /// The tag that the kernel took out.
    pub vlan: Option<VlanTag>,
    /// What is known of the checksum.
    pub checksum: ChecksumState,
}

/// How a kernel lays out its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Whether a `long` has 64 bits, or 32.
    pub long_of_64_bits: bool,
    /// Whether the most significant byte comes first.
    pub big_endian: bool,
}

impl Kernel {
    /// All that there are.
    pub const ALL: [Self; 4] = [
        Self { long_of_64_bits: false, big_endian: false },
        Self { long_of_64_bits: false, big_endian: true },
        Self { long_of_64_bits: true, big_endian: false },
        Self { long_of_64_bits: true, big_endian: true },
    ];
}

/// Calls a function with the layout of this kernel.
macro_rules! of_kernel {
    ($kernel:expr, $function:ident($control:expr)) => {
        match ($kernel.long_of_64_bits, $kernel.big_endian) {
            (false, false) => $function::<Machine<4, false>>($control),
            (false, true) => $function::<Machine<4, true>>($control),
            (true, false) => $function::<Machine<8, false>>($control),
            (true, true) => $function::<Machine<8, true>>($control),
        }
    };
}

/// [`Timestamps::from_control`] of any kernel.
///
/// # Errors
///
/// As there.
pub fn timestamps(kernel: Kernel, control: &[u8]) -> Result<Timestamps, ControlError> {
    of_kernel!(kernel, timestamps_of(control))
}

fn timestamps_of<L: Layout>(control: &[u8]) -> Result<Timestamps, ControlError> {
    Timestamps::from_control_of::<L>(control)
}

/// Reads the control messages of a received frame.
///
/// # Errors
///
/// As [`Timestamps::from_control`].
pub fn ancillary(kernel: Kernel, control: &[u8]) -> Result<Ancillary, ControlError> {
    of_kernel!(kernel, ancillary_of(control))
}

fn ancillary_of<L: Layout>(control: &[u8]) -> Result<Ancillary, ControlError> {
    let meta::Ancillary { timestamps, wire_len, vlan, checksum, .. } = meta::Ancillary::parse::<L>(control)?;
    Ok(Ancillary { timestamps, wire_len, vlan, checksum })
}

/// What a message of the error queue is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorReport {
    /// A stamp.
    Stamp {
        /// The caller's key or the kernel's count.
        number: u32,
        /// Where it was taken.
        stage: TxStage,
        /// The stamp.
        timestamps: Timestamps,
    },
    /// A frame was not sent, for its launch time.
    LaunchMissed,
    /// Something else.
    Other,
}

/// Reads the control messages of the error queue.
///
/// # Errors
///
/// As [`Timestamps::from_control`].
pub fn error_report(kernel: Kernel, control: &[u8]) -> Result<ErrorReport, ControlError> {
    of_kernel!(kernel, error_report_of(control))
}

fn error_report_of<L: Layout>(control: &[u8]) -> Result<ErrorReport, ControlError> {
    Ok(match error_queue::Stamp::parse::<L>(control)? {
        error_queue::ErrorReport::Stamp(error_queue::Stamp { number, stage, timestamps }) => {
            ErrorReport::Stamp { number, stage, timestamps }
        }
        error_queue::ErrorReport::LaunchMissed => ErrorReport::LaunchMissed,
        error_queue::ErrorReport::Other => ErrorReport::Other,
    })
}

/// The offload header with these bytes.
pub const fn offload_from_bytes(bytes: [u8; HEADER_LEN]) -> Offload {
    Offload::from_bytes(bytes)
}

/// The bytes of an offload header.
pub const fn offload_to_bytes(offload: Offload) -> [u8; HEADER_LEN] {
    offload.to_bytes()
}

/// Receives one frame, or reads one message of the error queue, and gives the control messages as the kernel wrote them.
///
/// # Errors
///
/// What the kernel says; `EAGAIN` if there is nothing.
pub fn next_control(socket: &PacketSocket, of_error_queue: bool) -> io::Result<Vec<u8>> {
    let mut control = ControlBuffer::<256>::new();
    let mut address = abi::link_address(0, 0);
    let flags = if of_error_queue { libc::MSG_ERRQUEUE } else { 0 } | libc::MSG_DONTWAIT;
    let received = sys::receive(socket.as_fd(), &mut [0; 2048], &mut address, &mut control, flags)?;
    Ok(control.written(received.control_len).to_vec())
}
