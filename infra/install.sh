#!/bin/sh
# A new environment with tapedeck and its locked dependencies: install.sh DIR WHEEL REQUIREMENTS
#
# PYTHON names the interpreter, 3.11 or 3.12. What was begun and failed is removed.
set -eu
umask 022  # whoever runs it, the service's user must be able to read it

directory=$1
wheel=$2
requirements=$3

if [ -e "$directory" ]; then
    echo "install: $directory exists; nothing was touched" >&2
    exit 1
fi
trap 'rm -rf "$directory"' EXIT
trap 'exit 1' HUP INT TERM

"${PYTHON:-python3}" -m venv "$directory"
pip() {
    "$directory/bin/python" -m pip --disable-pip-version-check --quiet "$@"
}
pip install --require-hashes -r "$requirements"
pip install --no-deps "$wheel"
pip check
"$directory/bin/tapedeck" --version >/dev/null
trap - EXIT
