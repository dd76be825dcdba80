"""Known vulnerabilities among locked dependencies: python audit.py PIP_AUDIT REQUIREMENTS...

Exit status 1 where there is one. Invariant: what nobody could be asked about is never called sound: it is
counted and named as not audited, with the reason, and ends in status 0, since no network is no finding.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

TIMEOUT_S = 300


def main(arguments: Sequence[str]) -> int:
    pip_audit, *files = arguments
    return max(_audited(pip_audit, file) for file in files)


def _audited(pip_audit: str, file: str) -> int:
    done = subprocess.run(
        [pip_audit, "--progress-spinner=off", "--disable-pip", "--require-hashes", "-f", "json", "-r", file],
        capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    try:
        dependencies: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError):
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        print(f"audit: {file} NOT AUDITED: no vulnerability service could be asked ({last[:200]})")
        return 0
    return told(file, dependencies)


def told(file: str, dependencies: list[dict[str, Any]]) -> int:
    """Say what came of it; 1 where something is vulnerable."""
    reasons = Counter(_without_name(d) for d in dependencies if "skip_reason" in d)
    found = [d for d in dependencies if d.get("vulns")]
    asked = len(dependencies) - reasons.total()
    for dependency in found:
        for vulnerability in dependency["vulns"]:
            fixed = ", ".join(vulnerability.get("fix_versions", [])) or "no version"
            name = f"{dependency['name']} {dependency['version']}"
            print(f"audit: {name}: {vulnerability['id']}, fixed in {fixed}")
    print(f"audit: {file}: {asked} of {len(dependencies)} audited, {len(found)} vulnerable")
    for reason, count in reasons.items():
        print(f"audit: {file}: {count} NOT AUDITED: {reason}")
    return 1 if found else 0


def _without_name(dependency: dict[str, Any]) -> str:
    return str(dependency["skip_reason"]).partition(f": {dependency['name']} ")[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
