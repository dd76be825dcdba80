"""Charts: pictures drawn in a process of their own, which is started when the first one is asked for.

Invariant: the event loop only passes messages; what goes wrong over there ends as `ChartFailed` here, and the
next picture finds a process that works. Answers are read in order, so a request that was given up takes its
process with it.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

import msgspec
import structlog

from server.charts.picture import Picture, packed
from server.charts.replies import HEADER, MOST_BYTES, unpacked_reply

log = structlog.get_logger()

# A picture takes a fifth of a second, the first one of a process a second or two more.
LIMIT_S = 10.0
MOST_WAITING = 8
ENDS_WITHIN_S = 1.0
COMMAND = (sys.executable, "-m", "server.charts.child")
# What a process needs of its surroundings; no setting or token of ours is among it.
KEPT = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TMPDIR")
# Of what a process said last before it ended, for the log.
LAST_WORDS = 500
FIXED = {"OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


class ChartFailed(Exception):
    """There is no picture; the message says why, as the end of a sentence."""


class Charts:
    """Draws one picture at a time. To be closed, best by `async with`."""

    def __init__(self, command: tuple[str, ...] = COMMAND, limit_s: float = LIMIT_S) -> None:
        self._command = command
        self._limit_s = limit_s
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._child: asyncio.subprocess.Process | None = None
        self._place: tempfile.TemporaryDirectory[str] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        self._closed = False
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def pid(self) -> int | None:
        """The process that draws; None where there is none."""
        return None if self._child is None or self._child.returncode is not None else self._child.pid

    async def png(self, picture: Picture, within_s: float = LIMIT_S) -> bytes:
        """The picture drawn, as a PNG. Raises `ChartFailed`."""
        if self._waiting >= MOST_WAITING:
            raise ChartFailed(f"{self._waiting} others are being drawn")
        limit_s = min(self._limit_s, within_s)
        self._waiting += 1
        try:
            async with asyncio.timeout(limit_s), self._turn:
                return await self._drawn(packed(picture))
        except TimeoutError:
            log.warning("chart not drawn", reason="time limit", limit_s=limit_s)
            raise ChartFailed(f"it was not drawn within {limit_s:.2g} s") from None
        except (OSError, EOFError, msgspec.MsgspecError) as error:
            log.warning("chart not drawn", reason=repr(error), said=self._last_words())
            raise ChartFailed("the process that draws ended") from error
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """End the process, and leave nothing of it behind."""
        self._closed = True
        child, self._child = self._child, None
        if child is not None:
            await _ended(child)
        place, self._place = self._place, None
        if place is not None:
            place.cleanup()

    async def _drawn(self, request: bytes) -> bytes:
        """The answer of the process that is there, or of another where that one has ended meanwhile."""
        if self.pid is not None:
            with suppress(ConnectionError, EOFError):
                return await self._asked(request)
        return await self._asked(request)

    async def _asked(self, request: bytes) -> bytes:
        child = await self._living()
        answered = False
        try:
            reply = unpacked_reply(await _exchanged(child, request))
            answered = True
        finally:
            if not answered:
                self._child = None
                _kill(child)
        if reply.png is None:
            log.warning("chart not drawn", reason=reply.error)
            raise ChartFailed("it could not be drawn")
        return reply.png

    async def _living(self) -> asyncio.subprocess.Process:
        if self._closed:
            raise ChartFailed("the server is ending")
        if self._child is None or self._child.returncode is not None:
            self._child = await self._started()
            log.info("chart process started", pid=self._child.pid)
        return self._child

    async def _started(self) -> asyncio.subprocess.Process:
        if self._place is None:
            self._place = tempfile.TemporaryDirectory(prefix="tapedeck-charts-")
        with self._errors.open("wb") as errors:
            child = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=_environment(os.environ, self._place.name),
                start_new_session=True,
            )
        if self._closed:
            await _ended(child)
            raise ChartFailed("the server is ending")
        return child

    @property
    def _errors(self) -> Path:
        assert self._place is not None
        return Path(self._place.name) / "errors"

    def _last_words(self) -> str:
        """The end of what the process wrote to its errors."""
        if self._place is None or not self._errors.is_file():
            return ""
        return self._errors.read_bytes()[-LAST_WORDS:].decode(errors="replace")


def _environment(ours: Mapping[str, str], place: str) -> dict[str, str]:
    """matplotlib keeps its list of fonts in `place`, which outlives a process that is killed."""
    return {name: ours[name] for name in KEPT if name in ours} | FIXED | {"MPLCONFIGDIR": place}


async def _exchanged(child: asyncio.subprocess.Process, request: bytes) -> bytes:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(HEADER.pack(len(request)) + request)
    await child.stdin.drain()
    (size,) = HEADER.unpack(await child.stdout.readexactly(HEADER.size))
    if size > MOST_BYTES:
        raise EOFError(f"a reply of {size} bytes, more than {MOST_BYTES}")
    return await child.stdout.readexactly(size)


async def _ended(child: asyncio.subprocess.Process) -> None:
    """It ends with its input; else it is killed."""
    assert child.stdin is not None
    child.stdin.close()
    with suppress(TimeoutError):
        async with asyncio.timeout(ENDS_WITHIN_S):
            await child.wait()
    _kill(child)
    await child.wait()


def _kill(child: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        child.kill()
