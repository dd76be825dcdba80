"""Large trades, sweeps and sizes: prints of one moment and side taken together before they are measured.

Invariant: an aggTrade is one taker's fills at one price, so prints are grouped first; a group is what the
tape shows as one stroke, never called an order. Read once, chunk by chunk; what is kept does not grow with
the trades but for the thousandth that may be large.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Literal

import numpy as np

from analytics.errors import NoTrades
from analytics.largest import Tally, TopShare
from analytics.rows import exact_total
from analytics.strokes import ChunkStrokes, StrokeColumns
from storage.candles import MinuteCandles
from storage.histograms import exact_bincount
from storage.trades import INT64_MAX, IntArray, TapeColumns, decimal_of

Side = Literal["buy", "sell"]

# Integers below this are exact in float64.
FLOAT_EXACT = 2**53
# A sweep takes at least this many prices.
SWEEP_PRICES = 3
# Large is what reaches the 99.9th percentile: one group of this many.
LARGE_ONE_IN = 1_000
# Sizes go by powers of two of the quote asset; 2**60 of it have never been traded at once.
SIZES = 64
SMALLEST_POWER = -4
# Of float64: bits below the exponent, and the exponent of what begins at a half.
MANTISSA_BITS, HALF_EXPONENT = 52, 1022


@dataclass(frozen=True, slots=True)
class Stroke:
    """Consecutive aggTrade ids of one millisecond and side, together.

    `quantity` is in the base asset, `notional` in the quote asset. `prices` counts distinct prices, from
    `first_price` to `last_price`; `slip_bps` is how far the last is beyond the first in the taker's
    direction, in 1/100 %.
    """

    time_ms: int
    side: Side
    first_id: int
    last_id: int
    prices: int
    first_price: Decimal
    last_price: Decimal
    quantity: Decimal
    notional: Decimal
    slip_bps: float


@dataclass(frozen=True, slots=True)
class Strokes:
    """How many strokes of a kind there were on each side, their notional in the quote asset, and the largest
    by notional, of equals the earlier."""

    buys: int
    sells: int
    buy_notional: Decimal
    sell_notional: Decimal
    largest: tuple[Stroke, ...]

    @property
    def count(self) -> int:
        return self.buys + self.sells

    @property
    def net_notional(self) -> Decimal:
        return self.buy_notional - self.sell_notional


@dataclass(frozen=True, slots=True)
class SizeBucket:
    """Strokes with `at_least` <= notional < `below`, in the quote asset; the first begins at 0."""

    at_least: Decimal
    below: Decimal
    buys: int
    sells: int
    buy_notional: Decimal
    sell_notional: Decimal


@dataclass(frozen=True, slots=True)
class TapeStrokes:
    """What a window's tape is made of: `strokes` in all, those that are `large` from `threshold` on (in the
    quote asset), `sweeps` of 3 prices and more with their share of all notional, and the sizes."""

    strokes: int
    threshold: Decimal
    large: Strokes
    sweeps: Strokes
    sweep_share_pct: float
    sizes: tuple[SizeBucket, ...]


def tape_strokes(
    trades: Iterable[TapeColumns], candles: MinuteCandles, *, min_notional: Decimal | None = None
) -> TapeStrokes:
    """Large trades, sweeps and sizes of `trades`, chunks in id order, of which `candles` are the candles.

    Large is a stroke whose notional is at least `min_notional`, or the 99.9th percentile of all strokes by
    nearest rank. Raises NoTrades; ValueError where a notional does not fit in 64 bits.
    """
    strokes = StrokePass(candles, min_notional=min_notional)
    for chunk in trades:
        strokes.read(chunk)
    return strokes.result()


class StrokePass:
    """The same, kept up while `read` takes the chunks; no millisecond may be cut by the end of a chunk."""

    def __init__(self, candles: MinuteCandles, *, min_notional: Decimal | None = None) -> None:
        self._price_exp, self._quantity_exp = candles.price_exp, candles.quantity_exp
        self._exponent = candles.price_exp + candles.quantity_exp
        self._asked = None if min_notional is None else _units(min_notional, self._exponent)
        self._asked_large = Tally()
        # There are no more strokes than trades, so that the thousandth of them are among these.
        self._large = TopShare(exact_total(candles.trades) // LARGE_ONE_IN + 1)
        self._sweeps = Tally()
        self._sizes = np.zeros((2, SIZES), np.int64)
        # Of Python's integers, since all hours together may exceed 64 bits.
        self._size_sums = np.zeros((2, SIZES), np.object_)

    def read(self, chunk: TapeColumns) -> None:
        """Takes in the next trades; those marked invalid do not count."""
        rows = chunk.of_valid()
        if len(rows) == 0:
            return
        found = ChunkStrokes.of(rows.at_exponents(self._price_exp, self._quantity_exp))
        self._sweeps.add(found, found.with_prices(SWEEP_PRICES))
        self._count_sizes(found)
        if self._asked is None:
            self._large.add(found)
        else:
            self._asked_large.add(found, np.flatnonzero(found.notional >= min(self._asked, INT64_MAX)))

    def result(self) -> TapeStrokes:
        """What has been read. Raises NoTrades where that is nothing."""
        strokes = int(self._sizes.sum())
        if strokes == 0:
            raise NoTrades
        threshold, large = self._found_large(strokes)
        return TapeStrokes(
            strokes=strokes,
            threshold=decimal_of(threshold, self._exponent),
            large=self._strokes(large),
            sweeps=self._strokes(self._sweeps),
            sweep_share_pct=100 * sum(self._sweeps.sums.notional) / int(self._size_sums.sum()),
            sizes=self._buckets(),
        )

    def _found_large(self, strokes: int) -> tuple[int, Tally]:
        """The notional from which a stroke is large, the value of rank ceil(0.999 n) of n, and the large."""
        if self._asked is not None:
            return self._asked, self._asked_large
        return self._large.from_the(strokes - -(-(LARGE_ONE_IN - 1) * strokes // LARGE_ONE_IN) + 1)

    def _count_sizes(self, found: ChunkStrokes) -> None:
        bucket = size_bucket(found.notional, self._exponent)
        cells = bucket + np.multiply(~found.bought, SIZES, dtype=np.int64)
        self._sizes += np.bincount(cells, minlength=2 * SIZES).reshape(2, SIZES)
        self._size_sums += exact_bincount(cells, found.notional, 2 * SIZES).reshape(2, SIZES)

    def _strokes(self, tally: Tally) -> Strokes:
        buys, sells = (decimal_of(total, self._exponent) for total in tally.sums.notional)
        listed = tuple(self._stroke(tally.largest, i) for i in range(len(tally.largest)))
        return Strokes(*tally.sums.count, buys, sells, listed)

    def _stroke(self, kept: StrokeColumns, i: int) -> Stroke:
        first, last = int(kept.first_price[i]), int(kept.last_price[i])
        bought = bool(kept.bought[i])
        return Stroke(
            time_ms=int(kept.time_ms[i]),
            side="buy" if bought else "sell",
            first_id=int(kept.first_id[i]),
            last_id=int(kept.last_id[i]),
            prices=int(kept.prices[i]),
            first_price=decimal_of(first, self._price_exp),
            last_price=decimal_of(last, self._price_exp),
            quantity=decimal_of(int(kept.quantity[i]), self._quantity_exp),
            notional=decimal_of(int(kept.notional[i]), self._exponent),
            slip_bps=10_000 * (last - first) * (1 if bought else -1) / first,
        )

    def _buckets(self) -> tuple[SizeBucket, ...]:
        """From the smallest to the largest that holds a stroke."""
        used = np.flatnonzero(self._sizes.any(axis=0))
        return tuple(
            SizeBucket(
                Decimal(0) if i == 0 else Decimal(2) ** (i + SMALLEST_POWER - 1),
                Decimal(2) ** (i + SMALLEST_POWER),
                int(self._sizes[0, i]),
                int(self._sizes[1, i]),
                decimal_of(int(self._size_sums[0, i]), self._exponent),
                decimal_of(int(self._size_sums[1, i]), self._exponent),
            )
            for i in range(int(used[0]), int(used[-1]) + 1)
        )


def size_bucket(notional: IntArray, exponent: int) -> IntArray:
    """Which power of two of the quote asset each notional, `* 10**-exponent`, has just not reached: bucket i
    holds 2**(i - 5) <= notional < 2**(i - 4), bucket 0 all below 2**-4."""
    if int(notional.max(initial=0)) < FLOAT_EXACT:
        # The quotient of such integers never rounds up to a power of two that it does not reach.
        power = ((notional / 10**exponent).view(np.int64) >> MANTISSA_BITS) - HALF_EXPONENT
    else:
        reached = [_units(Decimal(2) ** n, exponent) for n in range(SMALLEST_POWER, SMALLEST_POWER + SIZES)]
        edges = np.array([min(edge, INT64_MAX) for edge in reached])
        power = np.searchsorted(edges, notional, side="right").astype(np.int64) + SMALLEST_POWER
    bucket: IntArray = np.clip(power - SMALLEST_POWER, 0, SIZES - 1)
    return bucket


def _units(value: Decimal, exponent: int) -> int:
    """The least integer at `exponent` decimals that is no less."""
    return int(value.scaleb(exponent).to_integral_value(ROUND_CEILING))
