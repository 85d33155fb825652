# shellcheck shell=bash
# shellcheck disable=SC2034 # who sources it uses the names
# What the commands in this directory share; they source it.

lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
repository=$(cd "$lab/../.." && pwd -P)
target=$(realpath -m "${CARGO_TARGET_DIR:-$repository/target}") # used by absolute path, on both sides
vm=$target/vm # what prepare makes

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin

say() {
    printf '%s: %s\n' "lab/vm/${0##*/}" "$*" >&2
}

fail() {
    say "$*"
    exit 1
}

need_root() {
    # Packages are installed, and the guests read files of this machine as its root would.
    [[ $(id -u) == 0 ]] || fail 'must be run by root'
}
