//! Records the seed corpora from real traffic: what the kernel writes into rings, control buffers and error queues while
//! frames of many kinds go over a virtual cable. `fuzz/record` runs it in a network namespace of its own.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, io};

use fast_afpacket::fuzzing::{block_memory, next_control, offload_to_bytes, slot_memory};
use fast_afpacket::{EtherType, Filter, Interface, Offload, Options, PacketSocket, RingShape, Timestamping, TxKey};
use fast_afpacket_fuzz::{program, script};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let (Some(corpus), None) = (arguments.next(), arguments.next()) else {
        return Err("usage: record CORPUS".into());
    };
    // In a namespace that somebody lives in, nothing is sent.
    let interfaces = Interface::all()?;
    if interfaces.iter().any(|interface| interface.name() != "lo") {
        return Err("this network namespace has more than a loopback interface: run fuzz/record".into());
    }
    let seeds = Seeds { corpus };
    let cable = Cable::new()?;
    let blocks = record_blocks(&seeds, &cable)?;
    let slots = record_slots(&seeds, &cable)?;
    record_scripts(&seeds, &blocks, &slots)?;
    record_control(&seeds, &cable)?;
    record_error_queue(&seeds, &cable)?;
    record_filters(&seeds)?;
    record_offload(&seeds, &cable)?;
    record_probes(&seeds)
}

/// What afprobe sends, and a STAMP reflector of its.
fn record_probes(seeds: &Seeds) -> Result<()> {
    for (target, input) in afprobe_fuzz::seeds::all() {
        seeds.write(target, &input)?;
    }
    Ok(())
}

/// The directory with a directory for each target.
struct Seeds {
    corpus: PathBuf,
}

impl Seeds {
    /// Writes a seed, under a name that is made of its bytes, so that the same one is there once.
    fn write(&self, target: &str, bytes: &[u8]) -> io::Result<()> {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let directory = self.corpus.join(target);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(format!("{:016x}", hasher.finish())), bytes)
    }
}

struct Cable {
    a: Interface,
    b: Interface,
}

impl Cable {
    fn new() -> Result<Self> {
        let commands = [
            "link add va address 02:00:00:00:00:0a type veth peer name vb address 02:00:00:00:00:0b",
            "link set lo up",
            "link set va addrgenmode none up",
            "link set vb addrgenmode none up",
            "address add 192.0.2.1/24 dev va",
            "neighbor add 192.0.2.2 lladdr 02:00:00:00:00:0b dev va",
            // Being asked for, the carrier is there at once.
            "link show",
        ];
        for command in commands {
            let output = Command::new("ip").args(command.split(' ')).output()?;
            if !output.status.success() {
                return Err(format!("ip {command}: {}", String::from_utf8_lossy(&output.stderr)).into());
            }
        }
        Ok(Self { a: Interface::by_name("va")?, b: Interface::by_name("vb")? })
    }

    fn bind(&self, options: Options) -> Result<PacketSocket> {
        let socket = options.bind(&self.a)?;
        socket.set_deadline(Some(Instant::now() + Duration::from_secs(10)));
        Ok(socket)
    }
}

const TO_B: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0b];
const FROM_A: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];

/// A frame with this EtherType and these bytes behind it.
fn frame(to: [u8; 6], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &FROM_A, &ether_type.to_be_bytes(), payload].concat()
}

