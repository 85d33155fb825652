//! The same octets, made or read by other people's programs.

use std::io::Write;
use std::process::{Command, Stdio};
use std::{env, thread};

use etherparse::PacketBuilder;
use fast_afpacket::MacAddr;

use super::super::{Config, Reflector};
use super::{Pair, answer, arrival, config, read};
use crate::wire::ptp::Carrier;
use crate::wire::stamp::integrity::Keys;
use crate::wire::stamp::request::Request;
use crate::wire::stamp::standard::{ClassOfService, DirectMeasurement};
use crate::wire::stamp::tests::{at, bare, full, hex, key, one_second, sending};

/// Scapy 2.8.0, `scapy.contrib.stamp`: a sender's packet of 2020-02-29 00:00:00.5 UTC, number 7, SSID 0x1234, synchronised to
/// 1 s, with class of service and direct measurement. Its flags are given as a number: scapy's names stand for the bits in
/// the other order.
const SCAPY_REQUEST: &str = "00000007e2042800800000009980123400000000000000000000000000000000000000000000000000000000\
    80040004b8000000 8005000c000000080000000000000000";

/// The same program's reply of a reflector, its ninth, to that, as it arrived at .625 with TTL 61 and left at .75.
const SCAPY_REPLY: &str = "00000009e2042800c000000099801234e2042800a000000000000007e204280080000000998000003d000000\
    00040004b8a90000";

#[test]
fn scapy() {
    let mut setup = bare(Keys::NONE);
    setup.class_of_service = Some(46);
    setup.direct_measurement = true;
    assert_eq!(Request::new(&setup).probe(sending(7)), hex(SCAPY_REQUEST), "we make the same");
    let (packet, _) = answer(&mut Reflector::new(Config::default()), &hex(SCAPY_REQUEST), &arrival()).unwrap();
    let counts = DirectMeasurement { sender_sent: 8, reflector_received: 1, reflector_sent: 1 };
    assert_eq!(read(&packet, &Keys::NONE).tlvs.direct_measurement, Some(counts));

    let packet = hex(SCAPY_REPLY);
    let reply = read(&packet, &Keys::NONE);
    assert_eq!((reply.sequence, reply.sender_sequence, reply.sender_ttl, reply.ssid), (9, 7, 61, 0x1234));
    assert_eq!((reply.t2, reply.t3), (Some(at(625_000_000)), Some(at(750_000_000))));
    assert_eq!((reply.error, reply.sender_timestamp), (one_second(), 0xe204_2800_8000_0000));
    let class = ClassOfService { wanted_dscp: 46, received_dscp: 10, received_ecn: 2, reverse_path: 1 };
    assert_eq!(reply.tlvs.class_of_service, Some(class));
}

/// A capture file of these frames, of 2020-02-29.
fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = [0xa1b2_c3d4, 0x0002_0004, 0, 0, 0xffff, 1].map(u32::to_be_bytes).concat();
    for frame in frames {
        let len = u32::try_from(frame.len()).unwrap();
        file.extend([1_582_934_400, 0, len, len].map(u32::to_be_bytes).concat());
        file.extend(frame);
    }
    file
}

/// A datagram between the two hosts, forth or back.
fn datagram(packet: &[u8], ports: (u16, u16)) -> Vec<u8> {
    let (near, far) = ([192, 0, 2, 1], [192, 0, 2, 2]);
    let (src, dst) = if ports.0 == 862 { (far, near) } else { (near, far) };
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(src, dst, 64).udp(ports.0, ports.1);
    builder.write(&mut frame, packet).unwrap();
    frame
}

/// What tshark prints of the frames, or `None` where it is not installed and need not be.
fn tshark(frames: &[Vec<u8>], arguments: &[&str]) -> Option<Vec<String>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r", "-", "-o", "udp.check_checksum:TRUE", "-d", "udp.port==862,twamp.test"]).args(arguments);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = child else {
        assert_ne!(env::var("FAST_AFPACKET_NET").as_deref(), Ok("required"), "tshark is not installed");
        return None;
    };
    let (mut input, file) = (child.stdin.take().unwrap(), capture(frames));
    let writer = thread::spawn(move || input.write_all(&file));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
}

