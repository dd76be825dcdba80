"""What one question sees of the ledger: the rows of a window, their histogram, and what is missing.

Invariant: everything that a view answers is as of the instant it was made. Whole sealed hours are counted
from their rollups; trades are decoded where a window cuts an hour, and where they are asked for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from storage import keys
from storage.blocks import Block, decode_block
from storage.candle_records import decode_candles
from storage.candles import MINUTE_MS, MinuteCandles
from storage.errors import LEFT, CorruptRecord, LedgerError
from storage.held_ids import Run, gaps_between, uncovered_ms
from storage.rollups import Rollup
from storage.trades import Coverage, Gap, PriceHistogram, TradeColumns

# Decoded hours that a view keeps: those at the two ends of its window.
KEPT_HOURS = 2

# The records with first <= key < stop, in key order.
Stored = Callable[[bytes, bytes], Iterator[tuple[bytes, bytes]]]


@dataclass(frozen=True, slots=True)
class Held:
    """What a symbol's tape holds at one instant, the sealed rows themselves left on disk.

    `sealed` has the rollups of an hour's blocks by part and `open` the rows of an hour that are in no block,
    both by the hour's start in UTC milliseconds.
    """

    runs: tuple[Run, ...]
    sealed: Mapping[int, Mapping[int, Rollup]]
    open: Mapping[int, Sequence[TradeColumns]]


@dataclass(frozen=True, slots=True)
class _Count:
    """How many rows a part of a window holds, and its ends by id."""

    rows: int
    valid: int
    first: tuple[int, int]
    last: tuple[int, int]


class LedgerView:
    """One symbol as of one instant. Made by `TradeLedger.view`. Not for use by several threads."""

    def __init__(self, symbol: str, held: Held, stored: Stored) -> None:
        self._symbol = symbol
        self._held = held
        self._stored = stored
        self._decoded: dict[int, TradeColumns] = {}

    @property
    def runs(self) -> tuple[Run, ...]:
        return self._held.runs

    def chunks(self, start_ms: int, end_ms: int) -> Iterator[TradeColumns]:
        """The rows with start_ms <= T < end_ms, an hour a chunk, ids ascending within each."""
        for hour_ms in self._hours(start_ms, end_ms):
            rows = self._rows(hour_ms).within(start_ms, end_ms)
            if len(rows):
                yield rows

    def trades(self, start_ms: int, end_ms: int) -> TradeColumns:
        """The rows with start_ms <= T < end_ms in id order."""
        return TradeColumns.concat(list(self.chunks(start_ms, end_ms))).by_id()

    def histogram(self, start_ms: int, end_ms: int, *, exact: bool = True) -> PriceHistogram:
        """Quantity by price over [start_ms, end_ms): by exact price, or in the rollups' bins."""
        parts: list[PriceHistogram] = []
        for hour_ms in self._hours(start_ms, end_ms):
            if not exact and self._is_whole(hour_ms, start_ms, end_ms):
                parts += [rollup.histogram for rollup in self._rollups(hour_ms)]
                parts.append(PriceHistogram.of(self._open_rows(hour_ms)))
            else:
                parts.append(PriceHistogram.of(self._rows(hour_ms).within(start_ms, end_ms)))
        return PriceHistogram.merge(parts)

    def candles(self, start_ms: int, end_ms: int) -> MinuteCandles:
        """Minute candles over [start_ms, end_ms); the minutes at its ends hold the window's trades alone."""
        return MinuteCandles.merge(
            [
                part
                for hour_ms in self._hours(start_ms, end_ms)
                for part in self._candles(hour_ms, start_ms, end_ms)
            ]
        )

    def _candles(self, hour_ms: int, start_ms: int, end_ms: int) -> Iterator[MinuteCandles]:
        """The candles of an hour: kept ones where whole minutes are asked for, else from the trades."""
        cuts = [at for at in (start_ms, end_ms) if at in range(hour_ms, hour_ms + keys.HOUR_MS)]
        kept = self._kept_candles(hour_ms) if not any(at % MINUTE_MS for at in cuts) else None
        if kept is None:
            yield MinuteCandles.of(self._rows(hour_ms).within(start_ms, end_ms))
            return
        yield from (part.within(start_ms, end_ms) for part in kept)
        yield MinuteCandles.of(self._open_rows(hour_ms).within(start_ms, end_ms))

    def _kept_candles(self, hour_ms: int) -> list[MinuteCandles] | None:
        """Those of each part of a sealed hour; None unless every part has its own, and they can be read."""
        first, stop = keys.candles(self._symbol, hour_ms), keys.candles(self._symbol, hour_ms + keys.HOUR_MS)
        rollups = self._held.sealed.get(hour_ms, {})
        try:
            kept = {
                part: decode_candles(value, hour_ms)
                for part, value in self._parts(first, stop)
                if part in rollups
            }
        except CorruptRecord:
            return None
        counted = {part: int(candles.trades.sum()) for part, candles in kept.items()}
        return list(kept.values()) if counted == {p: r.valid for p, r in rollups.items()} else None

    def coverage(self, start_ms: int, end_ms: int, live_until_ms: int | None = None) -> Coverage:
        """Which trades of [start_ms, end_ms) are held and which are missing: definitions.md section 6.

        `live_until_ms` is the time up to which a live link vouches that no trade is unknown; None where there
        is no such link.
        """
        counts = list(self._counts(start_ms, end_ms))
        rows, valid = sum(count.rows for count in counts), sum(count.valid for count in counts)
        first_id, first_ms = min((count.first for count in counts), default=(None, None))
        last_id, last_ms = max((count.last for count in counts), default=(None, None))
        runs = _up_to_date(self.runs, live_until_ms)
        gaps = tuple(
            gap for gap in gaps_between(self.runs) if gap.after_ms < end_ms and gap.before_ms >= start_ms
        )
        return Coverage(
            start_ms,
            end_ms,
            trades=valid,
            missing=0 if first_id is None or last_id is None else sum(_clip(gaps, first_id, last_id)),
            certified=rows - valid,
            gaps=gaps,
            first_ms=first_ms,
            last_ms=last_ms,
            first_id=first_id,
            last_id=last_id,
            uncovered_ms=uncovered_ms(runs, start_ms, end_ms),
        )

    def last_trade(self, start_ms: int, end_ms: int) -> TradeColumns:
        """The valid row of the window with the highest id; no row where there is none."""
        last = TradeColumns.empty()
        newest_first = sorted(self._hours(start_ms, end_ms), key=self._newest_id, reverse=True)
        for hour_ms in newest_first:
            if len(last) and int(last.id[0]) > self._newest_id(hour_ms):
                break
            rows = self._rows(hour_ms).within(start_ms, end_ms)
            last = TradeColumns.concat([last, rows.take(rows.valid)]).by_id().take(slice(-1, None))
        return last

    def _hours(self, start_ms: int, end_ms: int) -> list[int]:
        """The hours that hold rows and touch the window, in order."""
        touching = range(keys.hour_of(start_ms), end_ms)
        return sorted(hour for hour in self._held.sealed.keys() | self._held.open.keys() if hour in touching)

    def _newest_id(self, hour_ms: int) -> int:
        sealed = [rollup.last_id for rollup in self._rollups(hour_ms)]
        return max(sealed + [int(part.id.max()) for part in self._held.open.get(hour_ms, ())])

    @staticmethod
    def _is_whole(hour_ms: int, start_ms: int, end_ms: int) -> bool:
        return start_ms <= hour_ms and hour_ms + keys.HOUR_MS <= end_ms

    def _counts(self, start_ms: int, end_ms: int) -> Iterator[_Count]:
        for hour_ms in self._hours(start_ms, end_ms):
            if self._is_whole(hour_ms, start_ms, end_ms):
                for rollup in self._rollups(hour_ms):
                    first, last = (rollup.first_id, rollup.first_ms), (rollup.last_id, rollup.last_ms)
                    yield _Count(rollup.rows, rollup.valid, first, last)
                rows = self._open_rows(hour_ms)
            else:
                rows = self._rows(hour_ms).within(start_ms, end_ms)
            if len(rows):
                ends = [(int(rows.id[at]), int(rows.time_ms[at])) for at in (0, -1)]
                yield _Count(len(rows), int(rows.valid.sum()), ends[0], ends[1])

    def _open_rows(self, hour_ms: int) -> TradeColumns:
        return TradeColumns.concat(self._held.open.get(hour_ms, ())).by_id()

    def _rows(self, hour_ms: int) -> TradeColumns:
        """All rows of an hour, from its blocks and from memory."""
        if hour_ms not in self._decoded:
            while len(self._decoded) >= KEPT_HOURS:
                self._decoded.pop(next(iter(self._decoded)))
            parts = [self._open_rows(hour_ms)]
            if hour_ms in self._held.sealed:
                parts += self._blocks(hour_ms)
            self._decoded[hour_ms] = TradeColumns.concat(parts).by_id()
        return self._decoded[hour_ms]

    def _rollups(self, hour_ms: int) -> list[Rollup]:
        return list(self._held.sealed.get(hour_ms, {}).values())

    def _parts(self, first: bytes, stop: bytes) -> Iterator[tuple[int, bytes]]:
        """The records of an hour's parts."""
        for key, value in self._stored(first, stop):
            name = keys.parsed(key)
            if name is not None:
                yield name.part, value

    def _blocks(self, hour_ms: int) -> list[TradeColumns]:
        """The rows of the blocks that the hour's rollups speak of; one without a rollup does not count."""
        key = keys.block(self._symbol, hour_ms)
        rollups = dict(self._held.sealed[hour_ms])
        rows = []
        for part, value in self._parts(key, keys.block(self._symbol, hour_ms + keys.HOUR_MS)):
            if part not in rollups:
                continue
            try:
                block = decode_block(value)
                _check_same(block, rollups.pop(part))
                rows.append(block.trades())
            except LedgerError as error:
                name = keys.block(self._symbol, hour_ms, part).decode()
                raise type(error)(f"{name}: {error}; {LEFT}") from error
        if rollups:
            raise CorruptRecord(f"{key.decode()}: a block is gone although its rollup stands; {LEFT}")
        return rows


def _check_same(block: Block, rollup: Rollup) -> None:
    """A block may hold more than its rollup: rows that came late, while they are being joined to it."""
    if len(block) < rollup.rows or block.first_id > rollup.first_id or block.last_id < rollup.last_id:
        raise CorruptRecord(f"block of {len(block)} trades beside a rollup of {rollup.rows}")


def _up_to_date(runs: tuple[Run, ...], live_until_ms: int | None) -> tuple[Run, ...]:
    """The runs with the newest one reaching as far as a live link vouches for it."""
    if not runs or live_until_ms is None:
        return runs
    *older, newest = runs
    known_ms = max(newest.last_ms, live_until_ms - 1)
    return (*older, Run(newest.first_id, newest.last_id, newest.first_ms, known_ms))


def _clip(gaps: Sequence[Gap], first_id: int, last_id: int) -> list[int]:
    """How many ids of each gap lie within first_id..last_id."""
    return [max(0, min(gap.last_id, last_id) - max(gap.first_id, first_id) + 1) for gap in gaps]
