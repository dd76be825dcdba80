"""LevelDB in one directory, made safe: guarded opening, verified reads, synced writes, checkpoints.

Invariant: what `write` returned from is on disk; a read gives the very bytes that were written or raises.
This is the only file that knows LevelDB.

Thread-safety: `reading` and what is read within it may be used from any thread, everything else from one at a
time.
"""

import errno
import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import plyvel

from storage.errors import LEFT, CorruptRecord, StoreLocked, StoreUnavailable
from storage.ledger_files import (
    CHECKPOINTS,
    IMPORTS,
    NEW,
    PROBE,
    RESERVE,
    copy,
    damaged_logs,
    is_leveldb,
    is_locked,
    leveldb_files,
    mend_logs,
    refuse_damage,
    set_aside,
)
from storage.whole_files import sync_directory

# Values are dense, so compression costs CPU and gains little; reads are ranges, so a Bloom filter and a
# large cache do nothing.
WRITE_BUFFER_BYTES = 8 << 20
# Without paranoid checks LevelDB verifies neither a table's index nor what it compacts: damage would be
# written anew, with a checksum that fits.
OPTIONS = {
    "compression": None,
    "write_buffer_size": WRITE_BUFFER_BYTES,
    "lru_cache_size": 8 << 20,
    "paranoid_checks": True,
}

RESERVE_BYTES = 64 << 20
RESERVE_SHARE = 16
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# A broken handle is opened anew only once so much can be written: opening makes tables of the logs, and this
# much more is for a manifest and the first batches.
PROBE_BYTES = 1 << 20
CHECKPOINT_ATTEMPTS = 20
# What this process has open. LevelDB refuses a second opening too, but the files are looked at before that,
# and the system forgets this process' lock when it is asked about it.
_HELD: set[Path] = set()
_HELD_LOCK = threading.Lock()


class Snapshot:
    """The records as of one instant. Several may use it, each in a `with` of its own; the last ends it."""

    def __init__(self, snapshot: Any, database: "Database") -> None:
        self._snapshot = snapshot
        self._database = database
        self._users = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        with self._lock:
            self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
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
            raise CorruptRecord(f"at or after {_shown(first)}: checksum differs; {LEFT}") from error
        except (plyvel.Error, RuntimeError) as error:
            raise StoreUnavailable(f"{_shown(first)} cannot be read: {error}") from error
        raise CorruptRecord(f"after {_shown(first)}: the ledger ends before its end sentinel; {LEFT}")


