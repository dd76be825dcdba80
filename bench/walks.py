"""Simulated walks: what the vacuum rules find where there is nothing, and of what was planted.

Invariant: a walk has no memory of price, so that every zone in it is an accident; all follows from the seed.
The cut-offs of `analytics.impact` are set by what this prints.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from analytics.impact import IMPACTS, STABLE
from analytics.thin import Rule
from analytics.vacuums import LiquidityVacuums, Vacuum, liquidity_vacuums
from storage.histograms import PriceHistogram
from storage.trades import INT64_MAX, IntArray, TradeColumns

Model = Literal["plain", "clustered", "heavy"]
FloatArray = npt.NDArray[np.float64]

DAY_MS = 24 * 3_600_000
START_MS = 1_731_196_800_000  # 2024-11-10T00:00:00Z
TICK = Decimal("0.01")
PRICE_TICKS = 6_200_000
# A day's standard deviation of price, 2 % of it.
DAY_SIGMA_TICKS = 124_000
TRADES = 150_000
# Of the trades that a walk makes in a planted range this share remains.
KEPT = 0.03
# Widths of planted ranges, of the range between the 5th and the 95th percentile of prices.
WIDTHS = 0.06, 0.25


@dataclass(frozen=True, slots=True)
class Planted:
    """A day of trades, and the range of ticks (inclusive) that was thinned in it."""

    trades: TradeColumns
    low: int
    high: int

    @property
    def bounds(self) -> tuple[Decimal, Decimal]:
        return TICK * self.low, TICK * self.high


def walk(seed: int, model: Model = "plain", trades: int = TRADES) -> TradeColumns:
    """A day of a driftless walk. `plain`: equal Gaussian steps; `clustered`: volatility and activity that
    come in waves of hours; `heavy`: steps of a Student's t distribution with 3 degrees of freedom."""
    rng = np.random.default_rng([seed, get_args(Model).index(model)])
    steps = rng.standard_t(3, trades) / 3**0.5 if model == "heavy" else rng.standard_normal(trades)
    times = np.sort(rng.integers(0, DAY_MS, trades))
    if model == "clustered":
        waves = np.exp(_wander(rng, 288))
        times = _spread(rng, waves, trades)
        steps *= np.sqrt(waves[times * 288 // DAY_MS])
        steps /= steps.std()
    path = PRICE_TICKS + np.cumsum(steps) * DAY_SIGMA_TICKS / trades**0.5
    size = np.exp(1.5 * rng.standard_normal(trades)) * 1_000
    return _columns(
        times, np.rint(path).astype(np.int64), size.astype(np.int64) + 1, rng.random(trades) < 0.5
    )


def planted(seed: int, model: Model = "plain", trades: int = TRADES) -> Planted:
    """The same day with most of the trades in one inner range taken away: thin, and price passed it."""
    whole = walk(seed, model, trades)
    rng = np.random.default_rng([seed, 99])
    bottom, top = np.quantile(whole.price_int, [0.05, 0.95])
    width = (top - bottom) * rng.uniform(*WIDTHS)
    low = int(rng.uniform(bottom + width / 2, top - 1.5 * width))
    high = int(low + width)
    inside = (whole.price_int >= low) & (whole.price_int <= high)
    kept = ~inside | (rng.random(trades) < KEPT)
    return Planted(whole.take(kept), low, high)


def vacuums_of(trades: TradeColumns, rule: Rule = "thin") -> LiquidityVacuums:
    return liquidity_vacuums(
        PriceHistogram.of(trades),
        [trades],
        symbol="WALK",
        tick=TICK,
        last=TICK * int(trades.price_int[-1]),
        start_ms=START_MS,
        end_ms=START_MS + DAY_MS,
        rule=rule,
    )


def zone_found(day: Planted, answer: LiquidityVacuums) -> Vacuum | None:
    """The interior zone that covers at least half of the planted range."""
    low, high = day.bounds
    for zone in answer.vacuums:
        if 2 * (min(zone.high, high) - max(zone.low, low)) >= high - low:
            return zone
    return None


def bounds_off(day: Planted, zone: Vacuum) -> float:
    """How far the zone's bounds are off, the farther one, in widths of the planted range."""
    low, high = day.bounds
    return float(max(abs(zone.low - low), abs(zone.high - high)) / (high - low))


def zones_of_walks(model: Model, days: int, trades: int = TRADES, rule: Rule = "thin") -> list[Vacuum]:
    """All interior zones of that many days."""
    return [zone for seed in range(days) for zone in vacuums_of(walk(seed, model, trades), rule).vacuums]


def planted_and_found(
    model: Model, days: int, trades: int = TRADES, rule: Rule = "thin"
) -> list[tuple[Planted, Vacuum]]:
    """Of that many planted ranges those that were found, with their zones."""
    plants = (planted(seed, model, trades) for seed in range(days))
    pairs = ((day, zone_found(day, vacuums_of(day.trades, rule))) for day in plants)
    return [(day, zone) for day, zone in pairs if zone is not None]


def high_or_above(zones: list[Vacuum]) -> float:
    """Share of zones whose impact is High or Critical; 0 where there are no zones."""
    return sum(zone.impact in ("High", "Critical") for zone in zones) / max(len(zones), 1)


def share_stable(zones: list[Vacuum]) -> float:
    """Share of zones whose stability is 0.9 or more; 0 where there are no zones."""
    stable = [zone for zone in zones if zone.stability is not None and zone.stability >= STABLE]
    return len(stable) / max(len(zones), 1)


def _wander(rng: np.random.Generator, n: int) -> FloatArray:
    """A slow AR(1) of standard deviation 1, with a memory of 3 hours."""
    keep, level = np.exp(-5 / 180), 0.0
    out = np.empty(n)
    for i, shock in enumerate(rng.standard_normal(n)):
        level = keep * level + (1 - keep**2) ** 0.5 * shock
        out[i] = level
    return out


def _spread(rng: np.random.Generator, weights: FloatArray, trades: int) -> IntArray:
    """Sorted times of day with that density over its equal parts."""
    part = rng.choice(len(weights), trades, p=weights / weights.sum())
    times: IntArray = np.sort(
        part * (DAY_MS // len(weights)) + rng.integers(0, DAY_MS // len(weights), trades)
    )
    return times


def _columns(
    time_ms: IntArray, price: IntArray, quantity: IntArray, maker: npt.NDArray[np.bool_]
) -> TradeColumns:
    ids = np.arange(len(price))
    return TradeColumns(
        ids, START_MS + time_ms, price, np.minimum(quantity, INT64_MAX), maker, 2, 5, ids, ids
    )


def _told(model: Model, days: int, trades: int, rule: Rule) -> Iterator[str]:
    zones = zones_of_walks(model, days, trades, rule)
    deficits = [zone.volume_deficit_pct for zone in zones] or [0.0]
    some, stable = max(len(zones), 1), share_stable(zones)
    classes = Counter(zone.impact for zone in zones)
    yield f"{model}, rule {rule}: {len(zones) / days:.2f} zones a day, {stable:.0%} of them stable"
    yield "  " + ", ".join(f"{name} {classes[name] / some:.0%}" for name in IMPACTS)
    yield f"  deficit, quartiles and 90 %: {np.percentile(deficits, [25, 50, 75, 90]).round(1).tolist()}"
    pairs = planted_and_found(model, days, trades, rule)
    offs = [bounds_off(day, zone) for day, zone in pairs]
    median = float(np.median(offs)) if offs else float("nan")
    yield f"  planted ranges found {len(offs) / days:.0%}, bounds off by {median:.0%} of the width (median)"
    yield f"  of these {share_stable([zone for _, zone in pairs]):.0%} stable"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=100)
    parser.add_argument("--trades", type=int, default=TRADES, help="trades a day")
    parser.add_argument("--rule", choices=get_args(Rule), default="thin")
    given = parser.parse_args()
    for model in get_args(Model):
        for line in _told(model, given.days, given.trades, given.rule):
            print(line, flush=True)


if __name__ == "__main__":
    main()
