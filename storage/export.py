"""Trades as others take them: in id order a piece at a time, as a data frame, an Arrow table or lines of CSV.

Invariant: every price and quantity is exact, with 8 decimals, and every row is there, the ones that the
exchange marked invalid (quantity 0) included. pandas and pyarrow are imported where they are used, and there
alone: nothing else of tapedeck needs them.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from storage import keys
from storage.held_ids import HeldIds, Run
from storage.rollups import CANONICAL_EXP
from storage.trades import IntArray, TapeColumns, TradeColumns

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T", bound=TapeColumns)

# 19 digits hold every 64-bit integer.
DIGITS = 19
UNIT = 10**CANONICAL_EXP
# The order of the exchange's own files.
HEADER = "id,price,quantity,first_id,last_id,time,buyer_is_maker\n"
# Rows that become text at once: as Python objects each takes ten times its columns.
ROWS_AS_TEXT = 20_000


def in_id_order(chunks: Iterable[T], id_spans: Mapping[int, tuple[int, int]]) -> Iterator[T]:
    """The rows of all chunks, ids ascending over all of them.

    Each chunk holds rows of one hour, ids ascending, hours ascending; `id_spans` has the smallest and the
    greatest id of every hour. Times step back here and there, so an hour may hold ids beyond the first ones
    of a later hour: they are held back until those have come. No more than these are kept.
    """
    least_later = _least_later(id_spans)
    held: T | None = None
    for chunk in chunks:
        if len(chunk) == 0:
            continue
        held = chunk if held is None else type(chunk).concat([held, chunk]).by_id()
        least = least_later[keys.hour_of(int(chunk.time_ms[0]))]
        ready = len(held) if least is None else int(np.searchsorted(held.id, least))
        if ready:
            yield held.take(slice(0, ready))
            held = held.take(slice(ready, None)) if ready < len(held) else None
    if held is not None:
        yield held


def _least_later(id_spans: Mapping[int, tuple[int, int]]) -> dict[int, int | None]:
    """The smallest id of all hours after an hour; None for the last."""
    least: int | None = None
    later: dict[int, int | None] = {}
    for hour_ms in sorted(id_spans, reverse=True):
        later[hour_ms] = least
        first_id = id_spans[hour_ms][0]
        least = first_id if least is None else min(least, first_id)
    return later


def absent(held: Iterable[Run], first_id: int, last_id: int) -> list[tuple[int, int]]:
    """The ids first_id..last_id that are in none of the runs, as first and last ones."""
    missing, next_id = [], first_id
    for run in HeldIds(held).runs:
        if run.first_id > next_id:
            missing.append((next_id, min(run.first_id - 1, last_id)))
        next_id = max(next_id, run.last_id + 1)
        if next_id > last_id:
            return missing
    return [*missing, (next_id, last_id)]


def frame(trades: TradeColumns) -> "pd.DataFrame":
    """The rows as a pandas data frame: id, time (UTC), price, quantity, first_id, last_id, buyer_is_maker.

    Prices and quantities are exact decimals (Arrow's decimal128), not floats: that is the reader's choice.
    Prices below ten billion have 18 digits, because Arrow multiplies only what fits into 38.
    """
    import pandas as pd

    trades = trades.at_exponents(CANONICAL_EXP, CANONICAL_EXP)
    low_priced = int(trades.price_int.max(initial=0)) < 10 ** (DIGITS - 1)
    price = _decimals(trades.price_int, DIGITS - 1 if low_priced else DIGITS)
    quantity = _decimals(trades.quantity_int, DIGITS)
    return pd.DataFrame(
        {
            "id": trades.id,
            "time": pd.DatetimeIndex(trades.time_ms.astype("datetime64[ms]"), tz="UTC"),
            "price": pd.array(price, dtype=pd.ArrowDtype(price.type)),
            "quantity": pd.array(quantity, dtype=pd.ArrowDtype(quantity.type)),
            "first_id": trades.first_id,
            "last_id": trades.last_id,
            "buyer_is_maker": trades.buyer_is_maker,
        }
    )


def arrow_table(trades: TradeColumns) -> Any:
    """The rows as a `pyarrow.Table` of `arrow_schema`."""
    import pyarrow as pa

    trades = trades.at_exponents(CANONICAL_EXP, CANONICAL_EXP)
    schema = arrow_schema()
    columns = [
        pa.array(trades.id),
        pa.array(trades.time_ms).cast(schema.field("time").type),
        _decimals(trades.price_int, DIGITS),
        _decimals(trades.quantity_int, DIGITS),
        pa.array(trades.first_id),
        pa.array(trades.last_id),
        pa.array(trades.buyer_is_maker),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def arrow_schema() -> Any:
    """The columns of an exported table; none is ever null."""
    import pyarrow as pa

    decimal = pa.decimal128(DIGITS, CANONICAL_EXP)
    types = {
        "id": pa.int64(),
        "time": pa.timestamp("ms", "UTC"),
        "price": decimal,
        "quantity": decimal,
        "first_id": pa.int64(),
        "last_id": pa.int64(),
        "buyer_is_maker": pa.bool_(),
    }
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in types.items()])


def _decimals(values: IntArray, digits: int) -> Any:
    """Integers in units of 1e-8 as Arrow's decimals: 128 bits each, little-endian two's complement."""
    import pyarrow as pa

    words = np.empty((len(values), 2), "<i8")
    words[:, 0] = values
    words[:, 1] = values >> 63
    kind = pa.decimal128(digits, CANONICAL_EXP)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(words)])


def csv_lines(trades: TradeColumns) -> Iterator[str]:
    """The rows as CSV in the columns of `HEADER`, some thousand lines a text.

    Times are UTC milliseconds, prices and quantities have 8 decimals.
    """
    trades = trades.at_exponents(CANONICAL_EXP, CANONICAL_EXP)
    for start in range(0, len(trades), ROWS_AS_TEXT):
        yield _as_text(trades.take(slice(start, start + ROWS_AS_TEXT)))


def _as_text(trades: TradeColumns) -> str:
    # The % operator takes two thirds of a format string's time.
    form = "%d,%d.%08d,%d.%08d,%d,%d,%d,%s\n"
    price, price_rest = np.divmod(trades.price_int, UNIT)
    quantity, quantity_rest = np.divmod(trades.quantity_int, UNIT)
    maker = np.where(trades.buyer_is_maker, "true", "false")
    columns: list[Any] = [trades.id, price, price_rest, quantity, quantity_rest]
    columns += [trades.first_id, trades.last_id, trades.time_ms, maker]
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return "".join([form % row for row in rows])
