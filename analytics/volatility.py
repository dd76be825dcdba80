"""How much price moves and how busy the tape is: realised volatility, volume against the same time of day.

Invariant: five-minute returns are taken between UTC marks, so that two windows over the same trades see the
same returns. Source: definitions, sections 4.4 and 5 (docs/analytics.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import ceil, sqrt

import numpy as np

from analytics.bars import DAY_MS, bars
from analytics.rows import exact_total
from analytics.tape import FIVE_MINUTES_MS, FloatArray
from storage.candles import MINUTE_MS, MinuteCandles
from storage.trades import decimal_of

RETURNS_OF = {"15m": 3, "1h": 12, "24h": 288}
# A window that does not begin on a mark lacks the first return of its day; more than this is no day.
LEAST_SHARE = 0.9
# "Now" against earlier days: an hour evens out the minutes and still is the present.
BUSY_MS = 60 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class RealisedVolatility:
    """√Σr² of five-minute log returns in percent, over the last 15 minutes, hour and 24 hours of a window.

    `returns` is how many the window has. Each is None below 90 % of the returns of its stretch, and scaled to
    all of them.
    """

    returns: int
    sigma15m_pct: float | None
    sigma1h_pct: float | None
    sigma24h_pct: float | None


@dataclass(frozen=True, slots=True)
class RelativeVolume:
    """Volume of the last whole minutes of a window against the same minutes of earlier days.

    `volume` and `median`, that of the `days` days, are in the base asset; `ratio` is their quotient, None
    where the median is 0.
    """

    start_ms: int
    end_ms: int
    volume: Decimal
    days: int
    median: Decimal
    ratio: float | None


def realised_volatility(candles: MinuteCandles, start_ms: int, end_ms: int) -> RealisedVolatility:
    """Volatility of the window [start_ms, end_ms), whose minute candles are given."""
    returns = five_minute_returns(five_minute_closes(candles, start_ms, end_ms))
    return RealisedVolatility(
        len(returns),
        sigma_pct(returns, RETURNS_OF["15m"]),
        sigma_pct(returns, RETURNS_OF["1h"]),
        sigma_pct(returns, RETURNS_OF["24h"]),
    )


def sigma_pct(returns: FloatArray, wanted: int) -> float | None:
    """√Σr² of the last `wanted` returns in percent; None where there are fewer than 90 % of them."""
    last = returns[-wanted:]
    if len(last) < ceil(LEAST_SHARE * wanted):
        return None
    return 100 * sqrt(wanted * float(np.mean(last**2)))


def five_minute_closes(candles: MinuteCandles, start_ms: int, end_ms: int) -> FloatArray:
    """Last prices of the UTC five-minute bins that end inside the window, (bins,), NaN where none traded."""
    first_bin = start_ms // FIVE_MINUTES_MS
    closes = np.full(max((end_ms - 1) // FIVE_MINUTES_MS - first_bin, 0), np.nan)
    found = bars(candles, FIVE_MINUTES_MS)
    at = found.start_ms // FIVE_MINUTES_MS - first_bin
    inside = (at >= 0) & (at < len(closes))
    closes[at[inside]] = found.close[inside] / 10**found.price_exp
    return closes


def five_minute_returns(closes: FloatArray) -> FloatArray:
    """Log returns between closes, (returns,); a bin without a trade is a zero return, and bins before the
    first trade do not count."""
    traded = np.flatnonzero(~np.isnan(closes))
    if len(traded) == 0:
        return closes[:0]
    returns = np.zeros(len(closes) - traded[0] - 1)
    returns[traded[1:] - traded[0] - 1] = np.diff(np.log(closes[traded]))
    return returns


def busy_window(start_ms: int, end_ms: int) -> tuple[int, int] | None:
    """The last whole minutes of a window, at most an hour; None where it holds none."""
    stop = end_ms // MINUTE_MS * MINUTE_MS
    begin = max(-(-start_ms // MINUTE_MS) * MINUTE_MS, stop - BUSY_MS)
    return (begin, stop) if begin < stop else None


def day_before(window: tuple[int, int], days: int) -> tuple[int, int]:
    """The same time of day, `days` days earlier."""
    return window[0] - days * DAY_MS, window[1] - days * DAY_MS


def relative_volume(
    window: tuple[int, int], present: MinuteCandles, earlier: Sequence[MinuteCandles]
) -> RelativeVolume | None:
    """The volume of `present`, whole minutes of `window`, against that of the same minutes of other days.

    `earlier` holds the candles of each day that is known whole; None where there is none.
    """
    if not earlier:
        return None
    exponent = max(candles.quantity_exp for candles in (present, *earlier))
    volumes = sorted(_volume(candles, exponent) for candles in earlier)
    middle = volumes[len(volumes) // 2] + volumes[(len(volumes) - 1) // 2]
    now = _volume(present, exponent)
    return RelativeVolume(
        *window,
        volume=decimal_of(now, exponent),
        days=len(earlier),
        median=decimal_of(middle, exponent) / 2,
        ratio=2 * now / middle if middle else None,
    )


def _volume(candles: MinuteCandles, exponent: int) -> int:
    total = exact_total(candles.buy) + exact_total(candles.sell)
    return int(total * 10 ** (exponent - candles.quantity_exp))
