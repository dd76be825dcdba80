"""The rivals beside DuckDB: polars and pandas over the same Parquet file, and the floor.

Invariant: each gives buy and sell volume by row and nothing else; what the ledger's answer has beyond that
(numbers of trades, VWAP and sigma, extremes) is not asked of them.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import polars as pl

from bench.levels import Question, RowSums
from storage.trades import TradeColumns

# np.bincount adds in float64, which is exact for integers below this bound.
FLOAT_EXACT = 2**53
COLUMNS = ["time", "price", "quantity", "maker"]


class Polars:
    """A lazy scan; which engine is faster depends on the window, so both are measured."""

    def __init__(self, path: Path, engine: Literal["in-memory", "streaming"]) -> None:
        self._path = path
        self._engine = engine

    def rows(self, question: Question) -> RowSums:
        quantity = pl.col("quantity").cast(pl.Int64)
        inside = (pl.col("time") >= question.start_ms) & (pl.col("time") < question.end_ms)
        found = (
            pl.scan_parquet(self._path)
            .filter(inside)
            .group_by((pl.col("price") // question.row_ticks).alias("row"))
            .agg(quantity.sum().alias("volume"), quantity.filter(pl.col("maker")).sum().alias("sell"))
            .collect(engine=self._engine)
        )
        row, volume, sell = (found[name].cast(pl.Int64).to_numpy() for name in ("row", "volume", "sell"))
        return RowSums.of_groups(row, volume, sell)


class Pandas:
    """`read_parquet` of the columns and row groups that are needed, then one `groupby`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def rows(self, question: Question) -> RowSums:
        inside = [("time", ">=", question.start_ms), ("time", "<", question.end_ms)]
        frame = pd.read_parquet(self._path, columns=COLUMNS, filters=inside)
        frame["sell"] = frame["quantity"].where(frame["maker"], 0)
        row = frame["price"] // question.row_ticks
        found = frame[["quantity", "sell"]].astype(np.int64).groupby(row).sum()
        return RowSums.of_groups(
            found.index.to_numpy().astype(np.int64), found["quantity"].to_numpy(), found["sell"].to_numpy()
        )


class Floor:
    """Int64 columns that are in memory already, bincount by 64 Ki trades: the floor for whatever looks at
    every trade. Times ascend, and the price range of each chunk is known beforehand."""

    CHUNK = 1 << 16

    def __init__(self, trades: TradeColumns) -> None:
        if bool(np.any(np.diff(trades.time_ms) < 0)) or int(trades.quantity_int.sum()) >= FLOAT_EXACT:
            raise ValueError("times step back, or quantities are too large for sums in float64")
        self._time_ms = trades.time_ms
        self._price = trades.price_int
        self._quantity = trades.quantity_int
        self._maker = trades.buyer_is_maker
        chunks = np.arange(0, len(trades), self.CHUNK)
        self._low = np.minimum.reduceat(trades.price_int, chunks)
        self._high = np.maximum.reduceat(trades.price_int, chunks)

    def rows(self, question: Question) -> RowSums:
        start, stop = np.searchsorted(self._time_ms, [question.start_ms, question.end_ms]).tolist()
        chunks = range(start // self.CHUNK, -(-stop // self.CHUNK))
        low = self._low[chunks.start : chunks.stop] // question.row_ticks
        first = int(low.min())
        last = int(self._high[chunks.start : chunks.stop].max()) // question.row_ticks
        sums = np.zeros(2 * (last - first + 1))
        for chunk, lowest in zip(chunks, low.tolist(), strict=True):
            rows = slice(max(start, chunk * self.CHUNK), min(stop, (chunk + 1) * self.CHUNK))
            cell = self._price[rows] // question.row_ticks
            cell -= lowest  # a chunk's prices lie close together: its cells stay in the cache
            cell *= 2
            cell += self._maker[rows]
            counted = np.bincount(cell, self._quantity[rows])
            place = 2 * (lowest - first)
            sums[place : place + len(counted)] += counted
        return _trimmed(first, sums)


def _trimmed(first: int, sums: np.ndarray[tuple[int], np.dtype[np.float64]]) -> RowSums:
    """From the first to the last row with volume; cells alternate between buy and sell."""
    sides = sums.astype(np.int64).reshape(-1, 2)
    traded = np.flatnonzero(sides.any(axis=1))
    low, high = int(traded[0]), int(traded[-1]) + 1
    return RowSums(first + low, sides[low:high, 0], sides[low:high, 1])
