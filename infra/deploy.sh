#!/usr/bin/env bash
# Puts this checkout's tapedeck on a server, and takes it back if it does not answer there.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: deploy.sh [OPTIONS] HOST
       deploy.sh [OPTIONS] --local DIR [--restart COMMAND]

HOST is a name for ssh, of a user who may `sudo` without a password. There tapedeck is installed under /opt/tapedeck, and run by
systemd with the settings in /etc/tapedeck/tapedeck.env.

  --local DIR        install under DIR on this machine, without ssh, sudo and systemd
  --restart COMMAND  with --local: restarts the service, and fails if that does not start
  --url URL          where the service is to be asked after the restart (http://127.0.0.1:8000)
  --keep N           how many releases stay (3)
  --python COMMAND   the interpreter there, 3.11 or 3.12 (python3)
  --dry-run          say what would be done, and do nothing
TEXT
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
host='' local='' restart='' url=http://127.0.0.1:8000 keep=3 python=python3 dry_run=''

refuse() {
    echo "deploy: $1" >&2
    usage >&2
    exit 2
}

while [[ $# -gt 0 ]]; do
    case $1 in
        --dry-run) dry_run=1 ;;
        --local | --restart | --url | --keep | --python)
            [[ $# -gt 1 ]] || refuse "$1 needs a value"
            declare "${1#--}=$2"
            shift
            ;;
        -h | --help)
            usage
            exit
            ;;
        -*) refuse "there is no option $1" ;;
        *)
            [[ -z $host ]] || refuse "one HOST, please"
            host=$1
            ;;
    esac
    shift
done
[[ -n $host || -n $local ]] || refuse "name a HOST, or --local DIR"
[[ -z $host || -z $local ]] || refuse "HOST or --local DIR, not both"
[[ -z $restart || -n $local ]] || refuse "--restart goes with --local; on a HOST systemd restarts it"
[[ $keep =~ ^[1-9][0-9]*$ ]] || refuse "--keep needs a number from 1 on, not '$keep'"

if [[ -n $local ]]; then
    prefix=$(realpath -m "$local")
    env_file=$prefix/tapedeck.env
else
    prefix=/opt/tapedeck
    env_file=/etc/tapedeck/tapedeck.env
    restart="PREFIX=$prefix ENV_FILE=$env_file sh $prefix/current/systemd/systemd.sh && systemctl restart tapedeck"
fi
builder=${BUILDER:-$root/.venv/bin/python}  # has hatchling
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/pyproject.toml")
name=$(date -u +%Y%m%dT%H%M%SZ)-$version

say() {
    echo "deploy: $*"
}

if [[ -n $dry_run ]]; then
    say "would build tapedeck $version from $root"
    say "would install it ${host:+on $host }into $prefix/releases/$name, and ask its demo over both transports"
    say "would check ${env_file} with it, if that is there"
    say "would switch $prefix/current to it"
    [[ -z $restart ]] || say "would run: $restart"
    [[ -z $restart ]] || say "would ask $url, and switch back if there is no answer"
    say "would keep the newest $keep releases"
    exit
fi

bundle=$(mktemp -d)
trap 'rm -rf "$bundle"' EXIT
say "building tapedeck $version"
(cd "$root" && "$builder" -m hatchling build -t wheel -d "$bundle" >/dev/null)
cp "$root"/infra/{install.sh,release.sh,smoke_test.py} "$root/requirements/runtime.txt" "$bundle"
mkdir "$bundle/systemd"
cp "$root"/infra/systemd/* "$root/infra/systemd.sh" "$bundle/systemd"

settings=(PREFIX="$prefix" NAME="$name" KEEP="$keep" URL="$url" ENV_FILE="$env_file" RESTART="$restart"
    PYTHON="$python")
if [[ -n $local ]]; then
    env "${settings[@]}" sh "$bundle/release.sh"
else
    there=$(ssh "$host" mktemp -d)
    # shellcheck disable=SC2029  # what stands in the variables is meant to be known here
    tar -C "$bundle" -cz . | ssh "$host" "tar -C $there -xz"
    # shellcheck disable=SC2029
    ssh "$host" "sudo env $(printf '%q ' "${settings[@]}") sh $there/release.sh; status=\$?; rm -rf $there; exit \$status"
fi
