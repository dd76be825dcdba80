"""Bars in a file beside the ledger, so that neither a restart nor a second process forgets one.

Invariant: whoever asks looks at the file first, once a second at most; a file that cannot be read or written
is told of and stops nothing, and the event loop never waits for it to be written.
"""

import asyncio
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import structlog

from collectors.bars import LONGEST_MS, Bar, Bars, Moment, NoBars, What, decoded, encoded
from collectors.clock import Clock
from storage.ledger_files import BARS, sync_directory

log = structlog.get_logger()

LOOK_MS = 1_000

Identity = tuple[int, int, int]


class KeptBars:
    """The bars of this process, and with a `directory` those of whoever shares it, before and beside it."""

    def __init__(self, clock: Clock, directory: Path | None = None) -> None:
        self._clock = clock
        self._path = None if directory is None else directory / BARS
        self._bars = Bars()
        self._looked_ms: int | None = None
        self._seen: Identity | None = None
        self._is_told = False
        self._unwritten = False
        self._writing: asyncio.Task[None] | None = None

    def left_ms(self, what: What, host: str) -> int:
        """How long a host still is to be left alone; 0 where it may be asked."""
        now_ms = self._clock.steady_ms()
        if self._looked_ms is None or now_ms - self._looked_ms >= LOOK_MS:
            self._looked_ms = now_ms
            self._look()
        return self._bars.left_ms(what, host, now_ms)

    def bar(self, what: What, host: str, seconds: float, status: int) -> None:
        """The host asked for silence."""
        now, asked_ms = self._now(), min(round(seconds * 1000), LONGEST_MS)
        if self._bars.learn(Bar(what, host, status, asked_ms, now.utc_ms + asked_ms), now):
            self._unwritten = True
            self.keep()

    def keep(self) -> None:
        """Begin to write what the file does not say yet, after a disk that refused, too."""
        if self._unwritten and self._path is not None and (self._writing is None or self._writing.done()):
            self._writing = asyncio.get_running_loop().create_task(self._write(self._path))

    async def written(self) -> None:
        """Wait until the file says what is known."""
        if self._writing is not None:
            await self._writing

    def _now(self) -> Moment:
        return Moment(self._clock(), self._clock.steady_ms())

    # The file

    def _look(self) -> None:
        """Learn what another process has met, or this one before it was restarted."""
        if self._path is None:
            return
        try:
            seen = _identity(self._path)
            if seen == self._seen:
                return
            found = decoded(self._path.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, NoBars) as error:
            self._tell("bars not read", error)
            return
        self._seen, self._is_told = seen, False
        now = self._now()
        for bar in found:
            if self._bars.learn(bar, now):
                seconds = round(self._bars.left_ms(bar.what, bar.host, now.steady_ms) / 1000)
                log.warning("still barred", what=bar.what, host=bar.host, status=bar.status, seconds=seconds)

    async def _write(self, path: Path) -> None:
        while self._unwritten:
            self._unwritten = False
            self._look()  # what another process has put there stays
            holding = self._bars.holding(self._clock.steady_ms())
            try:
                await asyncio.to_thread(_replace, path, encoded(holding))
            except OSError as error:
                self._tell("bars not written", error)
                self._unwritten = True
                return
            self._is_told = False

    def _tell(self, event: str, error: Exception) -> None:
        """Once, until it works again."""
        tell = log.debug if self._is_told else log.warning
        tell(event, path=str(self._path), error=str(error), kept="in memory")
        self._is_told = True


def _identity(path: Path) -> Identity:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _replace(path: Path, contents: bytes) -> None:
    """Whole or not at all, whatever happens in between; as readable as its directory."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f"{BARS}.", dir=path.parent)
    fresh = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            owner = path.parent.stat()
            if owner.st_uid != os.geteuid():  # root may ask beside the server's user
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            file.write(contents)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        with suppress(OSError):
            fresh.unlink()
        raise
    sync_directory(path.parent)
