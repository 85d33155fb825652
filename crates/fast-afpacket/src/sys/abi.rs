//! Numbers and layouts of the kernel's interface that libc lacks, or gives in a form that we cannot use.
//!
//! Each layout stands beside an assertion of its size, so that a wrong one does not build.

use std::mem::size_of;

use super::layout::{Layout, Native};

// linux/net_tstamp.h and asm-generic/socket.h, for control messages that libc 0.2 does not name.

/// Control message of `sendmsg(2)`: the caller's own id for the TX stamps of this frame, a u32. Linux 6.13.
pub(crate) const SCM_TS_OPT_ID: libc::c_int = 81;

/// The option, and the type of the message that answers it, with times of two longs. libc may give the name to the other.
pub(crate) const SO_TIMESTAMPING_OLD: libc::c_int = 37;
/// The option with 64-bit time on 32-bit machines, and the type of the message that carries it. Linux 5.1.
pub(crate) const SO_TIMESTAMPING_NEW: libc::c_int = 65;

/// What this library sets: the 64-bit form everywhere. On 64-bit machines both forms are alike and the old one is
/// known to older kernels.
pub(crate) const SO_TIMESTAMPING: libc::c_int = Native::SO_TIMESTAMPING;

/// Binds to an interface by index without naming it. Linux 5.0.
pub(crate) const SO_BINDTOIFINDEX: libc::c_int = 62;

/// `struct so_timestamping`: the long form of the option's value, which names a virtual clock. Linux 5.14.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct SoTimestamping {
    pub(crate) flags: u32,
    pub(crate) bind_phc: u32,
}
const _: () = assert!(size_of::<SoTimestamping>() == 8);

/// Option: the clock of launch times; control message: a launch time, a u64. Linux 4.19.
pub(crate) const SO_TXTIME: libc::c_int = 61;
/// Missed and refused launch times are reported in the error queue.
pub(crate) const SOF_TXTIME_REPORT_ERRORS: u32 = 2;

/// `struct sock_txtime`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct SockTxtime {
    pub(crate) clock: libc::clockid_t,
    pub(crate) flags: u32,
}
const _: () = assert!(size_of::<SockTxtime>() == 8);

// linux/errqueue.h: `ee_origin` and `ee_info` of a TX stamp.

/// `ee_origin`: the error-queue message is a timestamp.
pub(crate) const SO_EE_ORIGIN_TIMESTAMPING: u8 = 4;
/// `ee_origin`: a launch time that was missed or refused.
pub(crate) const SO_EE_ORIGIN_TXTIME: u8 = 6;
/// `ee_info`: passed to the driver or, with a hardware stamp, sent by the NIC.
pub(crate) const SCM_TSTAMP_SND: u32 = 0;
/// `ee_info`: entered the queueing discipline.
pub(crate) const SCM_TSTAMP_SCHED: u32 = 1;
/// `ee_info`: acknowledged by the peer (TCP only).
pub(crate) const SCM_TSTAMP_ACK: u32 = 2;
/// `ee_info`: completed by the device. Linux 6.15.
pub(crate) const SCM_TSTAMP_COMPLETION: u32 = 3;

/// The length of `sockaddr_ll` as the kernel reads and writes it.
pub(crate) const SOCKADDR_LL_LEN: libc::socklen_t = 20;
const _: () = assert!(size_of::<libc::sockaddr_ll>() == 20);

/// The length of `struct virtio_net_hdr`, which stands before each frame with `PACKET_VNET_HDR`.
pub(crate) const VNET_HEADER_LEN: usize = 10;

/// `tpacket_versions`: the values of `PACKET_VERSION`.
pub(crate) const TPACKET_V1: libc::c_int = 0;
pub(crate) const TPACKET_V2: libc::c_int = 1;
pub(crate) const TPACKET_V3: libc::c_int = 2;

// Layouts that the ring parsers read by offset, checked against libc's.
const _: () = assert!(size_of::<libc::tpacket_block_desc>() == 48);
const _: () = assert!(size_of::<libc::tpacket3_hdr>() == 48);
const _: () = assert!(size_of::<libc::tpacket2_hdr>() == 32);
const _: () = assert!(size_of::<libc::tpacket_req>() == 16);
const _: () = assert!(size_of::<libc::tpacket_req3>() == 28);

// Layouts that the control-message parser reads by offset, checked against libc's.
const _: () = assert!(size_of::<libc::tpacket_auxdata>() == 20);
const _: () = assert!(size_of::<libc::sock_extended_err>() == 16);
const _: () = assert!(size_of::<libc::packet_mreq>() == 16);
const _: () = assert!(size_of::<libc::sock_filter>() == 8);

/// `struct ifreq`: a name and a union of 24 bytes (16 on 32-bit machines), of which an int or an address is read.
#[repr(C)]
pub(crate) struct InterfaceRequest {
    pub(crate) name: [u8; libc::IFNAMSIZ],
    pub(crate) value: RequestValue,
}

/// The union of `struct ifreq`, as bytes with the alignment of the pointer that it may hold.
#[repr(C, align(8))]
pub(crate) struct RequestValue(pub(crate) [u8; 24]);

const _: () = assert!(size_of::<InterfaceRequest>() == 40);

/// A `sockaddr_ll` without an address: all that `bind(2)` reads, and the base of one to send to.
/// The protocol is taken in host order and stored in network order, here and nowhere else.
pub(crate) const fn link_address(protocol: u16, index: libc::c_int) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: 17, // AF_PACKET, which libc has as an int
        sll_protocol: protocol.to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}
const _: () = assert!(libc::AF_PACKET == 17);

/// A `sockaddr_ll` that the kernel wrote into a ring. It writes the bytes that the address has (six, as a rule); in the
/// rest of the field is what stood there before, of another frame.
#[inline]
pub(crate) const fn link_address_in(bytes: &[u8; 20]) -> libc::sockaddr_ll {
    let [f0, f1, p0, p1, i0, i1, i2, i3, h0, h1, kind, len, a0, a1, a2, a3, a4, a5, a6, a7] = *bytes;
    let written = if len < 8 { (1 << (8 * len)) - 1 } else { u64::MAX };
    let address = u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]) & written;
    libc::sockaddr_ll {
        sll_family: u16::from_ne_bytes([f0, f1]),
        sll_protocol: u16::from_ne_bytes([p0, p1]),
        sll_ifindex: libc::c_int::from_ne_bytes([i0, i1, i2, i3]),
        sll_hatype: u16::from_ne_bytes([h0, h1]),
        sll_pkttype: kind,
        sll_halen: len,
        sll_addr: address.to_le_bytes(),
    }
}
