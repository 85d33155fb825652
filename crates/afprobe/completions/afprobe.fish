# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_afprobe_global_optspecs
    string join \n h/help V/version
end

function __fish_afprobe_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_afprobe_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_afprobe_using_subcommand
    set -l cmd (__fish_afprobe_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c afprobe -n "__fish_afprobe_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c afprobe -n "__fish_afprobe_needs_command" -s V -l version -d 'Print version'
complete -c afprobe -n "__fish_afprobe_needs_command" -f -a "lab" -d 'Make two hosts on this machine, joined by a virtual cable, that probe each other. Needs no root'
complete -c afprobe -n "__fish_afprobe_needs_command" -f -a "run" -d 'Probe another host, and receive its probes or, with --reflector, its replies'
complete -c afprobe -n "__fish_afprobe_needs_command" -f -a "reflect" -d 'Answer probes of afprobe run --reflector, and of other senders of STAMP or TWAMP Light, until interrupted'
complete -c afprobe -n "__fish_afprobe_needs_command" -f -a "nic" -d 'Show what network interfaces can stamp in hardware, what they are set to, and who relies on it'
complete -c afprobe -n "__fish_afprobe_needs_command" -f -a "doctor" -d 'Find out, with real frames, which timestamps this host and its NIC deliver. Changes nothing for good'
complete -c afprobe -n "__fish_afprobe_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -l auth-key-file -d 'File with a key that both sides have, any bytes: packets are authenticated, and only such ones are taken' -r -F
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -l size -d 'Bytes of UDP payload, which is the STAMP packet. A reply has the same length. Default: as many as all stamps need' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -l timeout -d 'How long a reply may take. A probe that is not answered by then is lost; a reply that comes later is late' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -l max-rtt-p99 -d 'Exit with 1 if the 99th percentile of the round trip is longer' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -l wire -d 'What probes are on the wire. Both sides need the same. Default: seed, or stamp with a reflector' -r -f -a "seed\t'UDP, as the Go package\'s example sends it'
stamp\t'STAMP (RFC 8762) over UDP: there and back'
ptp\t'PTP over Ethernet: also stamped on receive by cards that stamp only PTP there. Crosses no router'
ptp-udp\t'PTP over UDP, port 319'"
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -l count -d 'Probes that each host sends. Default: no end' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -l interval -d 'Time between two probes: 50ms, 1s, 1m30s' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -l schedule -d 'How probes follow each other: periodic; poisson, at random intervals (RFC 2330) with --interval as their mean, poisson:SEED for the same ones again; burst:N, so many back to back in each interval' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -l duration -d 'Time after which to stop sending. Default: no end' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -l linger -d 'Time to wait, after the last probe, for stamps and probes that are under way' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -l max-loss -d 'Exit with 1 if more than this share of the probes was lost, in percent' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -l format -d 'What to print on standard output' -r -f -a "human\t'Lines for people'
logfmt\t'key=value lines, with the keys of the Go package\'s example'
json\t'One JSON object a line'"
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -l hardware -d 'Whether to ask the card for stamps, and to set it up for them' -r -f -a "off\t'Ask for no hardware stamps of sent probes'
as-is\t'Ask for those that the card is set to take. Change nothing'
preferred\t'Switch them on until the end, if it can be done'
required\t'Switch them on until the end, or fail'"
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -l hardware-every -d 'Ask for a hardware stamp of one sent probe in N: a card has room for few, and a PTP daemon needs them too' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -l stamp-timeout -d 'How long a stamp of a sent probe may take, of the card or the kernel. Some drivers need half a second' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -l cpu -d 'Processors for the threads that send, receive and reflect, in this order; with fewer, they begin anew' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -l ipv6 -d 'Probe over IPv6 instead of IPv4'
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -l reflect -d 'Let the second host reflect the probes of the first, which measures both ways'
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -l auth-tlvs-only -d 'Authenticate only the TLVs behind the packets, which are plain otherwise (RFC 8972, section 4.8)'
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -s v -l verbose -d 'Print a line for each probe, with --format human'
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -l summary-only -d 'Print nothing of single probes, with the other formats'
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -l realtime -d 'Run them before all other programs: SCHED_FIFO. Needs CAP_SYS_NICE'
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -l busy-poll -d 'Receive in a loop that never sleeps, which costs a processor. Such a loop is not made real-time: the kernel would stop it for 50 ms of each second'
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c afprobe -n "__fish_afprobe_using_subcommand lab" -s V -l version -d 'Print version'
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l iface-name -d 'Interface to probe through. Default: the one that the route to the destination uses' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l src-mac -d 'Source MAC address. Default: the interface\'s' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l src-addr -d 'Source address. Default: the one that the kernel would use' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l src-port -d 'Source UDP port. Default: 60000 with --wire seed, where probes from it and the five ports above are received; with --wire stamp one that is free' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l dst-mac -d 'MAC address of the next hop. Default: asked of the kernel\'s tables, then of the network' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l dst-addr -d 'Address of the host to probe: 192.0.2.1, 2001:db8::1, or fe80::1%eth1 with the link that it is on' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l reflector -d 'Measure there and back: address, and UDP port if it is not 862, of a host where afprobe reflect runs, or another reflector of STAMP or TWAMP Light: 192.0.2.1, 192.0.2.1:10862, 2001:db8::1; IPv6 with a port stands in brackets' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l auth-key-file -d 'File with a key that both sides have, any bytes: packets are authenticated, and only such ones are taken' -r -F
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l size -d 'Bytes of UDP payload, which is the STAMP packet. A reply has the same length. Default: as many as all stamps need' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l timeout -d 'How long a reply may take. A probe that is not answered by then is lost; a reply that comes later is late' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l max-rtt-p99 -d 'Exit with 1 if the 99th percentile of the round trip is longer' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l dst-port -d 'Destination UDP port of --wire seed, on which probes are received too. Default: 61000' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l host -d 'Name of this host in the output. Default: its host name' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l vlan -d 'Tag probes with this VLAN, and priority. On a VLAN\'s own interface (eth1.5) the kernel does it' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l dscp -d 'Differentiated services code point of probes: EF, AF41, CS6, or 0 to 63' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l ecn -d 'Congestion mark of probes: not-ect, ect0, ect1 or ce' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l wire -d 'What probes are on the wire. Both sides need the same. Default: seed, or stamp with a reflector' -r -f -a "seed\t'UDP, as the Go package\'s example sends it'
stamp\t'STAMP (RFC 8762) over UDP: there and back'
ptp\t'PTP over Ethernet: also stamped on receive by cards that stamp only PTP there. Crosses no router'
ptp-udp\t'PTP over UDP, port 319'"
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l count -d 'Probes that each host sends. Default: no end' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l interval -d 'Time between two probes: 50ms, 1s, 1m30s' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l schedule -d 'How probes follow each other: periodic; poisson, at random intervals (RFC 2330) with --interval as their mean, poisson:SEED for the same ones again; burst:N, so many back to back in each interval' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l duration -d 'Time after which to stop sending. Default: no end' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l linger -d 'Time to wait, after the last probe, for stamps and probes that are under way' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l max-loss -d 'Exit with 1 if more than this share of the probes was lost, in percent' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l format -d 'What to print on standard output' -r -f -a "human\t'Lines for people'
logfmt\t'key=value lines, with the keys of the Go package\'s example'
json\t'One JSON object a line'"
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l hardware -d 'Whether to ask the card for stamps, and to set it up for them' -r -f -a "off\t'Ask for no hardware stamps of sent probes'
as-is\t'Ask for those that the card is set to take. Change nothing'
preferred\t'Switch them on until the end, if it can be done'
required\t'Switch them on until the end, or fail'"
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l hardware-every -d 'Ask for a hardware stamp of one sent probe in N: a card has room for few, and a PTP daemon needs them too' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l stamp-timeout -d 'How long a stamp of a sent probe may take, of the card or the kernel. Some drivers need half a second' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l cpu -d 'Processors for the threads that send, receive and reflect, in this order; with fewer, they begin anew' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l netns -d 'Work in this network namespace: a name that ip netns knows, a path, or the id of a process' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l user -d 'Go on as this user, a name or a number, once everything is open: with no other group than its own, no capabilities, and no way to get any. What --hardware has borrowed of the card\'s setting, a child process gives back that keeps its privileges' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l auth-tlvs-only -d 'Authenticate only the TLVs behind the packets, which are plain otherwise (RFC 8972, section 4.8)'
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -s v -l verbose -d 'Print a line for each probe, with --format human'
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l summary-only -d 'Print nothing of single probes, with the other formats'
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l realtime -d 'Run them before all other programs: SCHED_FIFO. Needs CAP_SYS_NICE'
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -l busy-poll -d 'Receive in a loop that never sleeps, which costs a processor. Such a loop is not made real-time: the kernel would stop it for 50 ms of each second'
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c afprobe -n "__fish_afprobe_using_subcommand run" -s V -l version -d 'Print version'
complete -c afprobe -n "__fish_afprobe_using_subcommand reflect" -l iface-name -d 'Interface to reflect on: probes to any of this host\'s addresses that come in there' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand reflect" -l port -d 'UDP port of --wire stamp' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand reflect" -l wire -d 'What probes are inside: stamp over UDP, or STAMP in PTP messages. The sender needs the same' -r -f -a "seed\t'UDP, as the Go package\'s example sends it'
stamp\t'STAMP (RFC 8762) over UDP: there and back'
ptp\t'PTP over Ethernet: also stamped on receive by cards that stamp only PTP there. Crosses no router'
ptp-udp\t'PTP over UDP, port 319'"
complete -c afprobe -n "__fish_afprobe_using_subcommand reflect" -l auth-key-file -d 'File with a key that both sides have, any bytes: packets are authenticated, and only such ones are taken' -r -F
complete -c afprobe -n "__fish_afprobe_using_subcommand reflect" -l allow -d 'Answer only senders with these addresses: 192.0.2.7, 192.0.2.0/24, 2001:db8::/32. May be given several times' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand reflect" -l rate-limit -d 'Answer each sender\'s address no more often than this, in the long run: 1000/s' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand reflect" -l duration -d 'Time after which to stop. Default: no end' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand reflect" -l format -d 'What to print on standard output' -r -f -a "human\t'Lines for people'
logfmt\t'key=value lines, with the keys of the Go package\'s example'
json\t'One JSON object a line'"
complete -c afprobe -n "__fish_afprobe_using_subcommand reflect" -l host -d 'Name of this host in the output. Default: its host name' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand reflect" -l hardware -d 'Whether to ask the card for stamps, and to set it up for them' -r -f -a "off\t'Ask for no hardware stamps of sent probes'
as-is\t'Ask for those that the card is set to take. Change nothing'
preferred\t'Switch them on until the end, if it can be done'
required\t'Switch them on until the end, or fail'"
complete -c afprobe -n "__fish_afprobe_using_subcommand reflect" -l hardware-every -d 'Ask for a hardware stamp of one sent probe in N: a card has room for few, and a PTP daemon needs them too' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand reflect" -l stamp-timeout -d 'How long a stamp of a sent probe may take, of the card or the kernel. Some drivers need half a second' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand reflect" -l cpu -d 'Processors for the threads that send, receive and reflect, in this order; with fewer, they begin anew' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand reflect" -l netns -d 'Work in this network namespace: a name that ip netns knows, a path, or the id of a process' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand reflect" -l user -d 'Go on as this user, a name or a number, once everything is open: with no other group than its own, no capabilities, and no way to get any. What --hardware has borrowed of the card\'s setting, a child process gives back that keeps its privileges' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand reflect" -l stateless -d 'Keep no sessions: a reply has the number of its probe, and nothing is told later of replies or counted'
complete -c afprobe -n "__fish_afprobe_using_subcommand reflect" -l auth-tlvs-only -d 'Authenticate only the TLVs behind the packets, which are plain otherwise (RFC 8972, section 4.8)'
complete -c afprobe -n "__fish_afprobe_using_subcommand reflect" -l answer-short -d 'Answer also requests that are shorter than a reply, as some senders of TWAMP send them. Then up to three times as much goes out as came in'
complete -c afprobe -n "__fish_afprobe_using_subcommand reflect" -l realtime -d 'Run them before all other programs: SCHED_FIFO. Needs CAP_SYS_NICE'
complete -c afprobe -n "__fish_afprobe_using_subcommand reflect" -l busy-poll -d 'Receive in a loop that never sleeps, which costs a processor. Such a loop is not made real-time: the kernel would stop it for 50 ms of each second'
complete -c afprobe -n "__fish_afprobe_using_subcommand reflect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c afprobe -n "__fish_afprobe_using_subcommand reflect" -s V -l version -d 'Print version'
complete -c afprobe -n "__fish_afprobe_using_subcommand nic; and not __fish_seen_subcommand_from restore help" -l netns -d 'Work in this network namespace: a name that ip netns knows, a path, or the id of a process' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand nic; and not __fish_seen_subcommand_from restore help" -l json -d 'One JSON object for each interface'
complete -c afprobe -n "__fish_afprobe_using_subcommand nic; and not __fish_seen_subcommand_from restore help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c afprobe -n "__fish_afprobe_using_subcommand nic; and not __fish_seen_subcommand_from restore help" -s V -l version -d 'Print version'
complete -c afprobe -n "__fish_afprobe_using_subcommand nic; and not __fish_seen_subcommand_from restore help" -a "restore" -d 'Give back the timestamp settings that killed programs had borrowed'
complete -c afprobe -n "__fish_afprobe_using_subcommand nic; and not __fish_seen_subcommand_from restore help" -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c afprobe -n "__fish_afprobe_using_subcommand nic; and __fish_seen_subcommand_from restore" -l netns -d 'Work in this network namespace: a name that ip netns knows, a path, or the id of a process' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand nic; and __fish_seen_subcommand_from restore" -s h -l help -d 'Print help'
complete -c afprobe -n "__fish_afprobe_using_subcommand nic; and __fish_seen_subcommand_from restore" -s V -l version -d 'Print version'
complete -c afprobe -n "__fish_afprobe_using_subcommand nic; and __fish_seen_subcommand_from help" -f -a "restore" -d 'Give back the timestamp settings that killed programs had borrowed'
complete -c afprobe -n "__fish_afprobe_using_subcommand nic; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c afprobe -n "__fish_afprobe_using_subcommand doctor" -l peer -d 'The host on the other side, which runs --reflect: its IP or MAC address. Without, receiving is not tested' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand doctor" -l netns -d 'Work in this network namespace: a name that ip netns knows, a path, or the id of a process' -r
complete -c afprobe -n "__fish_afprobe_using_subcommand doctor" -l reflect -d 'Be the other side: send each doctor\'s probe back to its sender, until interrupted'
complete -c afprobe -n "__fish_afprobe_using_subcommand doctor" -l lab -d 'Examine a virtual cable between two hosts on this machine. Needs no root'
complete -c afprobe -n "__fish_afprobe_using_subcommand doctor" -l json -d 'One JSON object'
complete -c afprobe -n "__fish_afprobe_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c afprobe -n "__fish_afprobe_using_subcommand doctor" -s V -l version -d 'Print version'
complete -c afprobe -n "__fish_afprobe_using_subcommand help; and not __fish_seen_subcommand_from lab run reflect nic doctor help" -f -a "lab" -d 'Make two hosts on this machine, joined by a virtual cable, that probe each other. Needs no root'
complete -c afprobe -n "__fish_afprobe_using_subcommand help; and not __fish_seen_subcommand_from lab run reflect nic doctor help" -f -a "run" -d 'Probe another host, and receive its probes or, with --reflector, its replies'
complete -c afprobe -n "__fish_afprobe_using_subcommand help; and not __fish_seen_subcommand_from lab run reflect nic doctor help" -f -a "reflect" -d 'Answer probes of afprobe run --reflector, and of other senders of STAMP or TWAMP Light, until interrupted'
complete -c afprobe -n "__fish_afprobe_using_subcommand help; and not __fish_seen_subcommand_from lab run reflect nic doctor help" -f -a "nic" -d 'Show what network interfaces can stamp in hardware, what they are set to, and who relies on it'
complete -c afprobe -n "__fish_afprobe_using_subcommand help; and not __fish_seen_subcommand_from lab run reflect nic doctor help" -f -a "doctor" -d 'Find out, with real frames, which timestamps this host and its NIC deliver. Changes nothing for good'
complete -c afprobe -n "__fish_afprobe_using_subcommand help; and not __fish_seen_subcommand_from lab run reflect nic doctor help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c afprobe -n "__fish_afprobe_using_subcommand help; and __fish_seen_subcommand_from nic" -f -a "restore" -d 'Give back the timestamp settings that killed programs had borrowed'
