"""What a sealed hour says without its trades: their histogram by price, their ids and times, their digest.

Invariant: a rollup is a pure function of the rows of its block; sums over rollups equal sums over trades.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np
import ormsgpack

from storage.errors import CorruptRecord, NewerFormat
from storage.histograms import PriceHistogram, PriceTotals
from storage.packing import pack, unpack
from storage.trades import IntArray, TradeColumns

# On disk: never reuse a number.
UNSIGNED = 1  # without a checksum
ROLLUP = 2
READ = (UNSIGNED, ROLLUP)
# Bytes of the checksum, which are the record's last.
CRC = 4
# A bin is the largest power of ten of price units within this share of the price.
BIN_SHARE = 50_000
# The exchange's own precision, in which a digest is taken.
CANONICAL_EXP = 8
CANONICAL = np.dtype(
    [("a", "<i8"), ("T", "<i8"), ("p", "<i8"), ("q", "<i8"), ("f", "<i8"), ("l", "<i8"), ("m", "u1")]
)
_COLUMNS = {"p": "price_int", "b": "buy", "s": "sell", "nb": "buy_trades", "ns": "sell_trades"}


class Deferred:
    """A histogram that is decoded when it is first asked for; by two threads at once perhaps twice."""

    def __init__(self, decode: Callable[[], PriceHistogram]) -> None:
        self._decode: Callable[[], PriceHistogram] | None = decode

    def __call__(self) -> PriceHistogram:
        decode = self._decode
        if decode is not None:
            self._histogram = decode()
            self._decode = None  # and with it go the bytes
        return self._histogram


@dataclass(frozen=True, slots=True, eq=False)
class Rollup:
    """One block in short: `rows` ids, of which `valid` are trades with volume."""

    rows: int
    valid: int
    first_id: int
    last_id: int
    first_ms: int
    last_ms: int
    digest: bytes
    summed: Deferred = field(compare=False)

    @property
    def histogram(self) -> PriceHistogram:
        """The valid trades in bins, or by exact price. Raises `CorruptRecord`."""
        return self.summed()


def rollup_of(trades: TradeColumns) -> Rollup:
    """The rollup of one block's rows, ids ascending, at least one; times are of the first and last id."""
    histogram = binned(PriceHistogram.of(trades))
    return Rollup(
        rows=len(trades),
        valid=int(trades.valid.sum()),
        first_id=int(trades.id[0]),
        last_id=int(trades.id[-1]),
        first_ms=int(trades.time_ms[0]),
        last_ms=int(trades.time_ms[-1]),
        digest=digest_of(trades),
        summed=Deferred(lambda: histogram),
    )


def binned(histogram: PriceHistogram) -> PriceHistogram:
    """An exact histogram in the bins of a rollup; as it is where those would be single price units."""
    width = bin_width(histogram.totals.low) if histogram.totals is not None else 1
    return histogram.in_bins(width) if width > 1 else histogram


def bin_width(price: int) -> int:
    """The largest power of ten that is at most 2e-5 of the price, at least 1; both in price units."""
    width = 1
    while width * 10 * BIN_SHARE <= price:
        width *= 10
    return width


def digest_of(trades: TradeColumns) -> bytes:
    """SHA-256 over the rows, ids ascending, in their canonical form."""
    return hashlib.sha256(canonical_rows(trades)).digest()


def canonical_rows(trades: TradeColumns) -> bytes:
    """Each row as 49 bytes: a, T, p, q, f, l as little-endian 64-bit integers, p and q in units of 1e-8, and
    m as 0 or 1."""
    trades = trades.at_exponents(CANONICAL_EXP, CANONICAL_EXP)
    rows = np.empty(len(trades), CANONICAL)
    rows["a"], rows["T"], rows["p"] = trades.id, trades.time_ms, trades.price_int
    rows["q"], rows["f"], rows["l"] = trades.quantity_int, trades.first_id, trades.last_id
    rows["m"] = trades.buyer_is_maker
    return rows.tobytes()


def encode_rollup(rollup: Rollup) -> bytes:
    """MessagePack map; the sums of notional exceed 64 bits and are decimal text. The checksum comes last."""
    histogram, totals = rollup.histogram, rollup.histogram.totals
    record: dict[str, Any] = {
        "v": ROLLUP,
        "n": rollup.rows,
        "valid": rollup.valid,
        "i0": rollup.first_id,
        "i1": rollup.last_id,
        "t0": rollup.first_ms,
        "t1": rollup.last_ms,
        "sha256": rollup.digest,
        "pe": histogram.price_exp,
        "qe": histogram.quantity_exp,
        "w": histogram.bin_int,
        "prices": len(histogram),
    }
    if totals is not None:
        record |= {"lo": totals.low, "hi": totals.high, "g": totals.divisor}
        record |= {"pq": str(totals.notional), "ppq": str(totals.square_notional)}
        for name, column in _COLUMNS.items():
            record[name] = pack(getattr(histogram, column))
    unsigned = ormsgpack.packb(record | {"crc": bytes(CRC)})[:-CRC]
    return unsigned + _checksum(unsigned)


def _checksum(value: bytes) -> bytes:
    return crc32(value).to_bytes(CRC, "big")


def decode_rollup(value: bytes) -> Rollup:
    """The rollup in `value`. Raises `CorruptRecord` and `NewerFormat`.

    Where its checksum vouches for the columns they are decoded when they are first asked for.
    """
    with _decoding(value):
        record = ormsgpack.unpackb(value)
        if record["v"] not in READ:
            raise NewerFormat(f"rollup version {record['v']}; this tapedeck reads {list(READ)}")
        rollup = _rollup(value, record)
        if record["v"] == UNSIGNED:
            _ = rollup.histogram
        elif value[-CRC:] != _checksum(value[:-CRC]):
            raise ValueError("checksum differs")
        return rollup


def _rollup(value: bytes, record: dict[str, Any]) -> Rollup:
    numbers = [record[name] for name in ("n", "valid", "i0", "i1", "t0", "t1", "pe", "qe")]
    if (
        not all(isinstance(number, int) for number in numbers)
        or record["n"] > record["i1"] - record["i0"] + 1
    ):
        raise ValueError("its head holds no ids")
    return Rollup(
        rows=record["n"],
        valid=record["valid"],
        first_id=record["i0"],
        last_id=record["i1"],
        first_ms=record["t0"],
        last_ms=record["t1"],
        digest=record["sha256"],
        summed=Deferred(partial(_decoded_histogram, value)),
    )


def _decoded_histogram(value: bytes) -> PriceHistogram:
    with _decoding(value):
        return _histogram(ormsgpack.unpackb(value))


def _histogram(record: dict[str, Any]) -> PriceHistogram:
    totals = None
    columns: list[IntArray] = [np.empty(0, np.int64)] * len(_COLUMNS)
    if "pq" in record:
        totals = PriceTotals(record["lo"], record["hi"], record["g"], int(record["pq"]), int(record["ppq"]))
        columns = [unpack(record[name], record["prices"]).astype(np.int64, copy=False) for name in _COLUMNS]
    price, buy, sell, buy_trades, sell_trades = columns
    return PriceHistogram(
        price, buy, sell, buy_trades, sell_trades, record["pe"], record["qe"], totals, record["w"]
    )


@contextmanager
def _decoding(value: bytes) -> Iterator[None]:
    """Whatever bytes that are no rollup lead to is a damaged record."""
    try:
        yield
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CorruptRecord(f"rollup of {len(value)} bytes is not what the format says: {error}") from error
