"""Who crossed the spread: delta, its running sum, how that went beside the price, and at which pace.

Invariant: everything is of minutes and exact; extremes are those at the ends of minutes. Descriptive: that
delta and price went different ways happens on random walks too (docs/analytics.md has how often).
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, cast

import numpy as np

from analytics.errors import NoTrades
from analytics.rows import exact_total
from storage.candles import MINUTE_MS, MinuteCandles
from storage.trades import INT64_MAX, IntArray, decimal_of

Divergence = Literal["higher_high_lower_cvd", "lower_low_higher_cvd"]
Agreement = Literal["same", "opposite", "flat"]

RECENT_MS = 15 * MINUTE_MS
# What is late in a window: its last quarter, held against the three before.
LATE_SHARE = 4


@dataclass(frozen=True, slots=True)
class Extreme:
    """A value of the cumulative delta in the base asset, and the end of the minute that reached it first."""

    value: Decimal
    at_ms: int


@dataclass(frozen=True, slots=True)
class Pace:
    """What takers bought and sold a second, in the base asset, and aggTrades a second, over `seconds`."""

    seconds: float
    buy_per_s: float
    sell_per_s: float
    trades_per_s: float


@dataclass(frozen=True, slots=True, eq=False)
class OrderFlow:
    """Aggression of a window: volumes and delta in the base asset, `delta_pct` in % of the volume.

    `cvd` is (minutes,) int64 `* 10**-quantity_exp`: the running sum of delta at the end of each minute with a
    trade, 0 at the window's start. `price_change_pct` is from the first to the last price; `agreement` says
    whether delta and price went the same way. `divergences` compares the last quarter of the window's time
    with what came before: price went beyond its earlier extreme, the cumulative delta did not. `window` is
    the pace over the covered time, `recent` that of the last 15 minutes.
    """

    buy: Decimal
    sell: Decimal
    delta: Decimal
    delta_pct: float
    cvd: IntArray
    cvd_high: Extreme
    cvd_low: Extreme
    quantity_exp: int
    price_change_pct: float
    agreement: Agreement
    divergences: tuple[Divergence, ...]
    window: Pace
    recent: Pace


def order_flow(
    candles: MinuteCandles, *, start_ms: int, end_ms: int, covered_ms: int | None = None
) -> OrderFlow:
    """The flow of the window [start_ms, end_ms) out of its minute candles.

    `covered_ms` is how much of it is known, the whole where it is None. Raises NoTrades; ValueError where the
    volume does not fit in 64 bits.
    """
    if len(candles) == 0:
        raise NoTrades
    buy, sell = exact_total(candles.buy), exact_total(candles.sell)
    if buy + sell > INT64_MAX:
        raise ValueError(f"the window's volume does not fit in 64 bits: {buy + sell}")
    cvd = np.cumsum(candles.buy - candles.sell)
    opening, closing = candles.open[np.argmin(candles.first_id)], candles.close[np.argmax(candles.last_id)]
    return OrderFlow(
        buy=decimal_of(buy, candles.quantity_exp),
        sell=decimal_of(sell, candles.quantity_exp),
        delta=decimal_of(buy - sell, candles.quantity_exp),
        delta_pct=100 * (buy - sell) / (buy + sell),
        cvd=cvd,
        cvd_high=_extreme(candles, cvd, int(np.argmax(cvd))),
        cvd_low=_extreme(candles, cvd, int(np.argmin(cvd))),
        quantity_exp=candles.quantity_exp,
        price_change_pct=100 * (int(closing) - int(opening)) / int(opening),
        agreement=_agreement(int(closing) - int(opening), buy - sell),
        divergences=divergences(candles, cvd, start_ms, end_ms),
        window=pace(candles, (end_ms - start_ms if covered_ms is None else covered_ms) / 1000),
        recent=_recent(candles, start_ms, end_ms),
    )


def divergences(candles: MinuteCandles, cvd: IntArray, start_ms: int, end_ms: int) -> tuple[Divergence, ...]:
    """How the last quarter of the window's time went beyond the earlier three in price but not in delta.

    Compared are highs and lows of the price with highs and lows of the cumulative delta at the ends of
    minutes. None where either part is without a trade. Source: the usual divergence of an oscillator from
    price, with the window's own extremes as its swings.
    """
    late = int(np.searchsorted(candles.minute_ms, end_ms - (end_ms - start_ms) // LATE_SHARE))
    if late in (0, len(candles)):
        return ()
    found = {
        "higher_high_lower_cvd": candles.high[late:].max() > candles.high[:late].max()
        and cvd[late:].max() < cvd[:late].max(),
        "lower_low_higher_cvd": candles.low[late:].min() < candles.low[:late].min()
        and cvd[late:].min() > cvd[:late].min(),
    }
    return tuple(cast(Divergence, name) for name, holds in found.items() if holds)


def pace(candles: MinuteCandles, seconds: float) -> Pace:
    """Volumes and trades a second over that many seconds."""
    unit = seconds * 10**candles.quantity_exp
    buy, sell, trades = (exact_total(column) for column in (candles.buy, candles.sell, candles.trades))
    return Pace(seconds, buy / unit, sell / unit, trades / seconds)


def _recent(candles: MinuteCandles, start_ms: int, end_ms: int) -> Pace:
    """The pace from the first whole minute within 15 minutes of the end, or of the whole window."""
    from_ms = -(-max(start_ms, end_ms - RECENT_MS) // MINUTE_MS) * MINUTE_MS
    if end_ms - from_ms < MINUTE_MS:
        return pace(candles, (end_ms - start_ms) / 1000)
    return pace(candles.within(from_ms, end_ms), (end_ms - from_ms) / 1000)


def _extreme(candles: MinuteCandles, cvd: IntArray, at: int) -> Extreme:
    return Extreme(decimal_of(int(cvd[at]), candles.quantity_exp), int(candles.minute_ms[at]) + MINUTE_MS)


def _agreement(price: int, delta: int) -> Agreement:
    if price == 0 or delta == 0:
        return "flat"
    return "same" if (price > 0) == (delta > 0) else "opposite"
