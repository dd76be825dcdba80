#!/bin/sh
# Makes systemd know tapedeck, once: its user, its units as those of the release in place, its settings' file.
# Run as root by deploy.sh when the first release is in place. What is there already stays as it is.
set -eu

units=$PREFIX/current/systemd

install -D -m 0644 "$units/tapedeck.sysusers" /usr/lib/sysusers.d/tapedeck.conf
systemd-sysusers tapedeck.conf
for unit in tapedeck.service tapedeck-backup.service tapedeck-backup.timer; do
    [ -e "/etc/systemd/system/$unit" ] || ln -s "$units/$unit" "/etc/systemd/system/$unit"
done
mkdir -p "$(dirname "$ENV_FILE")"
[ -e "$ENV_FILE" ] || install -m 0600 /dev/null "$ENV_FILE"
systemctl daemon-reload
systemctl enable tapedeck.service tapedeck-backup.timer
systemctl start tapedeck-backup.timer
