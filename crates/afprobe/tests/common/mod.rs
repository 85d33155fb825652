//! What the tests of the command share: processes that never outlive a test, two hosts on a virtual cable, and the
//! privileges for both.
#![allow(dead_code, reason = "each test program uses its own part")]

pub(crate) mod capture;
pub(crate) mod process;
pub(crate) mod relay;
pub(crate) mod sight;
pub(crate) mod two_way;

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};
use serde_json::Value;

use process::{Ended, Process};

/// Longer than anything takes that works, also where the processor is emulated.
const PATIENCE: Duration = Duration::from_secs(300);

/// Set in the copy of a test program that runs inside a user namespace.
const IN_CHILD: &str = "AFPROBE_TEST_CHILD";

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The command under test.
pub(crate) fn afprobe(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_afprobe"));
    command.args(arguments.split_whitespace());
    command
}

/// Whether this process can make network namespaces as it is.
fn has_privileges() -> bool {
    thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET).is_ok()).join().unwrap()
}

/// A program with all rights over a user namespace of its own. It keeps its user: tcpdump gives up the rights of root,
/// and cannot where there is no other user.
fn in_own_user_namespace(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-current-user", "--keep-caps", "--"]).arg(program).env(IN_CHILD, "1");
    command
}

/// Why user namespaces cannot be had, if they cannot.
fn no_user_namespace() -> Option<String> {
    match in_own_user_namespace("true").output() {
        Ok(probe) if probe.status.success() => None,
        Ok(probe) => Some(format!("no user namespace: {}", String::from_utf8_lossy(&probe.stderr).trim_end())),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

/// Says that a test cannot run here, which is a failure where it has to.
pub(crate) fn skip(test: &str, why: &str) {
    assert_ne!(env::var("FAST_AFPACKET_NET").as_deref(), Ok("required"), "{test}: {why}");
    eprintln!("{test} is skipped: {why}");
}

/// The first of these programs that is not installed. Looked for, not started: what one takes for a question about its
/// version, another takes for an order to capture.
pub(crate) fn missing(tools: &[&str]) -> Option<String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_there = |tool: &&&str| env::split_paths(&path).any(|folder| folder.join(tool).is_file());
    tools.iter().find(|tool| !is_there(tool)).map(|tool| format!("{tool} is needed"))
}

/// Runs `body` where `afprobe lab` can do its job by itself.
pub(crate) fn where_a_lab_works(test: &str, body: fn()) {
    match no_user_namespace().filter(|_| !has_privileges()) {
        Some(why) => skip(test, &why),
        None => body(),
    }
}

/// Runs `body` where this process can make network namespaces; `test` is the calling test's name.
///
/// A process with threads may not enter a user namespace, and a test is a thread: an ordinary user's test program runs
/// the test once more under unshare(1).
pub(crate) fn with_privileges(test: &str, tools: &[&str], body: fn()) {
    if let Some(why) = missing(tools) {
        return skip(test, &why);
    }
    if has_privileges() { body() } else { in_a_user_namespace(test, &[], body) }
}

/// Runs `body` in a user namespace of its own, even as root.
pub(crate) fn in_a_user_namespace(test: &str, tools: &[&str], body: fn()) {
    if env::var_os(IN_CHILD).is_some() {
        return body();
    }
    if let Some(why) = missing(tools).or_else(no_user_namespace) {
        return skip(test, &why);
    }
    let again = in_own_user_namespace(env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]).output();
    let Output { status, stdout, stderr } = again.unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{test} failed in its user namespace:\n{told}");
    assert!(told.contains("1 passed"), "{test} did not run in its user namespace:\n{told}");
}

/// The events of one or more hosts.
pub(crate) struct Log(Vec<Value>);

impl Log {
    /// Reads all complete lines.
    pub(crate) fn read(text: &str) -> Self {
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        Self(complete.lines().map(parse).collect())
    }

    /// The events of this kind at this host, in order.
    pub(crate) fn of(&self, event: &str, host: &str) -> Vec<&Value> {
        self.0.iter().filter(|value| value["event"] == event && value["host"] == host).collect()
    }

    /// The ids of the probes in these events.
    pub(crate) fn probes(&self, event: &str, host: &str) -> Vec<u64> {
        self.of(event, host).iter().map(|value| value["probe"].as_u64().unwrap()).collect()
    }

    /// The one summary of this host.
    pub(crate) fn summary(&self, host: &str) -> &Value {
        let summaries = self.of("summary", host);
        assert_eq!(summaries.len(), 1, "summaries of {host}");
        summaries[0]
    }

    pub(crate) fn all(&self) -> &[Value] {
        &self.0
    }
}

/// A number in an event.
pub(crate) fn number(value: &Value, key: &str) -> i64 {
    value[key].as_i64().unwrap_or_else(|| panic!("{key} is no number in {value}"))
}

/// An object's keys, in their order; without that of the first line of all.
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).filter(|key| *key != "schema").collect()
}

/// A host: a network namespace with one end of a cable, `eth1`.
pub(crate) struct Host {
    pub(crate) name: &'static str,
    pub(crate) mac: [u8; 6],
    pub(crate) ipv4: IpAddr,
    pub(crate) ipv6: IpAddr,
    namespace: File,
}

/// The two hosts of the Go package's example, joined by a cable. Their neighbour tables are empty.
pub(crate) fn two_hosts() -> [Host; 2] {
    let hosts = [Host::new("fast-afpacket-101", 1), Host::new("fast-afpacket-102", 2)];
    let [near, far] = &hosts;
    let (near_mac, far_mac) = (near.mac_text(), far.mac_text());
    let far_namespace = far.namespace_path();
    near.ip(&format!(
        "link add eth1 address {near_mac} type veth peer name eth1 address {far_mac} netns {far_namespace}"
    ));
    hosts.iter().for_each(configure);
    notice_carrier(&hosts);
    hosts
}