/// UDP over IPv4 or IPv6, whole and without a checksum.
fn udp(payload: usize, is_ipv6: bool) -> Vec<u8> {
    let len = u16::try_from(8 + payload).expect("short");
    let mut packet = Vec::new();
    if is_ipv6 {
        packet.extend([0x60, 0, 0, 0]);
        packet.extend(len.to_be_bytes());
        packet.extend([17, 64]);
        packet.extend([0xfd; 32]);
    } else {
        packet.extend([0x45, 0]);
        packet.extend((20 + len).to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    }
    for half in [40_000, 319, len, 0] {
        packet.extend(half.to_be_bytes());
    }
    packet.resize(packet.len() + payload, 0x5a);
    frame(TO_B, if is_ipv6 { 0x86dd } else { 0x0800 }, &packet)
}

/// A TCP segment over IPv4 or IPv6, with an option.
fn tcp(payload: usize, is_ipv6: bool) -> Vec<u8> {
    let mut frame = udp(24 - 8 + payload, is_ipv6);
    let ip = if is_ipv6 { 40 } else { 20 };
    frame[14 + if is_ipv6 { 6 } else { 9 }] = 6;
    frame[14 + ip + 4..14 + ip + 24].fill(0);
    frame[14 + ip + 12] = 0x60;
    frame
}

/// The frames that are sent: of several lengths, protocols and receivers, with and without a VLAN tag.
fn frames() -> Vec<Vec<u8>> {
    let sync = [&[0x00, 0x02, 0, 44][..], &[0; 40]].concat();
    let mut frames: Vec<_> = [0, 1, 46, 100, 1500].map(|len| frame(TO_B, 0x88b5, &vec![0x33; len])).into();
    frames.push(frame([0xff; 6], 0x0806, &[0, 1, 8, 0, 6, 4, 0, 1]));
    frames.push(frame([0x01, 0x1b, 0x19, 0, 0, 0], 0x88f7, &sync));
    frames.push(frame([0x02, 0, 0, 0, 0, 0x99], 0x0026, &[0xaa, 0xaa, 3]));
    frames.extend([udp(18, false), udp(18, true), tcp(100, false), tcp(100, true)]);
    for tag in [[0x81, 0x00, 0x60, 5], [0x88, 0xa8, 0x00, 0]] {
        let mut tagged = udp(18, false);
        tagged.splice(12..12, tag);
        frames.push(tagged);
    }
    frames
}

/// What is asked of the receivers: everything, nothing, and a part of each frame.
fn receivers() -> [Options; 3] {
    let first_bytes = Filter::parse_ddd("1\n6 0 0 40\n").expect("a filter");
    [
        PacketSocket::options(),
        PacketSocket::options().timestamping(Timestamping::empty()),
        PacketSocket::options().filter(&first_bytes),
    ]
}

fn record_blocks(seeds: &Seeds, cable: &Cable) -> Result<Vec<Vec<u8>>> {
    let sender = cable.bind(PacketSocket::options())?;
    let mut recorded = Vec::new();
    for (options, at_once) in receivers().into_iter().zip([1, 4, 14]) {
        let shape = RingShape::throughput().block_size(4096).blocks(16).block_timeout(Duration::from_millis(20));
        let mut ring = options.rx_ring(&cable.b, shape.rx_hash(at_once == 4))?;
        ring.set_read_deadline(Some(Instant::now() + Duration::from_millis(200)));
        for group in frames().chunks(at_once) {
            for frame in group {
                sender.send(frame)?;
            }
            // All of them at once, or, if a block was full before, in several.
            std::thread::sleep(Duration::from_millis(40));
            ring.set_nonblocking(true);
            while let Ok(block) = ring.next_block() {
                recorded.push(block_memory(&block).to_vec());
            }
            ring.set_nonblocking(false);
        }
    }
    recorded.iter().try_for_each(|block| seeds.write("v3_block", block))?;
    Ok(recorded)
}

fn record_slots(seeds: &Seeds, cable: &Cable) -> Result<Vec<Vec<u8>>> {
    let sender = cable.bind(PacketSocket::options())?;
    let mut recorded = Vec::new();
    for options in receivers() {
        let shape = RingShape::latency().block_size(4096).frame_size(256).blocks(2);
        let mut ring = options.rx_ring(&cable.b, shape)?;
        ring.set_read_deadline(Some(Instant::now() + Duration::from_secs(10)));
        for frame in frames() {
            sender.send(&frame)?;
            recorded.push(slot_memory(&ring.next_frame()?).to_vec());
        }
    }
    recorded.iter().try_for_each(|slot| seeds.write("v2_slot", slot))?;
    Ok(recorded)
}

/// Rings that are handed what was recorded.
fn record_scripts(seeds: &Seeds, blocks: &[Vec<u8>], slots: &[Vec<u8>]) -> io::Result<()> {
    // Units are handed over up to their last byte that is not zero.
    let until_zero = |unit: &[u8]| unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let status = |unit: &[u8], at: usize| u32::from_ne_bytes(unit[at..at + 4].try_into().expect("four bytes"));
    let units = |units: &[Vec<u8>], at| -> Vec<(u32, Vec<u8>)> {
        units.iter().map(|unit| (status(unit, at), unit[..until_zero(unit)].to_vec())).collect()
    };
    for (units, shapes) in [(units(blocks, 8), [0b010, 0b1100]), (units(slots, 0), [0b001_0011, 0b010_1101])] {
        for (group, shape) in units.chunks(6).zip(shapes.into_iter().cycle()) {
            let group: Vec<_> = group.iter().map(|(status, bytes)| (*status, &bytes[..])).collect();
            seeds.write("ring", &script::write(shape, &group))?;
        }
    }
    Ok(())
}

fn record_control(seeds: &Seeds, cable: &Cable) -> Result<()> {
    let sender = cable.bind(PacketSocket::options())?;
    for options in receivers() {
        let receiver = options.bind(&cable.b)?;
        for frame in frames() {
            sender.send(&frame)?;
            seeds.write("control", &next_control(&receiver, false)?)?;
        }
    }
    Ok(())
}

fn record_error_queue(seeds: &Seeds, cable: &Cable) -> Result<()> {
    for (payload, count_keys) in [(false, false), (true, false), (false, true)] {
        let socket = cable.bind(PacketSocket::options().tx_payload(payload).count_keys(count_keys))?;
        for (number, frame) in (0..).zip(frames()) {
            socket.send_keyed(&frame, TxKey::new(number << 16))?;
            for _ in 0..2 {
                seeds.write("error_queue", &next_control(&socket, true)?)?;
            }
        }
    }
    Ok(())
}

fn record_filters(seeds: &Seeds) -> Result<()> {
    let mut texts = vec![
        Filter::nothing().to_string(),
        Filter::ether_type(EtherType::PTP).to_string(),
        Filter::udp_dst(319).filter().to_string(),
        Filter::udp_dst(319).address([192, 0, 2, 2].into()).source_ports(40_000..=40_010).filter().to_string(),
    ];
    let expressions = [
        "",
        "arp",
        "tcp[tcpflags] & tcp-syn != 0",
        "udp and dst port 319 and src portrange 49152-65535 and dst host 192.0.2.1",
        "ip6 and tcp and port 80",
        "ether host 02:00:00:00:00:0b and not broadcast",
        "len > 100 and ip[8] - 1 < 63",
        "ether[(ip[0] & 0xf) * 4 + 14 : 2] / 3 = 7",
    ];
    for expression in expressions {
        let output = Command::new("tcpdump").args(["-y", "EN10MB", "-ddd", expression]).output()?;
        texts.push(String::from_utf8(output.stdout)?);
    }
    for (text, frame) in texts.iter().zip(frames().iter().cycle()) {
        seeds.write("filter_text", text.as_bytes())?;
        let filter = Filter::parse_ddd(text)?;
        let input = program::write(&frame[..frame.len().min(200)], filter.instructions());
        seeds.write("filter_program", &input)?;
        seeds.write("filter_kernel", &input)?;
    }
    Ok(())
}

fn record_offload(seeds: &Seeds, cable: &Cable) -> Result<()> {
    let write = |offload: Offload, segment: u16, frame: &[u8]| {
        seeds.write("offload", &[&offload_to_bytes(offload)[..], &segment.to_le_bytes(), frame].concat())
    };
    // What the kernel says of frames whose checksum it left undone, and of segments that it has not cut.
    let only_udp = Filter::udp_dst(319).filter();
    let options = PacketSocket::options().offload(true).protocol(EtherType::IPV4).filter(&only_udp);
    let receiver = options.bind(&cable.b)?;
    receiver.set_deadline(Some(Instant::now() + Duration::from_secs(10)));
    let datagrams = UdpSocket::bind("192.0.2.1:0")?;
    let sender = cable.bind(PacketSocket::options().offload(true))?;
    let mut buf = vec![0; 65_600];
    for len in [10, 1000, 2000, 3000] {
        if len <= 1000 {
            datagrams.send_to(&vec![7; len], "192.0.2.2:319")?;
        } else {
            let mut frame = udp(len, false);
            let offload = Offload::segments(&mut frame, 700)?;
            sender.send_offloaded(&frame, &offload)?;
        }
        let meta = receiver.recv(&mut buf)?;
        write(meta.offload.unwrap_or_default(), 1000, &buf[..meta.len])?;
    }
    let mut kinds: HashSet<Vec<u8>> = frames().into_iter().collect();
    kinds.extend([udp(1200, true), tcp(1200, false)]);
    kinds.iter().try_for_each(|frame| write(Offload::NONE, 500, frame))?;
    Ok(())
}
