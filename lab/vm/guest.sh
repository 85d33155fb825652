# shellcheck shell=bash
# For jobs: `. /job/lab/guest.sh`. README.md says what else a job finds.

# meet NAME: wait until the other guest is at the meeting of the same name, too. Each name is for one meeting.
meet() {
    local deadline=$((SECONDS + 60))
    if [[ -e /job/lab/met-$1-$ROLE ]]; then
        printf 'meet: the meeting %s is over\n' "$1" >&2
        return 1
    fi
    : >"/job/lab/met-$1-$ROLE"
    until [[ -e /job/lab/met-$1-$PEER ]]; do
        if [[ -e /job/lab/status-$PEER ]]; then
            # It may have come, and gone, since the last look.
            [[ -e /job/lab/met-$1-$PEER ]] && break
            printf 'meet: %s has ended without coming to %s\n' "$PEER" "$1" >&2
            return 1
        fi
        if ((SECONDS >= deadline)); then
            printf 'meet: %s did not come to %s\n' "$PEER" "$1" >&2
            return 1
        fi
        sleep 0.05
    done
}

# One test has passed, or failed: these lines are what the host counts.
ok() {
    printf 'ok %s\n' "$1" | tee -a "/job/results-$ROLE"
}

failed() {
    printf 'FAILED %s: %s\n' "$1" "${*:2}" | tee -a "/job/results-$ROLE"
}

# check NAME COMMAND…: a test that passes when the command succeeds.
check() {
    local name=$1 status=0
    shift
    "$@" || status=$?
    if ((status == 0)); then
        ok "$name"
    else
        failed "$name" "status $status of: $*"
    fi
}

# restart_rx_release [MESSAGE]: have igb stamp another type of received PTP message than Sync; igb-rx-release.c says why.
# Without MESSAGE, Sync is back when the settings of the card are made the next time.
restart_rx_release() {
    kill "$(cat /run/igb-rx-release.pid)"
    igb-rx-release "/sys/class/net/$IFACE/device/resource0" "$@" &
    printf '%s\n' "$!" >/run/igb-rx-release.pid
}

# on_b COMMAND…: for the shell in a: runs it in b, and shows what it printed. With & at the end, it runs meanwhile.
on_b() {
    local order=/job/lab/order-$RANDOM$RANDOM status
    printf '%q ' "$@" >"$order.new"
    mv "$order.new" "$order"
    until [[ -e $order.status ]]; do sleep 0.1; done
    cat "$order.output"
    status=$(<"$order.status")
    rm -f "$order".*
    return "$status"
}
