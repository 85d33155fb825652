#!/usr/bin/env python3
"""A STAMP sender and a STAMP reflector whose packets Scapy makes and dissects (scapy.contrib.stamp).

    scapy_stamp.py reflect ADDR [--stateful]
    scapy_stamp.py send ADDR --count N --interval SECONDS

They travel in ordinary UDP sockets, port 862. Each prints lines of JSON: what it counted, and what it found wrong in the
packets of the other side. Times are raw NTP timestamps of 64 bits, as Scapy keeps them, so that none is rounded.
"""

import argparse
import collections
import fractions
import json
import select
import signal
import socket
import struct
import sys
import time

# Scapy warns of what the machine has not: routes, interfaces. Nothing here needs them.
import logging

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)

from scapy.contrib.stamp import (  # noqa: E402
    ErrorEstimate,
    STAMPSessionReflectorTestUnauthenticated as Reply,
    STAMPSessionSenderTestUnauthenticated as Request,
    STAMPTestTLV as Tlv,
)

PORT = 862
# Flags as numbers: Scapy's names stand for the bits in the other order.
UNRECOGNIZED = 0x80
EXTRA_PADDING, CLASS_OF_SERVICE, DIRECT_MEASUREMENT = 1, 4, 5
# One that nobody knows: the range for experiments.
UNKNOWN = 251
# Of linux/in.h; Python has no name for it.
IP_RECVTTL = 12
UNIX_IN_NTP = 2_208_988_800
# Synchronised, within 2^(20 - 32) s.
CLOCK = {"S": 1, "Z": 0, "scale": 20, "multiplier": 1}


def now():
    """The time as a number of seconds that Scapy writes without loss."""
    return fractions.Fraction(time.time_ns(), 1_000_000_000) + UNIX_IN_NTP


def raw(packet, field):
    """A timestamp's 64 bits."""
    return packet.fields[field]


def seconds(bits):
    return fractions.Fraction(bits, 1 << 32)


def a_socket(address):
    """A UDP socket that tells of the TTL and the traffic class of what it receives, and the full address of the other."""
    family, _, _, _, full = socket.getaddrinfo(address, PORT, type=socket.SOCK_DGRAM)[0]
    opened = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
    else:
        opened.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
    return opened, full


class Inbox:
    """What has arrived at a socket. Scapy takes its time, and a socket has room for few."""

    def __init__(self, opened):
        self.opened = opened
        self.opened.setblocking(False)
        self.waiting = collections.deque()

    def fill(self, wait=None):
        """Waits, unless something is there already, and takes all that is."""
        if not self.waiting:
            select.select([self.opened], [], [], wait)
        try:
            while True:
                datagram = receive(self.opened)
                self.waiting.append((now(), *datagram))
        except BlockingIOError:
            return bool(self.waiting)

    def next(self):
        return self.waiting.popleft()


def receive(opened):
    """A datagram, its sender, its TTL and its traffic class."""
    data, control, _, sender = opened.recvmsg(65_536, 256)
    ttl = traffic_class = None
    for level, kind, value in control:
        number = value[0] if len(value) == 1 else struct.unpack("=i", value[:4])[0]
        if (level, kind) in [(socket.IPPROTO_IP, socket.IP_TTL), (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT)]:
            ttl = number
        if (level, kind) in [(socket.IPPROTO_IP, socket.IP_TOS), (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)]:
            traffic_class = number
    return data, sender, ttl, traffic_class


def what_is_there(counts):
    return {name: count for name, count in counts.items() if count}


def tell(**event):
    print(json.dumps(event), flush=True)


class Session:
    """What a stateful reflector keeps of a sender."""

    def __init__(self):
        self.received = 0


