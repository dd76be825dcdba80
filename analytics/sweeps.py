"""Large trades, sweeps and sizes: prints of one moment and side taken together before they are measured.

Invariant: an aggTrade is one taker's fills at one price, so prints are grouped first; a group is what the
tape shows as one stroke, never called an order. Read once, chunk by chunk; what is kept does not grow with
the trades but for the thousandth that may be large.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from decimal import ROUND_CEILING, Decimal
from typing import Any, Literal

import numpy as np

from analytics.errors import NoTrades
from analytics.rows import exact_total
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
        self._large = _Kept.none()
        self._floor = 0
        self._sweeps = _Sums()
        self._largest_sweeps = _Kept.none()
        self._all = _Sums()
        self._sizes = np.zeros((2, SIZES), np.int64)
        self._size_sums = np.zeros((2, SIZES), np.int64)

    def read(self, chunk: TradeColumns) -> None:
        """Takes in the next trades; those marked invalid do not count."""
        valid = chunk.valid
        rows = chunk if bool(valid.all()) else chunk.take(valid)
        if len(rows) == 0:
            return
        rows = rows.at_exponents(self._price_exp, self._quantity_exp)
        first = _starts(rows)
        notional = _notional(rows, first)
        bought = ~rows.buyer_is_maker[first]
        self._count += len(first)
        self._all.add(notional, bought)
        self._count_sizes(notional, bought)
        self._keep_large(rows, first, notional)
        self._keep_sweeps(rows, first, notional, bought)

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

    def _keep_large(self, rows: TradeColumns, first: IntArray, notional: IntArray) -> None:
        """Those that may turn out large: no fewer than the greatest possible number of large ones."""
        picked = np.flatnonzero(notional >= (self._floor if self._asked is None else self._asked))
        self._large = _Kept.joined(self._large, _Kept.of(rows, first, notional, picked))
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

    def _keep_sweeps(
        self, rows: TradeColumns, first: IntArray, notional: IntArray, bought: BoolArray
    ) -> None:
        several = np.flatnonzero(np.diff(first, append=len(rows)) >= SWEEP_PRICES)
        members, begin = _rows_of(first, len(rows), several)
        swept = several[_distinct_prices(rows.price_int[members], begin) >= SWEEP_PRICES]
        self._sweeps.add(notional[swept], bought[swept])
        candidates = swept[np.lexsort((swept, -notional[swept]))[:LISTED]]
        kept = _Kept.joined(self._largest_sweeps, _Kept.of(rows, first, notional, candidates))
        self._largest_sweeps = kept.largest(LISTED)

    def _count_sizes(self, notional: IntArray, bought: BoolArray) -> None:
        bucket = size_bucket(notional, self._exponent)
        cells = np.where(bought, bucket, bucket + SIZES)
        self._sizes += np.bincount(cells, minlength=2 * SIZES).reshape(2, SIZES)
        self._size_sums += exact_bincount(cells, notional, 2 * SIZES).reshape(2, SIZES)

    def _strokes(self, sums: "_Sums", kept: "_Kept") -> Strokes:
        buys, sells = (decimal_of(total, self._exponent) for total in sums.notional)
        largest = kept.largest(LISTED)
        listed = tuple(self._stroke(largest, i) for i in range(len(largest)))
        return Strokes(*sums.count, buys, sells, listed)

    def _stroke(self, kept: "_Kept", i: int) -> Stroke:
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


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """Strokes with all they are, as (strokes,) columns."""

    time_ms: IntArray
    bought: BoolArray
    first_id: IntArray
    last_id: IntArray
    prices: IntArray
    first_price: IntArray
    last_price: IntArray
    quantity: IntArray
    notional: IntArray

    def __len__(self) -> int:
        return len(self.notional)

    @classmethod
    def none(cls) -> "_Kept":
        empty = np.empty(0, np.int64)
        return cls(empty, np.empty(0, np.bool_), *[empty] * 7)

    @classmethod
    def of(cls, rows: TradeColumns, first: IntArray, notional: IntArray, picked: IntArray) -> "_Kept":
        members, begin = _rows_of(first, len(rows), picked)
        start, last = first[picked], np.append(first[1:], len(rows))[picked] - 1
        return cls(
            rows.time_ms[start],
            ~rows.buyer_is_maker[start],
            rows.id[start],
            rows.id[last],
            _distinct_prices(rows.price_int[members], begin),
            rows.price_int[start],
            rows.price_int[last],
            np.add.reduceat(rows.quantity_int[members], begin) if len(begin) else begin,
            notional[picked],
        )

    @classmethod
    def joined(cls, one: "_Kept", other: "_Kept") -> "_Kept":
        if len(other) == 0:
            return one
        columns: dict[str, Any] = {
            each.name: np.concatenate([getattr(one, each.name), getattr(other, each.name)])
            for each in fields(cls)
        }
        return cls(**columns)

    def take(self, rows: "IntArray | BoolArray") -> "_Kept":
        columns: dict[str, Any] = {each.name: getattr(self, each.name)[rows] for each in fields(self)}
        return _Kept(**columns)

    def largest(self, count: int) -> "_Kept":
        return self.take(np.lexsort((self.first_id, -self.notional))[:count])


def _starts(rows: TradeColumns) -> IntArray:
    """Index of the first row of each stroke: where the id jumps, the millisecond or the side is another."""
    another = np.diff(rows.id) != 1
    another |= np.diff(rows.time_ms) != 0
    another |= rows.buyer_is_maker[1:] != rows.buyer_is_maker[:-1]
    return np.concatenate([[0], np.flatnonzero(another) + 1])


def _notional(rows: TradeColumns, first: IntArray) -> IntArray:
    """Σ price times quantity of each stroke; ValueError where the chunk's would not fit in 64 bits."""
    if int(rows.price_int.max()) * exact_total(rows.quantity_int) > INT64_MAX:
        raise ValueError("the notional of an hour does not fit in 64 bits")
    sums: IntArray = np.add.reduceat(rows.price_int * rows.quantity_int, first)
    return sums


def _rows_of(first: IntArray, count: int, picked: IntArray) -> tuple[IntArray, IntArray]:
    """Index of each row of the picked strokes, and where among them each stroke begins."""
    sizes = np.diff(first, append=count)[picked]
    begin = np.cumsum(sizes) - sizes
    return np.arange(int(sizes.sum())) + np.repeat(first[picked] - begin, sizes), begin


def _distinct_prices(price: IntArray, begin: IntArray) -> IntArray:
    """How many distinct prices each stroke has, whose rows begin at `begin`."""
    if len(begin) == 0:
        return begin
    steps = np.diff(price, prepend=0)
    steps[begin] = 0
    ups, downs = (np.add.reduceat(moves, begin, dtype=np.int64) for moves in (steps > 0, steps < 0))
    prices: IntArray = ups + downs + 1
    # Where price went to and fro, some were met twice.
    for turning in np.flatnonzero((ups > 0) & (downs > 0)).tolist():
        stop = begin[turning + 1] if turning + 1 < len(begin) else len(price)
        prices[turning] = len(set(price[begin[turning] : stop].tolist()))
    return prices


def _units(value: Decimal, exponent: int) -> int:
    """The least integer at `exponent` decimals that is no less."""
    return int(value.scaleb(exponent).to_integral_value(ROUND_CEILING))
