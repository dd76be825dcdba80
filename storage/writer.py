"""Writes to a ledger's database, and changes of its memory that show together with them.

Invariant: who looks sees disk and memory both before a change or both after it, and nobody waits for the disk
while it is written. One write at a time; `instant` may be asked from any thread.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from storage.database import Database
from storage.errors import StoreUnavailable
from storage.leveldb import Snapshot

T = TypeVar("T")


class Writer:
    """What writes to the database, and knows how the last write went."""

    def __init__(self, database: Database, lock: threading.Lock) -> None:
        """`lock` guards the memory that `replace` changes."""
        self.error: str | None = None
        self._database = database
        self._lock = lock
        self._before: Snapshot | None = None

    def write(self, records: Mapping[bytes, bytes], removed: Sequence[bytes] = ()) -> None:
        """One synced batch. Raises `StoreUnavailable`, which `error` says until a write succeeds."""
        try:
            self._database.write(records, removed)
        except StoreUnavailable as error:
            self.error = str(error)
            raise
        self.error = None

    def replace(
        self, records: Mapping[bytes, bytes], removed: Sequence[bytes], settle: Callable[[], None]
    ) -> None:
        """Write, then `settle` the memory accordingly, the lock held.

        Raises `StoreUnavailable` also once the ledger is being closed.
        """
        self._database.refuse_when_closing()
        self._database.mend()
        with self._database.snapshot() as before:
            self._show(before)
            try:
                self.write(records, removed)
            except BaseException:
                self._show(None)
                raise
            with self._lock:
                settle()
                self._before = None

    def _show(self, before: Snapshot | None) -> None:
        """From now on the disk is seen as it was `before`; None: as it is."""
        with self._lock:
            self._before = before

    @contextmanager
    def instant(self, look: Callable[[], T]) -> Iterator[tuple[Snapshot, T]]:
        """The records, and what `look` finds in memory with the lock held, both as of one instant."""
        with self._database.reading(), ExitStack() as stack:
            with self._lock:
                stored = stack.enter_context(self._before or self._database.snapshot())
                seen = look()
            yield stored, seen
