"""tapedeck's commands as processes of their own, ended when a test ends."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.own_time import OwnTime

ROOT = Path(__file__).parents[1]
START_S = 60
LAST_WORDS_S = 10
# Of a server's last words, with a test that failed.
LINES = 80


@dataclass
class Process:
    """A running command and what it has said so far."""

    child: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    _said: "queue.Queue[str]" = field(default_factory=queue.Queue)
    _listener: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.wait()
        self._heard_out()

    def _listen(self) -> None:
        assert self.child.stdout is not None
        with self.child.stdout as lines:
            for line in lines:
                self.lines.append(line)
                self._said.put(line)
        self._said.put("")

    def until(self, words: str, within_s: float = START_S) -> str:
        """The first line from now on that holds `words`."""
        while True:
            line = self._said.get(timeout=within_s)
            if not line:
                raise AssertionError(f"ended without {words!r}: {''.join(self.lines)}")
            if words in line:
                return line

    def wait(self, within_s: float) -> int:
        """Its status, once it has ended and all that it said is in `lines`."""
        status = self.child.wait(within_s)
        self._heard_out()
        return status

    def stop(self, sent: signal.Signals) -> tuple[int, float]:
        """Its status, and how many seconds of its own it took to end."""
        with self.own_time() as took:
            self.child.send_signal(sent)
            os.waitid(os.P_PID, self.child.pid, os.WEXITED | os.WNOWAIT)
        return self.wait(START_S), took.seconds

    def own_time(self) -> OwnTime:
        """The time that it takes by itself."""
        return OwnTime(self.child.pid)

    def _heard_out(self) -> None:
        """A child of its own that still runs may say more, which is not waited for."""
        if self._listener is not None:
            self._listener.join(LAST_WORDS_S)


def inherited() -> dict[str, str]:
    """The environment of the tests without settings of tapedeck's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TAPEDECK_")}


def start(*command: str, environment: dict[str, str] | None = None) -> Process:
    """A command whose output and errors are read line by line."""
    return Process(
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env=inherited() | (environment or {}),
        )
    )


@contextmanager
def exchange(*options: str) -> Iterator[dict[str, Any]]:
    """`tapedeck exchange` on a free port; its URLs and symbols. No part of it may fail on the way."""
    with start(sys.executable, "-m", "server.cli", "exchange", "--port=0", *options) as process:
        yield json.loads(process.until("rest_url"))
    assert not [line for line in process.lines if "Traceback" in line], "".join(process.lines[-LINES:])


def environment_for(urls: dict[str, Any], data_dir: Path, **settings: object) -> dict[str, str]:
    """Settings that record the exchange at `urls` into `data_dir`."""
    chosen = {
        "STREAM_URLS": urls["stream_url"],
        "REST_URL": urls["rest_url"],
        "ARCHIVE_URL": urls["archive_url"],
        "SYMBOLS": "BTCUSDT",
        "DATA_DIR": str(data_dir),
        "PORT": "0",
        "WARMUP_HOURS": "0",
    } | {name: str(value) for name, value in settings.items()}
    return {f"TAPEDECK_{name}": value for name, value in chosen.items()}


@contextmanager
def server(urls: dict[str, Any], data_dir: Path, **settings: object) -> Iterator[tuple[Process, str]]:
    """`tapedeck serve` recording the exchange at `urls`; the process and its base URL."""
    command: Sequence[str] = (sys.executable, "-m", "server.cli", "serve")
    with start(*command, environment=environment_for(urls, data_dir, **settings)) as process:
        line = process.until("MCP over SSE at ")
        try:
            yield process, line.split("MCP over SSE at ")[1].split("/sse")[0]
        except BaseException as error:
            error.add_note("the server said last:\n" + "".join(process.lines[-LINES:]))
            raise
        if process.child.poll() is None:
            process.child.terminate()
            process.wait(30)
