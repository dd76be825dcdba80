"""A serving process beside an exchange of its own process, watched from outside: CPU, memory.

Invariant: what is measured is `tapedeck serve` as a user runs it; its logs go to a file.
"""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
# What a serving process has imported when it begins to record.
IMPORTS_ALONE = (
    "import sys, server.cli, server.serve_commands; from server.runtime import tune;"
    "tune(); print(flush=True); sys.stdin.read()"
)


@contextmanager
def exchange(module: str = "bench.steady", *command: str, **options: object) -> Iterator[dict[str, Any]]:
    """An exchange in its own process; its addresses."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    with _child("-m", module, *command, *flags) as child:
        yield json.loads(_line(child))


@contextmanager
def tapedeck(
    addresses: Mapping[str, Any], directory: Path, *, links: int, warmup_hours: float = 0
) -> Iterator["Served"]:
    """`tapedeck serve` recording all symbols of the exchange; its log is `directory`/log."""
    settings = {
        "STREAM_URLS": ",".join([addresses["stream_url"]] * links),
        "REST_URL": addresses["rest_url"],
        "ARCHIVE_URL": addresses["archive_url"],
        "SYMBOLS": ",".join(addresses["symbols"]),
        "DATA_DIR": str(directory / "ledger"),
        "PORT": "0",
        "WARMUP_HOURS": str(warmup_hours),
    }
    environment = {f"TAPEDECK_{name}": value for name, value in settings.items()}
    with (
        (directory / "log").open("a") as log,
        _child("-m", "server.cli", "serve", environment=environment, stderr=log) as child,
    ):
        said = _line(child)
        yield Served(child.pid, said.split("MCP over SSE at ")[1].split("/sse")[0])


def imports_mb() -> float:
    """RssAnon of a process that has imported what a serving one has, and does nothing."""
    with _child("-c", IMPORTS_ALONE) as child:
        _line(child)
        return private_mb(child.pid)


@dataclass(frozen=True, slots=True)
class Served:
    """A serving process and where it answers."""

    pid: int
    url: str

    def cpu_s(self) -> float:
        """User and system time of all its threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND

    def metrics(self) -> dict[str, float]:
        """`name{labels}` -> value."""
        with urllib.request.urlopen(f"{self.url}/metrics") as reply:
            lines = [line for line in reply.read().decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def private_mb(pid: int) -> float:
    """RssAnon; LevelDB's mapped files are the kernel's to drop and do not count."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024 / 1e6


@contextmanager
def _child(
    *arguments: str, environment: Mapping[str, str] | None = None, stderr: Any = None
) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
    )
    try:
        yield child
    finally:
        child.terminate()
        child.communicate()


def _line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise SystemExit(f"{child.args!r} ended without a word; status {child.wait()}")
    return line
