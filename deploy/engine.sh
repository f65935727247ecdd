#!/usr/bin/env bash
# Sets up what sandboxes need on Debian and Ubuntu: bubblewrap, a Docker engine that runs, and the sandbox image.
# Safe to run again: what is there is left alone. Needs root; uses this machine's own apt sources and nothing else.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
log=${ONHAND_DOCKERD_LOG:-/var/log/dockerd.log}

say() { printf 'engine: %s\n' "$*"; }
has() { command -v "$1" >/dev/null 2>&1; }
answers() { docker info >/dev/null 2>&1; }

install_packages() {
    local wanted=()
    has bwrap || wanted+=(bubblewrap)
    has setpriv || wanted+=(util-linux)
    { has docker && has dockerd; } || wanted+=(docker.io)
    has iptables || wanted+=(iptables)
    has mmdebstrap || wanted+=(mmdebstrap)
    has git || wanted+=(git)
    has faketime || wanted+=(faketime) # for the tests: machines whose clocks disagree
    if [ ${#wanted[@]} -eq 0 ]; then return; fi
    say "installing ${wanted[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null
}

start_engine() {
    if answers; then return; fi
    if [ -d /run/systemd/system ]; then
        systemctl enable --now docker >/dev/null
    else
        say "starting dockerd; its log is $log"
        # a stale pid file of an engine that was killed keeps a new one from starting
        if [ -f /var/run/docker.pid ] && ! kill -0 "$(cat /var/run/docker.pid)" 2>/dev/null; then rm -f /var/run/docker.pid; fi
        setsid dockerd >>"$log" 2>&1 </dev/null &
    fi
    for _ in $(seq 120); do
        if answers; then return; fi
        sleep 0.5
    done
    say "dockerd did not answer within a minute; the end of its log:"
    tail -n 20 "$log" >&2 || true
    exit 1
}

[ "$(id -u)" = 0 ] || { say "run this as root: it installs packages and starts the engine"; exit 2; }
has apt-get || { say "this script knows Debian and Ubuntu; elsewhere install bubblewrap and a Docker engine yourself"; exit 2; }
install_packages
start_engine
bash "$here/sandbox-image.sh"
say "ready: $(bwrap --version), Docker $(docker version --format '{{.Server.Version}}')"
