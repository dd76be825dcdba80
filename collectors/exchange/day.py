"""A UTC day of a simulated market at one-minute grain: how many trades, and where the price goes.

Invariant: a plan follows from (listing, seed, day) alone, and its last price is the next day's first.
"""

from dataclasses import dataclass
from itertools import accumulate
from math import log, sin, tau
from zlib import crc32

import numpy as np
import numpy.typing as npt

from collectors.exchange.listings import Listing
from storage.trades import IntArray

MINUTES = 1440
LONGEST_MOVE = 60
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class DayPlan:
    """`trades_before` is (1441,): trades of the day before each minute, and all of them last.

    `log_price` is (1441,), the path at the minutes' edges; `volatility` is (1440,), the spread of the price
    inside each minute as a share.
    """

    trades_before: IntArray
    log_price: FloatArray
    volatility: FloatArray


def plan_day(listing: Listing, seed: int, day: int, trades: int) -> DayPlan:
    rng = generator(seed, listing.symbol, "day", day)
    start, end = log_anchor(listing, seed, day), log_anchor(listing, seed, day + 1)
    target, moving = _balances(rng, start, end, listing.daily_range)
    activity = _session_activity() * _slow_noise(rng, half_life=12, spread=0.45) * np.where(moving, 1.8, 1.0)
    wander = _wander(rng, activity) * 0.048 * listing.daily_range
    return DayPlan(
        trades_before=_shared_out(trades, activity),
        log_price=target + wander,
        volatility=0.011 * listing.daily_range * np.sqrt(activity),
    )


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Random numbers that depend on nothing but the seed and the names."""
    words = [crc32(name.encode()) if isinstance(name, str) else name for name in names]
    return np.random.Generator(np.random.PCG64([seed, *words]))


def log_anchor(listing: Listing, seed: int, day: int) -> float:
    """Log price at the day's first instant: slow waves and a daily surprise around the listing's price."""
    phase = generator(seed, listing.symbol, "waves").random(2)
    waves = 1.6 * sin(tau * (day / 37.0 + phase[0])) + 0.8 * sin(tau * (day / 11.3 + phase[1]))
    surprise = 0.25 * generator(seed, listing.symbol, "anchor", day).standard_normal()
    return log(listing.price) + listing.daily_range * (waves + float(surprise))


def _balances(
    rng: np.random.Generator, start: float, end: float, span: float
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """The level that the price is drawn to at each minute's edge, and the minutes of moves between levels.

    The day is a few balances, each around its own level, with fast moves between them: the levels become
    the nodes of the day's volume profile, and the ways between them its thin zones.
    """
    count = int(rng.integers(4, 7))
    lengths = 0.4 / count + 0.6 * rng.dirichlet(np.full(count, 2.0))
    starts = np.rint(np.cumsum(lengths)[:-1] * (MINUTES - LONGEST_MOVE)).astype(int)
    levels = _levels(rng, count, start, end, span)
    target = np.full(MINUTES + 1, levels[0])
    moving = np.zeros(MINUTES, np.bool_)
    for at, before, after in zip(starts.tolist(), levels[:-1], levels[1:], strict=True):
        minutes = _minutes_of_move(rng, abs(after - before) / span)
        eased = 0.5 - 0.5 * np.cos(np.pi * np.arange(1, minutes + 1) / minutes)
        target[at + 1 : at + 1 + minutes] = before + (after - before) * eased
        target[at + 1 + minutes :] = after
        moving[at : at + minutes] = True
    return target, moving


def _levels(rng: np.random.Generator, count: int, start: float, end: float, span: float) -> list[float]:
    """From `start` to `end` in steps of 0.3 to 0.55 spans, more often back towards the straight way.

    Never so far from the end that the last moves would be longer than that.
    """
    levels = [start]
    for i in range(1, count - 1):
        way = start + (end - start) * i / (count - 1)
        towards = 1.0 if way >= levels[-1] else -1.0
        direction = towards if rng.random() < 0.7 else -towards
        level = levels[-1] + direction * span * float(rng.uniform(0.3, 0.55))
        reach = 0.6 * span * (count - 1 - i)
        levels.append(min(max(level, end - reach), end + reach))
    return [*levels, end]


def _minutes_of_move(rng: np.random.Generator, spans: float) -> int:
    """Some moves race through, others leave a trace: 4 to 36 minutes for 0.4 of a day's range."""
    return min(3 + int(spans / 0.4 * float(rng.uniform(2, 33))), LONGEST_MOVE)


def _session_activity() -> FloatArray:
    """Relative intensity by UTC minute: Asia opens quietly, London more, New York most."""
    hour = np.arange(MINUTES) / 60
    sessions = ((1.0, 1.5, 0.35), (8.0, 2.0, 0.5), (14.2, 1.6, 1.5), (15.5, 3.5, 0.6), (20.0, 1.5, 0.3))
    activity = np.full(MINUTES, 0.55)
    for centre, width, height in sessions:
        activity += height * np.exp(-0.5 * ((hour - centre) / width) ** 2)
    return activity


def _slow_noise(rng: np.random.Generator, half_life: float, spread: float) -> FloatArray:
    """(1440,) factors around 1 that wander over `half_life` minutes, with a log-normal spread."""
    keep = 0.5 ** (1 / half_life)
    innovations = rng.standard_normal(MINUTES) * np.sqrt(1 - keep**2)
    factors: FloatArray = np.exp(spread * _recursive(innovations, keep) - 0.5 * spread**2)
    return factors


def _wander(rng: np.random.Generator, activity: FloatArray) -> FloatArray:
    """(1441,) mean-reverting steps around the balance, livelier when trading is; 0 at both ends."""
    keep = 0.5 ** (1 / 18)
    steps = rng.standard_normal(MINUTES) * np.sqrt(activity) * np.sqrt(1 - keep**2)
    path: FloatArray = np.concatenate([[0.0], _recursive(steps, keep)])
    path -= np.linspace(0.0, 1.0, MINUTES + 1) ** 8 * path[-1]
    return path


def _recursive(steps: FloatArray, keep: float) -> FloatArray:
    """y[i] = keep * y[i-1] + steps[i]."""
    return np.fromiter(accumulate(steps.tolist(), lambda last, step: keep * last + step), np.float64)


def _shared_out(total: int, weights: FloatArray) -> IntArray:
    """(n+1,) cumulative whole shares of `total` in proportion to the (n,) weights."""
    share = np.concatenate([[0.0], np.cumsum(weights)])
    cumulative: IntArray = np.floor(share / share[-1] * total).astype(np.int64)
    cumulative[-1] = total
    return cumulative