def reflect(arguments):
    """Answers until it is interrupted."""
    opened, full = a_socket(arguments.address)
    opened.bind(full)
    sessions = collections.defaultdict(Session)
    wrong = collections.Counter()
    counts = collections.Counter()
    inbox = Inbox(opened)
    tell(event="ready")
    try:
        while inbox.fill():
            arrived, data, sender, ttl, traffic_class = inbox.next()
            counts["received"] += 1
            request = Request(data)
            error = request.err_estimate
            wrong["mbz"] += request.mbz != 0
            wrong["multiplier"] += error.multiplier == 0
            wrong["ttl"] += ttl != arguments.ttl
            session = sessions[sender, request.ssid]
            number = session.received if arguments.stateful else request.seq
            wrong["seq"] += request.seq != session.received
            session.received += 1
            reply = Reply(
                seq=number,
                ssid=request.ssid,
                err_estimate=ErrorEstimate(**CLOCK),
                ts_rx=arrived,
                seq_sender=request.seq,
                ts_sender=seconds(raw(request, "ts")),
                err_estimate_sender=ErrorEstimate(bytes(error)),
                ttl_sender=ttl,
                tlv_objects=[answer(tlv, session, traffic_class) for tlv in request.tlv_objects],
            )
            reply.ts = now()
            packet = bytes(reply)
            wrong["length"] += len(packet) != len(data)
            opened.sendto(packet, sender)
            counts["sent"] += 1
    except KeyboardInterrupt:
        tell(
            event="summary",
            received=counts["received"],
            sent=counts["sent"],
            sessions=len(sessions),
            wrong=what_is_there(wrong),
        )


def answer(tlv, session, traffic_class):
    """RFC 8972, section 4: a TLV comes back in its place, with U if it is not known."""
    value = tlv.value
    flags = 0
    if tlv.type == CLASS_OF_SERVICE:
        # DSCP1 as it was, DSCP2 and ECN as they arrived, RP 0.
        value = struct.pack("!I", struct.unpack("!I", value)[0] & 0xFC00_0000 | traffic_class << 18)
    elif tlv.type == DIRECT_MEASUREMENT:
        value = value[:4] + struct.pack("!II", session.received, session.received)
    elif tlv.type != EXTRA_PADDING:
        flags = UNRECOGNIZED
    return Tlv(flags=flags, type=tlv.type, len=tlv.len, value=value)