const WRONG: &str = "_ws.malformed || _ws.expert.severity == \"Error\" || udp.checksum.status == 0";

/// Wireshark's dissector of TWAMP-Test, which is the same up to the TLVs.
#[test]
fn tshark_reads_requests_and_replies() {
    let mut pair = Pair::new(&full(Keys::NONE), Config::default());
    let mut frames = Vec::new();
    for sequence in 100..150 {
        frames.push(datagram(pair.request.probe(sending(sequence)), (50_000, 862)));
        frames.push(datagram(&pair.probe(sequence).0, (862, 50_000)));
    }
    let fields = [
        "seq_number",
        "error_estimate",
        "error_estimate.s",
        "error_estimate.z",
        "error_estimate.scale",
        "error_estimate.multiplier",
        "mbz1",
        "sender_seq_number",
        "sender_error_estimate",
        "sender_ttl",
    ];
    let fields = fields.map(|field| format!("twamp.test.{field}"));
    let first = ["-T", "fields", "-E", "occurrence=f"];
    let arguments: Vec<_> = first.into_iter().chain(fields.iter().flat_map(|field| ["-e", field])).collect();
    let Some(lines) = tshark(&frames, &arguments) else {
        return;
    };
    assert_eq!(lines.len(), 100);
    for (number, lines) in lines.chunks(2).enumerate() {
        let clock = |sequence| format!("{sequence}\t39296\t1\t0\t25\t128\t4660");
        let [request, reply] = lines else { panic!("{lines:?}") };
        assert_eq!(*request, clock(100 + number) + "\t0\t0\t0", "it reads the zeros behind, too");
        assert_eq!(*reply, clock(number) + &format!("\t{}\t39296\t61", 100 + number));
    }
    let times = ["-T", "fields", "-e", "twamp.test.timestamp", "-e", "twamp.test.receive_timestamp"];
    let times = tshark(&frames, &[&times[..], &["-Y", "udp.srcport == 862"]].concat()).unwrap();
    for line in times {
        let [t3, t2] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert!(t3.contains("00:00:00.750000000") && t2.contains("00:00:00.625000000"), "{line}");
    }
    assert_eq!(tshark(&frames, &["-Y", WRONG]).unwrap(), [""; 0]);
    assert_eq!(tshark(&frames, &["-Y", "twamp.test && udp.checksum.status == 1"]).unwrap().len(), 100);
}

/// In PTP messages, over Ethernet and over UDP, plain and authenticated.
#[test]
fn tshark_reads_what_ptp_carries() {
    let mut frames = Vec::new();
    for keys in [Keys::NONE, Keys::authenticated(key())] {
        let mut pair = Pair::new(&full(keys.clone()), config(keys));
        let mut carrier = Carrier::new(MacAddr::new([2; 6]));
        for sequence in 0x1_0100..0x1_0104 {
            let request = pair.request.probe(sending(sequence)).to_vec();
            let (reply, _) = pair.probe(sequence);
            for packet in [request, reply] {
                let message = carrier.carry(&packet).unwrap();
                frames.push([&[4; 6][..], &[2; 6], &[0x88, 0xf7], message].concat());
                frames.push(datagram(message, (319, 319)));
            }
        }
    }
    let fields = ["-T", "fields", "-e", "ptp.v2.sequenceid", "-e", "ptp.v2.domainnumber", "-e", "ptp.v2.messagelength"];
    let Some(lines) = tshark(&frames, &fields) else {
        return;
    };
    assert_eq!(lines.len(), frames.len());
    // Four frames for each probe: the request's, by both ways, and the reply's, which has a number of its own.
    let expected = |at: usize| {
        let probe = at % 16 / 4;
        let number = if at % 4 < 2 { 0x100 + probe } else { probe };
        format!("{number}\t97\t548")
    };
    for (at, line) in lines.iter().enumerate() {
        assert_eq!(*line, expected(at), "frame {at}");
    }
    assert_eq!(tshark(&frames, &["-Y", WRONG]).unwrap(), [""; 0]);
    assert_eq!(tshark(&frames, &["-Y", "ptp"]).unwrap().len(), frames.len());
}
