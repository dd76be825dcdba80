"""How much price gives way to volume, and how one-sided volume is: VPIN, Kyle's lambda, Amihud.

Invariant: the aggressor is the exchange's word and not a guess from prices; what is compared with the past is
computed for the past in the same way. Estimates of the past: none of them forecasts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import sqrt

import numpy as np

from analytics.bars import DAY_MS, Bars, bars
from analytics.rows import exact_total
from analytics.tape import FIVE_MINUTES_MS, FloatArray
from storage.candles import MINUTE_MS, MinuteCandles
from storage.trades import IntArray, TapeColumns, decimal_of

BUCKETS = 50
HOUR_MS = 60 * MINUTE_MS
MILLION = 1e6
BPS = 1e4
# A slope through fewer points says more about them than about the market.
MIN_BARS = 30
# Earlier windows below which a percentile says nothing.
MIN_WINDOWS = 20

Window = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Vpin:
    """Mean one-sidedness of the last 50 buckets of `bucket_volume` in the base asset: 0 even, 1 one-sided.

    A bucket is a fiftieth of the window's volume a day. `buckets` is how many whole ones the window has.
    """

    value: float
    bucket_volume: Decimal
    buckets: int


@dataclass(frozen=True, slots=True)
class KyleLambda:
    """Price change in bps for a million of the quote asset bought more than sold within a minute.

    The least-squares slope through the origin over minutes with a trade, `t_stat` its distance from 0 in
    standard errors, None where the fit is perfect.
    """

    bps_per_million: float
    t_stat: float | None
    minutes: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A value among those of the `windows` earlier windows of the same length: `percentile` of them are below
    it, equals counting half. Both None and 0 where fewer than 20 lie in the history."""

    percentile: float | None
    windows: int


