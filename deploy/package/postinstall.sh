#!/bin/sh
# After installation and upgrade, by dpkg (configure) and rpm (1 or 2).
set -e

case "${1-}" in
    configure | 1 | 2) ;;
    *) exit 0 ;;
esac

if ! getent group atalaya >/dev/null; then
    groupadd --system atalaya
fi
if ! getent passwd atalaya >/dev/null; then
    nologin=/usr/sbin/nologin
    [ -x "$nologin" ] || nologin=/sbin/nologin
    useradd --system --gid atalaya --home-dir /nonexistent --no-create-home --shell "$nologin" \
        --comment "Atalaya security-agent" atalaya
fi

# Both programs read the configuration; it may hold keys, so nobody else does.
for file in /etc/atalaya /etc/atalaya/system-probe.yaml /etc/atalaya/security-agent.yaml /etc/atalaya/runtime-security.d; do
    if [ -e "$file" ]; then
        chgrp atalaya "$file"
    fi
done
chown atalaya:atalaya /var/log/atalaya

if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl enable --quiet system-probe.service security-agent.service
    systemctl restart system-probe.service security-agent.service || true
fi
