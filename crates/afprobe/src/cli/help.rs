//! What `--help` says behind the options, and what the manual pages say in sections of their own.
//!
//! A heading stands at the margin and ends with a colon. Below it are paragraphs, indented by two; commands, by four; and
//! terms, which two spaces divide from what is said of them.

pub(super) const AFPROBE: &str = "\
Examples:
  Two hosts on this machine, joined by a virtual cable, that probe each other. No root is needed:
    afprobe lab
  There and back between two hosts, one of which reflects:
    afprobe reflect --iface-name eth1
    afprobe run --reflector 192.168.56.102 --count 1000 --interval 10ms
  Which timestamps this host and its card deliver, found out with real frames:
    afprobe doctor eth1

Privileges:
  CAP_NET_RAW is enough to measure with the kernel's timestamps. To change what a card is set to takes CAP_NET_ADMIN \
(--hardware, afprobe doctor), a UDP port below 1024 CAP_NET_BIND_SERVICE (afprobe reflect, unless --port is higher), \
--realtime CAP_SYS_NICE, --netns CAP_SYS_ADMIN. afprobe lab takes none where ordinary users may have user namespaces. \
Whether everybody on a host may send any frame is for its administrator to decide, and so the file has no capability \
until somebody gives it one:
    setcap cap_net_raw+ep /usr/bin/afprobe
  With --user, the program keeps no privileges once its sockets are open.

Exit status:
  0  the job was done
  1  more was lost than --max-loss allows, or it took longer than --max-rtt-p99
  2  the job could not be done: standard error says why
  3, 4  what afprobe doctor found

Files:
  /run/fast-afpacket  what cards were set to before they were lent; $XDG_RUNTIME_DIR/fast-afpacket for who may not write there
  /run/netns  the names that --netns knows";

pub(super) const LAB: &str = "\
Examples:
  Both ways, and where the time went:
    afprobe lab --reflect --count 1000 --interval 1ms
  For a program to read:
    afprobe lab --count 10 --format json";

pub(super) const RUN: &str = "\
Examples:
  There and back, to a host on which afprobe reflect runs, or another reflector of STAMP or TWAMP Light:
    afprobe run --reflector 192.168.56.102 --count 1000 --interval 10ms
  For scripts: the exit status is 1 if more than 1 % was lost, or one round trip in a hundred took longer than 5 ms:
    afprobe run --reflector 192.168.56.102 --count 1000 --interval 10ms --max-loss 1 --max-rtt-p99 5ms
  One way. The other host does the same towards this one:
    afprobe run --dst-addr 192.168.56.102
  With the card's timestamps, which many cards take of nothing but PTP, and without privileges once all is open:
    afprobe run --reflector 192.168.56.102 --wire ptp --hardware required --user nobody
  In the network namespace blue:
    afprobe run --netns blue --dst-addr 10.0.0.2

Exit status:
  0  the job was done
  1  more was lost than --max-loss allows, or it took longer than --max-rtt-p99
  2  the job could not be done: standard error says why";

pub(super) const REFLECT: &str = "\
Examples:
  Until it is interrupted, as an ordinary user once its sockets are open:
    afprobe reflect --iface-name eth1 --user nobody
  For one network only, a hundred probes a second from each of its hosts:
    afprobe reflect --iface-name eth1 --allow 192.168.56.0/24 --rate-limit 100/s
  With CAP_NET_RAW and no other privilege:
    afprobe reflect --iface-name eth1 --port 10862

Exit status:
  0  it was interrupted, or its time was up
  2  it could not reflect: standard error says why";

pub(super) const NIC: &str = "\
Examples:
  All interfaces:
    afprobe nic
  What a program that was killed has left:
    afprobe nic restore

Files:
  /run/fast-afpacket  what cards were set to before they were lent; $XDG_RUNTIME_DIR/fast-afpacket for who may not write there";

pub(super) const DOCTOR: &str = "\
Examples:
  What is sent:
    afprobe doctor eth1
  What is received, too. On the other host, and then here:
    afprobe doctor eth1 --reflect
    afprobe doctor eth1 --peer 192.168.56.102

Exit status:
  0  all that is advertised was delivered, hardware timestamps among it
  2  the examination could not be done
  3  software timestamps only: no hardware timestamps were there to be tested, and all else was delivered
  4  something that is advertised was not delivered, or only in part";