class VpinPass:
    """VPIN of a window whose minute candles are given, from its trades, kept up while `read` takes the chunks
    in id order; a trade that crosses a bucket's end is split."""

    def __init__(self, candles: MinuteCandles, *, start_ms: int, end_ms: int) -> None:
        self._exponent = candles.quantity_exp
        self.size = bucket_size(exact_total(candles.buy) + exact_total(candles.sell), end_ms - start_ms)
        self._read = self._bought = 0
        self._edges: list[IntArray] = []

    def read(self, chunk: TapeColumns) -> None:
        """Takes in the next trades; those marked invalid hold nothing."""
        if self.size == 0 or len(chunk) == 0:
            return
        quantity = chunk.at_exponents(chunk.price_exp, self._exponent).quantity_int
        sold = chunk.buyer_is_maker
        volume, bought = np.cumsum(quantity), np.cumsum(quantity * ~sold)
        first, stop = (read // self.size + 1 for read in (self._read, self._read + int(volume[-1])))
        edges = np.arange(first, stop) * self.size - self._read
        at = np.searchsorted(volume, edges)
        beyond = np.where(sold[at], 0, volume[at] - edges)
        self._edges.append(self._bought + bought[at] - beyond)
        self._read += int(volume[-1])
        self._bought += int(bought[-1])

    def result(self) -> Vpin | None:
        """None below 50 whole buckets, which a window of less than a day cannot have."""
        edges = np.concatenate([[0], *self._edges]).astype(np.int64)
        if len(edges) <= BUCKETS:
            return None
        value = one_sidedness(np.diff(edges)[-BUCKETS:], self.size)
        return Vpin(value, decimal_of(self.size, self._exponent), len(edges) - 1)


def vpin(trades: Iterable[TapeColumns], candles: MinuteCandles, *, start_ms: int, end_ms: int) -> Vpin | None:
    """Volume-synchronised probability of informed trading of [start_ms, end_ms), None below 50 buckets.

    VPIN = Σ|buy − sell| / (50 V) over the last 50 buckets of V = a fiftieth of the window's volume a day,
    filled from the window's start. Source: Easley, López de Prado, O'Hara 2012, with the true aggressor
    instead of their bulk classification.
    """
    found = VpinPass(candles, start_ms=start_ms, end_ms=end_ms)
    for chunk in trades:
        found.read(chunk)
    return found.result()


def bucket_size(volume: int, window_ms: int) -> int:
    """A fiftieth of the volume a day, in whole quantity units, rounded down."""
    return volume * DAY_MS // (BUCKETS * window_ms)


def one_sidedness(bought: "IntArray | FloatArray", size: float) -> float:
    """Mean |buy − sell| / volume of buckets of `size` of which so much was bought."""
    return float(np.abs(2 * bought - size).sum() / (len(bought) * size))


def minute_vpins(candles: MinuteCandles, windows: Sequence[Window]) -> list[float | None]:
    """VPIN of each window as if buying and selling were even within each minute: what candles can tell, for
    comparisons with other candles alone."""
    volume, bought = (np.append(0, np.cumsum(c)) for c in (candles.buy + candles.sell, candles.buy))
    return [
        _minute_vpin(volume[i : j + 1], bought[i : j + 1], stop - start)
        for (i, j), (start, stop) in zip(_spans(candles.minute_ms, windows), windows, strict=True)
    ]


def _minute_vpin(volume: IntArray, bought: IntArray, window_ms: int) -> float | None:
    """From running sums that begin before the window's first minute."""
    size = bucket_size(int(volume[-1] - volume[0]), window_ms)
    edges = volume[0] + np.arange(BUCKETS + 1 if size else 0) * size
    if size == 0 or edges[-1] > volume[-1]:
        return None
    last = (int(volume[-1] - volume[0]) // size - BUCKETS) * size
    return one_sidedness(np.diff(np.interp(edges + last, volume, bought)), size)


def kyle_lambda(candles: MinuteCandles) -> KyleLambda | None:
    """Slope of close-to-close log returns on signed quote volume, delta valued at the minute's VWAP.

    Through the origin, over the minutes with a trade after the first; after minutes without one, the return
    is that from the last traded minute. None below 30 returns, or where delta is always 0.
    Source: Kyle 1985; definitions, section 5.
    """
    returns, flow = _returns_and_flow(bars(candles, MINUTE_MS))
    return _slope(returns, flow)


def kyle_lambdas(candles: MinuteCandles, windows: Sequence[Window]) -> list[float | None]:
    """The slope of each window, in bps for a million."""
    minutes = bars(candles, MINUTE_MS)
    returns, flow = _returns_and_flow(minutes)
    slopes = [_slope(returns[i : j - 1], flow[i : j - 1]) for i, j in _spans(minutes.start_ms, windows)]
    return [None if slope is None else slope.bps_per_million for slope in slopes]


def amihud(candles: MinuteCandles) -> float | None:
    """Mean of |five-minute log return| over the quote volume of the five minutes: bps for a million.

    Close to close, over the bars with a trade after the first; None below 30 of them.
    Source: Amihud 2002, who took days.
    """
    return _mean(_illiquidity(bars(candles, FIVE_MINUTES_MS)))


def amihuds(candles: MinuteCandles, windows: Sequence[Window]) -> list[float | None]:
    """The same of each window."""
    found = bars(candles, FIVE_MINUTES_MS)
    ratios = _illiquidity(found)
    return [_mean(ratios[i : j - 1]) for i, j in _spans(found.start_ms, windows)]


def earlier_windows(history: MinuteCandles, start_ms: int, end_ms: int) -> list[Window]:
    """The windows as long as [start_ms, end_ms) that begin on a full hour, not before the first candle of
    `history`, and end before it begins."""
    if len(history) == 0:
        return []
    length = end_ms - start_ms
    first = -(-int(history.minute_ms[0]) // HOUR_MS) * HOUR_MS
    return [(begin, begin + length) for begin in range(first, start_ms - length + 1, HOUR_MS)]


def standing(value: float | None, earlier: Sequence[float | None]) -> Standing:
    """Where `value` stands among the same measure of earlier windows."""
    known = np.array([each for each in earlier if each is not None])
    if value is None or len(known) < MIN_WINDOWS:
        return Standing(None, len(known))
    below = np.count_nonzero(known < value) + np.count_nonzero(known == value) / 2
    return Standing(float(100 * below / len(known)), len(known))


def _spans(start_ms: IntArray, windows: Sequence[Window]) -> list[tuple[int, int]]:
    """First index and the one behind the last of the bars that begin in each window."""
    return [(int(i), int(j)) for i, j in np.searchsorted(start_ms, np.array(windows).reshape(-1, 2))]


def _returns_and_flow(minutes: Bars) -> tuple[FloatArray, FloatArray]:
    """bps of each minute after the first, and millions of the quote asset bought more than sold in it."""
    signed = minutes.quote_volume() * minutes.delta / minutes.volume / MILLION
    return np.diff(_log_close(minutes)) * BPS, signed[1:]


def _illiquidity(found: Bars) -> FloatArray:
    """bps for a million of each bar after the first."""
    return np.abs(np.diff(_log_close(found))) * BPS / (found.quote_volume()[1:] / MILLION)


def _log_close(found: Bars) -> FloatArray:
    closes: FloatArray = np.log(found.close / 10**found.price_exp)
    return closes


def _mean(values: FloatArray) -> float | None:
    return float(np.mean(values)) if len(values) >= MIN_BARS else None


def _slope(returns: FloatArray, flow: FloatArray) -> KyleLambda | None:
    square = float(flow @ flow)
    if len(returns) < MIN_BARS or square == 0:
        return None
    slope = float(flow @ returns) / square
    rest = returns - slope * flow
    error = sqrt(float(rest @ rest) / (len(returns) - 1) / square)
    return KyleLambda(slope, slope / error if error else None, len(returns))
