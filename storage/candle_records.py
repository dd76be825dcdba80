"""Bytes <-> minute candles: the third record of a sealed hour.

Invariant: what is decoded equals what was encoded. docs/storage-format.md holds the layout.
"""

from typing import Any

import numpy as np
import ormsgpack

from storage.candles import MINUTE_MS, MinuteCandles
from storage.errors import CorruptRecord, NewerFormat
from storage.trades import INT64_MAX, IntArray

# On disk: never reuse a number.
CANDLES = 1


def encode_candles(candles: MinuteCandles, hour_ms: int) -> bytes:
    """The candles of one hour as a MessagePack map of plain arrays, most of them steps that are small."""
    volume = (candles.buy + candles.sell).tolist()
    excess = [
        total - low * both
        for total, low, both in zip(candles.notional, candles.low.tolist(), volume, strict=True)
    ]
    record: dict[str, Any] = {
        "v": CANDLES,
        "pe": candles.price_exp,
        "qe": candles.quantity_exp,
        "m": ((candles.minute_ms - hour_ms) // MINUTE_MS).tolist(),
        "l": np.diff(candles.low, prepend=0).tolist(),
        "o": (candles.open - candles.low).tolist(),
        "h": (candles.high - candles.low).tolist(),
        "c": (candles.close - candles.low).tolist(),
        "b": candles.buy.tolist(),
        "s": candles.sell.tolist(),
        "n": candles.trades.tolist(),
        "i": np.diff(candles.first_id, prepend=0).tolist(),
        "k": (candles.last_id - candles.first_id).tolist(),
        "x": excess if max(excess, default=0) <= INT64_MAX else [str(value) for value in excess],
    }
    return ormsgpack.packb(record)


def decode_candles(value: bytes, hour_ms: int) -> MinuteCandles:
    """The candles in `value`. Raises `CorruptRecord` and `NewerFormat`."""
    try:
        record = ormsgpack.unpackb(value)
        if record["v"] != CANDLES:
            raise NewerFormat(f"candles version {record['v']}; this tapedeck reads {CANDLES}")
        return _candles(record, hour_ms)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CorruptRecord(f"candles of {len(value)} bytes are not what the format says: {error}") from error


def _candles(record: dict[str, Any], hour_ms: int) -> MinuteCandles:
    minute, low_step, opening, high, close, buy, sell, trades, id_step, ids = (
        _column(record, name) for name in ("m", "l", "o", "h", "c", "b", "s", "n", "i", "k")
    )
    low, first_id = np.cumsum(low_step), np.cumsum(id_step)
    return MinuteCandles(
        minute_ms=hour_ms + minute * MINUTE_MS,
        open=low + opening,
        high=low + high,
        low=low,
        close=low + close,
        buy=buy,
        sell=sell,
        trades=trades,
        first_id=first_id,
        last_id=first_id + ids,
        notional=tuple(
            int(excess) + least * volume
            for excess, least, volume in zip(record["x"], low.tolist(), (buy + sell).tolist(), strict=True)
        ),
        price_exp=record["pe"],
        quantity_exp=record["qe"],
    )


def _column(record: dict[str, Any], name: str) -> IntArray:
    column = np.array(record[name], np.int64)
    if column.shape != (len(record["m"]),):
        raise CorruptRecord(f"candles have {column.shape} values of {name!r} for {len(record['m'])} minutes")
    return column
