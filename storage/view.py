"""What one question sees of the ledger: the rows of a window, their histogram, and what is missing.

Invariant: everything that a view answers is as of the instant it was made. Whole sealed hours are counted
from their rollups; trades are decoded where a window cuts an hour, and where they are asked for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np

from storage import keys
from storage.absences import Absence
from storage.blocks import Block
from storage.candles import MINUTE_MS, MinuteCandles
from storage.coverage import Count, coverage_of, is_covered, runs_known
from storage.held import Held
from storage.held_ids import Run, uncovered, uncovered_ms
from storage.histograms import PriceHistogram
from storage.hour_records import HourRecords, Stored
from storage.ladder import PriceLadder
from storage.recent import WorkedOut
from storage.rollups import Rollup, binned
from storage.trades import Coverage, TapeColumns, TradeColumns

# Decoded parts of hours that a view keeps: those at the two ends of its window.
KEPT_PARTS = 2
# Rows in memory of which the histogram is worth keeping.
LARGE = 4_000
# Keys hold times of 13 digits.
FOREVER_MS = 10**13


class LedgerView:
    """One symbol as of one instant. Made by `TradeLedger.view`. Not for use by several threads."""

    def __init__(self, symbol: str, held: Held, stored: Stored, worked_out: WorkedOut) -> None:
        self._symbol = symbol
        self._held = held
        self._stored = stored
        self._worked_out = worked_out
        self._sealed = HourRecords(symbol, held.sealed, stored, worked_out)
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
        for hour_ms in self._held.hours(start_ms, end_ms):
            rows = self._rows(hour_ms, start_ms, end_ms)
            if len(rows):
                yield rows

    def tape(self, start_ms: int, end_ms: int) -> Iterator[TapeColumns]:
        """The same without the ids of single trades, in two thirds of the time."""
        for hour_ms in self._held.hours(start_ms, end_ms):
            if hour_ms in self._held.open or not self._held.is_whole(hour_ms, start_ms, end_ms):
                rows = self._rows(hour_ms, start_ms, end_ms).tape()
            else:
                rows = TapeColumns.concat(list(self._sealed.blocks([hour_ms], Block.tape))).by_id()
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
            hour_ms: (self._held.oldest_id(hour_ms), self._held.newest_id(hour_ms))
            for hour_ms in self._held.hours(0, FOREVER_MS)
        }

    def stored_bytes(self) -> int:
        """The bytes of the symbol's records on disk, keys included; reads them all."""
        spans = [keys.span(family, self._symbol) for family in (*keys.SEALED_FAMILIES, "trades")]
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
        for hour_ms in self._held.hours(start_ms, end_ms):
            whole = self._held.is_whole(hour_ms, start_ms, end_ms)
            if whole and not (exact and self._sealed.is_binned(hour_ms)):
                summed.append(hour_ms)
                parts += [self._histogram_of(rows, exact=exact) for rows in self._held.open_rows(hour_ms)]
            elif whole and hour_ms not in self._held.open:
                in_bins.append(hour_ms)
            else:
                parts.append(PriceHistogram.of(self._rows(hour_ms, start_ms, end_ms)))
        parts.append(self._sealed.sum_of(summed))
        if in_bins:
            return self._from_trades(in_bins, parts, bin_size)
        merged = PriceHistogram.merge(parts)
        return merged if bin_size is None else merged.in_bins_of(bin_size)

    def _from_trades(
        self, hours: Sequence[int], parts: Sequence[PriceHistogram], bin_size: Decimal | None
    ) -> PriceHistogram:
        """The trades of whole sealed hours, for which blocks are decoded, and those of exact `parts`."""
        parts = [part for part in parts if len(part)]
        rollups = [part for hour_ms in hours for part in self._sealed.histograms(hour_ms)]
        ladder = PriceLadder.spanning([*parts, *(part for part in rollups if len(part))], bin_size)
        if ladder is None:
            decoded = (
                PriceHistogram.of(self._rows(hour_ms, hour_ms, hour_ms + keys.HOUR_MS)) for hour_ms in hours
            )
            merged = PriceHistogram.merge([*decoded, *parts])
            return merged if bin_size is None else merged.in_bins_of(bin_size)
        for prints in self._sealed.blocks(hours, Block.prints):
            ladder.add(prints)
        for part in parts:
            ladder.add_sums(part)
        return ladder.histogram()

    def candles(self, start_ms: int, end_ms: int) -> MinuteCandles:
        """Minute candles over [start_ms, end_ms); the minutes at its ends hold the window's trades alone."""
        return MinuteCandles.merge(
            [
                part
                for hour_ms in self._held.hours(start_ms, end_ms)
                for part in self._candles(hour_ms, start_ms, end_ms)
            ]
        )

    def _candles(self, hour_ms: int, start_ms: int, end_ms: int) -> Iterator[MinuteCandles]:
        """The candles of an hour: kept ones where whole minutes are asked for, else from the trades."""
        cuts = [at for at in (start_ms, end_ms) if at in range(hour_ms, hour_ms + keys.HOUR_MS)]
        kept = self._sealed.candles(hour_ms) if not any(at % MINUTE_MS for at in cuts) else None
        if kept is None:
            yield MinuteCandles.of(self._rows(hour_ms, start_ms, end_ms))
            return
        yield kept.within(start_ms, end_ms)
        yield from (MinuteCandles.of(rows.within(start_ms, end_ms)) for rows in self._held.open_rows(hour_ms))

    def coverage(self, start_ms: int, end_ms: int, live_until_ms: int | None = None) -> Coverage:
        """Which trades of [start_ms, end_ms) are held and which are missing: definitions.md section 6.

        `live_until_ms` is the time up to which a live link vouches that no trade is unknown; None where there
        is no such link.
        """
        return coverage_of(self._held, self._counts(start_ms, end_ms), start_ms, end_ms, live_until_ms)

    def covers(self, start_ms: int, end_ms: int) -> bool:
        """Whether nothing of [start_ms, end_ms) is missing, as the runs tell it; decodes nothing."""
        return is_covered(self._held, start_ms, end_ms)

    def uncovered(
        self, start_ms: int, end_ms: int, live_until_ms: int | None = None
    ) -> list[tuple[int, int]]:
        """The stretches of [start_ms, end_ms) of which not every trade is known."""
        return uncovered(runs_known(self._held, live_until_ms), start_ms, end_ms)

    def coverage_of_all(self, end_ms: int = 0, live_until_ms: int | None = None) -> Coverage | None:
        """Coverage of all that is held, from the first trade to the last one or `end_ms`, if that is later.

        It cuts no hour, so nothing is decoded for it. None where nothing is held.
        """
        if not self.runs:
            return None
        start_ms = min(run.first_ms for run in self.runs)
        end_ms = max(end_ms, *(run.last_ms + 1 for run in self.runs))
        known = runs_known(self._held, live_until_ms)
        return replace(
            self.coverage(0, FOREVER_MS),
            start_ms=start_ms,
            end_ms=end_ms,
            uncovered_ms=uncovered_ms(known, start_ms, end_ms),
        )

    def sealed_hours(self, start_ms: int, end_ms: int) -> Iterator[tuple[int, Rollup]]:
        """The sealed hours that touch the window by their start, newest first, each part with its rollup."""
        for hour_ms in reversed(self._held.hours(start_ms, end_ms)):
            for rollup in sorted(self._held.rollups(hour_ms), key=lambda part: part.first_id, reverse=True):
                yield hour_ms, rollup

    def last_trade(self, start_ms: int, end_ms: int) -> TradeColumns:
        """The valid row of the window with the highest id; no row where there is none."""
        last = TradeColumns.empty()
        newest = {hour_ms: self._held.newest_id(hour_ms) for hour_ms in self._held.hours(start_ms, end_ms)}
        for hour_ms in sorted(newest, key=newest.__getitem__, reverse=True):
            if len(last) and int(last.id[0]) > newest[hour_ms]:
                break
            rows = self._rows(hour_ms, start_ms, end_ms)
            found = rows.take(np.flatnonzero(rows.valid)[-1:])
            last = TradeColumns.concat([last, found]).by_id().take(slice(-1, None))
        return last

    def _counts(self, start_ms: int, end_ms: int) -> Iterator[Count]:
        """All rows of the window: of whole hours by their rollups and in memory, of cut hours decoded."""
        for hour_ms in self._held.hours(start_ms, end_ms):
            if self._held.is_whole(hour_ms, start_ms, end_ms):
                yield from map(Count.of_block, self._held.rollups(hour_ms))
                yield from map(Count.of_rows, self._held.open_rows(hour_ms))
            elif len(rows := self._rows(hour_ms, start_ms, end_ms)):
                yield Count.of_rows(rows)

    def _histogram_of(self, part: TradeColumns, *, exact: bool) -> PriceHistogram:
        """The histogram of rows in memory; those of parts that are large are kept, in bins."""
        if exact or len(part) < LARGE:
            return PriceHistogram.of(part)
        return self._worked_out.histograms.of(
            (self._symbol, *_identity(part)), lambda: binned(PriceHistogram.of(part))
        )

    def _rows(self, hour_ms: int, start_ms: int, end_ms: int) -> TradeColumns:
        """The rows of an hour that lie in the window, from its blocks and from memory."""
        part = max(start_ms, hour_ms), min(end_ms, hour_ms + keys.HOUR_MS)
        if part in self._decoded:
            return self._decoded[part]
        parts = [*self._sealed_rows(hour_ms, part), *self._held.open_rows(hour_ms)]
        rows = TradeColumns.concat(parts).by_id().within(*part)
        # Whole hours stream by: one that stayed would be memory that the next cannot be decoded into.
        if part != (hour_ms, hour_ms + keys.HOUR_MS):
            while len(self._decoded) >= KEPT_PARTS:
                self._decoded.pop(next(iter(self._decoded)))
            self._decoded[part] = rows
        return rows

    def _sealed_rows(self, hour_ms: int, wanted: tuple[int, int]) -> list[TradeColumns]:
        """The rows of an hour's blocks."""
        if hour_ms not in self._held.sealed:
            return []
        if wanted == (hour_ms, hour_ms + keys.HOUR_MS):
            return list(self._sealed.blocks([hour_ms], Block.trades))
        return [self._sealed.rows(hour_ms)]


def _identity(rows: TradeColumns) -> tuple[int, int, int]:
    """What tells rows in memory from others of their symbol: an id is held once, and never changes."""
    return int(rows.id[0]), int(rows.id[-1]), len(rows)
