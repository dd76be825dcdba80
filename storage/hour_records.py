"""Sealed hours as a question reads them: rollups in memory, and the blocks and candles that they speak of.

Invariant: a record counts only where a rollup speaks of it, and one that contradicts its rollup is damage.
What was worked out of an hour is kept under its digests, which say all that it depends on.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from storage import keys
from storage.blocks import Block, decode_block
from storage.candle_records import decode_candles
from storage.candles import MinuteCandles
from storage.errors import LEFT, CorruptRecord, LedgerError
from storage.histograms import PriceHistogram
from storage.recent import WorkedOut
from storage.rollups import Rollup
from storage.trades import TradeColumns

T = TypeVar("T")

# The records with first <= key < stop, in key order.
Stored = Callable[[bytes, bytes], Iterator[tuple[bytes, bytes]]]


def interruptible(stored: Stored, before_each: Callable[[], None]) -> Stored:
    """The records, with a call before each: what it raises ends the reading."""

    def records(first: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        for record in stored(first, stop):
            before_each()
            yield record

    return records


class HourRecords:
    """One symbol's sealed hours as of one instant; an hour is named by its start in UTC milliseconds."""

    def __init__(
        self,
        symbol: str,
        rollups: Mapping[int, Mapping[int, Rollup]],
        stored: Stored,
        worked_out: WorkedOut,
    ) -> None:
        """`rollups` by hour and part."""
        self._symbol = symbol
        self._rollups = rollups
        self._stored = stored
        self._worked_out = worked_out

    def rows(self, hour_ms: int) -> TradeColumns:
        """All rows of an hour's blocks, not in order; kept for windows that cut it, as they do again soon."""
        return self._worked_out.rows.of(
            (self._symbol, hour_ms, self._digests([hour_ms])),
            lambda: TradeColumns.concat(list(self.blocks([hour_ms], Block.trades))),
        )

    def histograms(self, hour_ms: int) -> list[PriceHistogram]:
        """Those of an hour's rollups."""
        found = []
        for part, rollup in self._rollups.get(hour_ms, {}).items():
            try:
                found.append(rollup.histogram)
            except CorruptRecord as error:
                name = keys.rollup(self._symbol, hour_ms, part).decode()
                raise CorruptRecord(f"{name}: {error}; {LEFT}") from error
        return found

    def is_binned(self, hour_ms: int) -> bool:
        """Whether the rollups of an hour do not tell its exact prices."""
        return any(part.bin_int is not None for part in self.histograms(hour_ms))

    def sum_of(self, hours: Sequence[int]) -> PriceHistogram:
        """The histograms of hours together; kept, since a window that moves on holds the same whole hours for
        an hour."""
        return self._worked_out.histograms.of(
            (self._symbol, *self._digests(hours)),
            lambda: PriceHistogram.merge([part for hour_ms in hours for part in self.histograms(hour_ms)]),
        )

    def candles(self, hour_ms: int) -> MinuteCandles | None:
        """Those of an hour's blocks; None unless every block has its own, and they can be read."""
        if hour_ms not in self._rollups:
            return MinuteCandles.merge([])
        try:
            return self._worked_out.candles.of(
                (self._symbol, hour_ms, self._digests([hour_ms])), lambda: self._read_candles(hour_ms)
            )
        except CorruptRecord:
            return None

    def _read_candles(self, hour_ms: int) -> MinuteCandles:
        """The candles on disk. Raises `CorruptRecord` where they are not those of all parts of the hour."""
        first, stop = keys.candles(self._symbol, hour_ms), keys.candles(self._symbol, hour_ms + keys.HOUR_MS)
        rollups = self._rollups.get(hour_ms, {})
        kept = {
            part: decode_candles(value, hour_ms)
            for _, part, value in self._parts(first, stop)
            if part in rollups
        }
        counted = {part: int(candles.trades.sum()) for part, candles in kept.items()}
        if counted != {part: rollup.valid for part, rollup in rollups.items()}:
            raise CorruptRecord(f"candles of {counted} trades by part beside rollups of others")
        return MinuteCandles.merge(list(kept.values()))

    def blocks(self, hours: Sequence[int], decode: Callable[[Block], T]) -> Iterator[T]:
        """The blocks that the rollups of these hours, ascending, speak of, as `decode` reads them; a block
        without a rollup does not count."""
        rollups = {
            (hour_ms, part): rollup for hour_ms in hours for part, rollup in self._rollups[hour_ms].items()
        }
        first, stop = keys.block(self._symbol, hours[0]), keys.block(self._symbol, hours[-1] + keys.HOUR_MS)
        for hour_ms, part, value in self._parts(first, stop):
            rollup = rollups.pop((hour_ms, part), None)
            if rollup is None:
                continue
            try:
                block = decode_block(value)
                _check_same(block, rollup)
                decoded = decode(block)
            except LedgerError as error:
                name = keys.block(self._symbol, hour_ms, part).decode()
                raise type(error)(f"{name}: {error}; {LEFT}") from error
            yield decoded
        for hour_ms, part in rollups:
            name = keys.block(self._symbol, hour_ms, part).decode()
            raise CorruptRecord(f"{name} is gone although its rollup stands; {LEFT}")

    def _parts(self, first: bytes, stop: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Hour, part and value of the records of sealed hours."""
        for key, value in self._stored(first, stop):
            name = keys.parsed(key)
            if name is not None and name.time_ms is not None:
                yield name.time_ms, name.part, value

    def _digests(self, hours: Sequence[int]) -> tuple[bytes, ...]:
        return tuple(rollup.digest for hour_ms in hours for rollup in self._rollups.get(hour_ms, {}).values())


def _check_same(block: Block, rollup: Rollup) -> None:
    """A block may hold more than its rollup: rows that came late, while they are being joined to it."""
    if len(block) < rollup.rows or block.first_id > rollup.first_id or block.last_id < rollup.last_id:
        raise CorruptRecord(f"block of {len(block)} trades beside a rollup of {rollup.rows}")
