"""Old hours off the disk and out of memory, and which ones would make so much room.

Invariant: an hour goes whole, with all that was kept of it, and whoever looks sees all of it or nothing. For
one thread at a time, which alone writes.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from storage import keys
from storage.database import Database
from storage.notes import Notes
from storage.records import pack_state
from storage.recovery import stored_rows
from storage.retention import Expired, expiry_of
from storage.tapes import Tapes
from storage.writer import Writer


class Expirer:
    """Deletes hours of a ledger's tapes, and the notes about them."""

    def __init__(self, database: Database, writer: Writer, tapes: Tapes, notes: Notes) -> None:
        self._database = database
        self._writer = writer
        self._tapes = tapes
        self._notes = notes

    def expire(self, before_ms: int, gone: Callable[[Expired], object]) -> list[Expired]:
        """Delete the hours that end at or before `before_ms`, and give their space back; what went.

        `gone` is told of each symbol's as soon as it has gone. Raises `StoreUnavailable`.
        """
        with self._tapes.lock:
            symbols = list(self._tapes)
        went = [what for symbol in symbols if (what := self._expire(symbol, before_ms, gone))]
        outdated = self._outdated(before_ms)
        if outdated:
            self._writer.write({}, outdated)
        with self._tapes.lock:
            self._notes.forget(outdated)
        return went

    def _expire(self, symbol: str, before_ms: int, gone: Callable[[Expired], object]) -> Expired | None:
        tape = self._tapes.of(symbol)
        with self._tapes.lock:
            hours = tape.hours_before(before_ms)
            if not hours:
                return None
            tape.settle_before(hours)
            seen = tape.copied()
        expiry = expiry_of(symbol, seen, hours, partial(stored_rows, self._database, symbol))
        state = replace(seen.state, expired=expiry.expired)
        settle = partial(tape.let_go, seen, hours, expiry.expired)
        self._writer.replace({keys.state(symbol): pack_state(state)}, expiry.removed, settle)
        gone(expiry.what)
        for family in keys.SEALED_FAMILIES:
            first, _ = keys.span(family, symbol)
            self._database.compact(first, first + f"{before_ms:013d}".encode())
        return expiry.what

    def _outdated(self, before_ms: int) -> list[bytes]:
        """Damaged records and conflicts of hours that have expired."""
        with self._database.reading(), self._database.snapshot() as snapshot:
            found = [
                key for family in ("conflict", "lost") for key, _ in snapshot.records(*keys.span(family))
            ]
        return [key for key in found if _ends_by(key, before_ms)]

    def oldest_worth(self, excess: int) -> int | None:
        """The end of the oldest sealed hours whose records hold `excess` bytes together; None without any.

        The newest hour of all is not among them.
        """
        with self._tapes.lock:
            tapes = self._tapes.items()
            newest = max((hour_ms for _, tape in tapes for hour_ms in tape.hours()), default=0)
            sealed = sorted(
                (hour_ms, symbol, part)
                for symbol, tape in tapes
                for hour_ms, parts in tape.sealed.items()
                for part in parts
                if hour_ms < newest
            )
        before_ms = None
        for hour_ms, symbol, part in sealed:
            if excess <= 0 and before_ms is not None and hour_ms >= before_ms:
                break
            names = (key(symbol, hour_ms, part) for key in (keys.block, keys.rollup, keys.candles))
            excess -= sum(len(self._database.get(name) or b"") for name in names)
            before_ms = hour_ms + keys.HOUR_MS
        return before_ms


def _ends_by(key: bytes, before_ms: int) -> bool:
    """Whether the hour in the key ends at or before that time."""
    name = keys.parsed(key)
    return name is not None and name.hour_ms is not None and name.hour_ms + keys.HOUR_MS <= before_ms
