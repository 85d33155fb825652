//! How large a ring is and how the kernel hands it over; the kernel's rules for both, checked before it is asked.

use std::marker::PhantomData;
use std::time::Duration;

use super::frame::V2_HEADER;
use crate::sys::mmap::Layout;

/// The kind of ring whose memory is handed over block by block: `TPACKET_V3`.
#[derive(Clone, Copy, Debug)]
#[doc(alias = "TPACKET_V3")]
pub struct ByBlock;

/// The kind of ring whose memory is handed over frame by frame: `TPACKET_V2`.
#[derive(Clone, Copy, Debug)]
#[doc(alias = "TPACKET_V2")]
pub struct ByFrame;

/// How large a ring is, and whether blocks or single frames are handed over.
///
/// What the kernel would refuse, [`Options::rx_ring`](crate::Options::rx_ring) and
/// [`Options::tx_ring`](crate::Options::tx_ring) refuse first, with the rule that was broken and the nearest value that
/// keeps it.
///
/// ```
/// use std::time::Duration;
///
/// use fast_afpacket::RingShape;
///
/// let shape = RingShape::throughput().blocks(256).block_timeout(Duration::from_millis(1));
/// assert_eq!(shape.memory(), Some(256 << 20));
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "a shape does nothing until a ring is opened with it"]
#[doc(alias("tpacket_req", "tpacket_req3"))]
pub struct RingShape<K = ByBlock> {
    block_size: usize,
    blocks: usize,
    kind: Version,
    _kind: PhantomData<fn() -> K>,
}

#[derive(Clone, Copy, Debug)]
enum Version {
    Frames { frame_size: usize },
    Blocks { timeout: Duration, rx_hash: bool },
}

/// Which way the frames of a ring go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Receive,
    Send,
}

/// What the kernel is asked for.
#[derive(Clone, Copy)]
pub(crate) enum Request {
    Frames(libc::tpacket_req),
    Blocks(libc::tpacket_req3),
}

impl RingShape<ByBlock> {
    /// For as many frames as possible: 64 blocks of 1 MiB, handed over when full or after 10 ms.
    ///
    /// A frame waits in its block until that is full or the block time-out has passed; then one wake-up brings all
    /// frames of the block. Frames of any size lie close together, up to 64 KiB and more.
    pub const fn throughput() -> Self {
        let kind = Version::Blocks { timeout: Duration::from_millis(10), rx_hash: false };
        Self { block_size: 1 << 20, blocks: 64, kind, _kind: PhantomData }
    }

    /// After how long the kernel hands over a block that is not full: 1 ms to 65,535 ms. Default: 10 ms.
    ///
    /// An empty block is not handed over. On Linux 6.18 a single frame waits between nothing and this long; before, at
    /// least this long, in steps of the kernel's tick (4 ms at 250 Hz).
    #[doc(alias = "tp_retire_blk_tov")]
    pub const fn block_timeout(mut self, timeout: Duration) -> Self {
        if let Version::Blocks { rx_hash, .. } = self.kind {
            self.kind = Version::Blocks { timeout, rx_hash };
        }
        self
    }

    /// Have the kernel compute the flow hash of each frame, [`Frame::rx_hash`](crate::Frame::rx_hash). Default: no; it
    /// costs the kernel a look into the headers of each frame, unless the NIC has done it.
    #[doc(alias("TP_FT_REQ_FILL_RXHASH", "tp_feature_req_word"))]
    pub const fn rx_hash(mut self, rx_hash: bool) -> Self {
        if let Version::Blocks { timeout, .. } = self.kind {
            self.kind = Version::Blocks { timeout, rx_hash };
        }
        self
    }
}

impl RingShape<ByFrame> {
    /// For the shortest way to user space: 8,192 slots of 2 KiB.
    ///
    /// A frame can be seen as soon as the kernel has written it. One that does not fit into its slot is cut: merged
    /// segments, of up to 64 KiB, need larger slots.
    pub const fn latency() -> Self {
        let kind = Version::Frames { frame_size: 2048 };
        Self { block_size: 64 << 10, blocks: 256, kind, _kind: PhantomData }
    }

    /// To send from: 256 slots of 2 KiB.
    ///
    /// The kernel charges the frames that it has taken from a ring to the send buffer: at its default size that has room for
    /// 269 of 60 bytes, or 92 of 1,514. For more to be under way at a time raise
    /// [`Options::send_buffer`](crate::Options::send_buffer) too.
    pub const fn transmit() -> Self {
        let kind = Version::Frames { frame_size: 2048 };
        Self { block_size: 64 << 10, blocks: 8, kind, _kind: PhantomData }
    }

