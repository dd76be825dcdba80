"""What is asked, and what every way of answering must agree on to the last integer.

Invariant: rows are on the absolute grid of `row_ticks` ticks, quantities are whole lots.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from analytics.profile import poc_row, value_area
from storage.trades import IntArray


@dataclass(frozen=True, slots=True)
class Question:
    """The profile of [start_ms, end_ms) in rows of `row_ticks` ticks; without levels, its rows alone."""

    start_ms: int
    end_ms: int
    row_ticks: int
    levels: bool = True


@dataclass(frozen=True, slots=True)
class Levels:
    """Rows on the absolute grid."""

    poc: int
    val: int
    vah: int


@dataclass(frozen=True, slots=True, eq=False)
class RowSums:
    """What takers bought and sold: (rows,) lots from row `first` to the last traded one, zero-filled."""

    first: int
    buy: IntArray
    sell: IntArray

    @classmethod
    def of_groups(cls, row: IntArray, volume: IntArray, sell: IntArray) -> Self:
        """Rows in any order, none twice, as a GROUP BY gives them."""
        first = int(row.min())
        sums = np.zeros((2, int(row.max()) - first + 1), np.int64)
        sums[0, row - first] = volume - sell
        sums[1, row - first] = sell
        return cls(first, sums[0], sums[1])

    def levels(self) -> Levels:
        """POC and value area by the project's own arithmetic, so that only the way to the rows differs."""
        volume = self.buy + self.sell
        poc = poc_row(volume)
        val, vah = value_area(volume, poc)
        return Levels(self.first + poc, self.first + val, self.first + vah)


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    sums: RowSums
    levels: Levels | None

    @classmethod
    def of(cls, sums: RowSums, question: Question) -> Self:
        return cls(sums, sums.levels() if question.levels else None)

    def agrees_with(self, other: "Answer") -> bool:
        ours, theirs = self.sums, other.sums
        return (
            (self.levels, ours.first) == (other.levels, theirs.first)
            and np.array_equal(ours.buy, theirs.buy)
            and np.array_equal(ours.sell, theirs.sell)
        )
