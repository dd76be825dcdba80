"""DuckDB over Parquet, at its best here: integers, two threads, the file's metadata kept.

Invariant: what it is asked for is no more than buy and sell volume by row.
"""

from pathlib import Path

import duckdb
import numpy as np

from bench.levels import Question, RowSums
from bench.windows import DAY_H
from storage.keys import HOUR_MS

SETTINGS = ("threads=2", "parquet_metadata_cache=true")
# Bits of a hash table over the file's whole price range. For rows of one tick it halves the time of a week,
# and makes an hour ten times slower; without it DuckDB's own 12 bits.
PERFECT_HASH_BITS = 24
USUAL_BITS = 12
# `quantity * maker::INT` is faster than a CASE or a FILTER, and literals prune row groups as well as
# parameters do.
QUERY = """
SELECT {row} AS row, sum(quantity)::BIGINT AS volume, sum(quantity * maker::INT)::BIGINT AS sell
FROM '{path}' WHERE time >= {start_ms} AND time < {end_ms} GROUP BY row
"""


class DuckDB:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = duckdb.connect()
        for setting in SETTINGS:
            self._connection.execute(f"SET {setting}")

    def rows(self, question: Question) -> RowSums:
        bits = PERFECT_HASH_BITS if question.end_ms - question.start_ms > DAY_H * HOUR_MS else USUAL_BITS
        self._connection.execute(f"SET perfect_ht_threshold={bits}")
        row = "price" if question.row_ticks == 1 else f"price // {question.row_ticks}"
        query = QUERY.format(row=row, path=self._path, start_ms=question.start_ms, end_ms=question.end_ms)
        found = self._connection.execute(query).fetchnumpy()
        return RowSums.of_groups(*(np.asarray(found[name], np.int64) for name in ("row", "volume", "sell")))
