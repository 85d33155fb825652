# shellcheck shell=bash
# What both guests run; they source it.

# What cannot run here is a failure.
export FAST_AFPACKET_NET=required
export PYTHONPATH=$LAB_VM/peers/python PATH=$LAB_VM/peers/bin:$PATH

# As udev has it where there is one. Other modules come when a test asks for what they have.
modprobe tun
chmod 666 /dev/net/tun

# For this one a processor is kept busy while another one measures: it takes two.
left_out=a_busy_processor_is_seen_in_the_wake_up

# run_suite COMMAND…: runs each executable of TESTS by that command, where cargo would.
run_suite() {
    local package name executable results=/run/results status test
    while read -r package name executable; do
        printf '==> %s (up for %s s)\n' "$name" "$(cut -d ' ' -f 1 /proc/uptime)"
        : >"$results"
        chmod 666 "$results"
        status=0
        (cd "$package" && exec "$@" "$executable" --skip "$left_out" --color never --logfile "$results") || status=$?
        # A line for each test, in the words of libtest or of libtest-mimic.
        while read -r test; do ok "$name: $test"; done < <(having ok ok)
        while read -r test; do failed "$name: $test" 'the log of this guest says why'; done < <(having failed FAILED)
        if ((status != 0)) && [[ -z $(having failed FAILED) ]]; then
            failed "$name" "it ended with status $status"
        fi
    done <"$TESTS"
    printf '==> end (up for %s s)\n' "$(cut -d ' ' -f 1 /proc/uptime)"
}

# having LIBTEST MIMIC: the tests with this result.
having() {
    sed -n "s/^$1 \(.*\)/\1/p; s/^test \(.*[^ ]\) *\.\.\. $2\$/\1/p" "$results"
}
