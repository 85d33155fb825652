# shellcheck shell=bash
# What the two jobs that check the lab itself share.

kernel_is_old() {
    local version
    version=$(uname -r)
    printf '%s\n' "$version"
    [[ $(printf '6.13\n%s\n' "$version" | sort -V | head -n 1) != 6.13 ]]
}

says_that_it_stamps() {
    local says
    says=$(ethtool -T "$IFACE")
    printf '%s\n' "$says"
    [[ $says == *hardware-transmit* && $says == *hardware-receive* && $says == *'PTP Hardware Clock: 0'* ]]
}

settings_hold() {
    local says
    hwstamp_ctl -i "$IFACE" -t 1 -r 12 || return
    says=$(hwstamp_ctl -i "$IFACE") # asks only
    printf '%s\n' "$says"
    [[ $says == *'tx_type 1'* && $says == *'rx_filter 12'* ]]
}

# in_time SECONDS COMMAND…: as soon as it succeeds.
in_time() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.5
    done
}

quiet_master() {
    grep -q 'to MASTER' "$1" && ! grep -E 'timed out|without timestamp|FAULTY' "$1"
}
