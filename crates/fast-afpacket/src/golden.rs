//! What the kernels of four kinds of machines write, byte for byte, and what this library reads in it.
//!
//! The layouts are those of the kernel's own headers (Linux 6.18, include/uapi unless said otherwise): `struct cmsghdr` of
//! include/linux/socket.h, `struct tpacket_auxdata` of linux/if_packet.h, `struct scm_ts_pktinfo` of linux/net_tstamp.h,
//! `struct sock_extended_err`, `struct scm_timestamping` (two longs for each time) and `struct scm_timestamping64` of
//! linux/errqueue.h, the numbers of asm-generic/socket.h. A message begins with its header: length, level, type. Spaces
//! separate fields; padding has its own.

use crate::addr::EtherType;
use crate::error_queue::{ErrorReport, Stamp};
use crate::meta::{Ancillary, ChecksumState, VlanTag};
use crate::sys::cmsg::{Encoder, Messages};
use crate::sys::layout::{Layout, Machine, Native};
use crate::timestamp::{HardwareStamp, SystemStamp, Timestamps};
use crate::tx_report::TxStage;

struct Golden {
    /// A frame with both stamps, in the form that this library asks for, and what else is said of it.
    received: &'static str,
    /// The same in the old form, among messages that others have asked for.
    received_among_others: &'static str,
    /// A stamp in the error queue, in both forms.
    stamp: &'static str,
    stamp_in_old_form: &'static str,
    /// What a frame is sent with: which stamps, its key, its launch time.
    sent: &'static str,
}

const LONG32_LITTLE: Golden = Golden {
    received: "
        3c000000 01000000 41000000
            00ac420601000000 3531421e00000000 0000000000000000 0000000000000000 2500000000000000 0100000000000000
        20000000 07010000 08000000  59000000 d6000000 3c000000 0000 0e00 0560 a888
    ",
    received_among_others: "
        1c000000 01000000 3a000000  03000000 da000000 00000000 00000000
        24000000 01000000 25000000  daa07962 3531421e 00000000 00000000 25000000 01000000
        10000000 01000000 28000000  2c000000
        20000000 07010000 08000000  59000000 d6000000 3c000000 0000 0e00 0560 a888
    ",
    stamp: "
        3c000000 01000000 41000000
            00ac420601000000 3531421e00000000 0000000000000000 0000000000000000 2500000000000000 0100000000000000
        1c000000 07010000 10000000  2a000000 04 00 00 00 01000000 f0ffffff
    ",
    stamp_in_old_form: "
        24000000 01000000 25000000  daa07962 3531421e 00000000 00000000 25000000 01000000
        1c000000 07010000 10000000  2a000000 04 00 00 00 01000000 f0ffffff
    ",
    sent: "
        10000000 01000000 41000000  12010000
        10000000 01000000 51000000  f0ffffff
        14000000 01000000 3d000000  efcdab8967452301
    ",
};

const LONG32_BIG: Golden = Golden {
    received: "
        0000003c 00000001 00000041
            000000010642ac00 000000001e423135 0000000000000000 0000000000000000 0000000000000025 0000000000000001
        00000020 00000107 00000008  00000059 000000d6 0000003c 0000 000e 6005 88a8
    ",
    received_among_others: "
        0000001c 00000001 0000003a  00000003 000000da 00000000 00000000
        00000024 00000001 00000025  6279a0da 1e423135 00000000 00000000 00000025 00000001
        00000010 00000001 00000028  0000002c
        00000020 00000107 00000008  00000059 000000d6 0000003c 0000 000e 6005 88a8
    ",
    stamp: "
        0000003c 00000001 00000041
            000000010642ac00 000000001e423135 0000000000000000 0000000000000000 0000000000000025 0000000000000001
        0000001c 00000107 00000010  0000002a 04 00 00 00 00000001 fffffff0
    ",
    stamp_in_old_form: "
        00000024 00000001 00000025  6279a0da 1e423135 00000000 00000000 00000025 00000001
        0000001c 00000107 00000010  0000002a 04 00 00 00 00000001 fffffff0
    ",
    sent: "
        00000010 00000001 00000041  00000112
        00000010 00000001 00000051  fffffff0
        00000014 00000001 0000003d  0123456789abcdef
    ",
};

const LONG64_LITTLE: Golden = Golden {
    received: "
        4000000000000000 01000000 25000000
            00ac420601000000 3531421e00000000 0000000000000000 0000000000000000 2500000000000000 0100000000000000
        2400000000000000 07010000 08000000  59000000 d6000000 3c000000 0000 0e00 0560 a888 00000000
    ",
    received_among_others: "
        2000000000000000 01000000 3a000000  03000000 da000000 00000000 00000000
        4000000000000000 01000000 25000000
            daa0796200000000 3531421e00000000 0000000000000000 0000000000000000 2500000000000000 0100000000000000
        1400000000000000 01000000 28000000  2c000000 00000000
        2400000000000000 07010000 08000000  59000000 d6000000 3c000000 0000 0e00 0560 a888 00000000
    ",
    stamp: "
        4000000000000000 01000000 25000000
            00ac420601000000 3531421e00000000 0000000000000000 0000000000000000 2500000000000000 0100000000000000
        2000000000000000 07010000 10000000  2a000000 04 00 00 00 01000000 f0ffffff
    ",
    stamp_in_old_form: "
        4000000000000000 01000000 25000000
            daa0796200000000 3531421e00000000 0000000000000000 0000000000000000 2500000000000000 0100000000000000
        2000000000000000 07010000 10000000  2a000000 04 00 00 00 01000000 f0ffffff
    ",
    sent: "
        1400000000000000 01000000 25000000  12010000 00000000
        1400000000000000 01000000 51000000  f0ffffff 00000000
        1800000000000000 01000000 3d000000  efcdab8967452301
    ",
};

