#!/bin/sh
# Before removal, by dpkg (remove) and rpm (0). An upgrade restarts the programs afterwards instead.
set -e

case "${1-}" in
    remove | 0) ;;
    *) exit 0 ;;
esac

if [ -d /run/systemd/system ]; then
    systemctl disable --quiet --now security-agent.service system-probe.service || true
fi