/// Gives a host its addresses, and sets it up.
fn configure(host: &Host) {
    // An address that is made by the kernel is not usable at once.
    host.ip("link set eth1 addrgenmode none");
    host.ip(&format!("address add {}/24 dev eth1", host.ipv4));
    for address in [host.ipv6.to_string(), format!("fe80::{:x}", host.mac[5])] {
        host.ip(&format!("address add {address}/64 dev eth1 nodad"));
    }
    host.ip("link set lo up");
    host.ip("link set eth1 up");
}

/// The same two hosts, each on a link of its own with `eth1` or `eth2` of a router between them.
pub(crate) struct Routed {
    pub(crate) near: Host,
    pub(crate) router: Host,
    pub(crate) far: Host,
}

impl Routed {
    /// Of a host on the far link; the router has number 3 on both.
    pub(crate) const FAR: [&'static str; 2] = ["198.51.100.2", "2001:db8:2::2"];

    /// `None` where forwarding cannot be switched on.
    pub(crate) fn make() -> Option<Self> {
        let [near, router, far] =
            [("near", 1), ("router", 3), ("far", 2)].map(|(name, number)| Host::new(name, number));
        let forward = |family: &str| {
            let all = if family == "ipv4" { "ip_forward" } else { "conf/all/forwarding" };
            std::fs::write(format!("/proc/sys/net/{family}/{all}"), "1")
        };
        router.inside(|| forward("ipv4").and_then(|()| forward("ipv6"))).ok()?;
        let links = [
            (&near, "eth1", "192.0.2", "2001:db8:1", "198.51.100.0/24", "2001:db8:2::/64"),
            (&far, "eth2", "198.51.100", "2001:db8:2", "192.0.2.0/24", "2001:db8:1::/64"),
        ];
        for (host, at_router, v4, v6, other_v4, other_v6) in links {
            let (number, mac, namespace) = (host.mac[5] & 0x0f, host.mac_text(), router.namespace_path());
            host.ip(&format!("link add eth1 address {mac} type veth peer name {at_router} netns {namespace}"));
            for (end, name, number) in [(host, "eth1", number), (&router, at_router, 3)] {
                end.ip(&format!("link set {name} addrgenmode none"));
                end.ip(&format!("address add {v4}.{number}/24 dev {name}"));
                for address in [format!("{v6}::{number}"), format!("fe80::{number}")] {
                    end.ip(&format!("address add {address}/64 dev {name} nodad"));
                }
                end.ip(&format!("link set {name} up"));
            }
            host.ip("link set lo up");
            host.ip(&format!("route add {other_v4} via {v4}.3"));
            // As router advertisements have it: the next hop is link-local.
            host.ip(&format!("route add {other_v6} via fe80::3 dev eth1"));
        }
        for host in [&near, &far] {
            host.ip("link show eth1");
        }
        for name in ["eth1", "eth2"] {
            router.ip(&format!("link show {name}"));
        }
        Some(Self { near, router, far })
    }
}

/// The kernel notices a carrier up to a second late; being asked for the link it looks at once.
pub(crate) fn notice_carrier(hosts: &[Host; 2]) {
    for host in hosts {
        host.ip("link show eth1");
    }
}

impl Host {
    fn new(name: &'static str, number: u8) -> Self {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        };
        Self {
            name,
            mac: [0x02, 0x42, 0xac, 0xc8, 0x01, 0x60 + number],
            ipv4: [192, 168, 56, 100 + number].into(),
            ipv6: format!("fde4:8dba:82e1::c{number}").parse().unwrap(),
            namespace: thread::spawn(make).join().unwrap(),
        }
    }

    pub(crate) fn address(&self, ipv6: bool) -> IpAddr {
        if ipv6 { self.ipv6 } else { self.ipv4 }
    }

    pub(crate) fn mac_text(&self) -> String {
        self.mac.map(|octet| format!("{octet:02x}")).join(":")
    }

    pub(crate) fn namespace_path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd())
    }

    /// Runs `work` on this host. Sockets and processes that it starts remain there.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            setns(&self.namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        thread::scope(|scope| scope.spawn(enter).join().unwrap())
    }

    pub(crate) fn spawn(&self, command: &mut Command) -> Process {
        self.inside(|| Process::spawn(command))
    }

    pub(crate) fn run(&self, command: &mut Command) -> Ended {
        self.spawn(command).end()
    }

    /// Runs `ip` on this host and gives what it prints.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        let ended = self.run(Command::new("ip").args(arguments.split_whitespace()));
        assert_eq!(ended.code, Some(0), "ip {arguments}: {}", ended.stderr);
        ended.stdout
    }

    /// A UDP socket on this host.
    pub(crate) fn udp(&self, address: IpAddr, port: u16) -> UdpSocket {
        let socket = self.inside(|| UdpSocket::bind((address, port)).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// Whether a process on this host has this UDP port.
    pub(crate) fn has_udp_port(&self, port: u16) -> bool {
        let tables = ["udp", "udp6"].map(|table| format!("/proc/thread-self/net/{table}"));
        let text = self.inside(|| tables.map(|table| std::fs::read_to_string(table).unwrap()).concat());
        text.contains(&format!(":{port:04X} "))
    }

    /// Starts `afprobe run` towards the other host, with JSON, and waits until it probes.
    pub(crate) fn probe(&self, other: IpAddr, arguments: &str) -> Process {
        let name = self.name;
        let line = format!("run --dst-addr {other} --host {name} --interval 20ms --format json {arguments}");
        let mut process = self.spawn(&mut afprobe(&line));
        process.wait_until("the first probe", |process| !process.log().of("tx", name).is_empty());
        process
    }
}
