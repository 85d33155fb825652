//! Frames and timestamps.
#![deny(unsafe_code)]

mod addr;
mod error;
mod filter;
mod interface;
mod meta;
mod options;
mod socket;
mod stamping;
mod stats;
mod sys;
mod timestamp;
mod tx_keys;
mod wait;

pub use addr::{EtherType, MacAddr, PacketAddr, PacketType, ParseMacAddrError};
pub use error::{Error, Step};
pub use filter::{Filter, FilterError, Instruction, UdpDst};
pub use interface::{Interface, InterfaceFlags};
pub use meta::{ChecksumState, RestoreError, RxMeta, VlanTag};
pub use options::{Granted, Options};
pub use socket::PacketSocket;
pub use stats::Stats;
pub use timestamp::{ControlError, HardwareStamp, SystemStamp, Timestamping, Timestamps, TxKey, TxReport, TxStage};
