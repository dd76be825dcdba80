"""Strokes: consecutive prints of one millisecond and side, taken together, as columns.

Invariant: sums of a stroke are exact; a stroke is what the tape shows as one, never called an order.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from analytics.rows import exact_total
from storage.trades import INT64_MAX, BoolArray, IntArray, TradeColumns


@dataclass(frozen=True, slots=True, eq=False)
class StrokeColumns:
    """(strokes,) columns: where each begins and ends, how many distinct prices it has, what it traded."""

    time_ms: IntArray
    bought: BoolArray
    first_id: IntArray
    last_id: IntArray
    prices: IntArray
    first_price: IntArray
    last_price: IntArray
    quantity: IntArray
    notional: IntArray

    def __len__(self) -> int:
        return len(self.notional)

    @classmethod
    def none(cls) -> "StrokeColumns":
        empty = np.empty(0, np.int64)
        return cls(empty, np.empty(0, np.bool_), *[empty] * 7)

    @classmethod
    def joined(cls, one: "StrokeColumns", other: "StrokeColumns") -> "StrokeColumns":
        if len(other) == 0:
            return one
        columns: dict[str, Any] = {
            each.name: np.concatenate([getattr(one, each.name), getattr(other, each.name)])
            for each in fields(cls)
        }
        return cls(**columns)

    def take(self, rows: IntArray | BoolArray) -> "StrokeColumns":
        columns: dict[str, Any] = {each.name: getattr(self, each.name)[rows] for each in fields(self)}
        return StrokeColumns(**columns)

    def largest(self, count: int) -> "StrokeColumns":
        """By notional, of equals the earlier."""
        return self.take(np.lexsort((self.first_id, -self.notional))[:count])


@dataclass(frozen=True, slots=True, eq=False)
class ChunkStrokes:
    """The strokes of a chunk's rows as far as all of them matter; what else they are is gathered for few.

    `first` and `last` are the row each begins and ends with, `prices` counts its distinct prices.
    """

    rows: TradeColumns
    first: IntArray
    last: IntArray
    bought: BoolArray
    prices: IntArray
    notional: IntArray

    def __len__(self) -> int:
        return len(self.first)

    @classmethod
    def of(cls, rows: TradeColumns) -> "ChunkStrokes":
        """The strokes of valid rows with ids ascending, at least one; ValueError where a notional of theirs
        might not fit in 64 bits."""
        if int(rows.price_int.max()) * exact_total(rows.quantity_int) > INT64_MAX:
            raise ValueError("the notional of an hour does not fit in 64 bits")
        first, last = _bounds(rows)
        return cls(
            rows,
            first,
            last,
            bought=~rows.buyer_is_maker[first],
            prices=_distinct_prices(rows.price_int, first, last),
            notional=np.diff(np.cumsum(rows.price_int * rows.quantity_int)[last], prepend=0),
        )

    def picked(self, strokes: IntArray) -> StrokeColumns:
        """All that some of them are."""
        if len(strokes) == 0:
            return StrokeColumns.none()
        rows, first, last = self.rows, self.first[strokes], self.last[strokes]
        so_far = np.cumsum(rows.quantity_int)
        return StrokeColumns(
            rows.time_ms[first],
            self.bought[strokes],
            rows.id[first],
            rows.id[last],
            self.prices[strokes],
            rows.price_int[first],
            rows.price_int[last],
            so_far[last] - so_far[first] + rows.quantity_int[first],
            self.notional[strokes],
        )


def _bounds(rows: TradeColumns) -> tuple[IntArray, IntArray]:
    """First and last row of each stroke: it ends where the id jumps, the millisecond or the side changes."""
    ends = rows.id[1:] != rows.id[:-1] + 1
    ends |= rows.time_ms[1:] != rows.time_ms[:-1]
    ends |= rows.buyer_is_maker[1:] != rows.buyer_is_maker[:-1]
    last = np.append(np.flatnonzero(ends), len(rows) - 1)
    return np.append(0, last[:-1] + 1), last


def _distinct_prices(price: IntArray, first: IntArray, last: IntArray) -> IntArray:
    """How many distinct prices each stroke has."""
    moves = np.diff(price, prepend=price[0])
    ups, downs = (_within(moved, first, last) for moved in (moves > 0, moves < 0))
    prices: IntArray = (ups + downs + 1).astype(np.int64)
    # Where price went to and fro, some were met twice.
    turning = np.flatnonzero((ups > 0) & (downs > 0))
    prices[turning] = _counted_prices(price, first[turning], last[turning])
    return prices


def _within(moved: BoolArray, first: IntArray, last: IntArray) -> IntArray:
    """How many moves there are from the first to the last row of each stroke."""
    so_far = np.cumsum(moved, dtype=np.int32)
    counted: IntArray = so_far[last] - so_far[first]
    return counted


def _counted_prices(price: IntArray, first: IntArray, last: IntArray) -> IntArray:
    """The same by sorting the prices of each stroke."""
    sizes = last + 1 - first
    stroke = np.repeat(np.arange(len(first)), sizes)
    begin = np.cumsum(sizes) - sizes
    ranked = price[np.arange(len(stroke)) + np.repeat(first - begin, sizes)]
    ranked = ranked[np.lexsort((ranked, stroke))]
    another = np.diff(ranked, prepend=-1) != 0
    another[begin] = True
    return np.bincount(stroke, another, len(first)).astype(np.int64)
