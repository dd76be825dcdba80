#!/bin/sh
# Makes systemd know tapedeck, once: its user, its units as those of the release in place, its settings' file.
# Run as root by deploy.sh at each switch. What is there already stays as it is, an administrator's unit or
# choice to start none of them among it.
set -eu

units=$PREFIX/current/systemd
known=/etc/systemd/system

# A link by the name of the release would be left dangling when that release goes.
make_known() {
    if [ -e "$known/$1" ] || [ -L "$known/$1" ]; then
        return
    fi
    ln -s "$units/$1" "$known/$1"
    if [ -n "${2-}" ]; then
        mkdir -p "$known/$2.wants"
        ln -sfn "../$1" "$known/$2.wants/$1"
    fi
}

install -D -m 0644 "$units/tapedeck.sysusers" /usr/lib/sysusers.d/tapedeck.conf
systemd-sysusers tapedeck.conf
make_known tapedeck.service multi-user.target
make_known tapedeck-backup.service
make_known tapedeck-backup.timer timers.target
mkdir -p "$(dirname "$ENV_FILE")"
[ -e "$ENV_FILE" ] || install -m 0600 /dev/null "$ENV_FILE"
systemctl daemon-reload
if systemctl is-enabled --quiet tapedeck-backup.timer; then
    systemctl start tapedeck-backup.timer
fi