class Sender:
    """Sends probes, and holds replies against them."""

    def __init__(self, arguments):
        self.opened, self.full = a_socket(arguments.address)
        self.opened.connect(self.full)
        self.inbox = Inbox(self.opened)
        self.stateful = not arguments.stateless
        self.sent = {}
        self.answered = {}
        self.duplicates = 0
        self.next_number = 0
        self.wrong = collections.Counter()

    def send(self, number):
        # After every third the reflector has something that it does not know.
        tlvs = [
            Tlv(type=EXTRA_PADDING, len=20, value=bytes(number + at & 0xFF for at in range(20))),
            Tlv(type=CLASS_OF_SERVICE, len=4, value=b"\0\0\0\0"),
            Tlv(type=DIRECT_MEASUREMENT, len=12, value=struct.pack("!III", number + 1, 0, 0)),
        ]
        if number % 3 == 0:
            tlvs.append(Tlv(type=UNKNOWN, len=7, value=b"unknown"))
        for tlv in tlvs:
            tlv.flags = UNRECOGNIZED
        request = Request(seq=number, ssid=0x1234, err_estimate=ErrorEstimate(**CLOCK), tlv_objects=tlvs)
        request.ts = now()
        packet = bytes(request)
        self.opened.send(packet)
        self.sent[number] = packet

    def take(self):
        arrived, data, _, ttl, _ = self.inbox.next()
        arrived = int(arrived * (1 << 32))
        reply = Reply(data)
        packet = self.sent.get(reply.seq_sender)
        if packet is None:
            self.wrong["seq_sender"] += 1
            return
        if reply.seq_sender in self.answered:
            self.duplicates += 1
            return
        self.check(reply, Request(packet), len(data) == len(packet), ttl, arrived)

    def check(self, reply, request, same_length, ttl, arrived):
        times = [raw(request, "ts"), raw(reply, "ts_rx"), raw(reply, "ts"), arrived]
        expected = self.next_number if self.stateful else reply.seq_sender
        self.next_number += 1
        error = reply.err_estimate
        for name, is_right in {
            "length": same_length,
            "seq": reply.seq == expected,
            "ssid": reply.ssid == request.ssid,
            "ts_sender": raw(reply, "ts_sender") == times[0],
            "err_estimate_sender": bytes(reply.err_estimate_sender) == bytes(request.err_estimate),
            "err_estimate": error.multiplier > 0 and error.Z == 0,
            "mbz": (reply.mbz1, reply.mbz2) == (0, 0),
            "ttl_sender": reply.ttl_sender == 255,
            "ttl": ttl == 255,
            "order of times": times == sorted(times),
            "equal times": times[1] != times[2],
            "tlvs": self.are_right(reply.tlv_objects, request.tlv_objects, reply.seq_sender),
        }.items():
            self.wrong[name] += not is_right
        self.answered[reply.seq_sender] = [times[3] - times[0], times[2] - times[1]]

    def are_right(self, found, asked, number):
        if [(tlv.type, tlv.len) for tlv in found] != [(tlv.type, tlv.len) for tlv in asked]:
            return False
        flags = [UNRECOGNIZED if tlv.type == UNKNOWN else 0 for tlv in found]
        # A reflector without sessions counts nothing.
        flags[2] = 0 if self.stateful else UNRECOGNIZED
        count = struct.pack("!III", number + 1, number + 1, number + 1)
        counts = found[2].value == count or not self.stateful
        same = all(found[at].value == asked[at].value for at in range(len(found)) if at != 2)
        return [int(tlv.flags) for tlv in found] == flags and counts and same

    def summary(self):
        round_trips = sorted(total for total, _ in self.answered.values())
        residences = sorted(inside for _, inside in self.answered.values())
        nanos = [bits * 1_000_000_000 >> 32 for bits in round_trips[:1] + round_trips[-1:] + residences[:1]]
        return {
            "sent": len(self.sent),
            "received": len(self.answered),
            "lost": len(self.sent) - len(self.answered),
            "duplicates": self.duplicates,
            "rtt_ns": dict(zip(["min", "max"], nanos)),
            "residence_ns": dict(zip(["min"], nanos[2:])),
            "wrong": what_is_there(self.wrong),
        }


def send(arguments):
    """Sends at the interval, takes replies in between, and waits for the last ones."""
    sender = Sender(arguments)
    number = 0
    due = time.monotonic()
    while True:
        wait = due - time.monotonic()
        if number < arguments.count and wait <= 0:
            sender.send(number)
            number += 1
            due = due + arguments.interval if number < arguments.count else time.monotonic() + arguments.timeout
            # However late it is, a reply is taken for each probe: they would not have room.
        elif len(sender.answered) == arguments.count or (wait <= 0 and not sender.inbox.waiting):
            break
        if sender.inbox.fill(max(wait, 0)):
            sender.take()
    tell(event="summary", **sender.summary())


def main():
    parser = argparse.ArgumentParser()
    roles = parser.add_subparsers(required=True)
    reflector = roles.add_parser("reflect")
    reflector.add_argument("address")
    reflector.add_argument("--stateful", action="store_true")
    reflector.add_argument("--ttl", type=int, default=255, help="that of the requests, as they arrive")
    reflector.set_defaults(run=reflect)
    sender = roles.add_parser("send")
    sender.add_argument("address")
    sender.add_argument("--count", type=int, default=1)
    sender.add_argument("--interval", type=float, default=0.01)
    sender.add_argument("--timeout", type=float, default=5, help="how long the last reply is waited for")
    sender.add_argument("--stateless", action="store_true", help="the reflector keeps no sessions")
    sender.set_defaults(run=send)
    arguments = parser.parse_args()
    # A process that was started in the background ignores it otherwise.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return arguments.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
