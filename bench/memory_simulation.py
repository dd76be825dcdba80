"""Markets whose past says nothing of thin ranges to come, and markets in which it does.

Invariant: both are walks with thin ranges in them; they differ in whether a range stays where it was, and in
whether price passes it faster. All follows from the seed.
"""

import numpy as np
import numpy.typing as npt

from bench.walks import DAY_MS, PRICE_TICKS, START_MS
from storage.trades import IntArray, TradeColumns

TRADES_A_DAY = 20_000
# A day's standard deviation of price, 2 % of it.
DAY_SIGMA_TICKS = 124_000
# One thin range in each stretch of price this wide, and how much of it is thin.
STRETCH_TICKS = 60_000
THIN_SHARE = 0.15
KEPT = 0.03
# Seconds inside a remembered range count this much.
FASTER = 1 / 3


def without_memory(seed: int, days: int, trades_a_day: int = TRADES_A_DAY) -> TradeColumns:
    """A walk: where little was traded is an accident, and says nothing of what comes."""
    rng = np.random.default_rng([seed, 0])
    price = _walk(rng, days, trades_a_day)
    return _columns(rng, _even_times(len(price), days), price, np.zeros(len(price), np.bool_))


def thin_but_not_fast(seed: int, days: int, trades_a_day: int = TRADES_A_DAY) -> TradeColumns:
    """The same ranges are thin for ever, and price passes them as any other: there is less to see of it."""
    rng = np.random.default_rng([seed, 1])
    price = _walk(rng, days, trades_a_day)
    return _columns(rng, _even_times(len(price), days), price, _is_thin(price))


def remembering(seed: int, days: int, trades_a_day: int = TRADES_A_DAY) -> TradeColumns:
    """The same ranges are thin for ever, and price passes them in a third of the time."""
    rng = np.random.default_rng([seed, 2])
    price = _walk(rng, days, trades_a_day)
    thin = _is_thin(price)
    seconds = np.cumsum(np.where(thin, FASTER, 1.0))
    time_ms = (seconds / seconds[-1] * (days * DAY_MS - 1)).astype(np.int64)
    return _columns(rng, time_ms, price, thin)


def _even_times(n: int, days: int) -> IntArray:
    times: IntArray = np.arange(n) * (days * DAY_MS) // n
    return times


def _walk(rng: np.random.Generator, days: int, trades_a_day: int) -> IntArray:
    steps = rng.standard_normal(days * trades_a_day) * DAY_SIGMA_TICKS / trades_a_day**0.5
    path = np.cumsum(steps)
    # Held within half of the price, by reflection: a market, and not a number that runs away.
    reach = PRICE_TICKS // 2
    held: IntArray = np.rint(np.abs((path + reach) % (4 * reach) - 2 * reach) - reach).astype(np.int64)
    return PRICE_TICKS + held


def _is_thin(price: IntArray) -> npt.NDArray[np.bool_]:
    thin: npt.NDArray[np.bool_] = price % STRETCH_TICKS < THIN_SHARE * STRETCH_TICKS
    return thin


def _columns(
    rng: np.random.Generator, time_ms: IntArray, price: IntArray, thin: npt.NDArray[np.bool_]
) -> TradeColumns:
    n = len(price)
    ids, quantity = np.arange(n), rng.integers(1_000, 100_000, n)
    trades = TradeColumns(ids, START_MS + time_ms, price, quantity, rng.random(n) < 0.5, 2, 5, ids, ids)
    return trades.take(~thin | (rng.random(n) < KEPT))
