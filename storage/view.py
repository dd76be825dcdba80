"""What one question sees of the ledger: the rows of a window, their histogram, and what is missing.

Invariant: everything that a view answers is as of the instant it was made. Whole sealed hours are counted
from their rollups; trades are decoded where a window cuts an hour, and where they are asked for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TypeVar

import numpy as np

from storage import keys
from storage.absences import Absence, by_state, known_runs
from storage.blocks import Block, decode_block
from storage.candle_records import decode_candles
from storage.candles import MINUTE_MS, MinuteCandles
from storage.errors import LEFT, CorruptRecord, LedgerError
from storage.held_ids import Run, gaps_between, latest, uncovered, uncovered_ms
from storage.histograms import PriceHistogram
from storage.ladder import PriceLadder
from storage.recent import Recent
from storage.rollups import Rollup, binned
from storage.trades import Coverage, Gap, GapState, TapeColumns, TradeColumns

# Decoded parts of hours that a view keeps: those at the two ends of its window.
KEPT_PARTS = 2
# Rows that are kept decoded, some 8 MB: the hours at the edges of the windows that are asked about.
MOST_ROWS_KEPT = 150_000
# Prices of histograms that are kept, some 4 MB.
MOST_PRICES_KEPT = 100_000
# Minutes of candles that are kept, some 5 MB: a week of four symbols.
MOST_MINUTES_KEPT = 40_000
# Rows in memory of which the histogram is worth keeping.
LARGE = 4_000
# Keys hold times of 13 digits.
FOREVER_MS = 10**13
# What a symbol's trades are kept in.
FAMILIES = ("blocks", "candles", "rollup", "trades")

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


@dataclass(frozen=True, slots=True)
class Held:
    """What a symbol's tape holds at one instant, the sealed rows themselves left on disk.

    `sealed` has the rollups of an hour's blocks by part and `open` the rows of an hour that are in no block,
    both by the hour's start in UTC milliseconds. `certified` are ids that the exchange has none for.
    """

    runs: tuple[Run, ...]
    sealed: Mapping[int, Mapping[int, Rollup]]
    open: Mapping[int, Sequence[TradeColumns]]
    certified: tuple[Absence, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkedOut:
    """What views of a ledger share: rows of cut hours, sums of whole hours and of rows in memory, candles."""

    rows: Recent[TradeColumns] = field(default_factory=lambda: Recent(MOST_ROWS_KEPT))
    histograms: Recent[PriceHistogram] = field(default_factory=lambda: Recent(MOST_PRICES_KEPT))
    candles: Recent[MinuteCandles] = field(default_factory=lambda: Recent(MOST_MINUTES_KEPT))


@dataclass(frozen=True, slots=True)
class _Count:
    """How many rows a part of a window holds, and its ends by id."""

    rows: int
    valid: int
    first: tuple[int, int]
    last: tuple[int, int]


class LedgerView:
    """One symbol as of one instant. Made by `TradeLedger.view`. Not for use by several threads."""

    def __init__(self, symbol: str, held: Held, stored: Stored, worked_out: WorkedOut) -> None:
        self._symbol = symbol
        self._held = held
        self._stored = stored
        self._worked_out = worked_out
        self._decoded: dict[tuple[int, int], TradeColumns] = {}

    @property
    def runs(self) -> tuple[Run, ...]:
        return self._held.runs

    @property
    def certified(self) -> tuple[Absence, ...]:
        """The ids that the exchange has none for."""
        return self._held.certified

    def chunks(self, start_ms: int, end_ms: int) -> Iterator[TradeColumns]:
        """The rows with start_ms <= T < end_ms, an hour a chunk, ids ascending within each."""
        for hour_ms in self._hours(start_ms, end_ms):
            rows = self._rows(hour_ms, start_ms, end_ms)
            if len(rows):
                yield rows

    def tape(self, start_ms: int, end_ms: int) -> Iterator[TapeColumns]:
        """The same without the ids of single trades, in two thirds of the time."""
        for hour_ms in self._hours(start_ms, end_ms):
            if hour_ms in self._held.open or not self._is_whole(hour_ms, start_ms, end_ms):
                rows = self._rows(hour_ms, start_ms, end_ms).tape()
            else:
                rows = TapeColumns.concat(list(self._blocks([hour_ms], Block.tape))).by_id()
            if len(rows):
                yield rows

    def chunks_of_ids(self, first_id: int, last_id: int) -> Iterator[TradeColumns]:
        """The rows with first_id <= id <= last_id, an hour a chunk, ids ascending within each."""
        for hour_ms, (least, greatest) in self.id_spans().items():
            if least <= last_id and greatest >= first_id:
                rows = self._rows(hour_ms, hour_ms, hour_ms + keys.HOUR_MS)
                yield rows.take((rows.id >= first_id) & (rows.id <= last_id))

    def id_spans(self) -> dict[int, tuple[int, int]]:
        """The smallest and the greatest id of each hour that holds rows, hours ascending."""
        return {
            hour_ms: (self._oldest_id(hour_ms), self._newest_id(hour_ms))
            for hour_ms in self._hours(0, FOREVER_MS)
        }

    def stored_bytes(self) -> int:
        """The bytes of the symbol's records on disk, keys included; reads them all."""
        prefixes = [f"{family}:{self._symbol}" for family in FAMILIES]
        spans = [(f"{prefix}:".encode(), f"{prefix};".encode()) for prefix in prefixes]
        return sum(len(key) + len(value) for span in spans for key, value in self._stored(*span))

    def trades(self, start_ms: int, end_ms: int) -> TradeColumns:
        """The rows with start_ms <= T < end_ms in id order."""
        return TradeColumns.concat(list(self.chunks(start_ms, end_ms))).by_id()

    def histogram(
        self, start_ms: int, end_ms: int, *, exact: bool = True, bin_size: Decimal | None = None
    ) -> PriceHistogram:
        """Quantity by price over [start_ms, end_ms): by exact price, or in the rollups' bins. Exact prices
        come in bins of `bin_size` where one is given."""
        parts: list[PriceHistogram] = []
        in_bins: list[int] = []
        summed: list[int] = []
        for hour_ms in self._hours(start_ms, end_ms):
            whole = self._is_whole(hour_ms, start_ms, end_ms)
            if whole and (not exact or all(part.bin_int is None for part in self._histograms(hour_ms))):
                summed.append(hour_ms)
                parts += [self._histogram_of(rows, exact=exact) for rows in self._open_rows(hour_ms)]
            elif whole and hour_ms not in self._held.open:
                in_bins.append(hour_ms)
            else:
                parts.append(PriceHistogram.of(self._rows(hour_ms, start_ms, end_ms)))
        parts.append(self._sum_of(summed))
        if in_bins:
            return self._from_trades(in_bins, parts, bin_size)
        merged = PriceHistogram.merge(parts)
        return merged if bin_size is None else merged.in_bins_of(bin_size)

    def _sum_of(self, hours: Sequence[int]) -> PriceHistogram:
        """The histograms of whole hours together; kept, since a window that moves on holds the same hours for
        an hour."""
        return self._worked_out.histograms.of(
            (self._symbol, *(rollup.digest for hour_ms in hours for rollup in self._rollups(hour_ms))),
            lambda: PriceHistogram.merge([part for hour_ms in hours for part in self._histograms(hour_ms)]),
        )

    def _from_trades(
        self, hours: Sequence[int], parts: Sequence[PriceHistogram], bin_size: Decimal | None
    ) -> PriceHistogram:
        """The trades of whole sealed hours, for which blocks are decoded, and those of exact `parts`."""
        parts = [part for part in parts if len(part)]
        rollups = [part for hour_ms in hours for part in self._histograms(hour_ms)]
        ladder = PriceLadder.spanning([*parts, *(part for part in rollups if len(part))], bin_size)
        if ladder is None:
            decoded = (
                PriceHistogram.of(self._rows(hour_ms, hour_ms, hour_ms + keys.HOUR_MS)) for hour_ms in hours
            )
            merged = PriceHistogram.merge([*decoded, *parts])
            return merged if bin_size is None else merged.in_bins_of(bin_size)
        for prints in self._blocks(hours, Block.prints):
            ladder.add(prints)
        for part in parts:
            ladder.add_sums(part)
        return ladder.histogram()

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
            yield MinuteCandles.of(self._rows(hour_ms, start_ms, end_ms))
            return
        yield kept.within(start_ms, end_ms)
        yield from (MinuteCandles.of(rows.within(start_ms, end_ms)) for rows in self._open_rows(hour_ms))

    def _kept_candles(self, hour_ms: int) -> MinuteCandles | None:
        """Those of an hour's blocks; None unless every block has its own, and they can be read."""
        if hour_ms not in self._held.sealed:
            return MinuteCandles.merge([])
        digests = tuple(rollup.digest for rollup in self._rollups(hour_ms))
        try:
            return self._worked_out.candles.of(
                (self._symbol, hour_ms, digests), lambda: self._read_candles(hour_ms)
            )
        except CorruptRecord:
            return None

    def _read_candles(self, hour_ms: int) -> MinuteCandles:
        """The candles on disk. Raises `CorruptRecord` where they are not those of all parts of the hour."""
        first, stop = keys.candles(self._symbol, hour_ms), keys.candles(self._symbol, hour_ms + keys.HOUR_MS)
        rollups = self._held.sealed.get(hour_ms, {})
        kept = {
            part: decode_candles(value, hour_ms)
            for _, part, value in self._parts(first, stop)
            if part in rollups
        }
        counted = {part: int(candles.trades.sum()) for part, candles in kept.items()}
        if counted != {part: rollup.valid for part, rollup in rollups.items()}:
            raise CorruptRecord(f"candles of {counted} trades by part beside rollups of others")
        return MinuteCandles.merge(list(kept.values()))

    def coverage(self, start_ms: int, end_ms: int, live_until_ms: int | None = None) -> Coverage:
        """Which trades of [start_ms, end_ms) are held and which are missing: definitions.md section 6.

        `live_until_ms` is the time up to which a live link vouches that no trade is unknown; None where there
        is no such link.
        """
        counts = list(self._counts(start_ms, end_ms))
        rows, valid = sum(count.rows for count in counts), sum(count.valid for count in counts)
        first_id, first_ms = min((count.first for count in counts), default=(None, None))
        last_id, last_ms = max((count.last for count in counts), default=(None, None))
        gaps = tuple(
            gap
            for gap in self._gaps()
            if (gap.after_ms < end_ms and gap.before_ms >= start_ms)
            # T steps back at times: what lies among the ids is missing there all the same.
            or (first_id is not None and last_id is not None and first_id < gap.first_id < last_id)
        )
        return Coverage(
            start_ms,
            end_ms,
            trades=valid,
            missing=_missing(gaps, "open", first_id, last_id),
            certified=rows - valid + _missing(gaps, "certified", first_id, last_id),
            invalid=rows - valid,
            gaps=gaps,
            first_ms=first_ms,
            last_ms=last_ms,
            first_id=first_id,
            last_id=last_id,
            uncovered_ms=uncovered_ms(self._known(live_until_ms), start_ms, end_ms),
        )

    def _gaps(self) -> Iterator[Gap]:
        return by_state(gaps_between(self.runs), self._held.certified)

    def _known(self, live_until_ms: int | None) -> tuple[Run, ...]:
        """The runs of which no trade is unknown, the newest one up to where a live link vouches for it."""
        return _up_to_date(known_runs(self.runs, self._gaps()), live_until_ms)

    def covers(self, start_ms: int, end_ms: int) -> bool:
        """Whether nothing of [start_ms, end_ms) is missing, as the runs tell it; decodes nothing."""
        missing = (
            gap.after_ms < end_ms and gap.before_ms >= start_ms for gap in self._gaps() if gap.state == "open"
        )
        return not any(missing) and uncovered_ms(self._known(None), start_ms, end_ms) == 0

    def uncovered(
        self, start_ms: int, end_ms: int, live_until_ms: int | None = None
    ) -> list[tuple[int, int]]:
        """The stretches of [start_ms, end_ms) of which not every trade is known."""
        return uncovered(self._known(live_until_ms), start_ms, end_ms)

    def coverage_of_all(self, end_ms: int = 0, live_until_ms: int | None = None) -> Coverage | None:
        """Coverage of all that is held, from the first trade to the last one or `end_ms`, if that is later.

        It cuts no hour, so nothing is decoded for it. None where nothing is held.
        """
        if not self.runs:
            return None
        start_ms = min(run.first_ms for run in self.runs)
        end_ms = max(end_ms, *(run.last_ms + 1 for run in self.runs))
        known = self._known(live_until_ms)
        return replace(
            self.coverage(0, FOREVER_MS),
            start_ms=start_ms,
            end_ms=end_ms,
            uncovered_ms=uncovered_ms(known, start_ms, end_ms),
        )

    def sealed_hours(self, start_ms: int, end_ms: int) -> Iterator[tuple[int, Rollup]]:
        """The sealed hours that touch the window by their start, newest first, each part with its rollup."""
        for hour_ms in reversed(self._hours(start_ms, end_ms)):
            for rollup in sorted(self._rollups(hour_ms), key=lambda part: part.first_id, reverse=True):
                yield hour_ms, rollup

    def last_trade(self, start_ms: int, end_ms: int) -> TradeColumns:
        """The valid row of the window with the highest id; no row where there is none."""
        last = TradeColumns.empty()
        newest = {hour_ms: self._newest_id(hour_ms) for hour_ms in self._hours(start_ms, end_ms)}
        for hour_ms in sorted(newest, key=newest.__getitem__, reverse=True):
            if len(last) and int(last.id[0]) > newest[hour_ms]:
                break
            rows = self._rows(hour_ms, start_ms, end_ms)
            found = rows.take(np.flatnonzero(rows.valid)[-1:])
            last = TradeColumns.concat([last, found]).by_id().take(slice(-1, None))
        return last

    def _hours(self, start_ms: int, end_ms: int) -> list[int]:
        """The hours that hold rows and touch the window, in order."""
        touching = range(keys.hour_of(start_ms), end_ms)
        return sorted(hour for hour in self._held.sealed.keys() | self._held.open.keys() if hour in touching)

    def _newest_id(self, hour_ms: int) -> int:
        sealed = [rollup.last_id for rollup in self._rollups(hour_ms)]
        return max(sealed + [int(part.id.max()) for part in self._held.open.get(hour_ms, ())])

    def _whole(self, start_ms: int, end_ms: int) -> list[int]:
        """The sealed hours that lie whole in the window, in order."""
        return [
            hour_ms
            for hour_ms in self._hours(start_ms, end_ms)
            if hour_ms in self._held.sealed and self._is_whole(hour_ms, start_ms, end_ms)
        ]

    def _loose(self, start_ms: int, end_ms: int) -> Iterator[TradeColumns]:
        """The window's rows beside the rollups of its whole hours: of cut hours, and in memory."""
        for hour_ms in self._hours(start_ms, end_ms):
            if self._is_whole(hour_ms, start_ms, end_ms):
                yield from self._open_rows(hour_ms)
            elif len(rows := self._rows(hour_ms, start_ms, end_ms)):
                yield rows

    def _oldest_id(self, hour_ms: int) -> int:
        sealed = [rollup.first_id for rollup in self._rollups(hour_ms)]
        return min(sealed + [int(part.id.min()) for part in self._held.open.get(hour_ms, ())])

    def _counts(self, start_ms: int, end_ms: int) -> Iterator[_Count]:
        for hour_ms in self._whole(start_ms, end_ms):
            for rollup in self._rollups(hour_ms):
                first, last = (rollup.first_id, rollup.first_ms), (rollup.last_id, rollup.last_ms)
                yield _Count(rollup.rows, rollup.valid, first, last)
        for rows in self._loose(start_ms, end_ms):
            ends = [(int(rows.id[at]), int(rows.time_ms[at])) for at in (0, -1)]
            yield _Count(len(rows), int(rows.valid.sum()), ends[0], ends[1])

    def _open_rows(self, hour_ms: int) -> Sequence[TradeColumns]:
        """The rows of an hour that are in memory, in parts, ids ascending within each."""
        return self._held.open.get(hour_ms, ())

    def _histogram_of(self, part: TradeColumns, *, exact: bool) -> PriceHistogram:
        """The histogram of rows in memory; those of parts that are large are kept, in bins."""
        if exact or len(part) < LARGE:
            return PriceHistogram.of(part)
        return self._worked_out.histograms.of(
            (self._symbol, *_identity(part)), lambda: binned(PriceHistogram.of(part))
        )

    def _is_whole(self, hour_ms: int, start_ms: int, end_ms: int) -> bool:
        """Whether all rows of an hour lie in the window: of one in memory the rows themselves tell."""
        if start_ms > hour_ms or hour_ms in self._held.sealed:
            return start_ms <= hour_ms and hour_ms + keys.HOUR_MS <= end_ms
        return all(int(part.time_ms.max()) < end_ms for part in self._open_rows(hour_ms))

    def _rows(self, hour_ms: int, start_ms: int, end_ms: int) -> TradeColumns:
        """The rows of an hour that lie in the window, from its blocks and from memory."""
        part = max(start_ms, hour_ms), min(end_ms, hour_ms + keys.HOUR_MS)
        if part in self._decoded:
            return self._decoded[part]
        parts = [*self._sealed_rows(hour_ms, part), *self._open_rows(hour_ms)]
        rows = TradeColumns.concat(parts).by_id().within(*part)
        # Whole hours stream by: one that stayed would be memory that the next cannot be decoded into.
        if part != (hour_ms, hour_ms + keys.HOUR_MS):
            while len(self._decoded) >= KEPT_PARTS:
                self._decoded.pop(next(iter(self._decoded)))
            self._decoded[part] = rows
        return rows

    def _sealed_rows(self, hour_ms: int, wanted: tuple[int, int]) -> list[TradeColumns]:
        """The rows of an hour's blocks. Those of an hour that a window cuts are kept: the same window a
        moment later cuts it too."""
        if hour_ms not in self._held.sealed:
            return []
        if wanted == (hour_ms, hour_ms + keys.HOUR_MS):
            return list(self._blocks([hour_ms], Block.trades))
        digests = tuple(rollup.digest for rollup in self._rollups(hour_ms))
        rows = self._worked_out.rows.of(
            (self._symbol, hour_ms, digests),
            lambda: TradeColumns.concat(list(self._blocks([hour_ms], Block.trades))),
        )
        return [rows]

    def _rollups(self, hour_ms: int) -> list[Rollup]:
        return list(self._held.sealed.get(hour_ms, {}).values())

    def _histograms(self, hour_ms: int) -> list[PriceHistogram]:
        """Those of an hour's rollups."""
        found = []
        for part, rollup in self._held.sealed.get(hour_ms, {}).items():
            try:
                found.append(rollup.histogram)
            except CorruptRecord as error:
                name = keys.rollup(self._symbol, hour_ms, part).decode()
                raise CorruptRecord(f"{name}: {error}; {LEFT}") from error
        return found

    def _parts(self, first: bytes, stop: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Hour, part and value of the records of sealed hours."""
        for key, value in self._stored(first, stop):
            name = keys.parsed(key)
            if name is not None and name.time_ms is not None:
                yield name.time_ms, name.part, value

    def _blocks(self, hours: Sequence[int], decode: Callable[[Block], T]) -> Iterator[T]:
        """The blocks that the rollups of these hours, ascending, speak of, as `decode` reads them; a block
        without a rollup does not count."""
        rollups = {
            (hour_ms, part): rollup
            for hour_ms in hours
            for part, rollup in self._held.sealed[hour_ms].items()
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


def _identity(rows: TradeColumns) -> tuple[int, int, int]:
    """What tells rows in memory from others of their symbol: an id is held once, and never changes."""
    return int(rows.id[0]), int(rows.id[-1]), len(rows)


def _check_same(block: Block, rollup: Rollup) -> None:
    """A block may hold more than its rollup: rows that came late, while they are being joined to it."""
    if len(block) < rollup.rows or block.first_id > rollup.first_id or block.last_id < rollup.last_id:
        raise CorruptRecord(f"block of {len(block)} trades beside a rollup of {rollup.rows}")


def _up_to_date(runs: tuple[Run, ...], live_until_ms: int | None) -> tuple[Run, ...]:
    """The runs with the newest one reaching as far as a live link vouches for it."""
    newest = latest(runs)
    if newest is None or live_until_ms is None:
        return runs
    reaching = replace(newest, last_ms=max(newest.last_ms, live_until_ms - 1))
    return tuple(reaching if run is newest else run for run in runs)


def _missing(gaps: Sequence[Gap], state: GapState, first_id: int | None, last_id: int | None) -> int:
    """How many ids of the gaps in this state lie within first_id..last_id."""
    if first_id is None or last_id is None:
        return 0
    spans = [(max(gap.first_id, first_id), min(gap.last_id, last_id)) for gap in gaps if gap.state == state]
    return sum(max(0, last - first + 1) for first, last in spans)
