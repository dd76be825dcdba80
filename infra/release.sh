#!/bin/sh
# The half of deploy.sh that runs where tapedeck is to run; beside it lies what deploy.sh brought.
#
# PREFIX/releases/NAME becomes PREFIX/current once it has answered a real question. With RESTART, a command, the
# service is restarted and asked at URL; if it does not answer, what ran before runs again. The newest KEEP
# releases stay. Exit status 1: the new release is not in place, and what was there before is, also where this
# is interrupted or whoever listens goes away.
set -eu

here=$(CDPATH='' cd "$(dirname "$0")" && pwd)
releases=$PREFIX/releases
new=$releases/$NAME
busy=$PREFIX/.deploying
before=$(readlink "$PREFIX/current" || true)
stage=begun

say() {
    echo "deploy: $*" || true
}

switch_to() {
    ln -sfn "$1" "$PREFIX/current.new"
    mv -T "$PREFIX/current.new" "$PREFIX/current"
}

restart_and_ask() {
    sh -c "$RESTART" && "$PREFIX/current/bin/python" "$here/smoke_test.py" "$URL"
}

# However this ends: nothing half done stays.
finish() {
    if [ "$stage" = switched ]; then
        take_back
    fi
    if [ "$stage" != in_place ]; then
        rm -rf "$new"
        say "$NAME is removed"
    fi
    rmdir "$busy"
}

take_back() {
    if [ -z "$before" ]; then
        rm -f "$PREFIX/current"
        say "there was no release before it"
        return
    fi
    switch_to "$before"
    say "back to ${before#releases/}"
    if restart_and_ask; then
        say "${before#releases/} answers again"
    else
        say "${before#releases/} IS IN PLACE AND DOES NOT ANSWER EITHER: look at the service's log"
    fi
}

give_up() {
    say "$1"
    exit 1
}

mkdir -p "$releases"
[ ! -e "$new" ] || give_up "$new exists; nothing was touched"
mkdir "$busy" || give_up "another deployment is under way; if none is, delete $busy"
trap '' PIPE
trap finish EXIT
trap 'exit 1' HUP INT TERM

say "installing into $new"
sh "$here/install.sh" "$new" "$here"/*.whl "$here/runtime.txt" || give_up "the installation failed"
mkdir "$new/systemd"
cp "$here"/systemd/* "$new/systemd"

"$new/bin/python" "$here/smoke_test.py" --demo || give_up "its demo does not answer"
if [ -e "$ENV_FILE" ]; then
    "$new/bin/tapedeck" check-config --env-file "$ENV_FILE" >/dev/null || give_up "$ENV_FILE does not suit it"
fi

say "switching from ${before:-nothing} to releases/$NAME"
switch_to "releases/$NAME"
if [ -n "$RESTART" ]; then
    stage=switched
    restart_and_ask || give_up "the service does not start, or does not answer"
fi
stage=in_place

# Names begin with the time, so that the newest stand last. What runs and what ran before it stay in any case.
find "$releases" -mindepth 1 -maxdepth 1 -type d | sort | head -n "-$KEEP" | while read -r old; do
    case "releases/${old##*/}" in
        "releases/$NAME" | "$before") ;;
        *)
            say "deleting $old"
            rm -rf "$old"
            ;;
    esac
done
say "$NAME is in place"
