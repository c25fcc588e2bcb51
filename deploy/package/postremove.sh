#!/bin/sh
# After removal, by dpkg (remove, purge) and rpm (0). Events, and changed configuration, stay unless they are purged; the user stays, so
# that nobody else gets its number and its files.
set -e

if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
fi
if [ "${1-}" = purge ]; then
    rm -rf /var/lib/atalaya /var/log/atalaya /etc/atalaya
fi
