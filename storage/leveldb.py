"""LevelDB as the ledger uses it: reads verified, writes synced, its errors in our words.

Invariant: what `write` returned from is on disk; a read gives the very bytes that were written or raises.
This is the only file that imports plyvel.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import plyvel

from storage.errors import LEFT, CorruptRecord, StoreLocked, StoreUnavailable

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


class Snapshot:
    """The records as of one instant. Several may use it, each in a `with` of its own; the last ends it."""

    def __init__(self, snapshot: Any, before_each: Callable[[], None]) -> None:
        """`before_each` is called before each record that is read; what it raises ends the reading."""
        self._snapshot = snapshot
        self._before_each = before_each
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
                    self._before_each()
                    yield key, value
        except plyvel.CorruptionError as error:
            raise CorruptRecord(f"at or after {_shown(first)}: checksum differs; {LEFT}") from error
        except (plyvel.Error, RuntimeError) as error:
            raise StoreUnavailable(f"{_shown(first)} cannot be read: {error}") from error
        raise CorruptRecord(f"after {_shown(first)}: the ledger ends before its end sentinel; {LEFT}")


class Handle:
    """LevelDB on one directory, open until `close`; after a write that failed it takes no more."""

    def __init__(self, path: Path, *, create: bool) -> None:
        """Raises `StoreLocked`, `CorruptRecord`, and `StoreUnavailable` for whatever else LevelDB says."""
        self._path = path
        try:
            self._db: Any = plyvel.DB(str(path), create_if_missing=create, **OPTIONS)
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

    def close(self) -> None:
        self._db.close()

    def get(self, key: bytes) -> bytes | None:
        """The value of a key; None where there is none."""
        try:
            value: bytes | None = self._db.get(key, verify_checksums=True)
        except plyvel.CorruptionError as error:
            raise CorruptRecord(f"{_shown(key)}: checksum differs; {LEFT}") from error
        except (plyvel.Error, RuntimeError) as error:
            raise StoreUnavailable(f"{self._path} cannot be read: {error}") from error
        return value

    def snapshot(self, before_each: Callable[[], None]) -> Snapshot:
        """The records as of now; `before_each` is called before each one that is read."""
        try:
            return Snapshot(self._db.snapshot(), before_each)
        except RuntimeError as error:
            raise StoreUnavailable(f"{self._path} cannot be read: {error}") from error

    def write(self, records: Mapping[bytes, bytes], removed: Sequence[bytes] = ()) -> None:
        """Put and delete in one synced batch, all or nothing. Raises `StoreUnavailable`."""
        try:
            with self._db.write_batch(sync=True) as batch:
                for key in removed:
                    batch.delete(key)
                for key, value in records.items():
                    batch.put(key, value)
        except (plyvel.Error, RuntimeError) as error:
            raise StoreUnavailable(f"{self._path} cannot be written: {error}") from error

    def settle(self) -> None:
        """Move what is in the log into a table."""
        self._db.compact_range(start=b"\xff", stop=b"\xff\x00")

    def compact(self, first: bytes | None = None, stop: bytes | None = None) -> None:
        """Write the tables of the range, or all, anew. A disk that refuses shows at the next write."""
        try:
            self._db.compact_range(start=first, stop=stop)
        except (plyvel.Error, RuntimeError) as error:
            raise StoreUnavailable(f"{self._path} cannot be compacted: {error}") from error

    def bytes_between(self, first: bytes, stop: bytes) -> int:
        """About how many bytes of tables hold first <= key < stop; what is only in the log is left out."""
        return int(self._db.approximate_size(first, stop))


def repair_tables(path: Path) -> None:
    """Make a manifest anew from whatever tables and logs there are. Raises `StoreUnavailable`."""
    try:
        plyvel.repair_db(str(path), **OPTIONS)
    except plyvel.Error as error:
        raise StoreUnavailable(f"{path} cannot be repaired: {error}") from error


def _shown(key: bytes) -> str:
    return key.decode(errors="backslashreplace")
