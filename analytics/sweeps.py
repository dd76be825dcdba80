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
from analytics.rows import exact_total
from analytics.strokes import ChunkStrokes, StrokeColumns
from storage.candles import MinuteCandles
from storage.histograms import FLOAT_EXACT, exact_bincount
from storage.trades import INT64_MAX, BoolArray, IntArray, TradeColumns, decimal_of

Side = Literal["buy", "sell"]

# A sweep takes at least this many prices.
SWEEP_PRICES = 3
# Large is what reaches the 99.9th percentile: one group of this many.
LARGE_ONE_IN = 1_000
# The largest of each kind that are kept with all they are.
LISTED = 20
# Sizes go by powers of two of the quote asset; 2**60 of it have never been traded at once.
SIZES = 64
SMALLEST_POWER = -4


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
    trades: Iterable[TradeColumns], candles: MinuteCandles, *, min_notional: Decimal | None = None
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
        # There are no more strokes than trades, so that the thousandth of them are among these.
        self._most_large = exact_total(candles.trades) // LARGE_ONE_IN + 1
        self._count = 0
        self._large = StrokeColumns.none()
        self._floor = 0
        self._sweeps = _Sums()
        self._largest_sweeps = StrokeColumns.none()
        self._all = _Sums()
        self._sizes = np.zeros((2, SIZES), np.int64)
        self._size_sums = np.zeros((2, SIZES), np.int64)

    def read(self, chunk: TradeColumns) -> None:
        """Takes in the next trades; those marked invalid do not count."""
        valid = chunk.valid
        rows = chunk if bool(valid.all()) else chunk.take(valid)
        if len(rows) == 0:
            return
        found = ChunkStrokes.of(rows.at_exponents(self._price_exp, self._quantity_exp))
        self._count += len(found)
        self._all.add(found.notional, found.bought)
        self._count_sizes(found)
        self._keep_large(found)
        self._keep_sweeps(found)

    def result(self) -> TapeStrokes:
        """What has been read. Raises NoTrades where that is nothing."""
        if self._count == 0:
            raise NoTrades
        threshold = self._threshold()
        large = self._large.take(self._large.notional >= threshold)
        sums = _Sums()
        sums.add(large.notional, large.bought)
        return TapeStrokes(
            strokes=self._count,
            threshold=decimal_of(threshold, self._exponent),
            large=self._strokes(sums, large),
            sweeps=self._strokes(self._sweeps, self._largest_sweeps),
            sweep_share_pct=100 * sum(self._sweeps.notional) / sum(self._all.notional),
            sizes=self._buckets(),
        )

    def _keep_large(self, found: ChunkStrokes) -> None:
        """Those that may turn out large: no fewer than the greatest possible number of large ones."""
        least = self._floor if self._asked is None else self._asked
        self._large = StrokeColumns.joined(self._large, found.picked(np.flatnonzero(found.notional >= least)))
        if self._asked is None and len(self._large) > 2 * self._most_large:
            ranked = np.partition(self._large.notional, -self._most_large)
            self._floor = int(ranked[-self._most_large])
            self._large = self._large.take(self._large.notional >= self._floor)

    def _threshold(self) -> int:
        """The notional from which a stroke is large: the value of rank ceil(0.999 n) of n."""
        if self._asked is not None:
            return self._asked
        from_the_top = self._count - -(-(LARGE_ONE_IN - 1) * self._count // LARGE_ONE_IN)
        return int(np.sort(self._large.notional)[-1 - from_the_top])

    def _keep_sweeps(self, found: ChunkStrokes) -> None:
        swept = np.flatnonzero(found.prices >= SWEEP_PRICES)
        notional = found.notional[swept]
        self._sweeps.add(notional, found.bought[swept])
        if len(swept) > LISTED:
            swept = swept[notional >= np.partition(notional, -LISTED)[-LISTED]]
        kept = StrokeColumns.joined(self._largest_sweeps, found.picked(swept))
        self._largest_sweeps = kept.largest(LISTED)

    def _count_sizes(self, found: ChunkStrokes) -> None:
        bucket = size_bucket(found.notional, self._exponent)
        cells = np.where(found.bought, bucket, bucket + SIZES)
        self._sizes += np.bincount(cells, minlength=2 * SIZES).reshape(2, SIZES)
        self._size_sums += exact_bincount(cells, found.notional, 2 * SIZES).reshape(2, SIZES)

    def _strokes(self, sums: "_Sums", kept: StrokeColumns) -> Strokes:
        buys, sells = (decimal_of(total, self._exponent) for total in sums.notional)
        largest = kept.largest(LISTED)
        listed = tuple(self._stroke(largest, i) for i in range(len(largest)))
        return Strokes(*sums.count, buys, sells, listed)

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
        power = np.frexp(notional / 10**exponent)[1].astype(np.int64)
    else:
        reached = [_units(Decimal(2) ** n, exponent) for n in range(SMALLEST_POWER, SMALLEST_POWER + SIZES)]
        edges = np.array([min(edge, INT64_MAX) for edge in reached])
        power = np.searchsorted(edges, notional, side="right").astype(np.int64) + SMALLEST_POWER
    bucket: IntArray = np.clip(power - SMALLEST_POWER, 0, SIZES - 1)
    return bucket


@dataclass(slots=True)
class _Sums:
    """Number and notional of buys and of sells."""

    count: tuple[int, int] = (0, 0)
    notional: tuple[int, int] = (0, 0)

    def add(self, notional: IntArray, bought: BoolArray) -> None:
        buys, every = int(np.count_nonzero(bought)), exact_total(notional)
        bought_for = exact_total(notional[bought])
        self.count = self.count[0] + buys, self.count[1] + len(notional) - buys
        self.notional = self.notional[0] + bought_for, self.notional[1] + every - bought_for


def _units(value: Decimal, exponent: int) -> int:
    """The least integer at `exponent` decimals that is no less."""
    return int(value.scaleb(exponent).to_integral_value(ROUND_CEILING))
