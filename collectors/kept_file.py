"""A small file beside the ledger, by which the next process, or another one, knows what this one has met.

Invariant: one that cannot be read or written is told of and stops nothing, and the event loop never waits
for it to be written.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import structlog

from storage.whole_files import put

log = structlog.get_logger()

T = TypeVar("T")

Identity = tuple[int, int, int]


class KeptFile(Generic[T]):
    """JSON of the type `form`, for people to read too; without a `path` there is none. `contents` says what
    is to be in it, and is asked when it is about to be written."""

    def __init__(self, path: Path | None, what: str, form: type[T], contents: Callable[[], T]) -> None:
        self._path = path
        self._what = what
        self._decoder = msgspec.json.Decoder(form)
        self._contents = contents
        self._seen: Identity | None = None
        self._is_told = False
        self._unwritten = False
        self._writing: asyncio.Task[None] | None = None

    def news(self) -> T | None:
        """What it says, where that has changed since the last call; None too where it cannot be read."""
        if self._path is None:
            return None
        try:
            seen = _identity(self._path)
            if seen == self._seen:
                return None
            found = self._decoder.decode(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._tell(f"{self._what} not read", error)
            return None
        self._seen, self._is_told = seen, False
        return found

    def keep(self) -> None:
        """Have the contents of by then written, at once or after the write that is under way."""
        self._unwritten = True
        self.retry()

    def retry(self) -> None:
        """Begin to write what it does not say yet, after a disk that refused, too."""
        is_writing = self._writing is not None and not self._writing.done()
        if self._unwritten and self._path is not None and not is_writing:
            self._writing = asyncio.get_running_loop().create_task(self._write(self._path))

    async def written(self, within_s: float | None = None) -> None:
        """Wait until it says what is known, or cannot; for so long at most."""
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=within_s)

    async def _write(self, path: Path) -> None:
        while self._unwritten:
            self._unwritten = False
            contents = msgspec.json.format(msgspec.json.encode(self._contents())) + b"\n"
            try:
                await asyncio.to_thread(_put, path, contents)
            except OSError as error:
                self._tell(f"{self._what} not written", error)
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


def _put(path: Path, contents: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    put(path, contents, private=True)
