# shellcheck shell=bash
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What the scripts share. Sourced, after `set -euo pipefail`; leaves the caller in the root of the checkout.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
mkdir -p .cache/log

say() { printf '%s\n' "$*"; }

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# step LABEL COMMAND...: runs a long command with its output in .cache/log; dots say that it lives, and when it
# fails the end of the log says why.
step() {
    local label=$1 ticker status=0
    local log=.cache/log/${label//[^A-Za-z0-9]/-}.log
    shift
    printf '%s ' "$label"
    # The ticker ends with its parent, however that ends, and its sleep does not hold the caller's output open.
    (while sleep 2 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do printf .; done) &
    ticker=$!
    "$@" >"$log" 2>&1 </dev/null || status=$?
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    if ((status)); then
        printf ' failed (%s)\n' "$log"
        tail -n 25 "$log" >&2
        return "$status"
    fi
    printf ' done\n'
}

is_root() { ((EUID == 0)); }

# have NAME...: whether all these commands are there (`command -v` is content with one of them)
have() {
    local name
    for name; do command -v "$name" >/dev/null || return 1; done
}

# Debian, Ubuntu, or something made from one of them
is_debian_like() {
    (
        [[ -r /etc/os-release ]] && . /etc/os-release && [[ " ${ID-} ${ID_LIKE-} " =~ \ (debian|ubuntu)\  ]]
    )
}

# can_install: whether this run may install packages of the system
can_install() { is_root && is_debian_like; }

apt_install() {
    export DEBIAN_FRONTEND=noninteractive
    step "Reading package lists" apt-get -q update
    step "Installing $*" apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"
}

# find_python VERSION: the path of that Python, looked up on the path and with pyenv (whose own python3.8 answers
# only where it was activated); else nothing
find_python() {
    local candidate
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/"python$1"; do
        if "$candidate" -c '' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
}
