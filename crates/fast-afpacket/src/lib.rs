//! Link-layer frames over Linux `AF_PACKET` sockets, with every timestamp that the kernel and the NIC give for them, on
//! the way out and on the way in, each matched to its frame.
//!
//! ```text
//!  send_keyed ─▶ qdisc ─▶ driver ─▶ NIC ─▶ wire        wire ─▶ NIC ─▶ driver ─▶ filter ─▶ recv | RxRing
//!           Scheduled   software  hardware                   hardware  software
//!  recv_tx  ◀──────── error queue ◀──┘
//! ```
//!
//! A sent frame asks for stamps by being sent with a key of the caller's choice; the stamps come back with that key. A
//! received frame comes with its stamps. A stamp that was not taken is `None`; software and hardware stamps are of two
//! types, because they are of two clocks.
//!
//! ```no_run
//! use std::time::{Duration, Instant};
//!
//! use fast_afpacket::{Interface, PacketSocket, TxKey};
//!
//! let interface = Interface::by_name("eth1")?;
//! let socket = PacketSocket::options().dual(true).bind(&interface)?;
//!
//! let mut frame = [0; 60];
//! frame[..6].copy_from_slice(&[0xff; 6]); // to everybody
//! frame[6..12].copy_from_slice(&interface.mac()?.unwrap_or_default().octets());
//! frame[12..14].copy_from_slice(&[0x88, 0xb5]); // IEEE 802 local experimental
//! socket.send_keyed(&frame, TxKey::new(7))?;
//!
//! socket.set_deadline(Some(Instant::now() + Duration::from_secs(1)));
//! let report = socket.recv_tx(&mut [])?;
//! println!("frame {} was {:?} at {:?}", report.key.value(), report.stage, report.timestamps.software);
//!
//! let mut buf = [0; 2048];
//! let meta = socket.recv(&mut buf)?;
//! println!("{} bytes from {} at {:?}", meta.len, meta.from, meta.timestamps.software);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to begin
//!
//! | to | see |
//! |---|---|
//! | find an interface | [`Interface`] |
//! | decide what a socket is to be, before it is bound | [`Options`] |
//! | open in another network namespace | [`Netns`], [`Options::netns`] |
//! | use a socket that a privileged program opened | [`Options::bind_fd`] |
//! | know why it could not be opened | [`Error::refusal`], [`privileges`] |
//! | send, receive, wait | [`PacketSocket`] |
//! | know what came with a frame | [`RxMeta`], [`Timestamps`], [`VlanTag`] |
//! | send or receive many frames at little cost | [`PacketSocket::send_batch`], [`PacketSocket::recv_batch`] |
//! | ask for a priority, a launch time, stamps of one frame | [`TxFrame`], [`PacketSocket::send_frame`] |
//! | know when a frame left | [`PacketSocket::send_keyed`], [`PacketSocket::recv_tx`], [`TxReport`] |
//! | know what became of each sent frame | [`TxTracker`], [`TxOutcome`] |
//! | have a frame leave at a certain time | [`Options::launch_clock`], [`PacketSocket::send_at`] |
//! | leave checksums and cutting to the kernel | [`Options::offload`], [`Offload`] |
//! | receive only what is wanted | [`Filter`] |
//! | share the frames of an interface among several sockets | [`FanoutGroup`], [`Options::fanout`] |
//! | read the clock of a NIC | [`Phc`] |
//! | compare hardware stamps with software stamps | [`PhcTracker`] |
//! | turn UTC into TAI | [`TaiOffset`] |
//! | know how far the system clock can be trusted | [`ClockState`] |
//! | receive many frames, or receive them soonest | [`Options::rx_ring`], [`RxRing`], [`RingShape`] |
//! | make frames where the kernel sends them from | [`Options::tx_ring`], [`TxRing`], which says when that pays |
//! | know what was lost | [`Stats`] |
//! | wait as tasks of tokio do | `AsyncPacketSocket`, `AsyncRxRing`, with the feature `tokio` |
//! | wait with a poller of one's own | [`PacketSocket::try_recv`] and its kin |
//!
//! # The guide
//!
//! What one should know beside the reference: [the path of a frame](guide::path), [which stamps there are](guide::stamps),
//! [hardware stamps in practice](guide::hardware), [one by one, batches, rings](guide::throughput), [without a thread for
//! each](guide::asynchronous), [rights and refusals](privileges), [when something is wrong](guide::troubleshooting).
//!
//! # What it needs
//!
//! Linux, and the capability `CAP_NET_RAW` in the user namespace that owns the network namespace: root has it, and so has an
//! ordinary user inside a user namespace of their own. Everything but hardware stamps works on any interface. What a
//! kernel lacks is left out or done another way, and [`PacketSocket::granted`] says so. What each thing takes, and how its
//! absence shows, is in the table of [`privileges`]. It builds for x86, ARM, LoongArch, PowerPC, RISC-V and s390x, in both
//! byte orders and, the first two, with addresses of 32 bits; for anything else it refuses.
//!
//! | Linux | what for |
//! |---|---|
//! | 4.13 | software and hardware stamp of one sent frame |
//! | 4.20 | [`Options::ignore_outgoing`], dual mode unless that is switched off |
//! | 5.14 | [`Options::bind_phc`]; an [`Interface`] knows its network namespace |
//! | 6.2 | [`FanoutGroup::ignore_outgoing`]; the other features of groups say their own |
//! | 6.12 | stamps are reported only to sockets that asked for them; before, this library sorts them out |
//! | 6.13 | the kernel carries the caller's keys; before, this library matches by the kernel's count of frames |
//! | 6.14 | [`TxFrame::priority`] |
//!
//! # Features
//!
//! * `tokio`: `AsyncPacketSocket` and `AsyncRxRing`, whose calls are futures. Each can be dropped at any point and has lost
//!   nothing; dropping a socket never keeps a thread of the runtime. Off by default. Other runtimes need no feature: the `try_`
//!   methods say what to poll for.
//! * `pcap`: `Filter::compile` turns the text of a filter (`udp and dst port 61000`) into a program, through libpcap. Off
//!   by default: it needs libpcap to build.

