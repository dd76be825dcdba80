"""Strokes: consecutive prints of one millisecond and side, taken together, as columns.

Invariant: sums of a stroke are exact; a stroke is what the tape shows as one, never called an order.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from analytics.rows import exact_total
from storage.trades import INT64_MAX, BoolArray, IntArray, TapeColumns


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

    `first` and `last` are the row each begins and ends with.
    """

    rows: TapeColumns
    first: IntArray
    last: IntArray
    bought: BoolArray
    notional: IntArray

    def __len__(self) -> int:
        return len(self.first)

    @classmethod
    def of(cls, rows: TapeColumns) -> "ChunkStrokes":
        """The strokes of valid rows with ids ascending, at least one; ValueError where a notional of theirs
        might not fit in 64 bits."""
        if int(rows.price_int.max()) * exact_total(rows.quantity_int) > INT64_MAX:
            raise ValueError("the notional of an hour does not fit in 64 bits")
        first, last = _bounds(rows)
        so_far = np.cumsum(rows.price_int * rows.quantity_int)[last]
        return cls(rows, first, last, ~rows.buyer_is_maker[first], np.diff(so_far, prepend=0))

    def with_prices(self, least: int) -> IntArray:
        """Which of them have at least so many distinct prices."""
        long = np.flatnonzero(self.last - self.first >= least - 1)
        found: IntArray = long[
            _distinct_prices(self.rows.price_int, self.first[long], self.last[long]) >= least
        ]
        return found

    def picked(self, strokes: IntArray) -> StrokeColumns:
        """All that some of them are."""
        if len(strokes) == 0:
            return StrokeColumns.none()
        rows, first, last = self.rows, self.first[strokes], self.last[strokes]
        members, begin = _members(first, last)
        return StrokeColumns(
            rows.time_ms[first],
            self.bought[strokes],
            rows.id[first],
            rows.id[last],
            _counted_prices(rows.price_int, first, last),
            rows.price_int[first],
            rows.price_int[last],
            np.add.reduceat(rows.quantity_int[members], begin),
            self.notional[strokes],
        )


def _bounds(rows: TapeColumns) -> tuple[IntArray, IntArray]:
    """First and last row of each stroke: it ends where the id jumps, the millisecond or the side changes."""
    ends = rows.time_ms[1:] != rows.time_ms[:-1]
    ends |= rows.buyer_is_maker[1:] != rows.buyer_is_maker[:-1]
    if int(rows.id[-1]) - int(rows.id[0]) >= len(rows):
        ends |= rows.id[1:] - rows.id[:-1] != 1
    last = np.append(np.flatnonzero(ends), len(rows) - 1)
    return np.append(0, last[:-1] + 1), last


def _distinct_prices(price: IntArray, first: IntArray, last: IntArray) -> IntArray:
    """How many distinct prices each stroke has."""
    moves, ups = (_within(moved, first, last) for moved in (price[1:] != price[:-1], price[1:] > price[:-1]))
    prices: IntArray = (moves + 1).astype(np.int64)
    # Where price went to and fro, some were met twice.
    turning = np.flatnonzero((ups > 0) & (ups < moves))
    prices[turning] = _counted_prices(price, first[turning], last[turning])
    return prices


def _within(moved: BoolArray, first: IntArray, last: IntArray) -> IntArray:
    """How many moves there are from the first to the last row of each stroke."""
    so_far = np.zeros(len(moved) + 1, np.int32)
    np.cumsum(moved, out=so_far[1:])
    counted: IntArray = so_far[last] - so_far[first]
    return counted


def _counted_prices(price: IntArray, first: IntArray, last: IntArray) -> IntArray:
    """The same by sorting the prices of each stroke."""
    members, begin = _members(first, last)
    if len(members) == 0:
        return np.empty(0, np.int64)
    ranked = price[members]
    lowest, highest = int(ranked.min()), int(ranked.max())
    ranked -= lowest
    # Stroke and price in one number, which fits wherever the notional of all rows does.
    ranked += np.repeat(np.arange(len(first)) * (highest - lowest + 1), last + 1 - first)
    ranked.sort()
    another = np.diff(ranked, prepend=-1) != 0
    return np.add.reduceat(another, begin, dtype=np.int64)


def _members(first: IntArray, last: IntArray) -> tuple[IntArray, IntArray]:
    """The rows of some strokes, one stroke after the other, and where among them each begins."""
    sizes = last + 1 - first
    begin = np.cumsum(sizes) - sizes
    return np.arange(int(sizes.sum())) + np.repeat(first - begin, sizes), begin
