"""`tapedeck serve` as something that is killed, stopped and has its disk taken away, and started again.

Invariant: there is one at a time; what it said is kept over all of its lives.
"""

import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from storage.ledger_files import RESERVE
from tests.disks import full, small_disk
from tests.levers import private_mb
from tests.processes import Process, environment_for, start

TOLD = ("gap opened", "gap filled", "gap certified", "flush failed", "disk writes again", "link ended",
        "task failed", "Traceback")  # fmt: skip
DISK = "256m"
NOTICED_S = 15.0


class Recorder:
    """`refused`: how its disk refuses, by a small tmpfs that is filled or by a limit of its files' size."""

    def __init__(self, urls: Mapping[str, Any], directory: Path) -> None:
        self._environment = environment_for(
            dict(urls),
            directory / "ledger",
            STREAM_URLS=",".join([urls["stream_url"]] * 2),
            SYMBOLS=",".join(urls["symbols"]),
        )
        self._directory = directory
        self._stack = ExitStack()
        self.is_on_small_disk = directory.is_mount()
        self.told: Counter[str] = Counter()
        self.most_mb = 0.0
        self.lives = 0
        self.process: Process | None = None
        self.url = ""

    def begin(self) -> None:
        self.lives += 1
        command = (sys.executable, "-m", "server.cli", "serve")
        self.process = self._stack.enter_context(start(*command, environment=self._environment))
        line = self.process.until("MCP over SSE at ", within_s=60)
        self.url = line.split("MCP over SSE at ")[1].split("/sse")[0]

    def look(self) -> None:
        """How much memory it has."""
        assert self.process is not None
        if self.process.child.poll() is not None:
            raise AssertionError("it ended by itself: " + "".join(self.process.lines[-30:]))
        self.most_mb = max(self.most_mb, private_mb(self.process))

    def kill(self) -> None:
        """-9."""
        assert self.process is not None
        self.process.child.kill()
        self._ended()

    def end(self) -> None:
        """As an operator would."""
        assert self.process is not None
        self.process.child.terminate()
        self.process.wait(30)
        self._ended()

    def _ended(self) -> None:
        assert self.process is not None
        self._stack.close()
        for line in self.process.lines:
            self.told.update(words for words in TOLD if words in line)

    def stop_for(self, seconds: float) -> None:
        assert self.process is not None
        self.process.child.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.child.send_signal(signal.SIGCONT)

    def refuse_disk_for(self, seconds: float) -> None:
        """And longer where nothing came that was to be written: until it is noticed, for some seconds."""
        assert self.process is not None
        before = len(self.process.lines)
        # It would take the trades of these seconds.
        (self._directory / "ledger" / RESERVE).unlink(missing_ok=True)
        with full(self._directory) if self.is_on_small_disk else _no_file_grows(self.process.child.pid):
            time.sleep(seconds)
            ends_s = time.monotonic() + NOTICED_S
            while time.monotonic() < ends_s and not self._said("flush failed", before):
                time.sleep(0.1)

    def _said(self, words: str, since: int) -> bool:
        assert self.process is not None
        return any(words in line for line in self.process.lines[since:])


@contextmanager
def disk(path: Path) -> Iterator[Path]:
    """A small one of its own where mounting is allowed, else a directory."""
    with ExitStack() as stack:
        try:
            yield stack.enter_context(small_disk(path / "disk", DISK))
        except pytest.skip.Exception:
            yield path


@contextmanager
def _no_file_grows(pid: int) -> Iterator[None]:
    """Every write beyond a file's first bytes fails with EFBIG, as on a disk that is full."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
