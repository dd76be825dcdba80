"""Sealing: what an hour's rows become, and which records they replace.

Invariant: the records put and the records removed are one write, so a row is in exactly one form.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from storage import keys
from storage.blocks import encode_block
from storage.candle_records import encode_candles
from storage.candles import MinuteCandles
from storage.rollups import Rollup, encode_rollup, rollup_of
from storage.trades import TradeColumns

# An hour is finished this long after its end: trades are at most seconds late.
SEAL_GRACE_MS = 60_000
# Rows in a block beyond which further ones go into a block of their own.
MOST_IN_BLOCK = 1_000_000


@dataclass(frozen=True, slots=True)
class Sealed:
    """An hour (or a part of one) that became a block: its rows and the bytes of its records."""

    symbol: str
    hour_ms: int
    rows: int
    size: int


@dataclass(frozen=True, slots=True)
class Sealing:
    """Part `part` of an hour as it will be: the records to put and the keys to remove."""

    part: int
    rollup: Rollup
    records: Mapping[bytes, bytes]
    removed: list[bytes]


def sealing_of(
    symbol: str,
    hour_ms: int,
    rows: TradeColumns,
    known: Mapping[int, Rollup],
    block_rows: Callable[[int], TradeColumns],
    *,
    most_rows: int = MOST_IN_BLOCK,
) -> Sealing:
    """One hour's unsealed rows, ids ascending, joined with the last of its blocks unless it grows too large.

    `known` are the rollups of the blocks there are, by part; `block_rows` reads a part's rows.
    """
    part, merged = max(known, default=-1) + 1, rows
    if known and known[part - 1].rows + len(rows) <= most_rows:
        part -= 1
        merged = TradeColumns.concat([block_rows(part), rows]).by_id()
    rollup = rollup_of(merged)
    records = {
        keys.block(symbol, hour_ms, part): encode_block(merged),
        keys.rollup(symbol, hour_ms, part): encode_rollup(rollup),
        keys.candles(symbol, hour_ms, part): encode_candles(MinuteCandles.of(merged), hour_ms),
    }
    return Sealing(part, rollup, records, second_keys(symbol, rows))


def second_keys(symbol: str, rows: TradeColumns) -> list[bytes]:
    """The keys of the second-batches that hold these rows."""
    seconds = np.unique(rows.time_ms // keys.SECOND_MS * keys.SECOND_MS)
    return [keys.trades(symbol, second_ms) for second_ms in seconds.tolist()]
