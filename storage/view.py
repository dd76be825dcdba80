"""What one question sees of the ledger: the rows of a window, their histogram, and what is missing.

Invariant: everything that a view answers is as of the instant it was made.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np

from storage import keys
from storage.codec import decode_stored
from storage.held_ids import Run, gaps_between, uncovered_ms
from storage.trades import Coverage, Gap, PriceHistogram, TradeColumns

# A live link that is silent for this long still counts as up to date.
GRACE_MS = 5_000

# The records with first <= key < stop, in key order.
Stored = Callable[[bytes, bytes], Iterator[tuple[bytes, bytes]]]


class LedgerView:
    """One symbol as of one instant: the rows on disk and those still in memory.

    Made by `TradeLedger.view`. Not for use by several threads.
    """

    def __init__(self, symbol: str, runs: tuple[Run, ...], unwritten: TradeColumns, stored: Stored) -> None:
        self._symbol = symbol
        self._unwritten = unwritten
        self._stored = stored
        self._read: tuple[tuple[int, int], list[TradeColumns]] | None = None
        self.runs = runs

    def chunks(self, start_ms: int, end_ms: int) -> list[TradeColumns]:
        """The rows with start_ms <= T < end_ms, an hour a chunk, ids ascending within each."""
        if self._read is None or self._read[0] != (start_ms, end_ms):
            hours = self._stored_hours(start_ms, end_ms)
            for hour, rows in _by_hour(self._unwritten.within(start_ms, end_ms)):
                hours[hour] = TradeColumns.concat([hours.get(hour, TradeColumns.empty()), rows]).by_id()
            parts = [hours[hour].within(start_ms, end_ms) for hour in sorted(hours)]
            self._read = (start_ms, end_ms), [part for part in parts if len(part)]
        return self._read[1]

    def _stored_hours(self, start_ms: int, end_ms: int) -> dict[int, TradeColumns]:
        """The rows on disk of all seconds that touch the window, by hour."""
        first = keys.trades(self._symbol, keys.second_of(start_ms))
        stop = keys.trades(self._symbol, keys.second_of(end_ms - 1) + keys.SECOND_MS)
        records = groupby(self._stored(first, stop), key=lambda record: keys.hour_in(record[0]))
        return {hour: decode_stored([value for _, value in batches], first) for hour, batches in records}

    def trades(self, start_ms: int, end_ms: int) -> TradeColumns:
        """The rows with start_ms <= T < end_ms in id order."""
        return TradeColumns.concat(self.chunks(start_ms, end_ms)).by_id()

    def histogram(self, start_ms: int, end_ms: int) -> PriceHistogram:
        """Quantity at each exact price over [start_ms, end_ms)."""
        return PriceHistogram.merge([PriceHistogram.of(chunk) for chunk in self.chunks(start_ms, end_ms)])

    def coverage(self, start_ms: int, end_ms: int, live_until_ms: int | None = None) -> Coverage:
        """Which trades of [start_ms, end_ms) are held and which are missing: definitions.md section 6.

        `live_until_ms` is the time of the last event of a live link that carries the symbol; None where
        there is no such link.
        """
        chunks = self.chunks(start_ms, end_ms)
        runs = _up_to_date(self.runs, end_ms, live_until_ms)
        gaps = tuple(
            gap for gap in gaps_between(self.runs) if gap.after_ms < end_ms and gap.before_ms >= start_ms
        )
        valid = sum(int(chunk.valid.sum()) for chunk in chunks)
        first = min(chunks, key=lambda chunk: int(chunk.id[0]), default=None)
        last = max(chunks, key=lambda chunk: int(chunk.id[-1]), default=None)
        inside = [] if first is None or last is None else _clip(gaps, int(first.id[0]), int(last.id[-1]))
        return Coverage(
            start_ms,
            end_ms,
            trades=valid,
            missing=sum(inside),
            certified=sum(len(chunk) for chunk in chunks) - valid,
            gaps=gaps,
            first_ms=int(first.time_ms[0]) if first is not None else None,
            last_ms=int(last.time_ms[-1]) if last is not None else None,
            first_id=int(first.id[0]) if first is not None else None,
            last_id=int(last.id[-1]) if last is not None else None,
            uncovered_ms=uncovered_ms(runs, start_ms, end_ms),
        )


def _by_hour(trades: TradeColumns) -> Iterator[tuple[int, TradeColumns]]:
    """The rows of each hour that has any."""
    hours = trades.time_ms // keys.HOUR_MS
    for hour in np.unique(hours).tolist():
        yield hour, trades.take(hours == hour)


def _up_to_date(runs: tuple[Run, ...], end_ms: int, live_until_ms: int | None) -> tuple[Run, ...]:
    """The runs with the newest one reaching as far as a live link vouches for it."""
    if not runs or live_until_ms is None:
        return runs
    *older, newest = runs
    known_ms = max(newest.last_ms, live_until_ms)
    if end_ms - known_ms <= GRACE_MS:
        known_ms = max(known_ms, end_ms)
    return (*older, Run(newest.first_id, newest.last_id, newest.first_ms, known_ms))


def _clip(gaps: Sequence[Gap], first_id: int, last_id: int) -> list[int]:
    """How many ids of each gap lie within first_id..last_id."""
    return [max(0, min(gap.last_id, last_id) - max(gap.first_id, first_id) + 1) for gap in gaps]
