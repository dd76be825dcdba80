"""LevelDB in one directory, made safe: guarded opening, verified reads, synced writes, checkpoints.

Invariant: what `write` returned from is on disk; a read gives the very bytes that were written or raises.
This is the only file that knows LevelDB.

Thread-safety: `reading` and what is read within it may be used from any thread, everything else from one at a
time.
"""

import fcntl
import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import plyvel

from storage.errors import CorruptRecord, StoreLocked, StoreUnavailable

# Values are dense, so compression costs CPU and gains little; reads are ranges, so a Bloom filter and a
# large cache do nothing.
WRITE_BUFFER_BYTES = 8 << 20
OPTIONS = {"compression": None, "write_buffer_size": WRITE_BUFFER_BYTES, "lru_cache_size": 8 << 20}

# Given up when the disk is full: LevelDB needs room even to delete, and recording goes on in it for days.
RESERVE = "RESERVE"
RESERVE_BYTES = 64 << 20
RESERVE_SHARE = 16
# A broken handle is opened anew only once so much can be written: LevelDB's log buffer and a manifest.
PROBE = "PROBE"
PROBE_BYTES = WRITE_BUFFER_BYTES // 4
CHECKPOINTS = "checkpoints"
IMPORTS = "imports"
# Ours in LevelDB's directory, or of no consequence: a directory with nothing else is empty.
NOT_LEVELDB = {"LOCK", "LOG", "LOG.old", "lost+found", RESERVE, PROBE, CHECKPOINTS, IMPORTS}
CHECKPOINT_ATTEMPTS = 20