    /// Bytes for each slot, a multiple of 16. Default: 2,048.
    ///
    /// On receive from 80 on: 66 for what the kernel says of a raw frame (80 of a cooked one), the rest for its bytes.
    /// On transmit from 64 on: 32 for what the kernel is told, the rest for the frame.
    ///
    /// As many slots as fit into a block are used, the rest of it is not.
    #[doc(alias = "tp_frame_size")]
    pub const fn frame_size(mut self, bytes: usize) -> Self {
        self.kind = Version::Frames { frame_size: bytes };
        self
    }
}

impl<K> RingShape<K> {
    /// Bytes for each block, a multiple of the page size (4,096 bytes, as a rule) below 2 GiB.
    ///
    /// The kernel allocates each block in one piece if it can. A frame never goes across blocks: one that is too long for
    /// a block (80 to 130 bytes go to headers) is cut.
    #[doc(alias = "tp_block_size")]
    pub const fn block_size(mut self, bytes: usize) -> Self {
        self.block_size = bytes;
        self
    }

    /// How many blocks, 1 at least.
    #[doc(alias = "tp_block_nr")]
    pub const fn blocks(mut self, count: usize) -> Self {
        self.blocks = count;
        self
    }

    /// Bytes of kernel memory that the ring takes, or `None` if that is more than there are addresses for.
    ///
    /// The kernel charges it to nobody: neither `RLIMIT_MEMLOCK` nor the receive buffer limits it.
    pub const fn memory(&self) -> Option<usize> {
        self.block_size.checked_mul(self.blocks)
    }

    /// What to ask the kernel for and what it will lay out, or the rule that is broken and the nearest value that keeps it.
    pub(crate) fn check(&self, page: usize, way: Way) -> Result<(Request, Layout), String> {
        let Self { block_size, blocks, kind, .. } = *self;
        let largest = i32::MAX.unsigned_abs() as usize / page * page;
        if block_size == 0 || !block_size.is_multiple_of(page) || block_size > largest {
            let nearest = nearest_multiple(block_size, page).clamp(page, largest);
            return Err(format!(
                "a block size of {block_size} bytes is not a multiple of the page size, {page} bytes, below 2 GiB; the nearest is {nearest}"
            ));
        }
        if blocks == 0 {
            return Err("a ring has no room without a block; the nearest number is 1".into());
        }
        let (unit_size, status_at) = match kind {
            Version::Frames { frame_size } => (checked_frame_size(frame_size, block_size, way)?, 0),
            Version::Blocks { .. } => (block_size, 8),
        };
        let per_block = block_size / unit_size;
        let addresses = isize::MAX.unsigned_abs() / block_size;
        let most = addresses.min(u32::MAX as usize / per_block);
        if blocks > most {
            return Err(format!(
                "{blocks} blocks of {block_size} bytes are more than addresses or the kernel's 32-bit count of frames allow; the nearest number is {most}"
            ));
        }
        // All were checked to fit.
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let request = match kind {
            Version::Frames { .. } => Request::Frames(libc::tpacket_req {
                tp_block_size: number(block_size),
                tp_block_nr: number(blocks),
                tp_frame_size: number(unit_size),
                tp_frame_nr: number(per_block * blocks),
            }),
            Version::Blocks { timeout, rx_hash } => Request::Blocks(libc::tpacket_req3 {
                tp_block_size: number(block_size),
                tp_block_nr: number(blocks),
                tp_frame_size: number(block_size),
                tp_frame_nr: number(blocks),
                tp_retire_blk_tov: checked_millis(timeout)?,
                tp_sizeof_priv: 0,
                tp_feature_req_word: if rx_hash { libc::TP_FT_REQ_FILL_RXHASH } else { 0 },
            }),
        };
        Ok((request, Layout { block_size, blocks, unit_size, status_at }))
    }
}

/// `TPACKET_ALIGNMENT`.
const ALIGNMENT: usize = 16;

fn checked_frame_size(frame_size: usize, block_size: usize, way: Way) -> Result<usize, String> {
    let smallest = match way {
        // Header, address and the 14 bytes of an Ethernet header; on a cooked ring the padding in its place.
        Way::Receive => const { (V2_HEADER + 14).next_multiple_of(ALIGNMENT) },
        // The frame takes the place of the address, whose room the kernel demands all the same.
        Way::Send => const { V2_HEADER.next_multiple_of(ALIGNMENT) },
    };
    if frame_size < smallest || frame_size > block_size || !frame_size.is_multiple_of(ALIGNMENT) {
        let nearest = nearest_multiple(frame_size, ALIGNMENT).clamp(smallest, block_size);
        return Err(format!(
            "a frame size of {frame_size} bytes is not a multiple of {ALIGNMENT} from {smallest} to the block size, {block_size}; the nearest is {nearest}"
        ));
    }
    Ok(frame_size)
}