#![deny(unsafe_code)]

mod addr;
#[cfg(feature = "tokio")]
mod asynch;
mod batch;
mod bound;
mod capabilities;
mod clock;
mod clock_state;
mod departure;
mod drift;
mod error;
mod error_queue;
mod fanout;
mod fanout_refusal;
mod filter;
mod frame_limit;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod golden;
mod granted;
#[cfg(any(doc, doctest))]
pub mod guide;
mod hwtstamp;
mod interface;
mod launch;
mod link;
mod link_state;
mod memberships;
mod meta;
mod nap;
mod netns;
mod nic;
mod nic_refusal;
mod offload;
mod options;
mod phc;
mod phc_tracker;
mod refusal;
mod ring;
mod socket;
mod stamp_reader;
mod stamping;
mod stats;
mod supported;
mod sys;
mod timestamp;
mod tx;
mod tx_frame;
mod tx_keys;
mod tx_report;
mod tx_ring;
mod wait;

#[cfg(doc)]
#[doc = include_str!("privileges.md")]
pub mod privileges {}

pub use addr::{EtherType, MacAddr, PacketAddr, PacketType, ParseMacAddrError};
#[cfg(feature = "tokio")]
pub use asynch::{AsyncPacketSocket, AsyncRxRing};
pub use batch::{BatchError, BatchFrame, BatchFrames, RecvBatch, TxReportBatch};
pub use capabilities::Capabilities;
pub use clock::{MonotonicStamp, TaiOffset, TaiStamp};
pub use clock_state::{ClockState, FrequencyAdjustment, LeapSecond};
pub use drift::Drift;
pub use error::{Error, Step};
pub use fanout::{FanoutGroup, FanoutMode};
pub use fanout_refusal::FanoutRefusal;
pub use filter::{Filter, FilterError, Instruction, UdpDst};
pub use granted::{Granted, RingMemory};
pub use hwtstamp::{Hwtstamp, RxFilter, TxMode};
pub use interface::{Interface, InterfaceFlags};
pub use launch::{LaunchClock, LaunchTime};
pub use link_state::{Departure, LinkChanges, LinkState};
pub use meta::{ChecksumState, RestoreError, RxMeta, VlanTag};
pub use netns::Netns;
pub use nic::{ClockUser, ConfigureNic, GivenBack, LoanRecord, NicGrant, NicLoan};
pub use nic_refusal::NicRefusal;
pub use offload::{Offload, OffloadError, SegmentKind};
pub use options::{DescriptorRefusal, Options};
pub use phc::{CrossMethod, CrossTimestamp, Phc};
pub use phc_tracker::{Basis, Converted, ConvertedBack, Fed, PhcTracker, Stepped};
pub use refusal::Refusal;
pub use ring::{Block, ByBlock, ByFrame, Frame, Frames, HeldFrame, RingControl, RingShape, RxRing};
pub use socket::PacketSocket;
pub use stats::{RolloverStats, Stats};
pub use timestamp::{ControlError, HardwareStamp, SystemStamp, Timestamping, Timestamps};
pub use tx::{MissingReason, Rejected, StrayStamps, TxJoiner, TxOutcome, TxPacing, TxResult, TxTracker};
pub use tx_frame::TxFrame;
pub use tx_report::{TxKey, TxReport, TxStage};
pub use tx_ring::{FlushError, RefusedFrame, TxRing, TxRingControl, TxSlot};

/// The examples of the README are compiled with the tests of this crate.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
