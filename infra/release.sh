#!/bin/sh
# The half of deploy.sh that runs where tapedeck is to run; beside it lies what deploy.sh brought.
#
# PREFIX/releases/NAME becomes PREFIX/current once it has answered a real question. With RESTART, a command, the
# service is restarted and asked at URL; if it does not answer, what ran before runs again. The newest KEEP
# releases stay. Exit status 1: the new release is not in place, and what was there before is.
set -eu

here=$(CDPATH='' cd "$(dirname "$0")" && pwd)
releases=$PREFIX/releases
new=$releases/$NAME
before=$(readlink "$PREFIX/current" || true)

say() {
    echo "deploy: $*"
}

switch_to() {
    ln -sfn "$1" "$PREFIX/current.new"
    mv -T "$PREFIX/current.new" "$PREFIX/current"
}

works() {
    "$PREFIX/current/bin/python" "$here/smoke_test.py" "$URL"
}

restart() {
    [ -z "$RESTART" ] || sh -c "$RESTART"
}

give_up() {
    say "$1; $NAME is removed"
    rm -rf "$new"
    exit 1
}

roll_back() {
    if [ -z "$before" ]; then
        rm -f "$PREFIX/current"
        give_up "$1, and there was no release before it"
    fi
    switch_to "$before"
    say "$1; back to ${before#releases/}"
    if restart && works; then
        give_up "${before#releases/} answers again"
    fi
    give_up "${before#releases/} IS IN PLACE AND DOES NOT ANSWER EITHER: look at the service's log"
}

mkdir -p "$releases"
say "installing into $new"
sh "$here/install.sh" "$new" "$here"/*.whl "$here/runtime.txt" || give_up "the installation failed"
mkdir "$new/systemd"
cp "$here"/systemd/* "$new/systemd"

"$new/bin/python" "$here/smoke_test.py" --demo || give_up "its demo does not answer"
if [ -e "$ENV_FILE" ]; then
    "$new/bin/tapedeck" check-config --env-file "$ENV_FILE" >/dev/null || give_up "$ENV_FILE does not suit it"
fi

switch_to "releases/$NAME"
say "switched from ${before:-nothing} to releases/$NAME"
if [ -n "$RESTART" ]; then
    restart || roll_back "the service does not start"
    works || roll_back "the service does not answer"
fi

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