fn checked_millis(timeout: Duration) -> Result<u32, String> {
    // 0 would leave it to the kernel; more than 16 bits are cut before Linux 6.18.
    let whole = Duration::from_millis(timeout.as_millis().try_into().unwrap_or(u64::MAX));
    match u16::try_from(timeout.as_millis()) {
        Ok(millis) if millis > 0 && whole == timeout => Ok(millis.into()),
        _ => {
            let nearest = timeout.saturating_add(Duration::from_micros(500)).as_millis().clamp(1, u16::MAX.into());
            Err(format!(
                "a block time-out of {timeout:?} is not a whole number of milliseconds from 1 to 65535; the nearest is {nearest} ms"
            ))
        }
    }
}

fn nearest_multiple(value: usize, of: usize) -> usize {
    let below = value / of * of;
    if value - below < of.div_ceil(2) { below } else { below.saturating_add(of) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 4096;

    #[test]
    fn the_presets_are_valid() {
        let (_, layout) = RingShape::throughput().check(PAGE, Way::Receive).unwrap();
        assert_eq!((layout.unit_size, layout.block_size, layout.status_at), (1 << 20, 1 << 20, 8));
        let (request, layout) = RingShape::latency().check(PAGE, Way::Receive).unwrap();
        assert_eq!((layout.unit_size, layout.blocks, layout.status_at), (2048, 256, 0));
        assert!(matches!(request, Request::Frames(request) if request.tp_frame_nr == 8192));
        let (request, layout) = RingShape::transmit().check(PAGE, Way::Send).unwrap();
        assert_eq!((layout.unit_size, layout.units()), (2048, 256));
        assert!(matches!(request, Request::Frames(request) if request.tp_frame_nr == 256));
        // Pages of 64 KiB, as some arm64 systems have.
        assert!(RingShape::transmit().check(65_536, Way::Send).is_ok());
        assert!(RingShape::latency().check(65_536, Way::Receive).is_ok());
    }

    /// Each refusal names the nearest value, and that value is valid.
    #[test]
    fn refusals_name_the_nearest_value() {
        let refused = |shape: RingShape<ByFrame>| shape.check(PAGE, Way::Receive).err().unwrap();
        let blocks = |shape: RingShape| shape.check(PAGE, Way::Receive).err().unwrap();
        let latency = RingShape::latency;
        let throughput = RingShape::throughput;
        // What addresses allow.
        let most_blocks =
            if cfg!(target_pointer_width = "64") { "nearest number is 4294967295" } else { "nearest number is 2047" };
        let cases = [
            (blocks(throughput().block_size(0)), "nearest is 4096"),
            (blocks(throughput().block_size(5000)), "nearest is 4096"),
            (blocks(throughput().block_size(6144)), "nearest is 8192"),
            (blocks(throughput().block_size(usize::MAX)), "nearest is 2147479552"),
            (blocks(throughput().block_size(1 << 31)), "nearest is 2147479552"),
            (blocks(throughput().blocks(0)), "nearest number is 1"),
            (blocks(throughput().blocks(usize::MAX)), most_blocks),
            (blocks(throughput().block_timeout(Duration::ZERO)), "nearest is 1 ms"),
            (blocks(throughput().block_timeout(Duration::from_micros(2500))), "nearest is 3 ms"),
            (blocks(throughput().block_timeout(Duration::from_nanos(1_000_001))), "nearest is 1 ms"),
            (blocks(throughput().block_timeout(Duration::MAX)), "nearest is 65535 ms"),
            (refused(latency().frame_size(0)), "nearest is 80"),
            (refused(latency().frame_size(64)), "nearest is 80"),
            (refused(latency().frame_size(2050)), "nearest is 2048"),
            (refused(latency().frame_size(1 << 20)), "nearest is 65536"),
            (refused(latency().frame_size(usize::MAX)), "nearest is 65536"),
            (refused(latency().block_size(PAGE).frame_size(80).blocks(1 << 31)), "nearest number is 84215045"),
        ];
        let unsent = |shape: RingShape<ByFrame>| shape.check(PAGE, Way::Send).err().unwrap();
        let to_send = [
            (unsent(latency().frame_size(0)), "nearest is 64"),
            (unsent(latency().frame_size(48)), "nearest is 64"),
            (unsent(latency().frame_size(70)), "nearest is 64"),
            (unsent(latency().frame_size(72)), "nearest is 80"),
        ];
        for (message, nearest) in cases.into_iter().chain(to_send) {
            assert!(message.ends_with(nearest), "{message}");
        }
        assert!(throughput().block_size(2_147_479_552).check(PAGE, Way::Receive).is_ok());
        assert!(throughput().block_timeout(Duration::from_millis(65_535)).check(PAGE, Way::Receive).is_ok());
        assert!(latency().frame_size(64).check(PAGE, Way::Send).is_ok());
        assert!(latency().frame_size(80).check(PAGE, Way::Receive).is_ok());
        assert!(latency().block_size(12_288).frame_size(5008).check(PAGE, Way::Receive).is_ok());
    }
}