class Database:
    """The records of one directory."""

    def __init__(self, handle: Any, path: Path, damage: list[str]) -> None:
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
            _refuse_locked(path)
            empty = _is_empty(path, create=create)
            _make_private(path)
            damage = [] if empty else _mended(path, checksums=False)
            handle = _first_handle(path, create=create and empty, damage=damage)
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
            self._handle.compact_range(start=b"\xff", stop=b"\xff\x00")

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
            raise CorruptRecord(f"{_shown(key)}: checksum differs; {LEFT}") from error
        except (plyvel.Error, RuntimeError) as error:
            raise StoreUnavailable(f"{self.path} cannot be read: {error}") from error
        return value

    # Writing

    def write(self, records: Mapping[bytes, bytes], removed: Sequence[bytes] = ()) -> None:
        """Put and delete in one synced batch, all or nothing. Raises `StoreUnavailable`.

        After a failure the handle is opened anew before the next write, once the disk takes bytes again:
        LevelDB goes on refusing by itself.
        """
        self.mend()
        try:
            with self._handle.write_batch(sync=True) as batch:
                for key in removed:
                    batch.delete(key)
                for key, value in records.items():
                    batch.put(key, value)
        except (plyvel.Error, RuntimeError) as error:
            self._broken = True
            raise StoreUnavailable(f"{self.path} cannot be written: {error}") from error

    def mend(self) -> None:
        """Open a broken handle anew, once there is room; readers finish first, and new ones wait."""
        if self._closed:
            raise StoreUnavailable(f"{self.path} is closed")
        if not self._broken:
            return
        _make_room(self.path)
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

    def keep_reserve(self) -> bool:
        """Set aside what a full disk is helped with, as far as there is room; whether some is there now."""
        reserve = self.path / RESERVE
        try:
            with reserve.open("ab") as file:
                there = os.fstat(file.fileno()).st_size
                wanted = min(RESERVE_BYTES, (shutil.disk_usage(self.path).free + there) // RESERVE_SHARE)
                if there < wanted:
                    os.posix_fallocate(file.fileno(), 0, wanted)
        except OSError:
            return False
        return True

    def compact(self, first: bytes, stop: bytes) -> None:
        """Give the space of what was deleted in the range back; LevelDB does not do so by itself.

        A disk that refuses shows at the next write.
        """
        self.refuse_when_closing()
        try:
            self._handle.compact_range(start=first, stop=stop)
        except (plyvel.Error, RuntimeError) as error:
            raise StoreUnavailable(f"{self.path} cannot be compacted: {error}") from error

    def bytes_between(self, first: bytes, stop: bytes) -> int:
        """About how many bytes of tables hold first <= key < stop; what is only in the log is left out."""
        with self.reading():
            return int(self._handle.approximate_size(first, stop))

    def bytes_on_disk(self) -> int:
        """The size of LevelDB's files."""
        try:
            with os.scandir(self.path) as entries:
                return sum(_size(entry) for entry in entries if is_leveldb(entry.name))
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


def repair(path: Path) -> None:
    """Make LevelDB's files consistent again with what is sound in them; the rest of them is given up.

    Its logs must be sound already: LevelDB would take damaged records over as they are. Tables come out in an
    order in which single records may be read stale, so all are compacted.
    """
    try:
        plyvel.repair_db(str(path), **OPTIONS)
    except plyvel.Error as error:
        raise StoreUnavailable(f"{path} cannot be repaired: {error}") from error
    shutil.rmtree(path / "lost", ignore_errors=True)
    handle = _open_handle(path, create=False)
    handle.compact_range()
    handle.close()


def _open_handle(path: Path, *, create: bool, damage: list[str] | None = None) -> Any:
    """LevelDB's handle. A damaged log is mended first; what was done is added to `damage`."""
    try:
        return _handle(path, create=create)
    except CorruptRecord:
        mended = _mended(path, checksums=True)
        if not mended:
            raise
        if damage is not None:
            damage += mended
        return _handle(path, create=create)


def _first_handle(path: Path, *, create: bool, damage: list[str]) -> Any:
    """The handle; a full disk is given the reserve first, since opening writes."""
    try:
        return _open_handle(path, create=create, damage=damage)
    except StoreUnavailable:
        if create:
            raise
        _make_room(path)
        return _open_handle(path, create=create, damage=damage)


def _refuse_locked(path: Path) -> None:
    if is_locked(path):
        raise StoreLocked(f"{path} is open in another process; stop it or choose another TAPEDECK_DATA_DIR")


def _handle(path: Path, *, create: bool) -> Any:
    try:
        return plyvel.DB(str(path), create_if_missing=create, **OPTIONS)
    except plyvel.IOError as error:
        if "lock" in str(error).lower():
            raise StoreLocked(
                f"{path} is open in another process; stop it or choose another TAPEDECK_DATA_DIR"
            ) from error
        raise StoreUnavailable(f"{path} cannot be opened: {error}") from error
    except plyvel.CorruptionError as error:
        raise CorruptRecord(f"{path} is damaged: {error}; {LEFT}") from error
    except plyvel.Error as error:
        raise StoreUnavailable(f"{path} cannot be opened: {error}") from error


def _mended(path: Path, *, checksums: bool) -> list[str]:
    """Damaged logs are set aside and what is sound of them is kept; what was done."""
    try:
        refuse_damage(path)
        logs = damaged_logs(path, checksums=checksums)
        if not logs:
            return []
        kept = set_aside(path, logs)
        mend_logs(logs)
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be used: {error.strerror}") from error
    return [f"{log.name} was damaged: what is sound of it was kept, the whole is in {kept}" for log in logs]


def _is_empty(path: Path, *, create: bool) -> bool:
    """Whether the directory holds no database. One is created only where nothing is: on a directory that
    lost its CURRENT file, LevelDB would start an empty database and delete the data."""
    try:
        if create:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        present = {file.name for file in leveldb_files(path)}
        if create and not present:
            (path / NEW).touch(mode=0o600)
    except OSError as error:
        raise StoreUnavailable(
            f"{path} cannot be used: {error.strerror}; choose another TAPEDECK_DATA_DIR"
        ) from error
    begun = (path / NEW).exists() and not any(name.endswith(".ldb") for name in present)
    if present and "CURRENT" not in present and not begun:
        raise StoreUnavailable(
            f"{path} has files but no CURRENT, so it is no ledger or a damaged one; nothing was touched. "
            "`tapedeck verify --repair` brings a ledger back"
        )
    return "CURRENT" not in present


def _make_private(path: Path) -> None:
    """Only the user may look into the directory; on a medium that cannot be written it stays as it is."""
    with suppress(OSError):
        path.chmod(0o700)
        for file in path.iterdir():
            if file.is_file():
                file.chmod(0o600)


def _make_room(path: Path) -> None:
    """Raises `StoreUnavailable` where the disk takes no bytes; a full one is given the reserve."""
    try:
        _probe(path)
    except OSError as error:
        if error.errno not in DISK_FULL or not _given_up(path / RESERVE):
            raise StoreUnavailable(f"{path} cannot be written: {error.strerror}") from error
        _make_room(path)


def _given_up(reserve: Path) -> bool:
    try:
        reserve.unlink()
    except OSError:
        return False
    return True


def _probe(path: Path) -> None:
    """Raises `OSError` where the disk does not take durably what opening the database writes."""
    probe = path / PROBE
    with os.scandir(path) as entries:
        logs = sum(_size(entry) for entry in entries if entry.name.endswith(".log"))
    try:
        with probe.open("wb") as file:
            file.write(bytes(logs + PROBE_BYTES))
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
    for file in leveldb_files(path):
        copy(file, target)


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:  # compacted away meanwhile
        return 0


def _shown(key: bytes) -> str:
    return key.decode(errors="backslashreplace")
