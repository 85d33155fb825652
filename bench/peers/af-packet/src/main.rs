//! The crate `af_packet`: a `TPACKET_V3` ring, and a sender.

use std::io;
use std::os::fd::BorrowedFd;
use std::process::ExitCode;

use af_packet::rx::{self, Ring, RingSettings};
use af_packet::tpacket3::TpacketReq3;
use af_packet::tx::Player;
use fast_afpacket_bench_harness::{Contender, Receiver, Sender, Setup, Sink, Way, frames, socket, worker};

const WHO: &str = "af_packet";

fn main() -> ExitCode {
    worker::main(&[
        Contender::receiver(WHO, Way::RingByBlock, Blocks::open),
        Contender::sender(WHO, Way::Send, Frames::open),
    ])
}

struct Blocks(Ring);

impl Blocks {
    /// With the ring that the others have, not its default of 10,000 blocks of 32 KiB.
    fn open(setup: &Setup) -> io::Result<Self> {
        let ring_settings = TpacketReq3 {
            tp_block_size: 1 << 20,
            tp_block_nr: 64,
            tp_frame_size: 2048,
            tp_frame_nr: 64 << 9,
            tp_retire_blk_tov: setup.block_timeout.into(),
            tp_feature_req_word: 0,
            ..TpacketReq3::default()
        };
        let settings = RingSettings { if_name: setup.interface.clone(), ring_settings, ..RingSettings::default() };
        Ring::new(settings).map(Self)
    }
}

impl Receiver for Blocks {
    fn pass(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        // SAFETY: the ring's socket is open as long as the ring is.
        let descriptor = unsafe { BorrowedFd::borrow_raw(self.0.socket.fd) };
        // A wait in `get_block` could not be ended: this one finds out first that it need not wait.
        if !socket::is_readable(descriptor)? {
            return Ok(());
        }
        let mut block = self.0.get_block();
        for packet in block.get_raw_packets() {
            let header = &packet.tpacket3_hdr;
            let stamp = i64::from(header.tp_sec) * 1_000_000_000 + i64::from(header.tp_nsec);
            // Its `data` begin with the kernel's header.
            let bytes = packet.data.get(usize::from(header.tp_mac)..).unwrap_or_default();
            sink.frame(Some(stamp), header.tp_len as usize, bytes);
        }
        block.mark_as_consumed();
        Ok(())
    }

    fn dropped(&mut self) -> io::Result<Option<u64>> {
        Ok(Some(rx::get_rx_statistics(self.0.socket.fd)?.tp_drops.into()))
    }
}

struct Frames {
    player: Player,
    frame: Vec<u8>,
}

impl Frames {
    fn open(setup: &Setup) -> anyhow::Result<Self> {
        Ok(Self { player: Player::open_socket(&setup.interface)?, frame: frames::one(setup.frame_len)? })
    }
}

impl Sender for Frames {
    fn send(&mut self) -> io::Result<u64> {
        self.player.send_frame(&mut self.frame)?;
        Ok(1)
    }
}