const LONG64_BIG: Golden = Golden {
    received: "
        0000000000000040 00000001 00000025
            000000010642ac00 000000001e423135 0000000000000000 0000000000000000 0000000000000025 0000000000000001
        0000000000000024 00000107 00000008  00000059 000000d6 0000003c 0000 000e 6005 88a8 00000000
    ",
    received_among_others: "
        0000000000000020 00000001 0000003a  00000003 000000da 00000000 00000000
        0000000000000040 00000001 00000025
            000000006279a0da 000000001e423135 0000000000000000 0000000000000000 0000000000000025 0000000000000001
        0000000000000014 00000001 00000028  0000002c 00000000
        0000000000000024 00000107 00000008  00000059 000000d6 0000003c 0000 000e 6005 88a8 00000000
    ",
    stamp: "
        0000000000000040 00000001 00000025
            000000010642ac00 000000001e423135 0000000000000000 0000000000000000 0000000000000025 0000000000000001
        0000000000000020 00000107 00000010  0000002a 04 00 00 00 00000001 fffffff0
    ",
    stamp_in_old_form: "
        0000000000000040 00000001 00000025
            000000006279a0da 000000001e423135 0000000000000000 0000000000000000 0000000000000025 0000000000000001
        0000000000000020 00000107 00000010  0000002a 04 00 00 00 00000001 fffffff0
    ",
    sent: "
        0000000000000014 00000001 00000025  00000112 00000000
        0000000000000014 00000001 00000051  fffffff0 00000000
        0000000000000018 00000001 0000003d  0123456789abcdef
    ",
};

fn bytes(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
}

/// 2109, which 32 bits cannot say, and half a minute after a card's clock began.
fn stamps(software: i64) -> Timestamps {
    let software = SystemStamp::from_nanos(software);
    Timestamps { software: Some(software), hardware: Some(HardwareStamp::from_nanos(37_000_000_001)) }
}

const NEW_FORM: i64 = 4_400_000_000_507_654_453;
const OLD_FORM: i64 = 1_652_138_202_507_654_453;

fn all_is_read_and_written<L: Layout>(golden: &Golden) {
    for (received, software) in [(golden.received, NEW_FORM), (golden.received_among_others, OLD_FORM)] {
        let found = Ancillary::parse::<L>(&bytes(received)).unwrap();
        assert_eq!(found.timestamps, stamps(software));
        assert_eq!(found.wire_len, Some(214));
        assert_eq!(found.vlan, Some(VlanTag::new(EtherType::SERVICE_VLAN, 0x6005)));
        assert_eq!(found.checksum, ChecksumState::Partial);
        assert_eq!(Timestamps::from_control_of::<L>(&bytes(received)), Ok(stamps(software)));
    }
    for (stamp, software) in [(golden.stamp, NEW_FORM), (golden.stamp_in_old_form, OLD_FORM)] {
        let expected = Stamp { number: 0xffff_fff0, stage: TxStage::Scheduled, timestamps: stamps(software) };
        assert_eq!(Stamp::parse::<L>(&bytes(stamp)), Ok(ErrorReport::Stamp(expected)));
    }
    let mut control = Encoder::<128, L>::of_layout();
    control.push(libc::SOL_SOCKET, L::SO_TIMESTAMPING, 0x112);
    control.push(libc::SOL_SOCKET, 81, 0xffff_fff0);
    control.push_long(libc::SOL_SOCKET, 61, 0x0123_4567_89ab_cdef);
    assert_eq!(control.as_bytes(), bytes(golden.sent));
}

/// Every message is found with its level, type and length; cut anywhere, no more is found than is there.
fn the_walk_is_right<L: Layout>(golden: &Golden) {
    let whole = bytes(golden.received_among_others);
    let walk = |control: &[u8]| -> Vec<_> {
        let messages = Messages::<L>::new(control).map_while(Result::ok);
        messages.map(|message| (message.level, message.kind, message.data.len())).collect()
    };
    let all = [(1, 58, 16), (1, 37, 6 * L::LONG), (1, 40, 4), (263, 8, 20)];
    assert_eq!(walk(&whole), all);
    for len in 0..whole.len() {
        let (found, cut) = (walk(&whole[..len]), &whole[..len]);
        assert_eq!(found, all[..found.len()], "{len} bytes");
        let is_whole = found.len() == 4;
        assert_eq!(Ancillary::parse::<L>(cut).is_ok_and(|said| said.wire_len.is_some()), is_whole, "{len} bytes");
    }
}

fn check<L: Layout>(golden: &Golden) {
    all_is_read_and_written::<L>(golden);
    the_walk_is_right::<L>(golden);
}

#[test]
fn long_of_32_bits_little_endian() {
    check::<Machine<4, false>>(&LONG32_LITTLE);
}

#[test]
fn long_of_32_bits_big_endian() {
    check::<Machine<4, true>>(&LONG32_BIG);
}

#[test]
fn long_of_64_bits_little_endian() {
    check::<Machine<8, false>>(&LONG64_LITTLE);
}

#[test]
fn long_of_64_bits_big_endian() {
    check::<Machine<8, true>>(&LONG64_BIG);
}

/// Which of them this machine is: what is read on the data path is read by the same code.
#[test]
fn this_machine() {
    check::<Native>(match (Native::LONG, Native::BIG_ENDIAN) {
        (4, false) => &LONG32_LITTLE,
        (4, true) => &LONG32_BIG,
        (8, false) => &LONG64_LITTLE,
        _ => &LONG64_BIG,
    });
}
