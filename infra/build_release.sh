#!/usr/bin/env bash
# A release in a directory: wheel, source, bill of materials, licences, checksums. build_release.sh DIR
#
# The same commit gives the same bytes: times are that of the commit, or SOURCE_DATE_EPOCH.
# BUILDER has hatchling; TOOLS is a directory with the commands of requirements/tools.txt.
set -euo pipefail

out=$(realpath -m "$1")
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
builder=${BUILDER:-$root/.venv/bin/python}
tools=${TOOLS:-$root/.tools/bin}
if [[ -z ${SOURCE_DATE_EPOCH:-} ]]; then
    if [[ -n $(git -C "$root" status --porcelain) ]]; then
        echo "release: there are changes that no commit has; commit them first" >&2
        exit 1
    fi
    SOURCE_DATE_EPOCH=$(git -C "$root" log -1 --format=%ct)
fi
export SOURCE_DATE_EPOCH
umask 022

if [[ -e $out && -n $(ls -A "$out") ]]; then
    echo "release: $out is not empty; nothing was touched" >&2
    exit 1
fi
installed=$(mktemp -d)
trap 'rm -rf "$installed"' EXIT

mkdir -p "$out"
(cd "$root" && "$builder" -m hatchling build -t wheel -t sdist -d "$out" >/dev/null)
sh "$root/infra/install.sh" "$installed/env" "$out"/*.whl "$root/requirements/runtime.txt"
# What looks at a release is no part of it.
"$installed/env/bin/python" -m pip --quiet --disable-pip-version-check uninstall --yes pip setuptools
"$tools/cyclonedx-py" environment --output-reproducible --gather-license-texts --mc-type application \
    --pyproject "$root/pyproject.toml" --output-file "$out/sbom.cdx.json" "$installed/env/bin/python"
"$tools/pip-licenses" --python "$installed/env/bin/python" --format markdown --with-urls --order license \
    --partial-match --fail-on 'GNU General Public;GNU Affero;GPL-;AGPL-' --output-file "$out/licences.md"
(cd "$out" && sha256sum -- * >SHA256SUMS)
