"""Files of trades as columns: what `tapedeck export` writes, and the exchange's daily dumps.

Invariant: every row of a file comes back exactly, in id order, or the file is refused by name.
"""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from collectors.archive import csv_chunks
from collectors.dump import CHUNK_BYTES, DumpError, DumpSlice, parse_dump
from storage.rollups import CANONICAL_EXP
from storage.trades import IntArray, TradeColumns

ALL_TIME_MS = 0, 2**62


def read_trades(path: Path | str) -> TradeColumns:
    """The trades of a `.parquet`, `.csv` or `.csv.gz` export, or of a dump as `.csv` or `.zip`.

    Raises `DumpError` for a file that cannot be read or has a line that is no trade, OSError where it cannot
    be opened.
    """
    path = Path(path)
    if path.suffix == ".parquet":
        return _from_parquet(path)
    try:
        with path.open("rb") as file:
            parts = [_whole(part) for part in parse_dump(_chunks(file, path.suffix), *ALL_TIME_MS)]
    except (DumpError, gzip.BadGzipFile, EOFError) as error:
        raise DumpError(f"{path}: {error}") from error
    return TradeColumns.concat(parts).by_id()


def _chunks(file: BinaryIO, suffix: str) -> Iterator[bytes]:
    if suffix == ".zip":
        yield from csv_chunks(file)
    elif suffix == ".gz":
        with gzip.open(file) as text:
            yield from iter(lambda: text.read(CHUNK_BYTES), b"")
    else:
        yield from iter(lambda: file.read(CHUNK_BYTES), b"")


def _whole(part: DumpSlice) -> TradeColumns:
    if part.malformed:
        raise DumpError(f"{part.malformed[0].text!r} is no trade")
    return part.trades


def _from_parquet(path: Path) -> TradeColumns:
    from pyarrow import ArrowInvalid, parquet

    try:
        table = parquet.read_table(path).combine_chunks()
    except ArrowInvalid as error:
        raise DumpError(f"{path}: {error}") from error
    whole = {name: table[name].to_numpy() for name in ("id", "first_id", "last_id", "buyer_is_maker")}
    return TradeColumns(
        id=whole["id"],
        time_ms=table["time"].to_numpy().astype("datetime64[ms]").astype(np.int64),
        price_int=_units(table["price"]),
        quantity_int=_units(table["quantity"]),
        first_id=whole["first_id"],
        last_id=whole["last_id"],
        buyer_is_maker=whole["buyer_is_maker"],
        price_exp=CANONICAL_EXP,
        quantity_exp=CANONICAL_EXP,
    ).by_id()


def _units(column: Any) -> IntArray:
    """Arrow's decimals as integers in units of 1e-8: the low of two words of each, which holds all of it."""
    chunks = [
        np.frombuffer(part.buffers()[1], "<i8")[2 * part.offset :: 2][: len(part)] for part in column.chunks
    ]
    return np.concatenate([*chunks, np.empty(0, np.int64)])
