"""The records of one directory, whatever the disk does: readers counted, a broken handle opened anew.

Invariant: a write that failed is followed by none through the same handle, and no handle is closed while
somebody reads.

Thread-safety: `reading` and what is read within it may be used from any thread, everything else from one at a
time.
"""

import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from storage.errors import StoreLocked, StoreUnavailable
from storage.ledger_files import CHECKPOINTS, IMPORTS, NEW, copy, is_leveldb, leveldb_files, size_of
from storage.leveldb import Handle, Snapshot
from storage.opening import first_handle, handle_anew
from storage.reserve import keep_reserve, make_room
from storage.whole_files import sync_directory

CHECKPOINT_ATTEMPTS = 20
# What this process has open. LevelDB refuses a second opening too, but the files are looked at before that,
# and the system forgets this process' lock when it is asked about it.
_HELD: set[Path] = set()
_HELD_LOCK = threading.Lock()


class Database:
    """The records of one directory."""

    def __init__(self, handle: Handle, path: Path, damage: list[str]) -> None:
        """Use `Database.open`."""
        self.path = path
        self.damage = damage
        self._handle = handle
        self._broken = False
        self._closing = False
        self._closed = False
        self._held_up = False
        self._readers = 0
        self._changed = threading.Condition()

    @classmethod
    def open(cls, path: Path, *, create: bool = True) -> Self:
        """Open the directory, or, with `create`, make one where there is nothing.

        Raises `StoreLocked` when another process holds it, `CorruptRecord`, and `StoreUnavailable` for
        whatever else the disk says.
        """
        with _HELD_LOCK:
            if path.resolve() in _HELD:
                raise StoreLocked(f"{path} is open already")
            handle, damage = first_handle(path, create=create)
            _HELD.add(path.resolve())
        for left_over in (CHECKPOINTS, IMPORTS):
            shutil.rmtree(path / left_over, ignore_errors=True)
        return cls(handle, path, damage)

    def end_reading(self) -> None:
        """Refuse readers from now on, those under way at their next record."""
        self._closing = True

    def close(self) -> None:
        """Let go of the directory; readers are refused and waited for, and nothing is written any more."""
        self.end_reading()
        with self._changed:
            self._changed.wait_for(lambda: self._readers == 0)
        self._closed = True
        self._handle.close()
        with _HELD_LOCK:
            _HELD.discard(self.path.resolve())

    def settle(self) -> None:
        """Move what is in the log into a table: damage to a table shows, a log that was cut off does not."""
        if not self._broken:
            self._handle.settle()

    @property
    def is_new(self) -> bool:
        """Whether nothing was ever written."""
        return (self.path / NEW).exists()

    def begun(self) -> None:
        """The first records are on disk: from now on a database without them is a damaged one."""
        (self.path / NEW).unlink(missing_ok=True)
        sync_directory(self.path)

    # Reading

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Keeps the handle open meanwhile; waits while it is being opened anew."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held_up)
            self.refuse_when_closing()
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    def snapshot(self) -> Snapshot:
        """The records as of now, a context of its own; inside `reading`."""
        return self._handle.snapshot(self.refuse_when_closing)

    def refuse_when_closing(self) -> None:
        if self._closing:
            raise StoreUnavailable(f"{self.path} is closed")

    def get(self, key: bytes) -> bytes | None:
        """The value of a key; None where there is none."""
        return self._handle.get(key)

    # Writing

    def write(self, records: Mapping[bytes, bytes], removed: Sequence[bytes] = ()) -> None:
        """Put and delete in one synced batch, all or nothing. Raises `StoreUnavailable`.

        After a failure the handle is opened anew before the next write, once the disk takes bytes again:
        LevelDB goes on refusing by itself.
        """
        self.mend()
        try:
            self._handle.write(records, removed)
        except StoreUnavailable:
            self._broken = True
            raise

    def mend(self) -> None:
        """Open a broken handle anew, once there is room; readers finish first, and new ones wait."""
        if self._closed:
            raise StoreUnavailable(f"{self.path} is closed")
        if not self._broken:
            return
        make_room(self.path)
        with self._changed:
            self._held_up = True
            self._changed.wait_for(lambda: self._readers == 0)
        try:
            self._handle.close()
            self._handle = handle_anew(self.path)
            self._broken = False
        finally:
            with self._changed:
                self._held_up = False
                self._changed.notify_all()

    def keep_reserve(self) -> bool:
        """Set aside what a full disk is helped with, as far as there is room; whether some is there now."""
        return keep_reserve(self.path)

    def compact(self, first: bytes, stop: bytes) -> None:
        """Give the space of what was deleted in the range back; LevelDB does not do so by itself.

        A disk that refuses shows at the next write.
        """
        self.refuse_when_closing()
        self._handle.compact(first, stop)

    def bytes_between(self, first: bytes, stop: bytes) -> int:
        """About how many bytes of tables hold first <= key < stop; what is only in the log is left out."""
        with self.reading():
            return self._handle.bytes_between(first, stop)

    def bytes_on_disk(self) -> int:
        """The size of LevelDB's files."""
        try:
            with os.scandir(self.path) as entries:
                return sum(size_of(entry) for entry in entries if is_leveldb(entry.name))
        except OSError as error:
            raise StoreUnavailable(f"{self.path} cannot be looked into: {error.strerror}") from error

    def checkpoint(self, name: str) -> Path:
        """A copy as of now in `checkpoints/NAME` that opens as a ledger of its own.

        Tables never change, so they are linked; the manifest and the log are copied. Nothing writes
        meanwhile, but LevelDB may compact: then the manifest has changed, and the copy is made again.
        """
        target = self.path / CHECKPOINTS / name
        making = target.with_name(f"{name}.partial")
        try:
            for _ in range(CHECKPOINT_ATTEMPTS):
                shutil.rmtree(making, ignore_errors=True)
                making.mkdir(parents=True, mode=0o700)
                before = _manifest(self.path)
                with suppress(FileNotFoundError):
                    _copy_files(self.path, making)
                    if _manifest(self.path) == before:
                        return making.rename(target)
        except OSError as error:
            raise StoreUnavailable(f"{self.path}: no checkpoint: {error.strerror}") from error
        raise StoreUnavailable(f"{self.path}: no checkpoint: it was compacted all the while; try again")


def _manifest(path: Path) -> tuple[str, int]:
    """Which manifest is the current one and how long it is: it grows with every change of the files."""
    name = (path / "CURRENT").read_text().strip()
    return name, (path / name).stat().st_size


def _copy_files(path: Path, target: Path) -> None:
    for file in leveldb_files(path):
        copy(file, target)
