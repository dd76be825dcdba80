"""The rivals' file: the same trades, all seven columns, as Parquet at its best.

Invariant: integers on the tick and the lot, sorted by time; prices, quantities and ids delta-encoded
(DELTA_BINARY_PACKED, no dictionary) and zstd behind it, a third of what the defaults take.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.synthetic import SyntheticTape
from storage.trades import IntArray

# DuckDB's own size: it reads by the group, and fewer or more rows in one are not faster.
ROWS_IN_GROUP = 122_880
DELTAS = ("id", "time", "price", "quantity", "first_id", "last_id")


def write_parquet(path: Path, tape: SyntheticTape) -> None:
    trades = tape.all()
    instrument = tape.instrument
    decimals = -int(instrument.tick.as_tuple().exponent), -int(instrument.lot.as_tuple().exponent)
    if (trades.price_exp, trades.quantity_exp) != decimals:
        raise ValueError(f"prices and quantities are not in ticks and lots but at {decimals} decimals")
    columns = {
        "id": trades.id,
        "time": trades.time_ms,
        "price": _narrow(trades.price_int),
        "quantity": _narrow(trades.quantity_int),
        "first_id": trades.first_id,
        "last_id": trades.last_id,
        "maker": trades.buyer_is_maker,
    }
    pq.write_table(
        pa.table(columns),
        path,
        compression="zstd",
        use_dictionary=False,
        column_encoding=dict.fromkeys(DELTAS, "DELTA_BINARY_PACKED"),
        row_group_size=ROWS_IN_GROUP,
    )


def _narrow(values: IntArray) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """32 bits, which all rivals read and add faster."""
    if int(values.max()) >= 2**31:
        raise ValueError(f"{values.max()} does not fit in 32 bits")
    return values.astype(np.int32)