class Snapshot:
    """The records as of one instant."""

    def __init__(self, snapshot: Any, database: "Database") -> None:
        self._snapshot = snapshot
        self._database = database

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._snapshot.close()

    def records(self, first: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The records with first <= key < stop, in key order.

        LevelDB ends an iteration early and silently when the last block is damaged, so the iterator runs on
        to a key beyond the range: the end sentinel stands behind every other key.
        """
        try:
            with self._snapshot.iterator(start=first, verify_checksums=True, fill_cache=False) as iterator:
                for key, value in iterator:
                    if key >= stop:
                        return
                    self._database.refuse_when_closing()
                    yield key, value
        except plyvel.CorruptionError as error:
            raise CorruptRecord(f"at or after {first.decode()}: checksum differs; left in place") from error
        except plyvel.Error as error:
            raise StoreUnavailable(f"{first.decode()} cannot be read: {error}") from error
        raise CorruptRecord(f"after {first.decode()}: the ledger ends before its end sentinel; left in place")


class Database:
    """The records of one directory."""

    def __init__(self, handle: Any, path: Path) -> None:
        """Use `Database.open`."""
        self.path = path
        self._handle = handle
        self._broken = False
        self._closing = False
        self._held_up = False
        self._readers = 0
        self._changed = threading.Condition()

    @classmethod
    def open(cls, path: Path, *, create: bool = True) -> Self:
        """Open the directory, or, with `create`, make one where there is nothing.

        Raises `StoreLocked` when another process holds it, `CorruptRecord`, and `StoreUnavailable` for
        whatever else the disk says.
        """
        present = _files_in(path, create=create)
        _make_private(path)
        handle = _open_handle(path, create=create and not present)
        for left_over in (CHECKPOINTS, IMPORTS):
            shutil.rmtree(path / left_over, ignore_errors=True)
        return cls(handle, path)

    def close(self) -> None:
        """Let go of the directory; readers are refused at their next record and waited for."""
        with self._changed:
            self._closing = True
            self._changed.wait_for(lambda: self._readers == 0)
        self._handle.close()

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

    def snapshot(self) -> "Snapshot":
        """The records as of now, a context of its own; inside `reading`."""
        try:
            return Snapshot(self._handle.snapshot(), self)
        except RuntimeError as error:
            raise StoreUnavailable(f"{self.path} cannot be read: {error}") from error

    def refuse_when_closing(self) -> None:
        if self._closing:
            raise StoreUnavailable(f"{self.path} is closed")

    def get(self, key: bytes) -> bytes | None:
        """The value of a key; None where there is none."""
        try:
            value: bytes | None = self._handle.get(key, verify_checksums=True)
        except plyvel.CorruptionError as error:
            raise CorruptRecord(f"{key.decode()}: checksum differs; left in place") from error
        except (plyvel.Error, RuntimeError) as error:
            raise StoreUnavailable(f"{self.path} cannot be read: {error}") from error
        return value

    # Writing

    def write(self, records: Mapping[bytes, bytes], removed: Sequence[bytes] = ()) -> None:
        """Put and delete in one synced batch, all or nothing. Raises `StoreUnavailable`.

        After a failure the handle is opened anew before the next write, once the disk takes bytes again:
        LevelDB goes on refusing by itself.
        """
        if self._broken:
            self._mend()
        try:
            with self._handle.write_batch(sync=True) as batch:
                for key in removed:
                    batch.delete(key)
                for key, value in records.items():
                    batch.put(key, value)
        except (plyvel.Error, RuntimeError) as error:
            self._broken = True
            raise StoreUnavailable(f"{self.path} cannot be written: {error}") from error

    def _mend(self) -> None:
        """Open the handle anew, once there is room; readers finish first, and new ones wait."""
        self._make_room()
        with self._changed:
            self._held_up = True
            self._changed.wait_for(lambda: self._readers == 0)
        try:
            self._handle.close()
            self._handle = _open_handle(self.path, create=False)
            self._broken = False
        finally:
            with self._changed:
                self._held_up = False
                self._changed.notify_all()

    def _make_room(self) -> None:
        """Raises `StoreUnavailable` where the disk takes no bytes; a full one is given the reserve."""
        try:
            _probe(self.path)
        except OSError as error:
            reserve = self.path / RESERVE
            if not reserve.exists():
                raise StoreUnavailable(f"{self.path} cannot be written: {error.strerror}") from error
            with suppress(OSError):
                reserve.unlink()
            self._make_room()

    def keep_reserve(self) -> bool:
        """Set aside what a full disk is helped with, where there is room for it; whether it is there now."""
        reserve = self.path / RESERVE
        if reserve.exists():
            return True
        try:
            wanted = min(RESERVE_BYTES, shutil.disk_usage(self.path).free // RESERVE_SHARE)
            with reserve.open("xb") as file:
                os.posix_fallocate(file.fileno(), 0, wanted)
        except OSError:
            with suppress(OSError):
                reserve.unlink()
            return False
        return True

    def compact(self, first: bytes, stop: bytes) -> None:
        """Give the space of what was deleted in the range back; LevelDB does not do so by itself."""
        self._handle.compact_range(start=first, stop=stop)

    def bytes_on_disk(self) -> int:
        """The size of LevelDB's files."""
        names = (entry for entry in os.scandir(self.path) if entry.name not in NOT_LEVELDB)
        return sum(_size(entry) for entry in names)

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


def is_locked(path: Path) -> bool:
    """Whether another process has the directory open. Not for the process that has it open itself: asking
    would release its lock."""
    try:
        with (path / "LOCK").open("r+b") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _open_handle(path: Path, *, create: bool) -> Any:
    try:
        return plyvel.DB(str(path), create_if_missing=create, **OPTIONS)
    except plyvel.IOError as error:
        if "lock" in str(error).lower():
            raise StoreLocked(
                f"{path} is open in another process; stop it or choose another TAPEDECK_DATA_DIR"
            ) from error
        raise StoreUnavailable(f"{path} cannot be opened: {error}") from error
    except plyvel.CorruptionError as error:
        raise CorruptRecord(f"{path} is damaged: {error}; left in place") from error
    except plyvel.Error as error:
        raise StoreUnavailable(f"{path} cannot be opened: {error}") from error


def _files_in(path: Path, *, create: bool) -> set[str]:
    """LevelDB's files in the directory. It is created only where nothing is: on a directory that lost its
    CURRENT file, LevelDB would start an empty database and delete the data."""
    try:
        if create:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        present = {entry.name for entry in path.iterdir()} - NOT_LEVELDB
    except OSError as error:
        raise StoreUnavailable(
            f"{path} cannot be used: {error.strerror}; choose another TAPEDECK_DATA_DIR"
        ) from error
    if present and "CURRENT" not in present:
        raise StoreUnavailable(
            f"{path} has files but no CURRENT, so it is no ledger or a damaged one; nothing was touched"
        )
    return present


def _make_private(path: Path) -> None:
    """Only the user may look into the directory; on a medium that cannot be written it stays as it is."""
    with suppress(OSError):
        path.chmod(0o700)
        for file in path.iterdir():
            if file.is_file():
                file.chmod(0o600)


def _probe(path: Path) -> None:
    """Raises `OSError` where the disk does not take some bytes durably."""
    probe = path / PROBE
    try:
        with probe.open("wb") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    finally:
        with suppress(OSError):
            probe.unlink()


def _manifest(path: Path) -> tuple[str, int]:
    """Which manifest is the current one and how long it is: it grows with every change of the files."""
    name = (path / "CURRENT").read_text().strip()
    return name, (path / name).stat().st_size


def _copy_files(path: Path, target: Path) -> None:
    for file in sorted(path.iterdir()):
        if file.name in NOT_LEVELDB:
            continue
        if file.suffix in (".ldb", ".sst"):
            (target / file.name).hardlink_to(file)
        else:
            shutil.copyfile(file, target / file.name)


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:  # compacted away meanwhile
        return 0
